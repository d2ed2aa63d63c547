//! Which offsets of one partition are finished, and what may therefore be committed. Pure.
//!
//! The order of intake defines the sequence: offsets that never came (compacted away, transaction
//! markers) lie between ones that did, and count as finished with them.

pub(super) mod metadata;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use self::metadata::Unreadable;
use self::metadata::{CommitMetadata, MAX_LEN, OffsetRun};
use crate::model::TopicId;
use crate::model::topic_id::TOPIC_ID_LEN;

/// Intake stops where the finished offsets above the gap need more metadata than this.
const FULL_LEN: usize = MAX_LEN / 4 * 3;
/// And goes on once they need no more than this.
const EASY_LEN: usize = MAX_LEN / 2;
/// With no more unfinished than these, intake goes on however long the metadata is: after a restart
/// it is what an earlier assignment left, and shrinks by nothing but taking in what it passes.
const FEW_UNFINISHED: usize = 64;
/// More than one run can need: a gap and a length of up to 2^35 offsets each.
const RUN_LEN_BOUND: usize = 14;
/// Finished slots behind an unfinished one are cleared once they outnumber the rest by this.
const SLACK_SLOTS: usize = 64;

/// What to commit: `next_offset` is the first offset to read again, `metadata` tells which ones
/// above it are finished already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub next_offset: i64,
    pub metadata: String,
    /// Finished offsets did not fit into the metadata and would be repeated after a restart.
    pub truncated: bool,
}

/// What taking in a record means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// To be worked on, and finished later.
    New,
    /// Finished before a restart or rebalance: to be skipped.
    AlreadyFinished,
    /// Below what was taken in before: the log was cut or made anew. Nothing changed; the caller
    /// must start a new tracker.
    Rewound,
}

/// The tracker of one partition during one assignment.
#[derive(Debug)]
pub struct Tracker {
    /// The topic that the offsets are of; none while it is not known.
    topic: Option<TopicId>,
    /// Begun from a committed offset.
    committed: bool,
    /// One past the highest offset taken in.
    next_intake: i64,
    /// In the order of intake, so ascending; the first is always unfinished.
    slots: VecDeque<Slot>,
    unfinished: usize,
    unfinished_bytes: u64,
    /// Finished in an earlier assignment, at or above `next_intake`.
    restored: VecDeque<OffsetRun>,
    /// Something changed since the last [`Tracker::next_commit`].
    changed: bool,
}

#[derive(Debug)]
struct Slot {
    offset: i64,
    at: Instant,
    bytes: u32,
    finished: bool,
}

impl Tracker {
    /// A partition that is read from `next_offset` on and of which nothing else is known.
    pub fn new(next_offset: i64) -> Self {
        Self {
            topic: None,
            committed: false,
            next_intake: next_offset,
            slots: VecDeque::new(),
            unfinished: 0,
            unfinished_bytes: 0,
            restored: VecDeque::new(),
            changed: false,
        }
    }

    /// A partition with a committed offset and its metadata. Metadata that cannot be read claims
    /// nothing: the tracker is good all the same.
    pub fn restore(next_offset: i64, metadata: &str) -> (Self, Option<Unreadable>) {
        let mut tracker = Self {
            committed: true,
            ..Self::new(next_offset)
        };
        match metadata::decode(next_offset, metadata) {
            Ok(known) => {
                tracker.topic = known.topic;
                tracker.restored = known.finished.into();
                (tracker, None)
            }
            Err(why) => (tracker, Some(why)),
        }
    }

    /// The topic that the offsets are of, as far as is known.
    pub fn topic(&self) -> Option<TopicId> {
        self.topic
    }

    /// The offsets are of this topic: commits say so from now on. What is committed without it is
    /// committed again.
    pub fn set_topic(&mut self, topic: TopicId) {
        self.changed |= self.committed && self.topic != Some(topic);
        self.topic = Some(topic);
    }

    /// Takes in the record at `offset`.
    pub fn begin(&mut self, offset: i64, bytes: u32, at: Instant) -> Begin {
        if offset < self.next_intake {
            return Begin::Rewound;
        }
        let known = self.already_finished(offset);
        self.next_intake = offset + 1;
        while self
            .restored
            .front()
            .is_some_and(|run| run.end <= self.next_intake)
        {
            self.restored.pop_front();
        }
        if known {
            self.changed |= self.slots.is_empty();
            return Begin::AlreadyFinished;
        }
        self.slots.push_back(Slot {
            offset,
            at,
            bytes,
            finished: false,
        });
        self.unfinished += 1;
        self.unfinished_bytes += u64::from(bytes);
        Begin::New
    }

    /// Goes on from the offset `to`: what is below it and was not taken in counts as finished.
    pub fn skip_to(&mut self, to: i64) {
        if to <= self.next_intake {
            return;
        }
        self.next_intake = to;
        while self.restored.front().is_some_and(|run| run.end <= to) {
            self.restored.pop_front();
        }
        self.changed = true;
    }

    /// Whether the offset, not yet taken in, was finished in an earlier assignment.
    pub fn already_finished(&self, offset: i64) -> bool {
        self.restored
            .iter()
            .take_while(|run| run.first <= offset)
            .any(|run| offset < run.end)
    }

