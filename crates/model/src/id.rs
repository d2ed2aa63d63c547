//! Ids of vendors, weddings and users: their one canonical form, and the search for them in texts.
//!
//! People and models write one id in many ways: another hyphen, another case, zero-width
//! characters, full-width letters, Markdown around or inside. All of these are *dress*. A tag holds
//! the canonical form, whatever dress the id came in: in a query, an answer, a change event or a
//! record key.
//!
//! [`Ids::canonical`] is for a field that holds an id; [`Ids::vendors_in`] is for running text.

mod dress;
mod readings;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};
use unicode_normalization::UnicodeNormalization;

use self::dress::Letter;

/// The rule for ids that differ in case alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdCase {
    /// `V-17` is the same id as `v-17`.
    #[default]
    Insensitive,
    /// `V-17` and `v-17` are two ids.
    Sensitive,
}

impl IdCase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insensitive => "insensitive",
            Self::Sensitive => "sensitive",
        }
    }
}

/// The rules for a platform's ids.
#[derive(Debug, Clone)]
pub struct Ids {
    case: IdCase,
    /// The pattern that finds vendor ids in undressed text; capture group 1 is the id if there is
    /// one, otherwise the whole match.
    vendor_pattern: Regex,
}

/// The vendors named in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mentions {
    /// The ids in canonical form, sorted, each once.
    pub ids: Vec<String>,
    /// False if the text names more vendors than the limit.
    pub complete: bool,
}

impl Ids {
    pub fn new(case: IdCase, vendor_pattern: &str) -> Result<Self, regex::Error> {
        let vendor_pattern = RegexBuilder::new(vendor_pattern)
            .case_insensitive(case == IdCase::Insensitive)
            .build()?;
        Ok(Self {
            case,
            vendor_pattern,
        })
    }

    pub fn case(&self) -> IdCase {
        self.case
    }

    /// Returns the pattern as it was given.
    pub fn vendor_pattern(&self) -> &str {
        self.vendor_pattern.as_str()
    }

    /// Returns the canonical form of an id; `None` if nothing of it is left, for example if it is
    /// only white space. Borrows an id that is already canonical, as nearly all ids are.
    pub fn canonical<'a>(&self, id: &'a str) -> Option<Cow<'a, str>> {
        let plain = |byte: u8| match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':' | b'/' | b'@' | b'+' | b'#' => {
                true
            }
            b'A'..=b'Z' => self.case == IdCase::Sensitive,
            _ => false,
        };
        if id.bytes().all(plain) {
            return (!id.is_empty()).then_some(Cow::Borrowed(id));
        }
        let canonical = self.undressed(id);
        (!canonical.is_empty()).then_some(Cow::Owned(canonical))
    }

    fn undressed(&self, id: &str) -> String {
        let letters = id.chars().filter_map(|c| match dress::letter(c) {
            Letter::Plain(c) => Some(c),
            Letter::SoftHyphen | Letter::Ignorable => None,
        });
        let composed: String = match self.case {
            IdCase::Sensitive => letters.nfc().collect(),
            IdCase::Insensitive => letters.nfc().flat_map(dress::lower_case).nfc().collect(),
        };
        let enclosing =
            |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '`' | '*');
        let mut id = composed;
        id.retain(|c| c != '\\');
        let trimmed = id.trim_matches(enclosing);
        if trimmed.len() < id.len() {
            trimmed.to_owned()
        } else {
            id
        }
    }

    /// Returns the distinct vendors that a text names, at most `most` of them.
    ///
    /// The text is read in up to five ways: unchanged, and undressed with marks of emphasis kept,
    /// dropped and replaced by blanks. An id that any of them finds counts: an id too many costs a
    /// refill, one too few would let an answer outlive its vendor's change.
    pub fn vendors_in(&self, text: &str, most: usize) -> Mentions {
        let mut ids: Vec<String> = Vec::new();
        let mut complete = true;
        for reading in readings::of(text) {
            self.each_vendor(&reading, |id| {
                let Some(id) = self.canonical(id) else { return };
                match ids.binary_search_by(|known| known.as_str().cmp(&id)) {
                    Ok(_) => {}
                    Err(_) if ids.len() == most => complete = false,
                    Err(at) => ids.insert(at, id.into_owned()),
                }
            });
        }
        Mentions { ids, complete }
    }

    fn each_vendor<'t>(&self, text: &'t str, mut take: impl FnMut(&'t str)) {
        // Without a capture group, the cheaper search without captures is enough.
        if self.vendor_pattern.captures_len() == 1 {
            self.vendor_pattern
                .find_iter(text)
                .for_each(|found| take(found.as_str()));
            return;
        }
        for captures in self.vendor_pattern.captures_iter(text) {
            if let Some(id) = captures.get(1).or_else(|| captures.get(0)) {
                take(id.as_str());
            }
        }
    }
}

/// Returns the pattern with every character undressed. A result that differs shows a pattern that
/// could not match, such as one with a no-break hyphen: ids are searched in text whose hyphens are
/// all `-`.
pub fn undressed_pattern(pattern: &str) -> String {
    pattern
        .chars()
        .filter_map(|c| match dress::letter(c) {
            Letter::Plain(c) => Some(c),
            Letter::SoftHyphen | Letter::Ignorable => None,
        })
        .nfc()
        .collect()
}
