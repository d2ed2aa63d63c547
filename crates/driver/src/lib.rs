//! A fleet of wedcache without Kafka, disk, network or waiting: records in, records out, in time
//! that is moved by hand. `wedcache test`, `wedcache-lab simulate` and the tests of freshness run on it.
//!
//! ```text
//! query ──▶ Queries ─▶ Resolver ─▶ memory ─▶ bytes kept over restarts ─▶ Ai ─▶ script
//!               ▲ judged by                                     AnswerWriter ─▶ Collected
//! change ─▶ Changes ─▶ log in memory ─▶ LogFollower ─▶ TagTable
//! ```
//!
//! The cores of [`wedcache_engine::stages`], the resolver and the client with its retries and breaker are the
//! program's own. Mocked are the log's storage, the durable layers' storage, the schema registry,
//! the provider and the clock.
//!
//! Reading order: [`stopped`] (time that stands still) · [`Driver`] · `queries`, `changes` (the cores
//! on it) · [`provider`] · [`case`].

pub mod case;
mod changes;
pub mod checker;
mod collect;
mod durable;
mod expect;
mod instance;
mod log;
pub mod provider;
mod queries;
mod registry;
pub mod stopped;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use wedcache_codec::{Decoder, Schemas};
use wedcache_engine::metrics::Metrics;
use wedcache_engine::observe::{Observer, Observers};
use wedcache_engine::policy::{self, PolicyInForce};
use wedcache_engine::stages;
use wedcache_engine::stages::alerting::Alerting;
use wedcache_engine::stages::judge::ChangeJudge;
use wedcache_model::clock::Clock;
use wedcache_model::{
    AiQuery, KeyMemo, LayerName, Position, Timestamp, VendorChange, WeddingUpdate,
};
use wedcache_rules::invalidation::rule::ChangeSource;
use wedcache_rules::invalidation::{ChangeEnd, ChangeEnds};
use wedcache_rules::topology::cases::{InputRole, RawRecord};
use wedcache_rules::topology::{Policy, Topology};

pub use self::collect::{Collected, DeadLetter, Reply};
pub use self::provider::{Call, Responder, Scripted};
pub use self::registry::Response;
pub use self::stopped::Idle;

use self::changes::Judging;
use self::collect::Collector;
use self::durable::Store;
use self::instance::{Instance, World};
use self::log::Log;
use self::provider::Script;
use self::queries::Parked;
use self::registry::Registry;

/// The instances of one fleet, with the topics, layers and provider around them. To be used inside
/// of [`stopped::run`].
pub struct Driver {
    world: World,
    alerting: Alerting,
    idle: Idle,
    log: Log,
    /// The number of times that the log was recreated.
    logs: u32,
    judging: Judging,
    registry: Registry,
    /// Queries that wait for a schema.
    parked_queries: Vec<(u32, Parked)>,
    memo: KeyMemo,
    /// The next offset of each input topic.
    ends: Ends,
    instances: Vec<Instance>,
    held: Held,
}

/// The options of a driver; by default one instance, as in test cases.
#[derive(Default)]
pub struct Fleet {
    /// The number of instances, at least 1. They share the log and Redis, and each has a memory and
    /// a disk of its own; queries go to them by the hash of their record key.
    pub instances: usize,
    /// The bound of each memory layer, in bytes; by default the topology's.
    pub memory_bytes: Option<u64>,
    /// The observer in place of [`Driver::take`].
    pub observer: Option<Arc<dyn Observer>>,
}

#[derive(Debug, Default)]
struct Held {
    changes: bool,
    log: bool,
}

#[derive(Debug, Default)]
struct Ends {
    queries: i64,
    vendor: i64,
    wedding: i64,
}

impl Driver {
    /// Starts one instance at `now` with an empty log and empty layers: the topology's, with
    /// stand-ins for disk and Redis.
    pub fn new(topology: Arc<Topology>, now: Timestamp, respond: Responder, idle: Idle) -> Self {
        Self::of_fleet(Fleet::default(), topology, now, respond, idle)
    }

