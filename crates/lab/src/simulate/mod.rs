//! A simulated year of WedSync: couples, vendors and a model on stopped time, through the code
//! that runs in production, without services. The same seed gives the same figures.
//!
//! ```text
//! couples, vendors ─▶ a day's traffic ─▶ driver (instances, log, layers) ─▶ tally ─▶ figures
//!  (assumptions)                             ▲ simulated model               │ checker
//! ```
//!
//! [`assumptions`] lists what is assumed about the world, each number with its reason; how the
//! cache behaves comes from the topology. Decoding, keys, rules, the tag tables, flights, the
//! memory layer and the provider's client with retries and breaker are the production code; Kafka,
//! the storage of disk and Redis, the model and the clock are mocked ([`wedcache::driver`]).
//! Processing takes no simulated time, so latencies are only those of the model and of Redis's
//! round trip.
//!
//! Reading order: [`assumptions`] · [`couples`], [`questions`], [`vendors`] · [`traffic`] ·
//! [`provider`] · [`tally`], [`figures`] · [`sensitivity`] · [`report`].

pub mod assumptions;
pub mod couples;
pub mod figures;
mod places;
pub mod provider;
pub mod questions;
pub mod report;
pub mod sensitivity;
pub mod tally;
#[cfg(test)]
mod tests;
pub mod traffic;
pub mod vendors;
pub mod zipf;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use chrono::{Datelike as _, NaiveDate};

pub use self::assumptions::Assumptions;
pub use self::figures::Figures;
pub use self::traffic::Period;

use self::figures::Setup;
use self::provider::Model;
use self::tally::Tally;
use self::traffic::{DAY_MS, Traffic, What, midnight};
use wedcache::clock::Clock;
use wedcache::driver::{Driver, Fleet, Idle, stopped};
use wedcache::model::{Catalog, Date, Timestamp, catalog};
use wedcache::topology::Topology;
use wedcache::topology::cases::{InputRole, RawRecord};

/// The settings of a simulation.
#[derive(Debug, Clone)]
pub struct Options {
    pub seed: u64,
    pub period: Period,
    /// Approximate number of queries; the topology's load factors distribute them over the months.
    pub queries: u64,
    /// Size of each memory layer, in bytes; `None` takes the topology's.
    pub memory_bytes: Option<u64>,
    /// The factor that all of the topology's times to live are multiplied by; 1 changes nothing.
    pub ttl_factor: f64,
    pub assumptions: Assumptions,
}

/// Simulates the period on this thread. `on_month` is called with each month, 1 to 12, as it
/// begins.
pub fn run(
    topology: &Arc<Topology>,
    options: &Options,
    mut on_month: impl FnMut(u32),
) -> io::Result<Figures> {
    // Jitter of TTLs and of retries is drawn from this thread's global generator.
    fastrand::seed(options.seed);
    let mut topology = Topology::clone(topology);
    stretch(
        Arc::make_mut(&mut topology.policy.catalog),
        options.ttl_factor,
    );
    let topology = Arc::new(topology);
    stopped::run(async |idle: Idle| {
        let mut season = Season::new(&topology, options, idle);
        for day in options.period.days() {
            if day.day() == 1 || day == options.period.first_day {
                on_month(day.month());
            }
            season.play(day).await;
        }
        season.end(options).await
    })
}

/// Multiplies every time to live. The season's factor is multiplied because each time to live is
/// multiplied by the factor of its wedding's season.
fn stretch(catalog: &mut Catalog, factor: f64) {
    for season in &mut catalog.seasons {
        *season = Arc::new(catalog::Season {
            name: Arc::clone(&season.name),
            ttl_factor: season.ttl_factor * factor,
        });
    }
}

/// A driver and the simulated world around it.
struct Season {
    topology: Arc<Topology>,
    driver: Driver,
    tally: Arc<Tally>,
    traffic: Traffic,
    days: u32,
    evictions: u64,
}

/// The longest wait for calls in flight; no call with its retries takes longer.
const REST: Duration = Duration::from_mins(15);

