//! The ways in which a text is read for ids.
//!
//! A model's answer is Markdown, HTML, JSON or plain text, without a label. So a mark such as `*`
//! is read as itself, as nothing (`v-**17**`) and as a blank (`see_v-17_`).

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use unicode_normalization::UnicodeNormalization;
use unicode_script::{Script, UnicodeScript};

use super::dress::{self, Letter};

/// The longest HTML tag, in bytes: a `<` without a `>` within this distance is a less-than sign.
const MAX_TAG_BYTES: usize = 300;
/// The longest character reference, such as `&#x2011;`, in bytes.
const MAX_REFERENCE_BYTES: usize = 12;

/// A piece of a text whose escapes are resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Char(char),
    SoftHyphen,
    /// `*`, `` ` ``, `~` or an underscore at a word's edge, unless it was escaped.
    Mark(char),
    Underscore,
    /// An underscore between two letters with marks of emphasis in between: `v-**a**_b` and
    /// `a**_v-17_**`.
    UnderscoreOrMark,
}

/// The reading of HTML tags: they stand between the letters of an id, or contain one themselves
/// (`<a href="/vendors/v-17">`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tags {
    Text,
    Nothing,
}

/// The reading of a mark of emphasis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marks {
    Themselves,
    Nothing,
    Blanks,
}

/// Returns the text undressed letter by letter, then the other readings that differ.
pub(super) fn of(text: &str) -> Vec<Cow<'_, str>> {
    if !has_dress(text) {
        return vec![Cow::Borrowed(text)];
    }
    let mut readings = vec![Cow::Owned(letter_by_letter(text))];
    let with_tags = underscores_as_marks(pieces(text, Tags::Text));
    let without_tags = underscores_as_marks(pieces(text, Tags::Nothing));
    let mut add = |reading: String| {
        if readings.iter().all(|known| *known != reading) {
            readings.push(Cow::Owned(reading));
        }
    };
    add(render(&with_tags, Marks::Themselves, None));
    add(render(&without_tags, Marks::Nothing, None));
    add(render(&with_tags, Marks::Blanks, None));
    if without_tags.contains(&Piece::SoftHyphen) {
        add(render(&without_tags, Marks::Nothing, Some('-')));
    }
    readings
}

/// Undresses each letter and leaves escapes and marks alone: an id may contain such characters.
fn letter_by_letter(text: &str) -> String {
    let mut pieces = Vec::with_capacity(text.len());
    text.chars().for_each(|c| push_char(&mut pieces, c));
    render(&pieces, Marks::Themselves, None)
}

/// Returns true if undressing can make a difference.
fn has_dress(text: &str) -> bool {
    text.bytes().any(|byte| {
        !byte.is_ascii() || matches!(byte, b'\\' | b'*' | b'_' | b'`' | b'~' | b'&' | b'<' | b'%')
    })
}

fn pieces(text: &str, tags: Tags) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '\\' => take_escape(rest, &mut pieces),
            '&' => take_reference(rest, &mut pieces),
            '%' => take_percent(rest, &mut pieces),
            '<' if tags == Tags::Nothing => tag_len(rest),
            _ => 0,
        };
        if taken > 0 {
            rest = &rest[taken..];
            continue;
        }
        match c {
            '*' | '`' | '~' => pieces.push(Piece::Mark(c)),
            '_' => pieces.push(Piece::Underscore),
            _ => push_char(&mut pieces, c),
        }
        rest = &rest[c.len_utf8()..];
    }
    pieces
}

fn push_char(pieces: &mut Vec<Piece>, c: char) {
    match dress::letter(c) {
        Letter::Plain(c) => pieces.push(Piece::Char(c)),
        Letter::SoftHyphen => pieces.push(Piece::SoftHyphen),
        Letter::Ignorable => {}
    }
}

/// Takes a backslash with the character that it escapes, in Markdown or JSON; a run of backslashes,
/// as in JSON within JSON, escapes like one. Returns the number of bytes taken.
fn take_escape(text: &str, pieces: &mut Vec<Piece>) -> usize {
    let rest = text.trim_start_matches('\\');
    let slashes = text.len() - rest.len();
    match rest.chars().next() {
        Some('u') => {
            if let Some((c, len)) = unicode_escape(rest) {
                push_char(pieces, c);
                return slashes + len;
            }
            slashes
        }
        Some('n' | 't' | 'r' | 'f' | 'b') => {
            pieces.push(Piece::Char(' '));
            slashes + 1
        }
        Some(c) if c.is_ascii_punctuation() => {
            push_char(pieces, c);
            slashes + 1
        }
        _ => slashes,
    }
}

