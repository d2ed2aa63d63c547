//! The length of a demo: `--for 10s` takes 10 s from the program's start to its end.

use std::time::{Duration, Instant};

/// The usual length of a drain, reserved at the end of a demo's time: the model's slowest calls
/// take 0.6 s, and leaving the groups and ending the readers takes as long again.
const DRAIN: Duration = Duration::from_millis(1500);

/// The time that a demo may take, from the program's start; without a length it is unlimited.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub began: Instant,
    pub length: Option<Duration>,
}

impl Span {
    /// Returns the time at which the drain begins, so that it ends in time: a short demo leaves a
    /// quarter of its length for the drain.
    pub fn drains_at(&self) -> Option<Instant> {
        let length = self.length?;
        let drain = DRAIN.min(length / 4);
        self.began.checked_add(length.saturating_sub(drain))
    }

    pub fn is_over(&self, now: Instant) -> bool {
        self.drains_at().is_some_and(|at| now >= at)
    }

    /// Returns the time until the end, the drain included.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        let end = self.began.checked_add(self.length?)?;
        Some(end.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drain_lies_within_the_time_that_was_asked_for() {
        let began = Instant::now();
        for (length, drains_after) in [
            (0, 0),
            (400, 300),
            (2000, 1500),
            (6000, 4500),
            (10_000, 8500),
            (60_000, 58_500),
        ] {
            let length = Duration::from_millis(length);
            let span = Span {
                began,
                length: Some(length),
            };
            let drains_at = began + Duration::from_millis(drains_after);
            assert_eq!(span.drains_at(), Some(drains_at), "{length:?}");
            assert!(span.is_over(drains_at));
            assert_eq!(span.left(began), Some(length));
            assert_eq!(span.left(began + length * 2), Some(Duration::ZERO));
            if !length.is_zero() {
                let before = began + Duration::from_millis(drains_after - 1);
                assert!(!span.is_over(before));
            }
        }
    }

    #[test]
    fn a_demo_without_a_time_or_with_a_huge_one_is_never_over() {
        for length in [None, Some(Duration::MAX)] {
            let span = Span {
                began: Instant::now(),
                length,
            };
            assert!(!span.is_over(Instant::now() + Duration::from_secs(1 << 30)));
            assert_eq!(span.left(Instant::now()), None);
        }
    }
}
