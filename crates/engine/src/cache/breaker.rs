//! A circuit breaker: after repeated failures calls to a layer are refused for a while; then one
//! probe is let through.

use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::circuit::CircuitState;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerOptions {
    /// Consecutive failures that open the breaker. Default 5.
    pub failures: u32,
    /// Time for which the breaker stays open before one call may probe. Default 1 s.
    pub open_for: Duration,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            failures: 5,
            open_for: Duration::from_secs(1),
        }
    }
}

/// A breaker that all callers of one layer share. While it is closed, a call costs two atomic
/// operations.
#[derive(Debug)]
pub struct Breaker {
    options: BreakerOptions,
    /// The [`CircuitState`] as a number, read without the lock by the fast path and by gauges.
    state: AtomicU8,
    failures_in_a_row: AtomicU32,
    opened_total: AtomicU64,
    probe_at: Mutex<Instant>,
}

/// Permission for one call. The caller reports how the call ended. If a pass is dropped without a
/// report (the call was cancelled), a probe is given back for the next caller and an ordinary call
/// counts for nothing.
#[derive(Debug)]
#[must_use]
pub struct Pass<'a> {
    breaker: &'a Breaker,
    probe: bool,
    ended: bool,
}

impl Breaker {
    pub fn new(options: BreakerOptions) -> Self {
        Self {
            options,
            state: AtomicU8::new(CircuitState::Closed as u8),
            failures_in_a_row: AtomicU32::new(0),
            opened_total: AtomicU64::new(0),
            probe_at: Mutex::new(Instant::now()),
        }
    }

    /// Returns permission for one call, or `None` while calls to the layer are refused.
    pub fn admit(&self) -> Option<Pass<'_>> {
        let probe = match self.state() {
            CircuitState::Closed => false,
            CircuitState::HalfOpen => return None,
            CircuitState::Open => {
                let probe_at = self.lock();
                if self.state() != CircuitState::Open || Instant::now() < *probe_at {
                    return None;
                }
                self.set(CircuitState::HalfOpen);
                true
            }
        };
        Some(Pass {
            breaker: self,
            probe,
            ended: false,
        })
    }

    pub fn state(&self) -> CircuitState {
        match self.state.load(Ordering::Acquire) {
            0 => CircuitState::Closed,
            1 => CircuitState::HalfOpen,
            _ => CircuitState::Open,
        }
    }

    /// Returns the number of times that the breaker opened.
    pub fn opened_total(&self) -> u64 {
        self.opened_total.load(Ordering::Relaxed)
    }

    /// Lets an open breaker probe with the next call, because the layer is probably back.
    pub fn probe_now(&self) {
        *self.lock() = Instant::now();
    }

    fn set(&self, state: CircuitState) {
        self.state.store(state as u8, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Instant> {
        self.probe_at.lock()
    }

    fn open(&self) {
        let mut probe_at = self.lock();
        *probe_at = Instant::now() + self.options.open_for;
        self.set(CircuitState::Open);
        self.opened_total.fetch_add(1, Ordering::Relaxed);
    }
}

impl Pass<'_> {
    pub fn succeeded(mut self) {
        self.ended = true;
        let breaker = self.breaker;
        // The success of a call that began before the breaker opened does not show that the layer
        // works now.
        if self.probe || breaker.state() == CircuitState::Closed {
            if breaker.failures_in_a_row.load(Ordering::Relaxed) != 0 {
                breaker.failures_in_a_row.store(0, Ordering::Relaxed);
            }
            if self.probe {
                breaker.set(CircuitState::Closed);
            }
        }
    }

    /// Reports a failure. Returns true if this failure opened the breaker.
    pub fn failed(mut self) -> bool {
        self.ended = true;
        let breaker = self.breaker;
        if self.probe {
            breaker.open();
            return true;
        }
        let failures = breaker.failures_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        let opens =
            failures == breaker.options.failures.max(1) && breaker.state() == CircuitState::Closed;
        if opens {
            breaker.open();
        }
        opens
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.probe && !self.ended {
            let _unchanged = self.breaker.lock();
            self.breaker.set(CircuitState::Open);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(BreakerOptions {
            failures: 3,
            open_for: Duration::from_secs(1),
        })
    }

    fn fail(breaker: &Breaker, times: usize) {
        for _ in 0..times {
            breaker.admit().unwrap().failed();
        }
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let breaker = breaker();
        fail(&breaker, 2);
        breaker.admit().unwrap().succeeded();
        fail(&breaker, 2);
        assert_eq!(breaker.state(), CircuitState::Closed);
        assert!(breaker.admit().unwrap().failed());
        assert_eq!(breaker.state(), CircuitState::Open);
        assert!(breaker.admit().is_none());
        assert_eq!(breaker.opened_total(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn after_its_time_one_probe_decides() {
        let breaker = breaker();
        fail(&breaker, 3);
        tokio::time::advance(Duration::from_secs(1)).await;
        let probe = breaker.admit().unwrap();
        assert_eq!(breaker.state(), CircuitState::HalfOpen);
        assert!(breaker.admit().is_none(), "one probe only");
        assert!(probe.failed());
        assert!(breaker.admit().is_none());

        tokio::time::advance(Duration::from_secs(1)).await;
        breaker.admit().unwrap().succeeded();
        assert_eq!(breaker.state(), CircuitState::Closed);
        fail(&breaker, 2);
        assert_eq!(breaker.state(), CircuitState::Closed, "counted anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_probe_is_given_back() {
        let breaker = breaker();
        fail(&breaker, 3);
        breaker.probe_now();
        drop(breaker.admit().unwrap());
        assert_eq!(breaker.state(), CircuitState::Open);
        breaker.admit().unwrap().succeeded();
        assert_eq!(breaker.state(), CircuitState::Closed);
    }

    #[test]
    fn what_began_before_it_opened_neither_closes_nor_prolongs_it() {
        let breaker = breaker();
        let (early, late) = (breaker.admit().unwrap(), breaker.admit().unwrap());
        fail(&breaker, 3);
        early.succeeded();
        assert!(!late.failed());
        assert_eq!(breaker.state(), CircuitState::Open);
        assert_eq!(breaker.opened_total(), 1);
    }
}
