//! Asks again and again how far changes are known here, and tells the lookups.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::invalidation::{ChangeEnd, ChangeEnds, RulesProgress};
use crate::kafka::{Admin, KafkaError};
use crate::metrics::Metrics;
use crate::resolver::{Lag, LagState};
use crate::stages::follower::LogStatus;
use crate::stages::lag::{LagBound, LagBounds, LagClock, Measured, Then};
use crate::topology::settings::{self, LagAction, Role};

const EVERY: Duration = Duration::from_secs(1);

pub struct LagWatch {
    clock: LagClock,
    lag: Arc<Lag>,
    log: watch::Receiver<LogStatus>,
    progress: Arc<RulesProgress>,
    admin: Admin,
    topics: [Arc<str>; 2],
    metrics: Arc<Metrics>,
}

impl LagWatch {
    /// `judged`: whether all changes from before the start were judged.
    pub(super) fn new(
        shared: &Shared,
        lag: Arc<Lag>,
        log: watch::Receiver<LogStatus>,
        judged: bool,
    ) -> Self {
        let bounds = bounds(&shared.topology.freshness);
        let mut clock = LagClock::new(bounds, Instant::now());
        if !judged {
            clock.rules_unknown();
        }
        lag.set(clock.state(Instant::now()));
        let name = |role| Arc::clone(&shared.topology.topics.get(role).name);
        Self {
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
            // Kafka may take seconds to say nothing: the lag grows meanwhile and is told.
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

    /// Whether everything in the change topics is judged, as of when it was asked.
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

/// Where every partition of the change topics starts and ends, and of which topic it is.
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
    // After the ends: those of a topic that is made again between the two then count as unjudged.
    let ids = admin.topic_ids(topics).await?;
    for ((topic, _), at) in &mut found {
        at.topic = ids.get(topic).copied();
    }
    Ok(found)
}

/// The lags that the topology allows.
pub fn bounds(freshness: &settings::Freshness) -> LagBounds {
    LagBounds {
        log: bound(freshness.max_invalidation_lag),
        rules: bound(freshness.max_rules_lag),
    }
}

fn bound(lag: settings::Lag) -> LagBound {
    LagBound {
        max: lag.bound,
        then: match lag.then {
            LagAction::Stale => Then::Label,
            LagAction::Bypass => Then::Bypass,
        },
    }
}
