//! The state of appending to the invalidation log.

use parking_lot::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Set while the log refuses appends: all changes in flight wait then, though nothing is stuck here.
#[derive(Debug, Default)]
pub struct Stall(Mutex<Option<Stalled>>);

/// The time since which the log refuses appends, and the reason.
#[derive(Debug, Clone)]
pub struct Stalled {
    pub since: Instant,
    pub why: String,
}

impl Stall {
    pub fn now(&self) -> Option<Stalled> {
        self.lock().clone()
    }

    pub(super) fn set(&self, why: String) -> Stalled {
        let mut stalled = self.lock();
        let since = stalled.as_ref().map_or_else(Instant::now, |of| of.since);
        stalled.insert(Stalled { since, why }).clone()
    }

    /// Clears the state. Returns the time for which it was set.
    pub(super) fn clear(&self) -> Option<Duration> {
        self.lock().take().map(|of| of.since.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Stalled>> {
        self.0.lock()
    }
}
