//! The offsets that a consumer group has committed.

use std::collections::BTreeMap;

/// Apache Kafka's `offset.metadata.max.bytes`.
pub const MAX_METADATA_BYTES: usize = 4096;

/// One committed position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    /// The leader epoch, or -1 if the client did not send one.
    pub leader_epoch: i32,
    pub metadata: String,
}

/// A group's positions, by topic and partition. Only existing partitions are accepted, so that the
/// number of positions is bounded by the number of partitions.
#[derive(Debug, Default)]
pub struct Offsets {
    by_topic: BTreeMap<String, BTreeMap<i32, Committed>>,
}

impl Offsets {
    pub fn commit(&mut self, topic: &str, partition: i32, committed: Committed) {
        match self.by_topic.get_mut(topic) {
            Some(partitions) => {
                partitions.insert(partition, committed);
            }
            None => {
                self.by_topic
                    .insert(topic.to_owned(), BTreeMap::from([(partition, committed)]));
            }
        }
    }

    pub fn get(&self, topic: &str, partition: i32) -> Option<&Committed> {
        self.by_topic.get(topic)?.get(&partition)
    }

    /// Returns every topic with its committed partitions.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &BTreeMap<i32, Committed>)> {
        self.by_topic
            .iter()
            .map(|(topic, partitions)| (topic.as_str(), partitions))
    }

    /// Removes the positions of a deleted topic.
    pub fn forget_topic(&mut self, topic: &str) {
        self.by_topic.remove(topic);
    }
}
