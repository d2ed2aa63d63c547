//! The dress of a character in an id, and the character without it.

use unicode_normalization::UnicodeNormalization;

use crate::text::dress;

/// A character of an id without its dress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Letter {
    Plain(char),
    /// Mostly an invisible place for a line break; sometimes written as a hyphen.
    SoftHyphen,
    /// Invisible, or only decorates the character before it.
    Ignorable,
}

pub(super) fn letter(c: char) -> Letter {
    match c {
        '\u{20}'..='\u{7e}' => Letter::Plain(c),
        '\u{ad}' => Letter::SoftHyphen,
        _ if is_ignorable(c) => Letter::Ignorable,
        _ if is_dash(c) => Letter::Plain('-'),
        _ => Letter::Plain(without_shape(c)),
    }
}

/// Returns true for hyphens, dashes and characters that are written in place of a hyphen: hyphen
/// bullet, superscript, subscript, modifier and heavy minus, and the Katakana double hyphen.
fn is_dash(c: char) -> bool {
    dress::is_dash(c)
        || matches!(
            c,
            '\u{2d7}' | '\u{2043}' | '\u{207b}' | '\u{208b}' | '\u{2796}' | '\u{30a0}'
        )
}

/// Returns true for characters that are invisible in any script (Unicode's property
/// Default_Ignorable_Code_Point, DerivedCoreProperties.txt, 17.0), and for combining marks that
/// strike out, underline or enclose the character before them.
fn is_ignorable(c: char) -> bool {
    dress::is_ignorable(c)
        || dress::is_joiner(c)
        || matches!(
            c,
            '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{202d}'..='\u{202e}'
                | '\u{2061}'..='\u{2065}'
                | '\u{3164}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fff8}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
                | '\u{332}'..='\u{333}'
                | '\u{335}'..='\u{338}'
                | '\u{20dd}'..='\u{20e0}'
                | '\u{20e2}'..='\u{20e4}'
        )
}

/// Returns the plain letter or digit of a full-width, half-width or mathematical one. Other
/// compatibility characters stay: `v-17²` names v-17 and a footnote, not v-172.
fn without_shape(c: char) -> char {
    let is_shape = matches!(
        c,
        '\u{3000}'
            | '\u{ff01}'..='\u{ffee}'
            | '\u{2102}'..='\u{2149}'
            | '\u{fb20}'..='\u{fb29}'
            | '\u{1d400}'..='\u{1d7ff}'
            | '\u{1ee00}'..='\u{1eeff}'
            | '\u{1fbf0}'..='\u{1fbf9}'
    );
    if !is_shape {
        return c;
    }
    let mut shapes = std::iter::once(c).nfkc();
    match (shapes.next(), shapes.next()) {
        (Some(plain), None) => plain,
        _ => c,
    }
}

/// Returns the character in lower case; both forms of the small sigma become one.
pub(super) fn lower_case(c: char) -> impl Iterator<Item = char> {
    let c = if c == 'ς' { 'σ' } else { c };
    c.to_lowercase()
}
