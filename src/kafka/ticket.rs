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
    /// None once it is finished, or a receipt stands for it.
    lane: Option<Arc<Lane>>,
    offset: i64,
}

/// Only what consumes a ticket takes its lane.
const WHOLE: &str = "a ticket has its lane for as long as anybody holds it";

impl Ticket {
    pub(super) fn new(lane: &Arc<Lane>, offset: i64) -> Self {
        Self::resume(Arc::clone(lane), offset)
    }

    /// The ticket that was taken apart by [`Ticket::into_lane`].
    pub(super) fn resume(lane: Arc<Lane>, offset: i64) -> Self {
        Self {
            lane: Some(lane),
            offset,
        }
    }

    /// Whoever takes the lane owes it the finish of this offset.
    pub(super) fn into_lane(mut self) -> Arc<Lane> {
        self.lane.take().expect(WHOLE)
    }

    pub(super) fn lane(&self) -> &Arc<Lane> {
        self.lane.as_ref().expect(WHOLE)
    }

    /// The record's work is done: its answer is with Kafka, or it needed none.
    pub fn finish(self) {
        let offset = self.offset;
        self.into_lane().finish_all(&[offset]);
    }

    /// Leaves the record to the partition's next owner: it is neither finished nor forgotten here.
    pub fn leave(self) {
        let offset = self.offset;
        self.into_lane().leave(offset);
    }

    /// Holds the record back on purpose: until [`Ticket::release`] the watchdog lets it be.
    pub fn hold(&self) {
        self.lane().hold(self.offset);
    }

    /// The record is worked on again, from now on.
    pub fn release(&self) {
        self.lane().release(self.offset);
    }

    pub fn topic(&self) -> &Arc<str> {
        &self.lane().topic
    }

    pub fn partition(&self) -> i32 {
        self.lane().partition
    }

    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Which assignment took the record in; grows with every rebalance of this process.
    pub fn generation(&self) -> u64 {
        self.lane().generation
    }

    /// Whether the partition was taken away since: finishing would be a no-op.
    pub fn is_fenced(&self) -> bool {
        self.lane().is_fenced()
    }

    /// Whether the partition's next owner takes the record in again. Not so where the partition
    /// was cut or made anew: then this ticket's holder is the last to have it.
    pub fn comes_again(&self) -> bool {
        self.lane().comes_again()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(lane) = self.lane.take() {
            lane.abandon(self.offset);
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Ticket({}[{}]@{})",
            self.topic(),
            self.partition(),
            self.offset
        )
    }
}
