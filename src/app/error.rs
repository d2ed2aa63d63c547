//! The errors with which an instance does not start, or cannot go on.

use std::time::Duration;

use super::drain::Left;
use crate::ai::UnusableProvider;
use crate::api::ApiError;
use crate::codec::RegistryError;
use crate::kafka::KafkaError;

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Provider(#[from] UnusableProvider),
    #[error("the schema registry: {0}")]
    Registry(#[from] RegistryError),
    #[error(
        "these topics do not exist: {}; create them with `wedcache topics apply`",
        missing.join(", ")
    )]
    MissingTopics { missing: Vec<String> },
    #[error(
        "topic {topic} has {partitions} partitions; the invalidation log needs exactly one, since \
         its offsets are the clock: delete the topic and run `wedcache topics apply`"
    )]
    LogPartitions { topic: String, partitions: i32 },
    #[error("asked to end before it was ready")]
    StoppedEarly,
    #[error("{what} cannot go on: {why}")]
    Fatal { what: &'static str, why: String },
    #[error("a record has been unfinished for {} s: ending, to be started anew", oldest.as_secs())]
    Stuck { oldest: Duration },
    #[error(
        "the drain deadline passed before all was finished; repeated by whoever is next: {left}"
    )]
    NotDrained { left: Left },
}
