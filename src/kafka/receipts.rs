//! What a record carries to its delivery report: a number instead of a box, and finishes that
//! reach their partition many at a time.
//!
//! An answer's delivery finishes its query's ticket, on another thread than the one that made it.
//! A box freed and a lock taken there for every record would cost both threads more than all
//! other bookkeeping. So the poll thread turns the ticket into a number (its lane's, and how far
//! its offset is from the lane's first), and the delivery thread gathers numbers and finishes
//! them by lane under one lock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::lanes::Lane;
use super::producer::{Appended, Delivery, DeliveryFailed};
use super::ticket::Ticket;
use crate::failpoint::failpoint;

/// Two bits of kind, 22 of a lane's number, 40 of an offset's distance.
const KIND_SHIFT: u32 = 62;
const LANE_SHIFT: u32 = 40;
const LANE_BITS: u32 = KIND_SHIFT - LANE_SHIFT;
const DISTANCE_MASK: u64 = (1 << LANE_SHIFT) - 1;
const LANE_MASK: u64 = (1 << LANE_BITS) - 1;
const FORGET: u64 = 0;
const FINISH: u64 = 1;
const KEPT: u64 = 2;

/// So many finishes are gathered at most.
const GATHERED_MAX: usize = 256;
/// A finish that comes after a rest of so long is passed on at once.
const REST: Duration = Duration::from_millis(5);

/// What librdkafka keeps for us with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Receipt(u64);

impl Receipt {
    /// librdkafka keeps a pointer, which is as wide as this on every platform it is built for.
    pub(super) fn to_opaque(self) -> usize {
        usize::try_from(self.0).expect("a 64-bit platform: src/kafka says so at compile time")
    }

    pub(super) fn of_opaque(opaque: usize) -> Self {
        Self(opaque as u64)
    }
}

const _: () = assert!(usize::BITS >= u64::BITS, "receipts need 64-bit pointers");

/// The lane of a writer's last ticket, which is known to the producer: the next one is mostly of
/// the same. Every poll thread has its own.
#[derive(Debug)]
pub(super) struct LastLane(AtomicU32);

impl Default for LastLane {
    fn default() -> Self {
        Self(AtomicU32::new(u32::MAX))
    }
}

/// Another writer knows nothing yet.
impl Clone for LastLane {
    fn clone(&self) -> Self {
        Self::default()
    }
}

type Reporter = oneshot::Sender<Result<Appended, DeliveryFailed>>;

/// The deliveries of one producer that are on their way.
#[derive(Debug)]
pub(super) struct Receipts {
    /// Lanes that have, or had a moment ago, tickets on their way here.
    lanes: RwLock<HashMap<u32, Arc<Lane>>>,
    /// Deliveries that no number can stand for: those that somebody waits for.
    kept: Mutex<Kept>,
    gathered: Mutex<Gathered>,
}

#[derive(Debug, Default)]
struct Kept {
    next: u64,
    deliveries: HashMap<u64, Delivery>,
}

#[derive(Debug)]
struct Gathered {
    lanes: Vec<(Arc<Lane>, Vec<i64>)>,
    count: usize,
    passed_on: Instant,
}

impl Default for Receipts {
    fn default() -> Self {
        Self {
            lanes: RwLock::default(),
            kept: Mutex::default(),
            gathered: Mutex::new(Gathered {
                lanes: Vec::new(),
                count: 0,
                passed_on: Instant::now(),
            }),
        }
    }
}

impl Receipts {
    /// Takes a delivery over; it must come back through [`Receipts::take_back`],
    /// [`Receipts::delivered`] or [`Receipts::failed`].
    pub(super) fn write(&self, delivery: Delivery, last: &LastLane) -> Receipt {
        match delivery {
            Delivery::Forget => Receipt(FORGET << KIND_SHIFT),
            Delivery::Finish(ticket) => self.write_ticket(ticket, last),
            Delivery::Report(_) => self.keep(delivery),
        }
    }

    /// The delivery of a record that was refused.
    pub(super) fn take_back(&self, receipt: Receipt) -> Delivery {
        match self.read(receipt) {
            Read::Forget => Delivery::Forget,
            Read::Finish { lane, offset } => Delivery::Finish(Ticket::resume(lane, offset)),
            Read::Kept(delivery) => delivery,
        }
    }

    /// A record has arrived.
    pub(super) fn delivered(&self, receipt: Receipt, appended: impl FnOnce() -> Appended) {
        if receipt.0 >> KIND_SHIFT == FINISH {
            failpoint!("answered");
            return self.gather(receipt);
        }
        match self.read(receipt) {
            Read::Kept(Delivery::Report(waiter)) => report(waiter, Ok(appended())),
            Read::Kept(Delivery::Finish(ticket)) => ticket.finish(),
            Read::Kept(Delivery::Forget) | Read::Forget | Read::Finish { .. } => {}
        }
    }

