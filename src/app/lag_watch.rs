//! Measures every second how far changes are known here, and reports the lag to the lookups.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::invalidation::{ChangeEnd, ChangeEnds, RulesProgress};
use crate::kafka::{Admin, KafkaError};
use crate::metrics::Metrics;
use crate::policy::PolicyInForce;
use crate::resolver::{Lag, LagState};
use crate::stages::follower::LogStatus;
use crate::stages::lag::{LagClock, Measured};
use crate::topology::settings::Role;

const EVERY: Duration = Duration::from_secs(1);

pub struct LagWatch {
    policies: Arc<PolicyInForce>,
    clock: LagClock,
    lag: Arc<Lag>,
    log: watch::Receiver<LogStatus>,
    progress: Arc<RulesProgress>,
    admin: Admin,
    topics: [Arc<str>; 2],
    metrics: Arc<Metrics>,
}

impl LagWatch {
    /// Builds a watch; `judged` is true if all changes from before the start were judged.
    pub(super) fn new(
        shared: &Shared,
        lag: Arc<Lag>,
        log: watch::Receiver<LogStatus>,
        judged: bool,
    ) -> Self {
        let policies = Arc::clone(&shared.policies.in_force);
        let mut clock = LagClock::new(policies.get().freshness, Instant::now());
        if !judged {
            clock.rules_unknown();
        }
        lag.set(clock.state(Instant::now()));
        let name = |role| Arc::clone(&shared.topology.deployment.topics.get(role).name);
        Self {
            policies,
            clock,
            lag,
            log,
            progress: Arc::clone(&shared.progress),
            admin: shared.admin.clone(),
            topics: [name(Role::VendorChanges), name(Role::WeddingUpdates)],
            metrics: Arc::clone(&shared.metrics),
        }
    }

    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        let mut asking: Option<tokio::task::JoinHandle<(Instant, Option<bool>)>> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            // Kafka may take seconds to fail, so the request has a task of its own: meanwhile the
            // lag grows and has to be reported.
            let answer = match asking.take() {
                Some(task) if task.is_finished() => task.await.ok(),
                Some(task) => {
                    asking = Some(task);
                    None
                }
                None => None,
            };
            if asking.is_none() {
                asking = Some(tokio::spawn(self.ask()));
            }
            self.observe(answer);
        }
    }

    fn observe(&mut self, rules: Option<(Instant, Option<bool>)>) {
        if let Some((at, rules_whole)) = rules {
            self.clock.observe(&Measured {
                at,
                log_whole: None,
                rules_whole,
            });
        }
        if let Some((at, whole)) = self.log.borrow().measured {
            self.clock.observe(&Measured {
                at,
                log_whole: Some(whole),
                rules_whole: None,
            });
        }
        self.clock.set_bounds(self.policies.get().freshness);
        let now = Instant::now();
        let (state, lags) = (self.clock.state(now), self.clock.lags(now));
        if state != self.lag.get() {
            tracing::warn!(?state, log = ?lags.log, rules = ?lags.rules, "lag of changes");
        }
        self.lag.set(state);
        let state = match state {
            LagState::Current => "current",
            LagState::Label(_) => "label",
            LagState::Bypass(_) => "bypass",
        };
        self.metrics.lag(state, lags.log, lags.rules);
    }

    /// Asks whether everything in the change topics is judged. Returns the time of the request with
    /// the answer, or with `None` if the ends of the topics are not known.
    fn ask(&self) -> impl Future<Output = (Instant, Option<bool>)> + use<> {
        let (admin, topics) = (self.admin.clone(), self.topics.clone());
        let progress = Arc::clone(&self.progress);
        async move {
            let at = Instant::now();
            let whole = match change_ends(&admin, &topics).await {
                Ok(ends) => Some(progress.behind(&ends) == 0),
                Err(error) => {
                    tracing::debug!(%error, "the ends of the change topics are not known");
                    None
                }
            };
            (at, whole)
        }
    }
}

/// Returns the start, the end and the topic id of every partition of the change topics.
pub async fn change_ends(admin: &Admin, topics: &[Arc<str>]) -> Result<ChangeEnds, KafkaError> {
    let mut found = ChangeEnds::default();
    for topic in topics {
        for (partition, (start, end)) in (0..).zip(admin.ends(topic).await?) {
            let at = ChangeEnd {
                topic: None,
                start,
                end,
            };
            found.insert((Arc::clone(topic), partition), at);
        }
    }
    // The ids after the ends: if a topic is recreated between the two requests, the old ends get
    // the new id and count as unjudged.
    let ids = admin.topic_ids(topics).await?;
    for ((topic, _), at) in &mut found {
        at.topic = ids.get(topic).copied();
    }
    Ok(found)
}
