//! Kafka: everything that touches librdkafka, and the pure bookkeeping of offsets under it.
//!
//! Reading order: [`member`] (a consumer group's member: its poll thread, offsets, tickets and
//! commits) · [`record`] (a record as the poll thread sees it) · [`producer`] (answers, metrics,
//! appends; `delivery_reports` is how their deliveries finish records, [`returned`] what was not
//! delivered) · [`append`] (an append with its offset) · [`reader`] (one partition from its start,
//! without a group) · [`admin`] (topics), [`replicas`] · `topic_ids` (the ids by which a recreated
//! topic is noticed) · [`standstill`] (partitions that do not move) · [`probe`] (a look at one
//! offset) · [`dead_letters`] (pure: their headers) · [`client`] (settings and logging of all
//! clients), [`properties`] (the user's settings, as librdkafka judges them) · `reach` and `access`
//! (pure: whether the cluster can be reached, and which permission is missing) · [`contact`] (first
//! contact) · [`bare`] (a loop without wedcache, with which the benchmark compares).

mod access;
pub mod admin;
pub mod append;
pub mod bare;
pub mod client;
pub mod contact;
pub mod dead_letters;
mod delivery_reports;
pub mod member;
pub mod probe;
pub mod producer;
pub mod properties;
mod reach;
mod reach_reason;
pub mod reader;
pub mod record;
pub mod replicas;
pub mod returned;
pub mod standstill;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod topic_ids;

pub use access::Permission;
pub use admin::{Admin, TopicAction, TopicSpec};
pub use client::ClientOptions;
pub use member::stats::IntakeStats;
pub use member::{
    Assigned, Assignor, HandOver, Handler, Intake, IntakeHandle, IntakeOptions, Limits, Skips,
    Ticket, offsets, stats,
};
pub use producer::{Delivery, OutRecord, Output, OutputOptions};
pub use reach::Reach;
pub use reader::{PartitionReader, ReaderOptions};
pub use record::InRecord;
pub use returned::{OwnedRecord, Returned, Undelivered};

/// An error of a Kafka client, or of a request to a cluster.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// librdkafka refused the settings; nothing was sent yet.
    #[error("Kafka client {client_id}: {source}")]
    Settings {
        client_id: String,
        #[source]
        source: rdkafka::error::KafkaError,
    },
    /// The user has set a property that this program must set itself.
    #[error("Kafka property `{property}` is set by wedcache and cannot be overridden")]
    Reserved { property: String },
    /// No client can be made with a property of the user's.
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
    #[error("{request}: {source}{}", request.hint(source.rdkafka_error_code(), "the cluster"))]
    Request {
        request: &'static Permission,
        #[source]
        source: rdkafka::error::KafkaError,
    },
    /// The cluster refused a request about a group.
    #[error("{request} of group {group}: {source}{}", request.hint(source.rdkafka_error_code(), &format!("group {group}")))]
    Group {
        request: &'static Permission,
        group: String,
        #[source]
        source: rdkafka::error::KafkaError,
    },
    /// The cluster refused one topic's part of a request.
    #[error("{request} for topic {topic}: {code}{}", request.hint(Some(*code), &format!("topic {topic}")))]
    Topic {
        request: &'static Permission,
        topic: String,
        code: rdkafka::types::RDKafkaErrorCode,
    },
}

impl KafkaError {
    /// Returns true if the call may succeed later without a change of the settings. Refused
    /// credentials count as that: the brokers may learn them in a moment.
    pub fn retry(&self) -> bool {
        use rdkafka::types::RDKafkaErrorCode as Code;
        if self.denies_access() {
            return false;
        }
        match self {
            Self::Settings { .. } | Self::Reserved { .. } | Self::Property { .. } => false,
            Self::Thread { .. } | Self::Request { .. } | Self::Group { .. } => true,
            Self::Topic { code, .. } => !matches!(
                code,
                Code::UnknownTopicOrPartition
                    | Code::TopicAlreadyExists
                    | Code::InvalidConfig
                    | Code::InvalidPartitions
                    | Code::InvalidReplicationFactor
                    | Code::PolicyViolation
            ),
        }
    }

    /// Returns true if an ACL is missing.
    pub fn denies_access(&self) -> bool {
        match self {
            Self::Topic { code, .. } => access::denies(*code),
            Self::Request { source, .. } | Self::Group { source, .. } => {
                source.rdkafka_error_code().is_some_and(access::denies)
            }
            Self::Settings { .. }
            | Self::Reserved { .. }
            | Self::Property { .. }
            | Self::Thread { .. } => false,
        }
    }

    /// Returns true if the cluster could not be asked at all; [`Reach`] logs that.
    pub fn is_away(&self) -> bool {
        let (Self::Request { source, .. } | Self::Group { source, .. }) = self else {
            return false;
        };
        let code = source.rdkafka_error_code();
        code.is_some_and(|code| reach_reason::Why::of_request(code).is_some())
    }
}
