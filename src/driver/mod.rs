//! One wedcache without Kafka, disk, network or waiting: records in, records out, in time that
//! moves only by hand. `wedcache test` and the tests of freshness run on it.
//!
//! ```text
//! query ──▶ Queries ─▶ Resolver ─▶ memory ─▶ bytes kept over restarts ─▶ Ai ─▶ script
//!               ▲ judged by                                     AnswerWriter ─▶ Collected
//! change ─▶ Changes ─▶ log in memory ─▶ LogFollower ─▶ TagTable
//! ```
//!
//! The cores of [`crate::stages`], the resolver and the client with its retries and breaker are the
//! program's own. Mocked are the log's storage, the durable layers' storage, the schema registry,
//! the provider and the clock.
//!
//! Reading order: [`stopped`] (time that stands still) · [`Driver`] · `queries`, `changes` (the cores
//! on it) · [`provider`] · [`case`].

pub mod case;
mod changes;
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

use crate::app;
use crate::clock::Clock;
use crate::codec::{Decoder, Schemas};
use crate::invalidation::rule::Source;
use crate::invalidation::{ChangeEnd, ChangeEnds};
use crate::metrics::Metrics;
use crate::model::{AiQuery, KeyMemo, LayerName, Position, Timestamp, VendorChange, WeddingUpdate};
use crate::policy::{self, PolicyInForce};
use crate::stages::judge::ChangeJudge;
use crate::topology::cases::{InputRole, RawRecord};
use crate::topology::{Policy, Topology};

pub use self::collect::{Answered, Collected, DeadLetter, Observer, Told};
pub use self::provider::{Call, Responder, Scripted};
pub use self::registry::Response;
pub use self::stopped::Idle;

use self::changes::Judging;
use self::collect::{Collector, lock};
use self::durable::Store;
use self::instance::{Instance, World};
use self::log::Log;
use self::provider::Script;
use self::queries::QueryRecord;
use self::registry::Registry;

/// Instances of one fleet, what goes into them and what came out. Lives inside of
/// [`stopped::run`].
pub struct Driver {
    world: World,
    collected: Arc<Collector>,
    idle: Idle,
    log: Log,
    /// The number of times that the log was recreated.
    logs: u32,
    judging: Judging,
    registry: Registry,
    /// Queries that wait for a schema.
    parked_queries: Vec<(u32, QueryRecord)>,
    memo: KeyMemo,
    /// The next offset of each input topic.
    ends: Ends,
    instances: Vec<Instance>,
    held: Held,
}

/// What is run, where it is more than one instance as test cases have it.
#[derive(Default)]
pub struct Fleet {
    /// How many instances share the log and Redis, each with a memory and a disk of its own;
    /// queries go to them by the hash of their record key. At least 1.
    pub instances: usize,
    /// The bound of each memory layer, in bytes, where it is not the topology's.
    pub memory_bytes: Option<u64>,
    /// Who sees what comes out, in place of [`Driver::take`].
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
    /// Starts at `now` with an empty log and empty layers: the topology's, with stand-ins for
    /// disk and Redis.
    pub fn new(topology: Arc<Topology>, now: Timestamp, respond: Responder, idle: Idle) -> Self {
        Self::of_fleet(Fleet::default(), topology, now, respond, idle)
    }

