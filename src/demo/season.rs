//! A simulated wedding season: couples who ask, vendors who change, weddings that move. The same
//! seed gives the same season; nothing here knows the time.

use fastrand::Rng;
use serde_json::{Value, json};

/// Couples of the season; the first ask most (Zipf), as a few planners do in real life.
const COUPLES: usize = 90;
const VENDORS: u32 = 50;
const VENDOR_TYPES: [&str; 4] = ["venue", "photographer", "caterer", "florist"];
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

/// A stream of events; each call makes the next one.
pub struct Season {
    rng: Rng,
    couples: Vec<Couple>,
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
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let couples = (0..COUPLES)
            .map(|_| Couple {
                place: pick(&mut rng, &PLACES),
                // Most marry from May to October.
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
            queries: 0,
            events: 0,
        }
    }

    /// The next question: its query id and the record's value.
    pub fn query(&mut self) -> (String, Value) {
        self.queries += 1;
        let number = self.zipf(COUPLES);
        let (cache_type, questions) = QUESTIONS[self.rng.usize(..QUESTIONS.len())];
        let content = questions[self.zipf(questions.len())];
        let (query_id, couple) = (format!("demo-{}", self.queries), &self.couples[number]);
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

    pub fn vendor_change(&mut self) -> Change {
        self.events += 1;
        let vendor = self.rng.u32(1..=VENDORS);
        let change = [
            "price_changed",
            "availability_changed",
            "portfolio_changed",
            "menu_changed",
        ];
        let change = pick(&mut self.rng, &change);
        let key = format!("v-{vendor}");
        let event = json!({
            "eventId": format!("demo-e-{}", self.events),
            "vendorId": key,
            "vendorType": VENDOR_TYPES[vendor as usize % VENDOR_TYPES.len()],
            "change": change,
            "location": location(PLACES[vendor as usize % PLACES.len()]),
            "source": "demo",
            "attributes": {"priceChangePct": f64::from(self.rng.i32(-200..=200)) / 10.0},
        });
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
            "eventId": format!("demo-e-{}", self.events),
            "weddingId": key,
            "userId": format!("u-{number}"),
            "change": change,
            "weddingContext": {"weddingId": key, "location": location(couple.place)},
        });
        Change { key, event }
    }

    /// A rank below `count`, the first the most likely: P(k) ∝ 1/(k+1), by inverting the
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
    fn the_same_seed_gives_the_same_season_and_every_event_can_be_read() {
        let reader = Decoder::new(Arc::new(Schemas::embedded()), 65_536);
        let (mut one, mut two) = (Season::new(7), Season::new(7));
        for _ in 0..200 {
            let (id, query) = one.query();
            assert_eq!((id, query.clone()), two.query());
            let value = query.to_string();
            let decoded = reader.decode_query(Some(value.as_bytes()));
            assert!(matches!(decoded, Decoded::Event(_)), "{value}");
            let value = one.vendor_change().event.to_string();
            assert_eq!(value, two.vendor_change().event.to_string());
            let decoded = reader.decode_vendor_change(Some(value.as_bytes()));
            assert!(matches!(decoded, Decoded::Event(_)), "{value}");
            let value = one.wedding_update().event.to_string();
            assert_eq!(value, two.wedding_update().event.to_string());
            let decoded = reader.decode_wedding_update(Some(value.as_bytes()));
            assert!(matches!(decoded, Decoded::Event(_)), "{value}");
        }
    }
}
