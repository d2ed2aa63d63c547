//! The finished offsets of one partition, and the commits that follow from them. Pure.
//!
//! The order of intake defines the sequence: offsets that never came (compacted away, transaction
//! markers) lie between offsets that did, and count as finished with them.

pub(super) mod metadata;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use self::metadata::Unreadable;
use wedcache_model::TopicId;
use wedcache_model::topic_id::TOPIC_ID_LEN;

use self::metadata::{CommitMetadata, MAX_LEN, OffsetRun};

/// The length of the metadata for the finished offsets above the gap at which intake stops.
const FULL_LEN: usize = MAX_LEN / 4 * 3;
/// The length of the metadata at which a stopped intake resumes.
const EASY_LEN: usize = MAX_LEN / 2;
/// The number of unfinished records below which intake continues however long the metadata is:
/// after a restart it is that of an earlier assignment, and only further intake shortens it.
const FEW_UNFINISHED: usize = 64;
/// The most that one run can need: a gap and a length of up to 2^35 offsets each.
const RUN_LEN_BOUND: usize = 14;
/// The number by which finished slots behind an unfinished one may outnumber the rest before they
/// are cleared.
const SLACK_SLOTS: usize = 64;

/// A commit: `next_offset` is the first offset to read again, `metadata` names the finished offsets
/// above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub next_offset: i64,
    pub metadata: String,
    /// True if finished offsets did not fit into the metadata; a restart would repeat them.
    pub truncated: bool,
}

/// The result of taking in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// The record is to be worked on, and finished later.
    New,
    /// The record was finished before a restart or rebalance and is to be skipped.
    AlreadyFinished,
    /// The offset is below those taken in before: the log was truncated or recreated. Nothing
    /// changed; the caller must start a new tracker.
    Rewound,
}

/// The tracker of one partition during one assignment.
#[derive(Debug)]
pub struct Tracker {
    /// The topic of the offsets; `None` while it is not known.
    topic: Option<TopicId>,
    /// True if the tracker began at a committed offset.
    committed: bool,
    /// The offset after the highest one taken in.
    next_intake: i64,
    /// The records in the order of intake, so ascending; the first is always unfinished.
    slots: VecDeque<TrackedRecord>,
    unfinished: usize,
    unfinished_bytes: u64,
    /// The runs that an earlier assignment finished, at or above `next_intake`.
    restored: VecDeque<OffsetRun>,
    /// True if something changed since the last [`Tracker::next_commit`].
    changed: bool,
}

#[derive(Debug)]
struct TrackedRecord {
    offset: i64,
    at: Instant,
    bytes: u32,
    finished: bool,
}

impl Tracker {
    /// Returns the tracker of a partition that is read from `next_offset` on, without further
    /// knowledge.
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

    /// Returns the tracker of a partition with a committed offset and its metadata. If the metadata
    /// cannot be read, no offset above counts as finished; the tracker is good all the same.
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

    /// Returns the topic of the offsets, if it is known.
    pub fn topic(&self) -> Option<TopicId> {
        self.topic
    }

    /// Sets the topic of the offsets, which commits name from now on. An offset that was committed
    /// without it is committed again.
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
        self.slots.push_back(TrackedRecord {
            offset,
            at,
            bytes,
            finished: false,
        });
        self.unfinished += 1;
        self.unfinished_bytes += u64::from(bytes);
        Begin::New
    }

    /// Resumes at the offset `to`: offsets below it that were not taken in count as finished.
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

    /// Returns true if the offset, not yet taken in, was finished in an earlier assignment.
    pub fn already_finished(&self, offset: i64) -> bool {
        self.restored
            .iter()
            .take_while(|run| run.first <= offset)
            .any(|run| offset < run.end)
    }

    /// Marks a record as finished; returns false if it is not an unfinished one.
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

    /// Returns the bytes of an unfinished record; 0 if it is none.
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

    /// Returns the commit that is due, once for every change; `None` if nothing changed since the
    /// last call.
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

    /// Notes that the last commit did not arrive: [`Tracker::next_commit`] offers the state again.
    pub fn commit_failed(&mut self) {
        self.changed = true;
    }

    /// Returns the lowest offset that is not finished.
    pub fn next_offset(&self) -> i64 {
        self.slots
            .front()
            .map_or(self.next_intake, |slot| slot.offset)
    }

    /// Returns the offset after the highest one taken in.
    pub fn next_intake(&self) -> i64 {
        self.next_intake
    }

    /// Returns true if the commit metadata has room for more finished offsets above the gap.
    pub fn intake_ok(&self) -> bool {
        self.unfinished < FEW_UNFINISHED || self.metadata_fits(FULL_LEN)
    }

    /// Returns true if a stopped intake may resume (hysteresis to [`Tracker::intake_ok`]).
    pub fn intake_easy(&self) -> bool {
        self.unfinished < FEW_UNFINISHED / 2 || self.metadata_fits(EASY_LEN)
    }

    pub fn unfinished(&self) -> usize {
        self.unfinished
    }

    pub fn unfinished_bytes(&self) -> u64 {
        self.unfinished_bytes
    }

    /// Returns the oldest unfinished offset and its age.
    pub fn oldest(&self, now: Instant) -> Option<(i64, Duration)> {
        self.slots
            .front()
            .map(|slot| (slot.offset, now.saturating_duration_since(slot.at)))
    }

    /// Returns the oldest unfinished offset and its age from `since`, which maps an offset and the
    /// time of its intake to the time from which it counts; `None` if it does not. Looks at every
    /// unfinished offset.
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
        // The first two are bounds that need no look at every slot; one of them nearly always
        // decides.
        (self.unfinished + self.restored.len() + 1) * RUN_LEN_BOUND <= max
            || metadata::bits_encoded_len(self.next_offset(), end) <= max
            || metadata::encoded_len(self.next_offset(), self.finished_runs()) <= max
    }

    /// Returns the finished runs above [`Tracker::next_offset`]: those between unfinished offsets,
    /// then those of an earlier assignment. No two of them touch.
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
