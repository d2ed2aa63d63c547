//! The parts beside the hit path that are asked for every query or every fill.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use wedcache::invalidation::tag_table::Applied;
use wedcache::invalidation::{TagTable, TagTableOptions};
use wedcache::kafka::offsets::Tracker;
use wedcache::model::entry::Header;
use wedcache::model::{Entry, LogId, Mode, Position, Tag, TagHash, Timestamp};
use wedcache::resolver::Flights;
use wedcache::resolver::flight::{Joinable, Part};
use wedcache_lab::bench::entries::{self, Made};

const LOG: LogId = LogId([7; 16]);
const ANSWER_BYTES: usize = 1500;

fn made(stamp: i64) -> Made {
    Made {
        log_id: LOG,
        stamp: Position(stamp),
        at: Timestamp(1_795_341_600_000),
    }
}

fn purge(offset: i64, tag: TagHash) -> Applied {
    Applied {
        offset,
        tag,
        mode: Mode::Purge,
        at: Timestamp(0),
    }
}

/// A table with so many invalidated tags of vendors that nobody names.
fn table(tags: i64) -> TagTable {
    let table = TagTable::new(TagTableOptions::default());
    table.set_log_id(LOG);
    let other = |offset| purge(offset, Tag::vendor("other", &format!("x-{offset}")).hash());
    let records: Vec<_> = (0..tags).map(other).collect();
    table.apply(&records, Position(tags));
    table
}

/// Judging by the lock-free filter alone, and where a record since the stamp shares a slot with
/// one of the entry's tags or hits it.
fn judge(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tag_table");
    for tags in [0, 10_000, 1_000_000] {
        let table = table(tags);
        let header = entries::numbered(7, ANSWER_BYTES, made(tags)).header;
        let asker = [Tag::wedding("vendor_matching", "w-1").hash()];
        let judge = |header: &Header| table.judge(black_box(header), black_box(&asker));
        group.bench_function(BenchmarkId::new("judge/filter", tags), |b| {
            b.iter(|| judge(&header));
        });
        // Stamped before all of them, so that with many tags every slot is newer than the stamp.
        let old = Header {
            stamp: Position(0),
            ..header.clone()
        };
        group.bench_function(BenchmarkId::new("judge/old_stamp", tags), |b| {
            b.iter(|| judge(&old));
        });
        let hit = purge(tags, header.tag_hashes[0]);
        table.apply(&[hit], Position(tags + 1));
        group.bench_function(BenchmarkId::new("judge/purged", tags), |b| {
            b.iter(|| judge(&header));
        });
    }
    let table = table(10_000);
    let mut offset = 10_000;
    group.bench_function("apply", |b| {
        b.iter(|| {
            offset += 1;
            let record = purge(offset, TagHash(offset.unsigned_abs() % 50_000));
            table.apply(&[record], Position(offset + 1));
        });
    });
    group.finish();
}

fn flights(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flights");
    let table = Arc::new(table(0));
    let begin = || (table.open_flight(), Timestamp(0));
    let key = entries::key(1);
    let flights = Flights::<u8>::default();
    let join_or_lead = |key: &_, good| flights.join_or_lead(key, Joinable::Yes, |_| good, begin);
    let lead_and_finish = || match join_or_lead(&key, true) {
        Part::Leader(leader) => leader.finish(1),
        Part::Waiter(_) => panic!("nobody else leads"),
    };
    group.bench_function("lead_and_finish", |b| b.iter(lead_and_finish));
    let others: Vec<_> = (2..2000)
        .map(|number| join_or_lead(&entries::key(number), false))
        .collect();
    group.bench_function("lead_and_finish_beside_2000", |b| b.iter(lead_and_finish));
    let busy = entries::key(2);
    group.bench_function("join", |b| {
        b.iter(|| match join_or_lead(&busy, true) {
            Part::Waiter(flight) => flight,
            Part::Leader(_) => panic!("somebody leads already"),
        });
    });
    drop(others);
    group.finish();
}

/// A thousand records taken in and finished.
fn offsets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("offsets");
    group.throughput(criterion::Throughput::Elements(1000));
    let now = Instant::now();
    group.bench_function("in_order", |b| {
        b.iter_batched_ref(
            || Tracker::new(0),
            |tracker| {
                for offset in 0..1000 {
                    tracker.begin(offset, 600, now);
                    tracker.finish(offset);
                }
            },
            BatchSize::SmallInput,
        );
    });
    // As when deliveries come back in batches of other partitions' order.
    group.bench_function("in_batches_of_100_backwards", |b| {
        b.iter_batched_ref(
            || Tracker::new(0),
            |tracker| {
                for batch in 0..10 {
                    for offset in batch * 100..(batch + 1) * 100 {
                        tracker.begin(offset, 600, now);
                    }
                    for offset in (batch * 100..(batch + 1) * 100).rev() {
                        tracker.finish(offset);
                    }
                }
            },
            BatchSize::SmallInput,
        );
    });
    // Every hundredth waits for the provider while the others go on behind it.
    group.bench_function("with_one_in_100_waiting", |b| {
        b.iter_batched_ref(
            || Tracker::new(0),
            |tracker| {
                for offset in 0..1000 {
                    tracker.begin(offset, 600, now);
                    if offset % 100 != 0 {
                        tracker.finish(offset);
                    }
                }
                black_box(tracker.next_commit())
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn entry(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("entry");
    let entry = entries::numbered(7, ANSWER_BYTES, made(3));
    let bytes = entry.encode();
    group.bench_function("encode", |b| b.iter(|| black_box(&entry).encode()));
    group.bench_function("decode", |b| b.iter(|| Entry::decode(black_box(&bytes))));
    group.bench_function("decode_header", |b| {
        b.iter(|| Header::decode(black_box(&bytes)));
    });
    group.finish();
}

criterion_group!(benches, judge, flights, offsets, entry);
criterion_main!(benches);
