//! The rate of hits with misses among them: a miss must not slow down the hits around it.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::contestants::Samples;
use super::course::{Course, Line, Window, baseline, beside};
use super::hits::{opens_at, sums, table};
use super::kafka::{Against, Kafka};
use super::queries::Queries;
use super::stage::{Setup, Stage};
use super::{Bench, BenchError, Wire, on_runtime, positive};

const HITS: &str = "wedcache, hits alone";
const MIXED: &str = "wedcache, with misses";
/// The share of answers left out at the end: the last misses would be waited for with nothing else
/// to do.
const TAIL: f64 = 0.03;

/// The rate of hits with slow misses mixed in, beside the rate without.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Queries in a round.
    #[arg(long, default_value_t = 600_000, value_name = "N")]
    pub records: usize,
    /// Different cache keys among the hits.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = positive)]
    pub keys: usize,
    /// One query in this many is a miss.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = positive)]
    pub miss_one_in: usize,
    /// Time that the provider takes for a miss, in milliseconds.
    #[arg(long, default_value_t = 2000, value_name = "MS")]
    pub miss_ms: u64,
    /// Poll threads of wedcache.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = positive)]
    pub poll_threads: usize,
    /// Unfinished queries at which wedcache pauses its intake, and calls at once.
    ///
    /// At 100 000 queries a second, 1 % of misses of 2 s are 2 000 calls at once.
    #[arg(long, default_value_t = 16_384, value_name = "N", value_parser = positive)]
    pub in_flight: usize,
    /// The format of queries, answers and metrics.
    #[arg(long, default_value = "json", value_enum)]
    pub format: Wire,
    /// Rounds; every contestant runs once in each.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = positive)]
    pub rounds: usize,
    #[command(flatten)]
    pub against: Against,
}

/// The figures of a whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub records: usize,
    pub keys: usize,
    pub format: Wire,
    pub poll_threads: usize,
    pub in_flight: usize,
    pub miss_one_in: usize,
    pub miss_ms: u64,
    pub rounds: usize,
    pub embedded_broker: bool,
    /// The contestants; the baseline is wedcache with hits alone.
    pub contestants: Vec<Line>,
}

/// Runs the scenario; blocks until the scenario is done.
pub fn run(options: &Options, bench: &Bench) -> Result<Report, BenchError> {
    let least = opens_at(options.records, options.keys) * 2;
    if options.records < least {
        return Err(BenchError::TooFew {
            records: options.records,
            keys: options.keys,
            least,
        });
    }
    on_runtime(rounds(options, bench))
}

async fn rounds(options: &Options, bench: &Bench) -> Result<Report, BenchError> {
    let kafka = Kafka::start(&options.against, bench)?;
    let setup = Setup {
        format: options.format,
        in_flight: options.in_flight,
        miss_latency: Duration::from_millis(options.miss_ms),
        ..Setup::default()
    };
    let queries = Queries::new(options.keys, options.format, &bench.clock);
    let hits = Stage::new(bench, &kafka.bootstrap, &setup, "hits").await?;
    hits.load(&queries, options.records).await?;
    let mixed = Stage::new(bench, &kafka.bootstrap, &setup, "mixed").await?;
    let queries = queries.with_a_miss_in(options.miss_one_in);
    mixed.load(&queries, options.records).await?;

    let [mut alone, mut among, mut bare] = [const { Vec::<Window>::new() }; 3];
    let mut samples = None;
    for _ in 0..options.rounds {
        let (window, from) = course(options, &hits)
            .wedcache(options.poll_threads)
            .await?;
        alone.push(window);
        let (window, _) = course(options, &mixed)
            .wedcache(options.poll_threads)
            .await?;
        among.push(window);
        let samples = match &mut samples {
            Some(samples) => samples,
            none => none.insert(Samples::read(&hits, from).await?),
        };
        bare.push(course(options, &hits).bare(samples, 1).await?);
    }
    let contestants = vec![
        (HITS.to_owned(), alone),
        (MIXED.to_owned(), among),
        (baseline(), bare),
    ];
    Ok(Report {
        records: options.records,
        keys: options.keys,
        format: options.format,
        poll_threads: options.poll_threads,
        in_flight: options.in_flight,
        miss_one_in: options.miss_one_in,
        miss_ms: options.miss_ms,
        rounds: options.rounds,
        embedded_broker: kafka.is_embedded,
        contestants: beside(HITS, contestants),
    })
}

fn course<'a>(options: &Options, stage: &'a Stage) -> Course<'a> {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count of records"
    )]
    let tail = (options.records as f64 * TAIL) as usize;
    Course {
        stage,
        opens_at: opens_at(options.records, options.keys) as u64,
        closes_at: (options.records - tail) as u64,
        records: options.records as u64,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Hits with one miss of {} ms in {} queries: {} {} queries over {} keys, {} poll\n\
             thread(s), at most {} in flight; medians of {} round(s) in turn, ratios to the hits\n\
             alone (least–most)\n",
            self.miss_ms,
            self.miss_one_in,
            self.records,
            self.format.as_str(),
            self.keys,
            self.poll_threads,
            self.in_flight,
            self.rounds
        )?;
        write!(f, "{}", table(&self.contestants))?;
        let [stale, others, lost] = sums(&self.contestants);
        writeln!(
            f,
            "\nIn the windows: {others} queries that were no hits, {stale} hits labelled stale, {lost} \
             metric\nrecords lost. The rate counts hits alone; processor time is for all answers. \
             The window\ncloses before the last answers, as the last misses would be waited for \
             with nothing to do."
        )?;
        if self.embedded_broker {
            writeln!(
                f,
                "The broker is the embedded one, in a process of its own."
            )?;
        }
        Ok(())
    }
}