    /// Starts a fleet, as [`Driver::new`] starts one instance.
    pub fn of_fleet(
        fleet: Fleet,
        topology: Arc<Topology>,
        now: Timestamp,
        respond: Responder,
        idle: Idle,
    ) -> Self {
        let names = topology
            .policy
            .catalog
            .types()
            .iter()
            .map(|of| Arc::clone(&of.name));
        let metrics = Arc::new(Metrics::new(names));
        let (collector, own) = if let Some(observer) = fleet.observer {
            (Arc::new(Collector::off()), observer)
        } else {
            let collector = Arc::<Collector>::default();
            (Arc::clone(&collector), collector as Arc<dyn Observer>)
        };
        let observer = Observers::new([Arc::clone(&metrics) as Arc<dyn Observer>, own]);
        let schemas = Arc::new(Schemas::embedded());
        let decoder = Decoder::new(
            Arc::clone(&schemas),
            stages::max_bytes(&topology.deployment.topics),
        );
        let decoder = Arc::new(decoder);
        let policies = Arc::new(PolicyInForce::new(topology.policy.clone()));
        let judge = ChangeJudge::new(
            Arc::clone(&decoder),
            Arc::clone(&policies),
            observer.clone(),
        );
        let store = |name| Arc::new(Store::new(name));
        let count = fleet.instances.max(1);
        let redis = topology.deployment.layers.redis.as_ref();
        let world = World {
            disks: match topology.deployment.layers.disk {
                Some(_) => (0..count).map(|_| store(LayerName::Disk)).collect(),
                None => Vec::new(),
            },
            redis: redis.map(|_| store(LayerName::Redis)),
            memory_bytes: fleet.memory_bytes,
            topology,
            schemas,
            decoder,
            metrics,
            clock: Clock::with_timers(now),
            script: Arc::new(Script::new(respond, Arc::clone(&collector))),
            observer,
            policies,
            collector,
        };
        let (observer, clock) = (world.observer.clone(), world.clock.clone());
        let alerting = Alerting::new(observer, clock, None);
        let log = Log::new(now);
        let instances = (0..count)
            .map(|number| Instance::start(&world, number, &log))
            .collect();
        Self {
            alerting,
            world,
            idle,
            log,
            logs: 0,
            judging: Judging::new(judge),
            registry: Registry::default(),
            parked_queries: Vec::new(),
            memo: KeyMemo::default(),
            ends: Ends::default(),
            instances,
            held: Held::default(),
        }
    }

    pub fn now(&self) -> Timestamp {
        self.world.clock.now()
    }

    /// Returns the position up to which the first instance has applied the log.
    pub fn view(&self) -> Position {
        self.instances[0].view()
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.world.metrics
    }

    /// Sets what the provider answers from now on.
    pub fn respond(&self, respond: Responder) {
        self.world.script.set(respond);
    }

    /// Sends a query without a record key. If that takes no time, it is answered once
    /// [`Driver::settle`] returns.
    pub fn query(&mut self, query: &AiQuery) {
        self.query_at(0, query);
    }

    /// Sends a query on a partition of the instance of this number.
    pub fn query_at(&mut self, number: usize, query: &AiQuery) {
        let value = serde_json::to_vec(query).expect("a query is writable as JSON");
        self.record_at(number, None, Some(value));
    }

    /// Sends a vendor change, under its vendor's id; a heartbeat under its source.
    pub fn vendor_change(&mut self, change: &VendorChange) {
        let value = serde_json::to_vec(change).expect("a change is writable as JSON");
        let key = change.record_key().to_owned().into_bytes();
        self.change(ChangeSource::Vendor, Some(key), Some(value));
    }

    /// Sends a wedding update, under its wedding's id.
    pub fn wedding_update(&mut self, update: &WeddingUpdate) {
        let value = serde_json::to_vec(update).expect("an update is writable as JSON");
        self.change(
            ChangeSource::Wedding,
            Some(update.wedding_id.clone().into_bytes()),
            Some(value),
        );
    }

    /// Sends a record with any content.
    pub fn record(&mut self, record: RawRecord) {
        let RawRecord { topic, key, value } = record;
        match topic {
            InputRole::Queries => self.query_record(key, value),
            InputRole::VendorChanges => self.change(ChangeSource::Vendor, key, value),
            InputRole::WeddingUpdates => self.change(ChangeSource::Wedding, key, value),
        }
    }

    /// Waits until everything that can happen at this moment has.
    pub async fn settle(&self) {
        self.idle.reached().await;
    }

    /// Moves time on, from timer to timer.
    pub async fn advance(&mut self, by: Duration) {
        let end = Instant::now() + by;
        loop {
            let rest = end - Instant::now();
            let due = self.judging.next_due().filter(|_| !self.held.changes);
            let wait = due.map_or(rest, |due| rest.min(due.since(self.now())));
            tokio::time::sleep(wait).await;
            self.settle().await;
            self.judge_due();
            if Instant::now() >= end {
                break;
            }
        }
        self.measure();
        self.settle().await;
    }

