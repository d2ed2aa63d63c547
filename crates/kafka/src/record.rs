//! A consumed record, borrowed from librdkafka's buffer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rdkafka::message::{BorrowedMessage, Headers as _, Message};

use wedcache_model::record::{Coordinates, RecordId, TraceParent};
use wedcache_model::{Timestamp, TopicId};

use super::member::PartitionState;

/// A record, valid until the handler returns.
pub struct InRecord<'a> {
    message: &'a BorrowedMessage<'a>,
    topic: &'a Arc<str>,
    topic_id: Option<TopicId>,
}

impl<'a> InRecord<'a> {
    pub(super) fn new(message: &'a BorrowedMessage<'a>, partition: &'a PartitionState) -> Self {
        Self {
            message,
            topic: &partition.topic,
            topic_id: partition.topic_id(),
        }
    }

    /// Returns the id of the topic that the record was read from, if it is known.
    pub fn topic_id(&self) -> Option<TopicId> {
        self.topic_id
    }

    pub fn topic(&self) -> &'a Arc<str> {
        self.topic
    }

    pub fn partition(&self) -> i32 {
        self.message.partition()
    }

    pub fn offset(&self) -> i64 {
        self.message.offset()
    }

    /// Returns the record's timestamp, of the kind that its topic keeps; 0 if it has none.
    pub fn timestamp(&self) -> Timestamp {
        Timestamp(self.message.timestamp().to_millis().unwrap_or(0))
    }

    pub fn key(&self) -> Option<&'a [u8]> {
        self.message.key()
    }

    /// Returns the value; `None` is Kafka's null, a legal record.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.message.payload()
    }

    /// Returns the record's [`Coordinates::answer_id`].
    pub fn answer_id(&self) -> RecordId {
        RecordId::of_place(
            self.topic,
            self.partition(),
            self.offset(),
            self.timestamp(),
        )
    }

    pub fn coordinates(&self) -> Coordinates {
        Coordinates {
            topic: Arc::clone(self.topic),
            partition: self.partition(),
            offset: self.offset(),
            timestamp: self.timestamp(),
        }
    }

    /// Returns the value of the last header of this name.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        let headers = self.message.headers()?;
        (0..headers.count())
            .rev()
            .filter_map(|index| header_at(headers, index))
            .find(|(found, _)| *found == name)
            .and_then(|(_, value)| value)
    }

    /// Returns all headers in order, without those whose names are not UTF-8.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a> {
        headers(self.message)
    }

    /// Returns the trace that the record belongs to, if it has a readable `traceparent`.
    pub fn trace_parent(&self) -> Option<TraceParent> {
        TraceParent::parse(self.header(TraceParent::HEADER)?)
    }

    /// Returns the bytes of key and value, which back-pressure counts.
    pub fn len(&self) -> usize {
        self.key().map_or(0, <[u8]>::len) + self.value().map_or(0, <[u8]>::len)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Returns all headers of a message whose names are UTF-8, in order.
pub(super) fn headers<'a>(
    message: &'a BorrowedMessage<'a>,
) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a> {
    let headers = message.headers();
    let count = headers.map_or(0, rdkafka::message::Headers::count);
    (0..count).filter_map(move |index| header_at(headers?, index))
}

/// Returns a header, unless its name is not UTF-8: rdkafka panics on that, and another client's
/// record must not end the thread.
fn header_at(
    headers: &rdkafka::message::BorrowedHeaders,
    index: usize,
) -> Option<(&str, Option<&[u8]>)> {
    catch_unwind(AssertUnwindSafe(|| headers.try_get(index)))
        .ok()
        .flatten()
        .map(|header| (header.key, header.value))
}
