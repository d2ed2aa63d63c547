//! Reads one partition from its start to its end and then follows it, without a group.
//!
//! That the end is reached is told by librdkafka's end-of-partition event, never by comparing the
//! offset of a record: the last offsets may be held by transaction markers, or by nothing at all
//! after a compaction.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as LibraryError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::watch;

use super::KafkaError;
use super::access::Wants;
use super::client::{ClientLog, ClientOptions, LOG_INTERVAL};
use super::record;
use super::standstill::{self, BadBatch, Fault, Standstill};
use super::topic_ids;
use crate::model::{Timestamp, TopicId};
use crate::trouble::Throttle;

const POLL_WAIT: Duration = Duration::from_millis(100);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
const RETRY_WAIT: Duration = Duration::from_millis(200);
/// So many records are told of at once.
const BATCH_RECORDS: usize = 512;

/// Which partition is read, and how.
#[derive(Debug, Clone)]
pub struct ReaderOptions {
    pub client: ClientOptions,
    pub topic: String,
    pub partition: i32,
    /// How often the partition's start and end are asked for.
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

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    pub key: Option<Vec<u8>>,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// In order; those whose name is not UTF-8 are left out.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub offset: i64,
    pub timestamp: Timestamp,
}

/// What the reader saw, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReaderEvent {
    /// Reading begins at `log_start`. `log_end` is the end at this moment: the first
    /// [`ReaderEvent::CaughtUp`] after it is at or past it. Whenever it comes again, everything is
    /// read again: after [`ReaderEvent::Truncated`] and [`ReaderEvent::Gone`], or before anything
    /// was read. `topic` is the topic that is read; `None` where the brokers know no ids.
    Started {
        topic: Option<TopicId>,
        log_start: i64,
        log_end: i64,
    },
    Record(LogRecord),
    /// Everything below this offset was told; also moves over offsets that hold no record.
    Position(i64),
    /// Like [`ReaderEvent::Position`], and there was nothing more.
    CaughtUp {
        position: i64,
    },
    /// Where the log starts and ends, now and then: for the lag, and for stamps below the start.
    Ends {
        log_start: i64,
        log_end: i64,
    },
    /// Records may have been missed: `position` is outside the log, or the topic has been made again.
    Truncated {
        position: i64,
        log_start: i64,
        log_end: i64,
    },
    /// The topic or partition does not exist (any more).
    Gone,
}

/// Takes what a reader saw, on the reader's thread.
pub trait Follow: Send {
    fn on_batch(&mut self, events: Vec<ReaderEvent>);
}

impl<F: FnMut(Vec<ReaderEvent>) + Send> Follow for F {
    fn on_batch(&mut self, events: Vec<ReaderEvent>) {
        self(events);
    }
}

/// Where reading stands still.
#[derive(Debug, Clone, Copy)]
struct Standing {
    since: Instant,
    batch: BadBatch,
    /// librdkafka has left the batch out and would go on behind it.
    left_out: bool,
}

/// A running reader; dropping it ends the thread soon.
#[derive(Debug)]
pub struct PartitionReader {
    stop: Arc<AtomicBool>,
    ended: watch::Receiver<bool>,
    bad_batch: Arc<Mutex<Option<Standing>>>,
}

impl PartitionReader {
    /// Starts reading. A cluster or topic that is away is waited for.
    pub fn spawn(
        options: ReaderOptions,
        follow: impl Follow + 'static,
    ) -> Result<Self, KafkaError> {
        let group = format!("{}-reader", options.client.client_id);
        let config = options.client.config(&[
            // Never joined: librdkafka wants one for any consumer that assigns.
            ("group.id", &group),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("enable.partition.eof", "true"),
            ("queued.max.messages.kbytes", "8192"),
            // The end is told by the first fetch that stays empty for so long.
            ("fetch.wait.max.ms", "100"),
            ("fetch.queue.backoff.ms", "5"),
            // Whoever reads a log wants to know what is in it now: also behind a new leader.
            ("topic.metadata.refresh.interval.ms", "500"),
            ("fetch.error.backoff.ms", "100"),
            // A batch that was damaged is not to be left out, nor read as something else.
            ("check.crcs", "true"),
        ])?;
        let wants = Wants::read(std::slice::from_ref(&options.topic));
        let bad_batch = Arc::default();
        let context = ReaderContext {
            log: ClientLog::new(&options.client, wants),
            bad_batch: Arc::clone(&bad_batch),
        };
        let consumer = BaseConsumer::from_config_and_context(&config, context.clone())
            .map_err(|source| options.client.refused(source))?;
        let asker = options.client.named("ends").config(&[])?;
        let asker = BaseConsumer::from_config_and_context(&asker, context)
            .map_err(|source| options.client.refused(source))?;
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
            bad_batch: Arc::clone(&bad_batch),
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

    /// Ends the thread and waits for it until the deadline; says whether it ended. Cancel safe.
    pub async fn shutdown(self, deadline: Instant) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        let mut ended = self.ended.clone();
        let wait = ended.wait_for(|ended| *ended);
        tokio::time::timeout_at(deadline.into(), wait).await.is_ok()
    }

