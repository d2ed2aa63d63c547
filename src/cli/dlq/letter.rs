//! A dead letter: its headers, and the parts of it that may be shown. Pure.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::invalidation::log::StoredRecord;
use crate::kafka::dead_letters::{self, Field, UNDECODABLE_BATCH};
use crate::model::Timestamp;

/// A record of the dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The partition of the dead-letter topic.
    pub partition: i32,
    pub record: StoredRecord,
}

/// The key that sorts letters by the time of their dead-lettering; unique within the topic.
pub type LetterOrder = (i64, i32, i64);

impl Letter {
    pub fn place(&self) -> LetterOrder {
        (self.record.timestamp.0, self.partition, self.record.offset)
    }

    /// Returns a field of the dead letter's headers.
    pub fn field(&self, field: Field) -> Option<Cow<'_, str>> {
        dead_letters::text(&self.record.headers, field)
    }

    fn number(&self, field: Field) -> Option<i64> {
        dead_letters::number(&self.record.headers, field)
    }

    /// Returns the reason; `unknown` where another program wrote the letter.
    pub fn reason(&self) -> Cow<'_, str> {
        self.field(Field::Reason)
            .unwrap_or(Cow::Borrowed("unknown"))
    }

    /// Returns true if the letter stands for a range that was skipped, and so holds no record.
    pub fn is_range(&self) -> bool {
        self.reason() == UNDECODABLE_BATCH
    }

    /// Returns the topic that the record came from.
    pub fn source(&self) -> Option<Cow<'_, str>> {
        self.field(Field::Topic)
    }

    pub fn source_partition(&self) -> Option<i32> {
        dead_letters::number(&self.record.headers, Field::Partition)
    }

    /// Returns the headers of the original record.
    pub fn original_headers(&self) -> Vec<(&str, Option<&[u8]>)> {
        dead_letters::original(&self.record.headers).collect()
    }

    /// Returns up to three lines: the place and origin, the detail, and the value's beginning.
    pub fn text(&self, width: usize) -> String {
        let indent = "    ";
        let room = width.saturating_sub(indent.len());
        let place = format!("{}:{}", self.partition, self.record.offset);
        let source = self.source().map_or_else(
            || "of unknown origin".to_owned(),
            |topic| {
                let number = |field| self.field(field).unwrap_or(Cow::Borrowed("?"));
                let end = self.field(Field::OffsetEnd);
                let end = end.map_or_else(String::new, |end| format!(" to {end}, exclusive"));
                format!(
                    "{topic}[{}]@{}{end}",
                    number(Field::Partition),
                    number(Field::Offset)
                )
            },
        );
        let key = self
            .record
            .key
            .as_deref()
            .map_or("no key".to_owned(), |key| format!("key {}", safe(key, 40)));
        let size = self
            .record
            .value
            .as_ref()
            .map_or("null".to_owned(), |value| format!("{} bytes", value.len()));
        let head = format!(
            "{place}  {}  {}  {key}  {size}  {}",
            safe(self.reason().as_bytes(), 40),
            safe(source.as_bytes(), 200),
            self.record.timestamp,
        );
        let detail = self.field(Field::Detail).unwrap_or_default();
        let detail = safe(detail.as_bytes(), usize::MAX);
        let value = safe(self.record.value.as_deref().unwrap_or_default(), room);
        let mut text = format!("{head}\n");
        for line in [detail, value].iter().filter(|line| !line.is_empty()) {
            // Writing into a string cannot fail.
            writeln!(text, "{indent}{line}").unwrap_or_default();
        }
        text
    }

    /// Returns everything as JSON on one line. Bytes that are not UTF-8 are written in hexadecimal
    /// digits, under their name with `Hex` appended.
    pub fn json(&self) -> String {
        let record = &self.record;
        let headers: Vec<Value> = self
            .original_headers()
            .into_iter()
            .map(|(name, value)| {
                let mut header = Map::from_iter([("name".to_owned(), json!(name))]);
                put(&mut header, "value", value);
                Value::Object(header)
            })
            .collect();
        let mut source = json!({
            "topic": self.source(),
            "partition": self.number(Field::Partition),
            "offset": self.number(Field::Offset),
            "at": self.number(Field::Timestamp).map(|ms| Timestamp(ms).to_string()),
        });
        if let (Some(end), Value::Object(source)) = (self.number(Field::OffsetEnd), &mut source) {
            source.insert("offsetEnd".to_owned(), json!(end));
        }
        let mut letter = Map::new();
        for (name, value) in [
            ("partition", json!(self.partition)),
            ("offset", json!(record.offset)),
            ("at", json!(record.timestamp.to_string())),
            ("reason", json!(self.reason())),
            ("detail", json!(self.field(Field::Detail))),
            ("source", source),
            ("bytes", json!(record.value.as_ref().map(Vec::len))),
        ] {
            letter.insert(name.to_owned(), value);
        }
        put(&mut letter, "key", record.key.as_deref());
        put(&mut letter, "value", record.value.as_deref());
        letter.insert("headers".to_owned(), Value::Array(headers));
        Value::Object(letter).to_string()
    }
}

