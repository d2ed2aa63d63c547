//! What failed: counted by reason, logged when a line is due, and readable as the layer's state.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::failure::{Failure, Secrets};
use super::reason::{REASONS, Reason};
use crate::cache::Trouble;
use crate::clock::Clock;
use crate::trouble::{Notice, Pace, Troubles};

/// What was tried when a failure was met. Reads and writes are refused apart: a replica, or a
/// server that is full, still has its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Purpose {
    Read = 1,
    Write = 2,
    Connect = 4,
}

#[derive(Debug)]
pub(super) struct Reporter {
    /// Where the server is, without user and password.
    address: String,
    pub(super) secrets: Secrets,
    clock: Clock,
    /// In the order of [`Reason`].
    failures: [AtomicU64; REASONS],
    /// The purposes whose next success matters to an open trouble, as bits.
    awaited: AtomicU8,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    troubles: Troubles<Reason>,
    /// How each reason was met last.
    met: BTreeMap<Reason, (Purpose, Failure)>,
}

impl Reporter {
    pub(super) fn new(address: String, secrets: Secrets, clock: Clock, pace: Pace) -> Self {
        Self {
            address,
            secrets,
            clock,
            failures: [const { AtomicU64::new(0) }; REASONS],
            awaited: AtomicU8::new(0),
            state: Mutex::new(State {
                troubles: Troubles::new(pace),
                met: BTreeMap::new(),
            }),
        }
    }

    /// Counts a failure without a line, unless its reason is an open trouble already: one time-out
    /// is none.
    pub(super) fn count(&self, failure: &Failure, purpose: Purpose) {
        let is_open = self
            .state()
            .troubles
            .open()
            .any(|(reason, _)| reason == failure.reason);
        if is_open {
            self.failed(failure, purpose);
        } else {
            self.failures[failure.reason as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a failure and logs it when a line is due.
    pub(super) fn failed(&self, failure: &Failure, purpose: Purpose) {
        self.failures[failure.reason as usize].fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        state.met.insert(failure.reason, (purpose, failure.clone()));
        let notice = state.troubles.failed(failure.reason, now());
        self.await_successes(&state);
        drop(state);
        if let Some(notice) = notice {
            self.log(notice, purpose, failure);
        }
    }

    /// Notes a success. While nothing is wrong it costs one atomic read.
    pub(super) fn worked(&self, purpose: Purpose) {
        if self.awaited.load(Ordering::Relaxed) & purpose as u8 == 0 {
            return;
        }
        let mut state = self.state();
        let State { troubles, met } = &mut *state;
        let by = |reason| met.get(&reason).is_some_and(|(by, _)| *by == purpose);
        troubles.worked(now(), by);
        self.await_successes(&state);
    }

    /// Logs the lines that have come due. To be called every second or so.
    pub(super) fn settle(&self) {
        let mut state = self.state();
        let due = state.troubles.settle(now());
        let met = |(reason, notice)| {
            let (purpose, failure) = state.met.get(&reason)?;
            Some((notice, *purpose, failure.clone()))
        };
        let lines: Vec<_> = due.into_iter().filter_map(met).collect();
        drop(state);
        for (notice, purpose, failure) in lines {
            self.log(notice, purpose, &failure);
        }
    }

    /// How many failures there were, by label.
    pub(super) fn failures(&self) -> Vec<(&'static str, u64)> {
        let count = |reason: Reason| {
            let failures = self.failures[reason as usize].load(Ordering::Relaxed);
            (reason.label(), failures)
        };
        Reason::all().map(count).collect()
    }

    /// The oldest open trouble; of those that end all hits, if there are any.
    pub(super) fn trouble(&self, reads: bool) -> Option<Trouble> {
        let state = self.state();
        let ends_hits = |reason: Reason| matches!(state.met.get(&reason), Some((by, _)) if *by != Purpose::Write);
        let (reason, since) = state
            .troubles
            .open()
            .min_by_key(|(reason, since)| (!ends_hits(*reason), *since))?;
        let (_, failure) = state.met.get(&reason)?;
        Some(Trouble {
            since: self
                .clock
                .now()
                .minus(now().saturating_duration_since(since)),
            reason: reason.label(),
            detail: Arc::from(format!(
                "{} ({}): {}",
                failure.text,
                self.address,
                reason.row().advice
            )),
            down: !reads,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn await_successes(&self, state: &State) {
        let by = |reason| state.met.get(&reason).map_or(0, |(by, _)| *by as u8);
        let awaited = state
            .troubles
            .unanswered()
            .map(by)
            .fold(0, |all, by| all | by);
        self.awaited.store(awaited, Ordering::Relaxed);
    }

    fn log(&self, notice: Notice, purpose: Purpose, failure: &Failure) {
        let (address, error) = (self.address.as_str(), &*failure.text);
        let (reason, advice) = (failure.reason.label(), failure.reason.row().advice);
        let what = match purpose {
            Purpose::Read => "lookups in Redis fail",
            Purpose::Write => "fills and leases in Redis fail",
            Purpose::Connect => "no connection to Redis",
        };
        match notice {
            Notice::Begins => {
                tracing::warn!(reason, address, error, "{what}: {advice}");
            }
            Notice::Lasts { failures, lasted } => {
                let for_secs = lasted.as_secs();
                tracing::warn!(
                    reason,
                    address,
                    error,
                    failures,
                    for_secs,
                    "{what}, still: {advice}"
                );
            }
            Notice::Over { failures, lasted } => {
                let after_secs = lasted.as_secs();
                tracing::info!(reason, address, failures, after_secs, "over: {what}");
            }
        }
    }
}

/// The runtime's time, which tests can stop.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
