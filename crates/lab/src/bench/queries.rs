//! Generated queries of a few hundred bytes, over a set number of cache keys.

use super::Wire;
use super::varied::Varied;
use wedcache::clock::Clock;
use wedcache::codec::RecordKind;
use wedcache::model::event::{BudgetRange, Location, QueryOptions, Question, WeddingContext};
use wedcache::model::{AiQuery, Date};

/// The cache type of the queries that are to be hits.
pub const HIT_TYPE: &str = "vendor_matching";
/// The cache type of the queries that nobody has asked before.
pub const MISS_TYPE: &str = "venue_recommendations";

/// Days to the wedding: so many that its nearness does not shorten the lifetime of an answer.
const DAYS_AHEAD: i32 = 400;
/// The number of couples that ask; they share the answers. A prime, so that every key is asked for
/// in every partition.
const WEDDINGS: usize = 4999;

/// A generator of queries.
#[derive(Debug, Clone)]
pub struct Queries {
    /// The number of different cache keys: query `n` has the key `n % keys`, unless they are varied.
    pub keys: usize,
    pub format: Wire,
    /// The interval of misses: query `n` has a key of its own if `n` is a multiple of this number.
    miss_every: Option<usize>,
    /// The law by which the keys are asked for; `None` for one after the other.
    varied: Option<Varied>,
    date: Option<Date>,
}

impl Queries {
    pub fn new(keys: usize, format: Wire, clock: &Clock) -> Self {
        let date = Date::from_epoch_days(clock.now().date().epoch_days() + DAYS_AHEAD);
        Self {
            keys,
            format,
            miss_every: None,
            varied: None,
            date,
        }
    }

    /// Asks for each key once, and then as couples do: by Zipf's law, in other words each time.
    pub fn varied(self) -> Self {
        Self {
            varied: Some(Varied::new(self.keys)),
            ..self
        }
    }

    /// Makes every n-th query a miss; 0 means none.
    pub fn with_a_miss_in(self, every: usize) -> Self {
        Self {
            miss_every: (every > 0).then_some(every),
            ..self
        }
    }

    /// Returns whether query `number` is one that nobody has asked before.
    pub fn is_miss(&self, number: usize) -> bool {
        self.miss_every
            .is_some_and(|every| number.is_multiple_of(every))
    }

    /// Returns the key and the value of query record `number`.
    pub fn record(&self, number: usize) -> (String, Vec<u8>) {
        let query = self.query(number);
        let value = match self.format {
            Wire::Json => {
                serde_json::to_vec(&query).expect("a query has no map with keys that are not text")
            }
            Wire::Avro => avro(&query),
        };
        (query.wedding_context.wedding_id.unwrap_or_default(), value)
    }

    pub fn query(&self, number: usize) -> AiQuery {
        if self.is_miss(number) {
            return self.about(number, MISS_TYPE, number);
        }
        let Some(varied) = &self.varied else {
            return self.about(number, HIT_TYPE, number % self.keys.max(1));
        };
        let key = varied.key(number);
        varied.vary(number, key, self.about(number, HIT_TYPE, key))
    }

    /// Returns query `number` about question `key`.
    fn about(&self, number: usize, cache_type: &str, key: usize) -> AiQuery {
        AiQuery {
            query_id: format!("q-bench-{number:09}"),
            query: Question {
                cache_type: cache_type.to_owned(),
                content: format!(
                    "Which photographers fit an outdoor ceremony in a barn with about {key} fairy \
                     lights, who know how to work at dusk and have been at this place before?"
                ),
                vendor_types: Vec::new(),
                vendor_ids: Vec::new(),
                user_id: Some(format!("u-{:06}", number % WEDDINGS)),
            },
            wedding_context: WeddingContext {
                wedding_id: Some(format!("w-{:06}", number % WEDDINGS)),
                location: Location {
                    city: "Austin".to_owned(),
                    state: "TX".to_owned(),
                    country: "US".to_owned(),
                },
                wedding_date: self.date,
                budget_range: Some(BudgetRange::Moderate),
                wedding_style: Some("rustic".to_owned()),
                guest_count: Some(120),
                vendor_preferences: vec!["photographer".to_owned(), "florist".to_owned()],
            },
            options: QueryOptions::default(),
            asked_at: None,
        }
    }
}

