//! The way from a record to its delivery report: a number instead of a box, and finishes that reach
//! their partition many at a time.
//!
//! An answer's delivery finishes its query's ticket, on another thread than the one that made it. A
//! box freed and a lock taken there for every record would cost both threads more than all other
//! bookkeeping. So the poll thread turns the ticket into a number (the id of its partition's state,
//! and the distance of its offset from the first one there), and the delivery thread gathers
//! numbers and finishes them by partition under one lock.

use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use wedcache_model::failpoint;

use super::member::{PartitionState, Ticket};
use super::producer::{Appended, Delivery, DeliveryFailed};

/// The layout of a token: two bits of kind, 22 of a partition's id, 40 of an offset's distance.
const KIND_SHIFT: u32 = 62;
const PARTITION_SHIFT: u32 = 40;
const PARTITION_BITS: u32 = KIND_SHIFT - PARTITION_SHIFT;
const DISTANCE_MASK: u64 = (1 << PARTITION_SHIFT) - 1;
const PARTITION_MASK: u64 = (1 << PARTITION_BITS) - 1;
const FORGET: u64 = 0;
const FINISH: u64 = 1;
const KEPT: u64 = 2;

/// The most finishes that are gathered.
const GATHERED_MAX: usize = 256;
/// The rest after which a finish is passed on at once.
const REST: Duration = Duration::from_millis(5);

/// The number that librdkafka keeps with a record until its delivery report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReportToken(u64);

impl ReportToken {
    /// Returns the token as librdkafka's opaque pointer, which is as wide on every supported
    /// platform.
    pub(super) fn to_opaque(self) -> usize {
        usize::try_from(self.0).expect("a 64-bit platform: src/kafka says so at compile time")
    }

    pub(super) fn of_opaque(opaque: usize) -> Self {
        Self(opaque as u64)
    }
}

const _: () = assert!(
    usize::BITS >= u64::BITS,
    "report tokens need 64-bit pointers"
);

/// The partition of a writer's last ticket, which the producer knows; the next ticket is mostly of
/// it too. Every poll thread has a separate one.
#[derive(Debug)]
pub(super) struct LastPartition(AtomicU32);

impl Default for LastPartition {
    fn default() -> Self {
        Self(AtomicU32::new(u32::MAX))
    }
}

/// A clone is for another writer, which has no last ticket yet.
impl Clone for LastPartition {
    fn clone(&self) -> Self {
        Self::default()
    }
}

type ReportSender = oneshot::Sender<Result<Appended, DeliveryFailed>>;

/// The deliveries of one producer that have no report yet.
#[derive(Debug)]
pub(super) struct DeliveryReports {
    /// The partitions that have, or recently had, tickets without a report, by their ids.
    partitions: RwLock<HashMap<u32, Arc<PartitionState>>>,
    /// The deliveries that no number can stand for: those that somebody waits for.
    kept: Mutex<KeptDeliveries>,
    gathered: Mutex<GatheredFinishes>,
}

#[derive(Debug, Default)]
struct KeptDeliveries {
    next: u64,
    deliveries: HashMap<u64, Delivery>,
}

#[derive(Debug)]
struct GatheredFinishes {
    partitions: Vec<(Arc<PartitionState>, Vec<i64>)>,
    count: usize,
    passed_on: Instant,
}

impl Default for DeliveryReports {
    fn default() -> Self {
        Self {
            partitions: RwLock::default(),
            kept: Mutex::default(),
            gathered: Mutex::new(GatheredFinishes {
                partitions: Vec::new(),
                count: 0,
                passed_on: Instant::now(),
            }),
        }
    }
}

impl DeliveryReports {
    /// Takes a delivery; its token must come back through [`DeliveryReports::take_back`],
    /// [`DeliveryReports::delivered`] or [`DeliveryReports::failed`].
    pub(super) fn write(&self, delivery: Delivery, last: &LastPartition) -> ReportToken {
        match delivery {
            Delivery::Forget => ReportToken(FORGET << KIND_SHIFT),
            Delivery::Finish(ticket) => self.write_ticket(ticket, last),
            Delivery::Report(_) => self.keep(delivery),
        }
    }

    /// Returns the delivery of a record that was refused.
    pub(super) fn take_back(&self, token: ReportToken) -> Delivery {
        match self.read(token) {
            Pending::Forget => Delivery::Forget,
            Pending::Finish { partition, offset } => {
                Delivery::Finish(Ticket::resume(partition, offset))
            }
            Pending::Kept(delivery) => delivery,
        }
    }

    /// Handles the report of a record that has arrived.
    pub(super) fn delivered(&self, token: ReportToken, appended: impl FnOnce() -> Appended) {
        if token.0 >> KIND_SHIFT == FINISH {
            failpoint::pass("answered");
            return self.gather(token);
        }
        match self.read(token) {
            Pending::Kept(Delivery::Report(waiter)) => report(waiter, Ok(appended())),
            Pending::Kept(Delivery::Finish(ticket)) => ticket.finish(),
            Pending::Kept(Delivery::Forget) | Pending::Forget | Pending::Finish { .. } => {}
        }
    }

