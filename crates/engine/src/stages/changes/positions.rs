//! The progress of judging each partition that was ever assigned here.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use wedcache_model::{Progress, Timestamp, TopicId};
use wedcache_rules::invalidation::{ChangePartition, RulesProgress};

use super::{Assignment, TakenChange};

#[derive(Debug)]
pub(super) struct Positions {
    judged: HashMap<ChangePartition, JudgedTo>,
    assigned: Vec<ChangePartition>,
    /// The offsets of changes that wait for their schema with nothing widened for them: progress
    /// stays below them, while later changes are judged.
    waiting: HashMap<ChangePartition, BTreeSet<i64>>,
    /// The progress of all members, as the log has it.
    known: Arc<RulesProgress>,
}

#[derive(Debug, Clone, Copy)]
struct JudgedTo {
    topic: Option<TopicId>,
    /// The next offset to be judged.
    next: i64,
}

impl Positions {
    pub(super) fn new(known: Arc<RulesProgress>) -> Self {
        Self {
            judged: HashMap::new(),
            assigned: Vec::new(),
            waiting: HashMap::new(),
            known,
        }
    }

    /// Notes partitions that are assigned. Returns those with a committed offset, which is progress
    /// too: without it nobody would know the progress of a partition without new changes.
    pub(super) fn assigned(&mut self, assigned: Vec<Assignment>) -> Vec<ChangePartition> {
        let mut touched = Vec::new();
        for Assignment {
            partition,
            topic_id,
            next_offset,
        } in assigned
        {
            if let Some(committed) = next_offset {
                self.passes(&partition, topic_id, committed);
                touched.push(partition.clone());
            }
            if !self.assigned.contains(&partition) {
                self.assigned.push(partition);
            }
        }
        touched
    }

    /// Notes that everything of the partition below `next` is judged. Progress in a topic that had
    /// the same name before says nothing about this one.
    pub(super) fn passes(
        &mut self,
        partition: &ChangePartition,
        topic: Option<TopicId>,
        next: i64,
    ) {
        let judged = self.judged.entry(partition.clone());
        let judged = judged.or_insert(JudgedTo { topic, next });
        if judged.topic == topic {
            judged.next = judged.next.max(next);
        } else {
            *judged = JudgedTo { topic, next };
        }
    }

    /// Keeps the progress below a change.
    pub(super) fn waits<T>(&mut self, change: &TakenChange<T>) {
        let waiting = self.waiting.entry(change.partition()).or_default();
        waiting.insert(change.place.offset);
    }

    /// Ends [`Positions::waits`]. Returns the partition if the progress stood below the change.
    pub(super) fn waits_no_more<T>(&mut self, change: &TakenChange<T>) -> Option<ChangePartition> {
        let partition = change.partition();
        let waiting = self.waiting.get_mut(&partition)?;
        let waited = waiting.remove(&change.place.offset);
        if waiting.is_empty() {
            self.waiting.remove(&partition);
        }
        waited.then_some(partition)
    }

    /// Returns the progress of these partitions, each once.
    pub(super) fn progress(
        &self,
        partitions: impl IntoIterator<Item = ChangePartition>,
        now: Timestamp,
    ) -> Vec<Progress> {
        let partitions: BTreeSet<_> = partitions.into_iter().collect();
        let progress = |of: &ChangePartition| self.progress_of(of, now);
        partitions.iter().filter_map(progress).collect()
    }

    pub(super) fn progress_of_all(&self, now: Timestamp) -> Vec<Progress> {
        self.progress(self.assigned.iter().cloned(), now)
    }

    fn progress_of(&self, partition: &ChangePartition, at: Timestamp) -> Option<Progress> {
        let (topic, number) = partition;
        let judged = self.judged.get(partition)?;
        let waiting = self.waiting.get(partition).and_then(BTreeSet::first);
        let next = waiting.map_or(judged.next, |&at| judged.next.min(at));
        // Another member may have judged further while this one was away.
        let known = self.known.judged(partition, judged.topic);
        Some(Progress {
            topic: topic.to_string(),
            topic_id: judged.topic,
            partition: *number,
            next: next.max(known.unwrap_or(0)),
            at,
        })
    }
}