    /// The batch that cannot be read, and for how long reading has been standing at it.
    pub fn standstill(&self) -> Option<(Duration, Standstill)> {
        let bad_batch = self
            .bad_batch
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        bad_batch.map(|of| (of.since.elapsed(), Standstill::Undecodable(of.batch)))
    }

    /// Whether the thread runs; `false` also after a panic.
    pub fn is_running(&self) -> bool {
        !*self.ended.borrow() && self.ended.has_changed().is_ok()
    }
}

impl Drop for PartitionReader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct ReaderThread<F> {
    consumer: BaseConsumer<ReaderContext>,
    /// Asks for the ends over a connection of its own: a broker answers one connection in order,
    /// so the question would wait behind a fetch that waits for records, and reading with it.
    asker: BaseConsumer<ReaderContext>,
    options: ReaderOptions,
    follow: F,
    stop: Arc<AtomicBool>,
    throttle: Throttle,
    bad_batch: Arc<Mutex<Option<Standing>>>,
}

/// How one run from the start ended.
enum RunEnd {
    Stopped,
    /// The log is not the one that was read: from the start again.
    Again,
}

impl<F: Follow> ReaderThread<F> {
    fn run(mut self) {
        while let Some(begin) = self.wait_for_ends() {
            match self.assign_at(begin.log_start) {
                Ok(()) => {
                    if let RunEnd::Stopped = self.read_from(&begin) {
                        break;
                    }
                }
                Err(error) => {
                    self.complain(&error, "cannot assign the partition");
                    self.wait();
                }
            }
        }
    }

    /// Asks for start, end and topic until there is an answer; `None` when told to stop.
    fn wait_for_ends(&mut self) -> Option<Ends> {
        let mut gone = false;
        while !self.stopped() {
            match self.ends() {
                Ok(ends) => return Some(ends),
                Err(error) => {
                    let code = error.rdkafka_error_code();
                    if !gone && is_unknown(code) {
                        gone = true;
                        self.follow.on_batch(vec![ReaderEvent::Gone]);
                    }
                    self.complain(&error, "waiting for the partition");
                    self.wait();
                }
            }
        }
        None
    }

    fn read_from(&mut self, begin: &Ends) -> RunEnd {
        let &Ends {
            topic,
            log_start,
            log_end,
        } = begin;
        let started = ReaderEvent::Started {
            topic,
            log_start,
            log_end,
        };
        let mut run = Run {
            events: vec![started],
            topic,
            position: log_start,
            log_start,
            log_end,
            caught_up: false,
            again: false,
        };
        let mut asked = Instant::now();
        while !self.stopped() {
            self.poll_batch(&mut run);
            if asked.elapsed() >= self.options.ends_interval {
                asked = Instant::now();
                self.see_ends(&mut run);
            }
            if !run.events.is_empty() {
                self.follow.on_batch(std::mem::take(&mut run.events));
            }
            if run.again {
                return RunEnd::Again;
            }
        }
        RunEnd::Stopped
    }

