//! What comes out, and who sees it: kept until it is taken, or told to an observer at once.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::provider::Call;
use crate::alerts::Alert;
use crate::codec::Reject;
use crate::codec::{Encoder, Framings};
use crate::model::{AiAnswer, CacheMetric, Position, TagInvalidation, Timestamp};
use crate::resolver::{Ask, Outcome};

/// Sees what comes out at the moment it does. [`Driver::take`] is fed by one that keeps it all;
/// a long run has one that counts.
///
/// [`Driver::take`]: super::Driver::take
pub trait Observer: Send + Sync {
    /// An answer, with its metric.
    fn answer(&self, told: &Told<'_>);
    /// Any other metric: of calls, fills and the log.
    fn metric(&self, metric: &CacheMetric<'_>);
    /// A record of the log, at its offset there.
    fn invalidation(&self, offset: i64, record: &TagInvalidation);
    fn call(&self, call: &Call);
    fn dead_letter(&self, letter: DeadLetter);
    fn alert(&self, alert: Alert);
}

/// An answer as it goes out.
pub struct Told<'a> {
    pub ask: &'a Ask,
    pub outcome: &'a Outcome,
    pub at: Timestamp,
    /// See [`Answered::log`].
    pub log: u32,
    /// The value of the answer's record, JSON.
    pub answer: &'a [u8],
    /// That of its metric's.
    pub metric: &'a [u8],
}

/// Everything that came out since it was last taken, each kind in its order.
#[derive(Debug, Default)]
pub struct Collected {
    pub answers: Vec<Answered>,
    pub metrics: Vec<CacheMetric<'static>>,
    /// With their offsets in the log.
    pub invalidations: Vec<(i64, TagInvalidation)>,
    pub dead_letters: Vec<DeadLetter>,
    pub alerts: Vec<Alert>,
    /// Requests to the provider.
    pub calls: Vec<Call>,
}

/// An answer, read back from the bytes that go out.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    pub answer: AiAnswer<'static>,
    /// How far the log had been applied when its query arrived.
    pub arrival: Position,
    /// Which log its positions count in: how often the log had been made anew.
    pub log: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub reject: Reject,
}

/// What was encoded a moment ago reads back.
const READS_BACK: &str = "our own JSON reads back";

/// Keeps all of it.
pub(super) type Collector = Mutex<Collected>;

impl Observer for Collector {
    fn answer(&self, told: &Told<'_>) {
        let answered = Answered {
            answer: serde_json::from_slice(told.answer).expect(READS_BACK),
            arrival: told.ask.arrival,
            log: told.log,
        };
        let metric = serde_json::from_slice(told.metric).expect(READS_BACK);
        let mut collected = lock(self);
        collected.answers.push(answered);
        collected.metrics.push(metric);
    }

    fn metric(&self, metric: &CacheMetric<'_>) {
        let mut value = Vec::new();
        Encoder::new(Framings::default()).encode_metric(metric, &mut value);
        let metric = serde_json::from_slice(&value).expect(READS_BACK);
        lock(self).metrics.push(metric);
    }

    fn invalidation(&self, offset: i64, record: &TagInvalidation) {
        lock(self).invalidations.push((offset, record.clone()));
    }

    fn call(&self, call: &Call) {
        lock(self).calls.push(call.clone());
    }

    fn dead_letter(&self, letter: DeadLetter) {
        lock(self).dead_letters.push(letter);
    }

    fn alert(&self, alert: Alert) {
        lock(self).alerts.push(alert);
    }
}

/// Nothing that can panic half-way runs under the lock.
pub(super) fn lock(collected: &Mutex<Collected>) -> MutexGuard<'_, Collected> {
    collected.lock().unwrap_or_else(PoisonError::into_inner)
}
