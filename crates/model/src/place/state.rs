//! The text that is given for a state: its code or name, perhaps with other words.

use std::borrow::Cow;

use super::country::Country;
use super::spelling::{in_capitals, in_full, words};
use super::subdivisions::Subdivisions;
use crate::text::dress::is_dash;

/// The meaning of a text that was given for a state of a country.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A subdivision: the part of its code after the country's.
    Code(&'static str),
    /// The country itself.
    Country,
    /// A place elsewhere, or one that has another country's code.
    Elsewhere(String),
    /// An unknown or ambiguous text, in the form that a place holds.
    Text(String),
}

/// Countries of ISO 3166-1 that people also write as parts of another country.
const PARTS: [(&str, &[&str]); 9] = [
    ("AU", &["CC", "CX", "HM", "NF"]),
    ("CN", &["HK", "MO", "TW"]),
    ("DK", &["FO", "GL"]),
    ("FI", &["AX"]),
    (
        "FR",
        &[
            "BL", "GF", "GP", "MF", "MQ", "NC", "PF", "PM", "RE", "TF", "WF", "YT",
        ],
    ),
    (
        "GB",
        &[
            "AI", "BM", "FK", "GG", "GI", "GS", "IM", "IO", "JE", "KY", "MS", "PN", "SH", "TC",
            "VG",
        ],
    ),
    ("NL", &["AW", "BQ", "CW", "SX"]),
    ("NO", &["BV", "SJ"]),
    ("NZ", &["CK", "NU", "TK"]),
];

/// ISO 3166-2 codes of territories that are also a country of ISO 3166-1, or a part of one.
const ALSO_COUNTRIES: [(&str, &str); 24] = [
    ("CN-HK", "HK-HK"),
    ("CN-MO", "MO-MO"),
    ("CN-TW", "TW-TW"),
    ("FI-01", "AX-AX"),
    ("FR-971", "GP-GP"),
    ("FR-972", "MQ-MQ"),
    ("FR-973", "GF-GF"),
    ("FR-974", "RE-RE"),
    ("FR-976", "YT-YT"),
    ("FR-BL", "BL-BL"),
    ("FR-MF", "MF-MF"),
    ("FR-NC", "NC-NC"),
    ("FR-PF", "PF-PF"),
    ("FR-PM", "PM-PM"),
    ("FR-TF", "TF-TF"),
    ("FR-WF", "WF-WF"),
    ("NL-AW", "AW-AW"),
    ("NL-BQ1", "BQ-BO"),
    ("NL-BQ2", "BQ-SA"),
    ("NL-BQ3", "BQ-SE"),
    ("NL-CW", "CW-CW"),
    ("NL-SX", "SX-SX"),
    ("NO-21", "SJ-SVALBARD"),
    ("NO-22", "SJ-JAN MAYEN"),
];

/// The longest text that can name a place, in bytes; a record's text can be far longer.
pub(super) const LONGEST: usize = 160;
/// The most words of a state's name that are searched for in an address.
const MOST_WORDS: usize = 5;

impl State {
    /// Returns the meaning of `text` as a state of the country.
    pub(super) fn of(country: Country, text: &str) -> Self {
        let words = words(text);
        if words.len() > LONGEST {
            return Self::Text(in_capitals(&words));
        }
        let listed = Subdivisions::of(country);
        let exact = |words: &str| listed?.exact(words);
        if let Some(code) = exact(&words) {
            return Self::known(country, code);
        }
        match Country::named(&words) {
            Some(named) if named == country => return Self::Country,
            Some(part) if owns(country, part) => {
                return Self::Elsewhere(format!("{0}-{0}", part.code()));
            }
            _ => {}
        }
        let code = in_parts(text, exact).or_else(|| match in_full(&words) {
            Cow::Borrowed(words) => trimmed(country, words),
            Cow::Owned(full) => trimmed(country, &words).or_else(|| trimmed(country, &full)),
        });
        match code {
            Some(code) => Self::known(country, code),
            None => elsewhere(country, text)
                .map_or_else(|| Self::Text(in_capitals(&words)), Self::Elsewhere),
        }
    }

