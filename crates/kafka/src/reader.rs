//! Reads one partition from its start to its end and then follows it, without a group.
//!
//! The end is known from librdkafka's end-of-partition event, never from the offset of a record:
//! the last offsets may hold transaction markers, or nothing at all after a compaction.

mod bounds;
mod context;
#[cfg(test)]
mod tests;
mod thread;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::BaseConsumer;
use tokio::sync::watch;

use wedcache_model::trouble::Throttle;
use wedcache_rules::invalidation::log::Follow;

use self::bounds::BoundsAsker;
use self::context::{ReaderContext, SharedBadBatch};
use self::thread::ReaderThread;
use super::KafkaError;
use super::access::Wants;
use super::client::{ClientLog, ClientOptions, LOG_INTERVAL};
use super::standstill::Standstill;

/// Settings of a reader.
#[derive(Debug, Clone)]
pub struct ReaderOptions {
    pub client: ClientOptions,
    pub topic: String,
    pub partition: i32,
    /// The interval at which the partition's start and end are asked for.
    pub ends_interval: Duration,
}

impl ReaderOptions {
    pub fn new(client: ClientOptions, topic: impl Into<String>) -> Self {
        Self {
            client,
            topic: topic.into(),
            partition: 0,
            ends_interval: Duration::from_secs(1),
        }
    }
}

/// A running reader; dropping it ends the thread soon.
#[derive(Debug)]
pub struct PartitionReader {
    stop: Arc<AtomicBool>,
    ended: watch::Receiver<bool>,
    bad_batch: SharedBadBatch,
}

impl PartitionReader {
    /// Starts reading. A cluster or topic that is away is waited for.
    pub fn spawn(
        options: ReaderOptions,
        follow: impl Follow + 'static,
    ) -> Result<Self, KafkaError> {
        let group = format!("{}-reader", options.client.client_id);
        let config = options.client.config(&[
            // Never joined: librdkafka needs a group id for any consumer that assigns.
            ("group.id", &group),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("enable.partition.eof", "true"),
            ("queued.max.messages.kbytes", "8192"),
            // The end is reported by the first fetch that stays empty for this time.
            ("fetch.wait.max.ms", "100"),
            ("fetch.queue.backoff.ms", "5"),
            // A log is read for its present content, so a new leader is to be found soon.
            ("topic.metadata.refresh.interval.ms", "500"),
            ("fetch.error.backoff.ms", "100"),
            // A damaged batch is not to be left out, nor to be read as something else.
            ("check.crcs", "true"),
        ])?;
        let wants = Wants::read(std::slice::from_ref(&options.topic));
        let bad_batch = SharedBadBatch::default();
        let context = ReaderContext {
            log: ClientLog::new(&options.client, wants),
            bad_batch: bad_batch.clone(),
        };
        let consumer = BaseConsumer::from_config_and_context(&config, context.clone())
            .map_err(|source| options.client.refused(source))?;
        let asker = BoundsAsker::new(&options, context)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (end, ended) = watch::channel(false);
        let name = format!("read {}", options.topic);
        let thread = ReaderThread {
            consumer,
            asker,
            options,
            follow,
            stop: Arc::clone(&stop),
            throttle: Throttle::new(LOG_INTERVAL),
            bad_batch: bad_batch.clone(),
        };
        std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || {
                thread.run();
                end.send_replace(true);
            })
            .map_err(|source| KafkaError::Thread { name, source })?;
        Ok(Self {
            stop,
            ended,
            bad_batch,
        })
    }

    /// Ends the thread and waits for it until the deadline; returns true if it ended. Cancel safe.
    pub async fn shutdown(self, deadline: Instant) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        let mut ended = self.ended.clone();
        let wait = ended.wait_for(|ended| *ended);
        tokio::time::timeout_at(deadline.into(), wait).await.is_ok()
    }

    /// Returns the batch that cannot be read, and the time for which reading has been standing
    /// still at it.
    pub fn standstill(&self) -> Option<(Duration, Standstill)> {
        let bad_batch = *self.bad_batch.lock();
        bad_batch.map(|of| (of.since.elapsed(), Standstill::Undecodable(of.batch)))
    }

    /// Returns true while the thread runs; false also after a panic.
    pub fn is_running(&self) -> bool {
        !*self.ended.borrow() && self.ended.has_changed().is_ok()
    }
}

impl Drop for PartitionReader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
