//! How far the change topics have been judged, as the invalidation log tells it: so every
//! instance knows, also when no member of the rules group lives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::{Progress, TopicId};

/// A partition of a change topic.
pub type ChangePartition = (Arc<str>, i32);
/// What stands in the partitions of the change topics.
pub type ChangeEnds = HashMap<ChangePartition, ChangeEnd>;

/// Where a partition starts and ends, and of which topic it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChangeEnd {
    /// None where the brokers know no ids.
    pub topic: Option<TopicId>,
    /// The offset below which retention has taken the records.
    pub start: i64,
    /// The next offset to be written.
    pub end: i64,
}

/// The highest progress seen of every change partition, by the topic that it was judged of: a topic
/// that was made again begins unjudged.
#[derive(Debug, Default)]
pub struct RulesProgress {
    judged: Mutex<HashMap<ChangePartition, HashMap<Option<TopicId>, i64>>>,
}

impl RulesProgress {
    /// Takes a record of the log; an older one than is known changes nothing.
    pub fn apply(&self, progress: &Progress) {
        let partition = (Arc::from(progress.topic.as_str()), progress.partition);
        let mut judged = self.lock();
        let of_topic = judged.entry(partition).or_default();
        let next = of_topic.entry(progress.topic_id).or_insert(progress.next);
        *next = (*next).max(progress.next);
    }

    /// The log is read again from its start.
    pub fn reset(&self) {
        self.lock().clear();
    }

    /// The next offset to be judged of a partition of `topic`; none where no record says so. Where
    /// the brokers know no ids, progress of whatever topic had that name counts.
    pub fn judged(&self, partition: &ChangePartition, topic: Option<TopicId>) -> Option<i64> {
        let judged = self.lock();
        let of_topic = judged.get(partition)?;
        match topic {
            Some(_) => of_topic.get(&topic).copied(),
            None => of_topic.values().max().copied(),
        }
    }

    /// How many change events are not yet judged. Offsets count: where compaction or transactions
    /// left gaps this is an upper bound.
    pub fn behind(&self, ends: &ChangeEnds) -> u64 {
        ends.iter()
            .map(|(partition, at)| {
                let next = self.judged(partition, at.topic).unwrap_or(0).max(at.start);
                u64::try_from(at.end - next).unwrap_or(0)
            })
            .sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ChangePartition, HashMap<Option<TopicId>, i64>>> {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

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
