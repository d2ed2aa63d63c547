//! The ids of topics, by which a recreated topic differs from the old one of its name.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::client::{Client, ClientContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka_ext::{DescribeError, describe_topics};

use wedcache_model::TopicId;

/// The cluster's answer about the ids of some topics.
#[derive(Debug, Clone)]
pub(super) struct TopicIds {
    /// The time of the request.
    pub(super) asked_at: Instant,
    /// The answers by topic; empty if the brokers have no topic ids.
    topics: HashMap<String, Result<Option<TopicId>, RDKafkaErrorCode>>,
}

impl TopicIds {
    /// Returns the topic's id; `None` if it is not known, for whatever reason.
    pub(super) fn of(&self, topic: &str) -> Option<TopicId> {
        self.answer(topic).ok().flatten()
    }

    /// Returns the topic's id, `None` if the brokers have no topic ids, or the code of the
    /// cluster's refusal.
    pub(super) fn answer(&self, topic: &str) -> Result<Option<TopicId>, RDKafkaErrorCode> {
        self.topics.get(topic).copied().unwrap_or(Ok(None))
    }
}

/// Asks for the ids of topics; blocks, at most for `timeout`. Brokers that have no topic ids are no
/// error.
pub(super) fn ask<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    timeout: Duration,
) -> Result<TopicIds, DescribeError> {
    let asked_at = Instant::now();
    let described = match describe_topics(client, topics, timeout) {
        Ok(described) => described,
        Err(DescribeError::Refused(RDKafkaErrorCode::UnsupportedFeature)) => Vec::new(),
        Err(error) => return Err(error),
    };
    let topics = described
        .into_iter()
        .map(|topic| (topic.name, topic.id.map(|id| id.map(TopicId))))
        .collect();
    Ok(TopicIds { asked_at, topics })
}
