//! The query stage: hits run to completion on the poll thread, what must wait becomes a task.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::outputs::{Letter, Original, Outputs, send_patiently};
use super::query::{AnswerWriter, QueryReader, Taken};
use crate::backoff::{Backoff, Policy};
use crate::codec::{Registry, Reject, Resolved};
use crate::kafka::producer::{Refusal, Refused};
use crate::kafka::{Delivery, Handler, InRecord, OutRecord, OwnedRecord, Ticket, Undelivered};
use crate::model::{Coordinates, KeyMemo, Text, TraceParent};
use crate::resolver::{Ask, Outcome, Resolver, Waiter};

/// The input's name in metrics.
const INPUT: &str = "queries";
/// How long the poll thread itself waits for room in the producer's queue.
const ROOM_WAIT: Duration = Duration::from_millis(20);

/// What the stage's poll threads and tasks share.
#[derive(Clone)]
pub struct QueryParts {
    pub reader: QueryReader,
    pub writer: AnswerWriter,
    pub resolver: Arc<Resolver>,
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
    metric_value: Vec<u8>,
}

impl QueryStage {
    pub fn new(parts: QueryParts) -> Self {
        Self {
            parts,
            memo: KeyMemo::default(),
            answer_value: Vec::with_capacity(4096),
            metric_value: Vec::with_capacity(512),
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
        parts
            .writer
            .write(ask, outcome, &mut self.answer_value, &mut self.metric_value);
        let record = OutRecord {
            trace: Some(ask.trace),
            ..OutRecord::to(&parts.outputs.topics.answers, key, Some(&self.answer_value))
        };
        let sent = parts
            .outputs
            .answers
            .send_or_wait(&record, Delivery::Finish(ticket), ROOM_WAIT);
        let cache_type = &ask.prepared.cache_type.name;
        parts
            .outputs
            .metric(cache_type, &self.metric_value, ask.trace.child());
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
        let answer_id = || record.answer_id();
        let trace = record.trace_parent();
        let metrics = &parts.writer.metrics;
        let memo = &mut self.memo;
        match parts.reader.take(record.value(), answer_id, trace, memo) {
            Taken::Ask(ask) => {
                metrics.query_event();
                if ask.came_late() {
                    return self.answer(&ask, &Outcome::Expired, record.key(), ticket);
                }
                if let Some(hit) = parts.resolver.hit(&ask, ask.arrived_at) {
                    return self.answer(&ask, &Outcome::Hit(hit), record.key(), ticket);
                }
                let (parts, key) = (parts.clone(), record.key().map(<[u8]>::to_vec));
                let ask = ask.to_owned();
                self.spawn(async move { resolve(&parts, &ask, key, ticket).await });
            }
            Taken::Null => {
                metrics.record(INPUT, "null");
                ticket.finish();
            }
            Taken::Dead(reject) => {
                let place = record.coordinates();
                let original = Original {
                    key: record.key(),
                    value: record.value(),
                    place: &place,
                };
                let letter = Letter::of(original, record.headers(), &reject);
                let parts = parts.clone();
                self.spawn(async move { bury(&parts, &letter, &reject, ticket).await });
            }
            Taken::Unresolved { schema_id } => {
                metrics.record(INPUT, "parked");
                let parked = Parked::of(record, trace);
                let parts = parts.clone();
                self.spawn(async move { parked.resolve(&parts, schema_id, ticket).await });
            }
        }
    }
}

/// A record that waits for its turn is held: it alarms no watchdog.
impl Waiter for Ticket {
    fn waits(&self) {
        self.hold();
    }

    fn goes_on(&self) {
        self.release();
    }
}

async fn resolve(parts: &QueryParts, ask: &Ask, key: Option<Vec<u8>>, ticket: Ticket) {
    let outcome = parts.resolver.resolve(ask, &ticket).await;
    if ticket.comes_again() {
        // Its partition has another owner by now, who answers it: by what was stored here.
        ticket.finish();
        return;
    }
    answer_later(parts, ask, &outcome, key, ticket).await;
}

/// Encodes and sends an answer from a task.
async fn answer_later(
    parts: &QueryParts,
    ask: &Ask,
    outcome: &Outcome,
    key: Option<Vec<u8>>,
    ticket: Ticket,
) {
    let (mut answer, mut metric) = (Vec::with_capacity(4096), Vec::with_capacity(512));
    parts.writer.write(ask, outcome, &mut answer, &mut metric);
    let cache_type = &ask.prepared.cache_type.name;
    parts.outputs.metric(cache_type, &metric, ask.trace.child());
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

async fn bury(parts: &QueryParts, letter: &Letter, reject: &Reject, ticket: Ticket) {
    let metrics = &parts.writer.metrics;
    metrics.record(INPUT, "dead_letter");
    metrics.dead_letter(INPUT, reject.reason.as_str());
    if parts.outputs.bury(letter, &ticket).await {
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

    /// What the producer does not take is left to the redelivery, as what it cannot deliver is.
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

    async fn resolve(self, parts: &QueryParts, schema_id: u32, ticket: Ticket) {
        ticket.hold();
        let learnt = learn_schema(parts.registry.as_deref(), schema_id).await;
        ticket.release();
        let reject = if let Some(reject) = learnt {
            reject
        } else {
            let answer_id = || self.place.answer_id();
            let value = self.value.as_deref();
            let memo = &mut KeyMemo::none();
            match parts.reader.take(value, answer_id, self.trace, memo) {
                Taken::Ask(ask) => {
                    parts.writer.metrics.query_event();
                    let ask = ask.to_owned();
                    return resolve(parts, &ask, self.key, ticket).await;
                }
                Taken::Dead(reject) => reject,
                Taken::Null | Taken::Unresolved { .. } => Reject::unknown_schema_id(schema_id),
            }
        };
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()));
        let original = Original {
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            place: &self.place,
        };
        let letter = Letter::of(original, headers, &reject);
        bury(parts, &letter, &reject, ticket).await;
    }
}

/// Asks the registry for a schema as long as it takes; a reject where there is none. The caller
/// then decodes again.
pub async fn learn_schema(registry: Option<&Registry>, schema_id: u32) -> Option<Reject> {
    let Some(registry) = registry else {
        return Some(Reject::no_registry(schema_id));
    };
    let mut backoff = Backoff::new(Policy::new(
        Duration::from_millis(200),
        Duration::from_secs(5),
    ));
    loop {
        match registry.resolve(schema_id).await {
            Resolved::Known => return None,
            Resolved::Unknown => return Some(Reject::unknown_schema_id(schema_id)),
            Resolved::Away(error) => {
                tracing::debug!(schema_id, %error, "the registry is away; a record is parked");
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}
