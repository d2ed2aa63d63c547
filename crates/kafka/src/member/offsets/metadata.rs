//! The text form of a commit's metadata: the topic of the offset, and the finished offsets above
//! it.
//!
//! `wc2r` or `wc2b`, five check characters, the topic's id (22 characters), a body; `wc1r` or
//! `wc1b` without the id. Six bits a character, in base64url's alphabet.
//! - `r`: lengths of alternating unfinished and finished runs from the committed offset on, each a
//!   variable-length number (five bits a character, lowest first, the sixth says "more follow").
//! - `b`: one bit an offset from the committed offset on, lowest first, set where finished.
//!
//! The shorter form is written. The check covers the committed offset too, so that metadata which a
//! tool kept while it moved the offset is ignored: a wrong "finished" would lose a record. By its
//! id a recreated topic is noticed, whose offsets mean other records.

use wedcache_model::TopicId;
use wedcache_model::topic_id::TOPIC_ID_LEN;

/// The longest metadata that Kafka keeps by default (`offset.metadata.max.bytes`).
pub const MAX_LEN: usize = 4096;
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const WITHOUT_TOPIC: &str = "wc1";
const WITH_TOPIC: &str = "wc2";
const CHECK_LEN: usize = 5;
/// Prefix, kind and check.
const HEAD_LEN: usize = WITH_TOPIC.len() + 1 + CHECK_LEN;

/// A run of finished offsets from `first` to `end`, exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetRun {
    pub first: i64,
    pub end: i64,
}

/// The content of a commit's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommitMetadata {
    /// The topic of the offset; `None` if the brokers have no topic ids, and from versions that did
    /// not write the id.
    pub topic: Option<TopicId>,
    /// The finished runs above the committed offset, ascending; no two of them touch.
    pub finished: Vec<OffsetRun>,
}

/// The reason why metadata is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// It was written by another client, or by a later version.
    Foreign,
    /// It is damaged, or of another offset.
    Corrupt,
}

/// Returns the number of characters that [`encode`] needs for runs, without a limit and a topic.
/// Runs must be ascending, above `next`, and no two of them may touch.
pub fn encoded_len(next: i64, runs: impl IntoIterator<Item = OffsetRun>) -> usize {
    let (mut at, mut lengths) = (next, 0);
    for run in runs {
        lengths += number_len(run.first - at) + number_len(run.end - run.first);
        at = run.end;
    }
    if at == next {
        return 0;
    }
    HEAD_LEN + lengths.min(bits_len(next, at))
}

/// Returns the most characters that [`encode`] needs without a topic, whatever is finished between
/// `next` and `end`.
pub fn bits_encoded_len(next: i64, end: i64) -> usize {
    HEAD_LEN + bits_len(next, end)
}

/// Returns the metadata for a commit of `next`, at most `max` characters (of which a topic's id
/// takes [`TOPIC_ID_LEN`]). If more would be needed, the highest runs are left out (they will be
/// repeated, never lost), and the flag is true.
pub fn encode(next: i64, content: &CommitMetadata, max: usize) -> (String, bool) {
    let (topic, runs) = (content.topic, &content.finished);
    let Some(last) = runs.last() else {
        let text = topic.map(|topic| seal('r', next, Some(topic), ""));
        return (text.unwrap_or_default(), false);
    };
    let taken = HEAD_LEN + if topic.is_some() { TOPIC_ID_LEN } else { 0 };
    let room = max.saturating_sub(taken);
    let mut lengths = String::new();
    let (mut at, mut whole) = (next, true);
    for run in runs {
        let before = lengths.len();
        put_number(&mut lengths, run.first - at);
        put_number(&mut lengths, run.end - run.first);
        if lengths.len() > room {
            lengths.truncate(before);
            whole = false;
            break;
        }
        at = run.end;
    }
    let bits = bits_len(next, last.end);
    if bits <= room && (!whole || bits < lengths.len()) {
        return (seal('b', next, topic, &bit_digits(next, runs, bits)), false);
    }
    if lengths.is_empty() && topic.is_none() {
        return (String::new(), !whole);
    }
    (seal('r', next, topic, &lengths), !whole)
}

