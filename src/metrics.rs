//! The Prometheus metrics: declared in one place, listed in `docs/metrics.md`.
//!
//! Names are `wedcache_<area>_<what>_<unit>`; labels come from closed sets (topology names and
//! the enums of this program), never from data. What is a state rather than an event is read
//! when `/metrics` is asked, by the probes that the app registers.

mod declared;
mod known;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::{
    Counter, CounterVec, Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, Opts, Registry, TextEncoder,
};

use crate::ai::{AiOutcome, AiStatus};
use crate::cache::{BreakerState, FillOutcome, LayeredStats, LookupOutcome};
use crate::kafka::IntakeStats;
use crate::kafka::producer::OutputCounters;
use crate::model::{LayerName, Mode, Operation, Position};
use crate::resolver::LagState;
use declared::{
    ATTEMPTS, COALESCED, CONDITION_FAILURES, CONSUMER_LAG, CONSUMER_LAG_MAX, COST, DEAD_LETTERS,
    FILLS, FILLS_OVERTAKEN, FLIGHTS, INFO, INTAKE_BYTES, INTAKE_LATE, INTAKE_OLDEST,
    INTAKE_PARTITIONS, INTAKE_PAUSED, INTAKE_REBALANCES, INTAKE_RECORDS, INVALIDATIONS, LAG_STATE,
    LAYER_BYTES, LAYER_ENTRIES, LAYER_FAILURES, LAYER_STATE, LEASES, LOG_GONE, LOG_LAG,
    LOG_POSITION, LOOKUPS, OUTPUT_DROPPED, OUTPUT_FAILURES, OUTPUT_QUEUE, PRICED_CALLS,
    PROVIDER_CALLS, PROVIDER_STATE, QUERIES, QUERY_SECONDS, READY, RECORDS, REQUESTS, RULES_LAG,
    SAVED, TAGS, TOKENS, TOPICS_RECREATED, WIDENED,
};
pub use declared::{DECLARED, Declared, Kind};
pub use known::Known;

/// Sets gauges just before they are shown.
type Probe = Box<dyn Fn(&Metrics) + Send + Sync>;

