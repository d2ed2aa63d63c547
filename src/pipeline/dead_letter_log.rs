//! The log lines about dead letters: one for the first of a topic and reason, then counts, once a
//! minute.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::codec::Reason;
use crate::model::Coordinates;
use crate::trouble::{Notice, Pace, Troubles};

/// The lines of all inputs of a process.
#[derive(Debug)]
pub struct DeadLetterLog(Mutex<State>);

#[derive(Debug)]
struct State {
    written: Troubles<Kind>,
    /// Dead letters that the topic does not take.
    refused: Troubles<()>,
    /// The last dead letter of each kind.
    last: BTreeMap<Kind, (Coordinates, String)>,
}

/// Dead letters that share a line: those of an input topic for a reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    topic: Arc<str>,
    reason: &'static str,
}

impl Default for DeadLetterLog {
    fn default() -> Self {
        Self(Mutex::new(State {
            written: Troubles::new(Pace::default()),
            refused: Troubles::new(Pace::default()),
            last: BTreeMap::new(),
        }))
    }
}

impl DeadLetterLog {
    /// Notes a dead letter that has arrived in its topic.
    pub fn written(&self, place: &Coordinates, reason: Reason, detail: &str) {
        let topic = Arc::clone(&place.topic);
        let reason = reason.as_str();
        let kind = Kind { topic, reason };
        let notice = self.change(|state| {
            let last = (place.clone(), detail.to_owned());
            state.last.insert(kind.clone(), last);
            state
                .written
                .failed(kind.clone(), Instant::now().into_std())
        });
        if let Some(notice) = notice {
            tell(&notice, &kind, place, detail);
        }
    }

    /// Notes a dead letter that could not be written yet.
    pub fn refused(&self, place: &Coordinates, why: &str) {
        let notice = self.change(|state| state.refused.failed((), Instant::now().into_std()));
        if let Some(notice) = notice {
            let (topic, partition, offset) = (&place.topic, place.partition, place.offset);
            let times = times(&notice);
            tracing::error!(%topic, partition, offset, why, times, "a dead letter cannot be written; its record waits");
        }
    }

    /// Logs the counts that are due. To be called about once a second.
    pub fn settle(&self) {
        let due = self.change(|state| {
            let due = state.written.settle(Instant::now().into_std());
            let last = |(kind, notice)| {
                let (place, detail) = state.last.get(&kind)?.clone();
                Some((notice, kind, place, detail))
            };
            due.into_iter().filter_map(last).collect::<Vec<_>>()
        });
        for (notice, kind, place, detail) in due {
            tell(&notice, &kind, &place, &detail);
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock())
    }
}

fn tell(notice: &Notice, kind: &Kind, place: &Coordinates, detail: &str) {
    let Kind { topic, reason } = kind;
    let (partition, offset) = (place.partition, place.offset);
    let letters = times(notice);
    tracing::info!(%topic, reason, letters, partition, offset, detail, "dead-lettered");
}

/// Returns the number of dead letters that a line stands for.
fn times(notice: &Notice) -> u64 {
    match notice {
        Notice::Begins => 1,
        Notice::Lasts { failures, .. } | Notice::Over { failures, .. } => *failures,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Timestamp;
    use crate::trouble::captured::Captured;

    fn place(topic: &str, offset: i64) -> Coordinates {
        Coordinates {
            topic: topic.into(),
            partition: 2,
            offset,
            timestamp: Timestamp(0),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_of_a_topic_and_reason_is_told_then_counts_once_a_minute() {
        let (log, _guard) = Captured::begin(tracing::Level::INFO);
        let letters = DeadLetterLog::default();
        for second in 0..130 {
            letters.written(&place("a.queries", second), Reason::UnreadableJson, "at 7");
            if second == 3 {
                letters.written(&place("a.queries", second), Reason::MissingField, "x");
                letters.written(&place("a.changes", second), Reason::MissingField, "x");
            }
            letters.settle();
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let of = |words: &[&str]| log.lines_with(&[&["INFO", "dead-lettered"], words].concat());
        assert_eq!(of(&["a.queries", "unreadable_json"]), 3, "{}", log.text());
        assert_eq!(
            of(&["letters=1 ", "offset=0 ", "at 7"]),
            1,
            "{}",
            log.text()
        );
        assert_eq!(of(&["letters=60 "]), 2, "{}", log.text());
        assert_eq!(of(&["missing_field"]), 2, "each once: {}", log.text());
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_last_is_told_when_nothing_follows() {
        let (log, _guard) = Captured::begin(tracing::Level::INFO);
        let letters = DeadLetterLog::default();
        for offset in 0..4 {
            letters.written(&place("a", offset), Reason::EmptyValue, "empty");
        }
        tokio::time::advance(Duration::from_mins(1)).await;
        letters.settle();
        tokio::time::advance(Duration::from_mins(9)).await;
        letters.settle();
        assert_eq!(log.lines_with(&["dead-lettered"]), 2, "{}", log.text());
        assert_eq!(log.lines_with(&["letters=3 ", "offset=3 "]), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn letters_that_are_refused_are_an_error_once_a_minute() {
        let (log, _guard) = Captured::begin(tracing::Level::INFO);
        let letters = DeadLetterLog::default();
        for second in 0..61 {
            letters.refused(&place("a", second), "too large");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(
            log.lines_with(&["ERROR", "cannot be written"]),
            2,
            "{}",
            log.text()
        );
    }
}
