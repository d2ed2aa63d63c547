//! librdkafka's callbacks into a reader, and the batch at which reading stands still.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Instant;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError as LibraryError;

use super::super::client::ClientLog;
use super::super::standstill::{self, BadBatch, BatchFault};

/// A batch that cannot be read, at which reading stands still.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockingBatch {
    pub(super) since: Instant,
    pub(super) batch: BadBatch,
    /// True if librdkafka has left the batch out and would go on behind it.
    pub(super) left_out: bool,
}

/// The blocking batch, if there is one; shared by the reader's thread, its callbacks and its
/// handle.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedBadBatch(Arc<Mutex<Option<BlockingBatch>>>);

impl SharedBadBatch {
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<BlockingBatch>> {
        self.0.lock()
    }
}

#[derive(Clone)]
pub(super) struct ReaderContext {
    pub(super) log: ClientLog,
    pub(super) bad_batch: SharedBadBatch,
}

impl ClientContext for ReaderContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.log.log(level, facility, text);
    }

    fn error(&self, error: LibraryError, reason: &str) {
        let Some(batch) = standstill::bad_batch(reason) else {
            return self.log.error(error, reason);
        };
        let mut bad_batch = self.bad_batch.lock();
        // The first report stays: a bad batch behind it is reported in its turn.
        let blocking = bad_batch.get_or_insert(BlockingBatch {
            since: Instant::now(),
            batch,
            left_out: false,
        });
        blocking.left_out |= batch.fault == BatchFault::Checksum;
    }
}

impl ConsumerContext for ReaderContext {}
