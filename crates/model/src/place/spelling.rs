//! A place's name without the features that people spell in more than one way: case, diacritics,
//! blanks, hyphens, full stops, apostrophes, the width of letters.
//!
//! This is far looser than [`super::super::text::normalise`], which is safe: names are only ever
//! compared with the names of one country, and `Québec` and `QUEBEC.` are one place.

use std::borrow::Cow;

use arrayvec::ArrayString;
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

use crate::text::dress::{fold_case, fold_quote, is_blank, is_dash, is_ignorable, is_joiner};

/// Returns the words of a name in lower case, with one blank between them. Initials become one
/// word, with or without full stops: `N. Y.` becomes `ny`.
pub(super) fn words(name: &str) -> String {
    if is_plain(name) {
        return name.to_ascii_lowercase();
    }
    let mut words = Builder::of(name.len());
    if name.is_ascii() {
        name.chars().for_each(|c| words.push(c));
    } else {
        let shown = name.chars().filter(|c| !is_hidden(*c));
        // Done before the decomposition, which splits some of these characters.
        let plain = shown.filter_map(|c| match c {
            c if fold_quote(c) != c => None,
            c if is_blank(c) => Some(' '),
            c if is_dash(c) => Some('-'),
            c => Some(c),
        });
        plain.nfkd().for_each(|c| words.push(c));
    }
    words.finish()
}

/// Returns whether the name consists of ASCII letters and digits with one blank between words, as
/// nearly all names do, and no word is an initial.
fn is_plain(name: &str) -> bool {
    let mut word = 0;
    for byte in name.bytes() {
        match byte {
            b' ' if word > 1 => word = 0,
            byte if byte.is_ascii_alphanumeric() => word += 1,
            _ => return false,
        }
    }
    word > 1
}

/// Returns the words with `St.`, `Ft.`, `Mt.` and similar abbreviations in full. Such an
/// abbreviation precedes another word (`St. Louis`); alone it means something else: `MT` is
/// Montana.
pub(super) fn in_full(words: &str) -> Cow<'_, str> {
    let full = |word: &str| FULL.iter().find(|(short, _)| *short == word);
    let Some((head, last)) = words.rsplit_once(' ') else {
        return Cow::Borrowed(words);
    };
    if head.split(' ').all(|word| full(word).is_none()) {
        return Cow::Borrowed(words);
    }
    let mut out = String::with_capacity(words.len() + 8);
    for word in head.split(' ') {
        out.push_str(full(word).map_or(word, |(_, full)| full));
        out.push(' ');
    }
    out.push_str(last);
    Cow::Owned(out)
}

/// Returns the words in the form of an unknown place: in capitals, composed.
pub(super) fn in_capitals(words: &str) -> String {
    let full = in_full(words);
    if full.is_ascii() {
        return full.to_ascii_uppercase();
    }
    full.to_uppercase().nfc().collect()
}

const FULL: [(&str, &str); 6] = [
    ("ft", "fort"),
    ("mt", "mount"),
    ("st", "saint"),
    ("sta", "santa"),
    ("ste", "sainte"),
    ("sto", "santo"),
];

/// Words in their compared form: without blanks, so that `New-York` equals `NewYork`. Nearly all
/// fit on the stack.
pub(super) enum Key {
    Short(ArrayString<64>),
    Long(String),
}

impl Key {
    pub(super) fn of(words: &str) -> Self {
        let mut short = ArrayString::new();
        let mut parts = words.split(' ');
        if parts.all(|part| short.try_push_str(part).is_ok()) {
            Self::Short(short)
        } else {
            Self::Long(words.replace(' ', ""))
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Short(key) => key,
            Self::Long(key) => key,
        }
    }
}

/// Words under construction.
struct Builder {
    out: String,
    /// The offset at which the current word begins.
    start: usize,
    /// True if the preceding words are initials.
    initials: bool,
}

impl Builder {
    fn of(len: usize) -> Self {
        Self {
            out: String::with_capacity(len + 4),
            start: 0,
            initials: false,
        }
    }

    fn push(&mut self, c: char) {
        match c {
            c if c.is_ascii_alphanumeric() => self.out.push(c.to_ascii_lowercase()),
            '&' => {
                self.end_word();
                self.out.push_str("and");
                self.end_word();
            }
            '\'' | '"' | '`' | '*' => {}
            '.' | ',' | ';' | ':' | '/' | '\\' | '|' | '(' | ')' | '[' | ']' | '{' | '}' | '_'
            | '\u{b7}' | '\u{30fb}' => self.end_word(),
            c if is_blank(c) || is_dash(c) => self.end_word(),
            c if c.is_ascii() => self.out.push(c.to_ascii_lowercase()),
            c if is_left_out(c) => {}
            c => match fold_case(c) {
                'ß' => self.out.push_str("ss"),
                'æ' => self.out.push_str("ae"),
                'œ' => self.out.push_str("oe"),
                'þ' => self.out.push_str("th"),
                'ð' | 'đ' => self.out.push('d'),
                'ø' => self.out.push('o'),
                'ł' => self.out.push('l'),
                'ı' => self.out.push('i'),
                'ħ' => self.out.push('h'),
                'ə' => self.out.push('a'),
                c => self.out.push(c),
            },
        }
    }

    fn end_word(&mut self) {
        let word = &self.out[self.start..];
        if word.is_empty() {
            return;
        }
        let initial = word.chars().count() == 1 && word.chars().all(char::is_alphabetic);
        if initial && self.initials {
            // Removes the blank before the initial.
            self.out.remove(self.start - 1);
        }
        self.initials = initial;
        self.out.push(' ');
        self.start = self.out.len();
    }

    fn finish(mut self) -> String {
        self.end_word();
        self.out.truncate(self.out.trim_end_matches(' ').len());
        self.out
    }
}

/// Returns whether the character is invisible, even if it carries information.
fn is_hidden(c: char) -> bool {
    is_ignorable(c)
        || is_joiner(c)
        || matches!(
            c,
            '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
                | '\u{202d}' | '\u{202e}' | '\u{2061}'..='\u{2065}' | '\u{fff0}'..='\u{fff8}'
                | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Returns whether people omit the mark: the diacritics of Latin, Greek and Cyrillic, the points of
/// Hebrew, the vowel signs and the stretching mark of Arabic. The marks of kana and of the scripts
/// of India are kept, because they make another letter.
fn is_left_out(c: char) -> bool {
    matches!(c, '\u{640}' | '\u{674}')
        || is_combining_mark(c)
            && matches!(
                c,
                '\u{300}'..='\u{36f}' | '\u{483}'..='\u{487}' | '\u{591}'..='\u{5c7}'
                    | '\u{610}'..='\u{61a}' | '\u{64b}'..='\u{65f}' | '\u{670}'
                    | '\u{6d6}'..='\u{6ed}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
                    | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}'
            )
}
