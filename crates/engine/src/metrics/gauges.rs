//! The gauges, and the counters that a part of the program keeps itself: set by whoever reads them
//! there, with plain numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use wedcache_model::{LayerName, Position};

use super::Metrics;
use super::declared::{
    CONSUMER_LAG, CONSUMER_LAG_MAX, Declared, FLIGHTS, INTAKE_BYTES, INTAKE_LATE, INTAKE_OLDEST,
    INTAKE_PARTITIONS, INTAKE_PAUSED, INTAKE_REBALANCES, INTAKE_RECORDS, LAG_STATE, LAYER_BYTES,
    LAYER_ENTRIES, LAYER_FAILURES, LAYER_STATE, LOG_GONE, LOG_LAG, LOG_POSITION, OUTPUT_DROPPED,
    OUTPUT_FAILURES, OUTPUT_QUEUE, PROVIDER_CALLS, PROVIDER_STATE, READY, RULES_LAG, TAGS,
    TOPICS_RECREATED,
};

/// The state of a poll thread, and what it has counted since it began.
#[derive(Debug, Clone, Default)]
pub struct PollThread {
    pub in_flight_records: u64,
    pub in_flight_bytes: u64,
    pub paused: bool,
    pub partitions: u64,
    /// The age of the oldest unfinished record.
    pub oldest_unfinished: Option<Duration>,
    pub finished_late: u64,
    pub topics_recreated: u64,
    pub assigned: u64,
    pub revoked: u64,
    pub handed_over: u64,
    pub lost: u64,
}

/// The state of a producer, and what it has counted since it began.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutputState {
    pub failed: u64,
    pub dropped: u64,
    pub in_flight: usize,
}

/// The names of what look-ups do about the lag: serve, serve labelled stale, ask the provider.
const LAG_STATES: [&str; 3] = ["current", "label", "bypass"];

impl Metrics {
    pub fn ready(&self, ready: bool) {
        self.gauge(READY, &[], flag(ready));
    }

    pub fn flights(&self, open: usize) {
        self.gauge(FLIGHTS, &[], count(open as u64));
    }

    pub fn tag_table(&self, position: Position, tags: usize) {
        self.gauge(LOG_POSITION, &[], count(position.0.unsigned_abs()));
        self.gauge(TAGS, &[], count(tags as u64));
    }

    pub fn log_gone(&self, gone: bool) {
        self.gauge(LOG_GONE, &[], flag(gone));
    }

    /// Sets the lags, and what look-ups do about them: `current`, `label` or `bypass`.
    pub fn lag(&self, state: &str, log: Duration, rules: Duration) {
        self.gauge(LOG_LAG, &[], log.as_secs_f64());
        self.gauge(RULES_LAG, &[], rules.as_secs_f64());
        for name in LAG_STATES {
            self.gauge(LAG_STATE, &[name], flag(name == state));
        }
    }

    pub fn layer_size(&self, layer: LayerName, entries: u64, bytes: u64) {
        self.gauge(LAYER_ENTRIES, &[layer.as_str()], count(entries));
        self.gauge(LAYER_BYTES, &[layer.as_str()], count(bytes));
    }