pub struct Metrics {
    registry: Registry,
    gauges: HashMap<&'static str, GaugeVec>,
    counters: HashMap<&'static str, IntCounterVec>,
    cost: CounterVec,
    /// In the order of [`OUTCOMES`].
    query_seconds: [Histogram; OUTCOMES.len()],
    types: ArcSwap<Vec<Arc<TypeCounters>>>,
    /// The money saved, by cache type; the other counters of a type are among the counters.
    saved: CounterVec,
    query_events: IntCounter,
    memory_hits: IntCounter,
    memory_misses: IntCounter,
    /// What each part counted last, by metric, labels and part.
    counted: Mutex<HashMap<(&'static str, String, usize), u64>>,
    /// The topics of each group whose lag is shown.
    lagging: Mutex<BTreeMap<String, BTreeSet<Arc<str>>>>,
    probes: Mutex<Vec<Probe>>,
}

/// The counters of one cache type, at hand for the hit path.
struct TypeCounters {
    name: Arc<str>,
    outcomes: Vec<IntCounter>,
    coalesced: IntCounter,
    saved: Counter,
}

/// The operations that are a query's outcome.
const OUTCOMES: [Operation; 6] = [
    Operation::Hit,
    Operation::StaleHit,
    Operation::Miss,
    Operation::Bypass,
    Operation::Expired,
    Operation::Failure,
];

impl Metrics {
    /// Metrics for the given cache types.
    pub fn new(cache_types: impl IntoIterator<Item = Arc<str>>) -> Self {
        let registry = Registry::new();
        let mut gauges = HashMap::new();
        let mut counters = HashMap::new();
        for declared in DECLARED {
            let opts = Opts::new(declared.name, declared.help);
            match declared.kind {
                Kind::Gauge => {
                    let gauge = GaugeVec::new(opts, declared.labels).expect(DECLARATION);
                    registry
                        .register(Box::new(gauge.clone()))
                        .expect(DECLARATION);
                    gauges.insert(declared.name, gauge);
                }
                Kind::Counter if !is_money(declared) => {
                    let counter = IntCounterVec::new(opts, declared.labels).expect(DECLARATION);
                    registry
                        .register(Box::new(counter.clone()))
                        .expect(DECLARATION);
                    counters.insert(declared.name, counter);
                }
                Kind::Counter | Kind::Histogram => {}
            }
        }
        let money = |declared: Declared| {
            let opts = Opts::new(declared.name, declared.help);
            let counter = CounterVec::new(opts, declared.labels).expect(DECLARATION);
            registry
                .register(Box::new(counter.clone()))
                .expect(DECLARATION);
            counter
        };
        let (saved, cost) = (money(SAVED), money(COST));
        let query_seconds = HistogramVec::new(
            HistogramOpts::new(QUERY_SECONDS.name, QUERY_SECONDS.help).buckets(BUCKETS.to_vec()),
            QUERY_SECONDS.labels,
        )
        .expect(DECLARATION);
        registry
            .register(Box::new(query_seconds.clone()))
            .expect(DECLARATION);
        let query_seconds =
            OUTCOMES.map(|outcome| query_seconds.with_label_values(&[outcome.as_str()]));
        let memory = |result| {
            counters[LOOKUPS.name].with_label_values(&[LayerName::Memory.as_str(), result])
        };
        let (memory_hits, memory_misses) = (memory("hit"), memory("miss"));
        let query_events = counters[RECORDS.name].with_label_values(&["queries", "event"]);
        let metrics = Self {
            registry,
            gauges,
            counters,
            cost,
            query_seconds,
            types: ArcSwap::default(),
            saved,
            query_events,
            memory_hits,
            memory_misses,
            counted: Mutex::default(),
            lagging: Mutex::default(),
            probes: Mutex::default(),
        };
        metrics.add_types(cache_types);
        metrics.gauge(INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
        metrics.register_process();
        metrics
    }

    /// Counts the answers of these cache types too; those known already go on counting.
    pub fn add_types(&self, names: impl IntoIterator<Item = Arc<str>>) {
        let mut types = Vec::clone(&self.types.load());
        for name in names {
            if types.iter().all(|of| of.name != name) {
                types.push(Arc::new(self.counters_of(name)));
            }
        }
        self.types.store(Arc::new(types));
    }

    fn counters_of(&self, name: Arc<str>) -> TypeCounters {
        let outcomes = &self.counters[QUERIES.name];
        TypeCounters {
            outcomes: OUTCOMES
                .iter()
                .map(|outcome| outcomes.with_label_values(&[&*name, outcome.as_str()]))
                .collect(),
            coalesced: self.counters[COALESCED.name].with_label_values(&[&*name]),
            saved: self.saved.with_label_values(&[&*name]),
            name,
        }
    }

    #[cfg(target_os = "linux")]
    fn register_process(&self) {
        let process = prometheus::process_collector::ProcessCollector::for_self();
        self.registry
            .register(Box::new(process))
            .expect(DECLARATION);
    }

    #[cfg(not(target_os = "linux"))]
    fn register_process(&self) {}

    /// Adds something to be asked each time the metrics are shown.
    pub fn probe(&self, probe: impl Fn(&Self) + Send + Sync + 'static) {
        self.probes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(probe));
    }

    /// The text of `/metrics`.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        for probe in self
            .probes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            probe(self);
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }

