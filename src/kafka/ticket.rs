//! One unfinished record: whoever holds the ticket owes the offset its finish.

use std::fmt;
use std::sync::Arc;

use super::lanes::Lane;

/// The right and duty to finish one record.
///
/// [`Ticket::finish`] may be called on any thread. A ticket that is dropped without it leaves the
/// record unfinished: its partition's commits stop below it until the next assignment takes it in
/// again, and the drop is counted. After its partition was revoked, finishing is a counted no-op.
#[must_use = "a dropped ticket leaves its record unfinished"]
pub struct Ticket {
    lane: Arc<Lane>,
    offset: i64,
    bytes: u32,
    finished: bool,
}

impl Ticket {
    pub(super) fn new(lane: &Arc<Lane>, offset: i64, bytes: u32) -> Self {
        Self {
            lane: Arc::clone(lane),
            offset,
            bytes,
            finished: false,
        }
    }

    /// The record's work is done: its answer is with Kafka, or it needed none.
    pub fn finish(mut self) {
        self.finished = true;
    }

    pub fn topic(&self) -> &Arc<str> {
        &self.lane.topic
    }

    pub fn partition(&self) -> i32 {
        self.lane.partition
    }

    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Which assignment took the record in; grows with every rebalance of this process.
    pub fn generation(&self) -> u64 {
        self.lane.generation
    }

    /// Whether the partition was taken away since: finishing would be a no-op.
    pub fn is_fenced(&self) -> bool {
        self.lane.is_fenced()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.lane.settle(self.offset, self.bytes, self.finished);
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Ticket({}[{}]@{})",
            self.lane.topic, self.lane.partition, self.offset
        )
    }
}
