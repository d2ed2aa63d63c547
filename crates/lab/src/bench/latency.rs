//! The latency of a hit at a fixed rate: beside the bare loop, or with and without slow misses in
//! flight.

mod report;

use std::time::Duration;

use super::child::{Child, Job};
use super::contestants::{Bare, Samples, Tally, Wedcache, bare_name, blocking, per_million};
use super::drive::{self, Driven, Word};
use super::kafka::{Against, Kafka};
use super::stage::{Setup, Stage, bare_topic};
use super::{Bench, BenchError, Wire, on_runtime, positive, process};
use wedcache::topology::settings::Role;

use report::line;
pub use report::{Line, Percentile, Report, Round};

/// Room for misses and hits in flight, so that no query is delayed by back-pressure.
const IN_FLIGHT: usize = 16_384;
const ALONE: &str = "wedcache, hits alone";
const BESIDE: &str = "wedcache, beside misses";

/// The latency of hits at a fixed rate, beside the bare loop.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub load: Load,
}

/// The latency of hits with and without slow misses in flight.
#[derive(Debug, Clone, clap::Args)]
pub struct MixedOptions {
    #[command(flatten)]
    pub load: Load,
    /// Misses in flight.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub misses: u32,
    /// Time that the provider takes for a miss, in milliseconds.
    #[arg(long, default_value_t = 2000, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub miss_ms: u64,
}

/// The load: queries, rate and duration.
#[derive(Debug, Clone, clap::Args)]
pub struct Load {
    /// Hits a second.
    #[arg(long, default_value_t = 5000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// Measured time of a round, in seconds.
    #[arg(long, default_value_t = 10, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    pub secs: u64,
    /// Seconds before the measured time, to fill the keys and to have the misses in flight.
    #[arg(long, default_value_t = 4, value_name = "S")]
    pub warm_up_secs: u64,
    /// Different cache keys among the hits.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = positive)]
    pub keys: usize,
    /// Poll threads of wedcache; the bare loop has one.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = positive)]
    pub poll_threads: usize,
    /// The format of queries, answers and metrics.
    #[arg(long, default_value = "json", value_enum)]
    pub format: Wire,
    /// Rounds; every contestant runs once in each.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = positive)]
    pub rounds: usize,
    #[command(flatten)]
    pub against: Against,
}

impl Load {
    /// Checks that each key is asked for at least twice before the measured time.
    fn fills_the_keys(&self) -> Result<(), BenchError> {
        let records = usize::try_from(u64::from(self.rate) * self.warm_up_secs);
        let (records, least) = (records.unwrap_or(usize::MAX), 2 * self.keys);
        if records >= least {
            return Ok(());
        }
        Err(BenchError::TooFew {
            records,
            keys: self.keys,
            least,
        })
    }
}

/// A contestant and its load.
#[derive(Debug, Clone)]
struct Contestant {
    name: String,
    misses_per_sec: u32,
    is_bare: bool,
}

/// Runs the scenario beside the bare loop; blocks until the scenario is done.
pub fn run(options: &Options, bench: &Bench) -> Result<Report, BenchError> {
    options.load.fills_the_keys()?;
    let contestants = [
        Contestant {
            name: super::course::wedcache_name(options.load.poll_threads),
            misses_per_sec: 0,
            is_bare: false,
        },
        Contestant {
            name: bare_name(1),
            misses_per_sec: 0,
            is_bare: true,
        },
    ];
    let setup = setup(&options.load, Setup::default().miss_latency);
    on_runtime(rounds(&options.load, &setup, contestants, bench))
}

/// Runs the scenario with and without misses; blocks until the scenario is done.
pub fn run_mixed(options: &MixedOptions, bench: &Bench) -> Result<Report, BenchError> {
    options.load.fills_the_keys()?;
    let per_sec = u64::from(options.misses) * 1000 / options.miss_ms.max(1);
    let contestant = |name: &str, misses_per_sec| Contestant {
        name: name.to_owned(),
        misses_per_sec,
        is_bare: false,
    };
    let contestants = [
        contestant(BESIDE, u32::try_from(per_sec).unwrap_or(u32::MAX)),
        contestant(ALONE, 0),
    ];
    let setup = setup(&options.load, Duration::from_millis(options.miss_ms));
    on_runtime(rounds(&options.load, &setup, contestants, bench))
}

fn setup(load: &Load, miss_latency: Duration) -> Setup {
    Setup {
        format: load.format,
        in_flight: IN_FLIGHT,
        miss_latency,
        ..Setup::default()
    }
}

