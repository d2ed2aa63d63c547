//! The benchmarks: measurements of the program, each figure beside a baseline.
//!
//! One file for each scenario: [`hits`] (from Kafka to Kafka, beside a loop that only consumes and
//! produces), [`mixed`] (hits with misses among them), [`latency`] (at a fixed rate, beside the
//! bare loop; and beside misses in flight), [`backlog`], [`disk`], [`redis_layer`], [`invalidate`].
//! Contestants take turns in the same process, several rounds; the broker, and the load generator
//! that asks at a fixed rate, are child processes ([`child`]).
//!
//! Shared by the scenarios: [`queries`], [`varied`] and [`entries`] (generated queries and answers),
//! `stage` (topics in a cluster), `contestants`, `course` (a topic full of queries against the
//! clock), `drive` (asking at a rate), [`process`] (processor time and memory used), [`figures`]
//! and `table`.

pub mod backlog;
pub mod child;
mod contestants;
mod course;
pub mod disk;
pub mod drive;
pub mod entries;
pub mod figures;
pub mod hits;
pub mod invalidate;
pub mod kafka;
pub mod latency;
pub mod mixed;
mod plain;
pub mod process;
pub mod queries;
pub mod redis_layer;
mod stage;
mod streams;
mod table;
pub mod varied;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;

use wedcache::app::AppError;
use wedcache::broker::BrokerError;
use wedcache::cache::{DiskError, LayerError, RedisSetupError};
use wedcache::clock::Clock;
use wedcache::kafka::KafkaError;
use wedcache::topology::settings::Format;

/// The context that every scenario is given.
#[derive(Debug, Clone)]
pub struct Bench {
    /// The path of this program, from which child processes are started.
    pub program: PathBuf,
    pub clock: Clock,
}

/// The format of the records that a scenario writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    Json,
    /// Avro single-object encoding, which needs no registry.
    Avro,
}

impl Wire {
    pub fn as_str(self) -> &'static str {
        self.format().as_str()
    }

    /// Returns the format under its name in topologies.
    pub fn format(self) -> Format {
        match self {
            Self::Json => Format::Json,
            Self::Avro => Format::Avro,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("the benchmark's topology is not sound:\n{problems}")]
    Topology { problems: String },
    #[error(transparent)]
    App(#[from] AppError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Redis(#[from] RedisSetupError),
    #[error("a look-up or a fill failed: {0}")]
    Layer(#[from] LayerError),
    #[error("the machine refuses: {0}")]
    Machine(#[from] std::io::Error),
    #[error("{} does not start as a process beside this one: {source}", program.display())]
    Program {
        program: PathBuf,
        source: std::io::Error,
    },
    #[error("a process beside this one ended early; what it said stands above")]
    ChildEnded,
    #[error("a process beside this one said `{line}`: {source}")]
    ChildSpoke {
        line: String,
        source: serde_json::Error,
    },
    #[error("only {delivered} of {records} queries reached Kafka")]
    NotLoaded { delivered: u64, records: usize },
    #[error("{who} stands still: {delivered} answers of {wanted} after {idle_secs} s without one")]
    Stalled {
        who: &'static str,
        delivered: u64,
        wanted: u64,
        idle_secs: u64,
    },
    #[error("no answers could be read back")]
    NoSamples,
    #[error("{records} queries are too few for {keys} keys: at least {least}")]
    TooFew {
        records: usize,
        keys: usize,
        least: usize,
    },
    #[error("{} has {free_mib} MiB free; this needs about {needed_mib} MiB", path.display())]
    NoSpace {
        path: PathBuf,
        free_mib: u64,
        needed_mib: u64,
    },
    #[error("{} exists; name a folder that is to be made", path.display())]
    FolderExists { path: PathBuf },
    #[error("Redis at {address} does not answer within {wait:?}")]
    NoRedis { address: String, wait: Duration },
    #[error("a change was not judged within {wait:?}")]
    NotJudged { wait: Duration },
}

/// Runs a scenario on a runtime of its own; blocks until the scenario is done.
fn on_runtime<T>(work: impl Future<Output = Result<T, BenchError>>) -> Result<T, BenchError> {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_secs(2));
    done
}

/// Parses a command-line argument that is a count of at least one.
fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}
