//! Queries as a platform's couples ask them: some questions much more often than others, each time
//! in other words, and by somebody else; answers of many lengths that name vendors.

use std::fmt::Write as _;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, LogNormal, Zipf};

use super::entries;
use wedcache::ai::{Ai, AiOptions, Attempt, PricedCall, Prompt, Provider, Providers};
use wedcache::model::AiQuery;
use wedcache::model::event::{BudgetRange, Location};

/// The exponent of the law by which questions are asked: the n-th most frequent one n^-0.99 times as
/// often as the first, as in the Yahoo! Cloud Serving Benchmark (Cooper et al. 2010).
const EXPONENT: f64 = 0.99;
/// A prime, by which the frequency of a question says nothing about when it was first asked.
const SCATTER: usize = 48_271;
/// The median length of an answer, and the deviation of its logarithm: a mean of about 1550 bytes.
const MEDIAN_BYTES: f64 = 1300.0;
const DEVIATION: f64 = 0.6;
const LEAST_BYTES: usize = 300;
const MOST_BYTES: usize = 8000;
/// The most vendors that an answer names, and the number of vendors on the platform.
const MOST_VENDORS: usize = 12;
const VENDORS: usize = 5000;

const PLACES: [(&str, &str); 12] = [
    ("Austin", "TX"),
    ("Dallas", "TX"),
    ("Houston", "TX"),
    ("Portland", "OR"),
    ("Seattle", "WA"),
    ("San Francisco", "CA"),
    ("San Diego", "CA"),
    ("New York", "NY"),
    ("Boston", "MA"),
    ("Chicago", "IL"),
    ("Denver", "CO"),
    ("Savannah", "GA"),
];
const STYLES: [&str; 5] = ["rustic", "modern", "boho", "classic", "garden party"];
const BUDGETS: [BudgetRange; 4] = [
    BudgetRange::Budget,
    BudgetRange::Moderate,
    BudgetRange::Premium,
    BudgetRange::Luxury,
];

/// The law by which a set of questions is asked.
#[derive(Debug, Clone)]
pub struct Varied {
    keys: usize,
    ranks: Zipf<f64>,
}

impl Varied {
    /// Returns the law for this many questions; at least one.
    pub fn new(keys: usize) -> Self {
        let keys = keys.max(1);
        let ranks = Zipf::new(super::figures::float(keys as u64), EXPONENT);
        Self {
            keys,
            ranks: ranks.expect("at least one rank, and an exponent above zero"),
        }
    }

    /// Returns the number of the question that a query asks. The first queries ask each once.
    pub fn key(&self, number: usize) -> usize {
        if number < self.keys {
            return number;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank is a whole number from 1 to the number of keys"
        )]
        let rank = self.ranks.sample(&mut rng(number)) as usize;
        rank * SCATTER % self.keys
    }

    /// Returns the query about question `key`, from another couple than any other, in words of its
    /// own.
    pub fn vary(&self, number: usize, key: usize, mut query: AiQuery) -> AiQuery {
        let rng = &mut rng(number.wrapping_add(SCATTER));
        query.query.content = worded(&query.query.content, rng);
        query.query.user_id = Some(format!("u-{number:09}"));
        let context = &mut query.wedding_context;
        context.wedding_id = Some(format!("w-{number:09}"));
        let (city, state) = PLACES[key % PLACES.len()];
        context.location = Location {
            city: city.to_owned(),
            state: state.to_owned(),
            country: "US".to_owned(),
        };
        context.budget_range = Some(BUDGETS[key / 7 % BUDGETS.len()]);
        context.wedding_style = Some(STYLES[key / 31 % STYLES.len()].to_owned());
        query
    }
}

/// Returns the text with other capitals and blanks.
fn worded(text: &str, rng: &mut SmallRng) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for word in text.split(' ') {
        match rng.random_range(0..8) {
            0 => out.push_str(&word.to_uppercase()),
            1 => {
                let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
                out.push_str(&first.to_uppercase());
                out.push_str(rest);
            }
            2 => {
                out.push(' ');
                out.push_str(word);
            }
            _ => out.push_str(word),
        }
        out.push(' ');
    }
    out
}

