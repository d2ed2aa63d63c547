//! One process of wedcache, put together as on Kafka, but without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use wedcache_codec::{Decoder, Encoder, Schemas};
use wedcache_engine::ai::{self, Ai, Providers};
use wedcache_engine::cache::{Holder, LayeredOptions, Layers, Leases, Memory, MemoryOptions};
use wedcache_engine::metrics::Metrics;
use wedcache_engine::observe::{Forward, Observer, Observers};
use wedcache_engine::policy::{self, PolicyInForce};
use wedcache_engine::resolver::{Lag, Parts, Resolver};
use wedcache_engine::stages::follower::{LogFollower, LogStatus};
use wedcache_engine::stages::lag::{LagClock, Measured};
use wedcache_engine::stages::query::{AnswerWriter, Queries, QueryReader};
use wedcache_model::clock::Clock;
use wedcache_model::{Form, Position};
use wedcache_rules::invalidation::log::{Follow as _, ReaderEvent};
use wedcache_rules::invalidation::{ChangeEnds, RulesProgress, TagTable, TagTableOptions};
use wedcache_rules::topology::Topology;
use wedcache_rules::topology::settings;

use super::collect::Collector;
use super::durable::{Mounted, Store};
use super::log::Log;
use super::provider::{Mocked, Script};

/// True as long as a process lives; what it does after its end leaves no trace.
#[derive(Debug, Clone)]
pub(super) struct Life(Arc<AtomicBool>);

impl Life {
    fn begin() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub(super) fn goes_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Everything that the instances share, and that outlives them.
pub(super) struct World {
    pub(super) topology: Arc<Topology>,
    pub(super) schemas: Arc<Schemas>,
    pub(super) decoder: Arc<Decoder>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    pub(super) script: Arc<Script>,
    /// The disk of each instance; empty without a disk layer.
    pub(super) disks: Vec<Arc<Store>>,
    /// The Redis of all instances.
    pub(super) redis: Option<Arc<Store>>,
    /// The bound of each memory layer; `None` for the topology's.
    pub(super) memory_bytes: Option<u64>,
    pub(super) policies: Arc<PolicyInForce>,
    pub(super) observer: Observers,
    pub(super) collector: Arc<Collector>,
}

impl World {
    pub(super) fn stores(&self) -> impl Iterator<Item = &Arc<Store>> {
        self.disks.iter().chain(&self.redis)
    }
}

pub(super) struct Instance {
    pub(super) life: Life,
    pub(super) queries: Queries,
    pub(super) writer: AnswerWriter,
    pub(super) table: Arc<TagTable>,
    follower: LogFollower,
    status: watch::Receiver<LogStatus>,
    progress: Arc<RulesProgress>,
    lag: Arc<Lag>,
    lag_clock: LagClock,
    policies: Arc<PolicyInForce>,
    /// The next offset of the log to be read.
    read_to: i64,
}

impl Instance {
    /// Starts the instance of this number, from 0: it reads the log to its end, then is ready for
    /// queries.
    pub(super) fn start(world: &World, number: usize, log: &Log) -> Self {
        let life = Life::begin();
        let options = TagTableOptions {
            keep: policy::keep(&world.policies.get()),
            ..TagTableOptions::default()
        };
        let table = Arc::new(TagTable::new(options));
        let (progress, lag) = (Arc::<RulesProgress>::default(), Arc::<Lag>::default());
        let (follower, status) = LogFollower::new(
            Arc::clone(&table),
            Arc::clone(&progress),
            Arc::clone(&world.policies),
            world.clock.clone(),
        );
        let observer = Observers::new([Arc::new(WhileAlive {
            life: life.clone(),
            to: world.observer.clone(),
        }) as Arc<dyn Observer>]);
        let resolver = Arc::new(Resolver::new(Parts {
            layers: layers(world, number, &life),
            table: Arc::clone(&table),
            lag: Arc::clone(&lag),
            holder: Holder::new(Some(&format!("instance {number}"))),
            providers: providers(world),
            clock: world.clock.clone(),
            observer: observer.clone(),
            runtime: Handle::current(),
        }));
        let mut instance = Self {
            life,
            queries: Queries {
                reader: QueryReader {
                    decoder: Arc::clone(&world.decoder),
                    policies: Arc::clone(&world.policies),
                    table: Arc::clone(&table),
                    clock: world.clock.clone(),
                },
                resolver,
            },
            writer: AnswerWriter {
                // JSON, whatever the topology says: it is read again right away.
                encoder: Arc::new(Encoder::new(wedcache_codec::Framings::default())),
                observer,
                clock: world.clock.clone(),
            },
            table,
            follower,
            status,
            progress,
            lag,
            lag_clock: LagClock::new(world.policies.get().freshness, Instant::now()),
            policies: Arc::clone(&world.policies),
            read_to: 0,
        };
        instance.read_anew(log);
        instance
    }

