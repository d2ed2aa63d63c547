//! The poll thread's eye on partitions that do not move.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::intake::Limits;
use super::lanes::Lane;
use super::shared::Shared;
use super::standing::{BadBatch, Fault, Standstill};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A partition of which nothing came for so long, while a batch is complained of, stands at it.
const STANDS_AFTER: Duration = Duration::from_secs(2);
/// So often a batch that was left out is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// What is known of the partitions that do not move.
#[derive(Debug, Default)]
pub(super) struct Guard {
    looked: Option<Instant>,
    /// By the lane's number.
    seen: HashMap<u32, Seen>,
    /// Nothing is taken in from these, until when.
    pub(super) held_back: Vec<(Arc<Lane>, Instant)>,
}

/// Where a partition stood, and since when.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: (i64, i64),
    since: Instant,
}

impl Guard {
    /// Whether a second is over since the last look.
    pub(super) fn is_time_to_look(&mut self) -> bool {
        let now = Instant::now();
        let is_time = self.looked.is_none_or(|looked| now - looked >= LOOK_EVERY);
        if is_time {
            self.looked = Some(now);
        }
        is_time
    }

    /// Looks at where the lanes are; returns those that stand at a batch which librdkafka would leave
    /// out.
    pub(super) fn look(
        &mut self,
        lanes: &[Arc<Lane>],
        shared: &Shared,
        limits: &Limits,
    ) -> Vec<(Arc<Lane>, BadBatch)> {
        let now = Instant::now();
        shared.suspects.prune();
        self.held_back.retain(|(lane, _)| !lane.is_fenced());
        self.seen
            .retain(|number, _| lanes.iter().any(|lane| lane.number() == *number));
        let mut left_out = Vec::new();
        for lane in lanes {
            if self.holds_back(lane) {
                continue;
            }
            let why = self.standstill(lane, shared, limits, now);
            if let Some(Standstill::Undecodable(batch)) = why
                && batch.fault == Fault::Checksum
            {
                left_out.push((Arc::clone(lane), batch));
            }
            lane.stands(why.or_else(|| stands_still(lane, now)));
        }
        left_out
    }

    fn standstill(
        &mut self,
        lane: &Lane,
        shared: &Shared,
        limits: &Limits,
        now: Instant,
    ) -> Option<Standstill> {
        let next = lane.view(now).next_intake;
        let fetched = lane.fetched.load(Ordering::Relaxed).max(next);
        let end = lane.end_offset.load(Ordering::Relaxed);
        let seen = self.seen.entry(lane.number());
        let seen = seen.or_insert(Seen {
            at: (next, fetched),
            since: now,
        });
        let moved = seen.at != (next, fetched);
        let at_its_end = next >= end;
        if moved || at_its_end || lane.paused.load(Ordering::Relaxed) {
            *seen = Seen {
                at: (next, fetched),
                since: now,
            };
            return None;
        }
        let stands = now - seen.since;
        if stands >= STANDS_AFTER
            && let Some(batch) = shared.suspects.at(next, end)
        {
            return Some(Standstill::Undecodable(batch));
        }
        if stands < limits.stuck_after || fetched >= end {
            return None;
        }
        let stable_end = lane.stable_end.load(Ordering::Relaxed);
        Some(if (0..end).contains(&stable_end) && fetched >= stable_end {
            Standstill::Transaction { offset: stable_end }
        } else {
            Standstill::Unknown { offset: fetched }
        })
    }

    pub(super) fn hold_back(&mut self, lane: &Arc<Lane>) {
        if !self.holds_back(lane) {
            self.held_back
                .push((Arc::clone(lane), Instant::now() + ASK_AGAIN));
        }
    }

    pub(super) fn holds_back(&self, lane: &Arc<Lane>) -> bool {
        self.held_back
            .iter()
            .any(|(held, _)| Arc::ptr_eq(held, lane))
    }

    /// Those that are to be asked for again.
    pub(super) fn due(&self) -> Vec<Arc<Lane>> {
        let now = Instant::now();
        let due = self.held_back.iter().filter(|(_, until)| *until <= now);
        due.map(|(lane, _)| Arc::clone(lane)).collect()
    }

    pub(super) fn let_go(&mut self, lane: &Arc<Lane>) {
        self.held_back.retain(|(held, _)| !Arc::ptr_eq(held, lane));
        self.seen.remove(&lane.number());
    }
}

/// A partition that was held back stands still until something of the batch is taken in, also while
/// the batch is asked for again.
fn stands_still(lane: &Lane, now: Instant) -> Option<Standstill> {
    let (_, why) = (*lane.standstill())?;
    match why {
        Standstill::Undecodable(batch) if lane.view(now).next_intake <= batch.offset => Some(why),
        _ => None,
    }
}
