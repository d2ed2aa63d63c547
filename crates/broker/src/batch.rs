//! The header of a record batch (format v2), read and patched in place; the records stay opaque.
//!
//! Layout: <https://kafka.apache.org/documentation/#recordbatch>.

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;

/// The length of the header, in bytes.
pub const HEADER_BYTES: usize = 61;
/// The producer id of a batch whose producer is not idempotent.
pub const NO_PRODUCER: i64 = -1;

const LENGTH_AT: usize = 8;
const LEADER_EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const LAST_OFFSET_DELTA_AT: usize = 23;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
const PRODUCER_ID_AT: usize = 43;
const PRODUCER_EPOCH_AT: usize = 51;
const BASE_SEQUENCE_AT: usize = 53;
const COUNT_AT: usize = 57;

const CODEC_MASK: i16 = 0x07;
const LOG_APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

/// The fields of a batch's header that the broker reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub count: i32,
}

impl BatchHeader {
    /// Reads a batch received from a producer: exactly one, complete, with the right checksum.
    pub fn parse(batch: &[u8]) -> Result<Self, BatchError> {
        if batch.len() < HEADER_BYTES {
            return Err(BatchError::Truncated { bytes: batch.len() });
        }
        if batch[MAGIC_AT] != 2 {
            return Err(BatchError::Format {
                magic: batch[MAGIC_AT],
            });
        }
        let length = usize::try_from(i32_at(batch, LENGTH_AT)).unwrap_or(0);
        if length + LEADER_EPOCH_AT != batch.len() {
            return Err(BatchError::Length {
                stated: length,
                bytes: batch.len(),
            });
        }
        if crc32c::crc32c(&batch[ATTRIBUTES_AT..]).to_be_bytes() != batch[CRC_AT..ATTRIBUTES_AT] {
            return Err(BatchError::Checksum);
        }
        let header = Self::read(batch);
        if header.count < 1 || header.last_offset_delta != header.count - 1 {
            return Err(BatchError::Count {
                count: header.count,
            });
        }
        if header.attributes & (TRANSACTIONAL | CONTROL) != 0 {
            return Err(BatchError::Transactional);
        }
        Ok(header)
    }

    /// Reads the header of a batch that `parse` has accepted before.
    pub fn read(batch: &[u8]) -> Self {
        Self {
            attributes: i16_at(batch, ATTRIBUTES_AT),
            last_offset_delta: i32_at(batch, LAST_OFFSET_DELTA_AT),
            base_timestamp: i64_at(batch, BASE_TIMESTAMP_AT),
            max_timestamp: i64_at(batch, MAX_TIMESTAMP_AT),
            producer_id: i64_at(batch, PRODUCER_ID_AT),
            producer_epoch: i16_at(batch, PRODUCER_EPOCH_AT),
            base_sequence: i32_at(batch, BASE_SEQUENCE_AT),
            count: i32_at(batch, COUNT_AT),
        }
    }

    pub const fn compressed(&self) -> bool {
        self.attributes & CODEC_MASK != 0
    }

    pub const fn log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    /// Returns the sequence number of the batch's last record.
    pub const fn last_sequence(&self) -> i32 {
        next_sequence(self.base_sequence, self.last_offset_delta)
    }
}

/// Advances a sequence number; they wrap from `i32::MAX` to 0.
pub const fn next_sequence(sequence: i32, by: i32) -> i32 {
    match sequence.checked_add(by) {
        Some(next) => next,
        None => by - (i32::MAX - sequence) - 1,
    }
}

/// Returns a copy of the batch for the log: with its offset and, if the topic's setting requires
/// it, with the time of the append instead of the producer's.
pub fn place(batch: &[u8], base_offset: i64, log_append_time: Option<i64>) -> Bytes {
    let mut placed = BytesMut::from(batch);
    placed[..LENGTH_AT].copy_from_slice(&base_offset.to_be_bytes());
    placed[LEADER_EPOCH_AT..MAGIC_AT].copy_from_slice(&0_i32.to_be_bytes());
    if let Some(at) = log_append_time {
        let attributes = i16_at(&placed, ATTRIBUTES_AT) | LOG_APPEND_TIME;
        placed[ATTRIBUTES_AT..LAST_OFFSET_DELTA_AT].copy_from_slice(&attributes.to_be_bytes());
        placed[MAX_TIMESTAMP_AT..PRODUCER_ID_AT].copy_from_slice(&at.to_be_bytes());
        seal(&mut placed);
    }
    placed.freeze()
}

/// Returns the batch with other records; offsets, times and producer stay.
pub fn rewrite(batch: &[u8], count: i32, records: &[u8]) -> Bytes {
    let mut rewritten = BytesMut::with_capacity(HEADER_BYTES + records.len());
    rewritten.extend_from_slice(&batch[..HEADER_BYTES]);
    rewritten.extend_from_slice(records);
    let length = i32::try_from(rewritten.len() - LEADER_EPOCH_AT)
        .expect("a batch with fewer records is no longer than it was");
    rewritten[LENGTH_AT..LEADER_EPOCH_AT].copy_from_slice(&length.to_be_bytes());
    rewritten[COUNT_AT..HEADER_BYTES].copy_from_slice(&count.to_be_bytes());
    seal(&mut rewritten);
    rewritten.freeze()
}

/// The kind of damage to a stored batch, for tests of its readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// A byte of its records is changed, as by a disk fault.
    Bytes,
    /// The header names an unknown compression codec; the checksum is right.
    Codec,
}

impl Damage {
    /// Returns the damaged batch. The same damage applied twice restores the batch.
    pub(super) fn done_to(self, batch: &[u8]) -> Bytes {
        let mut damaged = BytesMut::from(batch);
        match self {
            Self::Bytes => {
                if let Some(last) = damaged.last_mut() {
                    *last ^= 0xff;
                }
            }
            Self::Codec => {
                damaged[ATTRIBUTES_AT + 1] ^= 0b111;
                seal(&mut damaged);
            }
        }
        damaged.freeze()
    }
}

fn seal(batch: &mut BytesMut) {
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
}

/// The reason why a batch cannot be appended to any log.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BatchError {
    #[error("a batch of {bytes} bytes is shorter than its header")]
    Truncated { bytes: usize },
    #[error("record format {magic} is not supported, only 2")]
    Format { magic: u8 },
    #[error(
        "the batch says that it has {stated} bytes after its length, but came with {bytes} in all"
    )]
    Length { stated: usize, bytes: usize },
    #[error("the batch's checksum is wrong")]
    Checksum,
    #[error("a record count of {count} does not fit the batch's offsets")]
    Count { count: i32 },
    #[error("transactions are not supported")]
    Transactional,
}

impl BatchError {
    pub const fn code(&self) -> ResponseError {
        match self {
            Self::Format { .. } => ResponseError::UnsupportedForMessageFormat,
            Self::Transactional => ResponseError::InvalidTxnState,
            Self::Count { .. } => ResponseError::InvalidRecord,
            Self::Truncated { .. } | Self::Length { .. } | Self::Checksum => {
                ResponseError::CorruptMessage
            }
        }
    }
}

fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(array_at(bytes, at))
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(array_at(bytes, at))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(array_at(bytes, at))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}
