//! The topics and their partitions: names, ids, settings, and the fetches that wait for records.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kafka_protocol::ResponseError;
use tokio::sync::Notify;
use uuid::Uuid;

use super::configs::{ConfigError, TopicConfig};
use super::log::{AppendError, AppendRules, Appended, PartitionLog};

/// Limits of a broker whose topics are all in memory.
const MAX_TOPICS: usize = 1_000;
const MAX_PARTITIONS: usize = 1_000;
const MAX_NAME_BYTES: usize = 249;

/// All topics, by name and by id.
#[derive(Debug, Default)]
pub struct Topics {
    by_name: BTreeMap<String, Topic>,
    names: HashMap<Uuid, String>,
}

#[derive(Debug)]
pub struct Topic {
    pub id: Uuid,
    pub config: TopicConfig,
    pub partitions: Vec<Partition>,
}

/// A log and the fetches that wait at its end.
#[derive(Debug, Default)]
pub struct Partition {
    pub log: PartitionLog,
    waiting: Vec<Arc<Notify>>,
}

impl Topics {
    pub fn get(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.by_name.get_mut(name)
    }

    pub fn partition(&self, name: &str, index: i32) -> Option<&Partition> {
        self.get(name)?.partitions.get(usize::try_from(index).ok()?)
    }

    pub fn partition_mut(&mut self, name: &str, index: i32) -> Option<&mut Partition> {
        self.get_mut(name)?
            .partitions
            .get_mut(usize::try_from(index).ok()?)
    }

    /// Returns the name of the topic that now has this id.
    pub fn name_of(&self, id: Uuid) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }

    /// Returns all topics in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Topic)> {
        self.by_name
            .iter()
            .map(|(name, topic)| (name.as_str(), topic))
    }

    /// Checks that `create` would succeed; returns the number of partitions.
    pub fn check_new(&self, name: &str, partitions: i32) -> Result<usize, TopicError> {
        if !valid_name(name) {
            return Err(TopicError::Name {
                name: name.to_owned(),
            });
        }
        if self.by_name.contains_key(name) {
            return Err(TopicError::Exists {
                name: name.to_owned(),
            });
        }
        if self.by_name.len() >= MAX_TOPICS {
            return Err(TopicError::TooMany { limit: MAX_TOPICS });
        }
        partition_count(partitions)
    }

    /// Creates a topic with a new id, even if one of the same name existed before.
    pub fn create(
        &mut self,
        name: &str,
        partitions: i32,
        config: TopicConfig,
    ) -> Result<Uuid, TopicError> {
        let partitions = self.check_new(name, partitions)?;
        let id = uuid::Builder::from_random_bytes(fastrand::u128(..).to_be_bytes()).into_uuid();
        let partitions = std::iter::repeat_with(Partition::default)
            .take(partitions)
            .collect();
        self.by_name.insert(
            name.to_owned(),
            Topic {
                id,
                config,
                partitions,
            },
        );
        self.names.insert(id, name.to_owned());
        Ok(id)
    }

    /// Deletes a topic. Fetches that wait for it are woken and find it gone.
    pub fn delete(&mut self, name: &str) -> Result<Uuid, TopicError> {
        let mut topic = self
            .by_name
            .remove(name)
            .ok_or_else(|| TopicError::Unknown {
                name: name.to_owned(),
            })?;
        self.names.remove(&topic.id);
        topic.partitions.iter_mut().for_each(Partition::wake);
        Ok(topic.id)
    }

    /// Adds partitions up to `count`.
    pub fn grow(&mut self, name: &str, count: i32, validate_only: bool) -> Result<(), TopicError> {
        let count = partition_count(count)?;
        let topic = self.get_mut(name).ok_or_else(|| TopicError::Unknown {
            name: name.to_owned(),
        })?;
        if count <= topic.partitions.len() {
            return Err(TopicError::Shrinks {
                has: topic.partitions.len(),
                asked: count,
            });
        }
        if !validate_only {
            topic.partitions.resize_with(count, Partition::default);
        }
        Ok(())
    }
}

impl Topic {
    /// Appends a batch to a partition and wakes its readers; `None` if there is no such partition.
    pub fn append(
        &mut self,
        index: i32,
        batch: &[u8],
        limits: AppendLimits,
    ) -> Option<Result<Appended, AppendError>> {
        let rules = AppendRules {
            max_batch_bytes: self.config.max_message_bytes(),
            max_log_bytes: limits.max_log_bytes,
            log_append_time: self.config.log_append_time().then_some(limits.now_ms),
        };
        let partition = self.partitions.get_mut(usize::try_from(index).ok()?)?;
        let appended = partition.log.append(batch, &rules);
        if appended.is_ok() {
            partition.wake();
        }
        Some(appended)
    }
}

/// The limits of an append that come from the broker, not from the topic.
#[derive(Clone, Copy, Debug)]
pub struct AppendLimits {
    pub max_log_bytes: usize,
    pub now_ms: i64,
}

impl Partition {
    /// Registers `reader`, which is notified once when a batch arrives or the topic is deleted.
    pub fn wait(&mut self, reader: &Arc<Notify>) {
        if !self
            .waiting
            .iter()
            .any(|waiting| Arc::ptr_eq(waiting, reader))
        {
            self.waiting.push(Arc::clone(reader));
        }
    }

    pub fn stop_waiting(&mut self, reader: &Arc<Notify>) {
        self.waiting.retain(|waiting| !Arc::ptr_eq(waiting, reader));
    }

    fn wake(&mut self) {
        for reader in self.waiting.drain(..) {
            reader.notify_one();
        }
    }
}

/// Returns true if the name is legal in Apache Kafka, by its class
/// `org.apache.kafka.common.internals.Topic`.
fn valid_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= MAX_NAME_BYTES
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn partition_count(count: i32) -> Result<usize, TopicError> {
    usize::try_from(count)
        .ok()
        .filter(|count| (1..=MAX_PARTITIONS).contains(count))
        .ok_or(TopicError::Partitions {
            count,
            limit: MAX_PARTITIONS,
        })
}

/// The reason why topics were not changed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TopicError {
    #[error("topic name {name:?} is not legal")]
    Name { name: String },
    #[error("topic {name} exists already")]
    Exists { name: String },
    #[error("topic {name} does not exist")]
    Unknown { name: String },
    #[error("{count} partitions are not within 1..={limit}")]
    Partitions { count: i32, limit: usize },
    #[error("the topic has {has} partitions and cannot go to {asked}")]
    Shrinks { has: usize, asked: usize },
    #[error("replication factor {factor} is not 1, and there is one broker")]
    Replication { factor: i16 },
    #[error("more than {limit} topics")]
    TooMany { limit: usize },
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl TopicError {
    pub const fn code(&self) -> ResponseError {
        match self {
            Self::Name { .. } => ResponseError::InvalidTopicException,
            Self::Exists { .. } => ResponseError::TopicAlreadyExists,
            Self::Unknown { .. } => ResponseError::UnknownTopicOrPartition,
            Self::Partitions { .. } | Self::Shrinks { .. } => ResponseError::InvalidPartitions,
            Self::Replication { .. } => ResponseError::InvalidReplicationFactor,
            Self::TooMany { .. } => ResponseError::PolicyViolation,
            Self::Config(_) => ResponseError::InvalidConfig,
        }
    }
}
