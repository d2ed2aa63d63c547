//! The child process that works on the folder.

use std::io::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;

use super::{Job, Step};
use crate::bench::entries::{self, Made};
use crate::bench::figures::{Latencies, float};
use crate::bench::{BenchError, child, process};
use wedcache::cache::{Disk, DiskOptions, Layer as _, LayerError, Lookup};
use wedcache::clock::Clock;
use wedcache::model::{Entry, LogId, Position};

/// Writes in flight at once: as many as a busy instance has, and fewer than the queue holds.
const CONCURRENT: usize = 512;
const SAMPLE: u64 = 10_000;
const TELL_EVERY: u64 = 1000;
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// The seed of the sample; any number does.
const SEED: u64 = 42;

/// A message of the process to its parent, one for each step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Word {
    /// The layer is open.
    Ready,
    Filled(Filled),
    Read(Read),
    Checked(Checked),
    /// All entries with lower numbers are acknowledged.
    Acknowledged {
        entries: u64,
    },
    Closed {
        peak_bytes: Option<u64>,
    },
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Filled {
    pub entries: u64,
    /// Seconds until all entries were flushed.
    pub secs: f64,
    /// Mean size of an entry's binary form, in bytes.
    pub mean_stored_bytes: f64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Read {
    pub hits_per_sec: f64,
    pub latencies: Option<Latencies>,
    pub not_found: u64,
    pub resident_bytes: Option<u64>,
}

/// A sample of entries compared with what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checked {
    pub looked_at: u64,
    /// Entries of the round asked for, or a later one.
    pub as_it_was: u64,
    pub older: u64,
    pub gone: u64,
}

/// Opens the folder, runs the steps, closes it. Blocks until that is done.
pub fn run(job: &Job) -> Result<(), BenchError> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let options = DiskOptions {
            page_cache_bytes: job.page_cache,
            max_bytes: u64::MAX,
            ..DiskOptions::new(&job.path)
        };
        let disk = Disk::open(options, Clock::System).await?;
        child::say(&Word::Ready)?;
        for step in &job.steps {
            take(step, &disk, job.answer_bytes).await?;
        }
        disk.close().await;
        child::say(&Word::Closed {
            peak_bytes: process::peak_bytes(),
        })
    })
}

async fn take(step: &Step, disk: &Disk, bytes: usize) -> Result<(), BenchError> {
    match step {
        Step::Fill { numbers, round } => {
            let filled = fill(disk, numbers, *round, bytes).await?;
            child::say(&Word::Filled(filled))
        }
        Step::Read {
            numbers,
            threads,
            time,
        } => child::say(&Word::Read(read(disk, numbers, *threads, *time))),
        Step::Check { numbers, round } => child::say(&Word::Checked(check(disk, numbers, *round)?)),
        Step::FillUntilKilled { numbers, round } => {
            fill_until_killed(disk, numbers, *round, bytes).await
        }
    }
}

async fn fill(
    disk: &Disk,
    numbers: &Range<u64>,
    round: i64,
    bytes: usize,
) -> Result<Filled, BenchError> {
    let (began, made) = (Instant::now(), made(round));
    let entry = |number| Arc::new(entries::numbered(number, bytes, made));
    let mut writes = stream::iter(numbers.clone())
        .map(|number| put(disk, entry(number)))
        .buffer_unordered(CONCURRENT);
    let (mut entries, mut told) = (0, Instant::now());
    while let Some(done) = writes.next().await {
        done?;
        entries += 1;
        if told.elapsed() > PROGRESS_EVERY {
            told = Instant::now();
            progress(entries, numbers.end - numbers.start)?;
        }
    }
    let secs = began.elapsed().as_secs_f64();
    let sample = numbers.clone().take(1000);
    let stored: usize = sample.clone().map(|n| entry(n).encode().len()).sum();
    Ok(Filled {
        entries,
        secs,
        mean_stored_bytes: float(stored as u64) / float(sample.count() as u64).max(1.0),
    })
}

async fn fill_until_killed(
    disk: &Disk,
    numbers: &Range<u64>,
    round: i64,
    bytes: usize,
) -> Result<(), BenchError> {
    let made = made(round);
    // `buffered` yields in order, so that all entries below the last one are acknowledged too.
    let mut writes = stream::iter(numbers.clone())
        .map(|number| put(disk, Arc::new(entries::numbered(number, bytes, made))))
        .buffered(CONCURRENT);
    let mut entries = 0;
    while let Some(done) = writes.next().await {
        done?;
        entries += 1;
        if entries % TELL_EVERY == 0 {
            child::say(&Word::Acknowledged { entries })?;
        }
    }
    drop(writes);
    // All entries are written, and the parent has not killed this process yet.
    loop {
        child::say(&Word::Acknowledged { entries })?;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn put(disk: &Disk, entry: Arc<Entry>) -> Result<(), LayerError> {
    disk.put(&entry).await.map(drop)
}

fn read(disk: &Disk, numbers: &Range<u64>, threads: usize, time: Duration) -> Read {
    let began = Instant::now();
    let read = |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut nanos, mut not_found) = (Vec::new(), 0_u64);
        while began.elapsed() < time && !numbers.is_empty() {
            let key = entries::key(rng.u64(numbers.clone()));
            let asked = Instant::now();
            let found = disk.get_blocking(&key);
            nanos.push(u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX));
            not_found += u64::from(!matches!(found, Lookup::Hit(_)));
        }
        (nanos, not_found)
    };
    let done: Vec<(Vec<u64>, u64)> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads as u64)
            .map(|seed| scope.spawn(move || read(seed)))
            .collect();
        let joined = running.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined
            .map(|of| of.expect("reading does not panic"))
            .collect()
    });
    let secs = began.elapsed().as_secs_f64();
    let not_found = done.iter().map(|(_, not_found)| not_found).sum();
    let nanos: Vec<u64> = done.into_iter().flat_map(|(nanos, _)| nanos).collect();
    let hits = (nanos.len() as u64).saturating_sub(not_found);
    Read {
        hits_per_sec: float(hits) / secs,
        latencies: Latencies::of(nanos),
        not_found,
        resident_bytes: process::resident_bytes(),
    }
}

fn check(disk: &Disk, numbers: &Range<u64>, round: i64) -> Result<Checked, LayerError> {
    let mut rng = fastrand::Rng::with_seed(SEED);
    let mut checked = Checked::default();
    let many = numbers.end.saturating_sub(numbers.start);
    for nth in 0..many.min(SAMPLE) {
        let number = if many <= SAMPLE {
            numbers.start + nth
        } else {
            rng.u64(numbers.clone())
        };
        checked.looked_at += 1;
        match disk.get_blocking(&entries::key(number)) {
            Lookup::Hit(entry) if entry.header.stamp.0 >= round => checked.as_it_was += 1,
            Lookup::Hit(_) => checked.older += 1,
            Lookup::Miss => checked.gone += 1,
            Lookup::Unavailable(error) => return Err(error),
        }
    }
    Ok(checked)
}

fn made(round: i64) -> Made {
    Made {
        log_id: LogId([7; 16]),
        stamp: Position(round),
        at: Clock::System.now(),
    }
}

fn progress(done: u64, of: u64) -> std::io::Result<()> {
    let mut screen = std::io::stderr().lock();
    writeln!(screen, "{done} of {of} entries")
}
