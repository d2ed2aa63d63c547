//! The lag of this instance's view of changes, in a form that the hit path reads by one atomic
//! load.

use std::sync::atomic::{AtomicU8, Ordering};

use wedcache_model::StaleReason;

/// The consequence of the lag for a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LagState {
    /// The lag is within its bounds.
    Current,
    /// Entries are served, labelled stale.
    Label(StaleReason),
    /// Nothing is served from the cache; the provider is asked.
    Bypass(StaleReason),
}

/// The current state, written by the task that measures the lag and read by every look-up.
#[derive(Debug, Default)]
pub struct Lag(AtomicU8);

impl Lag {
    pub fn set(&self, state: LagState) {
        let code = STATES.iter().position(|known| *known == state).unwrap_or(0);
        self.0
            .store(u8::try_from(code).unwrap_or(0), Ordering::Relaxed);
    }

    #[inline]
    pub fn get(&self) -> LagState {
        STATES
            .get(usize::from(self.0.load(Ordering::Relaxed)))
            .copied()
            .unwrap_or(STATES[0])
    }
}

/// All possible states: the lag has no other reasons for staleness than these.
const STATES: [LagState; 5] = [
    LagState::Current,
    LagState::Label(StaleReason::LogLag),
    LagState::Label(StaleReason::RulesLag),
    LagState::Bypass(StaleReason::LogLag),
    LagState::Bypass(StaleReason::RulesLag),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_what_is_read() {
        let lag = Lag::default();
        assert_eq!(lag.get(), LagState::Current);
        for state in STATES {
            lag.set(state);
            assert_eq!(lag.get(), state);
        }
    }
}
