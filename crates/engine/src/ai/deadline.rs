//! The deadline until which somebody waits for a call; it can move while the call is in flight.
//! Also records whether the call still waits for its turn.

use parking_lot::Mutex;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

/// The deadline of the last waiter. Clones share it, so that a waiter that joins a flight later can
/// move it while the flight's call is being retried. It only ever moves to later.
#[derive(Debug, Clone)]
pub struct Until(Arc<Wait>);

#[derive(Debug)]
struct Wait {
    until: Mutex<Option<Instant>>,
    in_line: watch::Sender<bool>,
}

/// A guard: while it lives, the question waits for its turn.
#[derive(Debug)]
pub struct InLine<'a>(&'a watch::Sender<bool>);

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

impl Until {
    /// Creates a deadline that never passes; for refills and preloads too.
    pub fn forever() -> Self {
        Self::new(None)
    }

    /// Creates a deadline at `at`.
    pub fn at(at: Instant) -> Self {
        Self::new(Some(at))
    }

    /// Creates a deadline; `None` never passes.
    pub fn new(at: Option<Instant>) -> Self {
        Self(Arc::new(Wait {
            until: Mutex::new(at),
            in_line: watch::Sender::new(false),
        }))
    }

    /// Adds a waiter with this deadline; `None` waits forever.
    pub fn extend(&self, at: Option<Instant>) {
        let mut until = self.0.until.lock();
        *until = until.and_then(|until| at.map(|at| until.max(at)));
    }

    pub fn get(&self) -> Option<Instant> {
        *self.0.until.lock()
    }

    /// Marks the question as only waiting for its turn while the guard lives: no work is done on
    /// it, so a long wait does not count as stuck.
    pub fn stand_in_line(&self) -> InLine<'_> {
        self.0.in_line.send_replace(true);
        InLine(&self.0.in_line)
    }

    /// Returns a channel that is true while the question only waits for its turn, and signals
    /// changes.
    pub fn in_line(&self) -> watch::Receiver<bool> {
        self.0.in_line.subscribe()
    }

    /// Returns true if nobody will wait any longer once `instant` has come.
    pub(super) fn reached(&self, instant: Instant) -> bool {
        self.get().is_some_and(|until| until <= instant)
    }

    /// Resolves when nobody waits any longer; never if somebody waits forever. Cancel safe.
    pub async fn passed(&self) {
        loop {
            match self.get() {
                // A deadline of "forever" never becomes sooner.
                None => std::future::pending().await,
                Some(at) if at <= Instant::now() => return,
                Some(at) => tokio::time::sleep_until(at).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_later_waiter_moves_the_deadline_even_while_it_is_awaited() {
        let start = Instant::now();
        let until = Until::at(start + Duration::from_secs(1));
        until.extend(Some(start));
        let moved = until.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            moved.extend(Some(start + Duration::from_secs(3)));
        });
        until.passed().await;
        assert_eq!(start.elapsed(), Duration::from_secs(3));
        assert!(until.reached(Instant::now()));
    }

    #[test]
    fn for_ever_stays_for_ever() {
        let until = Until::at(Instant::now());
        until.extend(None);
        until.extend(Some(Instant::now()));
        assert_eq!(until.get(), None);
    }
}
