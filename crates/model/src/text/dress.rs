//! The dress of characters: differences in how a character is typeset that do not change its
//! meaning.
//!
//! [`super::normal`] lists the differences that are dress, with the reasons.

use unicode_normalization::char::decompose_compatible;

/// Returns whether the character shows as a blank: Unicode's white space, including line
/// separators, and three characters that are drawn as an empty box (the Hangul fillers, the empty
/// Braille cell).
#[must_use]
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{3164}' | '\u{ffa0}' | '\u{2800}')
}

/// Returns whether the character is a hyphen, a dash or a minus sign on the line, of any length and
/// script.
///
/// Some characters with Unicode's property `Dash` are excluded: superscript and subscript minus
/// (they change the meaning of a number), swung and wave dashes (they read as `~`) and the Katakana
/// double hyphen (it reads as `=`).
#[must_use]
pub fn is_dash(c: char) -> bool {
    matches!(
        c,
        '-' | '\u{58a}' | '\u{5be}' | '\u{1400}' | '\u{1806}' | '\u{2010}'
            ..='\u{2015}'
                | '\u{2212}'
                | '\u{2e17}'
                | '\u{2e1a}'
                | '\u{2e3a}'
                | '\u{2e3b}'
                | '\u{2e40}'
                | '\u{2e5d}'
                | '\u{fe31}'
                | '\u{fe32}'
                | '\u{fe58}'
                | '\u{fe63}'
                | '\u{ff0d}'
                | '\u{10d6e}'
                | '\u{10ead}'
    )
}

/// Returns `'` for a single quotation mark, an apostrophe or a prime, `"` for a double one, and any
/// other character unchanged.
///
/// Single and double marks are kept apart: `6'` is feet and `6"` inches.
#[must_use]
pub fn fold_quote(c: char) -> char {
    match c {
        // ´ ʹ ʻ ʼ ՚ ׳ ‘ ’ ‚ ‛ ′ ‵ ‹ › ❛ ❜ ＇
        '\u{b4}'
        | '\u{2b9}'
        | '\u{2bb}'
        | '\u{2bc}'
        | '\u{55a}'
        | '\u{5f3}'
        | '\u{2018}'..='\u{201b}'
        | '\u{2032}'
        | '\u{2035}'
        | '\u{2039}'
        | '\u{203a}'
        | '\u{275b}'
        | '\u{275c}'
        | '\u{ff07}' => '\'',
        // « » ʺ ˮ ״ “ ” „ ‟ ″ ‶ ❝ ❞ ⹂ 「 」 『 』 〝 〞 〟, the vertical and the narrow ones, ＂
        '\u{ab}'
        | '\u{bb}'
        | '\u{2ba}'
        | '\u{2ee}'
        | '\u{5f4}'
        | '\u{201c}'..='\u{201f}'
        | '\u{2033}'
        | '\u{2036}'
        | '\u{275d}'
        | '\u{275e}'
        | '\u{2e42}'
        | '\u{300c}'..='\u{300f}'
        | '\u{301d}'..='\u{301f}'
        | '\u{fe41}'..='\u{fe44}'
        | '\u{ff02}'
        | '\u{ff62}'
        | '\u{ff63}' => '"',
        _ => c,
    }
}

/// Returns whether the character is invisible and without meaning wherever it occurs: soft hyphen,
/// zero-width space, word joiner, byte order mark, direction marks, variation selectors and similar
/// ones.
///
/// Some invisible characters are excluded: the joiners ([`is_joiner`]); direction overrides, which
/// change the order in which letters are read; the invisible operators of mathematics (U+2064 makes
/// `3½` of `3` and `½`); tags, which distinguish the flags of England and Scotland; the form
/// selectors of Mongolian, and fillers that stand for a letter.
#[must_use]
pub fn is_ignorable(c: char) -> bool {
    // Most characters that are checked are below this one.
    c >= '\u{ad}'
        && matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
                | '\u{202a}'..='\u{202c}' | '\u{2060}' | '\u{2066}'..='\u{206f}' | '\u{feff}'
                | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}'
        )
}