    /// Marks a record as finished; `false` when it is not an unfinished one.
    pub fn finish(&mut self, offset: i64) -> bool {
        let Some(index) = self.slot_of(offset) else {
            return false;
        };
        let slot = &mut self.slots[index];
        if slot.finished {
            return false;
        }
        slot.finished = true;
        self.unfinished -= 1;
        self.unfinished_bytes -= u64::from(slot.bytes);
        self.changed = true;
        while self.slots.front().is_some_and(|slot| slot.finished) {
            self.slots.pop_front();
        }
        // A stuck record must not keep all that were finished behind it in memory.
        if self.slots.len() > 2 * self.unfinished + SLACK_SLOTS {
            self.slots.retain(|slot| !slot.finished);
        }
        true
    }

    /// The bytes of an unfinished record; 0 where it is none.
    pub fn bytes_of(&self, offset: i64) -> u64 {
        self.slot_of(offset)
            .map(|index| &self.slots[index])
            .filter(|slot| !slot.finished)
            .map_or(0, |slot| u64::from(slot.bytes))
    }

    fn slot_of(&self, offset: i64) -> Option<usize> {
        // Most records are finished in the order in which they came.
        match self.slots.front() {
            Some(slot) if slot.offset == offset => Some(0),
            _ => self
                .slots
                .binary_search_by_key(&offset, |slot| slot.offset)
                .ok(),
        }
    }

    /// What to commit, once for every change; `None` when nothing changed since the last call.
    pub fn next_commit(&mut self) -> Option<Commit> {
        if !self.changed {
            return None;
        }
        self.changed = false;
        let next_offset = self.next_offset();
        let known = CommitMetadata {
            topic: self.topic,
            finished: self.finished_runs().collect(),
        };
        let (metadata, truncated) = metadata::encode(next_offset, &known, MAX_LEN);
        Some(Commit {
            next_offset,
            metadata,
            truncated,
        })
    }

    /// The last commit did not arrive: [`Tracker::next_commit`] offers the state again.
    pub fn commit_failed(&mut self) {
        self.changed = true;
    }

    /// The lowest offset that is not finished.
    pub fn next_offset(&self) -> i64 {
        self.slots
            .front()
            .map_or(self.next_intake, |slot| slot.offset)
    }

    /// One past the highest offset taken in.
    pub fn next_intake(&self) -> i64 {
        self.next_intake
    }

    /// Whether the commit metadata has room for more finished offsets above the gap.
    pub fn intake_ok(&self) -> bool {
        self.unfinished < FEW_UNFINISHED || self.metadata_fits(FULL_LEN)
    }

    /// Whether an intake that was stopped may go on (hysteresis to [`Tracker::intake_ok`]).
    pub fn intake_easy(&self) -> bool {
        self.unfinished < FEW_UNFINISHED / 2 || self.metadata_fits(EASY_LEN)
    }

    pub fn unfinished(&self) -> usize {
        self.unfinished
    }

    pub fn unfinished_bytes(&self) -> u64 {
        self.unfinished_bytes
    }

    /// The oldest unfinished offset and for how long it has been so.
    pub fn oldest(&self, now: Instant) -> Option<(i64, Duration)> {
        self.slots
            .front()
            .map(|slot| (slot.offset, now.saturating_duration_since(slot.at)))
    }

    /// The same where `since` tells from when an offset counts, given when it was taken in; `None`
    /// for one that does not. Looks at every unfinished one.
    pub fn oldest_by(
        &self,
        now: Instant,
        since: impl Fn(i64, Instant) -> Option<Instant>,
    ) -> Option<(i64, Duration)> {
        let unfinished = self.slots.iter().filter(|slot| !slot.finished);
        unfinished
            .filter_map(|slot| Some((slot.offset, since(slot.offset, slot.at)?)))
            .map(|(offset, since)| (offset, now.saturating_duration_since(since)))
            .max_by_key(|(_, age)| *age)
    }

    fn metadata_fits(&self, max: usize) -> bool {
        let end = self
            .restored
            .back()
            .map_or(self.next_intake, |run| run.end.max(self.next_intake));
        let max = max - TOPIC_ID_LEN;
        // Two bounds that need no look at every slot: nearly always one of them settles it.
        (self.unfinished + self.restored.len() + 1) * RUN_LEN_BOUND <= max
            || metadata::bits_encoded_len(self.next_offset(), end) <= max
            || metadata::encoded_len(self.next_offset(), self.finished_runs()) <= max
    }

    /// The finished runs above [`Tracker::next_offset`]: what lies between unfinished offsets,
    /// then what is known from earlier. Not touching one another.
    fn finished_runs(&self) -> impl Iterator<Item = OffsetRun> {
        let mut at = self.next_offset();
        let mut waiting: Option<OffsetRun> = None;
        let taken_in = self
            .slots
            .iter()
            .filter(|slot| !slot.finished)
            .map(|slot| (slot.offset, slot.offset + 1))
            .chain(std::iter::once((self.next_intake, self.next_intake)))
            .filter_map(move |(open, after)| {
                let run = OffsetRun {
                    first: at,
                    end: open,
                };
                at = after;
                (run.first < run.end).then_some(run)
            });
        let restored = self.restored.iter().map(|run| OffsetRun {
            first: run.first.max(self.next_intake),
            end: run.end,
        });
        let mut all = taken_in.chain(restored);
        std::iter::from_fn(move || {
            loop {
                match (all.next(), waiting) {
                    (Some(run), Some(before)) if run.first <= before.end => {
                        waiting = Some(OffsetRun {
                            first: before.first,
                            end: run.end,
                        });
                    }
                    (next, Some(before)) => {
                        waiting = next;
                        return Some(before);
                    }
                    (Some(run), None) => waiting = Some(run),
                    (None, None) => return None,
                }
            }
        })
    }
}
