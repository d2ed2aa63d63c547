//! One assigned partition and the work in flight on it, shared by the poll thread, the rebalance
//! callback and the threads that finish tickets.

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use wedcache_model::TopicId;

use super::super::standstill::Standstill;
use super::offsets::{Begin, Commit, Tracker};
use super::rebalance::{Assigned, Revoked};
use super::totals::Totals;

/// A partition during one assignment. A later assignment of the partition has another state, so a
/// ticket can only ever touch the assignment that issued it.
#[derive(Debug)]
pub(crate) struct PartitionState {
    pub(crate) topic: Arc<str>,
    /// The number of the partition in its topic.
    pub(super) index: i32,
    pub(super) generation: u64,
    /// The number of this state in this process, by which delivery reports name it.
    id: u32,
    /// The offset below which no record is taken in.
    first_offset: i64,
    /// The topic that the records are of, once it is known.
    topic_id: OnceLock<TopicId>,
    /// The beginning of the assignment; earlier answers of the cluster say nothing about it.
    pub(super) since: Instant,
    /// True while the poll thread has paused the partition in librdkafka, where a pause outlives an
    /// unassign.
    pub(super) paused: AtomicBool,
    /// The partition's end in the last statistics; -1 while unknown.
    pub(super) end_offset: AtomicI64,
    /// The offset of the first open transaction in the last statistics; -1 while unknown.
    pub(super) stable_end: AtomicI64,
    /// The offset that librdkafka fetches next, in the last statistics; it also passes offsets that
    /// hold no record.
    pub(super) fetched: AtomicI64,
    /// The time since when the partition has been standing still, and the reason.
    standstill: Mutex<Option<(Instant, Standstill)>>,
    work: Mutex<PartitionWork>,
    drained: Condvar,
    totals: Arc<Totals>,
}

/// The work on a partition's records.
#[derive(Debug)]
struct PartitionWork {
    tracker: Tracker,
    /// True once the assignment has ended: nothing that finishes now counts.
    fenced: bool,
    /// True if the partition was truncated or recreated: no owner reads these records again.
    rewound: bool,
    /// The number of tickets that are neither finished nor dropped.
    in_flight: usize,
    /// The tickets that were held back on purpose, by offset, with the time of their release.
    held: BTreeMap<i64, Option<Instant>>,
    /// The number of tickets that were dropped without being finished.
    abandoned: u64,
    /// The number of unfinished records that were left to the next owner on purpose.
    left: usize,
}

impl PartitionWork {
    /// Returns the oldest unfinished offset and its age. Records that are held back on purpose do
    /// not count.
    fn oldest(&self, now: Instant) -> Option<(i64, Duration)> {
        if self.held.is_empty() {
            return self.tracker.oldest(now);
        }
        let since = |offset, at| match self.held.get(&offset) {
            Some(released) => *released,
            None => Some(at),
        };
        self.tracker.oldest_by(now, since)
    }
}

/// A snapshot of a partition, for the watchdog and the statistics.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PartitionView {
    pub(crate) next_offset: i64,
    pub(super) next_intake: i64,
    pub(crate) unfinished: usize,
    pub(super) unfinished_bytes: u64,
    pub(super) oldest: Option<(i64, Duration)>,
    pub(crate) abandoned: u64,
}

impl PartitionState {
    pub(crate) fn new(
        topic: Arc<str>,
        index: i32,
        generation: u64,
        tracker: Tracker,
        totals: Arc<Totals>,
    ) -> Self {
        static IDS: AtomicU32 = AtomicU32::new(0);
        Self {
            topic,
            index,
            generation,
            id: IDS.fetch_add(1, Ordering::Relaxed),
            first_offset: tracker.next_intake(),
            topic_id: tracker.topic().map_or_else(OnceLock::new, OnceLock::from),
            since: Instant::now(),
            paused: AtomicBool::new(false),
            end_offset: AtomicI64::new(-1),
            stable_end: AtomicI64::new(-1),
            fetched: AtomicI64::new(-1),
            standstill: Mutex::new(None),
            work: Mutex::new(PartitionWork {
                tracker,
                fenced: false,
                rewound: false,
                in_flight: 0,
                held: BTreeMap::new(),
                abandoned: 0,
                left: 0,
            }),
            drained: Condvar::new(),
            totals,
        }
    }

    /// Takes in the record at `offset`.
    pub(crate) fn begin(&self, offset: i64, bytes: u32, at: Instant) -> Begin {
        let mut work = self.lock();
        let begin = work.tracker.begin(offset, bytes, at);
        if begin == Begin::New {
            work.in_flight += 1;
            self.totals.records.fetch_add(1, Ordering::Relaxed);
            self.totals
                .bytes
                .fetch_add(u64::from(bytes), Ordering::Relaxed);
        }
        begin
    }

    /// Resumes reading at the offset `to`; records in flight still count.
    pub(super) fn skip_to(&self, to: i64) {
        self.lock().tracker.skip_to(to);
    }

    /// Holds a record back: until [`PartitionState::release`] it does not count as stuck.
    pub(super) fn hold(&self, offset: i64) {
        self.lock().held.insert(offset, None);
    }

    /// Releases a record that was held back; its age counts from now on.
    pub(super) fn release(&self, offset: i64) {
        self.lock().held.insert(offset, Some(Instant::now()));
    }

    /// Notes that the partition stands still, or moves again.
    pub(super) fn set_standstill(&self, why: Option<Standstill>) {
        let mut standstill = self.standstill();
        let since = standstill.map_or_else(Instant::now, |(since, _)| since);
        *standstill = why.map(|why| (since, why));
    }

