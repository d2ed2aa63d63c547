//! The Prometheus metrics: declared in one place, listed in `docs/metrics.md`.
//!
//! Names are `wedcache_<area>_<what>_<unit>`; labels come from closed sets (topology names and the
//! enums of this program), never from data. Counters count events: [`Metrics`] is an observer. Gauges
//! are read when `/metrics` is asked, by the probes that the app registers.

mod declared;
mod events;
mod gauges;
mod known;

use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::{
    Counter, CounterVec, Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, Opts, Registry, TextEncoder,
};

use declared::{
    COALESCED, COST, INFO, LOOKUPS, POLICY_READINGS, QUERIES, QUERY_SECONDS, RECORDS, SAVED,
};
pub use declared::{DECLARED, Declared, Kind};
pub use gauges::{OutputState, PollThread};
pub use known::Known;
use wedcache_model::{LayerName, Operation};

/// Sets gauges just before they are shown.
type Probe = Box<dyn Fn(&Metrics) + Send + Sync>;

pub struct Metrics {
    registry: Registry,
    gauges: HashMap<&'static str, GaugeVec>,
    counters: HashMap<&'static str, IntCounterVec>,
    cost: CounterVec,
    /// In the order of [`OUTCOMES`].
    query_seconds: [Histogram; OUTCOMES.len()],
    types: ArcSwap<Vec<TypeCounters>>,
    /// The money saved, by cache type; the other counters of a type are among the counters.
    saved: CounterVec,
    query_events: IntCounter,
    memory_hits: IntCounter,
    memory_misses: IntCounter,
    /// The last count of each part, by metric, labels and part.
    counted: Mutex<HashMap<(&'static str, String, usize), u64>>,
    /// The topics of each group whose lag is shown.
    lagging: Mutex<BTreeMap<String, BTreeSet<Arc<str>>>>,
    probes: Mutex<Vec<Probe>>,
}

/// The counters of one cache type: the hit path looks none up by name.
struct TypeCounters {
    name: Arc<str>,
    outcomes: Vec<IntCounter>,
    coalesced: IntCounter,
    saved: Counter,
}

/// The operations that are the outcome of a query.
const OUTCOMES: [Operation; 6] = [
    Operation::Hit,
    Operation::StaleHit,
    Operation::Miss,
    Operation::Bypass,
    Operation::Expired,
    Operation::Failure,
];

impl Metrics {
    /// Creates the metrics for these cache types.
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
        metrics.follow_types(cache_types);
        metrics.gauge(INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
        metrics.register_process();
        metrics
    }

    /// Counts the answers of these cache types; the counts of types that are known already go on.
    pub fn follow_types(&self, names: impl IntoIterator<Item = Arc<str>>) {
        let mut types: Vec<_> = names
            .into_iter()
            .map(|name| self.counters_of(name))
            .collect();
        let known = self.types.load();
        let gone = known
            .iter()
            .filter(|old| types.iter().all(|of| of.name != old.name));
        let gone: Vec<_> = gone
            .map(|old| self.counters_of(Arc::clone(&old.name)))
            .collect();
        types.extend(gone);
        self.types.store(Arc::new(types));
    }

    /// Counts a reading of the topology file while the program runs: `applied`, `unchanged` or
    /// `refused`.
    pub fn policy_reading(&self, result: &'static str) {
        self.count(POLICY_READINGS, &[result], 1);
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

    /// Adds a probe, which is called each time the metrics are shown.
    pub fn probe(&self, probe: impl Fn(&Self) + Send + Sync + 'static) {
        self.probes.lock().push(Box::new(probe));
    }

    /// Returns the text of `/metrics`.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        for probe in self.probes.lock().iter() {
            probe(self);
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }

    /// Returns the sum of a counter over all its labels: for summaries on a terminal.
    pub fn total(&self, name: &str, label: Option<(&str, &str)>) -> f64 {
        self.total_of(name, label.as_slice())
    }

    /// Returns the sum of a counter or gauge over all that carry these labels.
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

    fn gauge(&self, declared: Declared, labels: &[&str], value: f64) {
        self.gauges[declared.name]
            .with_label_values(labels)
            .set(value);
    }
}

const DECLARATION: &str = "the declarations are valid and unique";

/// From 10 µs (a hit in memory) to a minute (a slow model).
const BUCKETS: [f64; 16] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 2.0,
    5.0, 20.0, 60.0,
];

fn is_money(declared: &Declared) -> bool {
    *declared == SAVED || *declared == COST
}

#[cfg(test)]
mod tests;