    /// Handles the report of a record that will never arrive; returns the ticket that waits for it,
    /// if there is one.
    pub(super) fn failed(&self, token: ReportToken, failed: DeliveryFailed) -> Option<Ticket> {
        match self.take_back(token) {
            Delivery::Report(waiter) => report(waiter, Err(failed)),
            Delivery::Finish(ticket) => return Some(ticket),
            Delivery::Forget => {}
        }
        None
    }

    /// Finishes the gathered records.
    pub(super) fn pass_on(&self) {
        lock(&self.gathered).pass_on(Instant::now());
    }

    fn write_ticket(&self, ticket: Ticket, last: &LastPartition) -> ReportToken {
        let partition = ticket.partition_state();
        let number = partition.id();
        let distance = u64::try_from(ticket.offset() - partition.first_offset());
        let (Ok(distance @ 0..=DISTANCE_MASK), true) =
            (distance, u64::from(number) <= PARTITION_MASK)
        else {
            return self.keep(Delivery::Finish(ticket));
        };
        let token = FINISH << KIND_SHIFT | u64::from(number) << PARTITION_SHIFT | distance;
        let partition = ticket.into_partition();
        if last.0.load(Ordering::Relaxed) != number {
            self.know(partition);
            last.0.store(number, Ordering::Relaxed);
        }
        ReportToken(token)
    }

    /// Adds a partition, and forgets those that will have no further report.
    fn know(&self, partition: Arc<PartitionState>) {
        if self.read_partitions().contains_key(&partition.id()) {
            return;
        }
        let mut partitions = self.write_partitions();
        partitions.retain(|_, partition| !partition.is_over());
        partitions.insert(partition.id(), partition);
    }

    #[cold]
    fn keep(&self, delivery: Delivery) -> ReportToken {
        let mut kept = lock(&self.kept);
        let number = kept.next;
        kept.next = (kept.next + 1) & ((1 << KIND_SHIFT) - 1);
        kept.deliveries.insert(number, delivery);
        ReportToken(KEPT << KIND_SHIFT | number)
    }

    fn read(&self, token: ReportToken) -> Pending {
        let body = token.0 & ((1 << KIND_SHIFT) - 1);
        match token.0 >> KIND_SHIFT {
            FINISH => {
                let (number, distance) = (body >> PARTITION_SHIFT, body & DISTANCE_MASK);
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                let Some(partition) = self.read_partitions().get(&number).cloned() else {
                    // A partition stays known for as long as it has tickets out.
                    tracing::error!(number, "a delivery report of an unknown partition");
                    return Pending::Forget;
                };
                let offset = partition.first_offset() + i64::try_from(distance).unwrap_or(0);
                Pending::Finish { partition, offset }
            }
            KEPT => match lock(&self.kept).deliveries.remove(&body) {
                Some(delivery) => Pending::Kept(delivery),
                None => Pending::Forget,
            },
            _ => Pending::Forget,
        }
    }

    fn gather(&self, token: ReportToken) {
        let body = token.0 & ((1 << KIND_SHIFT) - 1);
        let number = u32::try_from(body >> PARTITION_SHIFT).unwrap_or(u32::MAX);
        let distance = i64::try_from(body & DISTANCE_MASK).unwrap_or(0);
        let mut gathered = lock(&self.gathered);
        let known = gathered
            .partitions
            .iter_mut()
            .find(|(partition, _)| partition.id() == number);
        if let Some((partition, offsets)) = known {
            offsets.push(partition.first_offset() + distance);
        } else if let Pending::Finish { partition, offset } = self.read(token) {
            gathered.partitions.push((partition, vec![offset]));
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

    fn read_partitions(&self) -> RwLockReadGuard<'_, HashMap<u32, Arc<PartitionState>>> {
        self.partitions.read()
    }

    fn write_partitions(&self) -> RwLockWriteGuard<'_, HashMap<u32, Arc<PartitionState>>> {
        self.partitions.write()
    }
}

/// Finishes what was gathered: a dropped producer has no further reports.
impl Drop for DeliveryReports {
    fn drop(&mut self) {
        self.pass_on();
    }
}

enum Pending {
    Forget,
    Finish {
        partition: Arc<PartitionState>,
        offset: i64,
    },
    Kept(Delivery),
}

impl GatheredFinishes {
    fn pass_on(&mut self, now: Instant) {
        self.passed_on = now;
        if self.count == 0 {
            return;
        }
        self.count = 0;
        for (partition, offsets) in &mut self.partitions {
            partition.finish_all(offsets);
            offsets.clear();
        }
        self.partitions
            .retain(|(partition, _)| !partition.is_fenced());
    }
}

fn report(waiter: ReportSender, outcome: Result<Appended, DeliveryFailed>) {
    // The waiter may have been cancelled; the record has arrived all the same.
    if waiter.send(outcome).is_err() {
        tracing::debug!("nobody waits for a delivery report any more");
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock()
}

#[cfg(test)]
mod tests;
