//! A simulated wedding season: couples who ask, vendors who change, weddings that move. The same
//! seed gives the same season; nothing here depends on the time.

use std::collections::{BTreeSet, VecDeque};

use fastrand::Rng;
use serde_json::{Value, json};

use crate::ai::configured::VENDORS;
use crate::ai::simulator::vendor_type;

/// The `source` of the season's vendor changes.
pub(super) const SOURCE: &str = "demo";
/// The prefix of the ids of the demo's questions and events.
const IDS: &str = "demo";
/// The prefix of the event ids of the season's wedding updates.
pub(super) const EVENT_IDS: &str = "demo-e-";
/// The vendor that is left to the user of the demo: the season never closes it.
pub const YOURS: u32 = 3;
/// The most vendors that the season keeps closed; beyond that, the one that closed first opens
/// again.
const MOST_CLOSED: usize = 2;

/// The number of couples; the first ask most (Zipf), as a few planners do in real life.
const COUPLES: usize = 90;
const STYLES: [&str; 4] = ["rustic", "classic", "modern", "boho"];
const BUDGETS: [&str; 4] = ["budget", "moderate", "premium", "luxury"];
const PLACES: [(&str, &str); 14] = [
    ("New York", "NY"),
    ("Los Angeles", "CA"),
    ("Chicago", "IL"),
    ("Miami", "FL"),
    ("Atlanta", "GA"),
    ("Dallas", "TX"),
    ("Seattle", "WA"),
    ("Denver", "CO"),
    ("Austin", "TX"),
    ("Nashville", "TN"),
    ("Waco", "TX"),
    ("Albany", "NY"),
    ("Boulder", "CO"),
    ("Savannah", "GA"),
];
const QUESTIONS: [(&str, &[&str]); 7] = [
    (
        "venue_recommendations",
        &[
            "Which venues fit our day?",
            "Where can we celebrate outdoors?",
            "Which venues take dogs?",
        ],
    ),
    (
        "vendor_matching",
        &[
            "Which florist fits a barn wedding?",
            "Who photographs small ceremonies?",
            "Which caterers cook vegan menus?",
        ],
    ),
    (
        "budget_optimization",
        &[
            "How should we share out our budget?",
            "Where can we save without guests noticing?",
        ],
    ),
    (
        "timeline_generation",
        &[
            "Plan our day hour by hour.",
            "What has to be booked by when?",
        ],
    ),
    (
        "guest_management",
        &[
            "How do we seat both families?",
            "When do invitations go out?",
        ],
    ),
    (
        "menu_suggestions",
        &[
            "Suggest a menu of three courses.",
            "What can we serve late at night?",
        ],
    ),
    (
        "decor_inspiration",
        &["Which colours suit the season?", "Ideas for table flowers?"],
    ),
];

/// A stream of events; each call returns the next one.
pub struct Season {
    rng: Rng,
    couples: Vec<Couple>,
    /// The vendors that the season closed, in that order.
    closed: VecDeque<u32>,
    /// The vendors that are closed permanently.
    gone: BTreeSet<u32>,
    /// The prefix of the ids of questions and events.
    ids: String,
    queries: u64,
    events: u64,
}

struct Couple {
    place: (&'static str, &'static str),
    month: u32,
    style: &'static str,
    budget: &'static str,
    guests: u32,
}

/// A change event with its record key.
pub struct Change {
    pub key: String,
    pub event: Value,
}

impl Season {
    /// Returns the demo's season.
    pub fn new(seed: u64) -> Self {
        Self::named(seed, IDS)
    }

