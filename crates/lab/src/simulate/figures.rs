//! The results of a simulated season, as numbers: the JSON of `--json` and the input of the
//! reports.

use std::time::Duration;

use serde::Serialize;

use super::assumptions::Assumptions;
use super::questions::TYPES;
use super::tally::{ByMonth, State};
use wedcache::model::{Date, Mode, TagInvalidation};

/// The reason why a query needed a paid call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissReason {
    /// Nobody had asked it before.
    Cold,
    /// The entry was past its time to live.
    Expired,
    /// A change had invalidated the entry: by a purge, or by a refresh that came too long ago.
    Invalidated,
    /// The entry was older than the query's `maxAgeSecs`.
    TooOld,
    /// The entry was valid, but in no layer that the query's instance could ask; or its fill was
    /// overtaken by a change.
    Gone,
}

pub const MISS_REASONS: [&str; 5] = [
    "cold",
    "expired",
    "invalidated",
    "too old for it",
    "not held",
];

/// Counts of one type in one month, or sums of such counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    pub queries: u64,
    /// Hits by layer, stale ones among them.
    pub memory: u64,
    pub disk: u64,
    pub redis: u64,
    /// Hits that were labelled stale while a new answer was fetched.
    pub stale: u64,
    /// Queries that waited for another query's call.
    pub coalesced: u64,
    /// Queries with a paid call, by [`MissReason`].
    pub misses: [u64; 5],
    pub bypassed: u64,
    pub failed: u64,
    pub expired: u64,
    /// Priced calls and stored answers, including the refills of refreshed entries.
    pub calls: u64,
    pub fills: u64,
    pub spent_usd: f64,
    pub saved_usd: f64,
    /// Total response time of all queries, in milliseconds.
    pub millis: f64,
}

impl Counts {
    pub fn hits(&self) -> u64 {
        self.memory + self.disk + self.redis
    }

    /// Returns the hits in percent of all queries; bypasses, failures and expired queries are no
    /// hits.
    pub fn hit_rate(&self) -> f64 {
        per_cent(self.hits(), self.queries)
    }

    /// Returns what was not spent, in percent of the cost of calling the model for every query.
    pub fn saved_rate(&self) -> f64 {
        let all = self.saved_usd + self.spent_usd;
        if all > 0.0 {
            100.0 * self.saved_usd / all
        } else {
            0.0
        }
    }

    pub fn mean_millis(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts of a simulation")]
        let queries = self.queries.max(1) as f64;
        self.millis / queries
    }

    /// Returns the sum of all outcomes, which equals the number of queries.
    pub fn ends(&self) -> u64 {
        self.hits()
            + self.coalesced
            + self.misses.iter().sum::<u64>()
            + self.bypassed
            + self.failed
            + self.expired
    }

    fn add(&mut self, other: &Self) {
        self.queries += other.queries;
        self.memory += other.memory;
        self.disk += other.disk;
        self.redis += other.redis;
        self.stale += other.stale;
        self.coalesced += other.coalesced;
        for (sum, of) in self.misses.iter_mut().zip(other.misses) {
            *sum += of;
        }
        self.bypassed += other.bypassed;
        self.failed += other.failed;
        self.expired += other.expired;
        self.calls += other.calls;
        self.fills += other.fills;
        self.spent_usd += other.spent_usd;
        self.saved_usd += other.saved_usd;
        self.millis += other.millis;
    }

    pub(super) fn sum<'a>(of: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        of.into_iter().for_each(|counts| sum.add(counts));
        sum
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a simulation")]
pub fn per_cent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// Queries whose couple had asked for the same key before, and how many of them were hits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Repeats {
    pub within_an_hour: Served,
    /// Repeats within a day, including those within an hour.
    pub within_a_day: Served,
    /// All repeats, however long after.
    pub ever: Served,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Served {
    pub queries: u64,
    pub hits: u64,
}

impl Served {
    pub fn rate(&self) -> f64 {
        per_cent(self.hits, self.queries)
    }

    fn count(&mut self, is_served: bool) {
        self.queries += 1;
        self.hits += u64::from(is_served);
    }
}

impl Repeats {
    pub(super) fn count(&mut self, after: Duration, is_served: bool) {
        self.ever.count(is_served);
        if after <= Duration::from_hours(24) {
            self.within_a_day.count(is_served);
        }
        if after <= Duration::from_hours(1) {
            self.within_an_hour.count(is_served);
        }
    }
}

/// Counts of changes read, invalidations written, and other events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Log {
    pub vendor_changes: u64,
    pub wedding_updates: u64,
    pub purges: u64,
    pub refreshes: u64,
    pub dead_letters: u64,
    pub alerts: u64,
    /// Requests to the provider, including failed ones and retries.
    pub requests: u64,
    pub evictions: u64,
    pub restarts: u64,
}

impl Log {
    pub(super) fn count(&mut self, record: &TagInvalidation) {
        match record.mode {
            Mode::Purge => self.purges += 1,
            Mode::Refresh => self.refreshes += 1,
        }
    }

