//! Reports the failures of a component: counts them by reason, logs a line when one is due, and
//! returns the component's current trouble.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use tokio::time::Instant;

use super::{Notice, Pace, Troubles};
use crate::Timestamp;
use crate::clock::Clock;

/// The current trouble of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub since: Timestamp,
    /// The reason, from a closed set: for a layer, a label of `wedcache_layer_failures_total`.
    pub reason: &'static str,
    /// The error, its place and the remedy, without secrets and payload.
    pub detail: Arc<str>,
    /// True if the component does not work at all. Otherwise only a part fails, as with a Redis
    /// that refuses writes.
    pub down: bool,
}

/// The reasons why a component fails: a closed set, in the order of [`Reason::ALL`].
pub trait Reason: Copy + Ord + Debug + 'static {
    const ALL: &'static [Self];

    /// Returns the label of the reason in metrics.
    fn label(self) -> &'static str;

    /// Returns an explanation of the reason, and the remedy.
    fn advice(self) -> &'static str;
}

/// A failure as it may be shown: the text is without secrets and payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure<R> {
    pub reason: R,
    pub text: Arc<str>,
}

impl<R> Failure<R> {
    pub fn new(reason: R, text: &str) -> Self {
        let text = Arc::from(text);
        Self { reason, text }
    }
}

/// The purpose of the work that failed. Reads and writes can fail separately: a Redis that is a
/// replica, or a disk that is full, can still be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Purpose {
    Read = 1,
    Write = 2,
    /// Connecting, or opening a folder.
    Open = 4,
}

/// A function that returns the words for a failed purpose of one component in the log.
pub type Words = fn(Purpose) -> &'static str;

#[derive(Debug)]
pub struct Reporter<R> {
    words: Words,
    /// The address or folder, without secrets.
    location: String,
    clock: Clock,
    /// The number of failures per reason, in the order of [`Reason::ALL`].
    failures: Vec<AtomicU64>,
    /// The purposes whose next success matters to an open trouble, as bits.
    awaited: AtomicU8,
    state: Mutex<State<R>>,
}

#[derive(Debug)]
struct State<R> {
    troubles: Troubles<R>,
    /// The latest failure of each reason, and its purpose.
    met: BTreeMap<R, (Purpose, Failure<R>)>,
}

impl<R: Reason> Reporter<R> {
    pub fn new(words: Words, location: String, clock: Clock, pace: Pace) -> Self {
        Self {
            words,
            location,
            clock,
            failures: R::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            awaited: AtomicU8::new(0),
            state: Mutex::new(State {
                troubles: Troubles::new(pace),
                met: BTreeMap::new(),
            }),
        }
    }

    /// Counts a failure that is worth no line alone. While its reason is an open trouble, it counts
    /// as any other failure does.
    pub fn count(&self, failure: &Failure<R>, purpose: Purpose) {
        let is_open = self
            .state()
            .troubles
            .open()
            .any(|(reason, _)| reason == failure.reason);
        if is_open {
            self.failed(failure, purpose);
        } else {
            self.add(failure.reason);
        }
    }

    /// Counts a failure and logs a line if one is due.
    pub fn failed(&self, failure: &Failure<R>, purpose: Purpose) {
        self.add(failure.reason);
        let mut state = self.state();
        state.met.insert(failure.reason, (purpose, failure.clone()));
        let notice = state.troubles.failed(failure.reason, now());
        self.await_successes(&state);
        // Before the log is written, which may block: other threads wait for this lock.
        drop(state);
        if let Some(notice) = notice {
            self.log(notice, purpose, failure);
        }
    }

    /// Notes a success. While there is no trouble, this costs one atomic read.
    pub fn worked(&self, purpose: Purpose) {
        if self.awaited.load(Ordering::Relaxed) & purpose as u8 == 0 {
            return;
        }
        let mut state = self.state();
        let State { troubles, met } = &mut *state;
        let by = |reason| met.get(&reason).is_some_and(|(by, _)| *by == purpose);
        troubles.worked(now(), by);
        self.await_successes(&state);
    }

    /// Logs the lines that have come due. To be called about every second.
    pub fn settle(&self) {
        let mut state = self.state();
        let due = state.troubles.settle(now());
        let met = |(reason, notice)| {
            let (purpose, failure) = state.met.get(&reason)?;
            Some((notice, *purpose, failure.clone()))
        };
        let lines: Vec<_> = due.into_iter().filter_map(met).collect();
        // Before the log is written, which may block: other threads wait for this lock.
        drop(state);
        for (notice, purpose, failure) in lines {
            self.log(notice, purpose, &failure);
        }
    }

    /// Returns the number of failures, by label.
    pub fn failures(&self) -> Vec<(&'static str, u64)> {
        let counts = self.failures.iter().map(|of| of.load(Ordering::Relaxed));
        R::ALL.iter().map(|of| of.label()).zip(counts).collect()
    }