/// Returns the character of `uXXXX`, or of a surrogate pair `uXXXX\uXXXX`, and its length in bytes.
fn unicode_escape(text: &str) -> Option<(char, usize)> {
    let unit = |text: &str| {
        let digits = text.strip_prefix('u')?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let first = unit(text)?;
    if let Some(c) = char::from_u32(first.into()) {
        return Some((c, 5));
    }
    let tail = &text[5..];
    let second = tail.trim_start_matches('\\');
    let pair = [first, unit(second)?];
    let c = char::decode_utf16(pair).next()?.ok()?;
    Some((c, 10 + tail.len() - second.len()))
}

/// Takes an HTML character reference; returns 0 if there is none.
fn take_reference(text: &str, pieces: &mut Vec<Piece>) -> usize {
    let Some(end) = text
        .bytes()
        .take(MAX_REFERENCE_BYTES)
        .position(|byte| byte == b';')
    else {
        return 0;
    };
    let name = &text[1..end];
    let c = match name.strip_prefix('#') {
        Some(number) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            code.ok().and_then(char::from_u32)
        }
        None => named_reference(name),
    };
    let Some(c) = c else { return 0 };
    push_char(pieces, c);
    end + 1
}

/// Returns the character of a named reference that occurs in or beside ids (HTML Living Standard,
/// named character references).
fn named_reference(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" | "ensp" | "emsp" | "thinsp" => ' ',
        "hyphen" | "dash" => '\u{2010}',
        "ndash" => '\u{2013}',
        "mdash" => '\u{2014}',
        "horbar" => '\u{2015}',
        "minus" => '\u{2212}',
        "shy" => '\u{ad}',
        "zwnj" => '\u{200c}',
        "zwj" => '\u{200d}',
        "lowbar" | "UnderBar" => '_',
        "NoBreak" => '\u{2060}',
        "ZeroWidthSpace" => '\u{200b}',
        "sol" => '/',
        "bsol" => '\\',
        "period" => '.',
        "colon" => ':',
        _ => return None,
    })
}

/// Takes a run of percent-encoded bytes, as in a link; returns 0 if there is none.
fn take_percent(text: &str, pieces: &mut Vec<Piece>) -> usize {
    let encoded = |bytes: &[u8]| {
        bytes.first() == Some(&b'%')
            && bytes.len() >= 3
            && bytes[1..3].iter().all(u8::is_ascii_hexdigit)
    };
    let mut len = 0;
    while encoded(&text.as_bytes()[len..]) {
        len += 3;
    }
    let Ok(decoded) = percent_decode_str(&text[..len]).decode_utf8() else {
        return 0;
    };
    decoded.chars().for_each(|c| push_char(pieces, c));
    len
}

/// Returns the length in bytes of the HTML tag at the start of the text; 0 if there is none.
fn tag_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let name = usize::from(bytes.get(1) == Some(&b'/')) + 1;
    if !bytes.get(name).is_some_and(u8::is_ascii_alphabetic) {
        return 0;
    }
    let end = bytes[1..]
        .iter()
        .take(MAX_TAG_BYTES)
        .position(|byte| matches!(byte, b'>' | b'<'));
    match end {
        Some(end) if bytes[end + 1] == b'>' => end + 2,
        _ => 0,
    }
}

/// Turns underscores into marks, as Markdown does unless they are between two letters or digits; a
/// letter of a script without blanks between words does not count as a letter here.
fn underscores_as_marks(mut pieces: Vec<Piece>) -> Vec<Piece> {
    let mut at = 0;
    while at < pieces.len() {
        let run = pieces[at..]
            .iter()
            .take_while(|piece| **piece == Piece::Underscore)
            .count();
        if run > 0 {
            let (before, after) = (&pieces[..at], &pieces[at + run..]);
            let beside = [beside(before.iter().rev()), beside(after.iter())];
            let piece = match beside {
                [Beside::Letter, Beside::Letter] => Piece::Char('_'),
                [Beside::Nothing, _] | [_, Beside::Nothing] => Piece::Mark('_'),
                _ => Piece::UnderscoreOrMark,
            };
            pieces[at..at + run].fill(piece);
        }
        at += run.max(1);
    }
    pieces
}

