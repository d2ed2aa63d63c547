//! The topics that a topology needs, with the settings that the stream rests on. Pure.

use std::collections::BTreeMap;

use crate::kafka::TopicSpec;
use crate::topology::Topology;
use crate::topology::settings::{Role, Topic};

/// Inputs take records this many times larger than what is read, so that one that is too large
/// reaches us and is dead-lettered, rather than being refused to its producer.
const INPUT_HEADROOM: u64 = 4;
const LEAST_INPUT_BYTES: u64 = 1 << 20;
/// What a dead letter's headers may take beside its value.
const HEADER_BYTES: u64 = 64 << 10;

/// Every topic as it ought to be; `replication` overrides the topology's factors.
pub fn specs(topology: &Topology, replication: Option<u16>) -> Vec<TopicSpec> {
    let largest_input = topology
        .topics
        .iter()
        .filter(|topic| topic.role.is_input())
        .map(input_bytes)
        .max()
        .unwrap_or(LEAST_INPUT_BYTES);
    topology
        .topics
        .iter()
        .map(|topic| spec(topic, replication, largest_input))
        .collect()
}

fn spec(topic: &Topic, replication: Option<u16>, largest_input: u64) -> TopicSpec {
    let factor = replication.unwrap_or(topic.replication_factor);
    let mut configs: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |name: &str, value: String| configs.insert(name.to_owned(), value);
    set("retention.ms", topic.retention.as_millis().to_string());
    set(
        "min.insync.replicas",
        if factor >= 3 { "2" } else { "1" }.to_owned(),
    );
    match topic.role {
        Role::Invalidations => {
            set("cleanup.policy", "compact,delete".to_owned());
            set("message.timestamp.type", "LogAppendTime".to_owned());
        }
        Role::Answers | Role::Metrics => {
            set("message.timestamp.type", "LogAppendTime".to_owned());
        }
        Role::Queries | Role::VendorChanges | Role::WeddingUpdates => {
            set("max.message.bytes", input_bytes(topic).to_string());
        }
        Role::DeadLetters => {
            let asked = topic.max_bytes.map_or(0, |bytes| bytes.0);
            let bytes = asked.max(largest_input + HEADER_BYTES);
            set("max.message.bytes", bytes.to_string());
        }
        Role::Alerts | Role::Audit => {}
    }
    TopicSpec {
        name: topic.name.to_string(),
        partitions: if topic.role == Role::Invalidations {
            1
        } else {
            i32::from(topic.partitions)
        },
        replication: i32::from(factor),
        configs,
    }
}

fn input_bytes(topic: &Topic) -> u64 {
    let read = topic.max_bytes.map_or(0, |bytes| bytes.0);
    read.saturating_mul(INPUT_HEADROOM).max(LEAST_INPUT_BYTES)
}

/// The largest record that any of our producers may have to send, in bytes.
pub fn largest_record(topology: &Topology) -> u64 {
    specs(topology, None)
        .iter()
        .filter_map(|spec| spec.configs.get("max.message.bytes")?.parse().ok())
        .max()
        .unwrap_or(LEAST_INPUT_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{self, Variables};

    #[test]
    fn the_log_is_one_compacted_partition_and_dead_letters_take_what_inputs_take() {
        let text = include_str!("../topologies/wedsync.yaml");
        let loaded = topology::read("wedsync.yaml", text, Variables::From(&|_| None)).unwrap();
        let specs = specs(&loaded.topology, Some(1));
        let of = |name: &str| specs.iter().find(|spec| spec.name == name).unwrap();
        let bytes = |name: &str| {
            of(name).configs["max.message.bytes"]
                .parse::<u64>()
                .unwrap()
        };
        let log = of("wedsync.cache.invalidations");
        assert_eq!((log.partitions, log.replication), (1, 1));
        assert_eq!(log.configs["cleanup.policy"], "compact,delete");
        assert_eq!(log.configs["message.timestamp.type"], "LogAppendTime");
        let inputs = [
            "wedsync.ai.queries",
            "wedsync.vendor.changes",
            "wedsync.wedding.updates",
        ];
        for input in inputs {
            let read = loaded
                .topology
                .topics
                .iter()
                .find(|topic| *topic.name == *input)
                .unwrap();
            assert!(bytes(input) > read.max_bytes.map_or(0, |bytes| bytes.0));
            assert!(bytes("wedsync.cache.dead-letters") > bytes(input));
        }
        assert_eq!(
            largest_record(&loaded.topology),
            bytes("wedsync.cache.dead-letters")
        );
    }
}
