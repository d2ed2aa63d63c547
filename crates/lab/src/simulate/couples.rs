//! Couples from their engagement to their wedding: their facts, when they use the assistant, and
//! what they change.

use std::collections::VecDeque;

use chrono::{Datelike as _, Days, NaiveDate};
use fastrand::Rng;
use serde_json::{Value, json};

use super::assumptions::{self as assume, Assumptions};
use super::places::{PLACES, shares};
use super::questions::Question;
use super::zipf::{chance, normal, weighted};
use wedcache::model::event::{BudgetRange, Location, WeddingContext};
use wedcache::model::{Catalog, Date, Timestamp};

/// One wedding and its current facts.
#[derive(Debug, Clone)]
pub struct Couple {
    pub number: usize,
    pub place: usize,
    city: &'static str,
    pub date: NaiveDate,
    engaged_on: NaiveDate,
    budget: usize,
    style: usize,
    guests: u32,
    cancelled: bool,
    /// The couple's last questions, the newest first.
    pub remembered: VecDeque<Question>,
}

/// The nearness of the wedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanningPhase {
    Early,
    LastThreeMonths,
    LastTwoWeeks,
}

impl Couple {
    /// Returns the phase; `None` before the engagement, after the wedding and once the wedding is
    /// called off.
    pub fn phase(&self, today: NaiveDate) -> Option<PlanningPhase> {
        if self.cancelled || today < self.engaged_on || today > self.date {
            return None;
        }
        Some(match (self.date - today).num_days() {
            ..=14 => PlanningPhase::LastTwoWeeks,
            15..=91 => PlanningPhase::LastThreeMonths,
            _ => PlanningPhase::Early,
        })
    }

    pub fn wedding_id(&self) -> String {
        format!("w-{}", self.number)
    }

    /// Returns the context that the couple's queries carry.
    pub fn context(&self) -> WeddingContext {
        WeddingContext {
            wedding_id: Some(self.wedding_id()),
            location: Location {
                city: self.city.to_owned(),
                state: PLACES[self.place].state.to_owned(),
                country: "US".to_owned(),
            },
            wedding_date: Some(Date(self.date)),
            budget_range: Some(BudgetRange::ALL[self.budget]),
            wedding_style: Some(assume::STYLES[self.style].0.to_owned()),
            guest_count: Some(self.guests),
            vendor_preferences: Vec::new(),
        }
    }

    pub fn remember(&mut self, question: Question) {
        self.remembered.retain(|known| *known != question);
        self.remembered.push_front(question);
        self.remembered.truncate(assume::REMEMBERED);
    }

    /// Makes the named change to the couple's facts; returns the value of its record.
    pub fn update(&mut self, rng: &mut Rng, change: &str, at: Timestamp) -> Value {
        let previous = self.context();
        match change {
            "guest_count_changed" => {
                let factor = 1.0 + 0.08 * normal(rng);
                self.guests = scaled(self.guests, factor);
            }
            "budget_changed" => {
                let up = rng.bool();
                self.budget = step(self.budget, up, assume::BUDGETS.len());
            }
            "style_changed" => self.style = style(rng),
            "date_changed" => {
                let later = self.date + Days::new(rng.u64(7..120));
                self.date = later;
            }
            "location_changed" => {
                self.place = weighted(rng, shares());
                self.city = city(rng, self.place);
            }
            "cancelled" => self.cancelled = true,
            _ => {}
        }
        json!({
            "eventId": format!("e-{:016x}", rng.u64(..)),
            "weddingId": self.wedding_id(),
            "change": change,
            "occurredAt": at,
            "weddingContext": self.context(),
            "previous": previous,
        })
    }
}

/// Returns a neighbouring budget range; at an end of the scale the inner neighbour.
fn step(budget: usize, up: bool, count: usize) -> usize {
    match (budget, up) {
        (0, _) => 1,
        (at, _) if at + 1 == count => at - 1,
        (at, true) => at + 1,
        (at, false) => at - 1,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to a number of guests"
)]
fn scaled(guests: u32, factor: f64) -> u32 {
    (f64::from(guests) * factor).round().clamp(2.0, 800.0) as u32
}

