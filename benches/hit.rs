//! A hit in the memory layer without Kafka: what a poll thread does between taking a record and
//! handing two to the producers, as a whole and part by part.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use wedcache::bench::queries::Queries;
use wedcache::cache::{LayeredOptions, Layers, Memory, MemoryOptions};
use wedcache::clock::Clock;
use wedcache::codec::{Decoder, Encoder, Framing, Framings, Schemas};
use wedcache::invalidation::{TagTable, TagTableOptions};
use wedcache::metrics::Metrics;
use wedcache::model::entry::Header;
use wedcache::model::{
    CacheMetric, Coordinates, Entry, Form, KeyMemo, LogId, Position, Prepared, Tag, Text,
    Timestamp, TraceParent,
};
use wedcache::pipeline::query::{AnswerWriter, QueryReader, Taken};
use wedcache::resolver::{Ask, Lag, MetricSink, Outcome, Parts, Resolver};
use wedcache::topology::settings::Format;
use wedcache::topology::{self, Topology, Variables};

const KEYS: usize = 1000;
const ANSWER_BYTES: usize = 1500;
const POSITION: Position = Position(1000);

/// Hits make no records of calls and fills.
struct NoSink;

impl MetricSink for NoSink {
    fn emit(&self, _: &CacheMetric<'_>, _: TraceParent) {}
}

struct Bench {
    values: Vec<Vec<u8>>,
    reader: QueryReader,
    writer: AnswerWriter,
    resolver: Arc<Resolver>,
    place: Coordinates,
}

impl Bench {
    fn new(format: Format, runtime: &tokio::runtime::Runtime) -> Self {
        let (topology, clock) = (demo(), Clock::System);
        let types = topology.catalog.types().iter();
        let metrics = Arc::new(Metrics::new(types.map(|of| Arc::clone(&of.name))));
        let table = Arc::new(TagTable::new(TagTableOptions::default()));
        table.set_log_id(LogId([7; 16]));
        table.apply(&[], POSITION);
        let queries = Queries::new(KEYS, format, &clock);
        let memory = Memory::new(&MemoryOptions {
            form: match format {
                Format::Json => Form::Json,
                Format::Avro | Format::Confluent => Form::Plain,
            },
            ..MemoryOptions::default()
        });
        for number in 0..KEYS {
            memory.put(&Arc::new(entry(&topology, &queries, number, clock.now())));
        }
        let framing = match format {
            Format::Json => Framing::Json,
            Format::Avro | Format::Confluent => Framing::SingleObject,
        };
        let encoder = Arc::new(Encoder::new(Framings {
            answers: framing,
            metrics: framing,
            ..Framings::default()
        }));
        let decoder = Arc::new(Decoder::new(Arc::new(Schemas::embedded()), usize::MAX));
        let catalog = &topology.catalog;
        Self {
            values: (0..KEYS).map(|number| queries.record(number).1).collect(),
            reader: QueryReader {
                decoder,
                catalog: Arc::clone(catalog),
                table: Arc::clone(&table),
                clock: clock.clone(),
            },
            writer: AnswerWriter {
                encoder,
                catalog: Arc::clone(catalog),
                metrics: Arc::clone(&metrics),
                clock: clock.clone(),
            },
            resolver: Arc::new(Resolver::new(Parts {
                catalog: Arc::clone(catalog),
                layers: Layers::new(Some(memory), None, None, LayeredOptions::default()),
                table,
                lag: Arc::new(Lag::default()),
                models: std::collections::HashMap::new(),
                clock,
                sink: Arc::new(NoSink),
                metrics,
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

    fn take(&self, number: usize, memo: &mut KeyMemo) -> Ask<Text<'_>> {
        let value = &self.values[number % KEYS];
        match self
            .reader
            .take(Some(value), || self.place.answer_id(), None, memo)
        {
            Taken::Ask(ask) => ask,
            other => panic!("not a query: {other:?}"),
        }
    }

    fn hit(&self, ask: &Ask<Text<'_>>) -> Outcome {
        let hit = self.resolver.hit(ask, ask.arrived_at);
        let hit = hit.expect("every key is in memory");
        assert!(hit.stale.is_none(), "it is fresh");
        Outcome::Hit(hit)
    }
}

fn demo() -> Topology {
    let text = include_str!("../topologies/demo.yaml");
    match topology::read("demo.yaml", text, Variables::From(&|_| None)) {
        Ok(loaded) => loaded.topology,
        Err(problems) => panic!("{problems}"),
    }
}

/// The entry that answers query `number`.
fn entry(topology: &Topology, queries: &Queries, number: usize, now: Timestamp) -> Entry {
    let query = queries.query(number);
    let prepared = Prepared::of(&topology.catalog, &query).expect("a type of the topology");
    let mut data = "Ask v-bloom and v-twig: both know barns. ".repeat(40);
    data.truncate(ANSWER_BYTES);
    let tags = prepared.entry_tags(&topology.catalog, &query, &data).tags;
    Entry {
        key: prepared.key,
        header: Header {
            log_id: LogId([7; 16]),
            stamp: POSITION,
            called_at: now,
            cached_at: now,
            expires_at: now.plus(Duration::from_hours(24)),
            keep_until: now.plus(Duration::from_hours(48)),
            prompt_tokens: 321,
            completion_tokens: 380,
            cost_usd: Some(0.0021),
            simulated: true,
            tag_hashes: tags.iter().map(Tag::hash).collect(),
        },
        tags: tags.into(),
        model: "simulated-planner".into(),
        data: data.into(),
    }
}

fn hits(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers");
    for format in [Format::Json, Format::Avro] {
        let bench = Bench::new(format, &runtime);
        let mut group = criterion.benchmark_group(format!("hit/{}", format.as_str()));
        let mut number = 0;
        let mut next = move || {
            number += 1;
            number
        };
        let mut memo = KeyMemo::default();
        let (mut answer, mut metric) = (Vec::with_capacity(4096), Vec::with_capacity(1024));
        group.bench_function("whole", |b| {
            b.iter(|| {
                let ask = bench.take(next(), &mut memo);
                let outcome = bench.hit(&ask);
                bench.writer.write(&ask, &outcome, &mut answer, &mut metric);
                black_box((&answer, &metric));
            });
        });
        group.bench_function("decode", |b| {
            b.iter(|| {
                let value = &bench.values[next() % KEYS];
                black_box(bench.reader.decoder.read_query(Some(value)))
            });
        });
        let ask = bench.take(0, &mut KeyMemo::none());
        let outcome = bench.hit(&ask);
        group.bench_function("key", |b| {
            b.iter(|| black_box(Prepared::of(&bench.reader.catalog, black_box(&ask.query))));
        });
        group.bench_function("key, remembered", |b| {
            let mut memo = KeyMemo::default();
            b.iter(|| {
                let query = black_box(&ask.query);
                black_box(Prepared::remembered(
                    &mut memo,
                    &bench.reader.catalog,
                    query,
                ))
            });
        });
        group.bench_function("judge", |b| {
            b.iter(|| black_box(bench.hit(black_box(&ask))));
        });
        group.bench_function("encode", |b| {
            b.iter(|| {
                bench.writer.write(&ask, &outcome, &mut answer, &mut metric);
                black_box((&answer, &metric));
            });
        });
        group.finish();
    }
}

criterion_group!(benches, hits);
criterion_main!(benches);
