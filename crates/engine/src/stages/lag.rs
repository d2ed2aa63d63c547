//! The lag of this instance's knowledge of changes, and what look-ups do about it. Pure: times come
//! in, a [`LagState`] comes out.

use std::time::Duration;

use tokio::time::Instant;

use wedcache_model::StaleReason;
use wedcache_rules::topology::settings::{Freshness, LagAction};

use crate::resolver::LagState;

/// The last moments at which nothing was missing.
#[derive(Debug, Clone, Copy)]
pub struct LagClock {
    bounds: Freshness,
    log_whole_at: Instant,
    rules_whole_at: Instant,
}

/// The result of comparing the ends of the log and of the change topics with what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// The time at which the ends were asked for; the result says nothing about later.
    pub at: Instant,
    /// True if the log's end was reached; `None` if Kafka did not answer.
    pub log_whole: Option<bool>,
    /// True if all changes are judged; `None` if Kafka did not answer.
    pub rules_whole: Option<bool>,
}

/// The time since everything was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lags {
    pub log: Duration,
    pub rules: Duration,
}

impl LagClock {
    /// Starts at a moment at which the log was read to its end and all changes were judged.
    pub fn new(bounds: Freshness, now: Instant) -> Self {
        Self {
            bounds,
            log_whole_at: now,
            rules_whole_at: now,
        }
    }

    /// Judges lags by these bounds from now on.
    pub fn set_bounds(&mut self, bounds: Freshness) {
        self.bounds = bounds;
    }

    /// Notes that the start barrier ended with changes unjudged: the rules lag is past its bound until
    /// they are judged.
    pub fn rules_unknown(&mut self) {
        let past = self.bounds.max_rules_lag.bound + Duration::from_secs(1);
        self.rules_whole_at = self
            .rules_whole_at
            .checked_sub(past)
            .unwrap_or(self.rules_whole_at);
    }

    pub fn observe(&mut self, measured: &Measured) {
        if measured.log_whole == Some(true) {
            self.log_whole_at = self.log_whole_at.max(measured.at);
        }
        if measured.rules_whole == Some(true) {
            self.rules_whole_at = self.rules_whole_at.max(measured.at);
        }
    }

    pub fn lags(&self, now: Instant) -> Lags {
        Lags {
            log: now.saturating_duration_since(self.log_whole_at),
            rules: now.saturating_duration_since(self.rules_whole_at),
        }
    }

    /// Returns what look-ups do. A bypass outweighs a label, the log outweighs the rules.
    pub fn state(&self, now: Instant) -> LagState {
        let lags = self.lags(now);
        let past = [
            (
                self.bounds.max_invalidation_lag,
                lags.log,
                StaleReason::LogLag,
            ),
            (self.bounds.max_rules_lag, lags.rules, StaleReason::RulesLag),
        ];
        let past = || past.iter().filter(|(bound, lag, _)| *lag > bound.bound);
        if let Some((.., reason)) = past().find(|(bound, ..)| bound.then == LagAction::Bypass) {
            return LagState::Bypass(*reason);
        }
        past()
            .next()
            .map_or(LagState::Current, |(.., reason)| LagState::Label(*reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wedcache_rules::topology::settings::LagBound;

    fn clock(log: LagAction, rules: LagAction) -> (LagClock, Instant) {
        let bound = |secs, then| LagBound {
            bound: Duration::from_secs(secs),
            then,
        };
        let bounds = Freshness {
            max_invalidation_lag: bound(5, log),
            max_rules_lag: bound(30, rules),
            widen_refresh_interval: Duration::ZERO,
        };
        let now = Instant::now();
        (LagClock::new(bounds, now), now)
    }

    fn measured(at: Instant, log: Option<bool>, rules: Option<bool>) -> Measured {
        Measured {
            at,
            log_whole: log,
            rules_whole: rules,
        }
    }

    #[test]
    fn silence_and_falling_behind_both_count_as_lag() {
        let (mut clock, start) = clock(LagAction::Stale, LagAction::Bypass);
        let at = |secs| start + Duration::from_secs(secs);
        assert_eq!(clock.state(at(5)), LagState::Current);
        clock.observe(&measured(at(4), Some(true), Some(true)));
        clock.observe(&measured(at(8), None, Some(true)));
        clock.observe(&measured(at(9), Some(false), Some(true)));
        assert_eq!(clock.lags(at(10)).log, Duration::from_secs(6));
        assert_eq!(clock.state(at(10)), LagState::Label(StaleReason::LogLag));
        assert_eq!(clock.state(at(40)), LagState::Bypass(StaleReason::RulesLag));
        clock.observe(&measured(at(41), Some(true), Some(true)));
        assert_eq!(clock.state(at(41)), LagState::Current);
    }

    #[test]
    fn a_start_with_unjudged_changes_is_past_the_bound_until_they_are_judged() {
        let (mut clock, start) = clock(LagAction::Bypass, LagAction::Stale);
        clock.rules_unknown();
        assert_eq!(clock.state(start), LagState::Label(StaleReason::RulesLag));
        clock.observe(&measured(start, Some(true), Some(true)));
        assert_eq!(clock.state(start), LagState::Current);
    }
}