    /// A query was answered. The hit path's one call: a few atomic additions.
    pub fn query(&self, cache_type: &Arc<str>, done: &QueryDone) {
        let Some(at) = OUTCOMES
            .iter()
            .position(|outcome| *outcome == done.operation)
        else {
            return;
        };
        self.query_seconds[at].observe(done.seconds);
        let types = self.types.load();
        // Until the catalogue is replaced the names are its own, so mostly the pointers tell.
        let is_it = |of: &&Arc<TypeCounters>| Arc::ptr_eq(&of.name, cache_type);
        let of = types.iter().find(is_it);
        if let Some(of) = of.or_else(|| types.iter().find(|of| of.name == *cache_type)) {
            of.outcomes[at].inc();
            if done.coalesced {
                of.coalesced.inc();
            }
            if done.saved_usd > 0.0 {
                of.saved.inc_by(done.saved_usd);
            }
        }
    }

    /// A query came in that could be read.
    #[inline]
    pub fn query_event(&self) {
        self.query_events.inc();
    }

    /// A look-up in memory; what it held and may not serve counts as a miss.
    #[inline]
    pub fn memory_lookup(&self, hit: bool) {
        if hit {
            &self.memory_hits
        } else {
            &self.memory_misses
        }
        .inc();
    }

    pub fn lookups(&self, outcomes: &[(LayerName, LookupOutcome)]) {
        for (layer, outcome) in outcomes {
            let result = match outcome {
                LookupOutcome::Hit => "hit",
                LookupOutcome::Miss => "miss",
                LookupOutcome::Refused => "refused",
                LookupOutcome::Unavailable(_) => "unavailable",
            };
            self.count(LOOKUPS, &[layer.as_str(), result], 1);
        }
    }

    pub fn lease(&self, result: &'static str) {
        self.count(LEASES, &[result], 1);
    }

    pub fn fills(&self, filled: &FillOutcome) {
        let pending = filled.pending.iter().map(|layer| (*layer, "pending"));
        let stored = filled.stored_in.iter().map(|layer| (*layer, "stored"));
        let kept = filled
            .kept_newer_in
            .iter()
            .map(|layer| (*layer, "kept_newer"));
        let failed = filled
            .errors
            .iter()
            .map(|(layer, _)| (*layer, "unavailable"));
        for (layer, result) in pending.chain(stored).chain(kept).chain(failed) {
            self.count(FILLS, &[layer.as_str(), result], 1);
        }
    }

    pub fn fill_overtaken(&self) {
        self.count(FILLS_OVERTAKEN, &[], 1);
    }

    pub fn provider_attempts(&self, provider: &str, outcome: &AiOutcome) {
        let result = match &outcome.result {
            Ok(_) => "ok",
            Err(error) => error.code(),
        };
        self.count(ATTEMPTS, &[provider, result], 1);
        self.count(REQUESTS, &[provider], u64::from(outcome.attempts));
        for call in &outcome.calls {
            self.count(TOKENS, &[provider, "prompt"], call.prompt_tokens);
            self.count(TOKENS, &[provider, "completion"], call.completion_tokens);
            let known = if call.cost_usd.is_some() {
                "known"
            } else {
                "unknown"
            };
            self.count(PRICED_CALLS, &[provider, known], 1);
            if let Some(cost) = call.cost_usd {
                self.cost.with_label_values(&[provider]).inc_by(cost);
            }
        }
    }

    pub fn record(&self, input: &str, result: &'static str) {
        self.count(RECORDS, &[input, result], 1);
    }

    pub fn dead_letter(&self, input: &str, reason: &str) {
        self.count(DEAD_LETTERS, &[input, reason], 1);
    }

    pub fn invalidation(&self, rule: &str, mode: Mode) {
        self.count(INVALIDATIONS, &[rule, mode.as_str()], 1);
    }

    pub fn condition_failure(&self, rule: &str) {
        self.count(CONDITION_FAILURES, &[rule], 1);
    }

    pub fn widened(&self, input: &str, reach: &'static str) {
        self.count(WIDENED, &[input, reach], 1);
    }

    pub fn ready(&self, ready: bool) {
        self.gauge(READY, &[], f64::from(u8::from(ready)));
    }

