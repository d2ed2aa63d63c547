//! Whether this instance lives and is ready, how its components are, and why not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::clock::Clock;
use crate::model::Timestamp;
use crate::trouble::Trouble;

/// What the instance is doing, in the order of its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Looking for Kafka and its topics.
    Connecting,
    /// Reading the invalidation log to the end that it had at the start.
    ReadingLog,
    /// Waiting until the changes that stood at the start are judged.
    AwaitingRules,
    /// Answering.
    Ready,
    /// Finishing what was taken.
    Draining,
}

impl Phase {
    pub fn says(self) -> &'static str {
        match self {
            Self::Connecting => "connecting to Kafka",
            Self::ReadingLog => "reading the invalidation log to its end",
            Self::AwaitingRules => "waiting until the changes that stood at the start are judged",
            Self::Ready => "ready",
            Self::Draining => "draining: no new records are taken",
        }
    }
}

/// What an instance is made of, as far as it can fail by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Component {
    Kafka,
    Log,
    Rules,
    Memory,
    Disk,
    Redis,
    Provider,
    Lag,
}

impl Component {
    pub const ALL: [Self; 8] = [
        Self::Kafka,
        Self::Log,
        Self::Rules,
        Self::Memory,
        Self::Disk,
        Self::Redis,
        Self::Provider,
        Self::Lag,
    ];
}

/// How a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    Ok,
    /// A part of its work fails, or others do it; queries are answered.
    Degraded,
    /// Nothing can be had from it.
    Down,
}

/// How a component is, since when, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComponentState {
    pub state: Condition,
    pub since: Timestamp,
    /// For people; null where nothing is to be said.
    pub why: Option<Arc<str>>,
}

/// What is known of an instance; told by `/readyz`.
#[derive(Debug)]
pub struct Health {
    clock: Clock,
    stuck_after: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    oldest_unfinished: Duration,
    partitions: usize,
    components: BTreeMap<Component, ComponentState>,
}

/// What `/readyz` and `/readyz/stream` say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    pub ready: bool,
    pub phase: Phase,
    pub detail: String,
    /// Partitions of the queries' topic that this instance holds.
    pub partitions: usize,
    pub components: BTreeMap<Component, ComponentState>,
}

const NOT_STARTED: &str = "not started yet";

impl Health {
    /// `stuck_after`: a record unfinished for longer makes the instance unready, and after twice
    /// that time no longer live.
    pub fn new(stuck_after: Duration) -> Self {
        Self::by(Clock::System, stuck_after)
    }

    fn by(clock: Clock, stuck_after: Duration) -> Self {
        let not_started = ComponentState {
            state: Condition::Down,
            since: clock.now(),
            why: Some(NOT_STARTED.into()),
        };
        let components = Component::ALL.map(|component| (component, not_started.clone()));
        let state = State {
            phase: Phase::Connecting,
            oldest_unfinished: Duration::ZERO,
            partitions: 0,
            components: components.into(),
        };
        Self {
            clock,
            stuck_after,
            state: Mutex::new(state),
        }
    }

    pub fn enter(&self, phase: Phase) {
        tracing::info!(?phase, "{}", phase.says());
        self.state().phase = phase;
    }

    pub fn phase(&self) -> Phase {
        self.state().phase
    }

    /// The watchdog's word: the age of the oldest record that is not finished.
    pub fn oldest_unfinished(&self, age: Duration) {
        self.state().oldest_unfinished = age;
    }

    /// How many partitions of the queries' topic are held.
    pub fn partitions(&self, held: usize) {
        self.state().partitions = held;
    }

    pub fn ok(&self, component: Component) {
        self.set(component, Condition::Ok, None, None);
    }

    /// All is well with a component, and there is something to say.
    pub fn ok_since(&self, component: Component, why: &str) {
        self.set(component, Condition::Ok, None, Some(why.into()));
    }

    /// A component works in part; `since` is by default when that is first said.
    pub fn degraded(&self, component: Component, since: Option<Timestamp>, why: &str) {
        self.set(component, Condition::Degraded, since, Some(why.into()));
    }

    pub fn down(&self, component: Component, since: Option<Timestamp>, why: &str) {
        self.set(component, Condition::Down, since, Some(why.into()));
    }

    /// Of a component that lookups can do without: it is never worse than degraded.
    pub fn trouble(&self, component: Component, trouble: Option<&Trouble>) {
        match trouble {
            None => self.ok(component),
            Some(of) => self.degraded(component, Some(of.since), &of.detail),
        }
    }

    fn set(
        &self,
        component: Component,
        state: Condition,
        since: Option<Timestamp>,
        why: Option<Arc<str>>,
    ) {
        let mut held = self.state();
        let before = held.components.get(&component);
        let lasts = before.filter(|before| before.state == state);
        // An instant that is reckoned back from an age wavers by a millisecond or two.
        let wavers = |before: &Timestamp, since: Timestamp| (before.0 - since.0).abs() < 1000;
        let lasted = lasts.map(|before| before.since);
        let kept = lasted.filter(|before| since.is_none_or(|since| wavers(before, since)));
        let since = kept.or(since).unwrap_or_else(|| self.clock.now());
        let now = ComponentState { state, since, why };
        held.components.insert(component, now);
    }

