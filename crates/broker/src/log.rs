//! One partition's log: the batches in memory, the checks of an append, and reads.

use std::collections::VecDeque;

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::batch::{BatchError, BatchHeader, Damage, NO_PRODUCER, place};
use super::compaction;
use super::producers::{Producers, Sequence};
use super::records;

/// An append-only log of record batches. Its offsets only grow; those of dropped records (by size,
/// by deletion of records, by compaction) are never used again.
#[derive(Debug, Default)]
pub struct PartitionLog {
    start: i64,
    end: i64,
    bytes: usize,
    batches: VecDeque<Batch>,
    /// True while reads return nothing although there are records.
    withheld: bool,
    producers: Producers,
}

#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub base_offset: i64,
    pub last_offset: i64,
    pub max_timestamp: i64,
    pub bytes: Bytes,
}

/// The limits and settings of an append, from the topic and the broker.
#[derive(Clone, Copy, Debug)]
pub struct AppendRules {
    /// The topic's `max.message.bytes`.
    pub max_batch_bytes: usize,
    /// The broker's limit; above it the oldest batches are dropped.
    pub max_log_bytes: usize,
    /// The time to stamp in ms, if the topic's timestamps are those of the append.
    pub log_append_time: Option<i64>,
}

/// The position of an appended batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: i64,
    /// The time of the append in ms, or -1 if the producer's times are kept.
    pub log_append_time: i64,
}

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub offset: i64,
    pub timestamp: i64,
}

impl PartitionLog {
    /// Returns the first offset that can be read.
    pub const fn start(&self) -> i64 {
        self.start
    }

    /// Returns the offset that the next record will get.
    pub const fn end(&self) -> i64 {
        self.end
    }

    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends exactly one batch.
    pub fn append(&mut self, batch: &[u8], rules: &AppendRules) -> Result<Appended, AppendError> {
        if batch.len() > rules.max_batch_bytes {
            return Err(AppendError::TooLarge {
                bytes: batch.len(),
                limit: rules.max_batch_bytes,
            });
        }
        let header = BatchHeader::parse(batch)?;
        if header.producer_id != NO_PRODUCER {
            match self.producers.judge(&header) {
                Sequence::New => {}
                Sequence::Duplicate { base_offset } => {
                    return Ok(Appended {
                        base_offset,
                        log_append_time: -1,
                    });
                }
                Sequence::Refused(code) => {
                    return Err(AppendError::Sequence {
                        producer_id: header.producer_id,
                        sequence: header.base_sequence,
                        code,
                    });
                }
            }
        }
        let base_offset = self.end;
        let last_offset = base_offset + i64::from(header.last_offset_delta);
        let bytes = place(batch, base_offset, rules.log_append_time);
        self.producers.remember(&header, base_offset);
        self.bytes += bytes.len();
        self.end = last_offset + 1;
        let max_timestamp = rules.log_append_time.unwrap_or(header.max_timestamp);
        self.batches.push_back(Batch {
            base_offset,
            last_offset,
            max_timestamp,
            bytes,
        });
        self.drop_above(rules.max_log_bytes);
        Ok(Appended {
            base_offset,
            log_append_time: rules.log_append_time.unwrap_or(-1),
        })
    }

    /// Makes reads return nothing from now on, or normal results again.
    pub fn withhold(&mut self, withheld: bool) {
        self.withheld = withheld;
    }

    /// Damages the batch with this offset; returns true if there is one.
    pub fn damage(&mut self, offset: i64, damage: Damage) -> bool {
        let mut batches = self.batches.iter_mut();
        let Some(batch) = batches.find(|of| (of.base_offset..=of.last_offset).contains(&offset))
        else {
            return false;
        };
        batch.bytes = damage.done_to(&batch.bytes);
        true
    }

    fn drop_above(&mut self, max_bytes: usize) {
        while self.bytes > max_bytes && self.batches.len() > 1 {
            let Some(dropped) = self.batches.pop_front() else {
                return;
            };
            self.bytes -= dropped.bytes.len();
            self.start = self.start.max(dropped.last_offset + 1);
        }
    }

