//! The places of weddings: the ten major markets, and small cities of six states.

use super::assumptions::IN_MARKETS;

/// A place by its name in keys, with its cities.
pub struct Place {
    pub state: &'static str,
    pub cities: &'static [&'static str],
    /// The offset of local standard time from UTC, in hours.
    pub utc_offset_hours: i64,
    /// The weight among the markets or among the states, roughly by population.
    pub weight: f64,
    pub is_market: bool,
}

const fn market(
    city: &'static [&'static str],
    state: &'static str,
    offset: i64,
    weight: f64,
) -> Place {
    Place {
        state,
        cities: city,
        utc_offset_hours: offset,
        weight,
        is_market: true,
    }
}

const fn state(
    state: &'static str,
    cities: &'static [&'static str],
    offset: i64,
    weight: f64,
) -> Place {
    Place {
        state,
        cities,
        utc_offset_hours: offset,
        weight,
        is_market: false,
    }
}

/// The places. Weights of markets: millions of people in the metropolitan area (US Census,
/// rounded); weights of states: a guess at the people outside the markets.
pub const PLACES: [Place; 16] = [
    market(&["New York", "NYC", "Brooklyn"], "NY", -5, 19.5),
    market(&["Los Angeles", "LA"], "CA", -8, 12.8),
    market(&["Chicago"], "IL", -6, 9.3),
    market(&["Miami", "Miami Beach"], "FL", -5, 6.2),
    market(&["Atlanta"], "GA", -5, 6.3),
    market(&["Dallas", "DFW"], "TX", -6, 8.1),
    market(&["Seattle"], "WA", -8, 4.0),
    market(&["Denver"], "CO", -7, 3.0),
    market(&["Austin", "ATX"], "TX", -6, 2.5),
    market(&["Nashville"], "TN", -6, 2.1),
    state(
        "TX",
        &["Waco", "Fredericksburg", "Lubbock", "Tyler"],
        -6,
        9.0,
    ),
    state("NY", &["Albany", "Ithaca", "Saratoga Springs"], -5, 6.0),
    state("CA", &["Napa", "Santa Barbara", "Fresno"], -8, 10.0),
    state("CO", &["Boulder", "Aspen", "Durango"], -7, 2.5),
    state("GA", &["Savannah", "Athens", "Macon"], -5, 4.5),
    state("OH", &["Columbus", "Toledo", "Dayton"], -5, 8.0),
];

/// Returns each place's share of the couples; the shares sum to 1.
pub fn shares() -> [f64; PLACES.len()] {
    let total = |markets: bool| -> f64 {
        let of = PLACES.iter().filter(|place| place.is_market == markets);
        of.map(|place| place.weight).sum()
    };
    let (markets, states) = (total(true), total(false));
    std::array::from_fn(|at| {
        let place = &PLACES[at];
        if place.is_market {
            IN_MARKETS * place.weight / markets
        } else {
            (1.0 - IN_MARKETS) * place.weight / states
        }
    })
}
