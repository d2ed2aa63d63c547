//! Producers: idempotent, bounded, with deliveries that finish the inputs' tickets.

mod options;
mod polled;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rdkafka::error::KafkaError as LibraryError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, PurgeConfig};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::oneshot;

pub use self::options::{Compression, OutputOptions};
use wedcache_model::Timestamp;
use wedcache_model::record::TraceParent;
use wedcache_model::trouble::Throttle;

use self::polled::{OutputContext, PolledProducer};
use super::KafkaError;
use super::access::Wants;
use super::client::{ClientLog, LOG_INTERVAL};
use super::delivery_reports::{DeliveryReports, LastPartition, ReportToken};
use super::member::Ticket;
use super::returned::Returned;

/// The time for which a wait for room in the queue polls before the next attempt.
const ROOM_WAIT: Duration = Duration::from_millis(5);
/// The longest wait for the reports of a producer that is replaced.
const RENEW_PATIENCE: Duration = Duration::from_secs(2);

/// A record to be produced.
#[derive(Debug, Clone, Copy)]
pub struct OutRecord<'a> {
    pub topic: &'a str,
    /// The partition; `None` to choose it by the key's hash, as Java clients do.
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub timestamp: Option<Timestamp>,
    /// The trace, which is written as the `traceparent` header.
    pub trace: Option<TraceParent>,
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

impl<'a> OutRecord<'a> {
    pub fn to(topic: &'a str, key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Self {
        Self {
            topic,
            partition: None,
            key,
            value,
            timestamp: None,
            trace: None,
            headers: &[],
        }
    }

    pub(super) fn owned_headers(&self) -> Option<OwnedHeaders> {
        let count = self.headers.len() + usize::from(self.trace.is_some());
        if count == 0 {
            return None;
        }
        let mut headers = OwnedHeaders::new_with_capacity(count);
        if let Some(trace) = self.trace {
            headers = headers.insert(Header {
                key: TraceParent::HEADER,
                value: Some(&trace.text()),
            });
        }
        for &(key, value) in self.headers {
            headers = headers.insert(Header { key, value });
        }
        Some(headers)
    }
}

/// The effect of a delivery report.
#[derive(Debug)]
pub enum Delivery {
    /// Nobody waits for it.
    Forget,
    /// The input is finished once the output has arrived. An output that could not be delivered
    /// goes to [`Output::returned`], with the ticket.
    Finish(Ticket),
    /// A waiter gets the result.
    Report(oneshot::Sender<Result<Appended, DeliveryFailed>>),
}

/// The place of a produced record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub partition: i32,
    pub offset: i64,
}

/// The error for a record that was taken but did not arrive, and never will by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record for {topic} was not delivered: {code}")]
pub struct DeliveryFailed {
    pub topic: String,
    pub code: RDKafkaErrorCode,
}

/// The reason why a record was not even taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the producer's queue is full")]
    QueueFull,
    #[error("the record is larger than the producer allows")]
    TooLarge,
    #[error("the producer cannot go on")]
    Fatal,
    #[error("the producer refused the record: {0}")]
    Invalid(RDKafkaErrorCode),
}

impl Refusal {
    /// Returns librdkafka's code for the refusal.
    pub fn code(self) -> RDKafkaErrorCode {
        match self {
            Self::QueueFull => RDKafkaErrorCode::QueueFull,
            Self::TooLarge => RDKafkaErrorCode::MessageSizeTooLarge,
            Self::Fatal => RDKafkaErrorCode::Fatal,
            Self::Invalid(code) => code,
        }
    }
}

/// A refused record's delivery, handed back so that its ticket is not lost.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    pub reason: Refusal,
    pub delivery: Delivery,
}

/// Counts of one producer since its start.
#[derive(Debug, Default)]
pub struct OutputCounters {
    pub taken: AtomicU64,
    /// Records that arrived; not counted if only failures are reported.
    pub delivered: AtomicU64,
    /// Records that were taken and could not be delivered.
    pub failed: AtomicU64,
    /// Attempts that were refused because the queue was full.
    pub queue_full: AtomicU64,
    /// Records that [`Output::offer`] has dropped.
    pub dropped: AtomicU64,
}

/// A producer; clones share it.
#[derive(Clone)]
pub struct Output {
    options: Arc<OutputOptions>,
    /// The producer, which [`Output::renew`] replaces.
    producer: Arc<ArcSwap<PolledProducer>>,
    reports: Arc<DeliveryReports>,
    last_partition: LastPartition,
    reports_failures_only: bool,
    counters: Arc<OutputCounters>,
    returned: Arc<Returned>,
    dropped_log: Arc<Throttle>,
}

impl Output {
    /// Makes a producer. Nothing is sent yet, so a cluster that is away is only noticed later.
    pub fn new(options: &OutputOptions) -> Result<Self, KafkaError> {
        let context = OutputContext {
            log: ClientLog::new(&options.client, Wants::write()),
            counters: Arc::default(),
            returned: Arc::default(),
            reports: Arc::default(),
            throttle: Arc::new(Throttle::new(LOG_INTERVAL)),
        };
        let (counters, returned) = (Arc::clone(&context.counters), Arc::clone(&context.returned));
        let reports = Arc::clone(&context.reports);
        let producer = PolledProducer::start(options, context)?;
        Ok(Self {
            options: Arc::new(options.clone()),
            producer: Arc::new(ArcSwap::from_pointee(producer)),
            reports,
            last_partition: LastPartition::default(),
            reports_failures_only: options.reports_failures_only,
            counters,
            returned,
            dropped_log: Arc::new(Throttle::new(LOG_INTERVAL)),
        })
    }

