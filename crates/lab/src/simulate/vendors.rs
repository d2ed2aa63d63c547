//! Vendors and the changes that their integrations send: as they happen, in bursts at night, and
//! sometimes unreadable.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;

use fastrand::Rng;
use serde_json::{Value, json};

pub use super::assumptions::VENDOR_KINDS as KINDS;
use super::assumptions::{self as assume, Assumptions};
use super::couples::has_couples;
use super::places::{PLACES, Place};
use super::zipf::{Zipf, chance, normal, poisson};
use wedcache::model::Timestamp;

/// The current vendors of all places; the provider names them, the changes close them.
#[derive(Debug, Clone, Default)]
pub struct Directory(Arc<Mutex<Vec<Vendor>>>);

#[derive(Debug, Clone, Copy)]
struct Vendor {
    place: usize,
    kind: usize,
    number: usize,
    /// Incremented when the vendor closes and another takes its place.
    generation: u32,
    integration: usize,
}

/// A record of the change topic: its time, key and value.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub at: Timestamp,
    pub key: Option<String>,
    pub value: Vec<u8>,
}

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;

impl Vendor {
    fn id(&self) -> String {
        let Self {
            place,
            kind,
            number,
            generation,
            ..
        } = self;
        format!("v-{place}_{kind}_{number}_{generation}")
    }
}

impl Directory {
    /// Creates the vendors of all places.
    pub fn new(rng: &mut Rng) -> Self {
        let integrations = Zipf::new(assume::INTEGRATIONS, 1.0);
        let mut vendors = Vec::new();
        for place in 0..PLACES.len() {
            for (kind, of) in KINDS.iter().enumerate() {
                vendors.extend((0..of.a_place as usize).map(|number| Vendor {
                    place,
                    kind,
                    number,
                    generation: 0,
                    integration: integrations.draw(rng),
                }));
            }
        }
        Self(Arc::new(Mutex::new(vendors)))
    }

    /// Returns the id of the vendor with this number among those of its kind in a place.
    pub fn id(&self, place: usize, kind: usize, number: usize) -> String {
        let a_place: usize = KINDS.iter().map(|of| of.a_place as usize).sum();
        let before: usize = KINDS[..kind].iter().map(|of| of.a_place as usize).sum();
        self.vendors()[place * a_place + before + number].id()
    }

    fn vendors(&self) -> MutexGuard<'_, Vec<Vendor>> {
        self.0.lock()
    }

    /// Returns the changes of the day that begins at `day`, for places with simulated couples: no
    /// answer depends on the others.
    pub fn changes(&self, rng: &mut Rng, day: Timestamp, assumptions: &Assumptions) -> Vec<Change> {
        let rate = assumptions.change_rate;
        let is_met = |vendor: &&mut Vendor| has_couples(vendor.place, assumptions.sample);
        let mut changes = Vec::new();
        for vendor in self.vendors().iter_mut().filter(is_met) {
            let kind = &KINDS[vendor.kind];
            let yearly = [
                ("availability_changed", kind.availability),
                ("price_changed", kind.price),
                ("menu_changed", kind.menu),
                ("portfolio_changed", kind.portfolio),
                ("details_changed", kind.details),
                ("closed", kind.closed),
            ];
            for (change, a_year) in yearly {
                for _ in 0..poisson(rng, a_year * rate / 365.0) {
                    let at = moment(rng, vendor.integration, day);
                    changes.push(record(rng, vendor, change, at));
                    if change == "closed" {
                        vendor.generation += 1;
                        changes.push(record(rng, vendor, "opened", Timestamp(at.0 + HOUR_MS)));
                    }
                }
            }
            let is_nightly = vendor.integration < assume::NIGHTLY;
            if is_nightly && chance(rng, (assume::RESENT_A_NIGHT * rate).min(1.0)) {
                let at = moment(rng, vendor.integration, day);
                changes.push(record(rng, vendor, "details_changed", at));
            }
        }
        changes
    }
}

