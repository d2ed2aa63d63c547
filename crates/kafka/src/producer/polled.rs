//! A producer with the thread that serves its delivery reports.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::KafkaError as LibraryError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use wedcache_model::trouble::Throttle;

use super::super::KafkaError;
use super::super::client::ClientLog;
use super::super::delivery_reports::{DeliveryReports, ReportToken};
use super::super::returned::{OwnedRecord, Returned, Undelivered};
use super::{Appended, DeliveryFailed, OutputCounters, OutputOptions};

/// The times for which the delivery thread polls before it passes on gathered finishes: while
/// reports come, and while none do (the first one after a rest is passed on at once).
const BUSY_POLL: Duration = Duration::from_millis(5);
const IDLE_POLL: Duration = Duration::from_millis(100);

/// The context that a producer shares with those that replace it.
#[derive(Clone)]
pub(super) struct OutputContext {
    pub(super) log: ClientLog,
    pub(super) counters: Arc<OutputCounters>,
    pub(super) returned: Arc<Returned>,
    pub(super) reports: Arc<DeliveryReports>,
    pub(super) throttle: Arc<Throttle>,
}

impl OutputContext {
    fn failed(&self, topic: &str, code: RDKafkaErrorCode) -> DeliveryFailed {
        self.counters.failed.fetch_add(1, Ordering::Relaxed);
        let explained = self.log.explains_delivery(code, topic);
        if explained {
            tracing::debug!(topic, %code, "a record could not be delivered");
        } else if let Some(more) = self.throttle.pass() {
            tracing::error!(topic, %code, more, "records could not be delivered");
        }
        DeliveryFailed {
            topic: topic.to_owned(),
            code,
        }
    }
}

impl ClientContext for OutputContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.log.log(level, facility, text);
    }

    fn error(&self, error: LibraryError, reason: &str) {
        self.log.error(error, reason);
    }
}

impl ProducerContext for OutputContext {
    /// A [`ReportToken`].
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let token = ReportToken::of_opaque(opaque);
        match result {
            Ok(message) => {
                self.counters.delivered.fetch_add(1, Ordering::Relaxed);
                self.reports.delivered(token, || Appended {
                    partition: message.partition(),
                    offset: message.offset(),
                });
            }
            Err((error, message)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                let failed = self.failed(message.topic(), code);
                if let Some(ticket) = self.reports.failed(token, failed) {
                    let record = OwnedRecord::of(message);
                    self.returned.put(Undelivered {
                        record,
                        ticket,
                        code,
                    });
                }
            }
        }
    }
}

/// A producer and the thread that serves its delivery reports: like rdkafka's `ThreadedProducer`,
/// but gathered finishes are passed on after each poll.
pub(super) struct PolledProducer {
    pub(super) inner: Arc<BaseProducer<OutputContext>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl PolledProducer {
    pub(super) fn start(
        options: &OutputOptions,
        context: OutputContext,
    ) -> Result<Self, KafkaError> {
        let producer = BaseProducer::from_config_and_context(&options.config()?, context)
            .map_err(|source| options.client.refused(source))?;
        let (inner, stop) = (Arc::new(producer), Arc::<AtomicBool>::default());
        let (its_inner, its_stop) = (Arc::clone(&inner), Arc::clone(&stop));
        let name = format!("deliver {}", options.client.client_id);
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || serve(&its_inner, &its_stop))
            .map_err(|source| KafkaError::Thread { name, source })?;
        Ok(Self {
            inner,
            stop,
            thread: Some(thread),
        })
    }

    pub(super) fn context(&self) -> &OutputContext {
        self.inner.client().context()
    }

    pub(super) fn poll(&self, wait: Duration) {
        self.inner.poll(wait);
        self.context().reports.pass_on();
    }
}

fn serve(producer: &BaseProducer<OutputContext>, stop: &AtomicBool) {
    let context = Arc::clone(producer.client().context());
    let delivered = || context.counters.delivered.load(Ordering::Relaxed);
    let (mut before, mut wait) = (0, IDLE_POLL);
    while !stop.load(Ordering::Relaxed) {
        // A poll lasts for the whole `wait`, whatever comes.
        producer.poll(wait);
        context.reports.pass_on();
        let now = delivered();
        wait = if now == before { IDLE_POLL } else { BUSY_POLL };
        before = now;
    }
}

impl Drop for PolledProducer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("the thread of a producer's delivery reports panicked");
        }
    }
}
