//! Whether this instance lives and is ready, and why not.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

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

#[derive(Debug)]
pub struct Health {
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    phase: Phase,
    oldest_unfinished: Duration,
    stuck_after: Duration,
}

/// What `/readyz` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    pub ready: bool,
    pub phase: Phase,
    pub detail: String,
}

impl Health {
    /// `stuck_after`: a record unfinished for longer makes the instance unready, and after twice
    /// that time no longer live.
    pub fn new(stuck_after: Duration) -> Self {
        let state = State {
            phase: Phase::Connecting,
            oldest_unfinished: Duration::ZERO,
            stuck_after,
        };
        Self {
            state: Mutex::new(state),
        }
    }

    pub fn enter(&self, phase: Phase) {
        tracing::info!(?phase, "{}", phase.says());
        self.change(|state| state.phase = phase);
    }

    pub fn phase(&self) -> Phase {
        self.state().phase
    }

    /// The watchdog's word: the age of the oldest record that is not finished.
    pub fn oldest_unfinished(&self, age: Duration) {
        self.change(|state| state.oldest_unfinished = age);
    }

    pub fn readiness(&self) -> Readiness {
        let state = self.state();
        let stuck = state.oldest_unfinished > state.stuck_after;
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
        }
    }

    /// No longer when a record has been stuck for twice the bound: the process should end and be
    /// started anew.
    pub fn is_live(&self) -> bool {
        let state = self.state();
        state.oldest_unfinished <= state.stuck_after.saturating_mul(2)
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
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
}
