//! Until when somebody waits for a call, which moves while the call is under way; and whether the
//! call still waits for its turn.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

/// The deadline of the last waiter. Clones share it, so that who joins a flight later can move
/// it while the flight's call is being retried. It only ever moves to later.
#[derive(Debug, Clone)]
pub struct Until(Arc<Wait>);

#[derive(Debug)]
struct Wait {
    until: Mutex<Option<Instant>>,
    in_line: watch::Sender<bool>,
}

/// A question waits for its turn for as long as this lives.
#[derive(Debug)]
pub struct InLine<'a>(&'a watch::Sender<bool>);

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

impl Until {
    /// Somebody waits however long it takes; refills and preloads too.
    pub fn forever() -> Self {
        Self::new(None)
    }

    /// Nobody waits any longer than `at`.
    pub fn at(at: Instant) -> Self {
        Self::new(Some(at))
    }

    /// `None` is for ever.
    pub fn new(at: Option<Instant>) -> Self {
        Self(Arc::new(Wait {
            until: Mutex::new(at),
            in_line: watch::Sender::new(false),
        }))
    }

    /// One more waiter with this deadline; `None` waits for ever.
    pub fn extend(&self, at: Option<Instant>) {
        let mut until = self.0.until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = until.and_then(|until| at.map(|at| until.max(at)));
    }

    pub fn get(&self) -> Option<Instant> {
        *self.0.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the question only waits for its turn: no work is done on it, and that it takes
    /// long is no sign of anything.
    pub fn stand_in_line(&self) -> InLine<'_> {
        self.0.in_line.send_replace(true);
        InLine(&self.0.in_line)
    }

    /// Whether the question only waits for its turn, and when that changes.
    pub fn in_line(&self) -> watch::Receiver<bool> {
        self.0.in_line.subscribe()
    }

    /// Whether nobody waits any more once `instant` has come.
    pub(super) fn reached(&self, instant: Instant) -> bool {
        self.get().is_some_and(|until| until <= instant)
    }

    /// Resolves when nobody waits any more; never where somebody waits for ever. Cancel safe.
    pub async fn passed(&self) {
        loop {
            match self.get() {
                // "For ever" does not become sooner.
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
