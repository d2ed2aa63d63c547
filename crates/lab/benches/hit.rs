//! A hit in the memory layer without Kafka: what a poll thread does between taking a record and
//! handing two to the producers, as a whole and part by part.

mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use wedcache::model::{KeyMemo, Prepared};
use wedcache_lab::bench::Wire;

use support::{HitPath, KEYS};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn hits(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers");
    for format in [Wire::Json, Wire::Avro] {
        let bench = HitPath::new(format, &runtime);
        let mut group = criterion.benchmark_group(format!("hit/{}", format.as_str()));
        let mut number = 0;
        let mut next = move || {
            number += 1;
            number
        };
        let mut memo = KeyMemo::default();
        let mut answer = Vec::with_capacity(4096);
        group.bench_function("whole", |b| {
            b.iter(|| {
                let ask = bench.take(next(), &mut memo);
                let outcome = bench.hit(&ask);
                bench.answer(&ask, &outcome, &mut answer);
                black_box(&answer);
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
            b.iter(|| black_box(Prepared::of(&ask.policy.catalog, black_box(&ask.query))));
        });
        group.bench_function("key, remembered", |b| {
            let mut memo = KeyMemo::default();
            b.iter(|| {
                let query = black_box(&ask.query);
                black_box(Prepared::remembered(&mut memo, &ask.policy.catalog, query))
            });
        });
        group.bench_function("judge", |b| {
            b.iter(|| black_box(bench.hit(black_box(&ask))));
        });
        group.bench_function("encode", |b| {
            b.iter(|| {
                bench.answer(&ask, &outcome, &mut answer);
                black_box(&answer);
            });
        });
        group.finish();
    }
}

criterion_group!(benches, hits);
criterion_main!(benches);
