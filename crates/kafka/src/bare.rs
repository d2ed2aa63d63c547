//! The loop with which the benchmark compares: it does nothing but consume and produce.
//!
//! It uses librdkafka with the settings of the stages, reads every query and produces two records
//! with given values for it. It decodes, judges, tracks and commits nothing, so its speed is the
//! most that any program of this shape could reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as LibraryError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use wedcache_model::TraceParent;

use super::KafkaError;
use super::access::Permission;
use super::member::IntakeOptions;
use super::producer::{OutRecord, OutputOptions};

const POLL_WAIT: Duration = Duration::from_millis(50);
/// The time for which a full queue is polled before the next attempt.
const ROOM_WAIT: Duration = Duration::from_millis(5);
const FLUSH_WAIT: Duration = Duration::from_secs(30);

/// One of the two outputs.
#[derive(Debug, Clone)]
pub struct BareOutput {
    pub options: OutputOptions,
    pub topic: String,
    /// The values, at least one, which are sent in turn; unused by [`BareLoop::spawn_making`].
    pub values: Vec<Vec<u8>>,
    /// The key of the records; `None` for the key of the query's record.
    pub key: Option<Vec<u8>>,
}

/// Settings of the loop.
#[derive(Debug, Clone)]
pub struct BareOptions {
    /// The input, whose first topic is read from its start, without joining the group.
    pub input: IntakeOptions,
    /// The partitions that are read.
    pub partitions: Vec<i32>,
    pub outputs: [BareOutput; 2],
}

/// A running loop; dropping it ends the thread soon.
#[derive(Debug)]
pub struct BareLoop {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64, LibraryError>>,
}

/// Makes the values of the two outputs from a query's.
type Make = Box<dyn FnMut(&[u8], &mut [Vec<u8>; 2]) + Send>;

impl BareLoop {
    /// Starts a loop that sends the outputs' own values.
    pub fn spawn(options: BareOptions) -> Result<Self, KafkaError> {
        Self::start(options, None)
    }

    /// Starts a loop that sends what `make` makes of each query's value.
    pub fn spawn_making(
        options: BareOptions,
        make: impl FnMut(&[u8], &mut [Vec<u8>; 2]) + Send + 'static,
    ) -> Result<Self, KafkaError> {
        Self::start(options, Some(Box::new(make)))
    }

    fn start(options: BareOptions, make: Option<Make>) -> Result<Self, KafkaError> {
        let starts = options.partitions.iter();
        let starts = starts.map(|partition| (*partition, Offset::Beginning));
        let consumer = consumer(&options.input, starts)?;
        let [first, second] = options.outputs;
        let outputs = [Sender::new(first)?, Sender::new(second)?];
        let stop = Arc::<AtomicBool>::default();
        let told = Arc::clone(&stop);
        let name = "bare".to_owned();
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || run(&consumer, &outputs, make, &told))
            .map_err(|source| KafkaError::Thread { name, source })?;
        Ok(Self { stop, thread })
    }

    /// Ends the loop, flushes, and returns the number of queries that it took. Blocks.
    pub fn stop(self) -> Result<u64, KafkaError> {
        const WHAT: &Permission = &Permission::new("run the bare loop", "Read");
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(taken) => taken.map_err(|source| KafkaError::Request {
                request: WHAT,
                source,
            }),
            Err(_) => Err(KafkaError::Thread {
                name: WHAT.what.to_owned(),
                source: std::io::Error::other("it panicked"),
            }),
        }
    }
}

/// A reader of a topic that joins no group and keeps no books of offsets.
pub struct Reader {
    consumer: BaseConsumer,
}

/// A record that a [`Reader`] read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

impl Reader {
    /// Reads the input's first topic from the given offsets on, one a partition, counted from 0.
    pub fn new(input: &IntakeOptions, from: &[i64]) -> Result<Self, KafkaError> {
        let starts = (0..).zip(from.iter().map(|offset| Offset::Offset(*offset)));
        Ok(Self {
            consumer: consumer(input, starts)?,
        })
    }