    pub(super) fn standstill(&self) -> MutexGuard<'_, Option<(Instant, Standstill)>> {
        self.standstill.lock()
    }

    pub(crate) fn topic_id(&self) -> Option<TopicId> {
        self.topic_id.get().copied()
    }

    /// Sets the topic of the records if it was not known.
    pub(super) fn identify(&self, topic: TopicId) {
        self.lock().tracker.set_topic(topic);
        // The first one stays: an assignment never changes its topic.
        self.topic_id.get_or_init(|| topic);
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    pub(crate) fn first_offset(&self) -> i64 {
        self.first_offset
    }

    /// Returns true if no ticket of the assignment is out, nor will be.
    pub(crate) fn is_over(&self) -> bool {
        let work = self.lock();
        work.fenced && work.in_flight == 0
    }

    /// Finishes records whose tickets have been taken apart.
    pub(crate) fn finish_all(&self, offsets: &[i64]) {
        let mut work = self.lock();
        let (bytes, outcome) = if work.fenced {
            let bytes = offsets.iter().map(|offset| work.tracker.bytes_of(*offset));
            (bytes.sum(), &self.totals.finished_late)
        } else {
            let before = work.tracker.unfinished_bytes();
            for offset in offsets {
                work.tracker.finish(*offset);
            }
            let bytes = before - work.tracker.unfinished_bytes();
            (bytes, &self.totals.finished)
        };
        outcome.fetch_add(offsets.len() as u64, Ordering::Relaxed);
        self.gone(work, offsets, bytes);
    }

    /// Gives a ticket back for the next owner; its record stays unfinished.
    pub(super) fn leave(&self, offset: i64) {
        let mut work = self.lock();
        work.left += 1;
        let bytes = work.tracker.bytes_of(offset);
        self.gone(work, &[offset], bytes);
    }

    /// Returns the number of unfinished records that were not left on purpose.
    pub(super) fn owed(&self) -> usize {
        let work = self.lock();
        work.tracker.unfinished().saturating_sub(work.left)
    }

    /// Counts a ticket that was dropped; its record stays unfinished.
    pub(super) fn abandon(&self, offset: i64) {
        let mut work = self.lock();
        work.abandoned += 1;
        let bytes = work.tracker.bytes_of(offset);
        self.totals.abandoned.fetch_add(1, Ordering::Relaxed);
        self.gone(work, &[offset], bytes);
    }

    fn gone(&self, mut work: MutexGuard<'_, PartitionWork>, offsets: &[i64], bytes: u64) {
        let tickets = offsets.len();
        if !work.held.is_empty() {
            for offset in offsets {
                work.held.remove(offset);
            }
        }
        work.in_flight = work.in_flight.saturating_sub(tickets);
        let empty = work.in_flight == 0;
        drop(work);
        if empty {
            self.drained.notify_all();
        }
        self.totals.subtract(tickets, bytes);
    }

    /// Waits until no ticket is out, or until the deadline; returns true if none is.
    pub(super) fn wait_drained(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut work = self.lock();
        self.drained
            .wait_while_for(&mut work, |work| work.in_flight > 0, left);
        work.in_flight == 0
    }

    /// Returns the commit that is due; `None` if nothing changed or the assignment has ended.
    pub(super) fn next_commit(&self) -> Option<Commit> {
        let mut work = self.lock();
        if work.fenced {
            return None;
        }
        work.tracker.next_commit()
    }

    /// Notes that the last commit did not arrive: the next one offers its state again.
    pub(super) fn commit_failed(&self) {
        self.lock().tracker.commit_failed();
    }

    /// Ends the assignment and returns its last commit. From here on no finish counts, so nothing
    /// can be committed that the next owner does not know of.
    pub(crate) fn fence(&self) -> Option<Commit> {
        let mut work = self.lock();
        if work.fenced {
            return None;
        }
        work.fenced = true;
        work.tracker.next_commit()
    }

    /// Ends the assignment of a partition that was truncated or recreated.
    pub(super) fn fence_rewound(&self) {
        let mut work = self.lock();
        work.fenced = true;
        work.rewound = true;
    }

    pub(crate) fn is_fenced(&self) -> bool {
        self.lock().fenced
    }

    /// Returns true if the partition's next owner reads the unfinished records again.
    pub(super) fn comes_again(&self) -> bool {
        let work = self.lock();
        work.fenced && !work.rewound
    }

    /// Returns the handler's event of this assignment.
    pub(super) fn assigned(&self, next_offset: Option<i64>) -> Assigned {
        Assigned {
            topic: Arc::clone(&self.topic),
            partition: self.index,
            topic_id: self.topic_id(),
            generation: self.generation,
            next_offset,
        }
    }

    /// Returns the handler's event of the end of this assignment.
    pub(super) fn revoked(&self, lost: bool) -> Revoked {
        Revoked {
            topic: Arc::clone(&self.topic),
            partition: self.index,
            generation: self.generation,
            lost,
        }
    }

    pub(super) fn intake_ok(&self) -> bool {
        self.lock().tracker.intake_ok()
    }

    pub(super) fn intake_easy(&self) -> bool {
        self.lock().tracker.intake_easy()
    }

    pub(crate) fn view(&self, now: Instant) -> PartitionView {
        let work = self.lock();
        PartitionView {
            next_offset: work.tracker.next_offset(),
            next_intake: work.tracker.next_intake(),
            unfinished: work.tracker.unfinished(),
            unfinished_bytes: work.tracker.unfinished_bytes(),
            oldest: work.oldest(now),
            abandoned: work.abandoned,
        }
    }

    /// Locks the work, also after a panic of a holder: that leaves counts, not a broken structure.
    fn lock(&self) -> MutexGuard<'_, PartitionWork> {
        self.work.lock()
    }
}

#[cfg(test)]
mod tests;
