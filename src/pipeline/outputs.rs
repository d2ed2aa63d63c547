//! The producers. Answers, single records, the invalidation log and metrics each have one of their
//! own, so that no record waits in the queue of another kind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::dead_letter_log::DeadLetterLog;
use crate::backoff::{Backoff, Policy};
use crate::codec::{Encoder, Reject};
use crate::kafka::dead_letters::{self, DeadLetterOrigin, OwnedHeader};
use crate::kafka::producer::{Refusal, Refused};
use crate::kafka::{Delivery, OutRecord, Output, Ticket};
use crate::model::Unfinished as _;
use crate::model::{Coordinates, TraceParent};

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
    /// Answers and alerts.
    pub answers: Output,
    /// Dead letters, and answers that did not arrive: each in a batch of its own.
    pub single: Output,
    /// The invalidation log.
    pub log: Output,
    /// Metric records: dropped where Kafka does not take them.
    pub metrics: Output,
    /// The log lines about dead letters.
    pub dead_letter_log: Arc<DeadLetterLog>,
}

/// A record for the dead-letter topic.
pub struct DeadLetter {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    headers: Vec<OwnedHeader>,
    place: Coordinates,
    reject: Reject,
}

/// The pauses between attempts to write a dead letter that the topic does not take.
const WRITE_AGAIN: Policy = Policy::new(Duration::from_millis(500), Duration::from_secs(15));
/// The time for which a task waits for room in a producer's queue before it logs a warning.
const ROOM_PATIENCE: Duration = Duration::from_secs(30);

impl DeadLetter {
    /// Returns the dead letter of a record that cannot be used.
    pub fn of<'a>(
        original: Original<'a>,
        headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
        reject: &Reject,
    ) -> Self {
        let origin = DeadLetterOrigin {
            reason: reject.reason.as_str(),
            detail: &reject.detail,
            place: original.place,
            offset_end: None,
        };
        Self {
            key: original.key.map(<[u8]>::to_vec),
            value: original.value.map(<[u8]>::to_vec),
            headers: dead_letters::headers(headers, &origin, TraceParent::fresh()),
            place: original.place.clone(),
            reject: reject.clone(),
        }
    }
}

/// A record as it was read.
#[derive(Clone, Copy)]
pub struct Original<'a> {
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub place: &'a Coordinates,
}

impl Outputs {
    /// Writes a dead letter, and tries again until the topic has taken it. Returns true once it has
    /// arrived. Until then the record stays unfinished, so the partition's commits stop below it,
    /// and held, so its age raises no alarm. Returns false if the partition has gone to another
    /// member, which will write the dead letter.
    pub async fn dead_letter(&self, letter: &DeadLetter, ticket: &Ticket) -> bool {
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
        let mut backoff = Backoff::new(WRITE_AGAIN);
        loop {
            let (sender, arrived) = oneshot::channel();
            let sent = send_patiently(&self.single, &record, Delivery::Report(sender)).await;
            let why = match sent {
                Err(refused) => refused.reason.to_string(),
                Ok(()) => match arrived.await {
                    Ok(Ok(_)) => {
                        let reject = &letter.reject;
                        self.dead_letter_log
                            .written(&letter.place, reject.reason, &reject.detail);
                        return true;
                    }
                    Ok(Err(failed)) => failed.to_string(),
                    Err(_) => return false,
                },
            };
            ticket.hold();
            self.dead_letter_log.refused(&letter.place, &why);
            tokio::time::sleep(backoff.next_delay()).await;
            if ticket.is_fenced() {
                return false;
            }
        }
    }

    /// Waits until every record is delivered, at most `patience` for each producer. Returns false if
    /// some are not; metrics do not count, since they may be lost.
    pub async fn flush(&self, patience: Duration) -> bool {
        let (answers, single, log, metrics) = tokio::join!(
            self.answers.flush(patience),
            self.single.flush(patience),
            self.log.flush(patience),
            self.metrics.flush(patience)
        );
        if !metrics {
            tracing::warn!("the last metrics could not be delivered; they are lost");
        }
        answers && single && log
    }

    /// Returns all producers, with their names in metrics and in the log.
    pub fn all(&self) -> [(&'static str, &Output); 4] {
        [
            ("answers", &self.answers),
            ("single", &self.single),
            ("log", &self.log),
            ("metrics", &self.metrics),
        ]
    }

    /// Returns the producers that can send no more, with the reason.
    pub fn fatal(&self) -> Vec<(&'static str, Output, String)> {
        self.all()
            .into_iter()
            .filter_map(|(name, output)| Some((name, output.clone(), output.fatal()?)))
            .collect()
    }
}

/// Sends a record, and waits for room in the queue as long as necessary. An error is final.
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
