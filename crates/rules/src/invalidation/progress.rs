//! The progress of judging the change topics, read from the invalidation log, so that every
//! instance has it even if no member of the rules group is running.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;

use wedcache_model::{Progress, TopicId};

/// A partition of a change topic.
pub type ChangePartition = (Arc<str>, i32);
/// The bounds of the change topics' partitions.
pub type ChangeEnds = HashMap<ChangePartition, ChangeEnd>;

/// The start and end of a partition, and the id of its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChangeEnd {
    /// The topic's id; `None` if the brokers have no topic ids.
    pub topic: Option<TopicId>,
    /// The offset below which retention has deleted the records.
    pub start: i64,
    /// The next offset to be written.
    pub end: i64,
}

/// The highest progress seen of every change partition, by the id of the judged topic: a topic that
/// was recreated begins unjudged.
#[derive(Debug, Default)]
pub struct RulesProgress {
    judged: Mutex<HashMap<ChangePartition, HashMap<Option<TopicId>, i64>>>,
}

impl RulesProgress {
    /// Applies a progress record of the log; a record older than the known progress changes
    /// nothing.
    pub fn apply(&self, progress: &Progress) {
        let partition = (Arc::from(progress.topic.as_str()), progress.partition);
        let mut judged = self.lock();
        let of_topic = judged.entry(partition).or_default();
        let next = of_topic.entry(progress.topic_id).or_insert(progress.next);
        *next = (*next).max(progress.next);
    }

    /// Forgets all progress, because the log is read again from its start.
    pub fn reset(&self) {
        self.lock().clear();
    }

    /// Returns the next offset to be judged of a partition of `topic`; `None` if no record has it.
    /// If the brokers have no topic ids, progress of any topic of that name counts.
    pub fn judged(&self, partition: &ChangePartition, topic: Option<TopicId>) -> Option<i64> {
        let judged = self.lock();
        let of_topic = judged.get(partition)?;
        match topic {
            Some(_) => of_topic.get(&topic).copied(),
            None => of_topic.values().max().copied(),
        }
    }

    /// Returns the number of change events that are not yet judged. Computed from offsets, so it is
    /// an upper bound if compaction or transactions left gaps.
    pub fn behind(&self, ends: &ChangeEnds) -> u64 {
        ends.iter()
            .map(|(partition, at)| {
                let next = self.judged(partition, at.topic).unwrap_or(0).max(at.start);
                u64::try_from(at.end - next).unwrap_or(0)
            })
            .sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ChangePartition, HashMap<Option<TopicId>, i64>>> {
        self.judged.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wedcache_model::Timestamp;

    fn progress(partition: i32, topic_id: Option<TopicId>, next: i64) -> Progress {
        Progress {
            topic: "changes".into(),
            topic_id,
            partition,
            next,
            at: Timestamp(0),
        }
    }

    fn ends(of: &[(i32, Option<TopicId>, i64, i64)]) -> ChangeEnds {
        of.iter()
            .map(|&(partition, topic, start, end)| {
                (
                    ("changes".into(), partition),
                    ChangeEnd { topic, start, end },
                )
            })
            .collect()
    }

    #[test]
    fn the_highest_progress_counts_and_empty_partitions_are_never_behind() {
        let known = RulesProgress::default();
        let ends = ends(&[(0, None, 0, 10), (1, None, 0, 0), (2, None, 7, 7)]);
        assert_eq!(
            known.behind(&ends),
            10,
            "partition 2 holds no record any more"
        );
        known.apply(&progress(0, None, 8));
        known.apply(&progress(0, None, 5));
        assert_eq!(known.behind(&ends), 2);
        known.apply(&progress(0, None, 12));
        assert_eq!(known.behind(&ends), 0);
    }

    #[test]
    fn progress_of_a_topic_since_recreated_counts_for_nothing() {
        let known = RulesProgress::default();
        let [old, new] = [TopicId(1), TopicId(2)].map(Some);
        known.apply(&progress(0, old, 12));
        known.apply(&progress(0, None, 11));
        assert_eq!(known.behind(&ends(&[(0, old, 0, 12)])), 0);
        assert_eq!(known.behind(&ends(&[(0, new, 0, 1)])), 1);
        known.apply(&progress(0, new, 1));
        assert_eq!(known.behind(&ends(&[(0, new, 0, 1)])), 0);
        assert_eq!(known.behind(&ends(&[(0, new, 0, 5)])), 4);
        assert_eq!(
            known.behind(&ends(&[(0, None, 0, 12)])),
            0,
            "without ids, the highest"
        );
    }
}
