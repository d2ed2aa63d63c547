//! A record's coordinates in Kafka, the ids derived from them, and the trace it belongs to.

use std::fmt;
use std::sync::{Arc, LazyLock};

use super::time::Timestamp;

/// The coordinates of a record: enough to find the record again, and to derive the same ids for a
/// redelivery.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Coordinates {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// The record's own timestamp; part of the identity, because a topic that was deleted and
    /// recreated counts its offsets from 0 again.
    pub timestamp: Timestamp,
}

impl fmt::Display for Coordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]@{}", self.topic, self.partition, self.offset)
    }
}

impl Coordinates {
    /// Returns the answer id of the query at these coordinates: the same for every redelivery.
    pub fn answer_id(&self) -> RecordId {
        RecordId::of_place(&self.topic, self.partition, self.offset, self.timestamp)
    }
}

/// A 128-bit id, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordId([u8; 32]);

/// Keys that keep the two kinds of ids apart, derived once from their purpose.
static ANSWER_KEY: LazyLock<[u8; 32]> =
    LazyLock::new(|| blake3::derive_key("wedcache 2026 answer id", &[]));
static DERIVED_KEY: LazyLock<[u8; 32]> =
    LazyLock::new(|| blake3::derive_key("wedcache 2026 derived id", &[]));
/// The size of a buffer for the hashed parts of an id; enough unless the topic's name is longer
/// than Kafka allows (249 bytes).
const ID_BYTES: usize = 320;

impl RecordId {
    /// Returns the answer id of a query record, as [`Coordinates::answer_id`] does.
    pub fn of_place(topic: &str, partition: i32, offset: i64, timestamp: Timestamp) -> Self {
        Self::hash(
            &ANSWER_KEY,
            [
                &partition.to_be_bytes(),
                &offset.to_be_bytes(),
                &timestamp.0.to_be_bytes(),
                topic.as_bytes(),
            ],
        )
    }

    /// Derives the id of something caused by the owner of the id `text`, such as an answer's
    /// metric: the same inputs give the same id.
    pub fn derive(text: &str, what: &str) -> Self {
        let parts = [text.as_bytes(), &[0], what.as_bytes()];
        Self::hash(&DERIVED_KEY, parts)
    }

    fn hash<const N: usize>(key: &[u8; 32], parts: [&[u8]; N]) -> Self {
        let mut buffer = [0; ID_BYTES];
        let mut len = 0;
        for part in parts {
            let Some(place) = buffer.get_mut(len..len + part.len()) else {
                return Self::hash_long(key, &parts);
            };
            place.copy_from_slice(part);
            len += part.len();
        }
        Self::from_hash(&blake3::keyed_hash(key, &buffer[..len]))
    }

    #[cold]
    fn hash_long(key: &[u8; 32], parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(key);
        for part in parts {
            hasher.update(part);
        }
        Self::from_hash(&hasher.finalize())
    }

    fn from_hash(hash: &blake3::Hash) -> Self {
        let mut text = [0; 32];
        put_hex(&mut text, &hash.as_bytes()[..16]);
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A W3C trace context (`traceparent`, version 00).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    pub trace_id: u128,
    pub span_id: u64,
    pub flags: u8,
}

impl TraceParent {
    pub const HEADER: &'static str = "traceparent";

    /// Reads `00-<32 hex>-<16 hex>-<2 hex>`; `None` for anything else, all-zero ids included.
    pub fn parse(header: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(header).ok()?;
        let mut parts = text.split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |part: &str, len: usize| {
            part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        // A later version may append fields; version ff is forbidden, 00 has exactly four.
        if !hex(version, 2) || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        if !hex(trace, 32) || !hex(span, 16) || !hex(flags, 2) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok()?;
        let span_id = u64::from_str_radix(span, 16).ok()?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        (trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            flags,
        })
    }

    /// Returns a new span in the same trace.
    pub fn child(self) -> Self {
        Self {
            span_id: fastrand::u64(1..),
            ..self
        }
    }

    /// Creates a new trace, not sampled.
    pub fn fresh() -> Self {
        Self {
            trace_id: fastrand::u128(1..),
            span_id: fastrand::u64(1..),
            flags: 0,
        }
    }
}

impl TraceParent {
    /// Returns the header's value, as [`fmt::Display`] shows it.
    pub fn text(&self) -> [u8; 55] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        put_hex(&mut text[3..35], &self.trace_id.to_be_bytes());
        put_hex(&mut text[36..52], &self.span_id.to_be_bytes());
        put_hex(&mut text[53..], &[self.flags]);
        text
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
    }
}

/// Writes two lower-case digits per byte; every output record has some fifty digits.
fn put_hex(text: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// A record that was taken in and is not finished, as whoever watches for stuck records sees it.
pub trait Unfinished: Sync {
    /// Marks the record as waiting on purpose: its age raises no alarm.
    fn hold(&self) {}

    /// Ends [`Unfinished::hold`].
    fn release(&self) {}

    /// Returns true if the record's partition has another owner by now: finishing has no effect.
    fn is_fenced(&self) -> bool {
        false
    }
}

/// A record that nobody watches.
impl Unfinished for () {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redelivery_has_the_same_answer_id_and_any_other_place_another() {
        let at = |topic: &str, partition, offset, ms| Coordinates {
            topic: topic.into(),
            partition,
            offset,
            timestamp: Timestamp(ms),
        };
        let id = at("q", 1, 7, 5).answer_id();
        assert_eq!(id, at("q", 1, 7, 5).answer_id());
        for other in [
            at("r", 1, 7, 5),
            at("q", 2, 7, 5),
            at("q", 1, 8, 5),
            at("q", 1, 7, 6),
        ] {
            assert_ne!(id, other.answer_id());
        }
        assert_eq!(id.as_str().len(), 32);
        let long = "t".repeat(ID_BYTES);
        assert_ne!(
            at(&long, 1, 7, 5).answer_id(),
            at(&long[1..], 1, 7, 5).answer_id()
        );
    }

    #[test]
    fn an_id_of_a_long_name_is_hashed_the_same_way() {
        let parts: [&[u8]; 2] = [b"ab", b"c"];
        let short = RecordId::hash(&ANSWER_KEY, parts);
        assert_eq!(RecordId::hash_long(&ANSWER_KEY, &parts), short);
        assert_ne!(RecordId::hash(&DERIVED_KEY, parts), short);
    }

    #[test]
    fn only_well_formed_trace_contexts_are_taken() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = TraceParent::parse(good.as_bytes()).unwrap();
        assert_eq!(parent.to_string(), good);
        assert_eq!(parent.child().trace_id, parent.trace_id);
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert_eq!(TraceParent::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