/// The neighbour of an underscore.
enum Beside {
    Letter,
    LetterBehindMarks,
    Nothing,
}

fn beside<'p>(mut pieces: impl Iterator<Item = &'p Piece>) -> Beside {
    let mut marks = false;
    let found = pieces.find(|piece| match piece {
        Piece::Mark(_) => {
            marks = true;
            false
        }
        Piece::SoftHyphen | Piece::Underscore | Piece::UnderscoreOrMark => false,
        Piece::Char(_) => true,
    });
    match found {
        Some(Piece::Char(c)) if is_of_a_word(*c) => {
            if marks {
                Beside::LetterBehindMarks
            } else {
                Beside::Letter
            }
        }
        _ => Beside::Nothing,
    }
}

fn is_of_a_word(c: char) -> bool {
    c == '_' || (c.is_alphanumeric() && Writing::of(c) != Writing::WithoutBlanks)
}

fn render(pieces: &[Piece], marks: Marks, soft_hyphen: Option<char>) -> String {
    let mut out = Rendered::default();
    for piece in pieces {
        match *piece {
            Piece::Char(c) => out.push(c),
            Piece::UnderscoreOrMark if marks == Marks::Blanks => out.push(' '),
            Piece::Underscore | Piece::UnderscoreOrMark => out.push('_'),
            Piece::SoftHyphen => soft_hyphen.into_iter().for_each(|c| out.push(c)),
            Piece::Mark(c) => match marks {
                Marks::Themselves => out.push(c),
                Marks::Nothing => {}
                Marks::Blanks => out.push(' '),
            },
        }
    }
    if out.text.is_ascii() {
        out.text
    } else {
        out.text.nfc().collect()
    }
}

/// Text with a blank between letters of different writing systems, so that `\b` also matches in
/// `推荐v-17。`.
#[derive(Default)]
struct Rendered {
    text: String,
    last: Option<Writing>,
}

impl Rendered {
    fn push(&mut self, c: char) {
        // A combining mark belongs to the letter before it.
        let writing = Writing::of(c);
        if writing == Writing::Inherited {
            self.text.push(c);
            return;
        }
        if self.last.is_some_and(|last| last.breaks_before(writing)) {
            self.text.push(' ');
        }
        self.last = Some(writing);
        self.text.push(c);
    }
}

/// The way in which a letter's script separates words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    /// Characters that are no letters: blanks, punctuation.
    None,
    Inherited,
    /// Digits and underscores, which belong to the letters beside them.
    Neutral,
    WithoutBlanks,
    WithBlanks(Script),
}

impl Writing {
    fn of(c: char) -> Self {
        match c {
            'a'..='z' | 'A'..='Z' => return Self::WithBlanks(Script::Latin),
            '0'..='9' | '_' => return Self::Neutral,
            _ if c.is_ascii() => return Self::None,
            _ => {}
        }
        match c.script() {
            Script::Inherited => Self::Inherited,
            Script::Han
            | Script::Hiragana
            | Script::Katakana
            | Script::Bopomofo
            | Script::Hangul
            | Script::Yi
            | Script::Thai
            | Script::Lao
            | Script::Khmer
            | Script::Myanmar
            | Script::Tibetan
            | Script::Javanese
            | Script::Balinese
            | Script::New_Tai_Lue
            | Script::Tai_Tham
            | Script::Tai_Le
            | Script::Tai_Viet => Self::WithoutBlanks,
            _ if !c.is_alphanumeric() => Self::None,
            Script::Common if c.is_alphabetic() => Self::WithoutBlanks,
            Script::Common | Script::Unknown => Self::Neutral,
            script => Self::WithBlanks(script),
        }
    }

    fn breaks_before(self, next: Self) -> bool {
        match (self, next) {
            (Self::None | Self::Inherited, _) | (_, Self::None | Self::Inherited) => false,
            (Self::WithoutBlanks, other) | (other, Self::WithoutBlanks) => {
                other != Self::WithoutBlanks
            }
            (Self::Neutral, _) | (_, Self::Neutral) => false,
            (one, other) => one != other,
        }
    }
}
