//! Where records go: answers and dead letters by one producer, the invalidation log by another,
//! metrics by a third, so that none waits in another's queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::codec::{Encoder, Reject};
use crate::kafka::dead_letters::{self, DeadLetter, OwnedHeader};
use crate::kafka::producer::{Refusal, Refused};
use crate::kafka::{Delivery, OutRecord, Output};
use crate::model::invalidation::CacheAlert;
use crate::model::{CacheMetric, Coordinates, TraceParent};
use crate::resolver::MetricSink;

/// The names of the output topics.
#[derive(Debug, Clone)]
pub struct OutputTopics {
    pub answers: Arc<str>,
    pub metrics: Arc<str>,
    pub invalidations: Arc<str>,
    pub alerts: Arc<str>,
    pub dead_letters: Arc<str>,
}

/// All producers of the process; clones share them.
#[derive(Clone)]
pub struct Outputs {
    pub topics: Arc<OutputTopics>,
    pub encoder: Arc<Encoder>,
    /// Answers, dead letters and alerts: they must arrive.
    pub answers: Output,
    /// The invalidation log.
    pub log: Output,
    /// Metric records: dropped where Kafka does not take them.
    pub metrics: Output,
}

/// A dead letter that owns its parts.
pub struct Letter {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    headers: Vec<OwnedHeader>,
}

/// How long a task waits for room in a producer's queue before it says so and waits on.
const ROOM_PATIENCE: Duration = Duration::from_secs(30);

impl Letter {
    /// The letter for a record that cannot be used, and why.
    pub fn of<'a>(
        original: Original<'a>,
        headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
        reject: &Reject,
    ) -> Self {
        let letter = DeadLetter {
            reason: reject.reason.as_str(),
            detail: &reject.detail,
            place: original.place,
        };
        Self {
            key: original.key.map(<[u8]>::to_vec),
            value: original.value.map(<[u8]>::to_vec),
            headers: dead_letters::headers(headers, &letter, TraceParent::fresh()),
        }
    }
}

/// A record as it came.
#[derive(Clone, Copy)]
pub struct Original<'a> {
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub place: &'a Coordinates,
}

impl Outputs {
    /// Sends a dead letter, waiting for room as long as it takes.
    pub async fn dead_letter(&self, letter: &Letter, delivery: Delivery) {
        let headers: Vec<(&str, Option<&[u8]>)> = letter
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
            .collect();
        let record = OutRecord {
            headers: &headers,
            ..OutRecord::to(
                &self.topics.dead_letters,
                letter.key.as_deref(),
                letter.value.as_deref(),
            )
        };
        // A letter that cannot be sent leaves its record unfinished: the partition stops there
        // and the watchdog speaks, since skipping it would lose it.
        if let Err(refused) = send_patiently(&self.answers, &record, delivery).await {
            tracing::error!(reason = %refused.reason, "a dead letter cannot be sent");
        }
    }

    /// Sends an alert where the producer takes it.
    pub fn alert(&self, alert: &CacheAlert, trace: TraceParent) {
        tracing::warn!(alert = alert.alert, "{}", alert.summary);
        let mut value = Vec::new();
        self.encoder.encode_alert(alert, &mut value);
        let record = OutRecord {
            trace: Some(trace.child()),
            ..OutRecord::to(
                &self.topics.alerts,
                Some(alert.alert.as_bytes()),
                Some(&value),
            )
        };
        self.answers.offer(&record);
    }

    /// Hands over a metric record that is encoded already.
    pub fn metric(&self, cache_type: &str, value: &[u8], trace: TraceParent) {
        let key = Some(cache_type.as_bytes());
        let record = OutRecord {
            trace: Some(trace),
            ..OutRecord::to(&self.topics.metrics, key, Some(value))
        };
        self.metrics.offer(&record);
    }

    /// Waits until everything taken is delivered, each within `patience`.
    pub async fn flush(&self, patience: Duration) -> bool {
        let (answers, log, metrics) = tokio::join!(
            self.answers.flush(patience),
            self.log.flush(patience),
            self.metrics.flush(patience)
        );
        answers && log && metrics
    }

    /// Why a producer takes nothing any more; the process must be started anew.
    pub fn fatal(&self) -> Option<String> {
        [
            ("answers", &self.answers),
            ("log", &self.log),
            ("metrics", &self.metrics),
        ]
        .into_iter()
        .find_map(|(name, output)| Some(format!("producer of {name}: {}", output.fatal()?)))
    }
}

impl MetricSink for Outputs {
    fn emit(&self, metric: &CacheMetric<'_>, trace: TraceParent) {
        let mut value = Vec::with_capacity(512);
        self.encoder.encode_metric(metric, &mut value);
        self.metric(&metric.cache_type, &value, trace);
    }
}

/// Sends, waiting for room in the queue as long as it takes; an error is final.
pub async fn send_patiently(
    output: &Output,
    record: &OutRecord<'_>,
    mut delivery: Delivery,
) -> Result<(), Refused> {
    loop {
        let deadline = Instant::now() + ROOM_PATIENCE;
        match output.send_by(record, delivery, deadline).await {
            Err(refused) if refused.reason == Refusal::QueueFull => {
                tracing::warn!(topic = record.topic, "the producer's queue stays full");
                delivery = refused.delivery;
            }
            done => return done,
        }
    }
}
