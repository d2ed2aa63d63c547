//! The source of the time: the machine, or a test.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::time::Instant;

use crate::Timestamp;

/// The wall clock. Its times label and expire entries; they never decide whether a change forbids
/// an answer (the invalidation log's offsets do).
#[derive(Clone, Debug, Default)]
pub enum Clock {
    #[default]
    System,
    /// A clock that stands still until a test moves it.
    Mock(Arc<MockClock>),
    /// A clock that moves with the timers of the runtime, and stands still while those are paused.
    /// The time was `at` when the timers were at `since`.
    Timers { at: Timestamp, since: Instant },
}

impl Clock {
    #[inline]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => system_now(),
            Self::Mock(clock) => Timestamp(clock.millis.load(Ordering::Relaxed)),
            Self::Timers { at, since } => at.plus(since.elapsed()),
        }
    }

    /// Returns a clock that is `at` now and moves with the runtime's timers.
    pub fn with_timers(at: Timestamp) -> Self {
        let since = Instant::now();
        Self::Timers { at, since }
    }

    /// Returns a clock that stands at `at`, and the handle that moves it.
    pub fn mock(at: Timestamp) -> (Self, Arc<MockClock>) {
        let hand = Arc::new(MockClock {
            millis: AtomicI64::new(at.0),
        });
        (Self::Mock(Arc::clone(&hand)), hand)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one home of the system clock"
)]
fn system_now() -> Timestamp {
    Timestamp(chrono::Utc::now().timestamp_millis())
}

/// The handle of a mocked clock.
#[derive(Debug)]
pub struct MockClock {
    millis: AtomicI64,
}

impl MockClock {
    pub fn set(&self, at: Timestamp) {
        self.millis.store(at.0, Ordering::Relaxed);
    }

    pub fn advance(&self, by: std::time::Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.millis.fetch_add(by, Ordering::Relaxed);
    }
}
