//! Countries by their codes and names.

use std::sync::LazyLock;

use super::Names;
use super::generic::table;
use super::spelling::{Key, in_full, words};
use super::subdivisions::variants;

/// A country by its ISO 3166-1 alpha-2 code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Country(&'static str);

/// The most words of a country's name that are searched for in an address.
const MOST_WORDS: usize = 5;

/// Countries by code and name; `None` for a name of two countries.
static BY_NAME: LazyLock<Names<Option<Country>>> = LazyLock::new(|| {
    let mut by_name = Names::default();
    let keys = |name: &str| {
        let words = words(name);
        [Key::of(&words), Key::of(&in_full(&words))].map(|key| Box::from(key.as_str()))
    };
    for of in rust_iso3166::ALL {
        let country = Some(Country(of.alpha2));
        let codes = [of.alpha2, of.alpha3].map(ToOwned::to_owned);
        let numbers = [of.numeric.to_string(), of.numeric_str()];
        let names = codes.into_iter().chain(numbers).chain(variants(of.name));
        for key in names.flat_map(|name| keys(&name)) {
            let known = by_name.entry(key).or_insert(country);
            known.take_if(|known| Some(*known) != country);
        }
    }
    // This table decides the meaning of ambiguous names such as `Korea` and `Congo`.
    for (code, names) in table(include_str!("data/countries.tsv")) {
        let keys = names.split('|').flat_map(keys);
        by_name.extend(keys.map(|key| (key, Some(Country(code)))));
    }
    by_name
});

impl Country {
    pub(super) const US: Self = Self("US");

    pub(super) fn code(self) -> &'static str {
        self.0
    }

    /// Returns the English short name of ISO 3166-1.
    pub(super) fn name(self) -> Option<&'static str> {
        rust_iso3166::from_alpha2(self.0).map(|of| of.name)
    }

    /// Returns the country that the text names; the US if the text is empty, because records leave
    /// it out.
    pub(super) fn of(text: &str) -> Option<Self> {
        if text == "US" {
            return Some(Self::US);
        }
        let words = words(text);
        if words.is_empty() {
            return Some(Self::US);
        }
        Self::named(&words).or_else(|| Self::in_parts(text))
    }

    /// Returns the country with this code or name.
    pub(super) fn named(words: &str) -> Option<Self> {
        let by = |words: &str| *BY_NAME.get(Key::of(words).as_str())?;
        by(words)
            .or_else(|| by(&in_full(words)))
            .or_else(|| by(words.strip_prefix("the ")?))
    }

    /// Returns the country that one part of the text names, as in `Canada (CA)`; `None` if two
    /// parts name different countries.
    fn in_parts(text: &str) -> Option<Self> {
        let parts = text.split([',', ';', '/', '|', '(', ')', '[', ']']);
        let mut named = parts.filter_map(|part| Self::named(&words(part)));
        let first = named.next()?;
        named.all(|country| country == first).then_some(first)
    }

    /// Removes the country's name from the beginning or the end of the words, if other words
    /// remain.
    pub(super) fn without_name(self, words: &str) -> Option<&str> {
        let named = |name: &str| BY_NAME.get(Key::of(name).as_str()) == Some(&Some(self));
        // The longest matching name is taken.
        let behind = words.rmatch_indices(' ').take(MOST_WORDS);
        let behind = behind.filter(|(at, _)| named(&words[at + 1..])).last();
        let ahead = words.match_indices(' ').take(MOST_WORDS);
        let ahead = ahead.filter(|(at, _)| named(&words[..*at])).last();
        match (behind, ahead) {
            (Some((at, _)), _) => Some(&words[..at]),
            (None, Some((at, _))) => Some(&words[at + 1..]),
            (None, None) => None,
        }
    }
}
