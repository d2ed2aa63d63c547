//! A plain loop: a Rust program that remembers answers by their questions and promises nothing. It
//! decodes, normalises, hashes, looks up and encodes by the usual crates; it judges no entry, knows no
//! change, and commits nothing.

use std::borrow::Cow;
use std::collections::HashMap;

use super::varied;
use wedcache::clock::Clock;
use wedcache::model::record::RecordId;
use wedcache::model::{
    AiAnswer, AiQuery, CacheMetric, Freshness, LayerName, Operation, Source, Status, Text,
    Timestamp,
};

/// The table of one loop.
pub struct Plain {
    answers: HashMap<blake3::Hash, Kept>,
    clock: Clock,
    /// The text of the current question's key; kept to reuse its buffer.
    key: String,
    number: u64,
}

struct Kept {
    key: String,
    data: String,
    at: Timestamp,
}

impl Plain {
    pub fn new(clock: Clock) -> Self {
        Self {
            answers: HashMap::new(),
            clock,
            key: String::new(),
            number: 0,
        }
    }

    /// Answers a query record's value: writes the answer's and the metric's.
    pub fn answer(&mut self, value: &[u8], [answer, metric]: &mut [Vec<u8>; 2]) {
        answer.clear();
        metric.clear();
        let Ok(query) = serde_json::from_slice::<AiQuery<Text<'_>>>(value) else {
            return;
        };
        let now = self.clock.now();
        write_key(&mut self.key, &query);
        let hash = blake3::hash(self.key.as_bytes());
        let kept = self.answers.entry(hash).or_insert_with(|| Kept {
            key: format!("{}:{}", query.query.cache_type.as_ref(), hash.to_hex()),
            data: varied::answer(u64::from_le_bytes(
                *hash.as_bytes().first_chunk().expect("a hash has 32 bytes"),
            )),
            at: now,
        });
        self.number += 1;
        let id = RecordId::of_place("plain", 0, i64::try_from(self.number).unwrap_or(0), now);
        let record = AiAnswer {
            answer_id: Cow::Borrowed(id.as_str()),
            query_id: Cow::Borrowed(query.query_id.as_ref()),
            status: Status::Answered,
            data: Some(Cow::Borrowed(&kept.data)),
            source: Source::Cache,
            layer: Some(LayerName::Memory),
            freshness: Some(Freshness::Fresh),
            stale_reason: None,
            coalesced: false,
            cached_at: Some(kept.at),
            age_secs: Some(now.since(kept.at).as_secs_f64()),
            cache_type: Cow::Borrowed(query.query.cache_type.as_ref()),
            cache_key: Cow::Borrowed(&kept.key),
            stamp: None,
            view: None,
            tags: Vec::new(),
            model: Some(Cow::Borrowed("simulated-planner")),
            prompt_tokens: Some(0),
            completion_tokens: Some(0),
            cost_usd: Some(0.0),
            saved_usd: Some(0.0021),
            simulated: true,
            error: None,
            answered_at: now,
        };
        serde_json::to_writer(answer, &record).expect("a Vec takes it");
        let id = RecordId::derive(id.as_str(), "outcome");
        let record = CacheMetric {
            metric_id: Cow::Borrowed(id.as_str()),
            answer_id: Some(record.answer_id),
            operation: Operation::Hit,
            coalesced: false,
            cache_type: record.cache_type,
            layer: Some(LayerName::Memory),
            location: Some(Cow::Borrowed(query.wedding_context.location.city.as_ref())),
            season: None,
            budget: None,
            response_time_ms: Some(0.1),
            size_bytes: Some(kept.data.len() as u64),
            cost_usd: Some(0.0),
            saved_usd: Some(0.0021),
            at: now,
        };
        serde_json::to_writer(metric, &record).expect("a Vec takes it");
    }
}

/// Writes what tells one question from another.
fn write_key(out: &mut String, query: &AiQuery<Text<'_>>) {
    let context = &query.wedding_context;
    out.clear();
    for part in [
        query.query.cache_type.as_ref(),
        context.location.city.as_ref(),
        context.location.state.as_ref(),
        context.budget_range.map_or("", |of| of.as_str()),
        context.wedding_style.as_ref().map_or("", AsRef::as_ref),
    ] {
        out.push_str(part);
        out.push('\n');
    }
    for word in query.query.content.as_ref().split_whitespace() {
        out.extend(word.chars().flat_map(char::to_lowercase));
        out.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Wire;
    use crate::bench::queries::Queries;

    #[test]
    fn a_question_in_other_words_gets_the_same_answer() {
        let queries = Queries::new(2, Wire::Json, &Clock::System).varied();
        let mut plain = Plain::new(Clock::System);
        let mut answers = Vec::new();
        for number in 0..40 {
            let mut values = [Vec::new(), Vec::new()];
            plain.answer(&queries.record(number).1, &mut values);
            let [answer, metric] = values
                .map(|value| serde_json::from_slice::<serde_json::Value>(&value).expect("JSON"));
            assert_eq!(answer["answerId"], metric["answerId"]);
            answers.push(answer["data"].to_string());
        }
        answers.sort_unstable();
        answers.dedup();
        assert_eq!((answers.len(), plain.answers.len()), (2, 2));
    }
}
