//! A query record on its way in and its answer on the way out, without Kafka.

use std::sync::Arc;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::codec::{Decoded, Decoder, Encoder, Reject};
use crate::invalidation::TagTable;
use crate::metrics::{Metrics, QueryDone};
use crate::model::key;
use crate::model::record::RecordId;
use crate::model::{AiQuery, KeyMemo, Prepared, Tag, Text, TraceParent};
use crate::policy::PolicyInForce;
use crate::resolver::{Ask, MetricDimensions, Outcome, Resolver};
use crate::topology::Policy;

/// The name of the input in metrics.
const INPUT: &str = "queries";

/// Reads queries, and answers those that need not wait.
#[derive(Clone)]
pub struct Queries {
    pub reader: QueryReader,
    pub resolver: Arc<Resolver>,
    pub metrics: Arc<Metrics>,
}

/// What a query record comes to at once.
#[derive(Debug)]
pub enum QueryStep<'v> {
    /// From memory, or too late.
    Answered {
        ask: Ask<Text<'v>>,
        outcome: Outcome,
    },
    /// To be resolved in a task: [`Resolver::resolve`].
    Waits(Ask),
    /// A null value: the record is done.
    Null,
    /// For the dead-letter topic.
    Dead(Reject),
    /// The registry has to be asked for this schema, then [`Queries::take_again`].
    Unresolved { schema_id: u32 },
}

impl Queries {
    /// Reads a record's value, and answers it if memory can or if its deadline has passed. Makes
    /// `answer_id` only if there is a query to answer. `memo` is the caller's own.
    pub fn take<'v>(
        &self,
        value: Option<&'v [u8]>,
        answer_id: impl FnOnce() -> RecordId,
        trace: Option<TraceParent>,
        memo: &mut KeyMemo,
    ) -> QueryStep<'v> {
        match self.reader.take(value, answer_id, trace, memo) {
            Taken::Ask(ask) => {
                self.metrics.query_event();
                self.at_once(ask)
            }
            Taken::Null => {
                self.metrics.record(INPUT, "null");
                QueryStep::Null
            }
            Taken::Dead(reject) => self.dead(reject),
            Taken::Unresolved { schema_id } => {
                self.metrics.record(INPUT, "parked");
                QueryStep::Unresolved { schema_id }
            }
        }
    }

    /// Reads a record again after the registry has responded about its schema; never returns
    /// [`QueryStep::Unresolved`].
    pub fn take_again<'v>(
        &self,
        schema: Result<u32, Reject>,
        value: Option<&'v [u8]>,
        answer_id: impl FnOnce() -> RecordId,
        trace: Option<TraceParent>,
    ) -> QueryStep<'v> {
        let schema_id = match schema {
            Ok(schema_id) => schema_id,
            Err(reject) => return self.dead(reject),
        };
        match self
            .reader
            .take(value, answer_id, trace, &mut KeyMemo::none())
        {
            Taken::Ask(ask) => {
                self.metrics.query_event();
                self.at_once(ask)
            }
            Taken::Dead(reject) => self.dead(reject),
            Taken::Null | Taken::Unresolved { .. } => {
                self.dead(Reject::unknown_schema_id(schema_id))
            }
        }
    }

    fn at_once<'v>(&self, ask: Ask<Text<'v>>) -> QueryStep<'v> {
        if ask.came_late() {
            let outcome = Outcome::Expired;
            return QueryStep::Answered { ask, outcome };
        }
        match self.resolver.hit(&ask, ask.arrived_at) {
            Some(hit) => QueryStep::Answered {
                ask,
                outcome: Outcome::Hit(hit),
            },
            None => QueryStep::Waits(ask.to_owned()),
        }
    }

    fn dead(&self, reject: Reject) -> QueryStep<'static> {
        self.metrics.record(INPUT, "dead_letter");
        self.metrics.dead_letter(INPUT, reject.reason.as_str());
        QueryStep::Dead(reject)
    }
}

/// Turns values into questions for the resolver.
#[derive(Clone)]
pub struct QueryReader {
    pub decoder: Arc<Decoder>,
    pub policies: Arc<PolicyInForce>,
    pub table: Arc<TagTable>,
    pub clock: Clock,
}

/// The content of a query record's value.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a question lives on the stack of the poll thread, so that reading it allocates little"
)]
pub enum Taken<'v> {
    Ask(Ask<Text<'v>>),
    /// A null value.
    Null,
    /// For the dead-letter topic.
    Dead(Reject),
    /// The registry has to be asked for this schema first.
    Unresolved {
        schema_id: u32,
    },
}

impl QueryReader {
    /// Reads a record's value. Makes `answer_id` only if there is a query to answer. `memo` is the
    /// caller's own.
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
        let policy = self.policies.get();
        match Prepared::remembered(memo, &policy.catalog, &query) {
            Ok(prepared) => Taken::Ask(self.ask(query, (prepared, policy), answer_id(), trace)),
            Err(unknown) => Taken::Dead(Reject::unknown_cache_type(&unknown.name)),
        }
    }

    /// Returns a decoded query as a question that arrives now.
    fn ask<S>(
        &self,
        query: AiQuery<S>,
        (prepared, policy): (Prepared, Arc<Policy>),
        answer_id: RecordId,
        trace: Option<TraceParent>,
    ) -> Ask<S> {
        Ask {
            answer_id,
            asker: prepared.asker.iter().map(Tag::hash).collect(),
            query,
            prepared,
            policy,
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
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
}

impl AnswerWriter {
    /// Encodes both into the buffers, replacing their content, and counts the query.
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
            season: key::season(&ask.policy.catalog, &ask.query),
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