    /// Returns a season whose questions and events have ids that begin with `ids`.
    pub fn named(seed: u64, ids: &str) -> Self {
        let mut rng = Rng::with_seed(seed);
        let couples = (0..COUPLES)
            .map(|_| Couple {
                place: pick(&mut rng, &PLACES),
                // Most couples marry from May to October.
                month: if rng.u8(..10) < 7 {
                    rng.u32(5..=10)
                } else {
                    rng.u32(1..=12)
                },
                style: pick(&mut rng, &STYLES),
                budget: pick(&mut rng, &BUDGETS),
                guests: rng.u32(3..=30) * 10,
            })
            .collect();
        Self {
            rng,
            couples,
            closed: VecDeque::new(),
            gone: BTreeSet::new(),
            ids: ids.to_owned(),
            queries: 0,
            events: 0,
        }
    }

    /// Returns the next question: its query id and the record's value.
    pub fn query(&mut self) -> (String, Value) {
        self.queries += 1;
        let number = self.zipf(COUPLES);
        let (cache_type, questions) = QUESTIONS[self.rng.usize(..QUESTIONS.len())];
        let content = questions[self.zipf(questions.len())];
        let (query_id, couple) = (
            format!("{}-{}", self.ids, self.queries),
            &self.couples[number],
        );
        let query = json!({
            "queryId": query_id,
            "query": {"type": cache_type, "content": content, "userId": format!("u-{number}")},
            "weddingContext": {
                "weddingId": format!("w-{number}"),
                "location": location(couple.place),
                "weddingDate": format!("2027-{:02}-12", couple.month),
                "budgetRange": couple.budget,
                "weddingStyle": couple.style,
                "guestCount": couple.guests,
            },
        });
        (query_id, query)
    }

    /// Returns the next change of an open vendor; `None` where all are closed.
    pub fn vendor_change(&mut self) -> Option<Change> {
        let number = self.open_vendor(|_| true)?;
        let changes = match vendor_type(number) {
            "caterer" => ["price_changed", "availability_changed", "menu_changed"],
            _ => ["price_changed", "availability_changed", "portfolio_changed"],
        };
        let change = pick(&mut self.rng, &changes);
        Some(self.vendor_event(number, change))
    }

    /// Closes a vendor; also opens the one that closed first, where too many are closed.
    pub fn closing(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        if let Some(number) = self.open_vendor(|number| number != YOURS) {
            self.closed.push_back(number);
            changes.push(self.vendor_event(number, "closed"));
        }
        if self.closed.len() > MOST_CLOSED
            && let Some(first) = self.closed.pop_front()
        {
            changes.push(self.vendor_event(first, "opened"));
        }
        changes
    }

    /// Closes this vendor permanently; returns `None` where it is not one of the season's.
    pub fn close(&mut self, vendor: &str) -> Option<Change> {
        let number = vendor.strip_prefix("v-")?.parse().ok()?;
        if !(1..=VENDORS).contains(&number) {
            return None;
        }
        self.closed.retain(|closed| *closed != number);
        self.gone.insert(number);
        Some(self.vendor_event(number, "closed"))
    }

    fn open_vendor(&mut self, may: impl Fn(u32) -> bool) -> Option<u32> {
        let is_open = |of: &u32| !self.closed.contains(of) && !self.gone.contains(of);
        let open = (1..=VENDORS).filter(is_open).filter(|of| may(*of));
        self.rng.choice(open.collect::<Vec<_>>())
    }

    fn vendor_event(&mut self, number: u32, change: &str) -> Change {
        self.events += 1;
        let key = format!("v-{number}");
        let mut event = json!({
            "eventId": format!("{}-e-{}", self.ids, self.events),
            "vendorId": key,
            "vendorType": vendor_type(number),
            "change": change,
            "location": location(PLACES[number as usize % PLACES.len()]),
            "source": SOURCE,
        });
        if change == "price_changed" {
            let pct = f64::from(self.rng.i32(-200..=200)) / 10.0;
            event["attributes"] = json!({"priceChangePct": pct});
        }
        Change { key, event }
    }

