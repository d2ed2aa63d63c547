//! What comes out: kept until it is taken.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::provider::Call;
use crate::codec::Reject;
use crate::model::invalidation::CacheAlert;
use crate::model::{AiAnswer, CacheMetric, Position, TagInvalidation};

/// Everything that came out since it was last taken, each kind in its order.
#[derive(Debug, Default)]
pub struct Collected {
    pub answers: Vec<Answered>,
    pub metrics: Vec<CacheMetric<'static>>,
    /// With their offsets in the log.
    pub invalidations: Vec<(i64, TagInvalidation)>,
    pub dead_letters: Vec<DeadLetter>,
    pub alerts: Vec<CacheAlert>,
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

impl Collected {
    pub(super) fn answer(&mut self, value: &[u8], arrival: Position, log: u32) {
        let answer = serde_json::from_slice(value).expect(READS_BACK);
        self.answers.push(Answered {
            answer,
            arrival,
            log,
        });
    }

    pub(super) fn metric(&mut self, value: &[u8]) {
        self.metrics
            .push(serde_json::from_slice(value).expect(READS_BACK));
    }
}

/// Nothing that can panic half-way runs under the lock.
pub(super) fn lock(collected: &Mutex<Collected>) -> MutexGuard<'_, Collected> {
    collected.lock().unwrap_or_else(PoisonError::into_inner)
}
