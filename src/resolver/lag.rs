//! How far this instance's knowledge of changes lags, as the hit path asks it: one atomic load.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::model::StaleReason;

/// What a lookup has to do about the lag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LagState {
    /// Within the bounds.
    Current,
    /// Serve, labelled stale.
    Label(StaleReason),
    /// Do not serve from the cache; ask the provider.
    Bypass(StaleReason),
}

/// Written by the one who measures, read by every lookup.
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

/// The states that there are; another reason of staleness is none of the lag's.
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
