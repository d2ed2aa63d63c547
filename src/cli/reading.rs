//! Reads a topic from its start to the end that it had when reading began. Reads without a consumer
//! group, so no committed offset moves.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::invalidation::log::{ReaderEvent, StoredRecord};
use crate::kafka::{ClientOptions, KafkaError, PartitionReader, ReaderOptions};

/// The longest that a partition may go without progress.
const SILENCE: Duration = Duration::from_secs(15);
/// The batches that wait to be looked at; while there are that many, the reader waits.
const BATCHES: usize = 1;

/// The offsets to read of a partition: from `start`, up to and without `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub partition: i32,
    pub start: i64,
    pub end: i64,
}

impl Span {
    /// Returns the spans of partitions with these starts and ends, without the empty ones.
    pub fn all(ends: &[(i64, i64)]) -> Vec<Self> {
        (0..)
            .zip(ends)
            .filter(|(_, (start, end))| start < end)
            .map(|(partition, &(start, end))| Self {
                partition,
                start,
                end,
            })
            .collect()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error("{topic}[{partition}] was deleted or made anew while it was read")]
    Gone { topic: String, partition: i32 },
    #[error("nothing of {topic}[{partition}] came for {} s, at offset {next} of {end}", SILENCE.as_secs())]
    Silent {
        topic: String,
        partition: i32,
        next: i64,
        end: i64,
    },
}

/// A reader of spans, one after the other.
pub struct Reading {
    client: ClientOptions,
    topic: String,
    left: std::vec::IntoIter<Span>,
    current: Option<Partition>,
}

struct Partition {
    span: Span,
    /// The next offset: every record below was returned.
    next: i64,
    batch: std::vec::IntoIter<ReaderEvent>,
    batches: mpsc::Receiver<Vec<ReaderEvent>>,
    /// Declared after `batches`, hence dropped after it: with the channel still open, the reader's
    /// thread could wait for room in it forever.
    _reader: PartitionReader,
}

impl Reading {
    pub fn new(client: ClientOptions, topic: impl Into<String>, spans: Vec<Span>) -> Self {
        Self {
            client,
            topic: topic.into(),
            left: spans.into_iter(),
            current: None,
        }
    }

    /// Returns the next record and its partition; `None` at the end of all spans. Not cancel safe.
    pub async fn next(&mut self) -> Result<Option<(i32, StoredRecord)>, ReadError> {
        loop {
            if self.current.is_none() {
                let Some(span) = self.left.next() else {
                    return Ok(None);
                };
                self.current = Some(self.open(span)?);
            }
            let Some(partition) = &mut self.current else {
                continue;
            };
            if let Some(record) = partition.next(&self.topic).await? {
                return Ok(Some((partition.span.partition, record)));
            }
            self.current = None;
        }
    }

    fn open(&self, span: Span) -> Result<Partition, KafkaError> {
        let (sender, batches) = mpsc::channel(BATCHES);
        let options = ReaderOptions {
            partition: span.partition,
            ..ReaderOptions::new(self.client.clone(), &self.topic)
        };
        let reader = PartitionReader::spawn(options, move |batch: Vec<ReaderEvent>| {
            if sender.blocking_send(batch).is_err() {
                tracing::trace!("the partition was read to the end that was asked for");
            }
        })?;
        Ok(Partition {
            span,
            next: span.start,
            batch: Vec::new().into_iter(),
            batches,
            _reader: reader,
        })
    }
}

impl Partition {
    async fn next(&mut self, topic: &str) -> Result<Option<StoredRecord>, ReadError> {
        let Span { partition, end, .. } = self.span;
        let gone = || ReadError::Gone {
            topic: topic.to_owned(),
            partition,
        };
        let mut deadline = Instant::now() + SILENCE;
        while self.next < end {
            let Some(event) = self.batch.next() else {
                let batch = tokio::time::timeout_at(deadline, self.batches.recv());
                let batch = batch.await.ok().flatten();
                self.batch = batch.ok_or_else(|| self.silent(topic))?.into_iter();
                continue;
            };
            match event {
                ReaderEvent::Record(record) if record.offset >= end => self.next = end,
                ReaderEvent::Record(record) if record.offset >= self.next => {
                    self.next = record.offset + 1;
                    return Ok(Some(record));
                }
                ReaderEvent::Position(at) | ReaderEvent::CaughtUp { position: at }
                    if at > self.next =>
                {
                    self.next = at;
                    deadline = Instant::now() + SILENCE;
                }
                ReaderEvent::Gone => return Err(gone()),
                ReaderEvent::Started { log_end, .. } if log_end < end => return Err(gone()),
                // A record below `next` was read before: the reader started again because retention
                // had overtaken it.
                ReaderEvent::Record(_)
                | ReaderEvent::Position(_)
                | ReaderEvent::CaughtUp { .. }
                | ReaderEvent::Started { .. }
                | ReaderEvent::Truncated { .. }
                | ReaderEvent::Ends { .. } => {}
            }
        }
        Ok(None)
    }

    fn silent(&self, topic: &str) -> ReadError {
        ReadError::Silent {
            topic: topic.to_owned(),
            partition: self.span.partition,
            next: self.next,
            end: self.span.end,
        }
    }
}
