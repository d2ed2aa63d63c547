//! The poll thread's watch over partitions that do not move.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::standstill::{BadBatch, BatchFault, Standstill};
use super::options::Limits;
use super::partition::PartitionState;
use super::state::MemberState;

/// The interval at which all partitions are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The time without a record after which a partition stands at a batch that was reported as bad.
const STANDS_AFTER: Duration = Duration::from_secs(2);
/// The interval at which a batch that was left out is fetched again.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// The watch over partitions that do not move.
#[derive(Debug, Default)]
pub(super) struct StandstillWatch {
    looked: Option<Instant>,
    /// The last positions, by the ids of the partitions' states.
    last: HashMap<u32, LastPosition>,
    /// The partitions from which nothing is taken in, with the ends of their waits.
    pub(super) held_back: Vec<(Arc<PartitionState>, Instant)>,
}

/// A position of a partition, and the time since when it has been there.
#[derive(Debug, Clone, Copy)]
struct LastPosition {
    /// The next offset to be taken in, and the next one to be fetched.
    at: (i64, i64),
    since: Instant,
}

impl StandstillWatch {
    /// Returns true once in [`LOOK_EVERY`].
    pub(super) fn is_time_to_look(&mut self) -> bool {
        let now = Instant::now();
        let is_time = self.looked.is_none_or(|looked| now - looked >= LOOK_EVERY);
        if is_time {
            self.looked = Some(now);
        }
        is_time
    }

    /// Looks at the positions of all partitions; returns those that stand at a batch which
    /// librdkafka would leave out.
    pub(super) fn look(
        &mut self,
        partitions: &[Arc<PartitionState>],
        state: &MemberState,
        limits: &Limits,
    ) -> Vec<(Arc<PartitionState>, BadBatch)> {
        let now = Instant::now();
        state.suspects.prune();
        self.held_back
            .retain(|(partition, _)| !partition.is_fenced());
        self.last
            .retain(|id, _| partitions.iter().any(|partition| partition.id() == *id));
        let mut left_out = Vec::new();
        for partition in partitions {
            if self.holds_back(partition) {
                continue;
            }
            let why = self.standstill(partition, state, limits, now);
            if let Some(Standstill::Undecodable(batch)) = why
                && batch.fault == BatchFault::Checksum
            {
                left_out.push((Arc::clone(partition), batch));
            }
            partition.set_standstill(why.or_else(|| stands_still(partition, now)));
        }
        left_out
    }

    fn standstill(
        &mut self,
        partition: &PartitionState,
        state: &MemberState,
        limits: &Limits,
        now: Instant,
    ) -> Option<Standstill> {
        let next = partition.view(now).next_intake;
        let fetched = partition.fetched.load(Ordering::Relaxed).max(next);
        let end = partition.end_offset.load(Ordering::Relaxed);
        let last = self.last.entry(partition.id());
        let last = last.or_insert(LastPosition {
            at: (next, fetched),
            since: now,
        });
        let moved = last.at != (next, fetched);
        let at_its_end = next >= end;
        if moved || at_its_end || partition.paused.load(Ordering::Relaxed) {
            *last = LastPosition {
                at: (next, fetched),
                since: now,
            };
            return None;
        }
        let stands = now - last.since;
        if stands >= STANDS_AFTER
            && let Some(batch) = state.suspects.at(next, end)
        {
            return Some(Standstill::Undecodable(batch));
        }
        if stands < limits.stuck_after || fetched >= end {
            return None;
        }
        let stable_end = partition.stable_end.load(Ordering::Relaxed);
        Some(if (0..end).contains(&stable_end) && fetched >= stable_end {
            Standstill::Transaction { offset: stable_end }
        } else {
            Standstill::Unknown { offset: fetched }
        })
    }

    /// Holds a partition back until its batch is due to be fetched again.
    pub(super) fn hold_back(&mut self, partition: &Arc<PartitionState>) {
        if !self.holds_back(partition) {
            self.held_back
                .push((Arc::clone(partition), Instant::now() + ASK_AGAIN));
        }
    }

    pub(super) fn holds_back(&self, partition: &Arc<PartitionState>) -> bool {
        self.held_back
            .iter()
            .any(|(held, _)| Arc::ptr_eq(held, partition))
    }

    /// Returns the partitions whose batches are to be fetched again.
    pub(super) fn due(&self) -> Vec<Arc<PartitionState>> {
        let now = Instant::now();
        let due = self.held_back.iter().filter(|(_, until)| *until <= now);
        due.map(|(partition, _)| Arc::clone(partition)).collect()
    }

    /// Lets a partition go that was held back.
    pub(super) fn let_go(&mut self, partition: &Arc<PartitionState>) {
        self.held_back
            .retain(|(held, _)| !Arc::ptr_eq(held, partition));
        self.last.remove(&partition.id());
    }
}

/// Returns the standstill of a partition that was held back: it lasts until something of the batch
/// is taken in, also while the batch is fetched again.
fn stands_still(partition: &PartitionState, now: Instant) -> Option<Standstill> {
    let (_, why) = (*partition.standstill())?;
    match why {
        Standstill::Undecodable(batch) if partition.view(now).next_intake <= batch.offset => {
            Some(why)
        }
        _ => None,
    }
}
