//! The subdivisions of a country, by their codes and all their names.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use rust_iso3166::iso3166_2::{SUBDIVISION_COUNTRY_MAP, Subdivision};

use super::Names;
use super::country::Country;
use super::generic::{self, Sort};
use super::spelling::{Key, in_full, words};

/// The subdivisions of one country.
#[derive(Debug, Default)]
pub(super) struct Subdivisions {
    /// Subdivisions by code and name; `None` for a name of two subdivisions.
    exact: Names<Option<&'static str>>,
    /// Subdivisions by name without generic words; several can share one name.
    bare: Names<Vec<Entry>>,
}

/// The subdivision that a name belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// The part of its code after the country's.
    code: &'static str,
    /// Its type in ISO 3166-2.
    kind: &'static str,
}

/// Pairs of codes for one territory that is listed twice: a province of Spain that is also an
/// autonomous community, or an Estonian county of one municipality. The first code is used; the
/// second is read as the first.
const LISTED_TWICE: [(&str, &str); 8] = [
    ("EE-39", "EE-205"),
    ("ES-AS", "ES-O"),
    ("ES-CB", "ES-S"),
    ("ES-IB", "ES-PM"),
    ("ES-MC", "ES-MU"),
    ("ES-MD", "ES-M"),
    ("ES-NC", "ES-NA"),
    ("ES-RI", "ES-LO"),
];

/// The most generic words, or groups of them, that are removed from a name.
const MOST_GENERIC: usize = 4;

/// Every country's names, each built at first use.
static NAMES: LazyLock<HashMap<&str, OnceLock<Subdivisions>>> = LazyLock::new(|| {
    let codes = rust_iso3166::ALL_ALPHA2.iter();
    codes.map(|code| (*code, OnceLock::new())).collect()
});

/// Additional names that ISO 3166-2 does not have, by country and code.
static FURTHER_BY_COUNTRY: LazyLock<HashMap<&str, Vec<(&str, &str)>>> = LazyLock::new(|| {
    let mut by_country: HashMap<_, Vec<_>> = HashMap::new();
    for (code, names) in generic::table(include_str!("data/subdivisions.tsv")) {
        if let Some((country, code)) = code.split_once('-') {
            by_country.entry(country).or_default().push((code, names));
        }
    }
    by_country
});