/// Returns whether the character is the zero-width joiner or non-joiner, which have a meaning
/// between the letters of some scripts and between emoji: see [`heeds_joiners`].
#[must_use]
pub fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Returns whether a joiner beside the character can change its reading.
///
/// No joiner does so in scripts whose letters are written separately (Latin, Greek, Cyrillic,
/// Armenian, Georgian, Hebrew, Hangul, kana, Han) nor beside blanks and punctuation. Joiners matter
/// in Arabic, in the scripts of India and in others, where they select among forms that distinguish
/// words, and between emoji, where they make one family of three people.
#[must_use]
pub fn heeds_joiners(c: char) -> bool {
    !(is_blank(c)
        || matches!(
            c,
            '\0'..='\u{5ff}' | '\u{10a0}'..='\u{11ff}' | '\u{1c80}'..='\u{1cbf}'
                | '\u{1e00}'..='\u{20cf}' | '\u{2c60}'..='\u{2c7f}' | '\u{3000}'..='\u{a4cf}'
                | '\u{a640}'..='\u{a69f}' | '\u{a720}'..='\u{a7ff}' | '\u{ac00}'..='\u{d7ff}'
                | '\u{f900}'..='\u{fb4f}' | '\u{fe10}'..='\u{fe6f}' | '\u{ff00}'..='\u{ffef}'
                | '\u{20000}'..='\u{3ffff}'
        ))
}

/// Returns the character in the width in which it is usually written: `Ａ` as `A`, `ｶ` as `カ`, and
/// small and vertical punctuation as horizontal punctuation; any other character unchanged.
///
/// A narrow voicing mark becomes the combining one, so that `ｶﾞ` composes to `ガ`.
#[must_use]
pub fn fold_width(c: char) -> char {
    let shifted = |from: char, to: char| {
        let at = u32::from(to) + (u32::from(c) - u32::from(from));
        char::from_u32(at).unwrap_or(c)
    };
    match c {
        '\u{ff01}'..='\u{ff5e}' => shifted('\u{ff01}', '!'),
        // The narrow Korean letters map to letters that do not combine, as the wide ones do.
        '\u{ffa1}'..='\u{ffbe}' => shifted('\u{ffa1}', '\u{3131}'),
        '\u{ffc2}'..='\u{ffc7}' => shifted('\u{ffc2}', '\u{314f}'),
        '\u{ffca}'..='\u{ffcf}' => shifted('\u{ffca}', '\u{3155}'),
        '\u{ffd2}'..='\u{ffd7}' => shifted('\u{ffd2}', '\u{315b}'),
        '\u{ffda}'..='\u{ffdc}' => shifted('\u{ffda}', '\u{3161}'),
        '\u{ffa0}' => '\u{3164}',
        // The mappings of these three are compositions themselves.
        '\u{ffe3}' => '\u{af}',
        '\u{fe19}' => '\u{2026}',
        '\u{fe30}' => '\u{2025}',
        '\u{3000}'
        | '\u{fe10}'..='\u{fe18}'
        | '\u{fe31}'..='\u{fe48}'
        | '\u{fe50}'..='\u{fe6b}'
        | '\u{ff5f}'..='\u{ff9f}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{ffe8}'..='\u{ffee}' => only_part(c),
        _ => c,
    }
}

/// Returns the one character that a character maps to.
fn only_part(c: char) -> char {
    let mut part = c;
    decompose_compatible(c, |of| part = of);
    part
}

/// Returns whether the character is one code point for letters in their joined shape: ligatures and
/// digraphs (`ﬁ`, `ĳ`, `ǆ`, `ำ`) and the positional forms of Arabic.
///
/// Excluded are Arabic marks that stand alone on a blank, the two phrases and the currency sign
/// among the Arabic ligatures, and the Korean letters that do not combine.
#[must_use]
pub fn is_joined_letters(c: char) -> bool {
    match c {
        '\u{fc5e}'..='\u{fc63}' | '\u{fdfa}'..='\u{fdff}' => false,
        '\u{fe70}'..='\u{fe7f}' => u32::from(c) % 2 == 1,
        // Arabic.
        '\u{675}'..='\u{678}' | '\u{fb50}'..='\u{fdff}' | '\u{fe80}'..='\u{fefc}'
        // Latin and Armenian.
        | '\u{132}' | '\u{133}' | '\u{149}' | '\u{1c4}'..='\u{1cc}' | '\u{1f1}'..='\u{1f3}'
        | '\u{587}' | '\u{1e9a}' | '\u{fb00}'..='\u{fb06}' | '\u{fb13}'..='\u{fb17}'
        | '\u{1df95}'
        // Hebrew, Thai, Lao, Tibetan, kana.
        | '\u{fb4f}' | '\u{e33}' | '\u{eb3}' | '\u{edc}' | '\u{edd}' | '\u{f77}' | '\u{f79}'
        | '\u{309f}' | '\u{30ff}' | '\u{1b123}'..='\u{1b126}' => true,
        _ => false,
    }
}

