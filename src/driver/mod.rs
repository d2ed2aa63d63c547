//! One wedcache without Kafka, disk, network or waiting: records in, records out, in time that
//! moves only by hand. `wedcache test` and the tests of freshness run on it.
//!
//! ```text
//! query ────▶ QueryReader ─▶ Resolver ─▶ memory ─▶ bytes kept over restarts ─▶ Ai ─▶ script
//!                  ▲ judged by                                          AnswerWriter ─▶ Collected
//! change ─▶ ChangeJudge ─▶ log in memory ─▶ LogFollower ─▶ TagTable
//! ```
//!
//! Everything between the brackets of Kafka and the provider is the real thing: decoding, keys,
//! rules, the log's follower, the tag table, flights, the client with its retries and breaker.
//! Mocked are the log's storage, the durable layers' storage, the provider and the clock.
//!
//! Reading order: [`stopped`] (time that stands still) · [`Driver`] · [`provider`] · [`case`].

pub mod case;
mod collect;
mod durable;
mod expect;
mod instance;
mod log;
pub mod provider;
pub mod stopped;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::app;
use crate::clock::Clock;
use crate::codec::{Decoder, Reject, Schemas};
use crate::invalidation::rule::Source;
use crate::invalidation::{ChangeEnd, ChangeEnds};
use crate::metrics::Metrics;
use crate::model::{
    AiQuery, Cause, Coordinates, KeyMemo, LayerName, Position, Progress, TagInvalidation,
    Timestamp, VendorChange, WeddingUpdate,
};
use crate::pipeline::change::{ChangeJudge, ChangeRecord, Fate, invalidation_metric};
use crate::pipeline::query::Taken;
use crate::resolver::{Ask, Outcome};
use crate::topology::Topology;
use crate::topology::cases::{InputRole, RawRecord};

pub use self::collect::{Answered, Collected, DeadLetter, Observer, Told};
pub use self::provider::{Call, Responder, Scripted};
pub use self::stopped::Idle;

use self::collect::{Collector, lock};
use self::durable::Store;
use self::instance::{Instance, World};
use self::log::Log;
use self::provider::Script;

/// Instances of one fleet, what goes into them and what came out. Lives inside of
/// [`stopped::run`].
pub struct Driver {
    world: World,
    collected: Arc<Collector>,
    idle: Idle,
    log: Log,
    /// How often the log was made anew.
    logs: u32,
    judge: ChangeJudge,
    memo: KeyMemo,
    /// Changes that stand on their topic unjudged.
    changes: VecDeque<Change>,
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

struct Change {
    source: Source,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    offset: i64,
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
        let decoder = Arc::new(Decoder::new(schemas, app::max_bytes(&topology)));
        let judge = ChangeJudge::new(
            Arc::clone(&decoder),
            Arc::clone(&topology.policy.rules),
            Arc::clone(&topology.policy.catalog),
            Arc::clone(&metrics),
            topology.policy.freshness.widen_refresh_interval,
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
            decoder,
            metrics,
            clock: Clock::with_timers(now),
            script: Arc::new(Script::new(respond, Arc::clone(&observer))),
            observer,
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
            judge,
            memo: KeyMemo::default(),
            changes: VecDeque::new(),
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
            let due = self.judge.next_due().filter(|_| !self.held.changes);
            let wait = due.map_or(rest, |due| rest.min(due.since(self.now())));
            tokio::time::sleep(wait).await;
            self.settle().await;
            self.append_due();
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
        if !self.changes.is_empty() {
            self.instances[number].rules_unknown();
        }
        self.measure();
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
        let open = |of: &Instance| of.resolver.open_flights();
        self.instances.iter().map(open).sum()
    }

    /// Entries that the memory layers had no room for, since the instances' last starts.
    pub fn evictions(&self) -> u64 {
        let layers = self.instances.iter().map(|of| &of.resolver.parts().layers);
        layers
            .filter_map(|layers| Some(layers.memory()?.stats().evictions))
            .sum()
    }
}

impl Driver {
    /// A query comes in as a record.
    pub fn query_record(&mut self, key: Option<Vec<u8>>, value: Option<Vec<u8>>) {
        self.record_at(self.instance_of(key.as_deref()), key, value);
    }