impl Season {
    fn new(topology: &Arc<Topology>, options: &Options, idle: Idle) -> Self {
        let Options {
            seed,
            period,
            queries,
            memory_bytes,
            assumptions,
            ..
        } = *options;
        let start = midnight(period.first_day);
        let traffic = Traffic::new(seed, topology, assumptions, period, queries);
        let model = Model::new(
            seed,
            Clock::with_timers(start),
            Arc::clone(&topology.policy.catalog),
            traffic.directory().clone(),
            period,
        );
        let tally = Arc::new(Tally::default());
        let fleet = Fleet {
            instances: assumptions::INSTANCES,
            memory_bytes,
            observer: Some(Arc::clone(&tally) as _),
        };
        let topology = Arc::clone(topology);
        let driver = Driver::of_fleet(
            fleet,
            Arc::clone(&topology),
            start,
            model.into_responder(),
            idle,
        );
        driver.set_redis_latency(Duration::from_millis(assumptions::REDIS_MILLIS));
        Self {
            topology,
            driver,
            tally,
            traffic,
            days: 0,
            evictions: 0,
        }
    }

    async fn play(&mut self, day: NaiveDate) {
        for happening in self.traffic.day(day) {
            self.until(happening.at).await;
            match &happening.what {
                What::Ask { .. } => self.ask(&happening),
                What::Update { couple, change } => {
                    let update = self.traffic.update(*couple, change, happening.at);
                    if let Some(update) = update {
                        self.tally.state().log.wedding_updates += 1;
                        self.change(InputRole::WeddingUpdates, update);
                    }
                }
                What::Vendor(change) => {
                    self.tally.state().log.vendor_changes += 1;
                    self.change(InputRole::VendorChanges, change.clone());
                }
            }
        }
        self.until(Timestamp(midnight(day).0 + DAY_MS)).await;
        self.keep_house().await;
    }

    fn ask(&mut self, happening: &traffic::Happening) {
        let Some(query) = self.traffic.query(happening) else {
            return;
        };
        let value = serde_json::to_vec(&query).expect("a query is writable as JSON");
        // The key that the services use: all of a couple's queries are in one partition.
        let key = query.wedding_context.wedding_id.map(String::into_bytes);
        self.driver.query_record(key, Some(value));
    }

    fn change(&mut self, topic: InputRole, change: vendors::Change) {
        self.driver.record(RawRecord {
            topic,
            key: change.key.map(String::into_bytes),
            value: Some(change.value),
        });
    }

    async fn until(&mut self, at: Timestamp) {
        let wait = at.since(self.driver.now());
        if !wait.is_zero() {
            self.driver.advance(wait).await;
        }
    }

    /// Does what production does by itself: the layers drop expired entries; every
    /// [`assumptions::RELEASE_EVERY_DAYS`] days the broker compacts the log and a release restarts
    /// the instances, one after the other.
    async fn keep_house(&mut self) {
        self.days += 1;
        let now = self.driver.now();
        self.driver.sweep_durable();
        self.tally.sweep(now);
        if self.days.is_multiple_of(assumptions::RELEASE_EVERY_DAYS) {
            self.drain().await;
            self.driver.compact_log();
            self.evictions += self.driver.evictions();
            (0..assumptions::INSTANCES).for_each(|number| self.driver.restart_one(number));
            self.tally.state().log.restarts += assumptions::INSTANCES as u64;
        }
    }

    /// Waits as on SIGTERM: what is in flight is answered before the process ends.
    async fn drain(&mut self) {
        let deadline = self.driver.now().plus(REST);
        while self.driver.flights() > 0 && self.driver.now() < deadline {
            self.driver.advance(Duration::from_secs(1)).await;
        }
    }

    async fn end(mut self, options: &Options) -> Figures {
        self.driver.advance(REST).await;
        let mut state = self.tally.state();
        state.log.evictions = self.evictions + self.driver.evictions();
        let couples = self.traffic.couples();
        let setup = Setup {
            topology: self.topology.name.clone(),
            seed: options.seed,
            first_day: Date(options.period.first_day),
            last_day: Date(options.period.last_day),
            couples,
            sample_share: couples::sample_share(
                &self.topology.policy.catalog,
                &self.topology.policy.capacity_factors,
                options.assumptions.sample,
            ),
            instances: assumptions::INSTANCES,
            memory_bytes: options.memory_bytes,
            ttl_factor: options.ttl_factor,
            prices_as_of: self.topology.policy.prices.as_of(),
            assumptions: options.assumptions,
        };
        Figures::of(setup, &state, &self.topology.policy.capacity_factors)
    }
}
