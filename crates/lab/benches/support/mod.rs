//! The hit path without Kafka, put together as an instance has it.

use parking_lot::Mutex;
use std::sync::Arc;

use wedcache::cache::{Holder, LayeredOptions, Layers, Memory, MemoryOptions};
use wedcache::clock::Clock;
use wedcache::codec::{Decoder, Encoder, Framing, Framings, Schemas};
use wedcache::invalidation::{TagTable, TagTableOptions};
use wedcache::metrics::Metrics;
use wedcache::model::{Coordinates, Form, KeyMemo, LogId, Position, Text, Timestamp};
use wedcache::observe::{Answered, Observer, Observers};
use wedcache::policy::PolicyInForce;
use wedcache::resolver::{Ask, Lag, Outcome, Parts, Resolver};
use wedcache::stages::query::{AnswerWriter, QueryReader, Taken};
use wedcache::topology::{self, Topology, Variables};
use wedcache_lab::bench::Wire;
use wedcache_lab::bench::entries::{self, Made};
use wedcache_lab::bench::queries::Queries;

pub const KEYS: usize = 1000;
const ANSWER_BYTES: usize = 1500;
const POSITION: Position = Position(1000);

/// Encodes the metric record of each answer, as the observer of an instance does before it sends it.
struct Metric {
    encoder: Arc<Encoder>,
    value: Mutex<Vec<u8>>,
}

impl Observer for Metric {
    fn answered(&self, event: &Answered<'_>) {
        let mut value = self.value.lock();
        let id = event.metric_id();
        self.encoder.encode_metric(&event.metric(&id), &mut value);
        std::hint::black_box(&*value);
    }
}

/// A thousand keys in memory, and the queries that hit them.
pub struct HitPath {
    pub values: Vec<Vec<u8>>,
    pub reader: QueryReader,
    pub writer: AnswerWriter,
    resolver: Arc<Resolver>,
    place: Coordinates,
}

impl HitPath {
    pub fn new(format: Wire, runtime: &tokio::runtime::Runtime) -> Self {
        let (topology, clock) = (demo(), Clock::System);
        let types = topology.policy.catalog.types().iter();
        let metrics = Arc::new(Metrics::new(types.map(|of| Arc::clone(&of.name))));
        let table = Arc::new(TagTable::new(TagTableOptions::default()));
        table.set_log_id(LogId([7; 16]));
        table.apply(&[], POSITION);
        let queries = Queries::new(KEYS, format, &clock);
        let memory = Memory::new(&MemoryOptions {
            form: match format {
                Wire::Json => Form::Json,
                Wire::Avro => Form::Plain,
            },
            ..MemoryOptions::default()
        });
        let made = Made {
            log_id: LogId([7; 16]),
            stamp: POSITION,
            at: clock.now(),
        };
        for number in 0..KEYS {
            let data = format!(
                "Ask v-bloom. {}",
                entries::text(number as u64, ANSWER_BYTES)
            );
            let query = queries.query(number);
            let entry = entries::answering(&topology.policy.catalog, &query, &data, made);
            memory.put(&Arc::new(entry.expect("a type of the topology")));
        }
        let framing = match format {
            Wire::Json => Framing::Json,
            Wire::Avro => Framing::SingleObject,
        };
        let encoder = Arc::new(Encoder::new(Framings {
            answers: framing,
            metrics: framing,
            ..Framings::default()
        }));
        let observer = Observers::new([
            metrics as Arc<dyn Observer>,
            Arc::new(Metric {
                encoder: Arc::clone(&encoder),
                value: Mutex::new(Vec::with_capacity(1024)),
            }),
        ]);
        let decoder = Arc::new(Decoder::new(Arc::new(Schemas::embedded()), usize::MAX));
        let policies = Arc::new(PolicyInForce::new(topology.policy.clone()));
        Self {
            values: (0..KEYS).map(|number| queries.record(number).1).collect(),
            reader: QueryReader {
                decoder,
                policies,
                table: Arc::clone(&table),
                clock: clock.clone(),
            },
            writer: AnswerWriter {
                encoder,
                observer: observer.clone(),
                clock: clock.clone(),
            },
            resolver: Arc::new(Resolver::new(Parts {
                layers: Layers::new(Some(memory), None, None, LayeredOptions::default()),
                table,
                lag: Arc::new(Lag::default()),
                holder: Holder::new(None),
                providers: std::collections::BTreeMap::new(),
                clock,
                observer,
                runtime: runtime.handle().clone(),
            })),
            place: Coordinates {
                topic: "wedsync.ai.queries".into(),
                partition: 3,
                offset: 4711,
                timestamp: Timestamp(1_795_341_600_000),
            },
        }
    }

    pub fn take(&self, number: usize, memo: &mut KeyMemo) -> Ask<Text<'_>> {
        let value = &self.values[number % KEYS];
        match self
            .reader
            .take(Some(value), || self.place.answer_id(), None, memo)
        {
            Taken::Ask(ask) => ask,
            other => panic!("not a query: {other:?}"),
        }
    }

    /// Encodes an answer, and tells the observers of it.
    pub fn answer(&self, ask: &Ask<Text<'_>>, outcome: &Outcome, value: &mut Vec<u8>) {
        let written = self.writer.write(ask, outcome, value);
        self.writer.tell(&written);
    }

    /// Looks up and judges.
    pub fn hit(&self, ask: &Ask<Text<'_>>) -> Outcome {
        let hit = self.resolver.hit(ask, ask.arrived_at);
        let hit = hit.expect("every key is in memory");
        assert!(hit.stale.is_none(), "it is fresh");
        Outcome::Hit(hit)
    }
}

fn demo() -> Topology {
    let text = include_str!("../../../../topologies/demo.yaml");
    match topology::read("demo.yaml", text, Variables::From(&|_| None)) {
        Ok(loaded) => loaded.topology,
        Err(problems) => panic!("{problems}"),
    }
}