    /// Returns the batches from the one that contains `offset` on, up to `max_bytes`. With
    /// `whole_first` the first batch is returned even if it is larger, so that a reader always
    /// makes progress.
    pub fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        whole_first: bool,
    ) -> Result<Vec<Bytes>, OutOfRange> {
        if offset < self.start || offset > self.end {
            return Err(OutOfRange {
                offset,
                start: self.start,
                end: self.end,
            });
        }
        let first = self
            .batches
            .partition_point(|batch| batch.last_offset < offset);
        let mut room = max_bytes;
        let mut read = Vec::new();
        if self.withheld {
            return Ok(read);
        }
        for batch in self.batches.range(first..) {
            if batch.bytes.len() > room && !(whole_first && read.is_empty()) {
                break;
            }
            room = room.saturating_sub(batch.bytes.len());
            read.push(batch.bytes.clone());
        }
        Ok(read)
    }

    /// Returns the first record that is not older than `timestamp` (ms). In a compressed batch this
    /// is the batch's first record, which may be a little older.
    pub fn find_by_time(&self, timestamp: i64) -> Option<Found> {
        let batch = self
            .batches
            .iter()
            .find(|batch| batch.max_timestamp >= timestamp && batch.last_offset >= self.start)?;
        let found = records::first_since(&batch.bytes, timestamp).unwrap_or(Found {
            offset: batch.base_offset,
            timestamp: batch.max_timestamp,
        });
        Some(Found {
            offset: found.offset.max(self.start),
            ..found
        })
    }

    /// Returns the record with the highest time; in a compressed batch its last record.
    pub fn find_max_time(&self) -> Option<Found> {
        // Backwards, because `max_by_key` returns the last of equal batches and the first is
        // wanted.
        let batch = self
            .batches
            .iter()
            .rev()
            .max_by_key(|batch| batch.max_timestamp)?;
        let found = records::first_since(&batch.bytes, batch.max_timestamp).unwrap_or(Found {
            offset: batch.last_offset,
            timestamp: batch.max_timestamp,
        });
        Some(found)
    }

    /// Makes everything before `offset` unreadable; returns the new start.
    pub fn delete_before(&mut self, offset: i64) -> Result<i64, OutOfRange> {
        if offset < 0 || offset > self.end {
            return Err(OutOfRange {
                offset,
                start: self.start,
                end: self.end,
            });
        }
        self.start = self.start.max(offset);
        while self
            .batches
            .front()
            .is_some_and(|batch| batch.last_offset < self.start)
        {
            if let Some(dropped) = self.batches.pop_front() {
                self.bytes -= dropped.bytes.len();
            }
        }
        Ok(self.start)
    }

    /// Keeps only the last record of every key, as Apache Kafka's cleaner does; returns how many
    /// records were removed. Compressed batches stay as they are, and their keys remove no other
    /// record.
    pub fn compact(&mut self) -> usize {
        let before = std::mem::take(&mut self.batches);
        let (batches, removed) = compaction::compact(before);
        self.bytes = batches.iter().map(|batch| batch.bytes.len()).sum();
        self.batches = batches;
        removed
    }
}

/// The reason why a batch was not appended.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AppendError {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("a batch of {bytes} bytes is larger than the topic's max.message.bytes of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("sequence {sequence} of producer {producer_id}: {code}")]
    Sequence {
        producer_id: i64,
        sequence: i32,
        code: ResponseError,
    },
}

impl AppendError {
    pub const fn code(&self) -> ResponseError {
        match self {
            Self::Batch(error) => error.code(),
            Self::TooLarge { .. } => ResponseError::MessageTooLarge,
            Self::Sequence { code, .. } => *code,
        }
    }
}

/// An offset outside of the log.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("offset {offset} is outside of {start}..={end}")]
pub struct OutOfRange {
    pub offset: i64,
    pub start: i64,
    pub end: i64,
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
