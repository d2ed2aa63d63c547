//! Ids of vendors, weddings and users: their one canonical form, and how they are found in texts.
//!
//! People and models write one id in many ways: another hyphen, another case, zero-width characters,
//! full-width letters, Markdown around or inside. All of these are *dress*. A tag holds the canonical
//! form, whatever dress the id came in: in a query, an answer, a change event or a record key.
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

/// Whether ids that differ in case alone are one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdCase {
    /// `V-17` is `v-17`.
    #[default]
    Insensitive,
    /// They are two ids.
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

/// A platform's ids.
#[derive(Debug, Clone)]
pub struct Ids {
    case: IdCase,
    /// Finds vendor ids in undressed text; capture group 1 is the id where there is one, else the
    /// whole match.
    vendor_pattern: Regex,
}

/// The vendors that a text names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mentions {
    /// In canonical form, sorted, each once.
    pub ids: Vec<String>,
    /// False where the text names more than were asked for.
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

    /// The pattern as it was given.
    pub fn vendor_pattern(&self) -> &str {
        self.vendor_pattern.as_str()
    }

    /// The canonical form of an id; `None` where nothing of it is left, as of white space only.
    /// Borrows what is canonical already, as nearly all ids are.
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

    /// The distinct vendors that a text names, at most `most` of them.
    ///
    /// The text is read in up to five ways: as it stands, and undressed with marks of emphasis kept,
    /// dropped and replaced by blanks. What any of them finds counts: an id too many costs a refill,
    /// one too few would let an answer outlive its vendor's change.
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
        // Without a group of its own, the cheaper search that captures nothing.
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

/// The pattern with every character of it undressed; differs from a pattern that could not match,
/// such as one with a no-break hyphen: ids are searched in text whose hyphens are all `-`.
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
