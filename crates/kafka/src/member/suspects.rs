//! Offsets of batches that librdkafka has reported as bad.

use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::super::standstill::{BadBatch, BatchFault};

/// The most suspects that are kept; the oldest are forgotten first.
const MAX_SUSPECTS: usize = 64;
/// The time for which a batch that cannot be decompressed is remembered; it is reported several
/// times a second.
const REPEATS: Duration = Duration::from_secs(10);
/// The time for which a batch that was left out is remembered.
const REMEMBERED: Duration = Duration::from_hours(1);

/// The offsets that librdkafka has reported.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// True if `list` is not empty; read for every record.
    any: AtomicBool,
    list: Mutex<Vec<Suspect>>,
}

#[derive(Debug, Clone, Copy)]
struct Suspect {
    batch: BadBatch,
    last: Instant,
}

impl Suspects {
    /// Adds a batch, or notes that it was reported again.
    pub(super) fn add(&self, batch: BadBatch) {
        let now = Instant::now();
        let mut suspects = self.lock();
        if let Some(known) = suspects.iter_mut().find(|of| of.batch == batch) {
            known.last = now;
            return;
        }
        if suspects.len() == MAX_SUSPECTS {
            suspects.remove(0);
        }
        suspects.push(Suspect { batch, last: now });
        self.any.store(true, Ordering::Relaxed);
    }

    /// Returns true if librdkafka may just have made an offset up: it goes on within a batch whose
    /// checksum is wrong, and takes what is there for the head of the next batch.
    pub(super) fn just_left_out(&self) -> bool {
        let mut suspects = self.lock().clone().into_iter();
        suspects.any(|of| of.batch.fault == BatchFault::Checksum && of.last.elapsed() < REPEATS)
    }

    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Returns the batch that was left out if a partition goes on from `next` with a record at
    /// `offset`. An offset below `next` comes from a position that librdkafka made up in the batch.
    pub(super) fn left_out(&self, next: i64, offset: i64) -> Option<BadBatch> {
        let reached = if offset < next { i64::MAX } else { offset };
        let mut batches = self.lock().clone().into_iter().map(|of| of.batch);
        batches.find(|of| of.fault == BatchFault::Checksum && (next..reached).contains(&of.offset))
    }

    /// Returns the batch at which a partition stands still that is to read `next` and ends at
    /// `end`: the first suspect from there on; otherwise the last one before that cannot be
    /// decompressed, because `next` may lie in the middle of it.
    pub(super) fn at(&self, next: i64, end: i64) -> Option<BadBatch> {
        let suspects = self.lock();
        let all = || suspects.iter().map(|of| of.batch);
        let ahead = all().filter(|of| (next..end).contains(&of.offset));
        let behind = || all().filter(|of| of.offset < next && of.fault != BatchFault::Checksum);
        let of_offset = |of: &BadBatch| of.offset;
        ahead
            .min_by_key(of_offset)
            .or_else(|| behind().max_by_key(of_offset))
    }

    /// Forgets a batch that is fetched again: if it is still bad, it is reported again.
    pub(super) fn forget(&self, batch: BadBatch) {
        let mut suspects = self.lock();
        suspects.retain(|of| of.batch != batch);
        self.any.store(!suspects.is_empty(), Ordering::Relaxed);
    }

    /// Forgets batches whose last report is too old.
    pub(super) fn prune(&self) {
        let mut list = self.lock();
        list.retain(|of| {
            let remembered = match of.batch.fault {
                BatchFault::Codec(_) => REPEATS,
                BatchFault::Checksum => REMEMBERED,
            };
            of.last.elapsed() < remembered
        });
        self.any.store(!list.is_empty(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Suspect>> {
        self.list.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suspect_of_a_partition_is_the_one_that_it_stands_at() {
        let suspects = Suspects::default();
        assert!(!suspects.any() && suspects.at(0, 9).is_none());
        for offset in [5, 40] {
            suspects.add(BadBatch {
                offset,
                fault: BatchFault::Checksum,
            });
        }
        let at = |next| suspects.at(next, 50).map(|of| of.offset);
        assert_eq!(
            (at(0), at(5), at(6), at(41), suspects.at(6, 40)),
            (Some(5), Some(5), Some(40), None, None)
        );
        let left_out = |next, offset| suspects.left_out(next, offset).map(|of| of.offset);
        assert_eq!(
            (
                left_out(5, 6),
                left_out(5, 5),
                left_out(6, 40),
                left_out(6, 3)
            ),
            (Some(5), None, None, Some(40))
        );
        suspects.prune();
        assert!(suspects.any(), "a batch that was left out is remembered");
    }
}
