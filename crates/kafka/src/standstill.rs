//! Partitions that stand still, and librdkafka's reports of batches that it cannot read.
//!
//! Such a report names the batch by its offset alone. librdkafka then goes on in one of two ways:
//! it fetches again and again a batch that it cannot decompress, and it leaves out one whose
//! checksum is wrong. So a report only makes an offset suspect; the partition that stands still
//! there is the one.

use std::fmt;

/// A batch that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadBatch {
    /// The offset of its first record.
    pub offset: i64,
    pub fault: BatchFault,
}

/// The fault of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchFault {
    /// The batch cannot be decompressed; with the codec's number in the record batch format.
    Codec(u8),
    Checksum,
}

/// The reason why a partition stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standstill {
    Undecodable(BadBatch),
    /// A transaction of another producer is open here; the broker gives out nothing behind it.
    Transaction {
        offset: i64,
    },
    /// No reason is known.
    Unknown {
        offset: i64,
    },
}

impl BatchFault {
    /// Returns the codec's name in the producers' setting `compression.type`.
    pub fn codec(self) -> Option<&'static str> {
        match self {
            Self::Codec(1) => Some("gzip"),
            Self::Codec(2) => Some("snappy"),
            Self::Codec(3) => Some("lz4"),
            Self::Codec(4) => Some("zstd"),
            Self::Codec(_) | Self::Checksum => None,
        }
    }
}

impl fmt::Display for BatchFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.codec()) {
            (Self::Checksum, _) => f.write_str("its checksum is wrong"),
            (_, Some(codec)) => write!(f, "it cannot be decompressed ({codec})"),
            (Self::Codec(number), None) => {
                write!(f, "it is compressed by the unknown codec {number}")
            }
        }
    }
}

impl fmt::Display for Standstill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undecodable(BadBatch { offset, fault }) => {
                write!(f, "the batch at offset {offset} cannot be read: {fault}")
            }
            Self::Transaction { offset } => write!(
                f,
                "a transaction of another producer is open at offset {offset}: until it ends, nothing behind it is given out"
            ),
            Self::Unknown { offset } => write!(f, "nothing comes from offset {offset} on"),
        }
    }
}

/// Parses librdkafka's report of a batch that it cannot read.
pub(super) fn bad_batch(text: &str) -> Option<BadBatch> {
    let number = |after: &str| {
        let rest = text.split_once(after)?.1;
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        rest[..digits.unwrap_or(rest.len())].parse().ok()
    };
    if let Some((_, rest)) = text.split_once("Decompression (codec 0x") {
        let codec = rest.split_once(')')?.0;
        return Some(BadBatch {
            offset: number("of message at ")?,
            fault: BatchFault::Codec(u8::from_str_radix(codec, 16).ok()?),
        });
    }
    let of_checksum = text.contains("failed CRC32C check") || text.contains("failed CRC32 check");
    of_checksum.then_some(())?;
    Some(BadBatch {
        offset: number("at offset ")?,
        fault: BatchFault::Checksum,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_parsed_as_librdkafka_words_them() {
        let bad = |offset, fault| Some(BadBatch { offset, fault });
        for (text, want) in [
            (
                "Decompression (codec 0x4) of message at 1207 of 512 bytes failed: Local: Not implemented",
                bad(1207, BatchFault::Codec(4)),
            ),
            (
                "MessageSet at offset 33 (118 bytes) failed CRC32C check (original 0x1 != calculated 0x2)",
                bad(33, BatchFault::Checksum),
            ),
            (
                "Message at offset 9 (118 bytes) failed CRC32 check (original 0x1 != calculated 0x2)",
                bad(9, BatchFault::Checksum),
            ),
            ("Decompression (codec 0x) of message at x", None),
            (
                "127.0.0.1:9092/0: Connect to ipv4#127.0.0.1:9092 failed",
                None,
            ),
            ("", None),
        ] {
            assert_eq!(bad_batch(text), want, "{text}");
        }
    }

    #[test]
    fn a_standstill_is_shown_with_its_fault() {
        let at = |fault| Standstill::Undecodable(BadBatch { offset: 7, fault }).to_string();
        assert_eq!(
            at(BatchFault::Codec(4)),
            "the batch at offset 7 cannot be read: it cannot be decompressed (zstd)"
        );
        assert_eq!(
            at(BatchFault::Codec(7)),
            "the batch at offset 7 cannot be read: it is compressed by the unknown codec 7"
        );
        assert_eq!(
            at(BatchFault::Checksum),
            "the batch at offset 7 cannot be read: its checksum is wrong"
        );
    }
}
