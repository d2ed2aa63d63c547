//! The hit path in process: a query record's bytes in, the bytes of answer and metric out.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use wedcache::cache::{LayeredOptions, Layers, Memory, MemoryOptions};
use wedcache::clock::Clock;
use wedcache::codec::{Decoder, Encoder, Framings, Schemas};
use wedcache::invalidation::{TagTable, TagTableOptions};
use wedcache::metrics::Metrics;
use wedcache::model::entry::Header;
use wedcache::model::record::RecordId;
use wedcache::model::{CacheMetric, Entry, LogId, Position, Tag, TraceParent};
use wedcache::pipeline::query::{AnswerWriter, QueryReader, Taken};
use wedcache::resolver::{Ask, Lag, MetricSink, Outcome, Parts, Resolver};
use wedcache::topology::{self, Variables};

const QUERY: &str = r#"{"queryId":"q-81","query":{"type":"vendor_matching","content":"Which florist fits a barn wedding for a hundred guests in early summer? Is v-17 free then, and who else would suit our style and budget?","vendorTypes":["florist"],"vendorIds":["v-17"],"userId":"u-5"},"weddingContext":{"weddingId":"w-9","location":{"city":"Austin","state":"TX","country":"US"},"weddingDate":"2027-06-12","budgetRange":"moderate","weddingStyle":"rustic","guestCount":120,"vendorPreferences":["photographer"]},"options":{"bypassCache":false},"askedAt":"2026-11-22T10:00:00Z"}"#;

struct Nowhere;

impl MetricSink for Nowhere {
    fn emit(&self, metric: &CacheMetric<'_>, _: TraceParent) {
        black_box(metric);
    }
}

struct Rig {
    reader: QueryReader,
    writer: AnswerWriter,
    resolver: Arc<Resolver>,
}

fn rig(runtime: &tokio::runtime::Runtime) -> Rig {
    let text = include_str!("../topologies/demo.yaml");
    let topology = topology::read("demo.yaml", text, Variables::From(&|_| None))
        .map_err(|problems| problems.to_string())
        .expect("the shipped topology is valid")
        .topology;
    let catalog = Arc::clone(&topology.catalog);
    let table = Arc::new(TagTable::new(TagTableOptions::default()));
    table.set_log_id(LogId([7; 16]));
    let metrics = Arc::new(Metrics::new(
        catalog.types().iter().map(|of| Arc::clone(&of.name)),
    ));
    let memory = Memory::new(&MemoryOptions::default());
    let reader = QueryReader {
        decoder: Arc::new(Decoder::new(Arc::new(Schemas::embedded()), 1 << 20)),
        catalog: Arc::clone(&catalog),
        table: Arc::clone(&table),
        clock: Clock::System,
    };
    memory.put(&Arc::new(entry(&reader, &ask(&reader))));
    let writer = AnswerWriter {
        encoder: Arc::new(Encoder::new(Framings::default())),
        catalog: Arc::clone(&catalog),
        metrics: Arc::clone(&metrics),
        clock: Clock::System,
    };
    let resolver = Arc::new(Resolver::new(Parts {
        catalog,
        layers: Layers::new(Some(memory), None, None, LayeredOptions::default()),
        table,
        lag: Arc::new(Lag::default()),
        models: HashMap::new(),
        clock: Clock::System,
        sink: Arc::new(Nowhere),
        metrics,
        runtime: runtime.handle().clone(),
    }));
    Rig {
        reader,
        writer,
        resolver,
    }
}

fn ask(reader: &QueryReader) -> Ask {
    let id = || RecordId::derive("bench", "query");
    match reader.take(Some(QUERY.as_bytes()), id, None) {
        Taken::Ask(ask) => *ask,
        other => panic!("the query is good: {other:?}"),
    }
}

/// An answer of 1.5 KB, fresh for a day.
fn entry(reader: &QueryReader, ask: &Ask) -> Entry {
    let data = "Peonies and garden roses suit a barn in June. ".repeat(33);
    let tags = ask
        .prepared
        .entry_tags(&reader.catalog, &ask.query, &data)
        .tags;
    let now = Clock::System.now();
    let day = std::time::Duration::from_hours(24);
    Entry {
        key: ask.prepared.key.clone(),
        header: Header {
            log_id: LogId([7; 16]),
            stamp: Position(1),
            called_at: now,
            cached_at: now,
            expires_at: now.plus(day),
            keep_until: now.plus(day),
            prompt_tokens: 300,
            completion_tokens: 400,
            cost_usd: Some(0.002),
            simulated: false,
            tag_hashes: tags.iter().map(Tag::hash).collect(),
        },
        tags: tags.into(),
        model: "gpt-4o-mini".into(),
        data: data.into(),
    }
}

fn hit(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let rig = rig(&runtime);
    let (mut answer, mut metric) = (Vec::with_capacity(8192), Vec::with_capacity(1024));
    let taken = ask(&rig.reader);
    let outcome = Outcome::Hit(rig.resolver.hit(&taken).expect("the entry is there"));

    let mut group = criterion.benchmark_group("hit");
    group.bench_function("whole: decode, key, look up, judge, encode both", |bench| {
        bench.iter(|| {
            let ask = ask(&rig.reader);
            let outcome = Outcome::Hit(rig.resolver.hit(&ask).expect("a hit"));
            rig.writer.write(&ask, &outcome, &mut answer, &mut metric);
            black_box((&answer, &metric));
        });
    });
    group.bench_function("decode", |bench| {
        bench.iter(|| black_box(rig.reader.decoder.decode_query(Some(QUERY.as_bytes()))));
    });
    group.bench_function("decode and key", |bench| {
        bench.iter(|| black_box(ask(&rig.reader)));
    });
    group.bench_function("look up and judge", |bench| {
        bench.iter(|| black_box(rig.resolver.hit(&taken)));
    });
    group.bench_function("encode answer and metric", |bench| {
        bench.iter(|| rig.writer.write(&taken, &outcome, &mut answer, &mut metric));
    });
    group.finish();
}

criterion_group!(benches, hit);
criterion_main!(benches);
