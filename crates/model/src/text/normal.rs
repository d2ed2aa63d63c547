//! Normalisation: texts count as the same question, style or vendor type if they differ in their
//! dress alone, never if they differ in meaning. In doubt they are different: a question that is
//! not recognised costs a call, a wrong answer costs trust.
//!
//! | dress: joined | so that |
//! |---|---|
//! | composition | `é` is `e` and U+0301 (normalisation form NFC) |
//! | case | `Barn` is `BARN`, `ΟΔΟΣ` is `οδος`, `STRAẞE` is `straße`, `İZMİR` is `izmir` ([`fold_case`]) |
//! | blanks | runs of white space of any kind are one space, none at the ends ([`is_blank`]) |
//! | width | `Ｂａｒｎ` is `barn`, `ﾊﾞｰ` is `バー` ([`fold_width`]) |
//! | quotation marks, apostrophes, primes | `’` is `'`, `«` and `„` are `"`, `6′` is `6'` ([`fold_quote`]) |
//! | dashes, hyphens, minus | `2–3`, `2‑3` and `2−3` are `2-3` ([`is_dash`]) |
//! | the ellipsis | `…` is `...`, which keyboards replace as they do quotation marks |
//! | what shows nothing | soft hyphen, zero-width space, byte order mark, `❤` with and without its colour ([`is_ignorable`]) |
//! | joiners where they join nothing | between Latin letters; kept in Persian and between emoji ([`heeds_joiners`]) |
//!
//! NFKC would join more: it replaces every character that has a compatibility mapping in
//! `UnicodeData.txt`. These are decided by the mapping's type:
//!
//! | type | decision | why |
//! |---|---|---|
//! | `wide`, `narrow` | dress | one character in two widths |
//! | `small`, `vertical` | dress | punctuation for tables and for vertical lines |
//! | `noBreak` | dress | where a line may break is not said to the reader |
//! | `initial`, `medial`, `final`, `isolated` | dress | an Arabic letter's shape follows from its neighbours; but not marks on a blank, two phrases and a currency sign that have these types too |
//! | `compat`: blanks, `…` | dress | the width of a blank; see above |
//! | `compat`: ligatures and digraphs | dress | `ﬁ`, `ĳ`, `ำ`: the same letters in one code point, as copied from a PDF; their capitals are two letters anyway |
//! | `compat`: letters that case joins | dress | `ſ`, `µ`, `ϑ` have the capitals `S`, `Μ`, `Θ` |
//! | `compat`: all others | meaning | `Ⅳ`, `⑴`, `№`, `℃`, `‼`, radicals, Korean letters that would combine |
//! | `font` | meaning | a letter's font is its meaning in formulas: `ℝ`, `ℓ`, `𝐱`; `ℹ` is a sign |
//! | `super`, `sub` | meaning | `2²` is 4 and `22` is not; `m²`, `H₂O`, `™`, `1ª` |
//! | `fraction` | meaning | `2½` is not `21⁄2` |
//! | `circle` | meaning | `①` is a step of a list, `Ⓟ` a car park |
//! | `square` | meaning | `㎡` hides a superscript, `㏂`, `㍿` are signs |

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc, is_nfc_quick};

use super::dress::{fold_case, heeds_joiners, is_blank, is_ignorable, is_joiner, undress};
#[cfg(doc)]
use super::dress::{fold_quote, fold_width, is_dash};

/// Returns the normal form of a text, which two wordings share if they count as the same: see the
/// table of this module.
#[must_use]
pub fn normalise(text: &str) -> String {
    if text.is_ascii() {
        let mut out = String::with_capacity(text.len());
        push_normal_ascii(&mut out, text);
        return out;
    }
    let mut folded = Folded::of(text.len());
    if is_nfc_quick(text.chars()) == IsNormalized::Yes {
        Visible::of(text).for_each(|c| folded.push(c));
    } else {
        Visible::of(text).nfc().for_each(|c| folded.push(c));
    }
    // Folded characters can compose: a narrow letter with its mark, or characters that were
    // separated by a dropped one.
    if is_nfc(&folded.out) {
        folded.out
    } else {
        folded.out.nfc().collect()
    }
}