    /// Takes everything that came out since the last call.
    pub fn take(&mut self) -> Collected {
        self.world.collector.take()
    }
}

/// Faults around the instances.
impl Driver {
    /// Kills every instance and starts it again: memory and flights are lost, durable layers stay. If
    /// changes are held, the start barrier ends without them.
    pub fn restart(&mut self) {
        (0..self.instances.len()).for_each(|number| self.restart_one(number));
    }

    /// Kills one instance of the fleet and starts it again, while the others go on.
    pub fn restart_one(&mut self, number: usize) {
        self.instances[number].end();
        self.instances[number] = Instance::start(&self.world, number, &self.log);
        if self.judging.is_behind() {
            self.instances[number].rules_unknown();
        }
        self.measure();
    }

    /// Another policy comes into force, in every instance at once.
    pub fn replace_policy(&mut self, policy: Policy) {
        for instance in &self.instances {
            instance.table.keep_for(policy::keep(&policy));
        }
        self.world.policies.replace(policy);
        self.judge_due();
    }

    /// Leaves changes unjudged from now on, as while no member of the rules group is running.
    pub fn hold_changes(&mut self) {
        self.held.changes = true;
    }

    /// Ends [`Driver::hold_changes`]: the changes that wait are judged.
    pub fn release_changes(&mut self) {
        self.held.changes = false;
        self.judge_all();
    }

    /// Applies no records of the log from now on, as while its reader has lost the broker.
    pub fn hold_log(&mut self) {
        self.held.log = true;
    }

    /// Ends [`Driver::hold_log`]: the records that wait are applied.
    pub fn release_log(&mut self) {
        self.held.log = false;
        self.apply_log();
    }

    /// Compacts the log: only the last record of each key is kept.
    pub fn compact_log(&mut self) {
        self.log.compact();
    }

    /// Deletes the log's topic and creates it again.
    pub fn recreate_log(&mut self) {
        self.log = Log::new(self.now());
        self.logs += 1;
        for instance in &mut self.instances {
            instance.log_recreated(&self.log);
        }
    }

    /// Sets the time that a look-up in a durable layer takes from now on.
    pub fn set_durable_latency(&self, latency: Duration) {
        self.world
            .stores()
            .for_each(|store| store.set_latency(latency));
    }

    /// Makes the durable layers unavailable, or available again.
    pub fn set_durable_away(&self, away: bool) {
        self.world.stores().for_each(|store| store.set_away(away));
    }

    /// Sets the time that a look-up in Redis takes from now on.
    pub fn set_redis_latency(&self, latency: Duration) {
        if let Some(redis) = &self.world.redis {
            redis.set_latency(latency);
        }
    }

    /// Drops expired entries from the durable layers, as the disk's sweep and Redis's TTL do.
    pub fn sweep_durable(&self) {
        let now = self.now();
        self.world.stores().for_each(|store| store.sweep(now));
    }

    /// Returns the number of calls to the provider that are under way.
    pub fn flights(&self) -> usize {
        let open = |of: &Instance| of.queries.resolver.open_flights();
        self.instances.iter().map(open).sum()
    }

    /// Returns the number of entries for which the memory layers had no room, since the last starts
    /// of the instances.
    pub fn evictions(&self) -> u64 {
        let layers = self
            .instances
            .iter()
            .map(|of| &of.queries.resolver.parts().layers);
        layers
            .filter_map(|layers| Some(layers.memory()?.stats().evictions))
            .sum()
    }
}

impl Driver {
    fn apply_log(&mut self) {
        for instance in &mut self.instances {
            instance.read(&self.log);
        }
        self.measure();
    }

    fn measure(&mut self) {
        let topics = &self.world.topology.deployment.topics;
        let end = |end| ChangeEnd {
            end,
            ..ChangeEnd::default()
        };
        let ends: ChangeEnds = [
            (&topics.vendor_changes, end(self.ends.vendor)),
            (&topics.wedding_updates, end(self.ends.wedding)),
        ]
        .map(|(topic, end)| ((Arc::clone(&topic.name), 0), end))
        .into();
        for instance in &mut self.instances {
            instance.measure(&self.log, &ends);
        }
    }
}

fn next(end: &mut i64) -> i64 {
    *end += 1;
    *end - 1
}
