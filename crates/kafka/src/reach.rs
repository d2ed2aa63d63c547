//! The reachability of a cluster: one state for all clients that this process has of it.
//!
//! Every client of librdkafka reports each of its connections, again and again while an outage
//! lasts. Their reports and the answered requests come together here, so that the log has one line
//! when the cluster is away, one a minute while that lasts, and one when it is back. A cluster is
//! away if something failed and no request has been answered for a while since; as long as requests
//! are answered, only the broker that cannot be reached is named.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode;

use wedcache_model::Timestamp;
use wedcache_model::clock::Clock;
use wedcache_model::trouble::{Notice, Pace, Trouble, Troubles};

use super::reach_reason::{Why, broker_of};

/// The time without an answer after a failure from which on the cluster counts as away. Leaders
/// that move and connections that are made again take less.
const GRACE: Duration = Duration::from_secs(3);
/// The time without a failure after which a broker is forgotten, unless it was named.
const FORGET_BROKER: Duration = Duration::from_mins(2);
/// The time for which a closed connection can explain why nothing is answered.
const HINT_LASTS: Duration = Duration::from_secs(10);
/// The most missing permissions that are remembered; a topic or group can have a few.
const MAX_DENIALS: usize = 256;

/// The state that all clients of one cluster share.
#[derive(Debug)]
pub struct Reach {
    /// The given `bootstrap.servers`.
    bootstrap: String,
    /// The setting that the address comes from, for messages.
    setting: OnceLock<String>,
    clock: Clock,
    /// True if an answered request changes anything.
    awaited: AtomicBool,
    state: Mutex<ReachState>,
}

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ReachLine {
    Away(ReachFailure, Notice),
    BrokerAway { broker: String, words: String },
    BrokerBack { broker: String, lasted: Duration },
}

/// The last reason why the cluster, or a broker, could not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ReachFailure {
    why: Why,
    /// librdkafka's text.
    words: String,
}

/// The pure part: reports and times in, lines out.
#[derive(Debug)]
struct ReachState {
    /// The time of the first failure since the last answered request.
    failing_since: Option<Instant>,
    /// The most telling of the last failures.
    failure: Option<ReachFailure>,
    /// The last closed connection.
    hint: Option<(Instant, ReachFailure)>,
    answered: Option<Instant>,
    away: Troubles<()>,
    /// The brokers that fail; bounded by the cluster's.
    brokers: BTreeMap<String, FailingBroker>,
    denials: Troubles<Arc<str>>,
}

#[derive(Debug)]
struct FailingBroker {
    since: Instant,
    failed: Instant,
    words: String,
    named: bool,
}

impl Reach {
    /// Returns the state of the cluster with this bootstrap address.
    pub fn of(bootstrap: &str) -> Arc<Self> {
        static CLUSTERS: Mutex<BTreeMap<String, Weak<Reach>>> = Mutex::new(BTreeMap::new());
        let mut clusters = CLUSTERS.lock();
        if let Some(known) = clusters.get(bootstrap).and_then(Weak::upgrade) {
            return known;
        }
        clusters.retain(|_, reach| reach.strong_count() > 0);
        let reach = Arc::new(Self::new(bootstrap));
        clusters.insert(bootstrap.to_owned(), Arc::downgrade(&reach));
        reach
    }