    /// Puts a record into the queue; never waits. Key and value are copied.
    pub fn send(&self, record: &OutRecord<'_>, delivery: Delivery) -> Result<(), Refused> {
        debug_assert!(
            !self.reports_failures_only || matches!(delivery, Delivery::Forget),
            "nobody would tell {delivery:?} that the record has arrived"
        );
        let reports = &self.reports;
        let base = BaseRecord {
            topic: record.topic,
            partition: record.partition,
            payload: record.value,
            key: record.key,
            timestamp: record.timestamp.map(|at| at.0),
            headers: record.owned_headers(),
            delivery_opaque: reports.write(delivery, &self.last_partition).to_opaque(),
        };
        match self.producer.load().inner.send(base) {
            Ok(()) => {
                self.counters.taken.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err((error, base)) => Err(Refused {
                reason: self.refusal(&error),
                delivery: reports.take_back(ReportToken::of_opaque(base.delivery_opaque)),
            }),
        }
    }

    /// Sends like [`Output::send`], for poll threads: waits up to `wait` for room in the queue and
    /// serves delivery reports meanwhile.
    pub fn send_or_wait(
        &self,
        record: &OutRecord<'_>,
        mut delivery: Delivery,
        wait: Duration,
    ) -> Result<(), Refused> {
        let deadline = Instant::now() + wait;
        loop {
            match self.send(record, delivery) {
                Err(refused) if refused.reason == Refusal::QueueFull => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(refused);
                    }
                    delivery = refused.delivery;
                    self.producer.load().poll(left.min(ROOM_WAIT));
                }
                done => return done,
            }
        }
    }

    /// Sends like [`Output::send`], for tasks: waits for room until the deadline. If it is
    /// cancelled, the record was not taken, and its ticket is dropped.
    pub async fn send_by(
        &self,
        record: &OutRecord<'_>,
        mut delivery: Delivery,
        deadline: Instant,
    ) -> Result<(), Refused> {
        loop {
            match self.send(record, delivery) {
                Err(refused) if refused.reason == Refusal::QueueFull => {
                    if Instant::now() >= deadline {
                        return Err(refused);
                    }
                    delivery = refused.delivery;
                    tokio::time::sleep(ROOM_WAIT).await;
                }
                done => return done,
            }
        }
    }

    /// Sends a record that may be lost: if the queue is full, the record is dropped and counted.
    /// Returns true if it was taken.
    pub fn offer(&self, record: &OutRecord<'_>) -> bool {
        let Err(refused) = self.send(record, Delivery::Forget) else {
            return true;
        };
        self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        if let Some(more) = self.dropped_log.pass() {
            tracing::warn!(topic = record.topic, reason = %refused.reason, more, "record dropped");
        }
        false
    }

    /// Waits until all records that were taken are delivered or failed; returns false if the
    /// timeout came first. If it is cancelled, it goes on in the background without effect.
    pub async fn flush(&self, timeout: Duration) -> bool {
        let producer = self.producer.load_full();
        let flush = tokio::task::spawn_blocking(move || {
            let delivered = producer.inner.flush(timeout).is_ok();
            producer.context().reports.pass_on();
            delivered
        });
        flush.await.unwrap_or(false)
    }

    /// Returns the fatal error after which the producer takes nothing any more: it cannot keep its
    /// promise of order and once-only, or was fenced.
    pub fn fatal(&self) -> Option<String> {
        let (code, text) = self.producer.load().inner.client().fatal_error()?;
        Some(format!("{code}: {text}"))
    }

    /// Replaces a producer that cannot go on. Records that the old one had not delivered are
    /// returned, or reported as failed; some of them may have arrived. Blocks for a moment.
    pub fn renew(&self) -> Result<(), KafkaError> {
        let context = self.producer.load().context().clone();
        let old = self
            .producer
            .swap(Arc::new(PolledProducer::start(&self.options, context)?));
        old.inner.purge(PurgeConfig::default().queue().inflight());
        // The old producer's reports are served here, because its thread ends with its last user.
        let deadline = Instant::now() + RENEW_PATIENCE;
        while old.inner.in_flight_count() > 0 && Instant::now() < deadline {
            old.poll(ROOM_WAIT);
        }
        Ok(())
    }

    /// Returns the number of records that were taken and are not yet delivered.
    pub fn in_flight(&self) -> usize {
        usize::try_from(self.producer.load().inner.in_flight_count()).unwrap_or(0)
    }

    /// Returns the place where undelivered records wait, with the tickets that wait for them.
    pub fn returned(&self) -> &Arc<Returned> {
        &self.returned
    }

    pub fn counters(&self) -> &OutputCounters {
        &self.counters
    }

    fn refusal(&self, error: &LibraryError) -> Refusal {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => {
                self.counters.queue_full.fetch_add(1, Ordering::Relaxed);
                Refusal::QueueFull
            }
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => Refusal::TooLarge,
            Some(RDKafkaErrorCode::Fatal) => Refusal::Fatal,
            Some(code) => Refusal::Invalid(code),
            None => Refusal::Invalid(RDKafkaErrorCode::InvalidArgument),
        }
    }
}
