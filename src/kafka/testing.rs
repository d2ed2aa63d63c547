//! What the tests of this module share: a cluster, records in it, and waiting with a deadline.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::ClientOptions;
use super::producer::{OutRecord, Output, OutputOptions};

/// Generous: the mock cluster takes three seconds for a first assignment.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Cluster(MockCluster<'static, DefaultProducerContext>);

impl Cluster {
    pub fn new(topics: &[(&str, i32)]) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        for (topic, partitions) in topics {
            cluster.create_topic(topic, *partitions, 1).unwrap();
        }
        Self(cluster)
    }

    pub fn client(&self, id: &str) -> ClientOptions {
        ClientOptions::new(self.0.bootstrap_servers(), id)
    }

    pub fn output(&self) -> Output {
        Output::new(&OutputOptions::new(self.client("out"))).unwrap()
    }

    /// Appends records with the values `0..count` to a partition.
    pub async fn fill(&self, topic: &str, partition: i32, count: usize) {
        let values: Vec<String> = (0..count).map(|n| n.to_string()).collect();
        let records: Vec<_> = values
            .iter()
            .map(|value| OutRecord {
                partition: Some(partition),
                ..OutRecord::to(topic, Some(b"k"), Some(value.as_bytes()))
            })
            .collect();
        let deadline = Instant::now() + PATIENCE;
        self.output().append_all(&records, deadline).await.unwrap();
    }

    /// The group's committed offset of partition 0.
    pub fn committed(&self, group: &str, topic: &str) -> Option<i64> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.0.bootstrap_servers())
            .set("group.id", group)
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, 0);
        let found = consumer.committed_offsets(list, PATIENCE).unwrap();
        match found.find_partition(topic, 0).unwrap().offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }
}

/// Polls until the condition holds; fails with `what` when it does not in time.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
