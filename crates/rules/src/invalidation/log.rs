//! The invalidation log as its reader passes it on: stored records, and the events of reading them.
//!
//! No Kafka type is in here, so that a log in memory can be followed as well as one in Kafka.

use wedcache_model::{Timestamp, TopicId};

/// A record as it is stored in a partition: bytes, headers and place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers in order, without those whose names are not UTF-8.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub offset: i64,
    pub timestamp: Timestamp,
}

/// An event of reading a log, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReaderEvent {
    /// Reading begins at `log_start`. `log_end` is the end at this moment: the first
    /// [`ReaderEvent::CaughtUp`] after it is at or past it. Another `Started` means that everything
    /// is read again: after [`ReaderEvent::Truncated`] and [`ReaderEvent::Gone`], or before
    /// anything was read. `topic` is the id of the topic; `None` if the brokers have no topic ids.
    Started {
        topic: Option<TopicId>,
        log_start: i64,
        log_end: i64,
    },
    Record(StoredRecord),
    /// Everything below this offset was passed on; also moves over offsets that hold no record.
    Position(i64),
    /// A [`ReaderEvent::Position`] at which the log has nothing more.
    CaughtUp {
        position: i64,
    },
    /// The current start and end of the log, at intervals: for the lag, and for stamps below the
    /// start.
    Ends {
        log_start: i64,
        log_end: i64,
    },
    /// Records may have been missed: `position` is outside the log, or the topic was recreated.
    Truncated {
        position: i64,
        log_start: i64,
        log_end: i64,
    },
    /// The topic or partition does not exist, or no longer exists.
    Gone,
}

/// A receiver of a reader's events, on the reader's thread.
pub trait Follow: Send {
    fn on_batch(&mut self, events: Vec<ReaderEvent>);
}

impl<F: FnMut(Vec<ReaderEvent>) + Send> Follow for F {
    fn on_batch(&mut self, events: Vec<ReaderEvent>) {
        self(events);
    }
}
