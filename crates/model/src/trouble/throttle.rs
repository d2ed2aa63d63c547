//! Limits the log lines for something that happens often.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A limit that lets one message pass per interval, and counts the others.
#[derive(Debug)]
pub struct Throttle {
    start: Instant,
    interval: Duration,
    /// The time, in milliseconds since `start`, from which the next message may pass.
    next_ms: AtomicU64,
    held: AtomicU64,
}

impl Throttle {
    pub fn new(interval: Duration) -> Self {
        Self {
            start: Instant::now(),
            interval,
            next_ms: AtomicU64::new(0),
            held: AtomicU64::new(0),
        }
    }

    /// Returns the number of messages held back since the last one, if this one may pass.
    pub fn pass(&self) -> Option<u64> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let now = millis(self.start.elapsed());
        let next = self.next_ms.load(Ordering::Relaxed);
        let until = now.saturating_add(millis(self.interval));
        let passes = now >= next
            && self
                .next_ms
                .compare_exchange(next, until, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if passes {
            Some(self.held.swap(0, Ordering::Relaxed))
        } else {
            self.held.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttle_passes_the_first_and_counts_the_rest() {
        let throttle = Throttle::new(Duration::from_hours(1));
        assert_eq!(throttle.pass(), Some(0));
        assert_eq!((throttle.pass(), throttle.pass()), (None, None));
        assert_eq!(throttle.held.load(Ordering::Relaxed), 2);
    }
}