    /// Sets the state of a layer's breaker (0 closed, 1 half-open, 2 open), and brings the counters
    /// to what the layer has counted, by reason: all are shown from the start.
    pub fn layer_failures(&self, layer: LayerName, breaker: u8, failures: &[(&'static str, u64)]) {
        self.gauge(LAYER_STATE, &[layer.as_str()], f64::from(breaker));
        for (reason, total) in failures {
            let counters = &self.counters[LAYER_FAILURES.name];
            let counter = counters.with_label_values(&[layer.as_str(), *reason]);
            counter.inc_by(total.saturating_sub(counter.get()));
        }
    }

    /// Sets the state of a provider's breaker (0 closed, 1 half-open, 2 open) and its calls.
    pub fn provider(&self, name: &str, breaker: u8, (running, waiting): (usize, usize)) {
        self.gauge(PROVIDER_STATE, &[name], f64::from(breaker));
        for (state, calls) in [("running", running), ("waiting", waiting)] {
            self.gauge(PROVIDER_CALLS, &[name, state], count(calls as u64));
        }
    }

    /// Sets the figures of a stage, all its poll threads together.
    pub fn poll_threads(&self, stage: &str, threads: &[PollThread]) {
        let sum = |of: fn(&PollThread) -> u64| count(threads.iter().map(of).sum());
        let oldest = threads.iter().filter_map(|of| of.oldest_unfinished).max();
        let gauges = [
            (INTAKE_RECORDS, sum(|of| of.in_flight_records)),
            (INTAKE_BYTES, sum(|of| of.in_flight_bytes)),
            (INTAKE_PAUSED, flag(threads.iter().any(|of| of.paused))),
            (INTAKE_PARTITIONS, sum(|of| of.partitions)),
            (INTAKE_OLDEST, oldest.unwrap_or_default().as_secs_f64()),
        ];
        for (declared, value) in gauges {
            self.gauge(declared, &[stage], value);
        }
        for (thread, of) in threads.iter().enumerate() {
            self.reached(INTAKE_LATE, &[stage], thread, of.finished_late);
            self.reached(TOPICS_RECREATED, &[stage], thread, of.topics_recreated);
            for (event, partitions) in [
                ("assigned", of.assigned),
                ("revoked", of.revoked),
                ("handed_over", of.handed_over),
                ("lost", of.lost),
            ] {
                self.reached(INTAKE_REBALANCES, &[stage, event], thread, partitions);
            }
        }
    }

    /// Sets the lag of a group by topic, from the lags of the partitions that are held here; partitions
    /// whose end is not known are left out.
    pub fn consumer_lag(&self, group: &str, partitions: impl IntoIterator<Item = (Arc<str>, u64)>) {
        let mut lags: BTreeMap<Arc<str>, (u64, u64)> = BTreeMap::new();
        for (topic, lag) in partitions {
            let (sum, max) = lags.entry(topic).or_default();
            (*sum, *max) = (*sum + lag, lag.max(*max));
        }
        for (topic, (sum, max)) in &lags {
            self.gauge(CONSUMER_LAG, &[group, topic], count(*sum));
            self.gauge(CONSUMER_LAG_MAX, &[group, topic], count(*max));
        }
        let held: BTreeSet<Arc<str>> = lags.into_keys().collect();
        let mut lagging = self.lagging.lock();
        let before = lagging.insert(group.to_owned(), held.clone());
        for topic in before.unwrap_or_default().difference(&held) {
            for declared in [CONSUMER_LAG, CONSUMER_LAG_MAX] {
                let gone = self.gauges[declared.name].remove_label_values(&[group, &**topic]);
                debug_assert!(gone.is_ok(), "{group} {topic} was shown");
            }
        }
    }

    pub fn output(&self, name: &str, state: OutputState) {
        self.reached(OUTPUT_FAILURES, &[name], 0, state.failed);
        self.reached(OUTPUT_DROPPED, &[name], 0, state.dropped);
        self.gauge(OUTPUT_QUEUE, &[name], count(state.in_flight as u64));
    }

    /// Adds what a part has counted since the last call. A part that takes the place of another one
    /// begins at 0 again, which a counter must not.
    fn reached(&self, declared: Declared, labels: &[&str], part: usize, total: u64) {
        let key = (declared.name, labels.join(","), part);
        let mut counted = self.counted.lock();
        let before = counted.insert(key, total).unwrap_or(0);
        let more = if total >= before {
            total - before
        } else {
            total
        };
        self.count(declared, labels, more);
    }
}

fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

/// Returns a count as a gauge's value.
#[expect(clippy::cast_precision_loss, reason = "gauges are doubles")]
fn count(of: u64) -> f64 {
    of as f64
}
