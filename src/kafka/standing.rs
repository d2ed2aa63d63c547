//! Partitions that stand still, and what librdkafka said of the batches that it cannot read.
//!
//! librdkafka names such a batch by its offset alone, and goes on in two ways: it asks again and
//! again for one that it cannot decompress, and it leaves one out whose checksum is wrong. So a
//! complaint makes an offset suspect, and the partition that stands still there is the one.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// More suspects than these are forgotten, the oldest first.
const MAX_SUSPECTS: usize = 64;
/// A batch that cannot be decompressed is complained of several times a second.
const REPEATS: Duration = Duration::from_secs(10);
/// How long it is remembered that a batch was left out.
const REMEMBERED: Duration = Duration::from_hours(1);

/// A batch that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadBatch {
    /// Of its first record.
    pub offset: i64,
    pub fault: Fault,
}

/// What is wrong with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It cannot be decompressed; the codec's number in the record batch format.
    Codec(u8),
    Checksum,
}

/// Why a partition stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standstill {
    Undecodable(BadBatch),
    /// A transaction of another producer is open here: what stands behind it is not given out.
    Transaction {
        offset: i64,
    },
    /// Nothing says why.
    Unknown {
        offset: i64,
    },
}

impl Fault {
    /// The codec's name, as producers know it.
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

impl fmt::Display for Fault {
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

/// Reads librdkafka's complaint about a batch.
pub(super) fn complaint(text: &str) -> Option<BadBatch> {
    let number = |after: &str| {
        let rest = text.split_once(after)?.1;
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        rest[..digits.unwrap_or(rest.len())].parse().ok()
    };
    if let Some((_, rest)) = text.split_once("Decompression (codec 0x") {
        let codec = rest.split_once(')')?.0;
        return Some(BadBatch {
            offset: number("of message at ")?,
            fault: Fault::Codec(u8::from_str_radix(codec, 16).ok()?),
        });
    }
    let of_checksum = text.contains("failed CRC32C check") || text.contains("failed CRC32 check");
    of_checksum.then_some(())?;
    Some(BadBatch {
        offset: number("at offset ")?,
        fault: Fault::Checksum,
    })
}

/// Offsets that librdkafka has complained of.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// Whether there are any; looked at for every record.
    any: AtomicBool,
    list: Mutex<Vec<Suspect>>,
}

#[derive(Debug, Clone, Copy)]
struct Suspect {
    batch: BadBatch,
    last: Instant,
}

impl Suspects {
    pub(super) fn add(&self, batch: BadBatch) {
        let now = Instant::now();
        let mut suspects = self.lock();
        if let Some(known) = suspects.iter_mut().find(|of| of.batch == batch) {
            known.last = now;
            return;
        }
        if suspects.len() == MAX_SUSPECTS {
            suspects.remove(0);
        }
        suspects.push(Suspect { batch, last: now });
        self.any.store(true, Ordering::Relaxed);
    }

    /// Whether librdkafka may just have made an offset up: it goes on within a batch whose checksum is
    /// wrong, and takes what stands there for the head of the next one.
    pub(super) fn just_left_out(&self) -> bool {
        let mut suspects = self.lock().clone().into_iter();
        suspects.any(|of| of.batch.fault == Fault::Checksum && of.last.elapsed() < REPEATS)
    }

    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// The batch that was left out where a partition goes on from `next` with a record at `offset`. One
    /// below `next` comes from a position that librdkafka has made up within the batch.
    pub(super) fn left_out(&self, next: i64, offset: i64) -> Option<BadBatch> {
        let reached = if offset < next { i64::MAX } else { offset };
        let mut batches = self.lock().clone().into_iter().map(|of| of.batch);
        batches.find(|of| of.fault == Fault::Checksum && (next..reached).contains(&of.offset))
    }

    /// The batch that a partition stands still at which wants the record at `next` and ends at `end`:
    /// the first one from there on, else the last one before that cannot be decompressed, in the
    /// middle of which it may be.
    pub(super) fn at(&self, next: i64, end: i64) -> Option<BadBatch> {
        let suspects = self.lock();
        let all = || suspects.iter().map(|of| of.batch);
        let ahead = all().filter(|of| (next..end).contains(&of.offset));
        let behind = || all().filter(|of| of.offset < next && of.fault != Fault::Checksum);
        let of_offset = |of: &BadBatch| of.offset;
        ahead
            .min_by_key(of_offset)
            .or_else(|| behind().max_by_key(of_offset))
    }

    /// Forgets a batch that is asked for again: if it is still bad, it is complained of again.
    pub(super) fn forget(&self, batch: BadBatch) {
        let mut suspects = self.lock();
        suspects.retain(|of| of.batch != batch);
        self.any.store(!suspects.is_empty(), Ordering::Relaxed);
    }

    /// Forgets what is not complained of any more.
    pub(super) fn prune(&self) {
        let mut list = self.lock();
        list.retain(|of| {
            let remembered = match of.batch.fault {
                Fault::Codec(_) => REPEATS,
                Fault::Checksum => REMEMBERED,
            };
            of.last.elapsed() < remembered
        });
        self.any.store(!list.is_empty(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Suspect>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_read_as_librdkafka_words_them() {
        let bad = |offset, fault| Some(BadBatch { offset, fault });
        for (text, want) in [
            (
                "Decompression (codec 0x4) of message at 1207 of 512 bytes failed: Local: Not implemented",
                bad(1207, Fault::Codec(4)),
            ),
            (
                "MessageSet at offset 33 (118 bytes) failed CRC32C check (original 0x1 != calculated 0x2)",
                bad(33, Fault::Checksum),
            ),
            (
                "Message at offset 9 (118 bytes) failed CRC32 check (original 0x1 != calculated 0x2)",
                bad(9, Fault::Checksum),
            ),
            ("Decompression (codec 0x) of message at x", None),
            (
                "127.0.0.1:9092/0: Connect to ipv4#127.0.0.1:9092 failed",
                None,
            ),
            ("", None),
        ] {
            assert_eq!(complaint(text), want, "{text}");
        }
    }

    #[test]
    fn a_standstill_is_told_with_what_is_wrong() {
        let at = |fault| Standstill::Undecodable(BadBatch { offset: 7, fault }).to_string();
        assert_eq!(
            at(Fault::Codec(4)),
            "the batch at offset 7 cannot be read: it cannot be decompressed (zstd)"
        );
        assert_eq!(
            at(Fault::Codec(7)),
            "the batch at offset 7 cannot be read: it is compressed by the unknown codec 7"
        );
        assert_eq!(
            at(Fault::Checksum),
            "the batch at offset 7 cannot be read: its checksum is wrong"
        );
    }

    #[test]
    fn the_suspect_of_a_partition_is_the_one_that_it_stands_at() {
        let suspects = Suspects::default();
        assert!(!suspects.any() && suspects.at(0, 9).is_none());
        for offset in [5, 40] {
            suspects.add(BadBatch {
                offset,
                fault: Fault::Checksum,
            });
        }
        let at = |next| suspects.at(next, 50).map(|of| of.offset);
        assert_eq!(
            (at(0), at(5), at(6), at(41), suspects.at(6, 40)),
            (Some(5), Some(5), Some(40), None, None)
        );
        let left_out = |next, offset| suspects.left_out(next, offset).map(|of| of.offset);
        assert_eq!(
            (
                left_out(5, 6),
                left_out(5, 5),
                left_out(6, 40),
                left_out(6, 3)
            ),
            (Some(5), None, None, Some(40))
        );
        suspects.prune();
        assert!(suspects.any(), "a batch that was left out is remembered");
    }
}