/// Reads the metadata that [`encode`] wrote for a commit of `next`; empty metadata has no content.
pub fn decode(next: i64, metadata: &str) -> Result<CommitMetadata, Unreadable> {
    if metadata.is_empty() {
        return Ok(CommitMetadata::default());
    }
    let with_topic = metadata.starts_with(WITH_TOPIC);
    let prefix = if with_topic {
        WITH_TOPIC
    } else {
        WITHOUT_TOPIC
    };
    let (Some(rest), true) = (metadata.strip_prefix(prefix), metadata.is_ascii()) else {
        return Err(Unreadable::Foreign);
    };
    let kind = rest.chars().next().ok_or(Unreadable::Foreign)?;
    if !matches!(kind, 'r' | 'b') {
        return Err(Unreadable::Foreign);
    }
    if metadata.len() <= HEAD_LEN || metadata.len() > MAX_LEN {
        return Err(Unreadable::Corrupt);
    }
    let mut body = &metadata[HEAD_LEN..];
    let mut topic = None;
    if with_topic {
        let (id, rest) = body
            .split_at_checked(TOPIC_ID_LEN)
            .ok_or(Unreadable::Corrupt)?;
        topic = Some(TopicId::parse(id).ok_or(Unreadable::Corrupt)?);
        body = rest;
    }
    if seal(kind, next, topic, body) != metadata {
        return Err(Unreadable::Corrupt);
    }
    let runs = match kind {
        'r' => read_lengths(next, body),
        _ => read_bits(next, body),
    };
    let finished = runs.ok_or(Unreadable::Corrupt)?;
    Ok(CommitMetadata { topic, finished })
}

fn seal(kind: char, next: i64, topic: Option<TopicId>, body: &str) -> String {
    let topic = topic.map(|topic| topic.to_string()).unwrap_or_default();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&next.to_be_bytes());
    hasher.update(topic.as_bytes());
    hasher.update(body.as_bytes());
    let hash = hasher.finalize();
    let mut text = String::with_capacity(HEAD_LEN + topic.len() + body.len());
    text.push_str(if topic.is_empty() {
        WITHOUT_TOPIC
    } else {
        WITH_TOPIC
    });
    text.push(kind);
    for byte in &hash.as_bytes()[..CHECK_LEN] {
        text.push(digit(byte & 63));
    }
    text.push_str(&topic);
    text.push_str(body);
    text
}

fn digit(six_bits: u8) -> char {
    char::from(DIGITS[usize::from(six_bits & 63)])
}

fn value(digit: u8) -> Option<u8> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(value)
}

fn number_len(number: i64) -> usize {
    let bits = u64::BITS - number.unsigned_abs().leading_zeros();
    bits.div_ceil(5).max(1) as usize
}

fn put_number(out: &mut String, number: i64) {
    let mut left = number.unsigned_abs();
    loop {
        let low = u8::try_from(left & 31).unwrap_or(0);
        left >>= 5;
        out.push(digit(if left == 0 { low } else { low | 32 }));
        if left == 0 {
            return;
        }
    }
}

fn bits_len(next: i64, end: i64) -> usize {
    usize::try_from(end - next).map_or(usize::MAX, |offsets| offsets.div_ceil(6))
}

/// Returns one bit for each offset, six to a digit. Only called if the result fits into
/// [`MAX_LEN`].
fn bit_digits(next: i64, runs: &[OffsetRun], len: usize) -> String {
    let mut groups = vec![0_u8; len];
    for run in runs {
        for offset in run.first..run.end {
            let bit = usize::try_from(offset - next).unwrap_or(0);
            groups[bit / 6] |= 1 << (bit % 6);
        }
    }
    groups.into_iter().map(digit).collect()
}

fn read_lengths(next: i64, body: &str) -> Option<Vec<OffsetRun>> {
    let mut runs = Vec::new();
    let (mut at, mut first) = (next, None);
    let (mut number, mut shift) = (0_i64, 0_u32);
    for byte in body.bytes() {
        let six = value(byte)?;
        if shift > 60 {
            return None;
        }
        number = number.checked_add(i64::from(six & 31).checked_mul(1_i64.checked_shl(shift)?)?)?;
        shift += 5;
        if six & 32 != 0 {
            continue;
        }
        at = at.checked_add(number)?;
        match first.take() {
            None => first = Some(at),
            Some(first) => runs.push(OffsetRun { first, end: at }),
        }
        (number, shift) = (0, 0);
    }
    (first.is_none() && shift == 0).then_some(runs)
}

