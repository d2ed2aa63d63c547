//! Resets of positions that librdkafka has logged, until it is known what they mean.
//!
//! A position outside the log is reset to the log's start. But librdkafka also makes positions up:
//! it goes on within a batch whose checksum is wrong and takes what is there for the head of the next
//! batch. It logs the reset at once, on a thread of its own, whereas the batch is reported through
//! the poll, which may come to it later.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;

/// The time after which the poll has come to what was reported before a reset.
const REPORTED_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Resets(Mutex<Vec<Reset>>);

#[derive(Debug, Clone)]
pub(super) struct Reset {
    at: Instant,
    pub(super) level: RDKafkaLogLevel,
    pub(super) text: String,
}

impl Resets {
    pub(super) fn put(&self, level: RDKafkaLogLevel, text: &str) {
        self.0.lock().push(Reset {
            at: Instant::now(),
            level,
            text: text.to_owned(),
        });
    }

    /// Takes the resets whose meaning is known by `now`, oldest first.
    pub(super) fn take(&self, now: Instant) -> Vec<Reset> {
        let mut resets = self.0.lock();
        let known = |reset: &Reset| now.saturating_duration_since(reset.at) >= REPORTED_AFTER;
        let many = resets.iter().take_while(|reset| known(reset)).count();
        resets.drain(..many).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_judged_once_and_not_at_once() {
        let resets = Resets::default();
        resets.put(RDKafkaLogLevel::Warning, "one");
        assert!(resets.take(Instant::now()).is_empty());
        let later = Instant::now() + REPORTED_AFTER;
        let taken = resets.take(later);
        assert_eq!((taken.len(), taken[0].text.as_str()), (1, "one"));
        assert!(resets.take(later).is_empty());
    }
}