fn put(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(std::str::from_utf8) {
        None => object.insert(name.to_owned(), Value::Null),
        Some(Ok(text)) => object.insert(name.to_owned(), json!(text)),
        Some(Err(_)) => {
            let mut hex = String::new();
            for byte in bytes.unwrap_or_default() {
                write!(hex, "{byte:02x}").unwrap_or_default();
            }
            object.insert(format!("{name}Hex"), json!(hex))
        }
    };
}

/// Returns bytes as one line that is safe for a terminal: unprintable characters are escaped, and
/// the line is cut after `room` characters.
pub fn safe(bytes: &[u8], room: usize) -> String {
    let mut text = String::new();
    let mut used = 0;
    let mut pieces = bytes.utf8_chunks().flat_map(|chunk| {
        let valid = chunk.valid().chars().map(|c| match c {
            '"' | '\'' | '\\' => c.to_string(),
            _ => c.escape_debug().to_string(),
        });
        valid.chain(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")))
    });
    for piece in &mut pieces {
        used += piece.chars().count();
        if used > room {
            // Makes room for the mark of the cut.
            while text.chars().count() >= room {
                text.pop();
            }
            text.push('…');
            break;
        }
        text.push_str(&piece);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(value: Option<&[u8]>, headers: &[(&str, Option<&[u8]>)]) -> Letter {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.map(<[u8]>::to_vec)));
        Letter {
            partition: 1,
            record: StoredRecord {
                key: Some(b"v-17\x1b[2J".to_vec()),
                value: value.map(<[u8]>::to_vec),
                headers: headers.collect(),
                offset: 12,
                timestamp: Timestamp(1_700_000_000_123),
            },
        }
    }

    const HEADERS: &[(&str, Option<&[u8]>)] = &[
        ("tenant", Some(b"\xff\x00")),
        ("none", None),
        ("wedcache.reason", Some(b"unreadable_json")),
        ("wedcache.detail", Some(b"expected `,`\x07")),
        ("wedcache.topic", Some(b"wedsync.ai.queries")),
        ("wedcache.partition", Some(b"3")),
        ("wedcache.offset", Some(b"41")),
        ("wedcache.timestamp", Some(b"1700000000000")),
    ];

    #[test]
    fn bytes_are_shown_so_that_they_do_nothing_to_a_terminal() {
        for (bytes, room, want) in [
            (&b"{\"a\": 'b\\'}"[..], 99, "{\"a\": 'b\\'}"),
            (b"\x1b[31mred\r\n\0", 99, r"\u{1b}[31mred\r\n\0"),
            (b"\xc3\x01abc\xff", 99, r"\xc3\u{1}abc\xff"),
            ("ü\u{202e}x".as_bytes(), 99, r"ü\u{202e}x"),
            (b"abcdef", 6, "abcdef"),
            (b"abcdefg", 6, "abcde…"),
            (b"abcde\x01", 6, "abcde…"),
            (b"", 6, ""),
        ] {
            assert_eq!(safe(bytes, room), want, "{bytes:?}");
        }
    }

    #[test]
    fn a_letter_is_shown_with_its_reason_its_origin_and_its_beginning() {
        let text = letter(Some(b"{\"queryId\": 1\n}"), HEADERS).text(100);
        let want = concat!(
            "1:12  unreadable_json  wedsync.ai.queries[3]@41  key v-17\\u{1b}[2J  15 bytes  ",
            "2023-11-14T22:13:20.123Z\n",
            "    expected `,`\\u{7}\n",
            "    {\"queryId\": 1\\n}\n",
        );
        assert_eq!(text, want);
        let foreign = letter(None, &[]).text(100);
        assert!(
            foreign.starts_with("1:12  unknown  of unknown origin  key v-"),
            "{foreign}"
        );
        assert_eq!(foreign.lines().count(), 1, "{foreign}");
    }

    #[test]
    fn json_carries_every_byte() {
        let got: Value = serde_json::from_str(&letter(Some(b"\x00\xfe"), HEADERS).json()).unwrap();
        let want = json!({
            "partition": 1, "offset": 12, "at": "2023-11-14T22:13:20.123Z",
            "reason": "unreadable_json", "detail": "expected `,`\u{7}",
            "source": {
                "topic": "wedsync.ai.queries", "partition": 3, "offset": 41,
                "at": "2023-11-14T22:13:20.000Z",
            },
            "bytes": 2, "key": "v-17\u{1b}[2J", "valueHex": "00fe",
            "headers": [{"name": "tenant", "valueHex": "ff00"}, {"name": "none", "value": null}],
        });
        assert_eq!(got, want);
        let null: Value = serde_json::from_str(&letter(None, &[]).json()).unwrap();
        assert_eq!(
            (&null["value"], &null["bytes"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(null["reason"], "unknown");
    }

    #[test]
    fn the_last_header_of_a_name_counts_and_ours_are_not_the_originals() {
        let letter = letter(
            None,
            &[
                ("wedcache.reason", Some(b"too_large")),
                ("tenant", Some(b"a")),
                ("wedcache.reason", Some(b"empty_value")),
                ("tenant", Some(b"b")),
            ],
        );
        assert_eq!(letter.reason(), "empty_value");
        let original = letter.original_headers();
        assert_eq!(
            original,
            [("tenant", Some(&b"a"[..])), ("tenant", Some(b"b"))]
        );
    }
}
