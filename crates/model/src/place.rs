//! Places: the ten major markets by city and state, everything else by state.
//!
//! One place has one key, however it is written: the same state is given as `TX`, `Texas`, `Tex.`,
//! `US-TX`, `TX, USA`; or as `Québec`, `QUEBEC`, `QC`. The codes of a place are those of ISO 3166,
//! in the US the postal ones. A name of two places in one country is assigned to neither: it
//! remains text, like an unknown name.
//!
//! | given | place |
//! |---|---|
//! | a market | `City_ST` |
//! | a state or territory of the US | `ST`; also if a territory is given as the country |
//! | the US without a state | `US` |
//! | a subdivision abroad | `CC-ST` |
//! | a country as its own state, as `Singapore, Singapore` | `CC-CC` |
//! | a country that is also a part of another one, as French Guiana | that country's |
//! | an unknown name | the text in capitals, without punctuation, in place of the code |

mod country;
mod generic;
mod spelling;
mod state;
mod subdivisions;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::RandomState;

use country::Country;
use spelling::{Key, in_capitals, in_full, words};
use state::State;

use super::event::Location;

/// Values by name. All names come from this program, so nobody can make them collide on purpose.
type Names<T> = HashMap<Box<str>, T, RandomState>;

/// A market whose answers are separate from those of its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Market {
    pub city: String,
    pub state: String,
    /// Other names of the city, such as `NYC`.
    pub aliases: Vec<String>,
}

/// Names places in the form of keys and tags.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// State → city in its compared form → `City_ST`.
    markets: Names<Names<String>>,
}

/// Territories of the US that ISO 3166-1 lists as countries. They count as states of the US,
/// whatever state is given with them.
const TERRITORIES: [&str; 6] = ["AS", "GU", "MP", "PR", "UM", "VI"];
/// Countries that US postal codes treat as states; their own states are abroad.
const ASSOCIATED: [&str; 3] = ["FM", "MH", "PW"];

impl Places {
    pub fn new(markets: &[Market]) -> Self {
        let mut by_state: Names<Names<String>> = Names::default();
        for market in markets {
            let state = state_code(&market.state).unwrap_or(&market.state);
            let place = format!("{}_{state}", market.city);
            let cities = by_state.entry(state.into()).or_default();
            for name in std::iter::once(&market.city).chain(&market.aliases) {
                let known = cities.entry(Key::of(&in_full(&words(name))).as_str().into());
                known.or_insert_with(|| place.clone());
            }
        }
        Self { markets: by_state }
    }

    /// Returns `City_ST` for a major market, `ST` for other places in the US, `CC-ST` elsewhere;
    /// not yet percent-encoded.
    pub fn place<S: AsRef<str>>(&self, location: &Location<S>) -> String {
        let (city, state) = (location.city.as_ref(), location.state.as_ref());
        let country = location.country.as_ref();
        match Country::of(country) {
            Some(country) => self.place_in(country, city, state),
            None => self.read(&unknown(country, state)),
        }
    }

