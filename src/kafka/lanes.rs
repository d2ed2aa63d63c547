//! The assigned partitions and what is in flight on them, shared by the poll thread, the rebalance
//! callback and whoever finishes tickets.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::offsets::{Begin, Commit, Tracker};
use super::standing::Standstill;
use crate::model::TopicId;

/// One partition during one assignment. A later assignment of the same partition is another lane,
/// so a ticket can only ever touch the assignment that issued it.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) generation: u64,
    /// Of this process alone; receipts name the lane by it.
    number: u32,
    /// No offset below it is taken in.
    first_offset: i64,
    /// The topic that the records are of, once it is known.
    topic_id: OnceLock<TopicId>,
    /// What was asked of the cluster before says nothing about this lane.
    pub(super) since: Instant,
    /// Paused in librdkafka, by the poll thread; it survives an unassign there.
    pub(super) paused: AtomicBool,
    /// The partition's end as the last statistics told it; -1 while unknown.
    pub(super) end_offset: AtomicI64,
    /// The offset from which on a transaction is open, as the last statistics told it.
    pub(super) stable_end: AtomicI64,
    /// The offset that librdkafka asks for next, likewise; it passes what is no record.
    pub(super) fetched: AtomicI64,
    /// Why it stands still, and since when.
    standstill: Mutex<Option<(Instant, Standstill)>>,
    state: Mutex<LaneState>,
    drained: Condvar,
    totals: Arc<Totals>,
}

#[derive(Debug)]
struct LaneState {
    tracker: Tracker,
    /// The partition is gone: nothing that finishes now counts.
    fenced: bool,
    /// It was cut or made anew, and its records with it: no owner reads them again.
    rewound: bool,
    /// Tickets that are neither finished nor dropped.
    in_flight: usize,
    /// Of these, by offset, the ones that are held back on purpose, or were: since when they are
    /// worked on again.
    held: BTreeMap<i64, Option<Instant>>,
    abandoned: u64,
    /// Unfinished records that were left to the next owner on purpose.
    left: usize,
}

impl LaneState {
    /// What is held back on purpose is nobody's delay.
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

/// What is in flight on all lanes of one intake, and what happened to tickets.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) records: AtomicUsize,
    pub(super) bytes: AtomicU64,
    pub(super) finished: AtomicU64,
    pub(super) finished_late: AtomicU64,
    pub(super) abandoned: AtomicU64,
    /// Told when `records` falls to zero.
    pub(super) empty: tokio::sync::Notify,
    relief: Relief,
}

/// Where the poll thread waits for work in flight to be finished.
#[derive(Debug, Default)]
struct Relief {
    waits: AtomicBool,
    lock: Mutex<()>,
    finished: Condvar,
}

impl Totals {
    /// Waits for as long as `crowded` says so, at most for `patience`.
    pub(super) fn wait_while(&self, crowded: impl Fn() -> bool, patience: Duration) {
        let Relief {
            waits,
            lock,
            finished,
        } = &self.relief;
        waits.store(true, Ordering::SeqCst);
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = finished.wait_timeout_while(guard, patience, |()| crowded());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        waits.store(false, Ordering::SeqCst);
    }

    fn relieve(&self) {
        if self.relief.waits.load(Ordering::SeqCst) {
            // Under the lock: between the waiter's look and its sleep nothing is missed.
            let lock = self.relief.lock.lock();
            self.relief.finished.notify_all();
            drop(lock);
        }
    }
}

/// What the watchdog and the statistics want to know of a lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct LaneView {
    pub(super) next_offset: i64,
    pub(super) next_intake: i64,
    pub(super) unfinished: usize,
    pub(super) unfinished_bytes: u64,
    pub(super) oldest: Option<(i64, Duration)>,
    pub(super) abandoned: u64,
}

