//! `wedcache bench`: measurements of the program, beside a baseline where there is one.

use std::fmt::Display;

use serde::Serialize;

use super::screen::Screen;
use crate::bench::{
    Bench, BenchError, backlog, child, disk, hits, invalidate, latency, mixed, redis_layer,
};
use crate::clock::Clock;

/// Measure hits from Kafka to Kafka beside a bare consume-and-produce loop, or another scenario.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  wedcache bench                                  # hits, on the embedded broker
  wedcache bench --kafka localhost:9092           # better: a real broker
  wedcache bench --kafka localhost:9092 --poll-threads 1,2 --format json,avro --json
  wedcache bench latency --kafka localhost:9092   # p50, p99, p99.9 at 5000 a second
  wedcache bench disk --entries 10000000 --dir /data/bench

On a Kafka of yours it makes topics named bench-<time>-…, keeps their records for an hour and
leaves the topics behind."
)]
pub struct Args {
    #[command(subcommand)]
    scenario: Option<Scenario>,
    #[command(flatten)]
    hits: hits::Options,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Scenario {
    Hits(hits::Options),
    Mixed(mixed::Options),
    Latency(latency::Options),
    LatencyMixed(latency::MixedOptions),
    Backlog(backlog::Options),
    Disk(disk::Options),
    Redis(redis_layer::Options),
    Invalidate(invalidate::Options),
    /// A process beside the one that measures, which reads its job from standard input.
    #[command(hide = true)]
    Worker,
}

pub fn run(args: &Args, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    let bench = Bench {
        program: std::env::current_exe()?,
        clock: Clock::System,
    };
    let mut show = Show {
        screen,
        json: args.json,
    };
    match &args.scenario {
        None => show.report(hits::run(&args.hits, &bench)),
        Some(Scenario::Hits(options)) => show.report(hits::run(options, &bench)),
        Some(Scenario::Mixed(options)) => show.report(mixed::run(options, &bench)),
        Some(Scenario::Latency(options)) => show.report(latency::run(options, &bench)),
        Some(Scenario::LatencyMixed(options)) => show.report(latency::run_mixed(options, &bench)),
        Some(Scenario::Backlog(options)) => show.report(backlog::run(options, &bench)),
        Some(Scenario::Disk(options)) => show.report(disk::run(options, &bench)),
        Some(Scenario::Redis(options)) => show.report(redis_layer::run(options, &bench)),
        Some(Scenario::Invalidate(options)) => show.report(invalidate::run(options, &bench)),
        Some(Scenario::Worker) => Ok(child::work()?),
    }?;
    Ok(0)
}

struct Show<'a, 's> {
    screen: &'a mut Screen<'s>,
    json: bool,
}

impl Show<'_, '_> {
    fn report(
        &mut self,
        report: Result<impl Display + Serialize, BenchError>,
    ) -> anyhow::Result<()> {
        let report = report?;
        if self.json {
            serde_json::to_writer_pretty(&mut *self.screen.out, &report)?;
            writeln!(self.screen.out)?;
        } else {
            write!(self.screen.out, "{report}")?;
        }
        Ok(())
    }
}