    /// Returns today's form of `place`, which an older version with fewer known spellings may have
    /// written; borrows `place` if it is in today's form. Not percent-encoded.
    ///
    /// A former market becomes its state.
    pub fn canonical<'a>(&self, place: &'a str) -> Cow<'a, str> {
        if is_code(place) || self.is_market(place) {
            return Cow::Borrowed(place);
        }
        let canonical = self.read(place);
        if canonical == place {
            Cow::Borrowed(place)
        } else {
            Cow::Owned(canonical)
        }
    }

    /// Returns the place of a location in an earlier or today's form.
    fn read(&self, place: &str) -> String {
        // `AR-K` is Catamarca, although `Ark.` is Arkansas.
        if let Some((country, state)) = place.split_once('-')
            && is_code(country)
            && let Some(country) = Country::of(country)
        {
            return self.place_in(country, "", state);
        }
        if let Some((city, state)) = place.rsplit_once('_')
            && let State::Code(state) = State::of(Country::US, state)
        {
            return self.place_in(Country::US, city, state);
        }
        if let (State::Text(_), Some((country, state))) =
            (State::of(Country::US, place), place.split_once('-'))
        {
            // Handles `AUSTRALIA-NSW`, and `GUINEA-BISSAU-BISSAU` by the longest country name that
            // fits.
            let parts = place.match_indices('-').map(|(at, _)| place.split_at(at));
            let parts = parts.take_while(|(country, _)| country.len() <= state::LONGEST);
            let known = parts.filter_map(|(country, state)| Some((Country::of(country)?, state)));
            return match known.last() {
                Some((country, state)) => self.place_in(country, "", state),
                None => unknown(country, state),
            };
        }
        self.place_in(Country::US, "", place)
    }

    fn place_in(&self, country: Country, city: &str, state: &str) -> String {
        let code = country.code();
        if TERRITORIES.contains(&code) {
            return code.to_owned();
        }
        if country == Country::US && is_code(state) {
            return self.us_place(city, state);
        }
        match State::of(country, state) {
            State::Country if country == Country::US || ASSOCIATED.contains(&code) => {
                code.to_owned()
            }
            State::Code(state) if country == Country::US => self.us_place(city, state),
            State::Text(state) if country == Country::US => self.us_place(city, &state),
            State::Country => format!("{code}-{code}"),
            State::Code(state) => format!("{code}-{state}"),
            State::Text(state) => format!("{code}-{state}"),
            State::Elsewhere(place) => place,
        }
    }

    fn us_place(&self, city: &str, state: &str) -> String {
        self.market(city, state).unwrap_or(state).to_owned()
    }

    fn is_market(&self, place: &str) -> bool {
        let cities = place
            .rsplit_once('_')
            .and_then(|(_, state)| self.markets.get(state));
        cities.is_some_and(|cities| cities.values().any(|of| of == place))
    }

    fn market(&self, city: &str, state: &str) -> Option<&str> {
        let cities = self.markets.get(state)?;
        let words = words(city);
        let key = Key::of(&in_full(&words));
        if let Some(place) = cities.get(key.as_str()) {
            return Some(place);
        }
        // Most cities are not a market in any spelling. The parts that `towns` removes stand before
        // or after the name, so a city whose text does not begin with a market's name needs no
        // further look.
        let begins = |key: &str| cities.keys().any(|city| key.starts_with(&**city));
        let key = key.as_str();
        let bare = key.strip_prefix("the").unwrap_or(key);
        if !begins(key) && !bare.strip_prefix("cityof").is_some_and(begins) {
            return None;
        }
        let named = |words: &str| cities.get(Key::of(&in_full(words)).as_str());
        let place = state::towns(&words, state).find_map(named);
        place.map(String::as_str)
    }
}

/// Returns the code of the state or territory of the US that the text names.
pub fn state_code(text: &str) -> Option<&'static str> {
    match State::of(Country::US, text) {
        State::Code(code) => Some(code),
        _ => None,
    }
}

/// Returns the common form of all spellings of a city in a state of the US.
pub fn city_key(city: &str, state: &str) -> String {
    let words = words(city);
    let town = state::towns(&words, state).last().unwrap_or(&words);
    Key::of(&in_full(town)).as_str().to_owned()
}

/// Returns the place with the names of its codes, for readers who do not know the codes:
/// `IT-52 (Toscana, Italy)`. Places in the US are returned unchanged: their codes are well known.
pub fn in_words(place: &str) -> Cow<'_, str> {
    let named = place.split_once('-').and_then(|(country, state)| {
        let country = Country::of(country).filter(|of| of.code() == country)?;
        let of = country.name()?;
        Some(match subdivisions::name(country, state) {
            Some(name) => format!("{place} ({name}, {of})"),
            None => format!("{place} ({of})"),
        })
    });
    named.map_or(Cow::Borrowed(place), Cow::Owned)
}

/// Returns whether the text has the form of a state or country code, as in nearly all records.
fn is_code(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Returns the place of a state in an unknown country.
fn unknown(country: &str, state: &str) -> String {
    let capitals = |text| in_capitals(&words(text));
    format!("{}-{}", capitals(country), capitals(state))
}
