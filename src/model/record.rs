//! Where a record stood in Kafka, what its ids are derived from, and the trace it belongs to.

use std::fmt;
use std::sync::Arc;

use super::time::Timestamp;

/// The place of a record: enough to find it again, and to derive the same ids for a redelivery.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Coordinates {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// The record's own timestamp; part of the identity, since a topic that was deleted and made
    /// again counts its offsets anew.
    pub timestamp: Timestamp,
}

impl fmt::Display for Coordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]@{}", self.topic, self.partition, self.offset)
    }
}

impl Coordinates {
    /// The answer id of the query at this place: the same for every redelivery.
    pub fn answer_id(&self) -> RecordId {
        let mut hasher = blake3::Hasher::new_derive_key("wedcache 2026 answer id");
        hasher.update(&self.partition.to_be_bytes());
        hasher.update(&self.offset.to_be_bytes());
        hasher.update(&self.timestamp.0.to_be_bytes());
        hasher.update(self.topic.as_bytes());
        RecordId::of(&hasher)
    }
}

/// A 128-bit id, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordId([u8; 32]);

impl RecordId {
    fn of(hasher: &blake3::Hasher) -> Self {
        Self::from_bytes(&hasher.finalize().as_bytes()[..16])
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Self(text)
    }

    /// The id of something that this id's owner caused, such as an answer's metric: the same
    /// inputs give the same id.
    pub fn derive(text: &str, what: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("wedcache 2026 derived id");
        hasher.update(text.as_bytes());
        hasher.update(&[0]);
        hasher.update(what.as_bytes());
        Self::of(&hasher)
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

    /// A span of ours in the same trace.
    pub fn child(self) -> Self {
        Self {
            span_id: fastrand::u64(1..),
            ..self
        }
    }

    /// A fresh trace, not sampled.
    pub fn fresh() -> Self {
        Self {
            trace_id: fastrand::u128(1..),
            span_id: fastrand::u64(1..),
            flags: 0,
        }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace_id, self.span_id, self.flags
        )
    }
}

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
