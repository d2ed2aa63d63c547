//! The way of one polled record to the handler.

use std::sync::Arc;
use std::time::Instant;

use rdkafka::error::KafkaError as LibraryError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::types::RDKafkaErrorCode;

use super::super::record::InRecord;
use super::super::standstill::BadBatch;
use super::Handler;
use super::offsets::{Begin, Tracker};
use super::partition::PartitionState;
use super::state::MemberState;
use super::ticket::Ticket;

/// The result of taking in a record.
pub(super) enum TakeIn {
    Taken,
    /// The poll thread's view of the partitions is out of date, or nothing is taken in any more.
    PartitionsChanged,
    /// The record comes behind a batch that librdkafka has left out: it is not taken in.
    LeavesOut(Arc<PartitionState>, BadBatch),
}

/// The parts of the poll thread that take records in, without its consumer.
pub(super) struct RecordIntake<'a, H> {
    pub(super) handler: &'a mut H,
    pub(super) state: &'a Arc<MemberState>,
    pub(super) partitions: &'a [Arc<PartitionState>],
    pub(super) epoch: u64,
    pub(super) last_partition: &'a mut usize,
    pub(super) held_back: &'a [(Arc<PartitionState>, Instant)],
}

impl<'a, H: Handler> RecordIntake<'a, H> {
    pub(super) fn take_in(&mut self, message: &BorrowedMessage<'_>) -> TakeIn {
        let found;
        let partition = if let Some(partition) = self.partition_of(message) {
            partition
        } else if let Some(partition) = self.late_partition_of(message) {
            found = partition;
            &found
        } else {
            tracing::debug!(
                topic = message.topic(),
                "a record of a partition that is not assigned"
            );
            return TakeIn::PartitionsChanged;
        };
        // Once intake is stopped nothing is handed over; the record stays uncommitted.
        if !self.state.lifecycle.is_running() {
            return TakeIn::PartitionsChanged;
        }
        let mut held_back = self.held_back.iter();
        if held_back.any(|(held, _)| Arc::ptr_eq(held, partition)) {
            return TakeIn::PartitionsChanged;
        }
        if self.state.suspects.any() {
            let next = partition.view(Instant::now()).next_intake;
            if let Some(batch) = self.state.suspects.left_out(next, message.offset()) {
                return TakeIn::LeavesOut(Arc::clone(partition), batch);
            }
        }
        let record = InRecord::new(message, partition);
        match begin(partition, &record) {
            Begin::New => {
                self.handler
                    .record(&record, Ticket::new(partition, record.offset()));
                TakeIn::Taken
            }
            Begin::AlreadyFinished => {
                self.state.count(|c| c.skipped += 1);
                TakeIn::Taken
            }
            Begin::Rewound => self.rewind(partition, message),
        }
    }

    /// Starts a partition over at a record below those taken in. It was truncated, or its topic was
    /// recreated, so nothing that is known of it holds; the topic's id is asked for again.
    fn rewind(&mut self, old: &Arc<PartitionState>, message: &BorrowedMessage<'_>) -> TakeIn {
        tracing::warn!(
            topic = %old.topic, partition = old.index, offset = message.offset(),
            "the partition went back; it is read again from here"
        );
        let partition = self.state.start_over(old, Tracker::new(message.offset()));
        self.state.count(|c| c.rewinds += 1);
        let record = InRecord::new(message, &partition);
        begin(&partition, &record);
        self.handler
            .record(&record, Ticket::new(&partition, record.offset()));
        TakeIn::PartitionsChanged
    }

    fn partition_of(&mut self, message: &BorrowedMessage<'_>) -> Option<&'a Arc<PartitionState>> {
        if self.epoch != self.state.epoch() {
            return None;
        }
        let partitions = self.partitions;
        if !partitions
            .get(*self.last_partition)
            .is_some_and(|partition| is_of(partition, message))
        {
            *self.last_partition = partitions
                .iter()
                .position(|partition| is_of(partition, message))?;
        }
        partitions.get(*self.last_partition)
    }

    /// Looks among the partitions as they are now. rdkafka ends a poll after a rebalance, so this
    /// finds nothing today. Should it ever go on to a record, that record must not be dropped: the
    /// next one would be committed past it.
    fn late_partition_of(&self, message: &BorrowedMessage<'_>) -> Option<Arc<PartitionState>> {
        let partitions = self.state.partitions();
        partitions
            .iter()
            .find(|partition| is_of(partition, message))
            .cloned()
    }

    /// Handles an error of the consumer. Errors of the client as a whole are counted and logged by
    /// its context already; errors of a partition come here alone.
    pub(super) fn see_error(&self, error: &LibraryError) {
        if !self.state.log.explains(error, "fetch records") {
            tracing::debug!(%error, "an error of the consumer");
        }
        if let LibraryError::MessageConsumptionFatal(code) = error {
            tracing::error!(%code, "the Kafka client cannot go on");
            self.state.lifecycle.fail(*code);
        }
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition) {
            self.state.count(|c| c.unknown_topic_errors += 1);
        }
    }
}

fn begin(partition: &PartitionState, record: &InRecord<'_>) -> Begin {
    let bytes = u32::try_from(record.len()).unwrap_or(u32::MAX);
    partition.begin(record.offset(), bytes, Instant::now())
}

fn is_of(partition: &PartitionState, message: &BorrowedMessage<'_>) -> bool {
    partition.index == message.partition() && *partition.topic == *message.topic()
}