fn style(rng: &mut Rng) -> usize {
    weighted(rng, assume::STYLES.map(|(_, share)| share))
}

fn city(rng: &mut Rng, place: usize) -> &'static str {
    let cities = PLACES[place].cities;
    cities[rng.usize(..cities.len())]
}

/// Returns whether couples of this place, season and budget are simulated; see
/// [`Assumptions::sample`]. The choice of cells treats places, seasons and budgets alike: with
/// `sample` 16, one cell of each place; with a larger `sample`, one cell of some places only.
pub fn in_sample(place: usize, season: usize, budget: usize, sample: usize) -> bool {
    let cell = (season + 4 * budget + 5 * place) % CELLS_A_PLACE;
    cell.is_multiple_of(sample.min(CELLS_A_PLACE)) && has_couples(place, sample)
}

/// Returns whether any couples of this place are simulated.
pub fn has_couples(place: usize, sample: usize) -> bool {
    // 13 is the inverse of 5 modulo 16: the places 0, 5, 10, 15, 4 … have the ranks 0, 1, 2 …, so
    // that the cells of any few of them differ in season and budget.
    let rank = place * 13 % PLACES.len();
    rank < (PLACES.len() * CELLS_A_PLACE / sample.max(1)).max(1)
}

/// Seasons × budget ranges.
const CELLS_A_PLACE: usize = 16;

/// Returns the sample's share of the platform's couples: about 1 / `sample`, not exactly, because
/// cells differ in size.
pub fn sample_share(catalog: &Catalog, factors: &[f64; 12], sample: usize) -> f64 {
    let seasons = season_numbers(catalog);
    let (mut share, load) = (0.0, factors.iter().sum::<f64>());
    for (place, of_place) in shares().iter().enumerate() {
        for (month, factor) in factors.iter().enumerate() {
            for (budget, of_budget) in assume::BUDGETS.iter().enumerate() {
                if in_sample(place, seasons[month], budget, sample) {
                    share += of_place * factor / load * of_budget;
                }
            }
        }
    }
    share
}

/// The inputs of a population.
#[derive(Debug, Clone, Copy)]
pub struct Census<'a> {
    pub catalog: &'a Catalog,
    /// The load factor of each month; see [`wedcache::topology::Policy::capacity_factors`].
    pub factors: &'a [f64; 12],
    pub assumptions: &'a Assumptions,
    pub first_day: NaiveDate,
    pub last_day: NaiveDate,
    /// Weddings of the whole platform in a year.
    pub weddings_a_year: f64,
}

/// Returns all couples who are engaged at any time from the first day to the last.
pub fn population(rng: &mut Rng, of: &Census<'_>) -> Vec<Couple> {
    let mean = of.factors.iter().sum::<f64>() / 12.0;
    let seasons = season_numbers(of.catalog);
    let (place_shares, mut couples) = (shares(), Vec::new());
    let horizon = assume::WEDDING_HORIZON_DAYS + (of.last_day - of.first_day).num_days();
    for date in of
        .first_day
        .iter_days()
        .take(usize::try_from(horizon).unwrap_or(0) + 1)
    {
        let month = date.month0() as usize;
        let expected = of.weddings_a_year / 365.0 * of.factors[month] / mean;
        for _ in 0..rounded(rng, expected) {
            let place = weighted(rng, place_shares);
            let budget = weighted(rng, assume::BUDGETS);
            let engaged_on = date
                - Days::new(rng.u64(
                    assume::ENGAGED_DAYS.start().unsigned_abs()
                        ..=assume::ENGAGED_DAYS.end().unsigned_abs(),
                ));
            let guests = scaled(
                1,
                assume::GUESTS_MEDIAN * (assume::GUESTS_SIGMA * normal(rng)).exp(),
            );
            let (style, city) = (style(rng), city(rng, place));
            if engaged_on > of.last_day
                || !in_sample(place, seasons[month], budget, of.assumptions.sample)
            {
                continue;
            }
            couples.push(Couple {
                number: couples.len(),
                place,
                city,
                date,
                engaged_on,
                budget,
                style,
                guests,
                cancelled: false,
                remembered: VecDeque::new(),
            });
        }
    }
    couples
}

