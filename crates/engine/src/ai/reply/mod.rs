//! Reading of replies, as generous as is safe: whatever the server's encodings, markers and
//! spellings, an answer that was paid for is not lost, and a reply that is not certainly a whole
//! answer never becomes one. Pure, and the same for both dialects.
//!
//! ```text
//! bytes ─▶ body (compression, characters) ─▶ json │ events ─▶ Value ─▶ ending · content (thoughts) · usage
//! ```

mod body;
pub(super) mod content;
pub(super) mod ending;
mod events;
mod json;
mod thoughts;
pub(super) mod usage;

use serde_json::Value;

pub(super) use body::Raw;

use super::error::ReplyProblem;

/// The decoded content of a reply, from any source.
#[derive(Debug)]
pub(super) struct Said {
    pub json: Value,
    /// True if characters had to be replaced by U+FFFD.
    pub replaced: bool,
}

/// Reads a reply that may unpack to at most `limit` bytes.
pub(super) fn read(raw: Raw, limit: usize) -> Result<Said, ReplyProblem> {
    let body::Text { text, replaced } = body::text(raw, limit)?;
    if text.is_empty() {
        return Err(ReplyProblem::NoBody);
    }
    let json = if events::is_stream(&text) {
        events::whole(&text)
    } else {
        json::read(&text)
    };
    let json = json.ok_or(ReplyProblem::NotJson)?;
    Ok(Said { json, replaced })
}

/// Reads the body of a bad status: as JSON (null if it is not JSON), and as the plain words that
/// some servers send instead.
pub(super) fn read_error(raw: Raw, limit: usize) -> (Value, Option<String>) {
    let Ok(body::Text { text, .. }) = body::text(raw, limit) else {
        return (Value::Null, None);
    };
    match json::read(&text) {
        Some(json) => (json, None),
        // An HTML page is less informative than the status.
        None => (
            Value::Null,
            Some(text).filter(|text| !text.is_empty() && !text.starts_with('<')),
        ),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw(bytes: &[u8]) -> Raw {
        Raw {
            bytes: bytes.to_vec(),
            ..Raw::default()
        }
    }

    #[test]
    fn a_reply_is_json_or_events_and_else_says_why_not() {
        let said = read(raw(b"\xef\xbb\xbf\n {\"a\": 1} \n"), 100).unwrap();
        assert_eq!(said.json["a"], 1);
        let stream =
            b"data: {\"choices\": [{\"delta\": {\"content\": \"yes\"}}]}\n\ndata: [DONE]\n\n";
        let said = read(raw(stream), 1000).unwrap();
        assert_eq!(said.json["choices"][0]["message"]["content"], "yes");
        for (bytes, want) in [
            (&b""[..], ReplyProblem::NoBody),
            (b" \r\n\t", ReplyProblem::NoBody),
            (b"\xef\xbb\xbf", ReplyProblem::NoBody),
            (b"<html>502 Bad Gateway</html>", ReplyProblem::NotJson),
            (b"{\"choices\": [", ReplyProblem::NotJson),
            (b"data: {\"choi", ReplyProblem::NotJson),
        ] {
            assert_eq!(read(raw(bytes), 100).unwrap_err(), want);
        }
    }

    #[test]
    fn an_error_is_json_or_plain_words() {
        assert_eq!(
            read_error(raw(b"{\"error\": \"no\"}"), 100).0["error"],
            "no"
        );
        let words = |bytes| read_error(raw(bytes), 100).1;
        let plain = words(b"upstream connect error\n");
        assert_eq!(plain.as_deref(), Some("upstream connect error"));
        assert_eq!(words(b"<html>504 Gateway Time-out</html>"), None);
        assert_eq!(words(b""), None);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(said) = read(raw(&bytes), 1000) {
                // Whatever was decoded can be judged without a panic.
                usage::usage(&said.json);
                prop_assert!(content::Content::of(&said.json).answer(0).is_ok() || !said.json.is_string());
            }
            read_error(raw(&bytes), 1000);
        }
    }
}