/// Runs all rounds. The last contestant is the baseline.
async fn rounds(
    load: &Load,
    setup: &Setup,
    contestants: [Contestant; 2],
    bench: &Bench,
) -> Result<Report, BenchError> {
    let kafka = Kafka::start(&load.against, bench)?;
    let mut measured = [const { Vec::<Round>::new() }; 2];
    let mut samples = None;
    for number in 0..load.rounds {
        for (index, contestant) in contestants.iter().enumerate() {
            let rounds = &mut measured[index];
            // Topics of its own, so that no contestant reads the queries of another.
            let name = format!("{number}-{index}");
            let stage = Stage::new(bench, &kafka.bootstrap, setup, &name).await?;
            let run = Run {
                load,
                stage: &stage,
                misses_per_sec: contestant.misses_per_sec,
                bench,
            };
            rounds.push(if contestant.is_bare {
                run.bare(samples.as_ref().ok_or(BenchError::NoSamples)?)
                    .await?
            } else {
                let round = run.wedcache().await?;
                if samples.is_none() {
                    let from = [Role::Answers, Role::Metrics]
                        .map(|role| vec![0; stage.partitions(role).unsigned_abs() as usize]);
                    samples = Some(Samples::read(&stage, from).await?);
                }
                round
            });
        }
    }
    let [first, baseline] = contestants.map(|contestant| contestant.name);
    let [ours, theirs] = measured;
    Ok(Report {
        hits_per_sec: load.rate,
        secs: load.secs,
        keys: load.keys,
        format: load.format,
        rounds: load.rounds,
        embedded_broker: kafka.is_embedded,
        contestants: vec![
            line(first, ours, &theirs),
            line(baseline.clone(), theirs.clone(), &theirs),
        ],
        baseline,
    })
}

/// One contestant's run in one round.
struct Run<'a> {
    load: &'a Load,
    stage: &'a Stage,
    misses_per_sec: u32,
    bench: &'a Bench,
}

/// Values read when the measured time began and when it ended.
struct Between {
    driven: Driven,
    cpu_secs: [Option<f64>; 2],
    tally: Tally,
    calls_in_flight: usize,
}

impl Run<'_> {
    async fn wedcache(&self) -> Result<Round, BenchError> {
        let answers = self.stage.topic(Role::Answers).to_string();
        let running = Wedcache::start(self.stage, self.load.poll_threads).await?;
        let done = self.drive(answers, Some(&running)).await?;
        running.stop().await?;
        Ok(round(&done))
    }

    async fn bare(&self, samples: &Samples) -> Result<Round, BenchError> {
        let answers = bare_topic(&self.stage.topology, Role::Answers);
        let running = Bare::start(self.stage, samples, 1)?;
        let done = self.drive(answers, None).await?;
        running.stop().await?;
        Ok(round(&done))
    }

    async fn drive(
        &self,
        answers: String,
        instance: Option<&Wedcache>,
    ) -> Result<Between, BenchError> {
        let tally = || instance.map_or_else(Tally::default, |of| Tally::of(&of.metrics));
        let job = Job::Drive(drive::Job {
            bootstrap: self.stage.client.bootstrap.clone(),
            queries: self.stage.topic(Role::Queries).to_string(),
            answers,
            partitions: self.stage.partitions(Role::Answers).unsigned_abs() as usize,
            format: self.load.format,
            keys: self.load.keys,
            hits_per_sec: self.load.rate,
            misses_per_sec: self.misses_per_sec,
            warm_up: Duration::from_secs(self.load.warm_up_secs),
            measured: Duration::from_secs(self.load.secs),
        });
        let mut child = Child::start(&self.bench.program, &job)?;
        let mut cpu_secs = [None; 2];
        let mut before = Tally::default();
        let mut after = Tally::default();
        let mut calls_in_flight = 0;
        loop {
            let (back, word) = blocking(move || {
                let word = child.hear();
                (child, word)
            })
            .await?;
            child = back;
            match word? {
                Word::Measuring => {
                    cpu_secs[0] = process::cpu_secs();
                    before = tally();
                }
                Word::Asked => {
                    cpu_secs[1] = process::cpu_secs();
                    after = tally();
                    calls_in_flight = instance.map_or(0, |of| of.resolver.open_flights());
                }
                Word::Done(driven) => {
                    blocking(move || child.finish()).await??;
                    return Ok(Between {
                        driven,
                        cpu_secs,
                        tally: after.since(before),
                        calls_in_flight,
                    });
                }
            }
        }
    }
}

fn round(done: &Between) -> Round {
    let [before, after] = done.cpu_secs;
    Round {
        driven: done.driven,
        cpu_secs_per_million: per_million(before, after, done.driven.asked),
        not_hits: done.tally.not_hits,
        calls_in_flight: done.calls_in_flight,
    }
}
