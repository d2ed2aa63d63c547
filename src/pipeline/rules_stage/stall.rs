//! Whether the invalidation log takes what the rules stage has to append.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Whether the log refuses appends now: then all changes in flight wait, which is no sign that
/// anything is stuck here.
#[derive(Debug, Default)]
pub struct Stall(Mutex<Option<Stalled>>);

/// Since when the log refuses appends, and why.
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

    /// For how long it was set.
    pub(super) fn clear(&self) -> Option<Duration> {
        self.lock().take().map(|of| of.since.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Stalled>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
