//! The events and rules of rebalances, and lists of partitions for librdkafka.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, RebalanceProtocol};
use rdkafka::topic_partition_list::TopicPartitionList;

use wedcache_model::TopicId;

use super::context::GroupContext;
use super::hand_over::HandOver;
use super::partition::PartitionState;

/// A partition that this member now owns.
#[derive(Debug, Clone)]
pub struct Assigned {
    pub topic: Arc<str>,
    pub partition: i32,
    /// The id of the topic; `None` while it is not known.
    pub topic_id: Option<TopicId>,
    pub generation: u64,
    /// The offset at which reading begins; `None` without a committed offset: at the partition's
    /// start.
    pub next_offset: Option<i64>,
}

/// A partition that this member no longer owns.
#[derive(Debug, Clone)]
pub struct Revoked {
    pub topic: Arc<str>,
    pub partition: i32,
    pub generation: u64,
    /// True if it was taken away without warning: what was finished last is not committed and will
    /// be repeated.
    pub lost: bool,
}

#[derive(Debug)]
pub(super) enum Rebalance {
    Assigned(Vec<Assigned>),
    Revoked(Vec<Revoked>),
}

/// The bounds of the callbacks' work. Both times together must stay below `max.poll.interval.ms`.
#[derive(Debug, Clone)]
pub(super) struct RebalanceRules {
    /// The longest wait for work in flight.
    pub(super) drain: Duration,
    /// The longest time for reading committed offsets.
    pub(super) restore: Duration,
    pub(super) hand_over: HandOver,
}

pub(super) fn is_cooperative(consumer: &BaseConsumer<GroupContext>) -> bool {
    matches!(
        consumer.rebalance_protocol(),
        RebalanceProtocol::Cooperative
    )
}

/// Formats partitions for people: `a 0 1 2, b 0`.
pub(super) fn show(partitions: &[Arc<PartitionState>]) -> String {
    let mut topics: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for partition in partitions {
        topics
            .entry(&partition.topic)
            .or_default()
            .insert(partition.index);
    }
    let of_topic = |(topic, indices): (&str, BTreeSet<i32>)| {
        let indices = indices.iter().map(|index| format!(" {index}"));
        format!("{topic}{}", indices.collect::<String>())
    };
    let topics: Vec<String> = topics.into_iter().map(of_topic).collect();
    topics.join(", ")
}

pub(super) fn list_of<'a>(
    partitions: impl Iterator<Item = &'a Arc<PartitionState>>,
) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(&partition.topic, partition.index);
    }
    list
}

/// Resumes those of the partitions that are paused.
pub(super) fn resume<'a>(
    consumer: &BaseConsumer<GroupContext>,
    partitions: impl Iterator<Item = &'a Arc<PartitionState>>,
) {
    let list = list_of(partitions.filter(|of| of.paused.load(Ordering::Relaxed)));
    if list.count() > 0
        && let Err(error) = consumer.resume(&list)
    {
        tracing::error!(%error, "cannot resume partitions");
    }
}
