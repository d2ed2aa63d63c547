//! The simulated model behind the driver's mocked providers: the duration of calls, their failures,
//! and the vendors that their answers name.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::assumptions as assume;
use super::places::PLACES;
use super::questions::popular_vendors;
use super::traffic::{DAY_MS, Period, midnight};
use super::vendors::{Directory, KINDS};
use super::zipf::{Zipf, chance, normal};
use wedcache::ai::Prompt;
use wedcache::clock::Clock;
use wedcache::driver::{Call, Responder, Scripted};
use wedcache::model::event::Location;
use wedcache::model::{Catalog, Timestamp};
use wedcache::topology::cases::MockedCall;

/// A model that answers as the assumptions say; `clock` is read when a call begins.
pub struct Model {
    pub rng: Rng,
    pub clock: Clock,
    pub catalog: Arc<Catalog>,
    pub directory: Directory,
    incidents: Vec<(Timestamp, Timestamp)>,
    /// The popularity of vendors for each of [`KINDS`].
    popularity: Vec<Zipf>,
    /// The places' names in keys.
    places: Vec<String>,
}

impl Model {
    pub fn new(
        seed: u64,
        clock: Clock,
        catalog: Arc<Catalog>,
        directory: Directory,
        period: Period,
    ) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x005e_eda1);
        let places = PLACES.iter().map(|place| {
            catalog.places.place(&Location {
                city: place.cities[0].to_owned(),
                state: place.state.to_owned(),
                country: "US".to_owned(),
            })
        });
        Self {
            places: places.collect(),
            incidents: incidents(&mut rng, period),
            popularity: KINDS
                .iter()
                .map(|kind| popular_vendors(kind.a_place))
                .collect(),
            rng,
            clock,
            catalog,
            directory,
        }
    }

    pub fn into_responder(mut self) -> Responder {
        Box::new(move |call| self.respond(call))
    }

    fn respond(&mut self, call: &Call) -> Scripted {
        let now = self.clock.now();
        let is_down = self
            .incidents
            .iter()
            .any(|(from, to)| (*from..*to).contains(&now));
        let soon = Duration::from_millis(800);
        let scripted = |outcome, takes| Scripted { takes, outcome };
        if is_down {
            return scripted(MockedCall::Status(503), soon);
        }
        let secs = assume::CALL_MEDIAN_SECS * (assume::CALL_SIGMA * normal(&mut self.rng)).exp();
        let takes = Duration::from_secs_f64(secs.min(55.0));
        let mut rest = self.rng.f64();
        for (share, outcome, takes) in [
            (assume::UNAVAILABLE, MockedCall::Status(503), soon),
            (assume::RATE_LIMITED, MockedCall::Status(429), soon),
            (
                assume::TIMED_OUT,
                MockedCall::Timeout,
                Duration::from_mins(1),
            ),
            (assume::REFUSED, MockedCall::Refused, takes),
            (assume::TRUNCATED, MockedCall::Truncated, takes),
        ] {
            if rest < share {
                return scripted(outcome, takes);
            }
            rest -= share;
        }
        scripted(MockedCall::Text(self.text(call)), takes)
    }

    fn text(&mut self, call: &Call) -> String {
        let vendors = self.named(&call.prompt);
        let mut text = String::with_capacity(8 * assume::ANSWER_WORDS);
        if !vendors.is_empty() {
            text.push_str("Ask ");
            text.push_str(&vendors.join(", then "));
            text.push_str(". ");
        }
        let start = call.number as usize;
        for word in 0..assume::ANSWER_WORDS {
            text.push_str(WORDS[(start + word * (1 + start % 7)) % WORDS.len()]);
            text.push(' ');
        }
        text
    }

    /// Returns the ids of the vendors that the answer names.
    fn named(&mut self, prompt: &Prompt) -> Vec<String> {
        let Some(place) = fact(prompt, "location")
            .and_then(|name| self.places.iter().position(|place| place == name))
        else {
            return Vec::new();
        };
        let types = self.catalog.types().iter();
        let cache_type = types
            .filter(|of| prompt.system.starts_with(&*of.instructions))
            .map(|of| &*of.name)
            .next();
        let kind = match cache_type {
            Some("venue_recommendations") => Some("venue"),
            Some("menu_suggestions") => Some("caterer"),
            _ => fact(prompt, "vendor_types"),
        };
        let kind = kind.and_then(|name| KINDS.iter().position(|of| of.name == name));
        let (kind, count) = match kind {
            Some(kind) => (kind, assume::NAMED_VENDORS),
            None if chance(&mut self.rng, assume::NAMES_ANYWAY) => {
                (self.rng.usize(..KINDS.len()), 1)
            }
            None => return Vec::new(),
        };
        (0..count)
            .map(|_| self.popularity[kind].draw(&mut self.rng))
            .map(|number| self.directory.id(place, kind, number))
            .collect()
    }
}

/// Returns the value of the named fact in the prompt.
fn fact<'a>(prompt: &'a Prompt, name: &str) -> Option<&'a str> {
    let lines = prompt.user.lines();
    lines
        .filter_map(|line| line.strip_prefix("- "))
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Returns the intervals in which every call fails.
fn incidents(rng: &mut Rng, period: Period) -> Vec<(Timestamp, Timestamp)> {
    let days = i64::try_from(period.days().count()).unwrap_or(0);
    let length = Duration::from_mins(assume::INCIDENT_MINUTES);
    let start = midnight(period.first_day).0;
    let mut incidents = Vec::new();
    for _ in 0..assume::INCIDENTS {
        let (day, at) = (rng.i64(0..365), rng.i64(0..DAY_MS));
        // A part of the year has that part of the incidents.
        if day < days {
            let from = Timestamp(start + day * DAY_MS + at);
            incidents.push((from, from.plus(length)));
        }
    }
    incidents
}

/// The vocabulary of answers; only the number of words matters.
const WORDS: [&str; 48] = [
    "choose",
    "a",
    "place",
    "that",
    "fits",
    "your",
    "season",
    "and",
    "ask",
    "early",
    "for",
    "the",
    "date,",
    "since",
    "popular",
    "days",
    "go",
    "first.",
    "Keep",
    "some",
    "of",
    "budget",
    "aside",
    "in",
    "case",
    "weather",
    "changes;",
    "candles,",
    "linen",
    "wild",
    "flowers",
    "suit",
    "long",
    "tables.",
    "Plan",
    "an",
    "hour",
    "more",
    "than",
    "you",
    "need,",
    "let",
    "guests",
    "arrive",
    "slowly,",
    "serve",
    "dinner",
    "outdoors.",
];
