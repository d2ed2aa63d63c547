//! The Redis layer alone: concurrent look-ups over one connection.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use serde::Serialize;

use super::contestants::per_million;
use super::entries::{self, Made};
use super::figures::{Latencies, float, shown_to};
use super::table::Table;
use super::{Bench, BenchError, on_runtime, positive, process};
use wedcache::cache::{Layer as _, Lookup, Redis, RedisOptions};
use wedcache::model::entry::Header;
use wedcache::model::{LogId, Position};

const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// A timeout so long that slow answers are measured instead of given up.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Writes in flight at once.
const FILLS: usize = 128;

/// The Redis layer alone: hits a second by the number of look-ups in flight.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// A Redis to measure, as redis://host:port; the entries are removed afterwards.
    #[arg(long, value_name = "ADDR")]
    pub redis: String,
    /// Entries that are stored.
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = positive)]
    pub entries: usize,
    /// Length of an answer, in bytes.
    #[arg(long, default_value_t = 1500, value_name = "BYTES", value_parser = positive)]
    pub answer_bytes: usize,
    /// Look-ups in flight at once; several counts separated by commas.
    #[arg(long, default_value = "1,64,512", value_name = "N", value_delimiter = ',', value_parser = positive)]
    pub concurrency: Vec<usize>,
    /// Measured time for each of these counts, in seconds.
    #[arg(long, default_value_t = 5, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    pub secs: u64,
}

/// The figures of a whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub entries: usize,
    pub answer_bytes: usize,
    pub fills_per_sec: f64,
    pub runs: Vec<Run>,
}

/// The figures of one number of concurrent look-ups.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Run {
    pub concurrency: usize,
    pub hits_per_sec: f64,
    pub latencies: Option<Latencies>,
    /// Misses and look-ups that failed; 0 is expected.
    pub not_found: u64,
    pub cpu_secs_per_million: Option<f64>,
}

/// Runs the scenario; blocks until the scenario is done.
pub fn run(options: &Options, bench: &Bench) -> Result<Report, BenchError> {
    wedcache::outbound::install_crypto();
    on_runtime(async {
        let redis = connect(options, bench).await?;
        let made = Made {
            log_id: LogId([7; 16]),
            stamp: Position(1),
            at: bench.clock.now(),
        };
        let began = Instant::now();
        let numbers = 0..options.entries as u64;
        let entry = |number| Arc::new(entries::numbered(number, options.answer_bytes, made));
        let mut fills = stream::iter(numbers.clone())
            .map(|number| {
                let (redis, entry) = (Arc::clone(&redis), entry(number));
                async move { redis.put(&entry).await }
            })
            .buffer_unordered(FILLS);
        while let Some(done) = fills.next().await {
            done?;
        }
        drop(fills);
        let fills_per_sec = float(numbers.end) / began.elapsed().as_secs_f64();
        let mut runs = Vec::new();
        for concurrency in &options.concurrency {
            runs.push(look_up(&redis, options, *concurrency).await?);
        }
        remove(&redis, numbers.end, &entry(0).header).await?;
        Ok(Report {
            entries: options.entries,
            answer_bytes: options.answer_bytes,
            fills_per_sec,
            runs,
        })
    })
}

async fn connect(options: &Options, bench: &Bench) -> Result<Arc<Redis>, BenchError> {
    let most = options.concurrency.iter().max().copied().unwrap_or(1);
    let settings = RedisOptions {
        key_prefix: format!("wedcache-bench-{}:", bench.clock.now().0),
        response_timeout: RESPONSE_TIMEOUT,
        max_in_flight: most.max(FILLS),
        ..RedisOptions::new(&options.redis)
    };
    let redis = Arc::new(Redis::start(settings, bench.clock.clone())?);
    let deadline = Instant::now() + CONNECT_WAIT;
    while !redis.is_connected() {
        if Instant::now() > deadline {
            return Err(BenchError::NoRedis {
                address: options.redis.clone(),
                wait: CONNECT_WAIT,
            });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(redis)
}

/// Measures `concurrency` tasks, each with one look-up at a time.
async fn look_up(
    redis: &Arc<Redis>,
    options: &Options,
    concurrency: usize,
) -> Result<Run, BenchError> {
    let (began, cpu) = (Instant::now(), process::cpu_secs());
    let until = began + Duration::from_secs(options.secs);
    let tasks: Vec<_> = (0..concurrency as u64)
        .map(|seed| {
            let (redis, entries) = (Arc::clone(redis), options.entries as u64);
            tokio::spawn(async move {
                let mut rng = fastrand::Rng::with_seed(seed);
                let (mut nanos, mut not_found) = (Vec::new(), 0_u64);
                while Instant::now() < until {
                    let key = entries::key(rng.u64(..entries));
                    let asked = Instant::now();
                    let found = redis.get(&key).await;
                    nanos.push(u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX));
                    not_found += u64::from(!matches!(found, Lookup::Hit(_)));
                }
                (nanos, not_found)
            })
        })
        .collect();
    let (mut nanos, mut not_found) = (Vec::new(), 0);
    for task in tasks {
        let (of_task, missed) = task.await.map_err(std::io::Error::other)?;
        nanos.extend(of_task);
        not_found += missed;
    }
    let looked_up = nanos.len() as u64;
    Ok(Run {
        concurrency,
        hits_per_sec: float(looked_up - not_found) / began.elapsed().as_secs_f64(),
        cpu_secs_per_million: per_million(cpu, process::cpu_secs(), looked_up),
        latencies: Latencies::of(nanos),
        not_found,
    })
}

async fn remove(redis: &Redis, entries: u64, header: &Header) -> Result<(), BenchError> {
    let mut removals = stream::iter(0..entries)
        .map(|number| async move {
            let key = entries::key(number);
            redis.remove(&key, header).await
        })
        .buffer_unordered(FILLS);
    while let Some(done) = removals.next().await {
        done?;
    }
    Ok(())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "The Redis layer alone: {} entries with answers of {} bytes, filled at {:.0} a second\n",
            self.entries, self.answer_bytes, self.fills_per_sec
        )?;
        let head = [
            "look-ups at once",
            "hits/s",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "CPU s per million",
            "not found",
        ];
        let mut table = Table::new(head);
        for run in &self.runs {
            let of =
                |figure: fn(&Latencies) -> f64| shown_to(run.latencies.as_ref().map(figure), 2);
            table.row([
                run.concurrency.to_string(),
                format!("{:.0}", run.hits_per_sec),
                of(|of| of.p50_ms),
                of(|of| of.p99_ms),
                of(|of| of.p999_ms),
                shown_to(run.cpu_secs_per_million, 1),
                run.not_found.to_string(),
            ]);
        }
        writeln!(
            f,
            "{table}\nOne connection; a look-up that is asked for while others are on their way is \
             sent with\nthem. Processor time is this process's, decoding of the entries included."
        )
    }
}