    fn new(bootstrap: &str) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            setting: OnceLock::new(),
            clock: Clock::System,
            // The first answer matters, as the first sign that the cluster is there.
            awaited: AtomicBool::new(true),
            state: Mutex::new(ReachState::new()),
        }
    }

    /// Names the setting that the address comes from, once.
    pub fn set_by(&self, setting: &str) {
        self.setting.get_or_init(|| setting.to_owned());
    }

    /// Returns the present trouble: `down` if the cluster is away, otherwise a broker that is.
    pub fn trouble(&self) -> Option<Trouble> {
        let now = Instant::now();
        let state = self.state();
        let since = |at: Instant| self.clock.now().minus(now.saturating_duration_since(at));
        if let Some((at, failure)) = state.is_away(now) {
            return Some(self.trouble_of(failure, since(at)));
        }
        let (name, broker) = state.brokers.iter().find(|(_, broker)| broker.named)?;
        let words = &broker.words;
        Some(Trouble {
            since: since(broker.since),
            reason: "broker",
            detail: Arc::from(format!("broker {name} is away: {words}")),
            down: false,
        })
    }

    /// Logs the lines that are due. To be called about once a second.
    pub fn settle(&self) {
        self.change(ReachState::settle);
    }

    /// Notes an error of a client; returns false if it does not concern reaching the cluster.
    pub(super) fn failed(&self, code: RDKafkaErrorCode, words: &str) -> bool {
        let Some(why) = Why::of(code, words) else {
            return false;
        };
        let (words, broker) = (words.to_owned(), broker_of(words));
        self.change(|state, now| state.failed(ReachFailure { why, words }, broker, now));
        true
    }

    /// Notes a connection that was closed. That alone is no failure, because brokers close idle
    /// ones; it explains a failure that has no other explanation.
    pub(super) fn closed(&self, words: &str) {
        let why = Why::of(RDKafkaErrorCode::BrokerTransportFailure, words);
        if let Some(why) = why {
            let words = words.to_owned();
            self.state().hint = Some((Instant::now(), ReachFailure { why, words }));
        }
    }

    /// Notes a request that failed; returns false if that does not concern reaching the cluster.
    pub(super) fn unanswered(&self, code: RDKafkaErrorCode, request: &str) -> bool {
        let Some(why) = Why::of_request(code) else {
            return false;
        };
        let words = format!("no answer to the request to {request}: {code}");
        self.change(|state, now| state.failed(ReachFailure { why, words }, None, now));
        true
    }

    /// Returns true if any request has been answered yet.
    pub fn has_answered(&self) -> bool {
        self.state().answered.is_some()
    }

    /// Returns true after a failure until the next answer.
    pub(super) fn is_failing(&self) -> bool {
        self.awaited.load(Ordering::Relaxed) && self.state().failing_since.is_some()
    }

    /// Notes that the cluster has answered a request. While nothing is wrong that costs one atomic
    /// read.
    pub(super) fn answered(&self) {
        if self.awaited.load(Ordering::Relaxed) {
            self.change(|state, now| {
                state.answered(now);
                Vec::new()
            });
        }
    }

    /// Notes the brokers that a client is connected to.
    pub(super) fn connected<'a>(&self, brokers: impl Iterator<Item = &'a str>) {
        if self.awaited.load(Ordering::Relaxed) {
            let brokers: Vec<&str> = brokers.collect();
            self.change(|state, now| state.connected(&brokers, now));
        }
    }

    /// Logs, once and then once a minute, the permission that is missing.
    pub(super) fn denied(&self, client: &str, needs: &str, words: &str) {
        let notice = {
            let mut state = self.state();
            if state.denials.open().count() >= MAX_DENIALS {
                return;
            }
            state.denials.failed(Arc::from(needs), Instant::now())
        };
        let times = match notice {
            None => return,
            Some(Notice::Lasts { failures, .. }) => failures,
            Some(Notice::Begins | Notice::Over { .. }) => 1,
        };
        tracing::error!(
            needs,
            client,
            error = words,
            times,
            "Kafka denies access: an ACL must allow {needs} for this client's principal"
        );
    }

    fn trouble_of(&self, failure: &ReachFailure, since: Timestamp) -> Trouble {
        let (bootstrap, words) = (&self.bootstrap, &failure.words);
        let advice = self.advice(failure.why);
        Trouble {
            since,
            reason: failure.why.label(),
            detail: Arc::from(format!("{words} ({bootstrap}): {advice}")),
            down: true,
        }
    }

    fn advice(&self, why: Why) -> String {
        let setting = self.setting.get().map(String::as_str);
        why.advice(setting.unwrap_or("the bootstrap address"))
    }

    fn change(&self, change: impl FnOnce(&mut ReachState, Instant) -> Vec<ReachLine>) {
        let now = Instant::now();
        let mut state = self.state();
        let lines = change(&mut state, now);
        self.awaited.store(state.awaits(), Ordering::Relaxed);
        drop(state);
        for line in lines {
            self.log(&line);
        }
    }

    fn state(&self) -> MutexGuard<'_, ReachState> {
        self.state.lock()
    }

    fn log(&self, line: &ReachLine) {
        let brokers = self.bootstrap.as_str();
        match line {
            ReachLine::Away(failure, notice) => {
                if let Notice::Over { lasted, .. } = notice {
                    let after_secs = lasted.as_secs();
                    tracing::info!(brokers, after_secs, "Kafka is back");
                    return;
                }
                let is_new = *notice == Notice::Begins;
                let is_away = if is_new { "is away" } else { "is still away" };
                let since = self.trouble().map_or(self.clock.now(), |of| of.since);
                let (reason, error) = (failure.why.label(), failure.words.as_str());
                let (is, advice) = (failure.why.is(), self.advice(failure.why));
                tracing::error!(brokers, reason, %since, error, "Kafka {is_away}: {is}. {advice}");
            }
            ReachLine::BrokerAway { broker, words } => {
                tracing::warn!(broker, error = words, "a broker is away; others answer");
            }
            ReachLine::BrokerBack { broker, lasted } => {
                let after_secs = lasted.as_secs();
                tracing::info!(broker, after_secs, "the broker is back");
            }
        }
    }
}

