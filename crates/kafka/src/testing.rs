//! Helpers of the tests: a cluster, records in it, and waits with a deadline.

#![allow(clippy::unwrap_used, reason = "only tests use it, and they may panic")]

use std::time::{Duration, Instant};

use wedcache_broker::{Broker, BrokerOptions};
use wedcache_model::TopicId;

use super::client::ClientOptions;
use super::producer::{OutRecord, Output, OutputOptions};

pub const PATIENCE: Duration = Duration::from_secs(30);

/// An embedded broker with topics.
pub struct Cluster(pub Broker);

impl Cluster {
    pub async fn new(topics: &[(&str, i32)]) -> Self {
        let options = BrokerOptions {
            auto_create_topics: false,
            ..BrokerOptions::default()
        };
        let broker = Broker::start(options).await.unwrap();
        for (topic, partitions) in topics {
            broker.create_topic(topic, *partitions, &[]).unwrap();
        }
        Self(broker)
    }

    pub fn client(&self, id: &str) -> ClientOptions {
        ClientOptions::new(self.0.bootstrap(), id)
    }

    /// Returns the present id of the topic.
    pub fn topic_id(&self, topic: &str) -> Option<TopicId> {
        self.0.topic_id(topic).map(|id| TopicId(id.as_u128()))
    }

    pub fn output(&self) -> Output {
        Output::new(&OutputOptions::new(self.client("out"))).unwrap()
    }

    /// Appends records with the values `0..count` to a partition.
    pub async fn fill(&self, topic: &str, partition: i32, count: usize) {
        let values: Vec<_> = (0..count).map(|n| n.to_string().into_bytes()).collect();
        self.append(topic, partition, &values).await;
    }

    /// Appends records with these values, in one batch where they fit.
    pub async fn append(&self, topic: &str, partition: i32, values: &[Vec<u8>]) {
        let records: Vec<_> = values
            .iter()
            .map(|value| OutRecord {
                partition: Some(partition),
                ..OutRecord::to(topic, Some(b"k"), Some(value))
            })
            .collect();
        let deadline = Instant::now() + PATIENCE;
        self.output().append_all(&records, deadline).await.unwrap();
    }

    /// Returns the group's committed offset of partition 0.
    pub fn committed(&self, group: &str, topic: &str) -> Option<i64> {
        self.0
            .committed(group, topic, 0)
            .map(|committed| committed.offset)
    }
}

/// The content of a damaged batch. librdkafka goes on within a batch whose checksum is wrong, and
/// takes what is there for the head of the next batch, with an offset.
#[derive(Debug, Clone, Copy)]
pub enum Filling {
    Text,
    Zeros,
    /// Bytes that can be taken for the head of a batch: offset 4, a length, and the number of the
    /// format.
    Heads,
    Noise,
}

impl Filling {
    /// Returns the values of 200 records.
    pub fn values(self) -> Vec<Vec<u8>> {
        let noise = |at: u64| {
            let mut random = fastrand::Rng::with_seed(at);
            (0..560).map(|_| random.u8(..)).collect()
        };
        let value = |at| match self {
            Self::Text => b"what started as a question ".repeat(20),
            Self::Zeros => vec![0; 500],
            Self::Heads => [0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 60, 0, 0, 0, 0, 2].repeat(40),
            Self::Noise => noise(at),
        };
        (0..200).map(value).collect()
    }
}

/// Polls until the condition holds; panics with `what` if it does not in time.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
