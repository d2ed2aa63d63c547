//! Properties of every known place: in any dress it is the same place, and no other's.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use proptest::prelude::*;
use rust_iso3166::iso3166_2::SUBDIVISION_COUNTRY_MAP;
use unicode_normalization::UnicodeNormalization;

use super::super::generic::table;
use super::super::subdivisions::Subdivisions;
use super::*;

/// A known place as it is given.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    country: &'static str,
    state: &'static str,
}

impl Known {
    fn place(&self) -> String {
        place("x", self.state, self.country)
    }
}

/// Every state and territory of the US, every subdivision and every country, by the codes and names
/// of the list.
static LISTED: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let mut all = Vec::new();
    let mut add = |country, state| all.push(Known { country, state });
    for country in rust_iso3166::ALL {
        for name in [country.alpha2, country.alpha3, country.name] {
            add(country.name, name);
        }
        for of in subdivisions(country.alpha2) {
            add(country.alpha2, of.region_code);
            add(country.alpha2, of.name);
        }
    }
    all
});

/// The listed places and the additional names.
static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let of = |(code, names): (&'static str, &'static str)| {
        let (country, code) = code.split_once('-').unwrap();
        let names = std::iter::once(code).chain(names.split('|'));
        names.map(move |state| Known { country, state })
    };
    LISTED
        .iter()
        .cloned()
        .chain(further().flat_map(of))
        .collect()
});

fn further() -> impl Iterator<Item = (&'static str, &'static str)> {
    table(include_str!("../data/subdivisions.tsv"))
}

fn subdivisions(country: &str) -> &'static [rust_iso3166::iso3166_2::Subdivision] {
    let of = SUBDIVISION_COUNTRY_MAP.get(country).copied();
    of.unwrap_or_default()
}