    fn poll_batch(&self, run: &mut Run) {
        let mut wait = POLL_WAIT;
        for _ in 0..BATCH_RECORDS {
            match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    if self.is_beyond_bad(message.offset()) {
                        self.stand_at(run);
                        return;
                    }
                    run.position = message.offset() + 1;
                    run.events.push(ReaderEvent::Record(log_record(&message)));
                }
                Some(Err(LibraryError::PartitionEOF(_))) => {
                    // The end was asked for before the partition was assigned, so an end of
                    // partition cannot lie below it, whatever the last record was.
                    let read = self.position().unwrap_or(run.position).max(run.position);
                    run.position = if run.caught_up {
                        read
                    } else {
                        read.max(run.log_end)
                    };
                    run.caught_up = true;
                    run.events.push(ReaderEvent::CaughtUp {
                        position: run.position,
                    });
                    return;
                }
                Some(Err(error)) => self.see_error(run, &error),
            }
            if run.again {
                return;
            }
            wait = Duration::ZERO;
        }
        if run.events.is_empty() {
            return;
        }
        run.position = self.position().unwrap_or(run.position).max(run.position);
        run.events.push(ReaderEvent::Position(run.position));
    }

    fn see_error(&self, run: &mut Run, error: &LibraryError) {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::BadMessage)
            || code == Some(RDKafkaErrorCode::AutoOffsetReset) && self.stands_in_log(run)
        {
            // librdkafka has left a batch out, or asks for an offset that it has made up within it: behind
            // it nothing may be read.
            self.stand_at(run);
        } else if code == Some(RDKafkaErrorCode::AutoOffsetReset) && run.position == run.log_start {
            // The answer to a fetch of before the assignment, or the log's start moved under us:
            // nothing was read that could be wrong. librdkafka has stopped fetching all the same.
            run.again = true;
        } else if code == Some(RDKafkaErrorCode::AutoOffsetReset) {
            let (log_start, log_end) = self
                .ends()
                .map_or((-1, -1), |of| (of.log_start, of.log_end));
            tracing::warn!(
                topic = self.options.topic,
                position = run.position,
                log_start,
                log_end,
                "the position is outside the log"
            );
            run.truncated(log_start, log_end);
        } else if is_unknown(code)
            && self
                .ends()
                .is_err_and(|e| is_unknown(e.rdkafka_error_code()))
        {
            // The next run tells that it is gone, and waits for it.
            run.again = true;
        } else {
            self.complain(error, "reading goes on");
        }
    }

    /// Whether reading stands at a batch that is still in the log; retention may have removed it.
    fn stands_in_log(&self, run: &Run) -> bool {
        let stands = self.bad_batch().is_some();
        stands
            && self
                .ends()
                .is_ok_and(|of| (of.log_start..=of.log_end).contains(&run.position))
    }

    /// Whether a batch that cannot be read was left out before the record. Otherwise the record ends
    /// the standstill.
    fn is_beyond_bad(&self, offset: i64) -> bool {
        let mut bad_batch = self.bad_batch();
        let left_out = bad_batch.is_some_and(|of| of.left_out && of.batch.offset < offset);
        if !left_out && bad_batch.take().is_some() {
            tracing::info!(topic = self.options.topic, offset, "reading goes on");
        }
        left_out
    }

    /// Asks for the batch that cannot be read again, a little later.
    fn stand_at(&self, run: &mut Run) {
        self.wait();
        if let Err(error) = self.assign_at(run.position) {
            self.complain(&error, "cannot assign the partition");
            run.again = true;
        }
        // It is left out again only if it is complained of again.
        if let Some(standing) = self.bad_batch().as_mut() {
            standing.left_out = false;
        }
    }

    fn bad_batch(&self) -> MutexGuard<'_, Option<Standing>> {
        self.bad_batch
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the ends. Another topic's id, or an end below the position, is a log that was made
    /// again.
    fn see_ends(&self, run: &mut Run) {
        match self.ends() {
            Ok(of) if of.topic != run.topic || of.log_end < run.position => {
                tracing::warn!(
                    topic = self.options.topic, position = run.position,
                    was = ?run.topic, is = ?of.topic, log_end = of.log_end,
                    "the log is not the one that was read"
                );
                run.truncated(of.log_start, of.log_end);
            }
            Ok(Ends {
                log_start, log_end, ..
            }) => run.events.push(ReaderEvent::Ends { log_start, log_end }),
            Err(error) if is_unknown(error.rdkafka_error_code()) => run.again = true,
            Err(error) => self.complain(&error, "cannot ask for the log's end"),
        }
    }

    fn assign_at(&self, offset: i64) -> KafkaResult<()> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(
            &self.options.topic,
            self.options.partition,
            Offset::Offset(offset),
        )?;
        self.consumer.unassign()?;
        self.consumer.assign(&list)
    }

    fn ends(&self) -> KafkaResult<Ends> {
        let ends = self.ask_ends();
        if ends.is_ok() {
            self.asker.context().log.answered();
        }
        ends
    }

    fn ask_ends(&self) -> KafkaResult<Ends> {
        let (topic, partition) = (self.options.topic.as_str(), self.options.partition);
        // Serves its log and errors, which the context takes.
        if let Some(Err(error)) = self.asker.poll(Duration::ZERO) {
            tracing::debug!(%error, "the client that asks for ends");
        }
        let (log_start, log_end) =
            self.asker
                .fetch_watermarks(topic, partition, REQUEST_TIMEOUT)?;
        // After the ends: a topic that is made again between the two is noticed by the next answer.
        let ids = topic_ids::ask(self.asker.client(), &[topic], REQUEST_TIMEOUT)
            .map_err(|error| LibraryError::AdminOp(error.code()))?;
        Ok(Ends {
            topic: ids.answer(topic).map_err(LibraryError::AdminOp)?,
            log_start,
            log_end,
        })
    }

    /// One past the last offset that was read, control records included.
    fn position(&self) -> Option<i64> {
        let list = self.consumer.position().ok()?;
        let element = list.find_partition(&self.options.topic, self.options.partition)?;
        match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    /// Tells of what fails, where the cluster's absence does not explain it.
    fn complain(&self, error: &LibraryError, what: &str) {
        if self.asker.context().log.explains(error, "read the log") {
            tracing::debug!(topic = self.options.topic, %error, "{what}");
        } else if let Some(more) = self.throttle.pass() {
            let (topic, partition) = (&self.options.topic, self.options.partition);
            tracing::warn!(topic, partition, %error, more, "{what}");
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A pause between tries that still serves the client's events.
    fn wait(&self) {
        let until = Instant::now() + RETRY_WAIT;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if let Some(Err(error)) = self.consumer.poll(left) {
                tracing::debug!(%error, "while waiting");
            }
        }
    }
}

/// Which topic the log is, and where it starts and ends.
struct Ends {
    topic: Option<TopicId>,
    log_start: i64,
    log_end: i64,
}

/// One run from the log's start.
struct Run {
    events: Vec<ReaderEvent>,
    topic: Option<TopicId>,
    position: i64,
    log_start: i64,
    /// The end as it was before the partition was assigned.
    log_end: i64,
    caught_up: bool,
    again: bool,
}

impl Run {
    /// Ends the run: what was read may lack records.
    fn truncated(&mut self, log_start: i64, log_end: i64) {
        self.events.push(ReaderEvent::Truncated {
            position: self.position,
            log_start,
            log_end,
        });
        self.again = true;
    }
}

fn is_unknown(code: Option<RDKafkaErrorCode>) -> bool {
    matches!(
        code,
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
        )
    )
}

fn log_record(message: &BorrowedMessage<'_>) -> LogRecord {
    LogRecord {
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: record::headers(message)
            .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
            .collect(),
        offset: message.offset(),
        timestamp: Timestamp(message.timestamp().to_millis().unwrap_or(0)),
    }
}

#[derive(Clone)]
struct ReaderContext {
    log: ClientLog,
    bad_batch: Arc<Mutex<Option<Standing>>>,
}

impl ClientContext for ReaderContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.log.log(level, facility, text);
    }

    fn error(&self, error: LibraryError, reason: &str) {
        let Some(batch) = standstill::bad_batch(reason) else {
            return self.log.error(error, reason);
        };
        let mut bad_batch = self
            .bad_batch
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let standing = bad_batch.get_or_insert(Standing {
            since: Instant::now(),
            batch,
            left_out: false,
        });
        // What is behind the first one will be complained of in its turn.
        standing.left_out |= batch.fault == Fault::Checksum;
    }
}

impl ConsumerContext for ReaderContext {}

#[cfg(test)]
mod tests;