impl Subdivisions {
    /// Returns the names of a country's subdivisions; `None` for a country that ISO 3166-1 does not
    /// list.
    pub(super) fn of(country: Country) -> Option<&'static Self> {
        let cell = NAMES.get(country.code())?;
        Some(cell.get_or_init(|| Self::build(country)))
    }

    /// Returns the code of the one subdivision that has this code or name.
    pub(super) fn exact(&self, words: &str) -> Option<&'static str> {
        let by = |words: &str| *self.exact.get(Key::of(words).as_str())?;
        by(words).or_else(|| by(&in_full(words)))
    }

    /// Returns the one subdivision whose name remains after generic words are removed, and whose
    /// type fits those words.
    pub(super) fn bare(&self, words: &str, country: Country) -> Option<&'static str> {
        let (mut rest, mut sort) = (words, None);
        for _ in 0..MOST_GENERIC {
            if let Some(code) = self.bare_as(rest, sort) {
                return Some(code);
            }
            let (shorter, of) = generic::without(rest, country.code())?;
            (rest, sort) = (shorter, sort.or(Some(of)));
            // `Province d'Anvers` has lost its apostrophe here, but not the letter.
            let elided = rest.strip_prefix(['d', 'l']);
            if let Some(code) = elided.and_then(|rest| self.bare_as(rest, sort)) {
                return Some(code);
            }
        }
        None
    }

    fn bare_as(&self, words: &str, sort: Option<Sort>) -> Option<&'static str> {
        let fits = |entry: &&Entry| sort.is_none_or(|sort| sort.fits(entry.kind));
        let mut fitting = self.bare.get(Key::of(words).as_str())?.iter().filter(fits);
        let first = fitting.next()?.code;
        fitting.all(|entry| entry.code == first).then_some(first)
    }

    fn build(country: Country) -> Self {
        let mut names = Self::default();
        let mut codes = Names::default();
        let listed = SUBDIVISION_COUNTRY_MAP.get(country.code()).copied();
        let listed = listed.unwrap_or_default();
        for of in listed {
            let entry = entry(of);
            codes.insert(boxed(&words(of.region_code)), Some(entry.code));
            variants(of.name).for_each(|name| names.add(&name, country, entry));
        }
        let further = FURTHER_BY_COUNTRY.get(country.code());
        for (code, all) in further.into_iter().flatten() {
            let of = listed.iter().find(|of| of.region_code == *code);
            // US postal states abroad and Greater London are not on the list.
            let entry = of.map_or(
                Entry {
                    code,
                    kind: "State",
                },
                entry,
            );
            codes.entry(boxed(&words(code))).or_insert(Some(entry.code));
            all.split('|')
                .for_each(|name| names.add(name, country, entry));
        }
        // A code is never read as another subdivision's name.
        names.exact.extend(codes);
        names
    }

    fn add(&mut self, name: &str, country: Country, entry: Entry) {
        self.add_as(name, country, entry);
        // Spellings of keyboards without these letters.
        let spelt_out = [
            ("ä", "ae"),
            ("ö", "oe"),
            ("ü", "ue"),
            ("ø", "oe"),
            ("å", "aa"),
        ];
        let small = name.to_lowercase();
        if spelt_out.iter().any(|(letter, _)| small.contains(letter)) {
            let out = spelt_out
                .iter()
                .fold(small, |name, (letter, out)| name.replace(letter, out));
            self.add_as(&out, country, entry);
        }
    }

    fn add_as(&mut self, name: &str, country: Country, entry: Entry) {
        let words = words(name);
        for words in [&*words, &in_full(&words)] {
            if words.is_empty() {
                continue;
            }
            let known = self.exact.entry(boxed(words)).or_insert(Some(entry.code));
            // A name of two subdivisions is undecided.
            known.take_if(|known| *known != entry.code);
            let mut rest = Some(words);
            while let Some(name) = rest {
                let entries = self.bare.entry(boxed(name)).or_default();
                if !entries.contains(&entry) {
                    entries.push(entry);
                }
                rest = generic::without(name, country.code()).map(|(shorter, _)| shorter);
            }
        }
    }
}

/// Returns the ISO 3166-2 name of a code of the country.
pub(super) fn name(country: Country, code: &str) -> Option<&'static str> {
    let listed = SUBDIVISION_COUNTRY_MAP.get(country.code()).copied()?;
    let of = listed.iter().find(|of| of.region_code == code);
    of.map(|of| of.name)
}

fn boxed(words: &str) -> Box<str> {
    Key::of(words).as_str().into()
}

fn entry(of: &Subdivision) -> Entry {
    let twice = LISTED_TWICE.iter().find(|(_, other)| *other == of.code);
    let code = twice.and_then(|(stands, _)| stands.split_once('-'));
    Entry {
        code: code.map_or(of.region_code, |(_, code)| code),
        kind: of.subdivision_type,
    }
}

/// Returns the name in the form of the list and in the forms that people read: `Edinburgh, City of`
/// also as `City of Edinburgh`, `Bolivia (Plurinational State of)` also as `Bolivia` and as
/// `Plurinational State of Bolivia`.
pub(super) fn variants(name: &str) -> impl Iterator<Item = String> {
    let turned = name
        .split_once(", ")
        .map(|(head, tail)| format!("{tail} {head}"));
    let bracketed = name.split_once(" (").map(|(head, inside)| {
        let inside = inside.trim_end_matches(')');
        [head.to_owned(), format!("{inside} {head}")]
    });
    std::iter::once(name.to_owned())
        .chain(turned)
        .chain(bracketed.into_iter().flatten())
}