    /// The same for several instances.
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
        let schemas = Arc::new(Schemas::embedded());
        let decoder = Decoder::new(Arc::clone(&schemas), app::max_bytes(&topology));
        let decoder = Arc::new(decoder);
        let policies = Arc::new(PolicyInForce::new(topology.policy.clone()));
        let judge = ChangeJudge::new(
            Arc::clone(&decoder),
            Arc::clone(&policies),
            Arc::clone(&metrics),
        );
        let store = |name| Arc::new(Store::new(name));
        let (count, collected) = (fleet.instances.max(1), Arc::<Collector>::default());
        let observer = fleet
            .observer
            .unwrap_or_else(|| Arc::clone(&collected) as Arc<dyn Observer>);
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
            script: Arc::new(Script::new(respond, Arc::clone(&observer))),
            observer,
            policies,
        };
        let log = Log::new(now);
        let instances = (0..count)
            .map(|number| Instance::start(&world, number, &log))
            .collect();
        Self {
            world,
            collected,
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

    /// How far the first instance has applied the log.
    pub fn view(&self) -> Position {
        self.instances[0].view()
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.world.metrics
    }

    /// What the provider answers from now on.
    pub fn respond(&self, respond: Responder) {
        self.world.script.set(respond);
    }

    /// A query comes in without a record key; it is answered as far as that takes no time once [`Driver::settle`]
    /// returns.
    pub fn query(&mut self, query: &AiQuery) {
        self.query_at(0, query);
    }

    /// The same on a partition of the instance of this number.
    pub fn query_at(&mut self, number: usize, query: &AiQuery) {
        let value = serde_json::to_vec(query).expect("a query is writable as JSON");
        self.record_at(number, None, Some(value));
    }

    /// A vendor change comes in, under its vendor's id; a heartbeat under its source.
    pub fn vendor_change(&mut self, change: &VendorChange) {
        let value = serde_json::to_vec(change).expect("a change is writable as JSON");
        let key = change.record_key().to_owned().into_bytes();
        self.change(Source::Vendor, Some(key), Some(value));
    }

    /// A wedding update comes in, under its wedding's id.
    pub fn wedding_update(&mut self, update: &WeddingUpdate) {
        let value = serde_json::to_vec(update).expect("an update is writable as JSON");
        self.change(
            Source::Wedding,
            Some(update.wedding_id.clone().into_bytes()),
            Some(value),
        );
    }

    /// A record comes in, whatever it holds.
    pub fn record(&mut self, record: RawRecord) {
        let RawRecord { topic, key, value } = record;
        match topic {
            InputRole::Queries => self.query_record(key, value),
            InputRole::VendorChanges => self.change(Source::Vendor, key, value),
            InputRole::WeddingUpdates => self.change(Source::Wedding, key, value),
        }
    }

    /// Waits until everything that can happen at this moment has.
    pub async fn settle(&self) {
        self.idle.reached().await;
    }

    /// Lets time pass, from timer to timer.
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

    /// What came out since it was last taken.
    pub fn take(&mut self) -> Collected {
        std::mem::take(&mut *lock(&self.collected))
    }
}

/// What goes wrong around an instance.
impl Driver {
    /// The process is killed and starts anew: memory and flights are gone, what is durable stays.
    /// Where changes are held back, its start barrier ends without them.
    pub fn restart(&mut self) {
        (0..self.instances.len()).for_each(|number| self.restart_one(number));
    }

    /// The same for one instance of the fleet, while the others go on.
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

    /// Changes wait unjudged from now on, as while no member of the rules group lives.
    pub fn hold_changes(&mut self) {
        self.held.changes = true;
    }

    /// The changes that wait are judged, and those to come at once.
    pub fn release_changes(&mut self) {
        self.held.changes = false;
        self.judge_all();
    }

    /// The log is no longer applied, as while its reader has lost the broker.
    pub fn hold_log(&mut self) {
        self.held.log = true;
    }

    /// What the log holds is applied, and what is to come at once.
    pub fn release_log(&mut self) {
        self.held.log = false;
        self.apply_log();
    }

    /// The broker keeps but the last record of each key.
    pub fn compact_log(&mut self) {
        self.log.compact();
    }

    /// The log's topic is deleted and made again.
    pub fn recreate_log(&mut self) {
        self.log = Log::new(self.now());
        self.logs += 1;
        for instance in &mut self.instances {
            instance.log_recreated(&self.log);
        }
    }

    /// How long the durable layers take for a look-up from now on.
    pub fn set_durable_latency(&self, latency: Duration) {
        self.world
            .stores()
            .for_each(|store| store.set_latency(latency));
    }

    /// Whether the durable layers are away from now on.
    pub fn set_durable_away(&self, away: bool) {
        self.world.stores().for_each(|store| store.set_away(away));
    }

    /// The same for Redis alone.
    pub fn set_redis_latency(&self, latency: Duration) {
        if let Some(redis) = &self.world.redis {
            redis.set_latency(latency);
        }
    }

    /// The durable layers drop what is past its time, as the disk's sweep and Redis's TTL do.
    pub fn sweep_durable(&self) {
        let now = self.now();
        self.world.stores().for_each(|store| store.sweep(now));
    }

    /// How many calls to the provider are on their way.
    pub fn flights(&self) -> usize {
        let open = |of: &Instance| of.queries.resolver.open_flights();
        self.instances.iter().map(open).sum()
    }

    /// Entries that the memory layers had no room for, since the instances' last starts.
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