    fn known(country: Country, code: &'static str) -> Self {
        let is = |of: &str| of.split_once('-') == Some((country.code(), code));
        let place = ALSO_COUNTRIES.iter().find(|(of, _)| is(of));
        place.map_or(Self::Code(code), |(_, place)| {
            Self::Elsewhere((*place).to_owned())
        })
    }
}

fn owns(country: Country, part: Country) -> bool {
    let parts = PARTS.iter().find(|(code, _)| *code == country.code());
    parts.is_some_and(|(_, parts)| parts.contains(&part.code()))
}

/// Returns the subdivision that a part of the text names, as in `Austin, TX`, `Texas (TX)` and
/// `Bozen/Bolzano`; `None` if two parts name different ones.
fn in_parts<'a>(text: &str, exact: impl Fn(&str) -> Option<&'a str>) -> Option<&'a str> {
    let ends = [
        ',', ';', '/', '|', '(', ')', '[', ']', '\u{ff0c}', '\u{3001}',
    ];
    if !text.contains(ends) {
        return None;
    }
    let parts = text.split(ends);
    let mut codes = parts.filter_map(|part| exact(&words(part)));
    let first = codes.next()?;
    codes.all(|code| code == first).then_some(first)
}

/// Returns the subdivision named by the words after generic words, a post code and the country's
/// name are removed.
fn trimmed(country: Country, words: &str) -> Option<&'static str> {
    let names = Subdivisions::of(country)?;
    names.bare(words, country).or_else(|| {
        let address = without_post_code(words).unwrap_or(words);
        let rest = country.without_name(address).unwrap_or(address);
        if rest.len() == words.len() {
            return None;
        }
        names.exact(rest).or_else(|| names.bare(rest, country))
    })
}

/// Removes a number of four digits or more from the end, as in `TX 78701` and `NSW 2000`.
fn without_post_code(words: &str) -> Option<&str> {
    let (rest, last) = words.rsplit_once(' ')?;
    let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    // `78701-1234` consists of two words.
    let rest = match rest.rsplit_once(' ') {
        Some((before, first)) if first.len() == 5 && is_number(first) && last.len() == 4 => before,
        _ => rest,
    };
    (last.len() >= 4 && is_number(last)).then_some(rest)
}

/// Returns the place abroad that the text itself names although the country is the US, which is
/// also the country if none is given: `AU-NSW`; `Ontario, Canada`.
fn elsewhere(country: Country, text: &str) -> Option<String> {
    if country != Country::US {
        return None;
    }
    let (state, country) = match text.split_once(is_dash) {
        Some((country, state)) if words(country).len() == 2 => (state, words(country)),
        // After a comma, two letters are a state's code rather than a country's.
        _ => {
            let (state, country) = text.rsplit_once(',')?;
            (state, Some(words(country)).filter(|name| name.len() > 3)?)
        }
    };
    let country = Country::named(&country).filter(|named| *named != Country::US)?;
    match State::of(country, state) {
        State::Code(code) => Some(format!("{}-{code}", country.code())),
        State::Elsewhere(place) => Some(place),
        _ => None,
    }
}

/// Returns the texts that may be the name of a city of the US: the words without `City of`, and
/// without its state, the country and a post code after it; the shortest last.
pub(super) fn towns<'a>(words: &'a str, state: &str) -> impl Iterator<Item = &'a str> {
    let city_of = |words: &'a str| {
        let words = words.strip_prefix("the ").unwrap_or(words);
        words.strip_prefix("city of ")
    };
    let address = without_post_code(words).unwrap_or(words);
    let address = Country::US.without_name(address).unwrap_or(address);
    let is_state = |at: usize| {
        let names = Subdivisions::of(Country::US);
        names.and_then(|names| names.exact(&address[at + 1..])) == Some(state)
    };
    let ends = address.rmatch_indices(' ').take(MOST_WORDS);
    let end = ends.filter(|(at, _)| is_state(*at)).last();
    let town = end.map_or(address, |(at, _)| &address[..at]);
    // `New York, New York` must match before the state is removed from `City of New York`.
    [city_of(words), Some(town), city_of(town)]
        .into_iter()
        .flatten()
}
