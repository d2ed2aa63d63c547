//! `wedcache bench`: hits from Kafka to Kafka, beside a loop that only consumes and produces.
//!
//! The queries stand in their topic before anybody reads them, each key's first ones foremost.
//! Both contestants read the topic from its start in the same process, one after the other,
//! several rounds; the answers' topic is what counts as delivered. Only a window is timed: it
//! opens when every key has long been filled, so that what is measured are hits in memory, and
//! closes when all answers stand in Kafka.

pub mod cpu;
pub mod queries;
mod report;
mod rounds;
mod setup;

pub use report::{Contestant, Ratio, Report, Window};
pub use rounds::run;

use crate::app::AppError;
use crate::broker::BrokerError;
use crate::kafka::KafkaError;
use crate::topology::settings::Format;

/// What is measured.
#[derive(Debug, Clone)]
pub struct Options {
    /// Queries of one round.
    pub records: usize,
    /// Different cache keys among them.
    pub keys: usize,
    /// Of wedcache; the bare loop has one.
    pub poll_threads: usize,
    /// Unfinished queries at which wedcache pauses its intake.
    pub in_flight: usize,
    /// Of queries, answers and metrics.
    pub format: Format,
    /// `None`: the embedded broker, in this process.
    pub kafka: Option<String>,
    pub rounds: usize,
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
    #[error("cannot start threads: {0}")]
    Threads(#[from] std::io::Error),
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
}