    /// Returns the oldest open trouble; those that prevent hits come before those that do not.
    pub fn trouble(&self, down: bool) -> Option<Trouble> {
        let state = self.state();
        let met = |reason: R| state.met.get(&reason);
        let spares_hits =
            |reason: R| met(reason).is_none_or(|(purpose, _)| *purpose == Purpose::Write);
        let (reason, since) = state
            .troubles
            .open()
            .min_by_key(|(reason, since)| (spares_hits(*reason), *since))?;
        let (_, failure) = met(reason)?;
        let (text, location, advice) = (&failure.text, &self.location, reason.advice());
        Some(Trouble {
            since: self
                .clock
                .now()
                .minus(now().saturating_duration_since(since)),
            reason: reason.label(),
            detail: Arc::from(format!("{text} ({location}): {advice}")),
            down,
        })
    }

    fn add(&self, reason: R) {
        let at = R::ALL.binary_search(&reason);
        if let Some(count) = at.ok().and_then(|at| self.failures.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn state(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock()
    }

    fn await_successes(&self, state: &State<R>) {
        let by = |reason| state.met.get(&reason).map_or(0, |(by, _)| *by as u8);
        let unanswered = state.troubles.unanswered();
        let awaited = unanswered.map(by).fold(0, |all, by| all | by);
        self.awaited.store(awaited, Ordering::Relaxed);
    }

    fn log(&self, notice: Notice, purpose: Purpose, failure: &Failure<R>) {
        let (location, error) = (self.location.as_str(), &*failure.text);
        let (reason, advice) = (failure.reason.label(), failure.reason.advice());
        let what = (self.words)(purpose);
        match notice {
            Notice::Begins => {
                tracing::warn!(reason, location, error, "{what}: {advice}");
            }
            Notice::Lasts { failures, lasted } => {
                let for_secs = lasted.as_secs();
                tracing::warn!(
                    reason,
                    location,
                    error,
                    failures,
                    for_secs,
                    "{what}, still: {advice}"
                );
            }
            Notice::Over { failures, lasted } => {
                let after_secs = lasted.as_secs();
                tracing::info!(reason, location, failures, after_secs, "over: {what}");
            }
        }
    }
}

/// Returns the runtime's time, which tests can stop.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum Why {
        Full,
        Gone,
    }

    impl Reason for Why {
        const ALL: &'static [Self] = &[Self::Full, Self::Gone];

        fn label(self) -> &'static str {
            ["full", "gone"][self as usize]
        }

        fn advice(self) -> &'static str {
            "look"
        }
    }

    fn reporter() -> Reporter<Why> {
        let clock = Clock::with_timers(Timestamp(1_790_000_000_000));
        Reporter::new(|_| "it fails", "here".to_owned(), clock, Pace::default())
    }

    fn reasons(reporter: &Reporter<Why>) -> Option<(&'static str, u64)> {
        let trouble = reporter.trouble(false)?;
        let since = trouble.since.0 - 1_790_000_000_000;
        Some((trouble.reason, since.unsigned_abs() / 1000))
    }

    async fn secs(secs: u64) {
        tokio::time::advance(std::time::Duration::from_secs(secs)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_trouble_stands_until_its_own_purpose_has_worked() {
        let reporter = reporter();
        assert_eq!(reasons(&reporter), None);
        secs(3).await;
        reporter.failed(&Failure::new(Why::Full, "no room"), Purpose::Write);
        secs(1).await;
        reporter.failed(&Failure::new(Why::Gone, "no folder"), Purpose::Read);
        assert_eq!(reasons(&reporter), Some(("gone", 4)), "it ends hits");
        reporter.worked(Purpose::Read);
        secs(5).await;
        reporter.settle();
        assert_eq!(reasons(&reporter), Some(("full", 3)));
        let detail = reporter.trouble(true).unwrap().detail;
        assert_eq!(&*detail, "no room (here): look");
        reporter.worked(Purpose::Write);
        reporter.settle();
        assert_eq!(reasons(&reporter), None);
        assert_eq!(reporter.failures(), [("full", 1), ("gone", 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_only_counted_is_no_trouble_of_its_own_but_prolongs_one() {
        let (reporter, late) = (reporter(), Failure::new(Why::Gone, "late"));
        reporter.count(&late, Purpose::Read);
        assert_eq!(reasons(&reporter), None);
        reporter.failed(&late, Purpose::Read);
        reporter.worked(Purpose::Read);
        secs(4).await;
        reporter.count(&late, Purpose::Read);
        reporter.worked(Purpose::Read);
        secs(4).await;
        reporter.settle();
        assert_eq!(reasons(&reporter), Some(("gone", 0)));
        assert_eq!(reporter.failures(), [("full", 0), ("gone", 3)]);
    }
}
