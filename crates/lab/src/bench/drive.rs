//! Asks queries at a fixed rate and waits for the answers, in a process of its own.
//!
//! The latency of a query counts from when it was due at that rate, not from when this process sent
//! it, until its answer is read from the answers topic; both times are this process's clock. So a
//! pause anywhere shows in all queries that it delays. Query and answer are matched by the record's
//! key, which every contestant copies.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;

use super::figures::Latencies;
use super::queries::Queries;
use super::{BenchError, Wire, child};
use wedcache::clock::Clock;
use wedcache::kafka::bare::Reader;
use wedcache::kafka::{ClientOptions, Delivery, IntakeOptions, OutRecord, Output, OutputOptions};

/// The delay before the first query is due, so that the reader has started by then.
const SETTLE: Duration = Duration::from_millis(500);
/// The time that answers are waited for after the last query was due.
const PATIENCE: Duration = Duration::from_secs(15);
const POLL_WAIT: Duration = Duration::from_millis(50);
const ROOM_WAIT: Duration = Duration::from_secs(5);
const FLUSH_WAIT: Duration = Duration::from_secs(10);
/// Shorter than a producer's default, so that the latencies are the contestant's and not ours.
const LINGER: Duration = Duration::from_millis(1);

/// The queries to ask, their topics, and the rate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    pub bootstrap: String,
    pub queries: String,
    pub answers: String,
    /// The number of partitions of the answers topic.
    pub partitions: usize,
    pub format: Wire,
    pub keys: usize,
    /// Queries a second that are hits once their keys are filled.
    pub hits_per_sec: u32,
    /// Additional queries a second that nobody has asked before.
    pub misses_per_sec: u32,
    /// The time before the measurement, in which the keys are filled.
    pub warm_up: Duration,
    pub measured: Duration,
}

/// A message of the process to its parent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Word {
    /// The first measured query is due.
    Measuring,
    /// The last measured query has been sent.
    Asked,
    Done(Driven),
}

/// The results of the measured time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Driven {
    pub asked: u64,
    /// Queries not answered within 15 s after the last one was due.
    pub unanswered: u64,
    /// Latencies of the hits; `None` if no answer came.
    pub hits: Option<Latencies>,
    pub misses: Option<Latencies>,
    /// Delays between when a query was due and when this process had sent it.
    pub late: Option<Latencies>,
}

/// The times at which the queries are due, and the misses among them.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    start: Instant,
    per_sec: u32,
    /// Every n-th query is a miss; 0 means none.
    miss_every: usize,
    first_measured: usize,
    total: usize,
}

impl Schedule {
    fn new(job: &Job, start: Instant) -> Self {
        let per_sec = (job.hits_per_sec + job.misses_per_sec).max(1);
        let within = |time: Duration| {
            let count = time.as_millis() * u128::from(per_sec) / 1000;
            usize::try_from(count).unwrap_or(usize::MAX)
        };
        let miss_every = per_sec.checked_div(job.misses_per_sec).unwrap_or(0);
        Self {
            start,
            per_sec,
            miss_every: miss_every as usize,
            first_measured: within(job.warm_up),
            total: within(job.warm_up + job.measured),
        }
    }

    fn due(&self, number: usize) -> Instant {
        let nanos = number as u64 * 1_000_000_000 / u64::from(self.per_sec);
        self.start + Duration::from_nanos(nanos)
    }
}

/// Runs the child's side: asks, reads, and reports to the parent. Blocks until that is done.
pub fn run(job: &Job) -> Result<(), BenchError> {
    let client = ClientOptions::new(&job.bootstrap, "bench-drive");
    let input = IntakeOptions::new(client.clone(), "bench-drive", vec![job.answers.clone()]);
    let reader = Reader::new(&input, &vec![0; job.partitions])?;
    let output = Output::new(&OutputOptions {
        linger: LINGER,
        ..OutputOptions::new(client)
    })?;
    let schedule = Schedule::new(job, Instant::now() + SETTLE);
    let queries = Queries::new(job.keys, job.format, &Clock::System);
    let queries = queries.with_a_miss_in(schedule.miss_every);
    let read = {
        let queries = queries.clone();
        std::thread::Builder::new()
            .name("read".to_owned())
            .spawn(move || Answers::new(schedule, queries).read(&reader))?
    };
    let late = ask(job, &schedule, &queries, &output)?;
    child::say(&Word::Asked)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(output.flush(FLUSH_WAIT));
    let answers = read
        .join()
        .map_err(|_| std::io::Error::other("the reading thread panicked"))?;
    child::say(&Word::Done(answers.driven(late)))
}