/// Returns an answer, the same for the same seed: prose of a length of its own with 0 to
/// 12 vendors in it.
pub fn answer(seed: u64) -> String {
    let mut rng = SmallRng::seed_from_u64(seed);
    let law = LogNormal::new(MEDIAN_BYTES.ln(), DEVIATION).expect("a finite deviation");
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a length, which is bounded right after"
    )]
    let bytes = (law.sample(&mut rng) as usize).clamp(LEAST_BYTES, MOST_BYTES);
    let vendors = rng.random_range(0..=MOST_VENDORS);
    let mut text = String::with_capacity(bytes + 16 * vendors);
    let part = bytes / (vendors + 1);
    for number in 0..=vendors {
        text.push_str(&entries::text(seed.wrapping_add(number as u64), part));
        if number < vendors {
            write!(text, " v-{:04} ", rng.random_range(0..VENDORS)).expect("a String takes it");
        }
    }
    text
}

/// A provider that answers at once by [`answer`].
pub struct Prose;

impl Prose {
    /// Returns it in the place of every one of these providers.
    pub fn instead_of(providers: Providers, max_concurrent: usize) -> Providers {
        let options = AiOptions {
            max_concurrent,
            ..AiOptions::default()
        };
        let prose = Arc::new(Ai::new(Arc::new(Self), options));
        let names = providers.into_keys();
        names.map(|name| (name, Arc::clone(&prose))).collect()
    }
}

impl Provider for Prose {
    fn name(&self) -> &'static str {
        "prose"
    }

    fn attempt<'a>(&'a self, prompt: &'a Prompt) -> BoxFuture<'a, Attempt> {
        let hash = blake3::hash(prompt.user.as_bytes());
        let seed = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
        let text = answer(u64::from_le_bytes(*seed));
        let call = PricedCall {
            model: "simulated-planner".to_owned(),
            prompt_tokens: prompt.user.len() as u64 / 4,
            completion_tokens: text.len() as u64 / 4,
            cost_usd: Some(0.0021),
            request_id: None,
            simulated: true,
            usable: true,
            elapsed: std::time::Duration::ZERO,
        };
        Box::pin(std::future::ready(Attempt::replied(call, Ok(text))))
    }
}

fn rng(number: usize) -> SmallRng {
    SmallRng::seed_from_u64(number as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_question_is_asked_once_and_then_by_the_law() {
        let varied = Varied::new(1000);
        assert!((0..1000).map(|number| varied.key(number)).eq(0..1000));
        let mut counts = BTreeMap::<usize, u32>::new();
        for number in 1000..101_000 {
            *counts.entry(varied.key(number)).or_default() += 1;
        }
        let mut counts: Vec<u32> = counts.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        // 1/H with the harmonic number of 1000 at 0.99, 7.73: an eighth of all.
        assert!((12_000..14_000).contains(&counts[0]), "{}", counts[0]);
        assert!((1.8..2.2).contains(&(f64::from(counts[0]) / f64::from(counts[1]))));
        assert!(counts.len() > 990);
    }

    #[test]
    fn words_vary_in_what_a_key_does_not_keep() {
        let text = "Which photographers fit an outdoor ceremony?";
        let words = |text: &str| {
            let lower = text.to_lowercase();
            lower
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let worded: Vec<String> = (0..20)
            .map(|number| worded(text, &mut rng(number)))
            .collect();
        assert!(worded.iter().all(|varied| words(varied) == words(text)));
        assert!(worded.iter().any(|varied| varied.contains("  ")));
        assert!(worded.iter().any(|varied| *varied != worded[0]));
    }

    #[test]
    fn answers_are_of_many_lengths_and_name_vendors() {
        let answers: Vec<String> = (0..500).map(answer).collect();
        let mean = answers.iter().map(String::len).sum::<usize>() / answers.len();
        assert!((1400..1800).contains(&mean), "{mean}");
        let vendors = |text: &String| text.matches(" v-").count();
        assert!(answers.iter().all(|text| vendors(text) <= MOST_VENDORS));
        assert!(answers.iter().any(|text| vendors(text) == MOST_VENDORS));
        assert_eq!(answer(7), answers[7]);
    }
}