fn read_bits(next: i64, body: &str) -> Option<Vec<OffsetRun>> {
    let mut runs: Vec<OffsetRun> = Vec::new();
    let mut at = next;
    for byte in body.bytes() {
        let six = value(byte)?;
        for bit in 0..6 {
            let end = at.checked_add(1)?;
            if six & (1 << bit) != 0 {
                match runs.last_mut() {
                    Some(run) if run.end == at => run.end = end,
                    _ => runs.push(OffsetRun { first: at, end }),
                }
            }
            at = end;
        }
    }
    Some(runs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn runs_from(next: i64, lengths: &[(i64, i64)]) -> Vec<OffsetRun> {
        let mut at = next;
        lengths
            .iter()
            .map(|&(gap, len)| {
                let first = at + gap;
                at = first + len;
                OffsetRun { first, end: at }
            })
            .collect()
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(
            next in 0_i64..1 << 40,
            lengths in prop::collection::vec((1_i64..5000, 1_i64..5000), 0..200),
            topic in prop::option::of(any::<u128>()),
        ) {
            let finished = runs_from(next, &lengths);
            let topic = topic.map(TopicId);
            let told = CommitMetadata { topic, finished };
            let (text, cut) = encode(next, &told, MAX_LEN);
            prop_assert!(!cut && text.is_ascii());
            let (runs, id_len) = (&told.finished, topic.map_or(0, |_| TOPIC_ID_LEN));
            if !runs.is_empty() {
                prop_assert_eq!(text.len(), id_len + encoded_len(next, runs.iter().copied()));
            }
            let end = runs.last().map_or(next, |run| run.end);
            prop_assert!(text.len() <= id_len + bits_encoded_len(next, end));
            prop_assert_eq!(decode(next, &text), Ok(told));
        }

        #[test]
        fn what_does_not_fit_is_cut_to_a_prefix(
            lengths in prop::collection::vec((1_i64..90, 1_i64..90), 1..400),
            max in HEAD_LEN + TOPIC_ID_LEN..300,
            topic in prop::option::of(any::<u128>()),
        ) {
            let topic = topic.map(TopicId);
            let runs = runs_from(7, &lengths);
            let told = CommitMetadata { topic, finished: runs.clone() };
            let (text, cut) = encode(7, &told, max);
            prop_assert!(text.len() <= max);
            let read = decode(7, &text).unwrap();
            prop_assert_eq!(read.topic, topic);
            let read = read.finished;
            prop_assert_eq!(cut, read.len() < runs.len());
            prop_assert_eq!(&read[..], &runs[..read.len()]);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(wc[12][rb])?[A-Za-z0-9_-]{0,60}", next: i64) {
            prop_assert!(text.is_empty() || decode(next, &text).is_err());
        }
    }

    #[test]
    fn metadata_of_others_and_damaged_metadata_claim_nothing() {
        let (text, _) = encode(10, &told(runs_from(10, &[(2, 3)])), MAX_LEN);
        assert_eq!(decode(11, &text), Err(Unreadable::Corrupt));
        assert_eq!(
            decode(10, &text[..text.len() - 1]),
            Err(Unreadable::Corrupt)
        );
        for foreign in [
            "flink-42",
            "wc3r00000AB",
            "wc1",
            "wc1xAAAAAA",
            "wc1rä",
            "{}",
        ] {
            assert_eq!(decode(10, foreign), Err(Unreadable::Foreign), "{foreign}");
        }
    }

    #[test]
    fn scattered_offsets_take_a_bit_each_and_long_runs_a_few_characters() {
        let scattered: Vec<_> = (0..3000)
            .map(|n| OffsetRun {
                first: 2 * n + 1,
                end: 2 * n + 2,
            })
            .collect();
        let (text, cut) = encode(0, &told(scattered), MAX_LEN);
        assert_eq!((text.len(), cut), (HEAD_LEN + 1000, false));
        let long = [OffsetRun {
            first: 1,
            end: 40_000_000,
        }];
        assert!(encode(0, &told(long.to_vec()), MAX_LEN).0.len() < 20);
    }

    #[test]
    fn the_topic_is_told_also_where_nothing_above_the_offset_is_finished() {
        let topic = Some(TopicId(7));
        let alone = CommitMetadata {
            topic,
            finished: Vec::new(),
        };
        let (text, cut) = encode(10, &alone, MAX_LEN);
        assert!(!cut);
        assert_eq!(decode(10, &text), Ok(alone));
        assert_eq!(
            decode(11, &text),
            Err(Unreadable::Corrupt),
            "of another offset"
        );
        assert_eq!(decode(10, ""), Ok(CommitMetadata::default()));
        // Metadata of a version that did not write the id.
        let old = CommitMetadata {
            topic: None,
            finished: runs_from(10, &[(2, 3)]),
        };
        assert_eq!(decode(10, "wc1bDcxRac"), Ok(old));
    }

    fn told(finished: Vec<OffsetRun>) -> CommitMetadata {
        CommitMetadata {
            topic: None,
            finished,
        }
    }
}
