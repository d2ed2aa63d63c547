//! An invalidation log in memory, with offsets and compaction; a new one has a new identity.

use wedcache_codec::log::{encode_identity, encode_invalidation, encode_progress};
use wedcache_model::invalidation::LogIdentity;
use wedcache_model::{Progress, TagInvalidation, Timestamp};
use wedcache_rules::invalidation::log::{ReaderEvent, StoredRecord};

#[derive(Debug)]
pub(super) struct Log {
    records: Vec<StoredRecord>,
    next: i64,
}

impl Log {
    /// Creates a log with an identity record only.
    pub(super) fn new(at: Timestamp) -> Self {
        let mut log = Self {
            records: Vec::new(),
            next: 0,
        };
        let identity = LogIdentity::fresh(at);
        log.push(identity.record_key(), encode_identity(&identity), at);
        log
    }

    /// Appends a record and returns its offset.
    pub(super) fn append(&mut self, record: &TagInvalidation) -> i64 {
        self.push(record.record_key(), encode_invalidation(record), record.at)
    }

    pub(super) fn append_progress(&mut self, progress: &Progress) {
        self.push(
            progress.record_key(),
            encode_progress(progress),
            progress.at,
        );
    }

    /// Returns the offset of the next record.
    pub(super) fn end(&self) -> i64 {
        self.next
    }

    /// Keeps the last record of every key. Offsets stay, with gaps between them.
    pub(super) fn compact(&mut self) {
        let mut seen = std::collections::HashSet::new();
        self.records.reverse();
        self.records
            .retain(|record| seen.insert(record.key.clone()));
        self.records.reverse();
    }

    /// Returns the events for a reader at the offset `from`.
    pub(super) fn read(&self, from: i64) -> Vec<ReaderEvent> {
        let at = self.records.partition_point(|record| record.offset < from);
        let records = self.records[at..].iter().cloned().map(ReaderEvent::Record);
        let end = ReaderEvent::CaughtUp {
            position: self.next,
        };
        records.chain([end]).collect()
    }

    /// Returns the events for a reader that begins.
    pub(super) fn read_all(&self) -> Vec<ReaderEvent> {
        let started = ReaderEvent::Started {
            topic: None,
            log_start: 0,
            log_end: self.next,
        };
        std::iter::once(started).chain(self.read(0)).collect()
    }

    pub(super) fn ends(&self) -> ReaderEvent {
        ReaderEvent::Ends {
            log_start: 0,
            log_end: self.next,
        }
    }

    fn push(&mut self, key: String, value: Vec<u8>, timestamp: Timestamp) -> i64 {
        let offset = self.next;
        self.next += 1;
        self.records.push(StoredRecord {
            key: Some(key.into_bytes()),
            value: Some(value),
            headers: Vec::new(),
            offset,
            timestamp,
        });
        offset
    }
}