    /// Returns the next record, unless none comes within `wait`. Missing keys and values are empty.
    /// Blocks.
    pub fn next(&self, wait: Duration) -> Option<KeyValue> {
        let bytes = |part: Option<&[u8]>| part.map(<[u8]>::to_vec).unwrap_or_default();
        match self.consumer.poll(wait)? {
            Ok(message) => Some(KeyValue {
                key: bytes(message.key()),
                value: bytes(message.payload()),
            }),
            Err(error) => {
                tracing::warn!(%error, "reading goes on");
                None
            }
        }
    }
}

/// Returns the values of up to `count` records from the given offsets on, one offset for each
/// partition; fewer when the time is up. Blocks.
pub fn sample(
    input: &IntakeOptions,
    from: &[i64],
    count: usize,
    patience: Duration,
) -> Result<Vec<Vec<u8>>, KafkaError> {
    let reader = Reader::new(input, from)?;
    let deadline = Instant::now() + patience;
    let mut values = Vec::with_capacity(count);
    while values.len() < count && Instant::now() < deadline {
        values.extend(reader.next(POLL_WAIT).map(|record| record.value));
    }
    Ok(values)
}

fn consumer(
    input: &IntakeOptions,
    starts: impl Iterator<Item = (i32, Offset)>,
) -> Result<BaseConsumer, KafkaError> {
    let refused = |source| input.client.refused(source);
    let consumer = BaseConsumer::from_config(&input.config()?).map_err(refused)?;
    let mut list = TopicPartitionList::new();
    if let Some(topic) = input.topics.first() {
        for (partition, offset) in starts {
            list.add_partition_offset(topic, partition, offset)
                .map_err(refused)?;
        }
    }
    consumer.assign(&list).map_err(refused)?;
    Ok(consumer)
}

fn run(
    consumer: &BaseConsumer,
    outputs: &[Sender; 2],
    mut make: Option<Make>,
    stop: &AtomicBool,
) -> Result<u64, LibraryError> {
    let (mut taken, mut values) = (0_u64, [Vec::new(), Vec::new()]);
    while !stop.load(Ordering::Relaxed) {
        match consumer.poll(POLL_WAIT) {
            None => {}
            Some(Ok(message)) => {
                if let Some(make) = &mut make {
                    make(message.payload().unwrap_or_default(), &mut values);
                    for (output, value) in outputs.iter().zip(&values) {
                        output.send(value, message.key())?;
                    }
                } else {
                    for output in outputs {
                        output.send(output.value(taken), message.key())?;
                    }
                }
                taken += 1;
            }
            Some(Err(error)) => tracing::warn!(%error, "an error of the bare loop's consumer"),
        }
    }
    for output in outputs {
        output.producer.flush(FLUSH_WAIT)?;
    }
    Ok(taken)
}

struct Sender {
    producer: ThreadedProducer<DefaultProducerContext>,
    output: BareOutput,
}

impl Sender {
    fn new(output: BareOutput) -> Result<Self, KafkaError> {
        let producer = ThreadedProducer::from_config(&output.options.config()?)
            .map_err(|source| output.options.client.refused(source))?;
        Ok(Self { producer, output })
    }

    /// Returns the value of the record with this number.
    fn value(&self, number: u64) -> &[u8] {
        let values = &self.output.values;
        let at = usize::try_from(number).unwrap_or(0) % values.len().max(1);
        values.get(at).map_or(&[], Vec::as_slice)
    }

    /// Sends a record, and waits for room as long as it takes.
    fn send(&self, value: &[u8], key: Option<&[u8]>) -> Result<(), LibraryError> {
        let record = OutRecord {
            trace: Some(TraceParent::fresh()),
            ..OutRecord::to(
                &self.output.topic,
                self.output.key.as_deref().or(key),
                Some(value),
            )
        };
        let mut base = BaseRecord {
            topic: record.topic,
            partition: None,
            payload: record.value,
            key: record.key,
            timestamp: None,
            headers: record.owned_headers(),
            delivery_opaque: (),
        };
        loop {
            match self.producer.send(base) {
                Ok(()) => return Ok(()),
                Err((error, back)) => {
                    if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                        return Err(error);
                    }
                    base = back;
                    self.producer.poll(ROOM_WAIT);
                }
            }
        }
    }
}
