//! The headers of a dead letter, as `docs/contract.md` lists them. Pure.

use crate::model::record::{Coordinates, TraceParent};

/// What every header of ours begins with.
const PREFIX: &str = "wedcache.";

/// The reason of a letter that stands for a range of records which nobody could read. It has neither key
/// nor value, and tells the range's end with [`OFFSET_END`].
pub const UNDECODABLE_BATCH: &str = "undecodable_batch";
/// The header of such a letter that says the offset one past the range's last.
pub const OFFSET_END: &str = "wedcache.offset_end";

/// A header that owns its text, as it goes into a record.
pub type OwnedHeader = (String, Option<Vec<u8>>);

/// Why and from where a record was dead-lettered.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetter<'a> {
    /// One of the contract's reasons, such as `unreadable_json`.
    pub reason: &'a str,
    /// For people: what exactly was wrong.
    pub detail: &'a str,
    pub place: &'a Coordinates,
}

/// The original's headers, then ours. Those of an earlier dead-lettering are replaced; the
/// original's `traceparent` stays, and `fresh` stands in where it has none.
pub fn headers<'a>(
    original: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    letter: &DeadLetter<'_>,
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
    let place = letter.place;
    let mut ours = |name: &str, value: &str| {
        headers.push((format!("{PREFIX}{name}"), Some(value.as_bytes().to_vec())));
    };
    ours("reason", letter.reason);
    ours("detail", letter.detail);
    ours("topic", &place.topic);
    ours("partition", &place.partition.to_string());
    ours("offset", &place.offset.to_string());
    ours("timestamp", &place.timestamp.0.to_string());
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn letter_headers<'a>(original: &[(&'a str, Option<&'a [u8]>)]) -> Vec<(String, String)> {
        let place = Coordinates {
            topic: "wedsync.ai.queries".into(),
            partition: 3,
            offset: 41,
            timestamp: Timestamp(1_700_000_000_123),
        };
        let letter = DeadLetter {
            reason: "unreadable_json",
            detail: "expected `,` at 7",
            place: &place,
        };
        let fresh = TraceParent {
            trace_id: 1,
            span_id: 2,
            flags: 0,
        };
        headers(original.iter().copied(), &letter, fresh)
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
}