/// Sends every query when it is due; returns how late each measured one was, in nanoseconds.
fn ask(
    job: &Job,
    schedule: &Schedule,
    queries: &Queries,
    output: &Output,
) -> Result<Vec<u64>, BenchError> {
    let mut late = Vec::with_capacity(schedule.total - schedule.first_measured);
    for number in 0..schedule.total {
        let (_, value) = queries.record(number);
        let key = number.to_string();
        let due = schedule.due(number);
        let wait = due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        if number == schedule.first_measured {
            child::say(&Word::Measuring)?;
        }
        let record = OutRecord::to(&job.queries, Some(key.as_bytes()), Some(&value));
        if let Err(refused) = output.send_or_wait(&record, Delivery::Forget, ROOM_WAIT) {
            tracing::error!(reason = %refused.reason, "a query was refused");
        }
        if number >= schedule.first_measured {
            late.push(nanos_since(due));
        }
    }
    Ok(late)
}

/// The answers read so far.
struct Answers {
    schedule: Schedule,
    queries: Queries,
    seen: Vec<bool>,
    missing: usize,
    hits: Vec<u64>,
    misses: Vec<u64>,
}

impl Answers {
    fn new(schedule: Schedule, queries: Queries) -> Self {
        Self {
            seen: vec![false; schedule.total],
            missing: schedule.total,
            hits: Vec::with_capacity(schedule.total),
            misses: Vec::new(),
            schedule,
            queries,
        }
    }

    /// Reads until every query is answered or [`PATIENCE`] has passed since the last was due.
    fn read(mut self, reader: &Reader) -> Self {
        let deadline = self.schedule.due(self.schedule.total) + PATIENCE;
        while self.missing > 0 && Instant::now() < deadline {
            if let Some(record) = reader.next(POLL_WAIT) {
                self.take(&record.key);
            }
        }
        self
    }

    fn take(&mut self, key: &[u8]) {
        let number = std::str::from_utf8(key)
            .ok()
            .and_then(|key| key.parse().ok());
        let Some(number) = number.filter(|number| *number < self.seen.len()) else {
            return;
        };
        // An answer may come twice; only the first one ends the wait for it.
        if std::mem::replace(&mut self.seen[number], true) {
            return;
        }
        self.missing -= 1;
        if number < self.schedule.first_measured {
            return;
        }
        let took = nanos_since(self.schedule.due(number));
        if self.queries.is_miss(number) {
            self.misses.push(took);
        } else {
            self.hits.push(took);
        }
    }

    fn driven(self, late: Vec<u64>) -> Driven {
        let asked = late.len() as u64;
        let answered = (self.hits.len() + self.misses.len()) as u64;
        Driven {
            asked,
            unanswered: asked.saturating_sub(answered),
            hits: Latencies::of(self.hits),
            misses: Latencies::of(self.misses),
            late: Latencies::of(late),
        }
    }
}

fn nanos_since(due: Instant) -> u64 {
    u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(misses_per_sec: u32) -> Job {
        Job {
            bootstrap: String::new(),
            queries: String::new(),
            answers: String::new(),
            partitions: 1,
            format: Wire::Json,
            keys: 10,
            hits_per_sec: 900,
            misses_per_sec,
            warm_up: Duration::from_secs(1),
            measured: Duration::from_secs(2),
        }
    }

    #[test]
    fn queries_are_due_at_the_rate_and_misses_come_evenly() {
        let start = Instant::now();
        let schedule = Schedule::new(&job(100), start);
        assert_eq!((schedule.first_measured, schedule.total), (1000, 3000));
        assert_eq!(schedule.due(500), start + Duration::from_millis(500));
        assert_eq!(schedule.miss_every, 10);
        assert_eq!(Schedule::new(&job(0), start).miss_every, 0);
    }

    #[test]
    fn each_query_counts_once_under_its_kind_and_the_warm_up_does_not() {
        let schedule = Schedule::new(&job(100), Instant::now());
        let queries = Queries::new(10, Wire::Json, &Clock::System);
        let mut answers = Answers::new(schedule, queries.with_a_miss_in(schedule.miss_every));
        for key in ["999", "1000", "1001", "1001", "3000", "x"] {
            answers.take(key.as_bytes());
        }
        let driven = answers.driven(vec![0; 2000]);
        assert_eq!(driven.hits.map(|of| of.count), Some(1));
        assert_eq!(driven.misses.map(|of| of.count), Some(1));
        assert_eq!((driven.asked, driven.unanswered), (2000, 1998));
    }
}
