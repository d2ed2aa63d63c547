//! Ranges of input partitions that an operator has given up: members resume behind them.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;

use wedcache_model::TopicId;
use wedcache_model::invalidation::SkippedRange;

/// The skipped ranges that the invalidation log names. Written by the log's follower, read by the
/// members once a second.
#[derive(Debug, Default)]
pub struct Skips(Mutex<BTreeMap<(String, i32), Vec<SkippedRange>>>);

impl Skips {
    /// Adds a range that the log names.
    pub fn add(&self, skip: SkippedRange) {
        if skip.from >= skip.to {
            return;
        }
        let mut skips = self.lock();
        let of = skips
            .entry((skip.topic.clone(), skip.partition))
            .or_default();
        // The log names a range again if its end was too low, or its topic was recreated.
        of.retain(|known| known.from != skip.from);
        of.push(skip);
    }

    /// Forgets all ranges, because the log is read again from its start.
    pub fn reset(&self) {
        self.lock().clear();
    }

    /// Returns the ranges of a partition; `topic_id` is that of the topic that is read, if known.
    pub(super) fn of(
        &self,
        (topic, partition): (&str, i32),
        topic_id: Option<TopicId>,
    ) -> Vec<SkippedRange> {
        let skips = self.lock();
        if skips.is_empty() {
            return Vec::new();
        }
        let of = skips.get(&(topic.to_owned(), partition));
        let is_of = |skip: &&SkippedRange| skip.topic_id.is_none_or(|id| topic_id == Some(id));
        of.into_iter().flatten().filter(is_of).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, i32), Vec<SkippedRange>>> {
        self.0.lock()
    }
}

/// Returns the offset at which to resume instead of `next`, if that is in one of the ranges.
pub(super) fn behind(ranges: &[SkippedRange], next: i64) -> Option<i64> {
    let holding = ranges.iter().filter(|of| (of.from..of.to).contains(&next));
    holding.map(|of| of.to).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wedcache_model::Timestamp;

    fn range(from: i64, to: i64, topic: Option<u128>) -> SkippedRange {
        SkippedRange {
            topic: "in".to_owned(),
            topic_id: topic.map(TopicId),
            partition: 1,
            from,
            to,
            forced: false,
            at: Timestamp(0),
        }
    }

    fn to(skips: &Skips, topic: Option<u128>, next: i64) -> Option<i64> {
        behind(&skips.of(("in", 1), topic.map(TopicId)), next)
    }

    #[test]
    fn a_range_holds_its_offsets_alone() {
        let skips = Skips::default();
        skips.add(range(5, 9, None));
        skips.add(range(7, 7, None));
        skips.add(range(8, 11, None));
        skips.add(range(20, 21, Some(1)));
        let got = [4, 5, 8, 9, 11, 20, 21].map(|next| to(&skips, Some(1), next));
        let want = [None, Some(9), Some(11), Some(11), None, Some(21), None];
        assert_eq!(got, want);
        let of_others = [Some(2), None].map(|topic| to(&skips, topic, 20));
        assert_eq!(of_others, [None, None]);
        assert!(skips.of(("in", 0), None).is_empty());
        assert!(skips.of(("out", 1), None).is_empty());
    }

    #[test]
    fn the_last_word_on_a_range_counts() {
        let skips = Skips::default();
        skips.add(range(5, 9, None));
        skips.add(range(5, 12, None));
        assert_eq!(to(&skips, None, 10), Some(12));
        skips.reset();
        assert_eq!(to(&skips, None, 10), None);
    }
}