    fn record_at(&mut self, number: usize, key: Option<Vec<u8>>, value: Option<Vec<u8>>) {
        self.measure();
        let place = Coordinates {
            topic: Arc::clone(&self.world.topology.deployment.topics.queries.name),
            partition: 0,
            offset: next(&mut self.ends.queries),
            timestamp: self.now(),
        };
        match self.instances[number].reader.take(
            value.as_deref(),
            || place.answer_id(),
            None,
            &mut self.memo,
        ) {
            Taken::Ask(ask) => self.ask(number, ask.to_owned()),
            Taken::Null => {}
            Taken::Dead(reject) => self.bury(key, value, reject),
            Taken::Unresolved { schema_id } => {
                self.bury(key, value, Reject::no_registry(schema_id));
            }
        }
    }

    /// Whose partition a record is on. One without a key is on the first's.
    fn instance_of(&self, key: Option<&[u8]>) -> usize {
        let hash = key.map_or(0, |key| u64::from(crc32c::crc32c(key)));
        usize::try_from(hash % self.instances.len() as u64).expect("below the number of instances")
    }

    fn ask(&self, number: usize, ask: Ask) {
        let instance = &self.instances[number];
        let (resolver, writer) = (Arc::clone(&instance.resolver), instance.writer.clone());
        let (life, observer) = (instance.life.clone(), Arc::clone(&self.world.observer));
        let log = self.logs;
        let tell = move |ask: &Ask, outcome: &Outcome| {
            if life.goes_on() {
                let (mut answer, mut metric) = (Vec::new(), Vec::new());
                writer.write(ask, outcome, &mut answer, &mut metric);
                observer.answer(&Told {
                    ask,
                    outcome,
                    at: writer.clock.now(),
                    log,
                    answer: &answer,
                    metric: &metric,
                });
            }
        };
        if ask.came_late() {
            return tell(&ask, &Outcome::Expired);
        }
        if let Some(hit) = resolver.hit(&ask, ask.arrived_at) {
            return tell(&ask, &Outcome::Hit(hit));
        }
        tokio::spawn(async move {
            let outcome = resolver.resolve(&ask, &()).await;
            tell(&ask, &outcome);
        });
    }

    fn change(&mut self, source: Source, key: Option<Vec<u8>>, value: Option<Vec<u8>>) {
        let end = match source {
            Source::Vendor => &mut self.ends.vendor,
            Source::Wedding => &mut self.ends.wedding,
        };
        let offset = next(end);
        self.changes.push_back(Change {
            source,
            key,
            value,
            offset,
        });
        if !self.held.changes {
            self.judge_all();
        }
    }

    fn judge_all(&mut self) {
        while let Some(change) = self.changes.pop_front() {
            let cause = self.cause(change.source, change.offset);
            let now = self.now();
            let record = ChangeRecord {
                source: change.source,
                key: change.key.as_deref(),
                value: change.value.as_deref(),
                cause: &cause,
                now,
            };
            let mut judged = self.judge.judge(&record);
            if matches!(judged.fate, Fate::Parked { .. }) {
                // There is no registry that could tell the schema.
                judged = self.judge.widen(&record, judged);
            }
            self.append(&judged.records);
            for alert in judged.alerts {
                self.world.observer.alert(alert);
            }
            self.log.append_progress(&Progress {
                topic: cause.topic,
                topic_id: None,
                partition: cause.partition,
                next: change.offset + 1,
                at: now,
            });
            match judged.fate {
                Fate::Done => {}
                Fate::Dead(reject) => self.bury(change.key, change.value, reject),
                Fate::Parked { schema_id } => {
                    self.bury(change.key, change.value, Reject::no_registry(schema_id));
                }
            }
        }
        if !self.held.log {
            self.apply_log();
        }
    }

    /// Refreshes that were held back for their interval.
    fn append_due(&mut self) {
        if self.held.changes {
            return;
        }
        let due = self.judge.due(self.now());
        self.append(&due);
        if !due.is_empty() && !self.held.log {
            self.apply_log();
        }
    }

    fn append(&mut self, records: &[TagInvalidation]) {
        for record in records {
            let offset = self.log.append(record);
            self.world.observer.invalidation(offset, record);
            self.world.observer.metric(&invalidation_metric(record));
        }
    }

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

    fn cause(&self, source: Source, offset: i64) -> Cause {
        let topics = &self.world.topology.deployment.topics;
        let topic = match source {
            Source::Vendor => &topics.vendor_changes,
            Source::Wedding => &topics.wedding_updates,
        };
        Cause {
            topic: topic.name.to_string(),
            partition: 0,
            offset,
            event_id: None,
        }
    }

    fn bury(&self, key: Option<Vec<u8>>, value: Option<Vec<u8>>, reject: Reject) {
        let letter = DeadLetter { key, value, reject };
        self.world.observer.dead_letter(letter);
    }
}

fn next(end: &mut i64) -> i64 {
    *end += 1;
    *end - 1
}