impl Lane {
    pub(super) fn new(
        topic: Arc<str>,
        partition: i32,
        generation: u64,
        tracker: Tracker,
        totals: Arc<Totals>,
    ) -> Self {
        static NUMBERS: AtomicU32 = AtomicU32::new(0);
        Self {
            topic,
            partition,
            generation,
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            first_offset: tracker.next_intake(),
            topic_id: tracker.topic().map_or_else(OnceLock::new, OnceLock::from),
            since: Instant::now(),
            paused: AtomicBool::new(false),
            end_offset: AtomicI64::new(-1),
            stable_end: AtomicI64::new(-1),
            fetched: AtomicI64::new(-1),
            standstill: Mutex::new(None),
            state: Mutex::new(LaneState {
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

    pub(super) fn begin(&self, offset: i64, bytes: u32, at: Instant) -> Begin {
        let mut state = self.lock();
        let begin = state.tracker.begin(offset, bytes, at);
        if begin == Begin::New {
            state.in_flight += 1;
            self.totals.records.fetch_add(1, Ordering::Relaxed);
            self.totals
                .bytes
                .fetch_add(u64::from(bytes), Ordering::Relaxed);
        }
        begin
    }

    /// Goes on from the offset `to`; what is in flight still counts.
    pub(super) fn skip_to(&self, to: i64) {
        self.lock().tracker.skip_to(to);
    }

    /// Until [`Lane::release`] it is no sign of anything that this record is not finished.
    pub(super) fn hold(&self, offset: i64) {
        self.lock().held.insert(offset, None);
    }

    /// The record is worked on again; its age counts from here.
    pub(super) fn release(&self, offset: i64) {
        self.lock().held.insert(offset, Some(Instant::now()));
    }

    /// The partition stands still, or it moves again.
    pub(super) fn stands(&self, why: Option<Standstill>) {
        let mut standstill = self.standstill();
        let since = standstill.map_or_else(Instant::now, |(since, _)| since);
        *standstill = why.map(|why| (since, why));
    }

    pub(super) fn standstill(&self) -> MutexGuard<'_, Option<(Instant, Standstill)>> {
        self.standstill
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn topic_id(&self) -> Option<TopicId> {
        self.topic_id.get().copied()
    }

    /// The records are of this topic; only where that was not known.
    pub(super) fn identify(&self, topic: TopicId) {
        self.lock().tracker.set_topic(topic);
        // The first one stays: a lane never changes its topic.
        self.topic_id.get_or_init(|| topic);
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn first_offset(&self) -> i64 {
        self.first_offset
    }

    /// Whether no ticket of it is out nor will be.
    pub(super) fn is_over(&self) -> bool {
        let state = self.lock();
        state.fenced && state.in_flight == 0
    }

    /// These records are finished, and their tickets gone.
    pub(super) fn finish_all(&self, offsets: &[i64]) {
        let mut state = self.lock();
        let (bytes, outcome) = if state.fenced {
            let bytes = offsets.iter().map(|offset| state.tracker.bytes_of(*offset));
            (bytes.sum(), &self.totals.finished_late)
        } else {
            let before = state.tracker.unfinished_bytes();
            for offset in offsets {
                state.tracker.finish(*offset);
            }
            let bytes = before - state.tracker.unfinished_bytes();
            (bytes, &self.totals.finished)
        };
        outcome.fetch_add(offsets.len() as u64, Ordering::Relaxed);
        self.gone(state, offsets, bytes);
    }

    /// A ticket was given back for the next owner: its record stays unfinished.
    pub(super) fn leave(&self, offset: i64) {
        let mut state = self.lock();
        state.left += 1;
        let bytes = state.tracker.bytes_of(offset);
        self.gone(state, &[offset], bytes);
    }

    /// How many records are unfinished that nobody has left on purpose.
    pub(super) fn owed(&self) -> usize {
        let state = self.lock();
        state.tracker.unfinished().saturating_sub(state.left)
    }

    /// A ticket was dropped: its record stays unfinished.
    pub(super) fn abandon(&self, offset: i64) {
        let mut state = self.lock();
        state.abandoned += 1;
        let bytes = state.tracker.bytes_of(offset);
        self.totals.abandoned.fetch_add(1, Ordering::Relaxed);
        self.gone(state, &[offset], bytes);
    }

    fn gone(&self, mut state: MutexGuard<'_, LaneState>, offsets: &[i64], bytes: u64) {
        let tickets = offsets.len();
        if !state.held.is_empty() {
            for offset in offsets {
                state.held.remove(offset);
            }
        }
        state.in_flight = state.in_flight.saturating_sub(tickets);
        let empty = state.in_flight == 0;
        drop(state);
        if empty {
            self.drained.notify_all();
        }
        self.totals.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if self.totals.records.fetch_sub(tickets, Ordering::AcqRel) == tickets {
            self.totals.empty.notify_waiters();
        }
        self.totals.relieve();
    }

    /// Waits until no ticket is out, or until the deadline; says which.
    pub(super) fn wait_drained(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let (state, _) = self
            .drained
            .wait_timeout_while(self.lock(), left, |state| state.in_flight > 0)
            .unwrap_or_else(PoisonError::into_inner);
        state.in_flight == 0
    }

    /// What to commit now, unless nothing changed or the partition is gone.
    pub(super) fn next_commit(&self) -> Option<Commit> {
        let mut state = self.lock();
        if state.fenced {
            return None;
        }
        state.tracker.next_commit()
    }

    pub(super) fn commit_failed(&self) {
        self.lock().tracker.commit_failed();
    }

    /// Ends the lane. What it returns is the last that may be committed for it: from here on no
    /// finish counts, so nothing can be committed that the next owner does not know of.
    pub(super) fn fence(&self) -> Option<Commit> {
        let mut state = self.lock();
        if state.fenced {
            return None;
        }
        state.fenced = true;
        state.tracker.next_commit()
    }

    /// Ends the lane of a partition that was cut or made anew.
    pub(super) fn fence_rewound(&self) {
        let mut state = self.lock();
        state.fenced = true;
        state.rewound = true;
    }

    pub(super) fn is_fenced(&self) -> bool {
        self.lock().fenced
    }

    /// Whether what is unfinished is read again, by the partition's next owner.
    pub(super) fn comes_again(&self) -> bool {
        let state = self.lock();
        state.fenced && !state.rewound
    }

    pub(super) fn intake_ok(&self) -> bool {
        self.lock().tracker.intake_ok()
    }

    pub(super) fn intake_easy(&self) -> bool {
        self.lock().tracker.intake_easy()
    }

    pub(super) fn view(&self, now: Instant) -> LaneView {
        let state = self.lock();
        LaneView {
            next_offset: state.tracker.next_offset(),
            next_intake: state.tracker.next_intake(),
            unfinished: state.tracker.unfinished(),
            unfinished_bytes: state.tracker.unfinished_bytes(),
            oldest: state.oldest(now),
            abandoned: state.abandoned,
        }
    }

    /// A panic while the lock was held leaves counts, not broken structure: go on.
    fn lock(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ticket::Ticket;
    use super::*;

    fn lane() -> Arc<Lane> {
        let totals = Arc::new(Totals::default());
        Arc::new(Lane::new("t".into(), 0, 1, Tracker::new(0), totals))
    }

    fn take(lane: &Arc<Lane>, offset: i64) -> Ticket {
        assert_eq!(lane.begin(offset, 10, Instant::now()), Begin::New);
        Ticket::new(lane, offset)
    }

    #[test]
    fn a_late_finish_after_the_fence_is_a_counted_no_op() {
        let lane = lane();
        let (first, second) = (take(&lane, 0), take(&lane, 1));
        first.finish();
        assert_eq!(lane.fence().unwrap().next_offset, 1);
        second.finish();
        assert_eq!(lane.next_commit(), None);
        assert_eq!(lane.view(Instant::now()).next_offset, 1);
        assert_eq!(lane.totals.finished_late.load(Ordering::Relaxed), 1);
        assert_eq!(lane.totals.records.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_held_back_is_nobodys_delay_and_hides_no_other() {
        let lane = lane();
        let tickets: Vec<_> = (0..3).map(|offset| take(&lane, offset)).collect();
        let now = Instant::now() + Duration::from_mins(1);
        let oldest = || lane.view(now).oldest.map(|(offset, _)| offset);
        assert_eq!(oldest(), Some(0));
        tickets[0].hold();
        assert_eq!(oldest(), Some(1), "the others are looked at all the same");
        tickets[1].hold();
        tickets[2].hold();
        assert_eq!(oldest(), None);
        std::thread::sleep(Duration::from_millis(2));
        tickets[0].release();
        let (offset, age) = lane.view(now).oldest.unwrap();
        assert!(
            offset == 0 && age < Duration::from_mins(1),
            "it counts anew: {age:?}"
        );
        tickets.into_iter().for_each(Ticket::finish);
        assert!(lane.lock().held.is_empty());
    }

    #[test]
    fn what_was_taken_away_comes_again_and_what_was_cut_off_does_not() {
        let (moved, cut) = (lane(), lane());
        let (of_moved, of_cut) = (take(&moved, 0), take(&cut, 0));
        assert!(!of_moved.comes_again() && !of_cut.comes_again());
        moved.fence();
        cut.fence_rewound();
        assert!(of_moved.is_fenced() && of_cut.is_fenced());
        assert!(of_moved.comes_again() && !of_cut.comes_again());
        of_moved.finish();
        of_cut.finish();
    }

    #[test]
    fn a_dropped_ticket_stops_commits_at_its_record_and_is_counted() {
        let lane = lane();
        drop(take(&lane, 0));
        take(&lane, 1).finish();
        let commit = lane.next_commit().unwrap();
        assert!(commit.next_offset == 0 && !commit.metadata.is_empty());
        assert_eq!(lane.view(Instant::now()).abandoned, 1);
        assert_eq!(lane.totals.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_wait_for_room_ends_with_the_finish_that_makes_it_or_with_its_patience() {
        let lane = lane();
        let totals = Arc::clone(&lane.totals);
        let crowded = || totals.records.load(Ordering::Acquire) > 1;
        let tickets: Vec<_> = (0..3).map(|offset| take(&lane, offset)).collect();
        totals.wait_while(crowded, Duration::from_millis(5));
        assert!(crowded(), "nothing was finished meanwhile");
        let worker = std::thread::spawn(move || tickets.into_iter().for_each(Ticket::finish));
        totals.wait_while(crowded, Duration::from_secs(10));
        assert!(!crowded());
        worker.join().unwrap();
    }

    #[test]
    fn a_drain_ends_with_the_last_ticket_or_at_its_deadline() {
        let lane = lane();
        let ticket = take(&lane, 0);
        assert!(!lane.wait_drained(Instant::now() + Duration::from_millis(20)));
        let worker = std::thread::spawn(move || ticket.finish());
        assert!(lane.wait_drained(Instant::now() + Duration::from_secs(10)));
        worker.join().unwrap();
    }
}
