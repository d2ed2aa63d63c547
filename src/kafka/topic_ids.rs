//! Which topics the names stand for now, asked of the cluster.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::client::{Client, ClientContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka_ext::{DescribeError, describe_topics};

use crate::model::TopicId;

/// What the cluster said of some topics.
#[derive(Debug, Clone)]
pub(super) struct TopicIds {
    /// When it was asked.
    pub(super) asked_at: Instant,
    /// Empty where the brokers know no ids.
    topics: HashMap<String, Result<Option<TopicId>, RDKafkaErrorCode>>,
}

impl TopicIds {
    /// The topic's id; `None` where it is not known, for whatever reason.
    pub(super) fn of(&self, topic: &str) -> Option<TopicId> {
        self.answer(topic).ok().flatten()
    }

    /// The topic's id, `None` where the brokers know no ids, or why the cluster did not tell it.
    pub(super) fn answer(&self, topic: &str) -> Result<Option<TopicId>, RDKafkaErrorCode> {
        self.topics.get(topic).copied().unwrap_or(Ok(None))
    }
}

/// Asks for the ids of topics; blocks, at most for `timeout`. Brokers that know no ids are no error.
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