/// Appends the normal form of a text; what `out` holds already stays as it is.
pub fn push_normal(out: &mut String, text: &str) {
    if text.is_ascii() {
        push_normal_ascii(out, text);
    } else {
        out.push_str(&normalise(text));
    }
}

/// Normalises ASCII, which nearly all questions are.
fn push_normal_ascii(out: &mut String, text: &str) {
    let start = out.len();
    if is_tidy(text.as_bytes()) {
        out.push_str(text);
    } else {
        // `char::is_whitespace` includes the vertical tab (11), `u8::is_ascii_whitespace` does not.
        for word in text.split(|c: char| matches!(c, ' ' | '\t'..='\r')) {
            if !word.is_empty() {
                if out.len() > start {
                    out.push(' ');
                }
                out.push_str(word);
            }
        }
    }
    out[start..].make_ascii_lowercase();
}

/// Returns true if all blanks of an ASCII text are single spaces between words.
#[expect(
    clippy::needless_bitwise_bool,
    reason = "without a branch in the loops they are done many bytes at a time"
)]
fn is_tidy(text: &[u8]) -> bool {
    let (Some(first), Some(last)) = (text.first(), text.last()) else {
        return true;
    };
    let control = text
        .iter()
        .fold(false, |found, byte| found | matches!(byte, b'\t'..=b'\r'));
    let double = text
        .iter()
        .zip(&text[1..])
        .fold(false, |found, (a, b)| found | ((*a == b' ') & (*b == b' ')));
    *first != b' ' && *last != b' ' && !control && !double
}

/// A text without its dress, under construction.
struct Folded {
    out: String,
    /// True if a blank is due before the next character.
    gap: bool,
}

impl Folded {
    fn of(len: usize) -> Self {
        Self {
            out: String::with_capacity(len),
            gap: false,
        }
    }

    fn push(&mut self, c: char) {
        if c.is_ascii() {
            return self.push_bare(c);
        }
        undress(c, |c| self.push_bare(c));
    }

    fn push_bare(&mut self, c: char) {
        if is_blank(c) {
            self.gap = true;
            return;
        }
        // The dot that lower-casing leaves of `İ`.
        if c == '\u{307}' && !self.gap && self.out.ends_with('i') {
            return;
        }
        if self.gap && !self.out.is_empty() {
            self.out.push(' ');
        }
        self.gap = false;
        self.out.push(fold_case(c));
    }
}

/// The characters of a text without those that are invisible and without meaning.
struct Visible<'a> {
    rest: std::str::Chars<'a>,
    /// The last returned character that is not a joiner.
    before: Option<char>,
    /// True if the joiners after `before` have a meaning; computed once for a run of joiners, since
    /// a text can be full of them.
    joins: Option<bool>,
}

impl<'a> Visible<'a> {
    fn of(text: &'a str) -> Self {
        Self {
            rest: text.chars(),
            before: None,
            joins: None,
        }
    }

    /// Returns whether the current joiners are between characters that they can join or separate.
    fn joins(&mut self) -> bool {
        let (before, rest) = (self.before, &self.rest);
        *self.joins.get_or_insert_with(|| {
            let shown = |c: &char| !is_ignorable(*c) && !is_joiner(*c);
            before.is_some_and(heeds_joiners) && rest.clone().find(shown).is_some_and(heeds_joiners)
        })
    }
}

impl Iterator for Visible<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        loop {
            let c = self.rest.next()?;
            if is_ignorable(c) {
                continue;
            }
            if !is_joiner(c) {
                self.before = Some(c);
                self.joins = None;
                return Some(c);
            }
            if self.joins() {
                return Some(c);
            }
        }
    }
}

#[cfg(test)]
mod tests;
