//! A bare librdkafka loop: consumes, and produces two records of given bytes for each. What
//! `wedcache bench` is held against.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as LibraryError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use super::KafkaError;
use super::client::ClientOptions;

/// What the loop reads and writes.
#[derive(Debug, Clone)]
pub struct BareOptions {
    pub client: ClientOptions,
    pub group: String,
    pub input: String,
    /// For each record passed, one of these values to each of these topics.
    pub outputs: [(String, Vec<u8>); 2],
}

/// A running loop, on a thread of its own.
pub struct Bare {
    stop: Arc<AtomicBool>,
    passed: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Bare {
    pub fn spawn(options: BareOptions) -> Result<Self, KafkaError> {
        let consumer = options.client.config(&[
            ("group.id", &options.group),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "true"),
            ("session.timeout.ms", "6000"),
        ])?;
        // The settings of our own outputs.
        let producer = options.client.config(&[
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("partitioner", "murmur2_random"),
            ("compression.codec", "lz4"),
            ("linger.ms", "2"),
            ("queue.buffering.max.messages", "100000"),
        ])?;
        let refused = |source| options.client.refused(source);
        let consumer = BaseConsumer::from_config(&consumer).map_err(refused)?;
        let producer = ThreadedProducer::from_config(&producer).map_err(refused)?;
        consumer.subscribe(&[&options.input]).map_err(refused)?;
        let (stop, passed) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&passed));
        let thread = std::thread::Builder::new()
            .name("bare".to_owned())
            .spawn(move || pass_through(&options, &consumer, &producer, &stopped, &counter))
            .map_err(|source| KafkaError::Thread {
                name: "bare".to_owned(),
                source,
            })?;
        Ok(Self {
            stop,
            passed,
            thread,
        })
    }

    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Ends the loop and waits for it; false when it had panicked.
    pub fn end(self) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().is_ok()
    }
}

fn pass_through(
    options: &BareOptions,
    consumer: &BaseConsumer,
    producer: &ThreadedProducer<rdkafka::producer::DefaultProducerContext>,
    stop: &AtomicBool,
    passed: &AtomicU64,
) {
    while !stop.load(Ordering::Relaxed) {
        let message = match consumer.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                tracing::warn!(%error, "the bare loop");
                continue;
            }
            None => continue,
        };
        for (topic, value) in &options.outputs {
            let mut record = BaseRecord::to(topic).payload(value.as_slice());
            record.key = message.key();
            while let Err((error, back)) = producer.send(record) {
                if !is_full(&error) {
                    tracing::error!(%error, "the bare loop lost a record");
                    break;
                }
                record = back;
                producer.poll(Duration::from_millis(1));
            }
        }
        passed.fetch_add(1, Ordering::Relaxed);
    }
    if let Err(error) = producer.flush(Duration::from_secs(10)) {
        tracing::warn!(%error, "the bare loop's producer");
    }
}

fn is_full(error: &LibraryError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
}
