//! The batches of each idempotent producer that one partition has already appended.

use std::collections::{HashMap, VecDeque};

use kafka_protocol::ResponseError;

use super::batch::{BatchHeader, NO_PRODUCER, next_sequence};

/// The most batches that a client keeps in flight; older ones cannot be retried.
const REMEMBERED_BATCHES: usize = 5;
/// The most producers that a partition remembers; the one idle for longest is forgotten first.
const MAX_PRODUCERS: usize = 1024;

/// The idempotent producers of one partition.
#[derive(Debug, Default)]
pub struct Producers {
    by_id: HashMap<i64, Producer>,
}

#[derive(Debug)]
struct Producer {
    epoch: i16,
    recent: VecDeque<Taken>,
}

#[derive(Clone, Copy, Debug)]
struct Taken {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

/// The verdict on a batch's sequence numbers.
#[derive(Debug, PartialEq, Eq)]
pub enum Sequence {
    New,
    /// A retry of the batch at this offset.
    Duplicate {
        base_offset: i64,
    },
    Refused(ResponseError),
}

impl Producers {
    /// Judges a batch by Apache Kafka's rules: a known producer continues without a gap, a new
    /// epoch starts at 0, and a producer that this partition does not know may start anywhere.
    pub fn judge(&self, batch: &BatchHeader) -> Sequence {
        let Some(producer) = self.by_id.get(&batch.producer_id) else {
            return Sequence::New;
        };
        if batch.producer_epoch < producer.epoch {
            return Sequence::Refused(ResponseError::InvalidProducerEpoch);
        }
        if batch.producer_epoch > producer.epoch {
            return match batch.base_sequence {
                0 => Sequence::New,
                _ => Sequence::Refused(ResponseError::OutOfOrderSequenceNumber),
            };
        }
        let retried = producer.recent.iter().find(|taken| {
            taken.first_sequence == batch.base_sequence
                && taken.last_sequence == batch.last_sequence()
        });
        if let Some(taken) = retried {
            return Sequence::Duplicate {
                base_offset: taken.base_offset,
            };
        }
        match producer.recent.back() {
            Some(last) if batch.base_sequence != next_sequence(last.last_sequence, 1) => {
                Sequence::Refused(ResponseError::OutOfOrderSequenceNumber)
            }
            _ => Sequence::New,
        }
    }

    /// Records a batch that was appended at `base_offset`.
    pub fn remember(&mut self, batch: &BatchHeader, base_offset: i64) {
        if batch.producer_id == NO_PRODUCER {
            return;
        }
        if !self.by_id.contains_key(&batch.producer_id) && self.by_id.len() >= MAX_PRODUCERS {
            self.forget_quietest();
        }
        let producer = self
            .by_id
            .entry(batch.producer_id)
            .or_insert_with(|| Producer {
                epoch: batch.producer_epoch,
                recent: VecDeque::with_capacity(REMEMBERED_BATCHES),
            });
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.recent.clear();
        }
        if producer.recent.len() == REMEMBERED_BATCHES {
            producer.recent.pop_front();
        }
        producer.recent.push_back(Taken {
            first_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            base_offset,
        });
    }

    fn forget_quietest(&mut self) {
        let quietest = self
            .by_id
            .iter()
            .min_by_key(|(_, producer)| {
                producer.recent.back().map_or(-1, |taken| taken.base_offset)
            })
            .map(|(id, _)| *id);
        if let Some(id) = quietest {
            self.by_id.remove(&id);
        }
    }
}
