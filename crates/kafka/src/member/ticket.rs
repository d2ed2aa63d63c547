//! The ticket of one unfinished record: its holder owes the offset its finish.

use std::fmt;
use std::sync::Arc;

use wedcache_model::Unfinished;

use super::partition::PartitionState;

/// The right and the duty to finish one record.
///
/// [`Ticket::finish`] may be called on any thread. A ticket that is dropped without it leaves the
/// record unfinished: its partition's commits stop below it until the next assignment takes it in
/// again, and the drop is counted. After its partition was revoked, finishing is a counted no-op.
#[must_use = "a dropped ticket leaves its record unfinished"]
pub struct Ticket {
    /// `None` once the ticket is taken apart.
    partition: Option<Arc<PartitionState>>,
    offset: i64,
}

/// The reason why a ticket has its partition: only what consumes the ticket takes it.
const WHOLE: &str = "a ticket has its partition for as long as anybody holds it";

impl Ticket {
    pub(crate) fn new(partition: &Arc<PartitionState>, offset: i64) -> Self {
        Self::resume(Arc::clone(partition), offset)
    }

    /// Puts a ticket together that [`Ticket::into_partition`] has taken apart.
    pub(crate) fn resume(partition: Arc<PartitionState>, offset: i64) -> Self {
        Self {
            partition: Some(partition),
            offset,
        }
    }

    /// Takes the ticket apart; the caller owes the partition the finish of this offset.
    pub(crate) fn into_partition(mut self) -> Arc<PartitionState> {
        self.partition.take().expect(WHOLE)
    }

    pub(crate) fn partition_state(&self) -> &Arc<PartitionState> {
        self.partition.as_ref().expect(WHOLE)
    }

    /// Finishes the record: its answer is in Kafka, or it needed none.
    pub fn finish(self) {
        let offset = self.offset;
        self.into_partition().finish_all(&[offset]);
    }

    /// Leaves the record, unfinished, to the partition's next owner.
    pub fn leave(self) {
        let offset = self.offset;
        self.into_partition().leave(offset);
    }

    pub fn topic(&self) -> &Arc<str> {
        &self.partition_state().topic
    }

    pub fn partition(&self) -> i32 {
        self.partition_state().index
    }

    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Returns the generation of the assignment that took the record in; it grows with every
    /// rebalance of this process.
    pub fn generation(&self) -> u64 {
        self.partition_state().generation
    }

    /// Returns true if the partition's next owner takes the record in again. False if the partition
    /// was truncated or recreated: then this ticket is the last one of the record.
    pub fn comes_again(&self) -> bool {
        self.partition_state().comes_again()
    }
}

impl Unfinished for Ticket {
    fn hold(&self) {
        self.partition_state().hold(self.offset);
    }

    fn release(&self) {
        self.partition_state().release(self.offset);
    }

    fn is_fenced(&self) -> bool {
        self.partition_state().is_fenced()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(partition) = self.partition.take() {
            partition.abandon(self.offset);
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
