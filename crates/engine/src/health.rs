//! The life and readiness of this instance, and the state of its components with the reasons.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use wedcache_model::Timestamp;
use wedcache_model::clock::Clock;
use wedcache_model::trouble::Trouble;

/// The phases of an instance, in the order of its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Looking for Kafka and its topics.
    Connecting,
    /// Reading the invalidation log to the end that it had at the start.
    ReadingLog,
    /// Waiting until the changes that stood in their topics at the start are judged.
    AwaitingRules,
    /// Answering queries.
    Ready,
    /// Finishing the records that were taken in.
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

/// The parts of an instance that can fail by themselves.
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

/// The condition of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    Ok,
    /// A part of the component's work fails, or others do it; queries are answered.
    Degraded,
    /// The component does not work at all.
    Down,
}

/// The condition of a component, the time since which it has that, and the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComponentState {
    pub state: Condition,
    pub since: Timestamp,
    /// The reason, for people; null where there is none to give.
    pub why: Option<Arc<str>>,
}

/// The health of an instance, as `/readyz` shows it.
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

/// The response of `/readyz` and `/readyz/stream`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    pub ready: bool,
    pub phase: Phase,
    pub detail: String,
    /// The number of partitions of the queries' topic that this instance holds.
    pub partitions: usize,
    pub components: BTreeMap<Component, ComponentState>,
}

const NOT_STARTED: &str = "not started yet";

impl Health {
    /// Builds the health of an instance that starts. A record that is unfinished for longer than
    /// `stuck_after` makes the instance unready, and after twice that time no longer live.
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

    /// Takes the age of the oldest unfinished record, from the watchdog.
    pub fn oldest_unfinished(&self, age: Duration) {
        self.state().oldest_unfinished = age;
    }

    /// Takes the number of partitions of the queries' topic that are held.
    pub fn partitions(&self, held: usize) {
        self.state().partitions = held;
    }

    pub fn ok(&self, component: Component) {
        self.set(component, Condition::Ok, None, None);
    }

    /// Sets a component to ok, with a remark.
    pub fn ok_since(&self, component: Component, why: &str) {
        self.set(component, Condition::Ok, None, Some(why.into()));
    }

    /// Sets a component to degraded; `since` is by default the time of the first such call.
    pub fn degraded(&self, component: Component, since: Option<Timestamp>, why: &str) {
        self.set(component, Condition::Degraded, since, Some(why.into()));
    }

    pub fn down(&self, component: Component, since: Option<Timestamp>, why: &str) {
        self.set(component, Condition::Down, since, Some(why.into()));
    }

    /// Sets a component that lookups can do without: with a trouble it is degraded, never down.
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
        // A time that is computed back from an age varies by a millisecond or two between calls.
        let wavers = |before: &Timestamp, since: Timestamp| (before.0 - since.0).abs() < 1000;
        let lasted = lasts.map(|before| before.since);
        let kept = lasted.filter(|before| since.is_none_or(|since| wavers(before, since)));
        let since = kept.or(since).unwrap_or_else(|| self.clock.now());
        let now = ComponentState { state, since, why };
        held.components.insert(component, now);
    }

    /// Returns whether a query can be answered, from any layer or by the provider, labelled or not.
    /// Kafka, the provider, Redis or the disk may be away.
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

    /// Returns whether queries are taken from Kafka: the instance is ready and holds a partition.
    pub fn stream_readiness(&self) -> Readiness {
        let mut readiness = self.readiness();
        if readiness.ready && readiness.partitions == 0 {
            readiness.ready = false;
            "no partition of the queries' topic is held".clone_into(&mut readiness.detail);
        }
        readiness
    }

    /// Returns false once a record has been stuck for twice the bound: the process should then be
    /// restarted.
    pub fn is_live(&self) -> bool {
        self.state().oldest_unfinished <= self.stuck_after.saturating_mul(2)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
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