/// Calls `emit` with the character without its dress, except for case: one character, or several
/// for ligatures and `…`.
pub fn undress(c: char, mut emit: impl FnMut(char)) {
    // Letters of Western Europe, the most frequent ones outside ASCII, have no dress.
    if c.is_ascii() || matches!(c, '\u{c0}'..='\u{131}') {
        return emit(c);
    }
    if is_blank(c) {
        return emit(' ');
    }
    if is_dash(c) {
        return emit('-');
    }
    if is_joined_letters(c) {
        return decompose_compatible(c, |part| emit(fold_quote(part)));
    }
    match fold_quote(fold_width(c)) {
        '\u{2026}' => "...".chars().for_each(emit),
        // The wave dash: Japanese keyboards produce either character with one key.
        '\u{301c}' => emit('~'),
        // The non-breaking form, like non-breaking blanks and hyphens.
        '\u{f0c}' => emit('\u{f0b}'),
        c => emit(c),
    }
}

/// Returns the common form of a letter's cases: Unicode's simple case folding.
///
/// Only cases of one letter are joined: `ẞ` and `ß`, `ſ` and `s`, `ς` and `σ`, but not `ß` and
/// `SS`, which is also written in other words (`Maße` and `Masse`), and not `ı` and `I`. `İ`
/// becomes `i`, its small letter in the languages that use it; lower-casing elsewhere leaves an
/// invisible dot above the `i`, which [`super::normalise`] drops.
#[must_use]
pub fn fold_case(c: char) -> char {
    fn only(mut cased: impl Iterator<Item = char>) -> Option<char> {
        let first = cased.next();
        first.filter(|_| cased.next().is_none())
    }
    match c {
        c if c.is_ascii() => c.to_ascii_lowercase(),
        'İ' => 'i',
        // The capitals of these two are capitals of other letters, `i` and `ι`.
        'ı' | '\u{345}' => c,
        _ => {
            let upper = only(c.to_uppercase()).unwrap_or(c);
            only(upper.to_lowercase()).unwrap_or(c)
        }
    }
}

#[cfg(test)]
mod tests {
    use icu_properties::CodePointSetData;
    use icu_properties::props::{BinaryProperty, Dash, DefaultIgnorableCodePoint, QuotationMark};

    use super::*;

    /// Returns the characters of a table that lack a property of Unicode, and those with it that
    /// the table leaves out.
    fn beside<P: BinaryProperty>(is_in_table: impl Fn(char) -> bool) -> (String, Vec<char>) {
        let property = CodePointSetData::new::<P>();
        let (mut more, mut less) = (String::new(), Vec::new());
        for c in '\0'..=char::MAX {
            match (is_in_table(c), property.contains(c)) {
                (true, false) => more.push(c),
                (false, true) => less.push(c),
                _ => {}
            }
        }
        (more, less)
    }

    #[test]
    fn dashes_are_those_of_unicode_that_read_as_one() {
        let (more, less) = beside::<Dash>(is_dash);
        assert_eq!(more, "");
        // Swung and wave dashes, superscript and subscript minus, the double hyphen of kana.
        let decided = "\u{2053}\u{207b}\u{208b}\u{301c}\u{3030}\u{30a0}";
        assert_eq!(String::from_iter(less), decided);
    }

    #[test]
    fn quotation_marks_are_those_of_unicode_with_apostrophes_and_primes() {
        let is_quote = |c| fold_quote(c) != c || matches!(c, '\'' | '"');
        let (more, less) = beside::<QuotationMark>(is_quote);
        assert!(less.is_empty(), "{less:?}");
        assert_eq!(more, "´ʹʺʻʼˮ՚׳״′″‵‶❛❜❝❞");
    }

    #[test]
    fn what_shows_nothing_is_ignored_unless_it_says_something() {
        let in_table = |c| is_ignorable(c) || is_joiner(c) || is_blank(c);
        let (more, less) = beside::<DefaultIgnorableCodePoint>(in_table);
        assert!(more.chars().all(is_blank), "{more:?}");
        let decided = |c: &char| {
            matches!(
                c,
                // Fillers and vowels that stand for a letter, selectors of Mongolian forms.
                '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
                // Overrides of direction, invisible operators.
                | '\u{202d}' | '\u{202e}' | '\u{2061}'..='\u{2065}'
                // Strokes of shorthand, beams of music.
                | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
                // Tags, and unassigned characters.
                | '\u{fff0}'..='\u{fff8}' | '\u{e0000}'..='\u{e0fff}'
            )
        };
        assert!(less.iter().all(decided), "{less:?}");
    }

    #[test]
    fn a_folded_character_stays_as_it_is() {
        for c in '\0'..=char::MAX {
            assert_eq!(fold_width(fold_width(c)), fold_width(c));
            assert_eq!(fold_quote(fold_quote(c)), fold_quote(c));
            assert_eq!(fold_case(fold_case(c)), fold_case(c));
        }
    }
}