    pub fn flights(&self, open: usize) {
        self.gauge(FLIGHTS, &[], count(open as u64));
    }

    pub fn tag_table(&self, position: Position, tags: usize) {
        self.gauge(LOG_POSITION, &[], count(position.0.unsigned_abs()));
        self.gauge(TAGS, &[], count(tags as u64));
    }

    pub fn log_gone(&self, gone: bool) {
        self.gauge(LOG_GONE, &[], f64::from(u8::from(gone)));
    }

    pub fn lag(&self, state: LagState, log: Duration, rules: Duration) {
        self.gauge(LOG_LAG, &[], log.as_secs_f64());
        self.gauge(RULES_LAG, &[], rules.as_secs_f64());
        let now = match state {
            LagState::Current => "current",
            LagState::Label(_) => "label",
            LagState::Bypass(_) => "bypass",
        };
        for name in ["current", "label", "bypass"] {
            self.gauge(LAG_STATE, &[name], f64::from(u8::from(name == now)));
        }
    }

    pub fn layers(&self, stats: &LayeredStats) {
        if let Some(memory) = &stats.memory {
            self.gauge(LAYER_ENTRIES, &["memory"], count(memory.entries));
            self.gauge(LAYER_BYTES, &["memory"], count(memory.bytes));
        }
        if let Some(disk) = &stats.disk {
            self.gauge(LAYER_ENTRIES, &["disk"], count(disk.entries.unwrap_or(0)));
            self.gauge(LAYER_BYTES, &["disk"], count(disk.file_bytes));
            self.gauge(LAYER_STATE, &["disk"], breaker(disk.breaker));
            self.layer_failures("disk", &disk.failures);
        }
        if let Some(redis) = &stats.redis {
            self.gauge(LAYER_STATE, &["redis"], breaker(redis.breaker));
            self.layer_failures("redis", &redis.failures);
        }
    }

    pub fn provider(&self, name: &str, status: &AiStatus) {
        self.gauge(
            PROVIDER_STATE,
            &[name],
            f64::from(status.breaker.as_number()),
        );
        self.gauge(
            PROVIDER_CALLS,
            &[name, "running"],
            count(status.running as u64),
        );
        self.gauge(
            PROVIDER_CALLS,
            &[name, "waiting"],
            count(status.waiting as u64),
        );
    }

