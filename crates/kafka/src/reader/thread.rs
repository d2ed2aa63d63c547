//! The thread of a reader.

use parking_lot::MutexGuard;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as LibraryError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use wedcache_model::trouble::Throttle;
use wedcache_model::{Timestamp, TopicId};
use wedcache_rules::invalidation::log::{Follow, ReaderEvent, StoredRecord};

use super::super::record;
use super::ReaderOptions;
use super::bounds::{BoundsAsker, LogBounds, is_unknown};
use super::context::{BlockingBatch, ReaderContext, SharedBadBatch};

const POLL_WAIT: Duration = Duration::from_millis(100);
/// The pause between two attempts.
pub(super) const RETRY_WAIT: Duration = Duration::from_millis(200);
/// The most records of one batch of events.
const BATCH_RECORDS: usize = 512;

pub(super) struct ReaderThread<F> {
    pub(super) consumer: BaseConsumer<ReaderContext>,
    pub(super) asker: BoundsAsker,
    pub(super) options: ReaderOptions,
    pub(super) follow: F,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) throttle: Throttle,
    pub(super) bad_batch: SharedBadBatch,
}

/// The end of one pass over the log.
enum LogPassEnd {
    Stopped,
    /// The log is not the one that was read, and is read again from its start.
    Again,
}

/// One pass over the log, from its start.
struct LogPass {
    events: Vec<ReaderEvent>,
    topic: Option<TopicId>,
    position: i64,
    log_start: i64,
    /// The end as it was before the partition was assigned.
    log_end: i64,
    caught_up: bool,
    /// True if the pass is over and the log is to be read again.
    again: bool,
}

impl LogPass {
    fn new(bounds: &LogBounds) -> Self {
        let &LogBounds {
            topic,
            log_start,
            log_end,
        } = bounds;
        let started = ReaderEvent::Started {
            topic,
            log_start,
            log_end,
        };
        Self {
            events: vec![started],
            topic,
            position: log_start,
            log_start,
            log_end,
            caught_up: false,
            again: false,
        }
    }

    /// Ends the pass, because records may have been missed.
    fn truncated(&mut self, log_start: i64, log_end: i64) {
        self.events.push(ReaderEvent::Truncated {
            position: self.position,
            log_start,
            log_end,
        });
        self.again = true;
    }

    /// Notes an end of the partition; `read` is librdkafka's position.
    fn reached_end(&mut self, read: Option<i64>) {
        // The end was asked for before the partition was assigned, so an end of partition cannot
        // lie below it, whatever the last record was.
        let read = read.unwrap_or(self.position).max(self.position);
        self.position = if self.caught_up {
            read
        } else {
            read.max(self.log_end)
        };
        self.caught_up = true;
        self.events.push(ReaderEvent::CaughtUp {
            position: self.position,
        });
    }
}

