//! Undelivered records, which a producer took and could not deliver, with the tickets that wait for
//! them.

use parking_lot::Mutex;

use wedcache_model::Unfinished as _;

use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;

use super::member::Ticket;
use super::producer::OutRecord;
use super::record;

/// A record that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRecord {
    pub topic: String,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A record that did not arrive, and the ticket of the input that waits for it.
#[derive(Debug)]
pub struct Undelivered {
    pub record: OwnedRecord,
    pub ticket: Ticket,
    pub code: RDKafkaErrorCode,
}

/// The place where undelivered records wait until they are sent again. Bounded by the records in
/// flight: each holds a ticket.
#[derive(Debug, Default)]
pub struct Returned {
    waiting: Mutex<Vec<Undelivered>>,
    came: Notify,
}

impl OwnedRecord {
    pub(super) fn of(message: &BorrowedMessage<'_>) -> Self {
        Self {
            topic: message.topic().to_owned(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: record::headers(message)
                .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }

    /// Calls `send` with the record in the form that a producer takes.
    pub async fn with<R>(&self, send: impl AsyncFnOnce(&OutRecord<'_>) -> R) -> R {
        let headers: Vec<(&str, Option<&[u8]>)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
            .collect();
        let record = OutRecord {
            headers: &headers,
            ..OutRecord::to(&self.topic, self.key.as_deref(), self.value.as_deref())
        };
        send(&record).await
    }
}

impl Returned {
    /// Adds a record. From now on its ticket is held back and does not count as stuck.
    pub fn put(&self, undelivered: Undelivered) {
        undelivered.ticket.hold();
        self.lock().push(undelivered);
        self.came.notify_one();
    }

    /// Takes at most `most` records, the oldest first; waits until there is one. Cancel safe.
    pub async fn take(&self, most: usize) -> Vec<Undelivered> {
        loop {
            let came = self.came.notified();
            let taken: Vec<_> = {
                let mut waiting = self.lock();
                let count = waiting.len().min(most);
                waiting.drain(..count).collect()
            };
            if !taken.is_empty() {
                return taken;
            }
            came.await;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, Vec<Undelivered>> {
        self.waiting.lock()
    }
}
