//! Counts the driver's outputs, judges every answer by the log, and determines the reason of every
//! miss.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::figures::{Counts, LATENCY_BOUNDS_MS, Log, MissReason, Repeats};
use super::questions::TYPES;
use crate::alerts::Alert;
use crate::checker::Checker;
use crate::driver::{Call, DeadLetter, Observer, Told};
use crate::model::{
    CacheMetric, Entry, KeyHash, LayerName, Operation, Position, Tag, TagInvalidation, Timestamp,
};
use crate::resolver::Outcome;

/// Counts by month of the year, then by type in the order of [`TYPES`].
pub type ByMonth = [[Counts; TYPES.len()]; 12];

/// Everything counted so far.
#[derive(Default)]
pub struct State {
    pub counts: ByMonth,
    pub repeats: Repeats,
    /// The number of answers in each class of [`LATENCY_BOUNDS_MS`], the last class above all
    /// bounds.
    pub latencies: [u64; LATENCY_BOUNDS_MS.len() + 1],
    pub log: Log,
    pub judged: u64,
    pub forbidden: u64,
    /// The first few violations, described in words.
    pub violations: Vec<String>,
    /// Calls whose model has no price.
    pub unpriced: u64,
    checker: Checker,
    /// The newest fill of each key that an answer has shown.
    known: HashMap<KeyHash, Known>,
    /// The time at which each couple last asked for a key.
    asked: HashMap<(u64, KeyHash), Timestamp>,
}

/// The recorded facts of a fill.
struct Known {
    stamp: Position,
    called_at: Timestamp,
    expires_at: Timestamp,
    /// The entry's tags; `None` once it has expired, because the reason of a miss is then known
    /// without them.
    tags: Option<Arc<[Tag]>>,
}

/// Shared between the driver, which reports to it, and the simulation, which reads it at the end.
#[derive(Default)]
pub struct Tally(Mutex<State>);

const VIOLATIONS_SHOWN: usize = 5;

impl Tally {
    /// Locks the state. A poisoned lock is used all the same: nothing that can panic half-way runs
    /// under the lock.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the tags of expired fills: no reason of a miss depends on them any more.
    pub fn sweep(&self, now: Timestamp) {
        let mut state = self.state();
        for known in state.known.values_mut() {
            if now >= known.expires_at {
                known.tags = None;
            }
        }
    }
}

impl Observer for Tally {
    fn answer(&self, told: &Told<'_>) {
        self.state().answer(told);
    }

    fn metric(&self, metric: &CacheMetric<'_>) {
        let mut state = self.state();
        let Some(cell) = state.cell(metric.at, &metric.cache_type) else {
            return;
        };
        match metric.operation {
            Operation::Call => {
                cell.calls += 1;
                cell.spent_usd += metric.cost_usd.unwrap_or(0.0);
                state.unpriced += u64::from(metric.cost_usd.is_none());
            }
            Operation::Fill => cell.fills += 1,
            _ => {}
        }
    }

    fn invalidation(&self, offset: i64, record: &TagInvalidation) {
        let mut state = self.state();
        state.checker.record(offset, record);
        state.log.count(record);
    }

    fn call(&self, _: &Call) {
        self.state().log.requests += 1;
    }

    fn dead_letter(&self, _: DeadLetter) {
        self.state().log.dead_letters += 1;
    }

    fn alert(&self, _: Alert) {
        self.state().log.alerts += 1;
    }
}

impl State {
    fn cell(&mut self, at: Timestamp, cache_type: &str) -> Option<&mut Counts> {
        let month = usize::try_from(at.date().month()).ok()?.checked_sub(1)?;
        let kind = TYPES.iter().position(|name| *name == cache_type)?;
        self.counts.get_mut(month)?.get_mut(kind)
    }

