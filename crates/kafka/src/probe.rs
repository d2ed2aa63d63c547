//! A look at one offset: a record that can be read, or a batch that cannot.

use parking_lot::Mutex;
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
use super::{KafkaError, Permission};

const POLL_WAIT: Duration = Duration::from_millis(50);
/// The time for which records before a bad batch are waited for once it is reported.
const BEFORE_BATCH: Duration = Duration::from_secs(1);

/// The result of a look at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// The offset of the first record from there on, which can be read.
    Record(i64),
    /// The first batch from there on, which cannot be read.
    Bad(BadBatch),
    /// Nothing came, and no reason is known.
    Silence,
}

/// Looks at an offset of a partition. Blocks, at most for `patience`.
pub fn probe(
    client: &ClientOptions,
    (topic, partition): (&str, i32),
    offset: i64,
    patience: Duration,
) -> Result<Probe, KafkaError> {
    const WHAT: &Permission = &Permission::new("read a partition", "Read");
    let failed = |source| KafkaError::Request {
        request: WHAT,
        source,
    };
    // Not a member of the group: it is assigned by hand and commits nothing.
    let config = client.config(&[
        ("group.id", "wedcache-probe"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "error"),
        ("check.crcs", "true"),
        ("fetch.wait.max.ms", "100"),
        ("queued.min.messages", "1"),
    ])?;
    let context = ProbeContext {
        log: ClientLog::new(client, Wants::read(&[topic.to_owned()])),
        first: Mutex::default(),
    };
    let consumer: BaseConsumer<ProbeContext> =
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
                // A batch with a wrong checksum is left out silently.
                return Ok(match bad.filter(|bad| bad.offset < at) {
                    Some(bad) => Probe::Bad(bad),
                    None => Probe::Record(at),
                });
            }
            Some(Err(source)) => {
                consumer.context().log.explains(&source, WHAT.what);
                // The report of a bad batch comes beside this error, maybe later.
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

/// The context of the probe's client; keeps the first report of a bad batch.
struct ProbeContext {
    log: ClientLog,
    first: Mutex<Option<BadBatch>>,
}

impl ProbeContext {
    fn first(&self) -> Option<BadBatch> {
        *self.first.lock()
    }
}

impl ClientContext for ProbeContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.log.log(level, facility, text);
    }

    fn error(&self, error: LibraryError, reason: &str) {
        let Some(batch) = standstill::bad_batch(reason) else {
            return self.log.error(error, reason);
        };
        // Reports after a wrong checksum come from within that batch, and name no other one.
        self.first.lock().get_or_insert(batch);
    }
}

impl ConsumerContext for ProbeContext {}
