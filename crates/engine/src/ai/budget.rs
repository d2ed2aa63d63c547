//! A bound on retries: however badly the provider fails, they stay a fraction of the calls.

/// A token bucket that calls fill and retries empty, so that over any time
/// `retries ≤ burst + ratio × calls`. Starts full.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    millitokens: u64,
    per_call: u64,
    most: u64,
}

/// The limits of the retries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BudgetOptions {
    /// Retries per call in the long run; 0 to 1.
    pub ratio: f64,
    /// The most retries that may be saved up.
    pub burst: u32,
}

impl Default for BudgetOptions {
    fn default() -> Self {
        Self {
            ratio: 0.2,
            burst: 10,
        }
    }
}

/// The cost of one retry. Tokens are counted in thousandths, so that sums stay exact.
const RETRY: u64 = 1_000;

impl RetryBudget {
    pub fn new(options: BudgetOptions) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0..=1000; NaN becomes 0"
        )]
        let per_call = (options.ratio.clamp(0.0, 1.0) * 1e3).round() as u64;
        let most = u64::from(options.burst) * RETRY;
        Self {
            millitokens: most,
            per_call,
            most,
        }
    }

    /// Records the start of a call that is not a retry.
    pub fn call(&mut self) {
        self.millitokens = (self.millitokens + self.per_call).min(self.most);
    }

    /// Takes one retry from the budget, if it holds one.
    pub fn retry(&mut self) -> bool {
        let rest = self.millitokens.checked_sub(RETRY);
        self.millitokens = rest.unwrap_or(self.millitokens);
        rest.is_some()
    }

    /// Returns the number of retries left.
    pub fn left(&self) -> u64 {
        self.millitokens / RETRY
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ten_calls_earn_two_retries_and_no_more_than_the_burst_is_saved() {
        let mut budget = RetryBudget::new(BudgetOptions {
            ratio: 0.2,
            burst: 3,
        });
        assert!(budget.retry() && budget.retry() && budget.retry());
        assert!(!budget.retry());
        for _ in 0..10 {
            budget.call();
        }
        assert!(budget.retry() && budget.retry());
        assert!(!budget.retry());
        for _ in 0..1000 {
            budget.call();
        }
        assert_eq!(budget.left(), 3);
    }

    #[test]
    fn a_burst_of_zero_allows_no_retry() {
        let mut budget = RetryBudget::new(BudgetOptions {
            ratio: 1.0,
            burst: 0,
        });
        budget.call();
        assert!(!budget.retry());
    }

    proptest! {
        #[test]
        fn retries_never_exceed_burst_plus_ratio_times_calls(
            percent in 0_u32..=100, burst in 0_u32..20, steps in prop::collection::vec(any::<bool>(), 0..500),
        ) {
            let options = BudgetOptions { ratio: f64::from(percent) / 100.0, burst };
            let mut budget = RetryBudget::new(options);
            let (mut calls, mut retries) = (0_u32, 0_u32);
            for is_call in steps {
                if is_call {
                    budget.call();
                    calls += 1;
                } else if budget.retry() {
                    retries += 1;
                }
                let allowed = f64::from(burst) + options.ratio * f64::from(calls);
                prop_assert!(f64::from(retries) <= allowed + 1e-6);
            }
        }
    }
}
