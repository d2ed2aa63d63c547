//! The query stage: hits run to completion on the poll thread, a query that must wait becomes a task.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::outputs::{DeadLetter, Original, Outputs, send_patiently};
use crate::codec::{Registry, Reject, learn_schema};
use crate::kafka::producer::{Refusal, Refused};
use crate::kafka::{Delivery, Handler, InRecord, OutRecord, OwnedRecord, Ticket, Undelivered};
use crate::model::Unfinished as _;
use crate::model::{Coordinates, KeyMemo, Text, TraceParent};
use crate::resolver::{Ask, Outcome};
use crate::stages::query::{AnswerWriter, Queries, QueryRecord, QueryStep};

/// The most time for which the poll thread itself waits for room in the producer's queue.
const ROOM_WAIT: Duration = Duration::from_millis(20);

/// Everything that the stage's poll threads and tasks share.
#[derive(Clone)]
pub struct QueryParts {
    pub queries: Queries,
    pub writer: AnswerWriter,
    pub outputs: Outputs,
    pub registry: Option<Arc<Registry>>,
    pub runtime: Handle,
    /// The tasks of queries that wait.
    pub waiting: TaskTracker,
}

/// One poll thread's half.
pub struct QueryStage {
    parts: QueryParts,
    memo: KeyMemo,
    answer_value: Vec<u8>,
}

impl QueryStage {
    pub fn new(parts: QueryParts) -> Self {
        Self {
            parts,
            memo: KeyMemo::default(),
            answer_value: Vec::with_capacity(4096),
        }
    }

    fn answer(
        &mut self,
        ask: &Ask<Text<'_>>,
        outcome: &Outcome,
        key: Option<&[u8]>,
        ticket: Ticket,
    ) {
        let parts = &self.parts;
        let written = parts.writer.write(ask, outcome, &mut self.answer_value);
        let record = OutRecord {
            trace: Some(ask.trace),
            ..OutRecord::to(&parts.outputs.topics.answers, key, Some(&self.answer_value))
        };
        let sent = parts
            .outputs
            .answers
            .send_or_wait(&record, Delivery::Finish(ticket), ROOM_WAIT);
        parts.writer.tell(&written);
        if let Err(refused) = sent {
            let late = LateAnswer {
                key: key.map(<[u8]>::to_vec),
                value: self.answer_value.clone(),
                trace: ask.trace,
            };
            let parts = parts.clone();
            self.spawn(async move { late.send_on(&parts, refused).await });
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.parts.waiting.spawn_on(task, &self.parts.runtime);
    }
}

impl Handler for QueryStage {
    fn record(&mut self, record: &InRecord<'_>, ticket: Ticket) {
        let parts = &self.parts;
        let query = QueryRecord {
            value: record.value(),
            trace: record.trace_parent(),
            topic: record.topic(),
            partition: record.partition(),
            offset: record.offset(),
            timestamp: record.timestamp(),
        };
        match parts.queries.take(&query, &mut self.memo) {
            QueryStep::Answered { ask, outcome } => {
                self.answer(&ask, &outcome, record.key(), ticket);
            }
            QueryStep::Waits(ask) => {
                let (parts, key) = (parts.clone(), record.key().map(<[u8]>::to_vec));
                self.spawn(async move { resolve(&parts, &ask, key, ticket).await });
            }
            QueryStep::Null => ticket.finish(),
            QueryStep::Dead(reject) => {
                let place = record.coordinates();
                let original = Original {
                    key: record.key(),
                    value: record.value(),
                    place: &place,
                };
                let letter = DeadLetter::of(original, record.headers(), &reject);
                let parts = parts.clone();
                self.spawn(async move { dead_letter(&parts, &letter, ticket).await });
            }
            QueryStep::Unresolved { schema_id } => {
                let parked = Parked::of(record, query.trace);
                let parts = parts.clone();
                self.spawn(async move { parked.resolve(&parts, schema_id, ticket).await });
            }
        }
    }
}

async fn resolve(parts: &QueryParts, ask: &Ask, key: Option<Vec<u8>>, ticket: Ticket) {
    let outcome = parts.queries.resolver.resolve(ask, &ticket).await;
    answer_later(parts, ask, &outcome, key, ticket).await;
}

/// Encodes and sends an answer from a task.
async fn answer_later<S: AsRef<str>>(
    parts: &QueryParts,
    ask: &Ask<S>,
    outcome: &Outcome,
    key: Option<Vec<u8>>,
    ticket: Ticket,
) {
    if ticket.comes_again() {
        // The partition's next owner answers the query, from what was stored here.
        ticket.finish();
        return;
    }
    let mut answer = Vec::with_capacity(4096);
    let written = parts.writer.write(ask, outcome, &mut answer);
    parts.writer.tell(&written);
    drop(written);
    let record = OutRecord {
        trace: Some(ask.trace),
        ..OutRecord::to(&parts.outputs.topics.answers, key.as_deref(), Some(&answer))
    };
    let delivery = Delivery::Finish(ticket);
    if let Err(refused) = send_patiently(&parts.outputs.answers, &record, delivery).await {
        let late = LateAnswer {
            key,
            value: answer,
            trace: ask.trace,
        };
        late.return_to(parts, refused);
    }
}

/// Writes a dead letter, and finishes its record once the letter has arrived.
async fn dead_letter(parts: &QueryParts, letter: &DeadLetter, ticket: Ticket) {
    if parts.outputs.dead_letter(letter, &ticket).await {
        ticket.finish();
    }
}

/// An answer that the producer did not take at once.
struct LateAnswer {
    key: Option<Vec<u8>>,
    value: Vec<u8>,
    trace: TraceParent,
}

impl LateAnswer {
    async fn send_on(self, parts: &QueryParts, refused: Refused) {
        if refused.reason != Refusal::QueueFull {
            return self.return_to(parts, refused);
        }
        let record = OutRecord {
            trace: Some(self.trace),
            ..OutRecord::to(
                &parts.outputs.topics.answers,
                self.key.as_deref(),
                Some(&self.value),
            )
        };
        let sent = send_patiently(&parts.outputs.answers, &record, refused.delivery).await;
        if let Err(refused) = sent {
            self.return_to(parts, refused);
        }
    }

