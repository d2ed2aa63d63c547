//! How far the change topics have been judged, as the invalidation log tells it: so every
//! instance knows, also when no member of the rules group lives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::Progress;

/// A partition of a change topic.
pub type ChangePartition = (Arc<str>, i32);
/// Offsets of change partitions: what stands at their ends, or what is judged.
pub type ChangeOffsets = HashMap<ChangePartition, i64>;

/// The highest progress seen of every change partition.
#[derive(Debug, Default)]
pub struct RulesProgress {
    judged: Mutex<ChangeOffsets>,
}

impl RulesProgress {
    /// Takes a record of the log; an older one than is known changes nothing.
    pub fn apply(&self, progress: &Progress) {
        let partition = (Arc::from(progress.topic.as_str()), progress.partition);
        let mut judged = self.lock();
        let next = judged.entry(partition).or_insert(progress.next);
        *next = (*next).max(progress.next);
    }

    /// The log is read anew.
    pub fn reset(&self) {
        self.lock().clear();
    }

    /// What is judged of a partition; none where no record says so.
    pub fn judged(&self, topic: &Arc<str>, partition: i32) -> Option<i64> {
        self.lock().get(&(Arc::clone(topic), partition)).copied()
    }

    /// How many change events below `ends` are not yet judged. Offsets count: where compaction
    /// or transactions left gaps this is an upper bound. `starts` are the offsets below which
    /// retention has taken the records.
    pub fn behind(&self, starts: &ChangeOffsets, ends: &ChangeOffsets) -> u64 {
        let judged = self.lock();
        ends.iter()
            .map(|(partition, end)| {
                let start = starts.get(partition).copied().unwrap_or(0);
                let next = judged.get(partition).copied().unwrap_or(0).max(start);
                u64::try_from(end - next).unwrap_or(0)
            })
            .sum()
    }

    fn lock(&self) -> MutexGuard<'_, ChangeOffsets> {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn progress(partition: i32, next: i64) -> Progress {
        Progress {
            topic: "changes".into(),
            partition,
            next,
            at: Timestamp(0),
        }
    }

    #[test]
    fn the_highest_progress_counts_and_empty_partitions_are_never_behind() {
        let known = RulesProgress::default();
        let ends: ChangeOffsets = [
            (("changes".into(), 0), 10),
            (("changes".into(), 1), 0),
            (("changes".into(), 2), 7),
        ]
        .into();
        let starts: ChangeOffsets = [(("changes".into(), 2), 7)].into();
        assert_eq!(
            known.behind(&starts, &ends),
            10,
            "partition 2 holds no record any more"
        );
        known.apply(&progress(0, 8));
        known.apply(&progress(0, 5));
        assert_eq!(known.behind(&starts, &ends), 2);
        known.apply(&progress(0, 12));
        assert_eq!(known.behind(&starts, &ends), 0);
    }
}