    pub fn wedding_update(&mut self) -> Change {
        self.events += 1;
        let number = self.zipf(COUPLES);
        let change = pick(
            &mut self.rng,
            &["style_changed", "budget_changed", "guest_list_changed"],
        );
        let couple = &self.couples[number];
        let key = format!("w-{number}");
        let event = json!({
            "eventId": format!("{}-e-{}", self.ids, self.events),
            "weddingId": key,
            "userId": format!("u-{number}"),
            "change": change,
            "weddingContext": {"weddingId": key, "location": location(couple.place)},
        });
        Change { key, event }
    }

    /// Returns a rank below `count`, lower ones being likelier: P(k) ∝ 1/(k+1), by inverting the
    /// integral.
    fn zipf(&mut self, count: usize) -> usize {
        #[expect(clippy::cast_precision_loss, reason = "counts are small")]
        let rank = (count as f64 + 1.0).powf(self.rng.f64()) - 1.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to count"
        )]
        let rank = rank as usize;
        rank.min(count - 1)
    }
}

fn pick<T: Copy>(rng: &mut Rng, among: &[T]) -> T {
    among[rng.usize(..among.len())]
}

fn location((city, state): (&str, &str)) -> Value {
    json!({"city": city, "state": state, "country": "US"})
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::codec::{Decoded, Decoder, Schemas};

    #[test]
    fn the_demos_events_are_known_by_their_ids() {
        let event = Season::new(7).wedding_update().event;
        let id = event["eventId"].as_str().unwrap();
        assert!(id.starts_with(EVENT_IDS), "{id}");
    }

    #[test]
    fn the_same_seed_gives_the_same_season_and_every_event_can_be_read() {
        let reader = Decoder::new(Arc::new(Schemas::embedded()), 65_536);
        let (mut one, mut two) = (Season::new(7), Season::new(7));
        for _ in 0..200 {
            let (id, query) = one.query();
            assert_eq!((id, query.clone()), two.query());
            let value = query.to_string();
            let decoded = reader.decode_query(Some(value.as_bytes()));
            assert!(matches!(decoded, Decoded::Event(_)), "{value}");
            let value = one.vendor_change().unwrap().event.to_string();
            assert_eq!(value, two.vendor_change().unwrap().event.to_string());
            let decoded = reader.decode_vendor_change(Some(value.as_bytes()));
            assert!(matches!(decoded, Decoded::Event(_)), "{value}");
            for (closing, again) in one.closing().iter().zip(two.closing()) {
                assert_eq!(closing.event, again.event);
                let value = closing.event.to_string();
                let decoded = reader.decode_vendor_change(Some(value.as_bytes()));
                assert!(matches!(decoded, Decoded::Event(_)), "{value}");
            }
            let value = one.wedding_update().event.to_string();
            assert_eq!(value, two.wedding_update().event.to_string());
            let decoded = reader.decode_wedding_update(Some(value.as_bytes()));
            assert!(matches!(decoded, Decoded::Event(_)), "{value}");
        }
    }

    #[test]
    fn the_season_closes_few_vendors_and_never_the_one_that_is_yours() {
        let mut season = Season::new(3);
        let mut closed = std::collections::BTreeSet::new();
        for _ in 0..300 {
            for Change { key, event } in season.closing() {
                assert_ne!(key, format!("v-{YOURS}"));
                let is_new = match event["change"].as_str() {
                    Some("closed") => closed.insert(key),
                    _ => closed.remove(&key),
                };
                assert!(is_new, "{event}");
            }
            assert!(closed.len() <= MOST_CLOSED);
            let change = season.vendor_change().unwrap();
            assert!(
                !closed.contains(&change.key),
                "a closed vendor does not change"
            );
        }
        assert!(season.close("v-51").is_none() && season.close("x").is_none());
        for number in 1..=VENDORS {
            let change = season.close(&format!("v-{number}")).unwrap();
            assert_eq!(change.event["change"], "closed");
        }
        assert!(season.vendor_change().is_none() && season.closing().is_empty());
    }
}
