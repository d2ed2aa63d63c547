//! `wedcache bench`: how fast hits are, and beside what.

use super::screen::Screen;
use crate::bench::{self, Options};
use crate::clock::Clock;
use crate::topology::settings::Format;

/// Measure hits from Kafka to Kafka beside a bare consume-and-produce loop.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wedcache bench                                  # on the embedded broker
  wedcache bench --kafka localhost:9092           # better: the broker is another process
  wedcache bench --kafka localhost:9092 --poll-threads 2 --format avro --json

On a Kafka of yours it makes topics named bench-<time>.…, keeps their records for an hour and
leaves the topics behind.")]
pub struct Args {
    /// Queries of a round.
    #[arg(long, default_value_t = 200_000, value_name = "N")]
    records: usize,
    /// Different cache keys among them.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = positive)]
    keys: usize,
    /// Poll threads of wedcache; the bare loop has one.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = positive)]
    poll_threads: usize,
    /// Unfinished queries at which wedcache pauses its intake; by default as production does.
    #[arg(long, default_value_t = 4096, value_name = "N", value_parser = positive)]
    in_flight: usize,
    /// Of queries, answers and metrics.
    #[arg(long, default_value = "json", value_enum)]
    format: Wire,
    /// A Kafka to measure against, as host:port; by default the embedded broker.
    #[arg(long, value_name = "ADDR")]
    kafka: Option<String>,
    /// How often both are measured, in turn.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = positive)]
    rounds: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Wire {
    Json,
    /// Single objects, which need no registry.
    Avro,
}

pub fn run(args: &Args, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
    let options = Options {
        records: args.records,
        keys: args.keys,
        poll_threads: args.poll_threads,
        in_flight: args.in_flight,
        format: match args.format {
            Wire::Json => Format::Json,
            Wire::Avro => Format::Avro,
        },
        kafka: args.kafka.clone(),
        rounds: args.rounds,
    };
    let report = bench::run(&options, &Clock::System)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *screen.out, &report)?;
        writeln!(screen.out)?;
    } else {
        write!(screen.out, "{report}")?;
    }
    Ok(0)
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}