/// A change of spelling that leaves a name the same.
#[derive(Debug, Clone, Copy)]
enum Dress {
    Capitals,
    Small,
    Composed,
    Decomposed,
    WithoutMarks,
    Wide,
    /// The text added after each initial.
    Stops(&'static str),
    /// The text in place of each blank, and added at both ends.
    Blanks(&'static str),
    Curly,
    /// The character inserted after the first one.
    Hidden(char),
}

const DRESSES: [Dress; 24] = [
    Dress::Capitals,
    Dress::Small,
    Dress::Composed,
    Dress::Decomposed,
    Dress::WithoutMarks,
    Dress::Wide,
    Dress::Stops("."),
    Dress::Stops(". "),
    Dress::Blanks("  "),
    Dress::Blanks("\t"),
    Dress::Blanks("\u{85}"),
    Dress::Blanks("\u{a0}"),
    Dress::Blanks("\u{2002}"),
    Dress::Blanks("\u{2009}"),
    Dress::Blanks("\u{2028}"),
    Dress::Blanks("\u{202f}"),
    Dress::Blanks("\u{3000}"),
    Dress::Blanks("-"),
    Dress::Blanks("_"),
    Dress::Curly,
    Dress::Hidden('\u{ad}'),
    Dress::Hidden('\u{200b}'),
    Dress::Hidden('\u{200e}'),
    Dress::Hidden('\u{feff}'),
];

fn dresses() -> impl Strategy<Value = Vec<Dress>> {
    prop::collection::vec(prop::sample::select(&DRESSES[..]), 0..5)
}

impl Dress {
    fn on(self, mut text: String) -> String {
        match self {
            Self::Capitals => text.to_uppercase(),
            Self::Small => text.to_lowercase(),
            Self::Composed => text.nfc().collect(),
            Self::Decomposed => text.nfd().collect(),
            Self::WithoutMarks => {
                let marks = '\u{300}'..='\u{36f}';
                text.nfd().filter(|c| !marks.contains(c)).nfc().collect()
            }
            Self::Wide => {
                let widened = |c: char| match c {
                    '!'..='~' => char::from_u32(u32::from(c) + 0xfee0).unwrap(),
                    c => c,
                };
                text.chars().map(widened).collect()
            }
            Self::Stops(stop) => {
                let is_initials = text.len() <= 4 && text.bytes().all(|c| c.is_ascii_uppercase());
                if is_initials {
                    let letters: Vec<_> = text.chars().map(String::from).collect();
                    text = letters.join(stop) + stop;
                }
                text
            }
            Self::Blanks(blank) => format!("{blank}{}{blank}", text.replace(' ', blank)),
            Self::Curly => text.replace('\'', "’"),
            Self::Hidden(hidden) => {
                let second = text.char_indices().nth(1);
                text.insert(second.map_or(text.len(), |(at, _)| at), hidden);
                text
            }
        }
    }
}

fn dressed(name: &str, dresses: &[Dress]) -> String {
    dresses
        .iter()
        .fold(name.to_owned(), |text, dress| dress.on(text))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_known_place_in_any_dress_is_the_same(
        at in any::<prop::sample::Index>(),
        state_dress in dresses(),
        country_dress in dresses(),
    ) {
        let known = at.get(&KNOWN);
        let state = dressed(known.state, &state_dress);
        let country = dressed(known.country, &country_dress);
        prop_assert_eq!(place("x", &state, &country), known.place(), "{:?}, {:?}", state, country);
    }

    /// The place of any known place or text is canonical, and does not change when its parts are
    /// given again.
    #[test]
    fn a_place_is_the_place_of_its_parts(
        at in any::<prop::sample::Index>(),
        city in "(Austin|LA|x).{0,3}",
        state in ".{0,12}|[A-Z]{1,3}[- .,_][a-z]{0,4}",
        country in ".{0,6}|US|AU|New",
    ) {
        let places = places();
        for place in [at.get(&KNOWN).place(), places.place(&location(&city, &state, &country))] {
            prop_assert!(matches!(places.canonical(&place), Cow::Borrowed(_)), "{:?}", place);
            let again = match place.split_once('-') {
                Some((country, state)) => location("x", state, country),
                None => match place.rsplit_once('_') {
                    Some((city, state)) => location(city, state, "US"),
                    None => location("x", &place, "US"),
                },
            };
            prop_assert_eq!(places.place(&again), place);
        }
    }

    #[test]
    fn reading_a_place_twice_changes_nothing(text in ".{0,16}|[A-Z]{2}[-_].{0,8}|.{0,8}_TX") {
        let places = places();
        let once = places.canonical(&text).into_owned();
        prop_assert_eq!(places.canonical(&once), once.as_str());
    }
}

#[test]
fn codes_that_differ_are_places_that_differ() {
    let listed_twice = [
        "EE-205", "ES-LO", "ES-M", "ES-MU", "ES-NA", "ES-O", "ES-PM", "ES-S",
    ];
    for country in rust_iso3166::ALL
        .iter()
        .filter(|country| country.alpha2 != "UM")
    {
        let of = |of: &str| super::place("x", of, country.alpha2);
        let listed = subdivisions(country.alpha2).iter();
        let listed = listed.filter(|of| !listed_twice.contains(&of.code));
        let by_place: HashMap<_, _> = listed.clone().map(|s| (of(s.region_code), s)).collect();
        assert_eq!(by_place.len(), listed.clone().count(), "{}", country.name);
        // A name is either its code's place, or shared by two places and assigned to neither.
        for named in listed {
            let other = by_place
                .get(&of(named.name))
                .filter(|of| of.code != named.code);
            assert_eq!(other, None, "{} {}", named.code, named.name);
        }
    }
}

#[test]
fn what_is_undecided_is_the_name_of_two() {
    let decided = |known: &&Known| {
        let place = known.place();
        let Some((country, state)) = place.split_once('-') else {
            return place.len() == 2;
        };
        let listed = subdivisions(country)
            .iter()
            .any(|of| of.region_code == state);
        listed || country == state || country == "SJ"
    };
    let undecided = LISTED.iter().filter(|known| !decided(known));
    let undecided: BTreeSet<_> = undecided
        .map(|known| format!("{}: {}", known.country, known.state))
        .collect();
    insta::assert_snapshot!(Vec::from_iter(undecided).join("\n"));
}

#[test]
fn two_letters_are_the_same_state_in_either_case() {
    for first in b'A'..=b'Z' {
        for second in b'A'..=b'Z' {
            let code = String::from_utf8(vec![first, second]).unwrap();
            assert_eq!(place("x", &code.to_lowercase(), "US"), code);
        }
    }
}

#[track_caller]
fn is_sorted(rows: impl Iterator<Item = (&'static str, &'static str)>) {
    let codes: Vec<_> = rows.map(|(code, _)| code).collect();
    assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
}

#[test]
fn a_name_of_a_country_is_of_no_other() {
    let further = || table(include_str!("../data/countries.tsv"));
    is_sorted(further());
    let all = further().flat_map(|(code, names)| names.split('|').map(move |name| (code, name)));
    let listed = rust_iso3166::ALL
        .iter()
        .flat_map(|of| [of.alpha2, of.alpha3, of.name].map(|name| (of.alpha2, name)));
    for (code, name) in all.chain(listed) {
        assert_eq!(Country::of(name).map(Country::code), Some(code), "{name}");
    }
}

#[test]
fn a_further_name_is_of_no_other_subdivision() {
    is_sorted(further());
    let unlisted = [
        "GB-LONDON",
        "US-AA",
        "US-AE",
        "US-AP",
        "US-FM",
        "US-MH",
        "US-PW",
    ];
    for (code, names) in further() {
        let (country, state) = code.split_once('-').unwrap();
        let listed = subdivisions(country).iter().any(|of| of.code == code);
        assert!(listed != unlisted.contains(&code), "{code}");
        let country = Country::of(country).unwrap();
        for name in names.split('|') {
            let found = Subdivisions::of(country).unwrap().exact(&words(name));
            let of_two = (code, name) == ("AR-C", "Buenos Aires");
            assert!(found == Some(state) || of_two, "{code} {name} is {found:?}");
        }
    }
}

#[test]
fn generic_words_stand_as_they_are_compared() {
    for (kind, all) in table(include_str!("../data/generic.tsv")) {
        assert!(
            ["joint", "us", "area", "district", "town"].contains(&kind),
            "{kind}"
        );
        for word in all.split('|') {
            assert_eq!(words(word), word);
        }
    }
}

#[test]
fn no_name_is_longer_than_what_is_looked_up() {
    let longest = KNOWN.iter().map(|known| words(known.state).len()).max();
    assert!(
        longest.is_some_and(|len| len < state::LONGEST),
        "{longest:?}"
    );
}
