//! The command line: a command for each scenario, and `simulate`.

mod simulate;

use std::fmt::Display;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;
use wedcache::cli::screen::Screen;
use wedcache::cli::{LogArgs, execute, version};
use wedcache::clock::Clock;

use crate::bench::{Bench, backlog, child, disk, hits, invalidate, latency, mixed, redis_layer};

/// Measures wedcache beside a baseline, and simulates a year of the platform that asks it.
#[derive(Debug, Parser)]
#[command(
    name = "wedcache-lab",
    version,
    long_version = version::long(),
    propagate_version = true,
    after_help = "Examples:
  wedcache-lab hits                               # on the embedded broker
  wedcache-lab hits --kafka localhost:9092        # better: a real broker
  wedcache-lab hits --kafka localhost:9092 --poll-threads 1,2 --format json,avro --json
  wedcache-lab latency --kafka localhost:9092     # p50, p99, p99.9 at 5000 a second
  wedcache-lab disk --entries 10000000 --dir /data/bench
  wedcache-lab simulate --quick                   # a wedding season in seconds

On a Kafka of yours a benchmark makes topics named bench-<time>-…, keeps their records for an hour
and leaves the topics behind. Measure with a release build."
)]
pub struct Cli {
    #[command(flatten)]
    log: LogArgs,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Hits(hits::Options),
    Mixed(mixed::Options),
    Latency(latency::Options),
    LatencyMixed(latency::MixedOptions),
    Backlog(backlog::Options),
    Disk(disk::Options),
    Redis(redis_layer::Options),
    Invalidate(invalidate::Options),
    Simulate(simulate::Args),
    /// A process beside the one that measures, which reads its job from standard input.
    #[command(hide = true)]
    Worker,
}

/// Reads the command line and runs the command that it names.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    execute(|screen| cli.run(screen))
}

impl Cli {
    fn run(&self, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
        self.log.install_for_report()?;
        let bench = Bench {
            program: std::env::current_exe()?,
            clock: Clock::System,
        };
        let mut show = Show {
            screen,
            json: self.json,
        };
        match &self.command {
            Command::Hits(options) => show.report(&hits::run(options, &bench)?)?,
            Command::Mixed(options) => show.report(&mixed::run(options, &bench)?)?,
            Command::Latency(options) => show.report(&latency::run(options, &bench)?)?,
            Command::LatencyMixed(options) => show.report(&latency::run_mixed(options, &bench)?)?,
            Command::Backlog(options) => show.report(&backlog::run(options, &bench)?)?,
            Command::Disk(options) => show.report(&disk::run(options, &bench)?)?,
            Command::Redis(options) => show.report(&redis_layer::run(options, &bench)?)?,
            Command::Invalidate(options) => show.report(&invalidate::run(options, &bench)?)?,
            Command::Simulate(args) => return simulate::run(args, &mut show),
            Command::Worker => child::work()?,
        }
        Ok(0)
    }
}

/// The screen, and the form in which reports are shown on it.
struct Show<'a, 's> {
    screen: &'a mut Screen<'s>,
    json: bool,
}

impl Show<'_, '_> {
    fn report(&mut self, report: &(impl Display + Serialize)) -> anyhow::Result<()> {
        if self.json {
            let json = serde_json::to_string_pretty(report)?;
            writeln!(self.screen.out, "{json}")?;
        } else {
            write!(self.screen.out, "{report}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn every_commands_arguments_can_be_told_apart() {
        super::Cli::command().debug_assert();
    }
}
