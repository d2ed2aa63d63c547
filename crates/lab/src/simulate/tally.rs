//! Counts the driver's outputs, judges every answer by the log, and determines the reason of every
//! miss.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::figures::{Counts, LATENCY_BOUNDS_MS, Log, MissReason, Repeats};
use super::questions::TYPES;
use wedcache::checker::Checker;
use wedcache::model::invalidation::AlertState;
use wedcache::model::{
    Entry, KeyHash, LayerName, Operation, Position, Source, Tag, Tags, Timestamp,
};
use wedcache::observe::{
    Alerted, Answered, Attempted, Called, DeadLettered, Filled, Invalidated, Observer, Querying,
};

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
    tags: Option<Tags>,
}

/// Shared between the driver, which reports to it, and the simulation, which reads it at the end.
#[derive(Default)]
pub struct Tally(Mutex<State>);

const VIOLATIONS_SHOWN: usize = 5;

impl Tally {
    /// Locks the state. A poisoned lock is used all the same: nothing that can panic half-way runs
    /// under the lock.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
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
    fn answered(&self, event: &Answered<'_>) {
        self.state().answer(event);
    }

    fn called(&self, event: &Called<'_>) {
        let mut state = self.state();
        let Some(cell) = state.cell(event.at, event.asked.cache_type) else {
            return;
        };
        cell.calls += 1;
        cell.spent_usd += event.cost_usd.unwrap_or(0.0);
        state.unpriced += u64::from(event.cost_usd.is_none());
    }

    fn filled(&self, event: &Filled<'_>) {
        if let Some(cell) = self.state().cell(event.at, event.asked.cache_type) {
            cell.fills += 1;
        }
    }

    fn invalidated(&self, event: &Invalidated<'_>) {
        let mut state = self.state();
        state.checker.record(event.offset, event.record);
        state.log.count(event.record);
    }

    fn attempted(&self, event: &Attempted<'_>) {
        self.state().log.requests += u64::from(event.requests);
    }

    fn dead_lettered(&self, _: &DeadLettered<'_>) {
        self.state().log.dead_letters += 1;
    }

    fn alerted(&self, event: &Alerted<'_>) {
        let fires = event.alert.state == AlertState::Firing;
        self.state().log.alerts += u64::from(fires);
    }
}

impl State {
    fn cell(&mut self, at: Timestamp, cache_type: &str) -> Option<&mut Counts> {
        let month = usize::try_from(at.date().month()).ok()?.checked_sub(1)?;
        let kind = TYPES.iter().position(|name| *name == cache_type)?;
        self.counts.get_mut(month)?.get_mut(kind)
    }

    fn answer(&mut self, event: &Answered<'_>) {
        let Answered {
            query,
            answer,
            operation,
            took,
            ..
        } = *event;
        self.judge(event);
        self.repeat(event);
        let class = LATENCY_BOUNDS_MS.partition_point(|bound| took > Duration::from_millis(*bound));
        self.latencies[class] += 1;
        let reason = self.miss_reason(&query);
        // By the arrival, so that a month's parts sum up to its queries.
        let Some(cell) = self.cell(query.arrived_at, event.asked.cache_type) else {
            return;
        };
        cell.queries += 1;
        cell.millis += took.as_secs_f64() * 1000.0;
        // Of an answer from the cache or from another query's call.
        cell.saved_usd += answer.saved_usd.unwrap_or(0.0);
        match answer.layer {
            Some(LayerName::Memory) => cell.memory += 1,
            Some(LayerName::Disk) => cell.disk += 1,
            Some(LayerName::Redis) => cell.redis += 1,
            None => {}
        }
        match operation {
            Operation::StaleHit => cell.stale += 1,
            Operation::Bypass => cell.bypassed += 1,
            Operation::Miss if answer.coalesced => cell.coalesced += 1,
            Operation::Miss => cell.misses[reason as usize] += 1,
            Operation::Failure => cell.failed += 1,
            Operation::Expired => cell.expired += 1,
            Operation::Hit | Operation::Call | Operation::Fill | Operation::Invalidation => {}
        }
        // Those who joined may be told before the one who paid, whose reason is older.
        let is_kept = match answer.source {
            Source::Cache => true,
            Source::Ai => stores(&query) && !answer.coalesced,
            Source::None => false,
        };
        if let Some(entry) = event.entry.filter(|_| is_kept) {
            self.know(entry);
        }
    }

    fn judge(&mut self, event: &Answered<'_>) {
        self.judged += 1;
        if let Err(violation) = self.checker.check(event.answer) {
            self.forbidden += 1;
            if self.violations.len() < VIOLATIONS_SHOWN {
                let query = &event.answer.query_id;
                self.violations.push(format!("{query}: {violation}"));
            }
        }
    }

    /// Counts a query of the same couple with the same key as before.
    fn repeat(&mut self, event: &Answered<'_>) {
        let query = &event.query;
        let wedding = query.wedding_id;
        let couple = wedding.and_then(|id| id.strip_prefix("w-")?.parse().ok());
        let Some(couple) = couple else { return };
        let key = (couple, query.prepared.key.hash());
        if let Some(before) = self.asked.insert(key, query.arrived_at) {
            let is_served = event.answer.source == Source::Cache;
            self.repeats
                .count(query.arrived_at.since(before), is_served);
        }
    }

    fn know(&mut self, entry: &Arc<Entry>) {
        let header = &entry.header;
        let known = Known {
            stamp: header.stamp,
            called_at: header.called_at,
            expires_at: header.expires_at,
            tags: Some(entry.tags.clone()),
        };
        let held = self.known.get(&entry.key.hash());
        let newest = held.map(|held| (held.stamp, held.called_at));
        if newest.is_none_or(|held| (header.stamp, header.called_at) > held) {
            self.known.insert(entry.key.hash(), known);
        }
    }

    /// Returns why the cache had nothing that served, from the newest fill that an answer has shown. A
    /// refill that nobody was answered from is not seen, so `expired` is at times `invalidated`.
    fn miss_reason(&self, query: &Querying<'_>) -> MissReason {
        let Some(known) = self.known.get(&query.prepared.key.hash()) else {
            return MissReason::Cold;
        };
        if query.arrived_at >= known.expires_at {
            return MissReason::Expired;
        }
        let tags = known.tags.iter().flat_map(Tags::iter);
        let tags = tags.chain(query.prepared.asker.iter().map(Tag::as_str));
        if self
            .checker
            .hit(tags, (known.stamp, query.arrival), |_| true)
            .is_some()
        {
            return MissReason::Invalidated;
        }
        let max_age = query.options.max_age;
        if max_age.is_some_and(|age| known.called_at < query.arrived_at.minus(age)) {
            return MissReason::TooOld;
        }
        MissReason::Gone
    }
}

/// Returns true if the answer of the query's own call may be kept.
fn stores(query: &Querying<'_>) -> bool {
    query.prepared.storable && !query.options.no_store
}
