//! The text form of finished offsets above a gap, as it stands in a commit's metadata.
//!
//! `wc1r` or `wc1b`, five check characters, a body. Six bits a character, in base64url's alphabet.
//! - `r`: lengths of alternating unfinished and finished runs from the committed offset on, each a
//!   variable-length number (five bits a character, lowest first, the sixth says "more follow").
//! - `b`: one bit an offset from the committed offset on, lowest first, set where finished.
//!
//! The shorter one is written. The check covers the committed offset too, so that metadata which a
//! tool kept while it moved the offset claims nothing: a wrong "finished" would lose a record.

/// The most that Kafka keeps by default (`offset.metadata.max.bytes`).
pub const MAX_LEN: usize = 4096;
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const PREFIX: &str = "wc1";
const CHECK_LEN: usize = 5;
const HEAD_LEN: usize = PREFIX.len() + 1 + CHECK_LEN;

/// Finished offsets from `first` up to, not including, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub first: i64,
    pub end: i64,
}

/// Why metadata tells nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// Not ours, or of a later version.
    Foreign,
    /// Ours, but damaged or of another offset.
    Corrupt,
}

/// How many characters [`encode`] needs without a limit. Runs must be ascending, above `next`,
/// and not touch one another.
pub fn encoded_len(next: i64, runs: impl IntoIterator<Item = Run>) -> usize {
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

/// What [`encode`] needs at most, whatever is finished between `next` and `end`.
pub fn bits_encoded_len(next: i64, end: i64) -> usize {
    HEAD_LEN + bits_len(next, end)
}

/// The metadata for a commit of `next`, at most `max` characters: where more would be needed, the
/// highest runs are left out (they will be repeated, never lost). The flag says so.
pub fn encode(next: i64, runs: &[Run], max: usize) -> (String, bool) {
    let Some(last) = runs.last() else {
        return (String::new(), false);
    };
    let room = max.saturating_sub(HEAD_LEN);
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
        return (seal('b', next, &bit_digits(next, runs, bits)), false);
    }
    if lengths.is_empty() {
        return (String::new(), !whole);
    }
    (seal('r', next, &lengths), !whole)
}

/// Reads what [`encode`] wrote for a commit of `next`; empty metadata is no runs.
pub fn decode(next: i64, metadata: &str) -> Result<Vec<Run>, Unreadable> {
    if metadata.is_empty() {
        return Ok(Vec::new());
    }
    let (Some(rest), true) = (metadata.strip_prefix(PREFIX), metadata.is_ascii()) else {
        return Err(Unreadable::Foreign);
    };
    let kind = rest.chars().next().ok_or(Unreadable::Foreign)?;
    if !matches!(kind, 'r' | 'b') {
        return Err(Unreadable::Foreign);
    }
    if metadata.len() <= HEAD_LEN || metadata.len() > MAX_LEN {
        return Err(Unreadable::Corrupt);
    }
    let body = &metadata[HEAD_LEN..];
    if seal(kind, next, body) != metadata {
        return Err(Unreadable::Corrupt);
    }
    let runs = match kind {
        'r' => read_lengths(next, body),
        _ => read_bits(next, body),
    };
    runs.ok_or(Unreadable::Corrupt)
}

fn seal(kind: char, next: i64, body: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&next.to_be_bytes());
    hasher.update(body.as_bytes());
    let hash = hasher.finalize();
    let mut text = String::with_capacity(HEAD_LEN + body.len());
    text.push_str(PREFIX);
    text.push(kind);
    for byte in &hash.as_bytes()[..CHECK_LEN] {
        text.push(digit(byte & 63));
    }
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

/// Only called where the result fits into [`MAX_LEN`].
fn bit_digits(next: i64, runs: &[Run], len: usize) -> String {
    let mut groups = vec![0_u8; len];
    for run in runs {
        for offset in run.first..run.end {
            let bit = usize::try_from(offset - next).unwrap_or(0);
            groups[bit / 6] |= 1 << (bit % 6);
        }
    }
    groups.into_iter().map(digit).collect()
}

fn read_lengths(next: i64, body: &str) -> Option<Vec<Run>> {
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
            Some(first) => runs.push(Run { first, end: at }),
        }
        (number, shift) = (0, 0);
    }
    (first.is_none() && shift == 0).then_some(runs)
}

fn read_bits(next: i64, body: &str) -> Option<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    let mut at = next;
    for byte in body.bytes() {
        let six = value(byte)?;
        for bit in 0..6 {
            let end = at.checked_add(1)?;
            if six & (1 << bit) != 0 {
                match runs.last_mut() {
                    Some(run) if run.end == at => run.end = end,
                    _ => runs.push(Run { first: at, end }),
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

    fn runs_from(next: i64, lengths: &[(i64, i64)]) -> Vec<Run> {
        let mut at = next;
        lengths
            .iter()
            .map(|&(gap, len)| {
                let first = at + gap;
                at = first + len;
                Run { first, end: at }
            })
            .collect()
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(
            next in 0_i64..1 << 40,
            lengths in prop::collection::vec((1_i64..5000, 1_i64..5000), 0..200),
        ) {
            let runs = runs_from(next, &lengths);
            let (text, cut) = encode(next, &runs, MAX_LEN);
            prop_assert!(!cut && text.is_ascii());
            prop_assert_eq!(text.len(), encoded_len(next, runs.iter().copied()));
            let end = runs.last().map_or(next, |run| run.end);
            prop_assert!(text.len() <= bits_encoded_len(next, end));
            prop_assert_eq!(decode(next, &text), Ok(runs));
        }

        #[test]
        fn what_does_not_fit_is_cut_to_a_prefix(
            lengths in prop::collection::vec((1_i64..90, 1_i64..90), 1..400),
            max in 0_usize..300,
        ) {
            let runs = runs_from(7, &lengths);
            let (text, cut) = encode(7, &runs, max);
            prop_assert!(text.len() <= max);
            let read = decode(7, &text).unwrap();
            prop_assert_eq!(cut, read.len() < runs.len());
            prop_assert_eq!(&read[..], &runs[..read.len()]);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(wc1[rb])?[A-Za-z0-9_-]{0,60}", next: i64) {
            prop_assert!(text.is_empty() || decode(next, &text).is_err());
        }
    }

    #[test]
    fn metadata_of_others_and_damaged_metadata_claim_nothing() {
        let (text, _) = encode(10, &runs_from(10, &[(2, 3)]), MAX_LEN);
        assert_eq!(decode(11, &text), Err(Unreadable::Corrupt));
        assert_eq!(
            decode(10, &text[..text.len() - 1]),
            Err(Unreadable::Corrupt)
        );
        for foreign in [
            "flink-42",
            "wc2r00000AB",
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
            .map(|n| Run {
                first: 2 * n + 1,
                end: 2 * n + 2,
            })
            .collect();
        let (text, cut) = encode(0, &scattered, MAX_LEN);
        assert_eq!((text.len(), cut), (HEAD_LEN + 1000, false));
        let long = [Run {
            first: 1,
            end: 40_000_000,
        }];
        assert!(encode(0, &long, MAX_LEN).0.len() < 20);
    }
}