/// Rounds `expected` up or down at random, so that the mean is right.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "weddings of a day"
)]
fn rounded(rng: &mut Rng, expected: f64) -> u64 {
    expected as u64 + u64::from(chance(rng, expected.fract()))
}

/// Returns the number of each month's season; seasons are numbered by first appearance.
fn season_numbers(catalog: &Catalog) -> [usize; 12] {
    let mut names: Vec<&str> = Vec::new();
    std::array::from_fn(|month| {
        let name = &*catalog.seasons[month].name;
        names
            .iter()
            .position(|known| *known == name)
            .unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wedcache::topology::{self, Variables};

    fn count(sample: usize) -> usize {
        let cells = (0..16).flat_map(|place| {
            (0..4).flat_map(move |season| (0..4).map(move |budget| (place, season, budget)))
        });
        cells
            .filter(|(place, season, budget)| in_sample(*place, *season, *budget, sample))
            .count()
    }

    #[test]
    fn a_sample_is_of_that_size_and_meets_every_season() {
        for sample in [1, 2, 4, 8, 16, 32, 64, 128, 256] {
            assert_eq!(count(sample), 256 / sample, "{sample}");
        }
        let places = |sample| (0..16).filter(|place| has_couples(*place, sample)).count();
        assert_eq!([16, 32, 64, 256].map(places), [16, 8, 4, 1]);
        for at in 0..4 {
            let met = |of: fn(usize, usize, usize) -> usize| {
                (0..16).any(|place| {
                    (0..4).any(|a| {
                        (0..4).any(|b| of(place, a, b) == at && in_sample(place, a, b, 16))
                    })
                })
            };
            assert!(met(|_, season, _| season));
        }
    }

    fn couples() -> Vec<Couple> {
        let text = include_str!("../../../../topologies/wedsync.yaml");
        let loaded = topology::read("wedsync.yaml", text, Variables::Unresolved).unwrap();
        let day = |text| Date::parse(text).unwrap().0;
        population(
            &mut Rng::with_seed(2),
            &Census {
                catalog: &loaded.topology.policy.catalog,
                factors: &loaded.topology.policy.capacity_factors,
                assumptions: &Assumptions {
                    sample: 1,
                    ..Assumptions::default()
                },
                first_day: day("2027-01-01"),
                last_day: day("2027-12-31"),
                weddings_a_year: 20_000.0,
            },
        )
    }

    #[test]
    fn weddings_follow_the_topologys_load_factors() {
        let mut months = [0_u32; 12];
        let in_the_year = couples();
        let in_the_year = in_the_year
            .iter()
            .filter(|couple| couple.date.year() == 2027);
        in_the_year.for_each(|couple| months[couple.date.month0() as usize] += 1);
        let a_day = |month: usize, days: f64| f64::from(months[month]) / days;
        let june = a_day(5, 30.0) / a_day(0, 31.0);
        let march = a_day(2, 31.0) / a_day(0, 31.0);
        assert!(
            (june - 3.0).abs() < 0.3 && (march - 1.8).abs() < 0.2,
            "{months:?}"
        );
    }

    #[test]
    fn couples_are_engaged_for_six_to_eighteen_months_and_then_gone() {
        let couples = couples();
        for couple in &couples {
            let days = (couple.date - couple.engaged_on).num_days();
            assert!(assume::ENGAGED_DAYS.contains(&days));
            assert_eq!(couple.phase(couple.date + Days::new(1)), None);
            assert_eq!(couple.phase(couple.date), Some(PlanningPhase::LastTwoWeeks));
            assert_eq!(couple.phase(couple.engaged_on), Some(PlanningPhase::Early));
        }
        let day = |text| Date::parse(text).unwrap().0;
        let engaged = |on| {
            couples
                .iter()
                .filter(|couple| couple.phase(on).is_some())
                .count()
        };
        for on in [day("2027-01-01"), day("2027-12-31")] {
            assert!((17_000..23_000).contains(&engaged(on)), "{}", engaged(on));
        }
    }
}