    /// A record will never arrive. Gives back the ticket that waits for it, if one does.
    pub(super) fn failed(&self, receipt: Receipt, failed: DeliveryFailed) -> Option<Ticket> {
        match self.take_back(receipt) {
            Delivery::Report(waiter) => report(waiter, Err(failed)),
            Delivery::Finish(ticket) => return Some(ticket),
            Delivery::Forget => {}
        }
        None
    }

    /// Finishes what is gathered.
    pub(super) fn pass_on(&self) {
        lock(&self.gathered).pass_on(Instant::now());
    }

    fn write_ticket(&self, ticket: Ticket, last: &LastLane) -> Receipt {
        let lane = ticket.lane();
        let number = lane.number();
        let distance = u64::try_from(ticket.offset() - lane.first_offset());
        let (Ok(distance @ 0..=DISTANCE_MASK), true) = (distance, u64::from(number) <= LANE_MASK)
        else {
            return self.keep(Delivery::Finish(ticket));
        };
        let receipt = FINISH << KIND_SHIFT | u64::from(number) << LANE_SHIFT | distance;
        let lane = ticket.into_lane();
        if last.0.load(Ordering::Relaxed) != number {
            self.know(lane);
            last.0.store(number, Ordering::Relaxed);
        }
        Receipt(receipt)
    }

    /// Adds a lane, and forgets those that will have no report any more.
    fn know(&self, lane: Arc<Lane>) {
        if self.read_lanes().contains_key(&lane.number()) {
            return;
        }
        let mut lanes = self.write_lanes();
        lanes.retain(|_, lane| !lane.is_over());
        lanes.insert(lane.number(), lane);
    }

    #[cold]
    fn keep(&self, delivery: Delivery) -> Receipt {
        let mut kept = lock(&self.kept);
        let number = kept.next;
        kept.next = (kept.next + 1) & ((1 << KIND_SHIFT) - 1);
        kept.deliveries.insert(number, delivery);
        Receipt(KEPT << KIND_SHIFT | number)
    }

    fn read(&self, receipt: Receipt) -> Read {
        let body = receipt.0 & ((1 << KIND_SHIFT) - 1);
        match receipt.0 >> KIND_SHIFT {
            FINISH => {
                let (number, distance) = (body >> LANE_SHIFT, body & DISTANCE_MASK);
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                let Some(lane) = self.read_lanes().get(&number).cloned() else {
                    // Its lane stays here for as long as it has tickets out.
                    tracing::error!(number, "a delivery report of a lane that is gone");
                    return Read::Forget;
                };
                let offset = lane.first_offset() + i64::try_from(distance).unwrap_or(0);
                Read::Finish { lane, offset }
            }
            KEPT => match lock(&self.kept).deliveries.remove(&body) {
                Some(delivery) => Read::Kept(delivery),
                None => Read::Forget,
            },
            _ => Read::Forget,
        }
    }

    fn gather(&self, receipt: Receipt) {
        let body = receipt.0 & ((1 << KIND_SHIFT) - 1);
        let number = u32::try_from(body >> LANE_SHIFT).unwrap_or(u32::MAX);
        let distance = i64::try_from(body & DISTANCE_MASK).unwrap_or(0);
        let mut gathered = lock(&self.gathered);
        let known = gathered
            .lanes
            .iter_mut()
            .find(|(lane, _)| lane.number() == number);
        if let Some((lane, offsets)) = known {
            offsets.push(lane.first_offset() + distance);
        } else if let Read::Finish { lane, offset } = self.read(receipt) {
            gathered.lanes.push((lane, vec![offset]));
        }
        gathered.count += 1;
        if gathered.count == 1 {
            let now = Instant::now();
            if now.duration_since(gathered.passed_on) >= REST {
                gathered.pass_on(now);
            }
        } else if gathered.count >= GATHERED_MAX {
            gathered.pass_on(Instant::now());
        }
    }

