//! What the poll thread of an intake, its callbacks and its handle share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::client::ClientLog;
use super::committer::CommitDesk;
use super::intake::IntakeOptions;
use super::lanes::{Lane, Totals};
use super::offsets::Tracker;
use super::skips::Skips;
use super::standing::Suspects;
use super::stats::IntakeCounters;
use super::topic_ids::TopicIds;

/// The partitions that are held, and what is told to and by the poll thread.
#[derive(Debug)]
pub(super) struct Shared {
    /// What is subscribed to.
    pub(super) topics: Vec<String>,
    pub(super) totals: Arc<Totals>,
    pub(super) lanes: Mutex<Vec<Arc<Lane>>>,
    /// Changes whenever the lanes do.
    pub(super) epoch: AtomicU64,
    pub(super) generation: AtomicU64,
    pub(super) counters: Mutex<IntakeCounters>,
    pub(super) stop: AtomicBool,
    pub(super) close: AtomicBool,
    pub(super) paused: AtomicBool,
    /// At the end something finished could not be committed.
    pub(super) uncommitted: AtomicBool,
    pub(super) desk: CommitDesk,
    /// What the cluster said last of the topics.
    pub(super) topic_ids: Mutex<Option<TopicIds>>,
    pub(super) fatal: Mutex<Option<String>>,
    /// The client cannot go on because Kafka has given its static membership to another.
    pub(super) fenced: AtomicBool,
    pub(super) log: ClientLog,
    /// Batches that librdkafka has complained of.
    pub(super) suspects: Suspects,
    /// Ranges that are not read.
    pub(super) skips: Arc<Skips>,
}

impl Shared {
    pub(super) fn new(log: ClientLog, options: &IntakeOptions) -> Self {
        Self {
            topics: options.topics.clone(),
            skips: Arc::clone(&options.skips),
            totals: Arc::default(),
            lanes: Mutex::default(),
            epoch: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            counters: Mutex::default(),
            stop: AtomicBool::new(false),
            close: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            uncommitted: AtomicBool::new(false),
            desk: CommitDesk::default(),
            topic_ids: Mutex::default(),
            fatal: Mutex::default(),
            fenced: AtomicBool::new(false),
            log,
            suspects: Suspects::default(),
        }
    }

    pub(super) fn lanes(&self) -> MutexGuard<'_, Vec<Arc<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, add: impl FnOnce(&mut IntakeCounters)) {
        add(&mut self.counters.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn new_lane(&self, topic: Arc<str>, partition: i32, tracker: Tracker) -> Arc<Lane> {
        let generation = self.generation();
        let totals = Arc::clone(&self.totals);
        Arc::new(Lane::new(topic, partition, generation, tracker, totals))
    }

    /// Puts a lane in the place of another one, whose records are gone from Kafka.
    pub(super) fn replace(&self, old: &Arc<Lane>, new: &Arc<Lane>) {
        old.fence_rewound();
        for lane in self.lanes().iter_mut() {
            if Arc::ptr_eq(lane, old) {
                *lane = Arc::clone(new);
            }
        }
        self.epoch.fetch_add(1, Ordering::Release);
    }

    pub(super) fn saw_topics(&self, ids: TopicIds) {
        *self
            .topic_ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(ids);
    }

    /// What the cluster said since the last call, if anything.
    pub(super) fn news_of_topics(&self) -> Option<TopicIds> {
        // Between two answers of the committing thread this lock is free.
        let mut ids = self.topic_ids.try_lock().ok()?;
        ids.take()
    }

    pub(super) fn next_generation(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add(&self, lanes: &[Arc<Lane>]) {
        self.lanes().extend_from_slice(lanes);
        self.epoch.fetch_add(1, Ordering::Release);
    }

    pub(super) fn take(&self, leaving: impl Fn(&Lane) -> bool) -> Vec<Arc<Lane>> {
        let taken = self.lanes().extract_if(.., |lane| leaving(lane)).collect();
        self.epoch.fetch_add(1, Ordering::Release);
        taken
    }
}
