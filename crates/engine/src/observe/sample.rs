//! Events for tests.

#![allow(clippy::unwrap_used, reason = "only tests use it, and they may panic")]

use std::sync::Arc;
use std::time::Duration;

use wedcache_model::catalog::sample::catalog;
use wedcache_model::event::QueryOptions;
use wedcache_model::record::RecordId;
use wedcache_model::{
    AiAnswer, AiQuery, LayerName, Operation, Position, Prepared, Source, Status, Timestamp,
    TraceParent,
};

use super::{Answered, Asked, Querying};

pub fn asked(cache_type: &Arc<str>) -> Asked<'_> {
    Asked {
        answer_id: RecordId::derive("sample", "answer"),
        cache_type,
        location: "Austin_TX",
        season: "summer",
        budget: "moderate",
        trace: TraceParent::fresh(),
    }
}

/// The parts that an answer's event borrows.
pub struct AnsweredSample {
    prepared: Prepared,
    options: QueryOptions,
    answer: AiAnswer<'static>,
}

impl AnsweredSample {
    pub fn of(cache_type: &str) -> Self {
        let query: AiQuery = serde_json::from_value(serde_json::json!({
            "queryId": "q-1",
            "query": {"type": cache_type, "content": "Who?"},
            "weddingContext": {"location": {"city": "Austin", "state": "TX"}},
        }))
        .unwrap();
        Self {
            prepared: Prepared::of(&catalog(), &query).unwrap(),
            options: query.options,
            answer: AiAnswer {
                answer_id: "a".into(),
                query_id: "q-1".into(),
                status: Status::Answered,
                data: None,
                source: Source::Cache,
                layer: Some(LayerName::Memory),
                freshness: None,
                stale_reason: None,
                coalesced: false,
                cached_at: None,
                age_secs: None,
                cache_type: cache_type.to_owned().into(),
                cache_key: "k".into(),
                stamp: None,
                view: None,
                tags: Vec::new(),
                model: None,
                prompt_tokens: None,
                completion_tokens: None,
                cost_usd: Some(0.0),
                saved_usd: None,
                simulated: false,
                error: None,
                answered_at: Timestamp(5),
            },
        }
    }

    pub fn answered(&self, operation: Operation) -> Answered<'_> {
        Answered {
            asked: asked(&self.prepared.cache_type.name),
            query: Querying {
                prepared: &self.prepared,
                options: &self.options,
                wedding_id: None,
                arrived_at: Timestamp(0),
                arrival: Position(0),
            },
            answer: &self.answer,
            data: None,
            operation,
            entry: None,
            took: Duration::from_millis(1),
        }
    }

    pub fn saves(&mut self, saved_usd: f64) {
        self.answer.saved_usd = Some(saved_usd);
    }
}