    fn read_lanes(&self) -> RwLockReadGuard<'_, HashMap<u32, Arc<Lane>>> {
        self.lanes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lanes(&self) -> RwLockWriteGuard<'_, HashMap<u32, Arc<Lane>>> {
        self.lanes.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A producer that is dropped takes its reports with it; what they would have finished is done.
impl Drop for Receipts {
    fn drop(&mut self) {
        self.pass_on();
    }
}

enum Read {
    Forget,
    Finish { lane: Arc<Lane>, offset: i64 },
    Kept(Delivery),
}

impl Gathered {
    fn pass_on(&mut self, now: Instant) {
        self.passed_on = now;
        if self.count == 0 {
            return;
        }
        self.count = 0;
        for (lane, offsets) in &mut self.lanes {
            lane.finish_all(offsets);
            offsets.clear();
        }
        self.lanes.retain(|(lane, _)| !lane.is_fenced());
    }
}

fn report(waiter: Reporter, outcome: Result<Appended, DeliveryFailed>) {
    // The waiter may have been cancelled; the record is where it is all the same.
    if waiter.send(outcome).is_err() {
        tracing::debug!("nobody waits for a delivery report any more");
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::lanes::Totals;
    use super::super::offsets::{Begin, Tracker};
    use super::*;

    fn lane(first: i64) -> Arc<Lane> {
        let tracker = Tracker::new(first);
        Arc::new(Lane::new(
            "t".into(),
            0,
            1,
            tracker,
            Arc::<Totals>::default(),
        ))
    }

    fn take(lane: &Arc<Lane>, offset: i64) -> Ticket {
        assert_eq!(lane.begin(offset, 10, Instant::now()), Begin::New);
        Ticket::new(lane, offset)
    }

    fn write(receipts: &Receipts, ticket: Ticket) -> Receipt {
        receipts.write(Delivery::Finish(ticket), &LastLane::default())
    }

    fn appended() -> Appended {
        Appended {
            partition: 0,
            offset: 0,
        }
    }

    #[test]
    fn finishes_reach_their_lanes_many_at_a_time_and_none_is_lost() {
        let receipts = Receipts::default();
        let lanes = [lane(0), lane(1 << 45), lane(7)];
        let mut written = Vec::new();
        for n in 0..2000 {
            for lane in &lanes {
                let ticket = take(lane, lane.first_offset() + n);
                written.push(write(&receipts, ticket));
            }
        }
        let mut random = fastrand::Rng::with_seed(1);
        random.shuffle(&mut written);
        for receipt in written {
            let opaque = Receipt::of_opaque(receipt.to_opaque());
            receipts.delivered(opaque, appended);
        }
        receipts.pass_on();
        for lane in lanes {
            let view = lane.view(Instant::now());
            assert_eq!(view.next_offset, lane.first_offset() + 2000);
            assert_eq!((view.unfinished, view.abandoned), (0, 0));
        }
    }

    #[test]
    fn a_failed_delivery_leaves_its_record_unfinished_and_a_refused_one_gives_its_ticket_back() {
        let (receipts, lane) = (Receipts::default(), lane(5));
        let [lost, refused] = [5, 6].map(|at| write(&receipts, take(&lane, at)));
        let why = DeliveryFailed {
            topic: "out".to_owned(),
            code: rdkafka::types::RDKafkaErrorCode::MessageTimedOut,
        };
        receipts.failed(lost, why);
        let Delivery::Finish(ticket) = receipts.take_back(refused) else {
            panic!("it was a ticket")
        };
        ticket.finish();
        let view = lane.view(Instant::now());
        assert_eq!((view.next_offset, view.abandoned), (5, 1));
    }

    #[test]
    fn a_finish_after_a_rest_is_not_held_back_and_a_dropped_producer_holds_none() {
        let (receipts, lane) = (Receipts::default(), lane(0));
        std::thread::sleep(REST);
        let [first, second] = [0, 1].map(|at| write(&receipts, take(&lane, at)));
        receipts.delivered(first, appended);
        assert_eq!(lane.view(Instant::now()).next_offset, 1);
        receipts.delivered(second, appended);
        drop(receipts);
        assert_eq!(lane.view(Instant::now()).next_offset, 2);
    }

    #[test]
    fn a_distance_that_no_number_holds_is_kept_as_it_is() {
        let (receipts, lane) = (Receipts::default(), lane(0));
        let far = 1 << 41;
        let receipt = write(&receipts, take(&lane, far));
        assert_eq!(receipt.0 >> KIND_SHIFT, KEPT);
        receipts.delivered(receipt, appended);
        assert_eq!(lane.view(Instant::now()).next_offset, far + 1);
    }

    #[test]
    fn lanes_that_are_over_are_forgotten() {
        let (receipts, old) = (Receipts::default(), lane(0));
        receipts.delivered(write(&receipts, take(&old, 0)), appended);
        receipts.pass_on();
        old.fence();
        let receipt = write(&receipts, take(&lane(0), 0));
        assert_eq!(receipts.read_lanes().len(), 1);
        receipts.delivered(receipt, appended);
    }
}