    /// Of one stage, all its poll threads together.
    pub fn intakes(&self, stage: &str, stats: &[IntakeStats]) {
        let sum = |of: fn(&IntakeStats) -> u64| count(stats.iter().map(of).sum());
        let oldest = stats.iter().filter_map(|of| of.oldest_unfinished).max();
        let paused = stats.iter().any(|of| of.paused);
        let gauges = [
            (INTAKE_RECORDS, sum(|of| of.in_flight_records as u64)),
            (INTAKE_BYTES, sum(|of| of.in_flight_bytes)),
            (INTAKE_PAUSED, f64::from(u8::from(paused))),
            (INTAKE_PARTITIONS, sum(|of| of.partitions.len() as u64)),
            (INTAKE_OLDEST, oldest.unwrap_or_default().as_secs_f64()),
        ];
        for (declared, value) in gauges {
            self.gauge(declared, &[stage], value);
        }
        for (thread, of) in stats.iter().enumerate() {
            let of = of.counters;
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

    /// How far a group's partitions that are held here lag, by topic; all its poll threads together.
    pub fn consumer_lag(&self, group: &str, stats: &[IntakeStats]) {
        let mut lags: BTreeMap<Arc<str>, (u64, u64)> = BTreeMap::new();
        for of in stats.iter().flat_map(|of| &of.partitions) {
            let Some(lag) = of.lag else { continue };
            let (sum, max) = lags.entry(Arc::clone(&of.topic)).or_default();
            (*sum, *max) = (*sum + lag, lag.max(*max));
        }
        for (topic, (sum, max)) in &lags {
            self.gauge(CONSUMER_LAG, &[group, topic], count(*sum));
            self.gauge(CONSUMER_LAG_MAX, &[group, topic], count(*max));
        }
        let held: BTreeSet<Arc<str>> = lags.into_keys().collect();
        let mut lagging = self.lagging.lock().unwrap_or_else(PoisonError::into_inner);
        let before = lagging.insert(group.to_owned(), held.clone());
        for topic in before.unwrap_or_default().difference(&held) {
            for declared in [CONSUMER_LAG, CONSUMER_LAG_MAX] {
                let gone = self.gauges[declared.name].remove_label_values(&[group, &**topic]);
                debug_assert!(gone.is_ok(), "{group} {topic} was shown");
            }
        }
    }

    pub fn output(&self, name: &str, counters: &OutputCounters, in_flight: usize) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.reached(OUTPUT_FAILURES, &[name], 0, read(&counters.failed));
        self.reached(OUTPUT_DROPPED, &[name], 0, read(&counters.dropped));
        self.gauge(OUTPUT_QUEUE, &[name], count(in_flight as u64));
    }

    /// The sum over all labels of a counter: for summaries on a terminal.
    pub fn total(&self, name: &str, label: Option<(&str, &str)>) -> f64 {
        self.total_of(name, label.as_slice())
    }

    /// The sum of a counter or gauge over all that carry these labels.
    pub fn total_of(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.registry
            .gather()
            .iter()
            .filter(|family| family.name() == name)
            .flat_map(|family| family.get_metric().to_vec())
            .filter(|metric| {
                let of = metric.get_label();
                let has = |name, value| of.iter().any(|l| l.name() == name && l.value() == value);
                labels.iter().all(|&(name, value)| has(name, value))
            })
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum()
    }

    fn count(&self, declared: Declared, labels: &[&str], by: u64) {
        self.counters[declared.name]
            .with_label_values(labels)
            .inc_by(by);
    }

    /// Adds what a part has counted since the last call. A part that takes the place of another one
    /// begins at 0 again, which a counter must not.
    fn reached(&self, declared: Declared, labels: &[&str], part: usize, total: u64) {
        let key = (declared.name, labels.join(","), part);
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let before = counted.insert(key, total).unwrap_or(0);
        let more = if total >= before {
            total - before
        } else {
            total
        };
        self.count(declared, labels, more);
    }

    /// Brings the counters to what the layer has counted: all are shown from the start.
    fn layer_failures(&self, layer: &str, failures: &[(&'static str, u64)]) {
        for (reason, total) in failures {
            let counter = self.counters[LAYER_FAILURES.name].with_label_values(&[layer, *reason]);
            counter.inc_by(total.saturating_sub(counter.get()));
        }
    }

    fn gauge(&self, declared: Declared, labels: &[&str], value: f64) {
        self.gauges[declared.name]
            .with_label_values(labels)
            .set(value);
    }
}

/// One answered query, as it is counted.
#[derive(Debug, Clone, Copy)]
pub struct QueryDone {
    pub operation: Operation,
    pub coalesced: bool,
    pub saved_usd: f64,
    pub seconds: f64,
}

const DECLARATION: &str = "the declarations are valid and unique";

/// From 10 µs (a hit in memory) to a minute (a slow model).
const BUCKETS: [f64; 16] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 2.0,
    5.0, 20.0, 60.0,
];

/// A count as a gauge's value.
#[expect(clippy::cast_precision_loss, reason = "gauges are doubles")]
fn count(of: u64) -> f64 {
    of as f64
}

fn breaker(state: BreakerState) -> f64 {
    match state {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 1.0,
        BreakerState::Open => 2.0,
    }
}

fn is_money(declared: &Declared) -> bool {
    *declared == SAVED || *declared == COST
}

#[cfg(test)]
mod tests;
