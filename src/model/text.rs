//! How text enters keys and tags: normalised for sameness, percent-encoded for unambiguity.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

/// What is percent-encoded in key values: `%`, `:`, `,`, `=` and control characters.
const KEY: &AsciiSet = &CONTROLS.add(b'%').add(b':').add(b',').add(b'=');
/// What is percent-encoded in tag values: `%`, `|`, `=` and control characters.
const TAG: &AsciiSet = &CONTROLS.add(b'%').add(b'|').add(b'=');

/// The form under which two wordings count as the same: NFKC, lower case, runs of white space
/// as one space, none at the ends.
#[must_use]
pub fn normalise(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut gap = false;
    let mut push = |c: char| {
        if c.is_whitespace() {
            gap = true;
            return;
        }
        if gap && !out.is_empty() {
            out.push(' ');
        }
        gap = false;
        if c.is_ascii() {
            out.push(c.to_ascii_lowercase());
        } else {
            out.extend(c.to_lowercase());
        }
    };
    if text.is_ascii() || is_nfkc_quick(text.chars()) == IsNormalized::Yes {
        text.chars().for_each(&mut push);
    } else {
        text.nfkc().for_each(&mut push);
    }
    out
}

/// A value as it stands in a cache key.
#[must_use]
pub fn key_value(value: &str) -> Cow<'_, str> {
    utf8_percent_encode(value, KEY).into()
}

/// A value as it stands in a tag.
#[must_use]
pub fn tag_value(value: &str) -> Cow<'_, str> {
    utf8_percent_encode(value, TAG).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wordings_that_differ_in_case_width_and_space_are_the_same() {
        for (text, want) in [
            ("  Which  FLORIST\tfits?\n", "which florist fits?"),
            ("Ｂａｒｎ ｗｅｄｄｉｎｇ", "barn wedding"),
            ("Cafe\u{301}", "caf\u{e9}"),
            ("\u{a0}", ""),
        ] {
            assert_eq!(normalise(text), want, "{text:?}");
        }
    }

    #[test]
    fn separators_in_values_are_encoded() {
        assert_eq!(key_value("a:b,c=d%"), "a%3Ab%2Cc%3Dd%25");
        assert_eq!(tag_value("a|b=c%:,"), "a%7Cb%3Dc%25:,");
        assert!(matches!(key_value("TX"), Cow::Borrowed(_)));
    }
}