    /// Whether a query can be answered: from any layer, by the provider, labelled or not. Kafka, the
    /// provider, Redis or the disk may be away.
    pub fn readiness(&self) -> Readiness {
        let state = self.state();
        let stuck = state.oldest_unfinished > self.stuck_after;
        let detail = if stuck && state.phase == Phase::Ready {
            format!(
                "a record has been unfinished for {} s",
                state.oldest_unfinished.as_secs()
            )
        } else {
            state.phase.says().to_owned()
        };
        Readiness {
            ready: state.phase == Phase::Ready && !stuck,
            phase: state.phase,
            detail,
            partitions: state.partitions,
            components: state.components.clone(),
        }
    }

    /// Whether queries are taken from Kafka: ready, and a partition is held.
    pub fn stream_readiness(&self) -> Readiness {
        let mut readiness = self.readiness();
        if readiness.ready && readiness.partitions == 0 {
            readiness.ready = false;
            "no partition of the queries' topic is held".clone_into(&mut readiness.detail);
        }
        readiness
    }

    /// No longer when a record has been stuck for twice the bound: the process should end and be
    /// started again.
    pub fn is_live(&self) -> bool {
        self.state().oldest_unfinished <= self.stuck_after.saturating_mul(2)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_past_the_barriers_while_nothing_is_stuck_and_not_while_draining() {
        let health = Health::new(Duration::from_mins(1));
        for phase in [
            Phase::Connecting,
            Phase::ReadingLog,
            Phase::AwaitingRules,
            Phase::Draining,
        ] {
            health.enter(phase);
            assert!(!health.readiness().ready, "{phase:?}");
        }
        health.enter(Phase::Ready);
        assert!(health.readiness().ready);
        health.oldest_unfinished(Duration::from_secs(61));
        assert!(!health.readiness().ready && health.is_live());
        assert!(health.readiness().detail.contains("61 s"));
        health.oldest_unfinished(Duration::from_secs(121));
        assert!(!health.is_live());
    }

    #[test]
    fn the_stream_is_ready_while_a_partition_is_held_and_queries_are_whatever_is_away() {
        let health = Health::new(Duration::from_mins(1));
        health.partitions(3);
        assert!(!health.stream_readiness().ready, "not before the instance");
        health.enter(Phase::Ready);
        assert!(health.stream_readiness().ready);
        health.partitions(0);
        let stream = health.stream_readiness();
        assert!(
            !stream.ready && stream.detail.contains("no partition"),
            "{stream:?}"
        );
        for component in Component::ALL {
            health.down(component, None, "gone");
        }
        assert!(health.readiness().ready);
    }

    #[tokio::test(start_paused = true)]
    async fn a_state_keeps_its_time_until_it_changes() {
        let start = Timestamp(1_790_000_000_000);
        let health = Health::by(Clock::with_timers(start), Duration::from_mins(1));
        let disk = || health.readiness().components[&Component::Disk].clone();
        assert_eq!(
            (disk().state, disk().why.as_deref()),
            (Condition::Down, Some(NOT_STARTED))
        );
        let second = Duration::from_secs(1);
        tokio::time::advance(second).await;
        health.ok(Component::Disk);
        tokio::time::advance(second).await;
        health.ok(Component::Disk);
        assert_eq!((disk().since, disk().why), (start.plus(second), None));
        health.degraded(Component::Disk, None, "full");
        tokio::time::advance(second).await;
        health.degraded(Component::Disk, None, "gone");
        let now = disk();
        assert_eq!(now.since, start.plus(second * 2));
        assert_eq!(
            (now.state, now.why.as_deref()),
            (Condition::Degraded, Some("gone"))
        );
        let known = start.minus(second);
        health.degraded(Component::Disk, Some(known), "gone");
        assert_eq!(disk().since, known);
    }

    #[test]
    fn readiness_has_one_shape_with_instants_as_text() {
        let clock = Clock::with_timers(Timestamp(1_790_000_000_000));
        let health = Health::by(clock, Duration::from_mins(1));
        let json = serde_json::to_value(health.readiness()).unwrap();
        assert_eq!(
            (&json["ready"], &json["phase"]),
            (&false.into(), &"connecting".into())
        );
        let components = json["components"].as_object().unwrap();
        for name in [
            "kafka", "log", "rules", "memory", "disk", "redis", "provider", "lag",
        ] {
            let of = &components[name];
            assert_eq!(of["state"], "down", "{name}");
            assert_eq!(of["since"], "2026-09-21T14:13:20.000Z", "{name}");
            assert_eq!(of["why"], "not started yet", "{name}");
        }
        assert_eq!(components.len(), 8);
    }
}
