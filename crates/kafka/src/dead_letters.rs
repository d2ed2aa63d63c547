//! The headers of a dead letter, written and read, as `docs/contract.md` lists them. Pure.

use std::borrow::Cow;

use wedcache_model::record::{Coordinates, TraceParent};

/// The beginning of the name of every [`Field`].
const PREFIX: &str = "wedcache.";

/// The reason of a dead letter that stands for a range of records that cannot be read. It has
/// neither key nor value.
pub const UNDECODABLE_BATCH: &str = "undecodable_batch";

/// A header that owns its text, as it goes into a record.
pub type OwnedHeader = (String, Option<Vec<u8>>);

/// A header that only dead letters have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Reason,
    Detail,
    /// The topic that the record was read from.
    Topic,
    Partition,
    Offset,
    /// The end, exclusive, of a range of records that begins at [`Field::Offset`].
    OffsetEnd,
    /// The record's timestamp, in milliseconds.
    Timestamp,
}

impl Field {
    /// Returns the header's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reason => "wedcache.reason",
            Self::Detail => "wedcache.detail",
            Self::Topic => "wedcache.topic",
            Self::Partition => "wedcache.partition",
            Self::Offset => "wedcache.offset",
            Self::OffsetEnd => "wedcache.offset_end",
            Self::Timestamp => "wedcache.timestamp",
        }
    }
}

/// The origin of a dead letter, and the reason for it.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetterOrigin<'a> {
    /// One of the contract's reasons, such as `unreadable_json`.
    pub reason: &'a str,
    /// A text for people that says what exactly was wrong.
    pub detail: &'a str,
    pub place: &'a Coordinates,
    /// The end, exclusive, of the range of records for which the letter stands; `None` for one
    /// record.
    pub offset_end: Option<i64>,
}

/// Returns the original's headers, then those of the dead letter. Those of an earlier dead letter
/// are replaced; the original's `traceparent` stays, and `fresh` stands in if it has none.
pub fn headers<'a>(
    original: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    origin: &DeadLetterOrigin<'_>,
    fresh: TraceParent,
) -> Vec<OwnedHeader> {
    let mut headers: Vec<OwnedHeader> = original
        .into_iter()
        .filter(|(name, _)| !name.starts_with(PREFIX))
        .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
        .collect();
    if !headers.iter().any(|(name, _)| name == TraceParent::HEADER) {
        let text = fresh.to_string().into_bytes();
        headers.push((TraceParent::HEADER.to_owned(), Some(text)));
    }
    let place = origin.place;
    let mut put = |field: Field, value: String| {
        headers.push((field.name().to_owned(), Some(value.into_bytes())));
    };
    put(Field::Reason, origin.reason.to_owned());
    put(Field::Detail, origin.detail.to_owned());
    put(Field::Topic, place.topic.to_string());
    put(Field::Partition, place.partition.to_string());
    put(Field::Offset, place.offset.to_string());
    put(Field::Timestamp, place.timestamp.0.to_string());
    if let Some(end) = origin.offset_end {
        put(Field::OffsetEnd, end.to_string());
    }
    headers
}

/// Reads a field of a dead letter. Of several headers of its name the last one counts.
pub fn text(headers: &[OwnedHeader], field: Field) -> Option<Cow<'_, str>> {
    let mut headers = headers.iter().rev();
    let (_, value) = headers.find(|(name, _)| name == field.name())?;
    Some(String::from_utf8_lossy(value.as_deref()?))
}

/// Reads a field of a dead letter as a number.
pub fn number<T: std::str::FromStr>(headers: &[OwnedHeader], field: Field) -> Option<T> {
    text(headers, field)?.parse().ok()
}

/// Returns the headers that the original record had.
pub fn original(headers: &[OwnedHeader]) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
    headers
        .iter()
        .filter(|(name, _)| !name.starts_with(PREFIX))
        .map(|(name, value)| (name.as_str(), value.as_deref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wedcache_model::Timestamp;

    fn letter_headers<'a>(original: &[(&'a str, Option<&'a [u8]>)]) -> Vec<(String, String)> {
        let place = Coordinates {
            topic: "wedsync.ai.queries".into(),
            partition: 3,
            offset: 41,
            timestamp: Timestamp(1_700_000_000_123),
        };
        let origin = DeadLetterOrigin {
            reason: "unreadable_json",
            detail: "expected `,` at 7",
            place: &place,
            offset_end: None,
        };
        let fresh = TraceParent {
            trace_id: 1,
            span_id: 2,
            flags: 0,
        };
        headers(original.iter().copied(), &origin, fresh)
            .into_iter()
            .map(|(name, value)| {
                let text = value.map_or("null".to_owned(), |v| String::from_utf8(v).unwrap());
                (name, text)
            })
            .collect()
    }

    #[test]
    fn a_letters_headers_say_why_and_from_where() {
        let got = letter_headers(&[]);
        let want = [
            (
                "traceparent",
                "00-00000000000000000000000000000001-0000000000000002-00",
            ),
            ("wedcache.reason", "unreadable_json"),
            ("wedcache.detail", "expected `,` at 7"),
            ("wedcache.topic", "wedsync.ai.queries"),
            ("wedcache.partition", "3"),
            ("wedcache.offset", "41"),
            ("wedcache.timestamp", "1700000000123"),
        ];
        let want: Vec<_> = want.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        assert_eq!(got, want);
    }

    #[test]
    fn the_originals_headers_stay_and_an_earlier_letters_are_replaced() {
        let trace: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let got = letter_headers(&[
            ("tenant", Some(b"a")),
            ("empty", None),
            ("tenant", Some(b"b")),
            ("wedcache.reason", Some(b"too_large")),
            ("wedcache.other", Some(b"x")),
            ("traceparent", Some(trace)),
        ]);
        let names: Vec<_> = got.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[..4], ["tenant", "empty", "tenant", "traceparent"]);
        assert_eq!(got[1].1, "null");
        assert_eq!(got[3].1.as_bytes(), trace);
        assert_eq!(
            names.iter().filter(|n| n.starts_with("wedcache.")).count(),
            6
        );
        assert_eq!(got[4].1, "unreadable_json");
    }

    #[test]
    fn every_field_is_read_as_it_was_written() {
        let place = Coordinates {
            topic: "in".into(),
            partition: 3,
            offset: 41,
            timestamp: Timestamp(5),
        };
        let origin = DeadLetterOrigin {
            reason: UNDECODABLE_BATCH,
            detail: "lz4",
            place: &place,
            offset_end: Some(50),
        };
        let tenant: (&str, Option<&[u8]>) = ("tenant", Some(b"a"));
        let headers = headers([tenant], &origin, TraceParent::fresh());
        let read = |field| text(&headers, field).unwrap().into_owned();
        for (field, want) in [
            (Field::Reason, UNDECODABLE_BATCH),
            (Field::Detail, "lz4"),
            (Field::Topic, "in"),
            (Field::Partition, "3"),
            (Field::Offset, "41"),
            (Field::OffsetEnd, "50"),
            (Field::Timestamp, "5"),
        ] {
            assert!(field.name().starts_with(PREFIX), "{field:?}");
            assert_eq!(read(field), want, "{field:?}");
        }
        assert_eq!(number::<i32>(&headers, Field::Partition), Some(3));
        assert_eq!(number::<i64>(&headers, Field::Topic), None);
        assert_eq!(original(&headers).next(), Some(tenant));
    }
}