/// Encodes a query as an Avro single object, in the field order of `schemas/AiQuery.avsc`.
fn avro(query: &AiQuery) -> Vec<u8> {
    let mut out = vec![0xc3, 0x01];
    out.extend(RecordKind::AiQuery.fingerprint().to_le_bytes());
    let (question, wedding) = (&query.query, &query.wedding_context);
    text(&mut out, &query.query_id);
    text(&mut out, &question.cache_type);
    text(&mut out, &question.content);
    texts(&mut out, &question.vendor_types);
    texts(&mut out, &question.vendor_ids);
    optional(&mut out, question.user_id.as_deref(), text);
    optional(&mut out, wedding.wedding_id.as_deref(), text);
    for part in [
        &wedding.location.city,
        &wedding.location.state,
        &wedding.location.country,
    ] {
        text(&mut out, part);
    }
    let number = |out: &mut Vec<u8>, value: i64| long(out, value);
    optional(
        &mut out,
        wedding.wedding_date.map(|date| date.epoch_days().into()),
        number,
    );
    optional(
        &mut out,
        wedding.budget_range.map(BudgetRange::as_str),
        text,
    );
    optional(&mut out, wedding.wedding_style.as_deref(), text);
    optional(&mut out, wedding.guest_count.map(i64::from), number);
    texts(&mut out, &wedding.vendor_preferences);
    // Null for the options and for the time of asking.
    long(&mut out, 0);
    long(&mut out, 0);
    out
}

/// Writes zigzag and base 128, the least significant group first.
fn long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    loop {
        let group = rest.to_le_bytes()[0] & 0x7f;
        rest >>= 7;
        if rest == 0 {
            return out.push(group);
        }
        out.push(group | 0x80);
    }
}

fn length(out: &mut Vec<u8>, len: usize) {
    long(out, i64::try_from(len).unwrap_or(i64::MAX));
}

fn text(out: &mut Vec<u8>, text: &str) {
    length(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Writes the union of null and a value.
fn optional<T>(out: &mut Vec<u8>, value: Option<T>, write: impl Fn(&mut Vec<u8>, T)) {
    long(out, i64::from(value.is_some()));
    if let Some(value) = value {
        write(out, value);
    }
}

/// Writes the union of null and an array.
fn texts(out: &mut Vec<u8>, values: &[String]) {
    long(out, 1);
    if !values.is_empty() {
        length(out, values.len());
        for value in values {
            text(out, value);
        }
    }
    long(out, 0);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use wedcache::codec::{Decoded, Decoder, Schemas};

    #[test]
    fn both_formats_say_the_same_query() {
        let decoder = Decoder::new(Arc::new(Schemas::embedded()), usize::MAX);
        for format in [Wire::Json, Wire::Avro] {
            let queries = Queries::new(1000, format, &Clock::System);
            let (key, value) = queries.record(12_345);
            assert_eq!(key, "w-002347");
            let Decoded::Event(read) = decoder.decode_query(Some(&value)) else {
                panic!("{format:?} is not read");
            };
            assert_eq!(read, queries.query(12_345));
        }
    }

    #[test]
    fn a_json_query_is_of_the_size_that_is_told() {
        let value = Queries::new(1000, Wire::Json, &Clock::System).record(0).1;
        assert!((500..700).contains(&value.len()), "{}", value.len());
    }
    #[test]
    fn a_miss_shares_its_key_with_no_other_query() {
        let queries = Queries::new(10, Wire::Json, &Clock::System).with_a_miss_in(4);
        let asked = |number| queries.query(number).query;
        let misses: Vec<usize> = (0..12).filter(|number| queries.is_miss(*number)).collect();
        assert_eq!(misses, [0, 4, 8]);
        assert_eq!(asked(4).cache_type, MISS_TYPE);
        assert_ne!(asked(4).content, asked(8).content);
        assert_eq!(asked(1).content, asked(11).content);
    }
}
