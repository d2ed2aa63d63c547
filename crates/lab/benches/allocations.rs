//! How many allocations a hit makes, as a whole and part by part; apart from the timings, since
//! counting takes time.

mod support;

use std::hint::black_box;

use allocation_counter::measure;
use wedcache::model::{KeyMemo, Prepared};
use wedcache_lab::bench::Wire;
use wedcache_lab::bench::figures::float;

use support::{HitPath, KEYS};

/// Hits that are counted, after as many that warm up.
const HITS: usize = 10 * KEYS;

#[expect(clippy::print_stdout, reason = "the figures are what this is for")]
fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers");
    println!("{:<12}{:>24}{:>12}", "format", "allocations a hit", "bytes");
    for format in [Wire::Json, Wire::Avro] {
        let path = HitPath::new(format, &runtime);
        let mut memo = KeyMemo::default();
        let mut answer = Vec::with_capacity(4096);
        let mut number = 0;
        let mut row = |part: &str, work: &mut dyn FnMut(usize)| {
            let mut all = || {
                for _ in 0..HITS {
                    number += 1;
                    work(number);
                }
            };
            all();
            let made = measure(all);
            let each = |count: u64| float(count) / float(HITS as u64);
            let name = format!("{} {part}", format.as_str());
            let (count, bytes) = (each(made.count_total), each(made.bytes_total));
            println!("{name:<20}{count:>16.2}{bytes:>12.0}");
        };
        row("whole", &mut |number| {
            let ask = path.take(number, &mut memo);
            let outcome = path.hit(&ask);
            path.answer(&ask, &outcome, &mut answer);
            black_box(&answer);
        });
        row("decode", &mut |number| {
            let value = &path.values[number % KEYS];
            black_box(path.reader.decoder.read_query(Some(value)));
        });
        let ask = path.take(0, &mut KeyMemo::none());
        let outcome = path.hit(&ask);
        row("key", &mut |_| {
            black_box(Prepared::of(&ask.policy.catalog, black_box(&ask.query))).ok();
        });
        row("judge", &mut |_| {
            black_box(path.hit(black_box(&ask)));
        });
        row("encode", &mut |_| {
            path.answer(&ask, &outcome, &mut answer);
            black_box(&answer);
        });
    }
}