    /// Leaves an answer that the producer does not take to the redelivery.
    fn return_to(self, parts: &QueryParts, refused: Refused) {
        let code = refused.reason.code();
        let Delivery::Finish(ticket) = refused.delivery else {
            return;
        };
        let trace = self.trace.text().to_vec();
        let record = OwnedRecord {
            topic: parts.outputs.topics.answers.to_string(),
            key: self.key,
            value: Some(self.value),
            headers: vec![(TraceParent::HEADER.to_owned(), Some(trace))],
        };
        parts.outputs.answers.returned().put(Undelivered {
            record,
            ticket,
            code,
        });
    }
}

/// A query whose schema is not known yet.
struct Parked {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    place: Coordinates,
    trace: Option<TraceParent>,
}

impl Parked {
    fn of(record: &InRecord<'_>, trace: Option<TraceParent>) -> Self {
        let headers = record
            .headers()
            .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
            .collect();
        Self {
            key: record.key().map(<[u8]>::to_vec),
            value: record.value().map(<[u8]>::to_vec),
            headers,
            place: record.coordinates(),
            trace,
        }
    }

    /// Waits for the schema, then does what the stage does with a record that it can read.
    async fn resolve(self, parts: &QueryParts, schema_id: u32, ticket: Ticket) {
        ticket.hold();
        let learnt = learn_schema(parts.registry.as_deref(), schema_id).await;
        ticket.release();
        let schema = learnt.map(|()| schema_id);
        let record = QueryRecord::at(&self.place, self.value.as_deref(), self.trace);
        match parts.queries.take_again(&record, schema) {
            QueryStep::Answered { ask, outcome } => {
                answer_later(parts, &ask, &outcome, self.key, ticket).await;
            }
            QueryStep::Waits(ask) => resolve(parts, &ask, self.key, ticket).await,
            QueryStep::Dead(reject) => {
                dead_letter(parts, &self.letter(&reject), ticket).await;
            }
            QueryStep::Null | QueryStep::Unresolved { .. } => ticket.finish(),
        }
    }

    fn letter(&self, reject: &Reject) -> DeadLetter {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()));
        let original = Original {
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            place: &self.place,
        };
        DeadLetter::of(original, headers, reject)
    }
}
