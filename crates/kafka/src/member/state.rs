//! The state that a member's poll thread, its callbacks and its handle share.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::client::ClientLog;
use super::super::topic_ids::TopicIds;
use super::commit::CommitQueue;
use super::lifecycle::Lifecycle;
use super::offsets::Tracker;
use super::options::IntakeOptions;
use super::partition::PartitionState;
use super::resets::Resets;
use super::skips::Skips;
use super::stats::IntakeCounters;
use super::suspects::Suspects;
use super::totals::Totals;

/// The shared state of one group member.
#[derive(Debug)]
pub(super) struct MemberState {
    pub(super) lifecycle: Lifecycle,
    /// The subscribed topics.
    pub(super) topics: Vec<String>,
    pub(super) totals: Arc<Totals>,
    /// The assigned partitions.
    partitions: Mutex<Vec<Arc<PartitionState>>>,
    /// A number that changes whenever `partitions` does.
    epoch: AtomicU64,
    generation: AtomicU64,
    pub(super) counters: Mutex<IntakeCounters>,
    /// True while back-pressure holds the whole intake.
    pub(super) paused: AtomicBool,
    pub(super) commits: CommitQueue,
    /// The last answer of the cluster about the topics, until the poll thread takes it.
    topic_ids: Mutex<Option<TopicIds>>,
    pub(super) log: ClientLog,
    /// Batches that librdkafka has reported as bad.
    pub(super) suspects: Suspects,
    pub(super) resets: Resets,
    /// Ranges of offsets that are not read.
    pub(super) skips: Arc<Skips>,
}

impl MemberState {
    pub(super) fn new(log: ClientLog, options: &IntakeOptions) -> Self {
        Self {
            lifecycle: Lifecycle::default(),
            topics: options.topics.clone(),
            totals: Arc::default(),
            partitions: Mutex::default(),
            epoch: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            counters: Mutex::default(),
            paused: AtomicBool::new(false),
            commits: CommitQueue::default(),
            topic_ids: Mutex::default(),
            log,
            suspects: Suspects::default(),
            resets: Resets::default(),
            skips: Arc::clone(&options.skips),
        }
    }

    pub(super) fn partitions(&self) -> MutexGuard<'_, Vec<Arc<PartitionState>>> {
        self.partitions.lock()
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, add: impl FnOnce(&mut IntakeCounters)) {
        add(&mut self.counters.lock());
    }

    pub(super) fn counters(&self) -> IntakeCounters {
        *self.counters.lock()
    }

    pub(super) fn new_partition(
        &self,
        topic: Arc<str>,
        index: i32,
        tracker: Tracker,
    ) -> Arc<PartitionState> {
        let generation = self.generation();
        let totals = Arc::clone(&self.totals);
        Arc::new(PartitionState::new(
            topic, index, generation, tracker, totals,
        ))
    }

    /// Puts a new state in the place of `old`, whose records are gone from Kafka, and returns it.
    pub(super) fn start_over(
        &self,
        old: &Arc<PartitionState>,
        tracker: Tracker,
    ) -> Arc<PartitionState> {
        let new = self.new_partition(Arc::clone(&old.topic), old.index, tracker);
        // The pause in librdkafka is the partition's, whichever state it has here.
        new.paused
            .store(old.paused.load(Ordering::Relaxed), Ordering::Relaxed);
        old.fence_rewound();
        for partition in self.partitions().iter_mut() {
            if Arc::ptr_eq(partition, old) {
                *partition = Arc::clone(&new);
            }
        }
        self.epoch.fetch_add(1, Ordering::Release);
        new
    }

    /// Leaves the cluster's answer about the topics for the poll thread.
    pub(super) fn put_topic_ids(&self, ids: TopicIds) {
        *self.topic_ids.lock() = Some(ids);
    }

    /// Takes the last answer about the topics, if there is a new one.
    pub(super) fn take_topic_ids(&self) -> Option<TopicIds> {
        // Never waits: the committing thread holds this lock only for a moment every two seconds.
        let mut ids = self.topic_ids.try_lock()?;
        ids.take()
    }

    pub(super) fn next_generation(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add(&self, partitions: &[Arc<PartitionState>]) {
        self.partitions().extend_from_slice(partitions);
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// Removes the partitions that are `leaving` and returns them.
    pub(super) fn take(
        &self,
        leaving: impl Fn(&PartitionState) -> bool,
    ) -> Vec<Arc<PartitionState>> {
        let taken = self
            .partitions()
            .extract_if(.., |partition| leaving(partition))
            .collect();
        self.epoch.fetch_add(1, Ordering::Release);
        taken
    }
}