    pub(super) fn end(&self) {
        self.life.end();
    }

    /// Reads the records that were appended since the last call.
    pub(super) fn read(&mut self, log: &Log) {
        self.follower.on_batch(log.read(self.read_to));
        self.read_to = log.end();
    }

    /// Notices that the log was recreated, and reads it from its start.
    pub(super) fn log_recreated(&mut self, log: &Log) {
        self.follower.on_batch(vec![ReaderEvent::Truncated {
            position: self.read_to,
            log_start: 0,
            log_end: log.end(),
        }]);
        self.read_anew(log);
    }

    fn read_anew(&mut self, log: &Log) {
        self.follower.on_batch(log.read_all());
        self.read_to = log.end();
    }

    /// Notes that the start barrier ended with changes unjudged.
    pub(super) fn rules_unknown(&mut self) {
        self.lag_clock.rules_unknown();
    }

    /// Compares the ends of the log and of the change topics with what is known here, and sets what
    /// look-ups do about the lag.
    pub(super) fn measure(&mut self, log: &Log, ends: &ChangeEnds) {
        self.follower.on_batch(vec![log.ends()]);
        let measured = Measured {
            at: Instant::now(),
            log_whole: self.status.borrow().measured.map(|(_, whole)| whole),
            rules_whole: Some(self.progress.behind(ends) == 0),
        };
        self.lag_clock.set_bounds(self.policies.get().freshness);
        self.lag_clock.observe(&measured);
        self.lag.set(self.lag_clock.state(measured.at));
    }

    /// Returns the next offset of a change topic to be judged, as the log has it.
    pub(super) fn judged(&self, topic: &str) -> i64 {
        let judged = self.progress.judged(&(topic.into(), 0), None);
        judged.unwrap_or(0)
    }

    pub(super) fn view(&self) -> Position {
        self.table.position()
    }
}

fn layers(world: &World, number: usize, life: &Life) -> Layers {
    let memory = world.topology.deployment.layers.memory.map(|memory| {
        let usual = memory.size.0.min(MemoryOptions::default().max_bytes);
        Memory::new(&MemoryOptions {
            max_bytes: world.memory_bytes.unwrap_or(usual),
            // As the answers are written here: JSON.
            form: Form::Json,
        })
    });
    let mounted = |store: &Arc<Store>| {
        Arc::new(Mounted {
            store: Arc::clone(store),
            life: life.clone(),
        })
    };
    let stores = world.disks.get(number).into_iter().chain(&world.redis);
    let durable = stores.map(|store| mounted(store) as _).collect();
    let leases = world.redis.as_ref().map(mounted);
    let leases = leases.map(|leases| leases as Arc<dyn Leases>);
    Layers::of(memory, durable, leases, LayeredOptions::default())
}

fn providers(world: &World) -> Providers {
    let topology = &world.topology;
    let mocked = |(name, provider): (&Arc<str>, &settings::Provider)| {
        let mocked = Mocked {
            name: name.to_string(),
            model: provider.model().to_owned(),
            script: Arc::clone(&world.script),
        };
        let ai = Ai::new(Arc::new(mocked), ai::options(provider));
        (Arc::clone(name), Arc::new(ai))
    };
    topology.deployment.providers.iter().map(mocked).collect()
}

/// Passes on the events of an instance as long as it lives.
struct WhileAlive {
    life: Life,
    to: Observers,
}

impl Forward for WhileAlive {
    fn each(&self, tell: impl FnMut(&dyn Observer)) {
        if self.life.goes_on() {
            self.to.each(tell);
        }
    }
}
