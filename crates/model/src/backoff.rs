//! The delay before a retry: exponential growth with full jitter.
//!
//! Full jitter (a uniform draw from zero to the ceiling) spreads callers that failed together
//! better than any fixed fraction does; see "Exponential Backoff And Jitter", AWS Architecture
//! Blog, 2015. Pure: it computes delays and leaves the waiting to its caller.

use std::time::Duration;

/// The shape of a backoff: the ceiling doubles with every attempt, from `base` up to `cap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The ceiling of the first delay.
    pub base: Duration,
    /// The longest delay.
    pub cap: Duration,
}

impl Policy {
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// Returns the longest delay after `failures` earlier delays, `min(cap, base × 2^failures)`.
    pub fn ceiling(self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// Returns the delay for a draw of `unit`, which is clamped to 0..=1.
    pub fn delay(self, failures: u32, unit: f64) -> Duration {
        let unit = if unit.is_nan() {
            1.0
        } else {
            unit.clamp(0.0, 1.0)
        };
        self.ceiling(failures).mul_f64(unit)
    }
}

/// A run of delays: each [`Backoff::next_delay`] draws from a higher ceiling until a success
/// calls [`Backoff::reset`].
#[derive(Debug, Clone)]
pub struct Backoff {
    policy: Policy,
    failures: u32,
    rng: fastrand::Rng,
}

impl Backoff {
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            failures: 0,
            rng: fastrand::Rng::new(),
        }
    }

    /// Returns a backoff with draws that repeat, for tests and simulations.
    pub fn seeded(policy: Policy, seed: u64) -> Self {
        Self {
            policy,
            failures: 0,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    pub fn next_delay(&mut self) -> Duration {
        let delay = self.policy.delay(self.failures, self.rng.f64());
        self.failures = self.failures.saturating_add(1);
        delay
    }

    /// Returns the number of delays drawn since the last reset.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: Policy = Policy::new(Duration::from_millis(100), Duration::from_secs(2));

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let ceilings: Vec<u128> = (0..7).map(|n| POLICY.ceiling(n).as_millis()).collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1600, 2000, 2000]);
        for failures in [31, 32, 33, u32::MAX] {
            assert_eq!(POLICY.ceiling(failures), POLICY.cap, "{failures}");
        }
    }

    #[test]
    fn a_reset_starts_again_at_the_lowest_ceiling() {
        let mut backoff = Backoff::seeded(POLICY, 1);
        for _ in 0..10 {
            backoff.next_delay();
        }
        backoff.reset();
        assert_eq!(backoff.failures(), 0);
        assert!(backoff.next_delay() <= POLICY.base);
    }

    #[test]
    fn delays_fill_the_whole_range_below_the_ceiling() {
        let mut rng = fastrand::Rng::with_seed(7);
        let draws: Vec<Duration> = (0..1000).map(|_| POLICY.delay(3, rng.f64())).collect();
        let below = |limit: u64| {
            draws
                .iter()
                .filter(|d| **d < Duration::from_millis(limit))
                .count()
        };
        assert!((150..350).contains(&below(200)), "{}", below(200));
        assert!((650..850).contains(&below(600)), "{}", below(600));
    }

    proptest! {
        #[test]
        fn no_delay_exceeds_the_ceiling_or_the_cap(
            base in 0_u64..100_000, cap in 0_u64..1_000_000, failures: u32, unit: f64,
        ) {
            let policy = Policy::new(Duration::from_millis(base), Duration::from_millis(cap));
            let delay = policy.delay(failures, unit);
            prop_assert!(delay <= policy.ceiling(failures));
            prop_assert!(delay <= policy.cap);
        }
    }
}
