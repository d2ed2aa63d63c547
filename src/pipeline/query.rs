//! A query record on its way in and its answer on the way out, without Kafka: what the stage does
//! on its poll thread and `wedcache test` in mocked time.

use std::sync::Arc;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::codec::{Decoded, Decoder, Encoder, Reject};
use crate::invalidation::TagTable;
use crate::metrics::{Metrics, QueryDone};
use crate::model::key;
use crate::model::record::RecordId;
use crate::model::{AiQuery, Catalog, KeyMemo, Prepared, Tag, Text, TraceParent};
use crate::resolver::{Ask, MetricDimensions, Outcome};

/// Turns values into questions for the resolver.
#[derive(Clone)]
pub struct QueryReader {
    pub decoder: Arc<Decoder>,
    pub catalog: Arc<Catalog>,
    pub table: Arc<TagTable>,
    pub clock: Clock,
}

/// What a query record's value turned out to be.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a question lives on the stack of the poll thread, which is what it is for"
)]
pub enum Taken<'v> {
    Ask(Ask<Text<'v>>),
    /// A null value: counted and ignored.
    Null,
    /// For the dead-letter topic.
    Dead(Reject),
    /// The registry has to be asked for this schema first.
    Unresolved {
        schema_id: u32,
    },
}

impl QueryReader {
    /// Reads a record's value; `answer_id` is made only where there is a query to answer. The
    /// memo is the caller's own.
    pub fn take<'v>(
        &self,
        value: Option<&'v [u8]>,
        answer_id: impl FnOnce() -> RecordId,
        trace: Option<TraceParent>,
        memo: &mut KeyMemo,
    ) -> Taken<'v> {
        let query = match self.decoder.read_query(value) {
            Decoded::Event(query) => query,
            Decoded::Tombstone => return Taken::Null,
            Decoded::Rejected(reject) => return Taken::Dead(reject),
            Decoded::Unresolved { schema_id } => return Taken::Unresolved { schema_id },
        };
        match Prepared::remembered(memo, &self.catalog, &query) {
            Ok(prepared) => Taken::Ask(self.ask(query, prepared, answer_id(), trace)),
            Err(unknown) => Taken::Dead(Reject::unknown_cache_type(&unknown.name)),
        }
    }

    /// A decoded query as a question that arrives now.
    fn ask<S>(
        &self,
        query: AiQuery<S>,
        prepared: Prepared,
        answer_id: RecordId,
        trace: Option<TraceParent>,
    ) -> Ask<S> {
        Ask {
            answer_id,
            asker: prepared.asker.iter().map(Tag::hash).collect(),
            query,
            prepared,
            trace: trace.map_or_else(TraceParent::fresh, TraceParent::child),
            arrived_at: self.clock.now(),
            arrived: Instant::now(),
            arrival: self.table.position(),
        }
    }
}

/// Turns outcomes into the values of the answer and of the query's metric.
#[derive(Clone)]
pub struct AnswerWriter {
    pub encoder: Arc<Encoder>,
    pub catalog: Arc<Catalog>,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
}

impl AnswerWriter {
    /// Encodes both into the buffers, replacing what is in them, and counts the query.
    pub fn write<S: AsRef<str>>(
        &self,
        ask: &Ask<S>,
        outcome: &Outcome,
        answer_value: &mut Vec<u8>,
        metric_value: &mut Vec<u8>,
    ) {
        let now = self.clock.now();
        let answer = outcome.answer(ask, now);
        self.encoder
            .encode_answer(&answer, outcome.body(), answer_value);
        let dimensions = MetricDimensions {
            location: &ask.prepared.place,
            season: key::season(&self.catalog, &ask.query),
            budget: key::budget(&ask.query),
        };
        let metric = outcome.metric(ask, &dimensions, now);
        self.encoder.encode_metric(&metric, metric_value);
        self.metrics.query(
            &ask.prepared.cache_type.name,
            &QueryDone {
                operation: metric.operation,
                coalesced: metric.coalesced,
                saved_usd: metric.saved_usd.unwrap_or(0.0),
                seconds: metric.response_time_ms.unwrap_or(0.0) / 1000.0,
            },
        );
    }
}
