//! Places: the ten major markets by city and state, everything else by state.

use std::borrow::Cow;
use std::collections::HashMap;

use super::event::Location;
use super::text::normalise;

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
    /// Normalised city → (state, `City_ST`); a city name can stand for markets in several states.
    markets: HashMap<String, Vec<(String, String)>>,
}

impl Places {
    pub fn new(markets: &[Market]) -> Self {
        let mut by_city: HashMap<String, Vec<(String, String)>> = HashMap::new();
        for market in markets {
            let state = state_code(&market.state).into_owned();
            let place = format!("{}_{}", market.city, state);
            for name in std::iter::once(&market.city).chain(&market.aliases) {
                by_city
                    .entry(city_name(name))
                    .or_default()
                    .push((state.clone(), place.clone()));
            }
        }
        Self { markets: by_city }
    }

    /// `City_ST` for a major market, `ST` for other places in the US, `CC-ST` elsewhere; not yet
    /// percent-encoded.
    pub fn place<S: AsRef<str>>(&self, location: &Location<S>) -> String {
        let (city, state) = (location.city.as_ref(), location.state.as_ref());
        let country = country_code(location.country.as_ref());
        if country != "US" {
            return format!("{country}-{}", state.trim().to_uppercase());
        }
        let state = state_code(state);
        let market = self
            .markets
            .get(&city_name(city))
            .and_then(|markets| markets.iter().find(|(of, _)| *of == state));
        match market {
            Some((_, place)) => place.clone(),
            None => state.into_owned(),
        }
    }
}

/// A city's name as it is compared: normalised, without full stops.
fn city_name(city: &str) -> String {
    let mut name = normalise(city);
    name.retain(|c| c != '.');
    name
}

fn country_code(country: &str) -> Cow<'_, str> {
    if country == "US" {
        return Cow::Borrowed("US");
    }
    match normalise(country).as_str() {
        "" | "us" | "usa" | "u.s." | "u.s.a." | "united states" | "united states of america" => {
            Cow::Borrowed("US")
        }
        _ => Cow::Owned(country.trim().to_uppercase()),
    }
}

/// The two-letter code of a US state given by code or name, else the text in upper case.
fn state_code(state: &str) -> Cow<'_, str> {
    let bytes = state.as_bytes();
    if bytes.len() == 2 && bytes.iter().all(u8::is_ascii_uppercase) {
        return Cow::Borrowed(state);
    }
    let name = normalise(state);
    STATES.iter().find(|(_, full)| *full == name).map_or_else(
        || Cow::Owned(name.to_uppercase()),
        |(code, _)| Cow::Borrowed(*code),
    )
}

/// The states and the federal district, by their postal codes (USPS Publication 28, appendix B).
const STATES: [(&str, &str); 51] = [
    ("AL", "alabama"),
    ("AK", "alaska"),
    ("AZ", "arizona"),
    ("AR", "arkansas"),
    ("CA", "california"),
    ("CO", "colorado"),
    ("CT", "connecticut"),
    ("DE", "delaware"),
    ("DC", "district of columbia"),
    ("FL", "florida"),
    ("GA", "georgia"),
    ("HI", "hawaii"),
    ("ID", "idaho"),
    ("IL", "illinois"),
    ("IN", "indiana"),
    ("IA", "iowa"),
    ("KS", "kansas"),
    ("KY", "kentucky"),
    ("LA", "louisiana"),
    ("ME", "maine"),
    ("MD", "maryland"),
    ("MA", "massachusetts"),
    ("MI", "michigan"),
    ("MN", "minnesota"),
    ("MS", "mississippi"),
    ("MO", "missouri"),
    ("MT", "montana"),
    ("NE", "nebraska"),
    ("NV", "nevada"),
    ("NH", "new hampshire"),
    ("NJ", "new jersey"),
    ("NM", "new mexico"),
    ("NY", "new york"),
    ("NC", "north carolina"),
    ("ND", "north dakota"),
    ("OH", "ohio"),
    ("OK", "oklahoma"),
    ("OR", "oregon"),
    ("PA", "pennsylvania"),
    ("RI", "rhode island"),
    ("SC", "south carolina"),
    ("SD", "south dakota"),
    ("TN", "tennessee"),
    ("TX", "texas"),
    ("UT", "utah"),
    ("VT", "vermont"),
    ("VA", "virginia"),
    ("WA", "washington"),
    ("WV", "west virginia"),
    ("WI", "wisconsin"),
    ("WY", "wyoming"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markets_keep_their_city_and_the_rest_goes_by_state() {
        let market = |city: &str, state: &str, alias: &str| Market {
            city: city.into(),
            state: state.into(),
            aliases: vec![alias.into()],
        };
        let places = Places::new(&[
            market("New York", "NY", "NYC"),
            market("Austin", "TX", "ATX"),
        ]);
        for ((city, state, country), want) in [
            (("Austin", "TX", "US"), "Austin_TX"),
            ((" AUSTIN ", "Texas", "usa"), "Austin_TX"),
            (("N.Y.C.", "ny", "US"), "New York_NY"),
            (("new  york", "New York", "United States"), "New York_NY"),
            (("Austin", "MN", "US"), "MN"),
            (("Waco", "TX", "US"), "TX"),
            (("Perth", "WA", "AU"), "AU-WA"),
            (("Austin", "TX", "AU"), "AU-TX"),
        ] {
            let location: Location = Location {
                city: city.into(),
                state: state.into(),
                country: country.into(),
            };
            assert_eq!(places.place(&location), want, "{location:?}");
        }
    }
}