    fn answer(&mut self, told: &Told<'_>) {
        let Told {
            ask, outcome, at, ..
        } = *told;
        self.judge(told);
        let is_served = matches!(outcome, Outcome::Hit(_));
        self.repeat(told, is_served);
        let took = ask.arrived.elapsed();
        let class = LATENCY_BOUNDS_MS.partition_point(|bound| took > Duration::from_millis(*bound));
        self.latencies[class] += 1;
        let reason = self.miss_reason(told);
        // Counted by the time of arrival, so that a month's parts sum to its queries.
        let Some(cell) = self.cell(ask.arrived_at, &ask.prepared.cache_type.name) else {
            return;
        };
        cell.queries += 1;
        cell.millis += took.as_secs_f64() * 1000.0;
        match outcome {
            Outcome::Hit(hit) => {
                match hit.layer {
                    LayerName::Memory => cell.memory += 1,
                    LayerName::Disk => cell.disk += 1,
                    LayerName::Redis => cell.redis += 1,
                }
                cell.stale += u64::from(hit.stale.is_some());
                cell.saved_usd += hit.entry.header.cost_usd.unwrap_or(0.0);
                self.know(&hit.entry);
            }
            Outcome::Called(called) => {
                if called.coalesced {
                    cell.saved_usd += called.entry.header.cost_usd.unwrap_or(0.0);
                }
                match outcome.operation(ask) {
                    Operation::Bypass => cell.bypassed += 1,
                    _ if called.coalesced => cell.coalesced += 1,
                    _ => cell.misses[reason as usize] += 1,
                }
                // Queries that joined a call may be counted before the one that paid, so they must
                // not record the fill: the reason of its miss is the fill before.
                if ask.stores() && !called.coalesced {
                    self.know(&called.entry);
                }
            }
            Outcome::Failed(_) => cell.failed += 1,
            Outcome::Expired => cell.expired += 1,
        }
        debug_assert!(at >= ask.arrived_at, "answered after it arrived");
    }

    fn judge(&mut self, told: &Told<'_>) {
        self.judged += 1;
        let answer = told.outcome.answer(told.ask, told.at);
        if let Err(violation) = self.checker.check(&answer) {
            self.forbidden += 1;
            if self.violations.len() < VIOLATIONS_SHOWN {
                let query = &told.ask.query.query_id;
                self.violations.push(format!("{query}: {violation}"));
            }
        }
    }

    /// Counts a query of a couple that asked for the same key before.
    fn repeat(&mut self, told: &Told<'_>, is_served: bool) {
        let ask = told.ask;
        let wedding = ask.query.wedding_context.wedding_id.as_deref();
        let couple = wedding.and_then(|id| id.strip_prefix("w-")?.parse().ok());
        let Some(couple) = couple else { return };
        let key = (couple, ask.prepared.key.hash());
        if let Some(before) = self.asked.insert(key, ask.arrived_at) {
            self.repeats.count(ask.arrived_at.since(before), is_served);
        }
    }

    fn know(&mut self, entry: &Arc<Entry>) {
        let header = &entry.header;
        let known = Known {
            stamp: header.stamp,
            called_at: header.called_at,
            expires_at: header.expires_at,
            tags: Some(Arc::clone(&entry.tags)),
        };
        let held = self.known.get(&entry.key.hash());
        let newest = held.map(|held| (held.stamp, held.called_at));
        if newest.is_none_or(|held| (header.stamp, header.called_at) > held) {
            self.known.insert(entry.key.hash(), known);
        }
    }

    /// Returns why the cache had no usable entry, judged by the newest fill that an answer has
    /// shown. A refill that no query was answered from is not seen, so the reason is sometimes
    /// `Expired` where `Invalidated` would be right.
    fn miss_reason(&self, told: &Told<'_>) -> MissReason {
        let ask = told.ask;
        let Some(known) = self.known.get(&ask.prepared.key.hash()) else {
            return MissReason::Cold;
        };
        if ask.arrived_at >= known.expires_at {
            return MissReason::Expired;
        }
        let tags = known.tags.iter().flat_map(|tags| tags.iter());
        let tags = tags.chain(&ask.prepared.asker).map(Tag::as_str);
        if self
            .checker
            .hit(tags, (known.stamp, ask.arrival), |_| true)
            .is_some()
        {
            return MissReason::Invalidated;
        }
        if ask
            .oldest_call()
            .is_some_and(|oldest| known.called_at < oldest)
        {
            return MissReason::TooOld;
        }
        MissReason::Gone
    }
}