impl ReachState {
    fn new() -> Self {
        Self {
            failing_since: None,
            failure: None,
            hint: None,
            answered: None,
            away: Troubles::new(Pace::default()),
            brokers: BTreeMap::new(),
            denials: Troubles::new(Pace::default()),
        }
    }

    fn failed(
        &mut self,
        failure: ReachFailure,
        broker: Option<String>,
        now: Instant,
    ) -> Vec<ReachLine> {
        let mut lines = Vec::new();
        if let Some(name) = broker {
            lines.extend(self.broker_failed(name, &failure.words, now));
        }
        self.failing_since.get_or_insert(now);
        let is_fresh = |at: Instant| now.saturating_duration_since(at) < HINT_LASTS;
        let failure = match &self.hint {
            Some((at, hint)) if failure.why.is_vague() && is_fresh(*at) => hint.clone(),
            _ => failure,
        };
        // A reason that says more replaces one that only says that nothing answers.
        if !failure.why.is_vague() || self.failure.as_ref().is_none_or(|of| of.why.is_vague()) {
            self.failure = Some(failure);
        }
        lines.extend(self.settle(now));
        lines
    }

    /// Names a broker that goes on failing while others answer.
    fn broker_failed(&mut self, name: String, words: &str, now: Instant) -> Option<ReachLine> {
        let broker = self
            .brokers
            .entry(name.clone())
            .or_insert_with(|| FailingBroker {
                since: now,
                failed: now,
                words: String::new(),
                named: false,
            });
        broker.failed = now;
        words.clone_into(&mut broker.words);
        let others_answer = self.answered.is_some_and(|at| at > broker.since);
        if broker.named || !others_answer || now.duration_since(broker.since) < GRACE {
            return None;
        }
        broker.named = true;
        let words = words.to_owned();
        Some(ReachLine::BrokerAway {
            broker: name,
            words,
        })
    }

    fn answered(&mut self, now: Instant) {
        if self.is_away(now).is_some() {
            // All brokers were away; those that still are will be reported again.
            self.brokers.retain(|_, broker| broker.named);
        }
        self.failing_since = None;
        self.failure = None;
        self.answered = Some(now);
        self.away.worked(now, |()| true);
    }

    fn connected(&mut self, brokers: &[&str], now: Instant) -> Vec<ReachLine> {
        let back = |(name, broker): (String, FailingBroker)| {
            let lasted = now.saturating_duration_since(broker.since);
            broker.named.then_some(ReachLine::BrokerBack {
                broker: name,
                lasted,
            })
        };
        let gone = self
            .brokers
            .extract_if(.., |name, _| brokers.contains(&name.as_str()));
        gone.filter_map(back).collect()
    }

    fn is_away(&self, now: Instant) -> Option<(Instant, &ReachFailure)> {
        let since = self.failing_since?;
        let long = now.saturating_duration_since(since) >= GRACE;
        Some((since, self.failure.as_ref().filter(|_| long)?))
    }

    fn settle(&mut self, now: Instant) -> Vec<ReachLine> {
        self.brokers.retain(|_, broker| {
            broker.named || now.saturating_duration_since(broker.failed) < FORGET_BROKER
        });
        let notice = match self.is_away(now).map(|(since, _)| since) {
            // The outage began with the first failure, not when it had lasted long enough.
            Some(since) if self.away.open().next().is_none() => self.away.failed((), since),
            Some(_) => self.away.failed((), now),
            None => None,
        };
        let settled = self.away.settle(now).into_iter().map(|((), notice)| notice);
        let notices: Vec<_> = notice.into_iter().chain(settled).collect();
        let line = |notice| {
            ReachLine::Away(
                self.failure.clone().unwrap_or_else(ReachFailure::none),
                notice,
            )
        };
        notices.into_iter().map(line).collect()
    }

    fn awaits(&self) -> bool {
        let open = self.away.unanswered().next().is_some();
        // The first answer matters too, as the first sign that the cluster is there.
        self.answered.is_none() || open || self.failing_since.is_some() || !self.brokers.is_empty()
    }
}

impl ReachFailure {
    /// Returns the failure of an outage that is over.
    fn none() -> Self {
        Self {
            why: Why::Unanswered,
            words: String::new(),
        }
    }
}

#[cfg(test)]
mod tests;