    pub fn changes(&self) -> u64 {
        self.vendor_changes + self.wedding_updates
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a simulation")]
    pub fn invalidations_a_change(&self) -> f64 {
        (self.purges + self.refreshes) as f64 / self.changes().max(1) as f64
    }
}

/// Upper bounds of the latency classes, in milliseconds; the class above the last bound is open.
/// The brief's bounds are 50 (hits) and 200 (misses).
pub const LATENCY_BOUNDS_MS: [u64; 6] = [1, 50, 200, 1000, 5000, 15_000];
pub const LATENCY_CLASSES: [&str; 7] = [
    "up to 1 ms",
    "up to 50 ms",
    "up to 200 ms",
    "up to 1 s",
    "up to 5 s",
    "up to 15 s",
    "longer",
];

/// The setup of the simulation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Setup {
    pub topology: String,
    pub seed: u64,
    pub first_day: Date,
    pub last_day: Date,
    pub couples: usize,
    /// The simulated share of the platform's couples, 0 to 1.
    pub sample_share: f64,
    pub instances: usize,
    /// Size of each instance's memory layer, in bytes; `None` for the topology's size.
    pub memory_bytes: Option<u64>,
    /// The factor that the topology's times to live were multiplied by.
    pub ttl_factor: f64,
    pub prices_as_of: Option<Date>,
    pub assumptions: Assumptions,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    pub setup: Setup,
    pub total: Counts,
    /// Counts by type, in the order of the brief.
    pub by_type: Vec<Named<Counts>>,
    /// The months that were simulated.
    pub by_month: Vec<Month>,
    pub repeats: Repeats,
    pub latencies: Vec<Named<u64>>,
    pub log: Log,
    /// Answers judged against the whole log, and how many of them it forbids.
    pub judged: u64,
    pub forbidden: u64,
    pub violations: Vec<String>,
    /// Calls whose model is not in the price table; they are counted as free.
    pub unpriced_calls: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Named<T> {
    pub name: &'static str,
    pub value: T,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Month {
    /// The month, 1 to 12.
    pub month: usize,
    /// The load factor that the topology gives the month.
    pub capacity_factor: f64,
    pub total: Counts,
    /// Counts by type, in the order of the brief.
    pub by_type: Vec<Counts>,
}

impl Figures {
    pub(super) fn of(setup: Setup, state: &State, factors: &[f64; 12]) -> Self {
        let counts: &ByMonth = &state.counts;
        let of_type = |kind: usize| Counts::sum(counts.iter().map(|month| &month[kind]));
        let months = counts.iter().enumerate().map(|(at, by_type)| Month {
            month: at + 1,
            capacity_factor: factors[at],
            total: Counts::sum(by_type),
            by_type: by_type.to_vec(),
        });
        let named = |(name, value)| Named { name, value };
        Self {
            setup,
            total: Counts::sum(counts.iter().flatten()),
            by_type: (0..TYPES.len())
                .map(|kind| named((TYPES[kind], of_type(kind))))
                .collect(),
            by_month: months.filter(|month| month.total.queries > 0).collect(),
            repeats: state.repeats,
            latencies: LATENCY_CLASSES
                .into_iter()
                .zip(state.latencies)
                .map(|(name, value)| Named { name, value })
                .collect(),
            log: state.log,
            judged: state.judged,
            forbidden: state.forbidden,
            violations: state.violations.clone(),
            unpriced_calls: state.unpriced,
        }
    }

    /// Returns the brief's goals and the results, in the brief's order.
    pub fn goals(&self) -> Vec<Goal> {
        let vendors = &self.by_type[1].value;
        vec![
            Goal::more("hit rate of all queries", "%", 85.0, self.total.hit_rate()),
            Goal::more(
                "hit rate of a couple's repeats within a day",
                "%",
                90.0,
                self.repeats.within_a_day.rate(),
            ),
            Goal::more("AI cost saved", "%", 40.0, self.total.saved_rate()),
            Goal::less(
                "mean response of vendor queries",
                "ms",
                100.0,
                vendors.mean_millis(),
            ),
            Goal::none("forbidden answers", self.forbidden),
        ]
    }
}

/// A goal of the brief and the simulation's result.
#[derive(Debug, Clone, PartialEq)]
pub struct Goal {
    pub what: &'static str,
    pub wanted: String,
    pub got: String,
    pub is_met: bool,
}

impl Goal {
    fn more(what: &'static str, unit: &str, than: f64, got: f64) -> Self {
        Self {
            what,
            wanted: format!("> {than:.0} {unit}"),
            got: format!("{got:.1} {unit}"),
            is_met: got > than,
        }
    }

    fn less(what: &'static str, unit: &str, than: f64, got: f64) -> Self {
        Self {
            what,
            wanted: format!("< {than:.0} {unit}"),
            got: format!("{got:.0} {unit}"),
            is_met: got < than,
        }
    }

    fn none(what: &'static str, got: u64) -> Self {
        Self {
            what,
            wanted: "0".to_owned(),
            got: got.to_string(),
            is_met: got == 0,
        }
    }
}
