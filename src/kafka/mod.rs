//! Kafka: everything that touches librdkafka, and the pure bookkeeping of offsets under it.
//!
//! Reading order: [`offsets`] (pure: which offsets of a partition are finished) · [`ticket`] (one
//! unfinished record) · [`record`] (a record as the poll thread sees it) · [`intake`] (the consumer
//! group's poll thread), [`rebalance`] (what a rebalance does to it) · [`producer`] (answers,
//! metrics, appends; `receipts` is how their deliveries finish records) · [`reader`] (one partition from its start, without a group) · [`admin`]
//! (topics) · `topic_ids` (a topic that was made again is another one) · [`dead_letters`] (pure: their headers) · [`client`] (settings and logging of all),
//! [`properties`] (what librdkafka thinks of the user's) · [`reach`] (first contact) ·
//! [`bare`] (a loop without wedcache, which the benchmark compares with).

pub mod admin;
pub mod append;
pub mod bare;
pub mod client;
#[cfg(test)]
mod codec_tests;
mod committer;
pub mod dead_letters;
pub mod intake;
mod lanes;
mod metadata;
pub mod offsets;
mod poll;
pub mod producer;
pub mod properties;
pub mod reach;
pub mod reader;
pub mod rebalance;
mod receipts;
pub mod record;
pub mod replicas;
pub mod returned;
pub mod stats;
#[cfg(test)]
pub(crate) mod testing;
pub mod ticket;
mod topic_ids;

pub use admin::{Admin, TopicAction, TopicSpec};
pub use client::{ClientOptions, Throttle};
pub use intake::{Handler, Intake, IntakeHandle, IntakeOptions};
pub use producer::{Delivery, OutRecord, Output, OutputOptions};
pub use reader::{PartitionReader, ReaderEvent, ReaderOptions};
pub use rebalance::HandOver;
pub use record::InRecord;
pub use returned::{OwnedRecord, Returned, Undelivered};
pub use stats::IntakeStats;
pub use ticket::Ticket;

/// What can go wrong between us and a broker.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// librdkafka refused the settings; nothing was sent yet.
    #[error("Kafka client {client_id}: {source}")]
    Settings {
        client_id: String,
        #[source]
        source: rdkafka::error::KafkaError,
    },
    /// A property that this program must set itself.
    #[error("Kafka property `{property}` is set by wedcache and cannot be overridden")]
    Reserved { property: String },
    /// A property that no client can be made with.
    #[error("Kafka property `{property}`: {fault}")]
    Property {
        property: String,
        fault: properties::PropertyFault,
    },
    #[error("cannot start the thread {name}: {source}")]
    Thread {
        name: String,
        #[source]
        source: std::io::Error,
    },
    /// A request to the cluster failed or timed out.
    #[error("{request}: {source}")]
    Request {
        request: &'static str,
        #[source]
        source: rdkafka::error::KafkaError,
    },
    /// The cluster refused one topic's part of a request.
    #[error("{request} for topic {topic}: {code}")]
    Topic {
        request: &'static str,
        topic: String,
        code: rdkafka::types::RDKafkaErrorCode,
    },
}

impl KafkaError {
    /// Whether the same call may succeed later without anybody changing a setting.
    pub fn retry(&self) -> bool {
        match self {
            Self::Settings { .. } | Self::Reserved { .. } | Self::Property { .. } => false,
            Self::Thread { .. } | Self::Request { .. } => true,
            Self::Topic { code, .. } => {
                use rdkafka::types::RDKafkaErrorCode as Code;
                !matches!(
                    code,
                    Code::UnknownTopicOrPartition
                        | Code::TopicAlreadyExists
                        | Code::InvalidConfig
                        | Code::InvalidPartitions
                        | Code::InvalidReplicationFactor
                        | Code::PolicyViolation
                        | Code::TopicAuthorizationFailed
                        | Code::ClusterAuthorizationFailed
                )
            }
        }
    }
}
