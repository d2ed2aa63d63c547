//! Everything that comes out, kept until it is taken.

use parking_lot::{Mutex, MutexGuard};

use wedcache_codec::{Encoder, Framings, Reject};
use wedcache_engine::observe::{Alerted, Answered, Called, Filled, Invalidated, Observer};
use wedcache_model::invalidation::CacheAlert;
use wedcache_model::{AiAnswer, CacheMetric, Position, TagInvalidation};

use super::provider::Call;

/// Everything that came out since it was last taken, each kind in its order.
#[derive(Debug, Default)]
pub struct Collected {
    pub answers: Vec<Reply>,
    pub metrics: Vec<CacheMetric<'static>>,
    /// With their offsets in the log.
    pub invalidations: Vec<(i64, TagInvalidation)>,
    pub dead_letters: Vec<DeadLetter>,
    pub alerts: Vec<CacheAlert>,
    /// The requests to the provider.
    pub calls: Vec<Call>,
}

/// An answer, read back from the bytes that go out.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub answer: AiAnswer<'static>,
    /// The position up to which the log had been applied when the query arrived.
    pub arrival: Position,
    /// The log in which the positions count: the number of times that it had been recreated.
    pub log: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub reject: Reject,
}

/// The topics on which everything comes out, and an observer of the metrics. A driver with an
/// observer of its own keeps nothing.
#[derive(Debug, Default)]
pub(super) struct Collector {
    is_off: bool,
    collected: Mutex<Collected>,
}

const READS_BACK: &str = "our own JSON reads back";

impl Collector {
    /// Returns one that keeps nothing.
    pub(super) fn off() -> Self {
        Self {
            is_off: true,
            ..Self::default()
        }
    }

    pub(super) fn take(&self) -> Collected {
        std::mem::take(&mut *self.lock())
    }

    /// Takes an answer's value, JSON.
    pub(super) fn answer(&self, value: &[u8], arrival: Position, log: u32) {
        if !self.is_off {
            let answer = serde_json::from_slice(value).expect(READS_BACK);
            let reply = Reply {
                answer,
                arrival,
                log,
            };
            self.lock().answers.push(reply);
        }
    }

    pub(super) fn call(&self, call: Call) {
        if !self.is_off {
            self.lock().calls.push(call);
        }
    }

    pub(super) fn dead_letter(&self, letter: DeadLetter) {
        if !self.is_off {
            self.lock().dead_letters.push(letter);
        }
    }

    fn metric(&self, metric: &CacheMetric<'_>) {
        let mut value = Vec::new();
        Encoder::new(Framings::default()).encode_metric(metric, &mut value);
        let metric = serde_json::from_slice(&value).expect(READS_BACK);
        self.lock().metrics.push(metric);
    }

    /// Nothing that can panic half-way runs under the lock.
    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.collected.lock()
    }
}

impl Observer for Collector {
    fn answered(&self, event: &Answered<'_>) {
        self.metric(&event.metric(&event.metric_id()));
    }

    fn called(&self, event: &Called<'_>) {
        self.metric(&event.metric(&event.metric_id()));
    }

    fn filled(&self, event: &Filled<'_>) {
        self.metric(&event.metric(&event.metric_id()));
    }

    fn invalidated(&self, event: &Invalidated<'_>) {
        let record = (event.offset, event.record.clone());
        self.lock().invalidations.push(record);
        self.metric(&event.metric(&event.metric_id()));
    }

    fn alerted(&self, event: &Alerted<'_>) {
        self.lock().alerts.push(event.alert.clone());
    }
}
