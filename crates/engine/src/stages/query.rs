//! A query record on its way in and its answer on the way out, without Kafka.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use wedcache_codec::{Decoded, Decoder, Encoder, Reject};
use wedcache_model::clock::Clock;
use wedcache_model::record::RecordId;
use wedcache_model::{
    AiAnswer, AiQuery, Coordinates, KeyMemo, Prepared, Tag, Text, Timestamp, TraceParent,
};
use wedcache_rules::invalidation::TagTable;
use wedcache_rules::topology::Policy;

use crate::observe::{self, Answered, DeadLettered, Input, Observer as _, Observers, TakenAs};
use crate::policy::PolicyInForce;
use crate::resolver::{Ask, Outcome, Resolver};

/// Reads queries, and answers those that need not wait.
#[derive(Clone)]
pub struct Queries {
    pub reader: QueryReader,
    pub resolver: Arc<Resolver>,
}

/// A query record as it was read.
#[derive(Debug, Clone, Copy)]
pub struct QueryRecord<'v> {
    pub value: Option<&'v [u8]>,
    pub trace: Option<TraceParent>,
    pub topic: &'v Arc<str>,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: Timestamp,
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

impl<'v> QueryRecord<'v> {
    /// Returns the record with this value at this place.
    pub fn at(place: &'v Coordinates, value: Option<&'v [u8]>, trace: Option<TraceParent>) -> Self {
        Self {
            value,
            trace,
            topic: &place.topic,
            partition: place.partition,
            offset: place.offset,
            timestamp: place.timestamp,
        }
    }

    /// Returns what [`Coordinates::answer_id`] returns for the record's place.
    fn answer_id(&self) -> RecordId {
        RecordId::of_place(self.topic, self.partition, self.offset, self.timestamp)
    }

    fn place(&self) -> Coordinates {
        Coordinates {
            topic: Arc::clone(self.topic),
            partition: self.partition,
            offset: self.offset,
            timestamp: self.timestamp,
        }
    }
}

impl Queries {
    /// Reads a record, and answers its query if memory can or if the deadline has passed. `memo` is
    /// the caller's own.
    pub fn take<'v>(&self, record: &QueryRecord<'v>, memo: &mut KeyMemo) -> QueryStep<'v> {
        let answer_id = || record.answer_id();
        match self
            .reader
            .take(record.value, answer_id, record.trace, memo)
        {
            Taken::Ask(ask) => self.at_once(ask),
            Taken::Null => {
                self.taken(TakenAs::Null);
                QueryStep::Null
            }
            Taken::Dead(reject) => self.dead(record, reject),
            Taken::Unresolved { schema_id } => {
                self.taken(TakenAs::Parked);
                QueryStep::Unresolved { schema_id }
            }
        }
    }

    /// Reads a record again after the registry has responded about its schema; never returns
    /// [`QueryStep::Unresolved`].
    pub fn take_again<'v>(
        &self,
        record: &QueryRecord<'v>,
        schema: Result<u32, Reject>,
    ) -> QueryStep<'v> {
        let schema_id = match schema {
            Ok(schema_id) => schema_id,
            Err(reject) => return self.dead(record, reject),
        };
        let (answer_id, memo) = (|| record.answer_id(), &mut KeyMemo::none());
        match self
            .reader
            .take(record.value, answer_id, record.trace, memo)
        {
            Taken::Ask(ask) => self.at_once(ask),
            Taken::Dead(reject) => self.dead(record, reject),
            Taken::Null | Taken::Unresolved { .. } => {
                self.dead(record, Reject::unknown_schema_id(schema_id))
            }
        }
    }

    fn at_once<'v>(&self, ask: Ask<Text<'v>>) -> QueryStep<'v> {
        self.taken(TakenAs::Event);
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

    fn dead(&self, record: &QueryRecord<'_>, reject: Reject) -> QueryStep<'static> {
        self.taken(TakenAs::DeadLetter);
        self.resolver.parts().observer.dead_lettered(&DeadLettered {
            input: Input::Queries,
            place: &record.place(),
            reason: reject.reason.as_str(),
            detail: &reject.detail,
        });
        QueryStep::Dead(reject)
    }

    #[inline]
    fn taken(&self, result: TakenAs) {
        let input = Input::Queries;
        let observer = &self.resolver.parts().observer;
        observer.taken(&observe::Taken { input, result });
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

/// Turns outcomes into the values of answers, and tells observers of them.
#[derive(Clone)]
pub struct AnswerWriter {
    pub encoder: Arc<Encoder>,
    pub observer: Observers,
    pub clock: Clock,
}

/// An answer whose value is written.
#[derive(Debug)]
#[must_use = "every answer is told to the observers: AnswerWriter::tell"]
pub struct Written<'a, S> {
    ask: &'a Ask<S>,
    outcome: &'a Outcome,
    answer: AiAnswer<'a>,
    took: Duration,
}

impl AnswerWriter {
    /// Encodes the answer into the buffer, replacing its content.
    pub fn write<'a, S: AsRef<str>>(
        &self,
        ask: &'a Ask<S>,
        outcome: &'a Outcome,
        value: &mut Vec<u8>,
    ) -> Written<'a, S> {
        let answer = outcome.answer(ask, self.clock.now());
        self.encoder.encode_answer(&answer, outcome.body(), value);
        Written {
            ask,
            outcome,
            answer,
            took: ask.arrived.elapsed(),
        }
    }

    /// Tells the observers of an answer.
    pub fn tell<S: AsRef<str>>(&self, written: &Written<'_, S>) {
        let &Written {
            ask,
            outcome,
            ref answer,
            took,
        } = written;
        self.observer.answered(&Answered {
            asked: ask.asked(),
            query: ask.querying(),
            answer,
            data: outcome.body(),
            operation: outcome.operation(ask),
            entry: outcome.entry(),
            took,
        });
    }
}
