//! Places: the ten major markets by city and state, everything else by state.
//!
//! One place has one key, however it is written: the same state comes as `TX`, `Texas`, `Tex.`,
//! `US-TX`, `TX, USA`; as `Québec`, `QUEBEC`, `QC`. The codes of a place are those of ISO 3166,
//! in the US those of the mail. A name that stands for two places of one country is decided for
//! neither: it stays text, as does what is not known.
//!
//! | given | place |
//! |---|---|
//! | a market | `City_ST` |
//! | a state or territory of the US | `ST`; also where a territory is given as the country |
//! | the US without a state | `US` |
//! | a subdivision abroad | `CC-ST` |
//! | a country for its own state, as `Singapore, Singapore` | `CC-CC` |
//! | a country that is also a part of another one, as French Guiana | that country's |
//! | what is not known | where the code would stand, the text in capitals, without punctuation |

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

/// Values by name. The names are this program's own, so that nobody can make them collide.
type Names<T> = HashMap<Box<str>, T, RandomState>;

/// A market whose answers are kept apart from its state's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Market {
    pub city: String,
    pub state: String,
    /// Other names of the city, such as `NYC`.
    pub aliases: Vec<String>,
}

/// Names places the way keys and tags do.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// State → city as it is compared → `City_ST`.
    markets: Names<Names<String>>,
}

/// Territories of the US that ISO 3166-1 lists as countries: states of the US, whatever is given
/// for their own.
const TERRITORIES: [&str; 6] = ["AS", "GU", "MP", "PR", "UM", "VI"];
/// Countries that are states for the mail of the US; their own states are abroad.
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

    /// Returns the place that `place` is today, as a version that took more spellings for places
    /// of their own wrote it: the same text where it is today's already. Not percent-encoded.
    ///
    /// A market that is none any more is its state.
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

    /// Returns the place that was made of a location, in today's spelling or another.
    fn read(&self, place: &str) -> String {
        // `AR-K` is Catamarca, though `Ark.` is Arkansas.
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
            // `AUSTRALIA-NSW`, and `GUINEA-BISSAU-BISSAU` with the longest name that fits.
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
        // Most cities are no market in any dress: what is taken off stands before or behind one.
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

/// Returns what all spellings of a city of a state of the US have in common.
pub fn city_key(city: &str, state: &str) -> String {
    let words = words(city);
    let town = state::towns(&words, state).last().unwrap_or(&words);
    Key::of(&in_full(town)).as_str().to_owned()
}

/// Returns the place with the names behind its codes, for readers who do not know the codes:
/// `IT-52 (Toscana, Italy)`. Those of the US everybody knows.
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

/// Returns whether the text is the code of a state or country as nearly all records have it.
fn is_code(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Returns the place of a state in a country that is not known.
fn unknown(country: &str, state: &str) -> String {
    let capitals = |text| in_capitals(&words(text));
    format!("{}-{}", capitals(country), capitals(state))
}