impl<F: Follow> ReaderThread<F> {
    pub(super) fn run(mut self) {
        while let Some(bounds) = self.wait_for_bounds() {
            match self.assign_at(bounds.log_start) {
                Ok(()) => {
                    if let LogPassEnd::Stopped = self.read_from(&bounds) {
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

    /// Asks for the bounds until there is an answer; `None` if the reader is stopped first.
    fn wait_for_bounds(&mut self) -> Option<LogBounds> {
        let mut gone = false;
        while !self.stopped() {
            match self.asker.ask() {
                Ok(bounds) => return Some(bounds),
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

    fn read_from(&mut self, bounds: &LogBounds) -> LogPassEnd {
        let mut pass = LogPass::new(bounds);
        let mut asked = Instant::now();
        while !self.stopped() {
            self.poll_batch(&mut pass);
            if asked.elapsed() >= self.options.ends_interval {
                asked = Instant::now();
                self.see_bounds(&mut pass);
            }
            if !pass.events.is_empty() {
                self.follow.on_batch(std::mem::take(&mut pass.events));
            }
            if pass.again {
                return LogPassEnd::Again;
            }
        }
        LogPassEnd::Stopped
    }

    fn poll_batch(&self, pass: &mut LogPass) {
        let mut wait = POLL_WAIT;
        for _ in 0..BATCH_RECORDS {
            match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    if self.is_beyond_bad(message.offset()) {
                        self.stand_at(pass);
                        return;
                    }
                    pass.position = message.offset() + 1;
                    pass.events
                        .push(ReaderEvent::Record(stored_record(&message)));
                }
                Some(Err(LibraryError::PartitionEOF(_))) => {
                    pass.reached_end(self.position());
                    return;
                }
                Some(Err(error)) => self.see_error(pass, &error),
            }
            if pass.again {
                return;
            }
            wait = Duration::ZERO;
        }
        if pass.events.is_empty() {
            return;
        }
        pass.position = self.position().unwrap_or(pass.position).max(pass.position);
        pass.events.push(ReaderEvent::Position(pass.position));
    }

    fn see_error(&self, pass: &mut LogPass, error: &LibraryError) {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::BadMessage)
            || code == Some(RDKafkaErrorCode::AutoOffsetReset) && self.stands_in_log(pass)
        {
            // librdkafka has left a batch out, or asks for an offset that it has made up within it:
            // behind it nothing may be read.
            self.stand_at(pass);
        } else if code == Some(RDKafkaErrorCode::AutoOffsetReset) && pass.position == pass.log_start
        {
            // The answer to a fetch from before the assignment, or the log's start has moved
            // meanwhile: nothing was read that could be wrong. librdkafka has stopped fetching all
            // the same.
            pass.again = true;
        } else if code == Some(RDKafkaErrorCode::AutoOffsetReset) {
            let (log_start, log_end) = self
                .asker
                .ask()
                .map_or((-1, -1), |of| (of.log_start, of.log_end));
            tracing::warn!(
                topic = self.options.topic,
                position = pass.position,
                log_start,
                log_end,
                "the position is outside the log"
            );
            pass.truncated(log_start, log_end);
        } else if is_unknown(code)
            && self
                .asker
                .ask()
                .is_err_and(|e| is_unknown(e.rdkafka_error_code()))
        {
            // The next pass reports that the topic is gone, and waits for it.
            pass.again = true;
        } else {
            self.complain(error, "reading goes on");
        }
    }

    /// Returns true if reading stands at a batch that is still in the log; retention may have
    /// removed it.
    fn stands_in_log(&self, pass: &LogPass) -> bool {
        let stands = self.bad_batch().is_some();
        stands
            && self
                .asker
                .ask()
                .is_ok_and(|of| (of.log_start..=of.log_end).contains(&pass.position))
    }

    /// Returns true if a batch that cannot be read was left out before the record; otherwise the
    /// record ends the standstill.
    fn is_beyond_bad(&self, offset: i64) -> bool {
        let mut bad_batch = self.bad_batch();
        let left_out = bad_batch.is_some_and(|of| of.left_out && of.batch.offset < offset);
        if !left_out && bad_batch.take().is_some() {
            tracing::info!(topic = self.options.topic, offset, "reading goes on");
        }
        left_out
    }

    /// Fetches the batch that cannot be read again, a little later.
    fn stand_at(&self, pass: &mut LogPass) {
        self.wait();
        if let Err(error) = self.assign_at(pass.position) {
            self.complain(&error, "cannot assign the partition");
            pass.again = true;
        }
        // It is left out again only if it is reported again.
        if let Some(blocking) = self.bad_batch().as_mut() {
            blocking.left_out = false;
        }
    }

    fn bad_batch(&self) -> MutexGuard<'_, Option<BlockingBatch>> {
        self.bad_batch.lock()
    }

    /// Asks for the bounds. Another topic's id, or an end below the position, means that the log
    /// was recreated.
    fn see_bounds(&self, pass: &mut LogPass) {
        match self.asker.ask() {
            Ok(of) if of.topic != pass.topic || of.log_end < pass.position => {
                tracing::warn!(
                    topic = self.options.topic, position = pass.position,
                    was = ?pass.topic, is = ?of.topic, log_end = of.log_end,
                    "the log is not the one that was read"
                );
                pass.truncated(of.log_start, of.log_end);
            }
            Ok(LogBounds {
                log_start, log_end, ..
            }) => pass.events.push(ReaderEvent::Ends { log_start, log_end }),
            Err(error) if is_unknown(error.rdkafka_error_code()) => pass.again = true,
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

    /// Returns the offset after the last one that was read, control records included.
    fn position(&self) -> Option<i64> {
        let list = self.consumer.position().ok()?;
        let element = list.find_partition(&self.options.topic, self.options.partition)?;
        match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    /// Logs a failure, unless the cluster's absence explains it.
    fn complain(&self, error: &LibraryError, what: &str) {
        if self.asker.log().explains(error, "read the log") {
            tracing::debug!(topic = self.options.topic, %error, "{what}");
        } else if let Some(more) = self.throttle.pass() {
            let (topic, partition) = (&self.options.topic, self.options.partition);
            tracing::warn!(topic, partition, %error, more, "{what}");
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Pauses between two attempts, and serves the client's events meanwhile.
    fn wait(&self) {
        let until = Instant::now() + RETRY_WAIT;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if let Some(Err(error)) = self.consumer.poll(left) {
                tracing::debug!(%error, "an error during the pause between two attempts");
            }
        }
    }
}

fn stored_record(message: &BorrowedMessage<'_>) -> StoredRecord {
    StoredRecord {
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: record::headers(message)
            .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
            .collect(),
        offset: message.offset(),
        timestamp: Timestamp(message.timestamp().to_millis().unwrap_or(0)),
    }
}
