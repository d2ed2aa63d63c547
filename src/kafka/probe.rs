//! What a reader finds at an offset: a record, or a batch that it cannot read.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError as LibraryError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::access::Wants;
use super::client::{ClientLog, ClientOptions};
use super::standstill::{self, BadBatch};
use super::{Ask, KafkaError};

const POLL_WAIT: Duration = Duration::from_millis(50);
/// How long records that stand before a bad batch are waited for once it is complained of.
const BEFORE_BATCH: Duration = Duration::from_secs(1);

/// What stands at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// The first record from there on can be read; its offset.
    Record(i64),
    /// No record from there on can be read before this batch, and it cannot be read either.
    Bad(BadBatch),
    /// Nothing came, and nothing said why.
    Silence,
}

/// Looks at what stands at an offset of a partition. Blocks, at most for `patience`.
pub fn probe(
    client: &ClientOptions,
    (topic, partition): (&str, i32),
    offset: i64,
    patience: Duration,
) -> Result<Probe, KafkaError> {
    const WHAT: &Ask = &Ask::new("read a partition", "Read");
    let failed = |source| KafkaError::Request {
        request: WHAT,
        source,
    };
    // Not a member: it is assigned by hand and commits nothing.
    let config = client.config(&[
        ("group.id", "wedcache-probe"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "error"),
        ("check.crcs", "true"),
        ("fetch.wait.max.ms", "100"),
        ("queued.min.messages", "1"),
    ])?;
    let context = Complaints {
        log: ClientLog::new(client, Wants::read(&[topic.to_owned()])),
        first: Mutex::default(),
    };
    let consumer: BaseConsumer<Complaints> =
        BaseConsumer::from_config_and_context(&config, context)
            .map_err(|source| client.refused(source))?;
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition_offset(topic, partition, Offset::Offset(offset))
        .map_err(failed)?;
    consumer.assign(&list).map_err(failed)?;
    let (mut deadline, mut failure) = (Instant::now() + patience, None);
    loop {
        let polled = consumer.poll(POLL_WAIT);
        let bad = consumer.context().first();
        match polled {
            Some(Ok(message)) => {
                let at = message.offset();
                // One with a wrong checksum is left out silently.
                return Ok(match bad.filter(|bad| bad.offset < at) {
                    Some(bad) => Probe::Bad(bad),
                    None => Probe::Record(at),
                });
            }
            Some(Err(source)) => {
                consumer.context().log.explains(&source, WHAT.what);
                // What is wrong with a batch comes beside it, maybe later.
                failure = Some(source);
            }
            None => {}
        }
        let now = Instant::now();
        if let Some(bad) = bad {
            if bad.offset <= offset {
                return Ok(Probe::Bad(bad));
            }
            deadline = deadline.min(now + BEFORE_BATCH);
        }
        if now >= deadline {
            return match (bad, failure) {
                (Some(bad), _) => Ok(Probe::Bad(bad)),
                (None, Some(source)) => Err(failed(source)),
                (None, None) => Ok(Probe::Silence),
            };
        }
    }
}

/// Keeps what librdkafka says first of a batch that it cannot read.
struct Complaints {
    log: ClientLog,
    first: Mutex<Option<BadBatch>>,
}

impl Complaints {
    fn first(&self) -> Option<BadBatch> {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Complaints {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.log.log(level, facility, text);
    }

    fn error(&self, error: LibraryError, reason: &str) {
        let Some(batch) = standstill::bad_batch(reason) else {
            return self.log.error(error, reason);
        };
        // What comes after a wrong checksum is read from within that batch, and names no other one.
        self.first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(batch);
    }
}

impl ConsumerContext for Complaints {}