/// Returns the time of a change: for a nightly integration within the two minutes of its import,
/// else any time from noon UTC, when the Americas are awake.
fn moment(rng: &mut Rng, integration: usize, day: Timestamp) -> Timestamp {
    if integration < assume::NIGHTLY {
        let hours = i64::from(assume::IMPORT_HOURS.end - assume::IMPORT_HOURS.start);
        let slot = i64::try_from(integration).unwrap_or(0) * 7 * 60_000 % (hours * HOUR_MS);
        let start = i64::from(assume::IMPORT_HOURS.start) * HOUR_MS + slot;
        return Timestamp(day.0 + start + rng.i64(0..120_000));
    }
    Timestamp(day.0 + rng.i64(DAY_MS / 2..DAY_MS))
}

fn record(rng: &mut Rng, vendor: &Vendor, change: &str, at: Timestamp) -> Change {
    let (key, place) = (vendor.id(), &PLACES[vendor.place]);
    let event = json!({
        "eventId": format!("e-{:016x}", rng.u64(..)),
        "vendorId": key,
        "vendorType": KINDS[vendor.kind].name,
        "change": change,
        "location": location(rng, place),
        "occurredAt": at,
        "source": format!("integration-{}", vendor.integration),
        "attributes": attributes(rng, change),
    });
    let mut value = event.to_string().into_bytes();
    let mut key = Some(key);
    if chance(rng, assume::UNREADABLE) {
        value.truncate(value.len() / 2);
        key = key.filter(|_| rng.bool());
    }
    Change { at, key, value }
}

fn attributes(rng: &mut Rng, change: &str) -> Value {
    match change {
        "price_changed" => json!({"priceChangePct": normal(rng) * assume::PRICE_SIGMA_PCT}),
        "availability_changed" => json!({"available": chance(rng, assume::FREED)}),
        _ => json!({}),
    }
}

fn location(rng: &mut Rng, place: &Place) -> Value {
    let city = place.cities[rng.usize(..place.cities.len())];
    json!({"city": city, "state": place.state, "country": "US"})
}

#[cfg(test)]
mod tests {
    use super::*;
    use wedcache::codec::{Decoded, Decoder, Schemas};

    fn year(change_rate: f64) -> Vec<Change> {
        let assumptions = Assumptions {
            change_rate,
            ..Assumptions::default()
        };
        let mut rng = Rng::with_seed(4);
        let directory = Directory::new(&mut rng);
        let days = (0..365).map(|day| Timestamp(1_798_761_600_000 + day * DAY_MS));
        days.flat_map(|day| directory.changes(&mut rng, day, &assumptions))
            .collect()
    }

    #[test]
    fn a_year_has_the_changes_of_its_rates_and_a_few_cannot_be_read() {
        let changes = year(1.0);
        let expected: f64 = KINDS
            .iter()
            .map(|of| {
                let own = of.availability + of.price + of.menu + of.portfolio + of.details;
                f64::from(of.a_place) * (own + 2.0 * of.closed)
            })
            .sum::<f64>()
            * 16.0;
        #[expect(clippy::cast_precision_loss, reason = "counts are small")]
        let count = changes.len() as f64;
        // Resent changes come on top: up to 365 × 2 % of the vendors with a nightly import.
        assert!(
            count > expected * 0.99 && count < expected + 90.0 * 16.0 * 7.4,
            "{count}"
        );
        let reader = Decoder::new(Arc::new(Schemas::embedded()), 65_536);
        let unreadable = changes.iter().filter(|change| {
            let decoded = reader.decode_vendor_change(Some(&change.value));
            !matches!(decoded, Decoded::Event(_))
        });
        assert!((20..90).contains(&unreadable.count()));
    }

    #[test]
    fn nights_have_their_bursts() {
        let at_night = |change: &&Change| {
            let hour = change.at.0.rem_euclid(DAY_MS) / HOUR_MS;
            assume::IMPORT_HOURS.contains(&u32::try_from(hour).unwrap())
        };
        let changes = year(0.2);
        let share = changes.iter().filter(at_night).count() * 100 / changes.len();
        assert!((70..99).contains(&share), "{share} % at night");
    }
}
