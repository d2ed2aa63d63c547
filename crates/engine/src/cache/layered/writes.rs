//! Writes to one durable layer: counts those in flight and tracks whether the layer still works.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use wedcache_model::{Entry, LayerName};

use super::super::{Layer, LayerError, Put};

/// Pause before a write that found no room in a layer is retried.
const AGAIN: Duration = Duration::from_millis(5);

/// A durable layer and the writes in flight to it.
pub(super) struct Durable {
    pub(super) layer: Arc<dyn Layer>,
    room: Arc<Semaphore>,
    max: usize,
    /// Time without any reply to its writes after which the layer counts as stalled.
    patience: Duration,
    /// Start of the time in which no write in flight got a reply; `None` if none is in flight.
    silent_since: Mutex<Option<Instant>>,
}

/// The right to have one write in flight.
pub(super) struct Room {
    #[expect(dead_code, reason = "held until the write is over")]
    permit: OwnedSemaphorePermit,
}

impl Durable {
    pub(super) fn new(layer: Arc<dyn Layer>, max: usize, patience: Duration) -> Self {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            layer,
            room: Arc::new(Semaphore::new(max)),
            max,
            patience,
            silent_since: Mutex::new(None),
        }
    }

    pub(super) fn name(&self) -> LayerName {
        self.layer.name()
    }

    pub(super) fn on_their_way(&self) -> usize {
        self.max - self.room.available_permits()
    }

    /// Returns room for one more write, or `None` if there is none right now.
    pub(super) fn try_room(&self) -> Option<Room> {
        let permit = Arc::clone(&self.room).try_acquire_owned().ok()?;
        self.silence().get_or_insert_with(Instant::now);
        Some(Room { permit })
    }

    /// Waits for room for one more write as long as the layer works.
    pub(super) async fn room(&self) -> Result<Room, LayerError> {
        let mut permit = std::pin::pin!(Arc::clone(&self.room).acquire_owned());
        loop {
            let deadline = self.works_until();
            match timeout_at(deadline, &mut permit).await {
                Ok(Ok(permit)) => {
                    self.silence().get_or_insert_with(Instant::now);
                    return Ok(Room { permit });
                }
                Ok(Err(_)) => return Err(LayerError::Closed),
                Err(_) if self.works_until() > deadline => {}
                Err(_) => return Err(LayerError::Overloaded { capacity: self.max }),
            }
        }
    }

    /// Writes the entry; while the layer works but has no room, retries.
    pub(super) async fn put(&self, entry: &Arc<Entry>, room: Room) -> Result<Put, LayerError> {
        loop {
            let result = self.layer.put(entry).await;
            let is_full = matches!(result, Err(LayerError::Overloaded { .. }));
            if is_full && Instant::now() < self.works_until() {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            // Released first, so that `on_their_way` does not count this write.
            drop(room);
            if !is_full {
                let others = self.on_their_way() > 0;
                *self.silence() = others.then(Instant::now);
            }
            return result;
        }
    }

    /// Returns the time until which the layer counts as working. Every reply, even a refusal,
    /// extends it to the full patience again.
    pub(super) fn works_until(&self) -> Instant {
        self.silence().unwrap_or_else(Instant::now) + self.patience
    }

    /// Waits until no write is in flight.
    pub(super) async fn idle(&self) {
        let all = u32::try_from(self.max).unwrap_or(u32::MAX);
        drop(self.room.acquire_many(all).await);
    }

    fn silence(&self) -> MutexGuard<'_, Option<Instant>> {
        self.silent_since.lock()
    }
}
