//! The topics that a topology needs, with the configs that the stream depends on. Pure.

use std::collections::BTreeMap;

use crate::kafka::TopicSpec;
use crate::kafka::admin::MAX_BYTES;
use crate::topology::Topology;
use crate::topology::settings::{Role, Topic};

/// The factor by which inputs accept larger records than are read, so that a record that is too
/// large reaches us and is dead-lettered, rather than being refused to its producer.
const INPUT_HEADROOM: u64 = 4;
/// The largest record that producers send by their own defaults: 1 MiB.
const LEAST_INPUT_BYTES: u64 = 1 << 20;
/// The room for a record's key, headers and batch beside its value: 64 KiB.
const FRAME_BYTES: u64 = 64 << 10;
/// librdkafka's highest `message.max.bytes`; the brokers' highest lies above it.
const MOST_BYTES: u64 = 1_000_000_000;

/// Kafka's own default for a topic's `max.message.bytes`: our producers' batches are below it.
const LEAST_OUTPUT_BYTES: u64 = 1_048_588;
/// The most bytes of a model's token in an answer's JSON; most tokens take three to five.
const TOKEN_BYTES: u64 = 16;

const MIN_INSYNC: &str = "min.insync.replicas";

/// Returns every topic as it should be, in the order of [`Role::ALL`]; `replication_factor`
/// overrides the topology's.
pub fn specs(topology: &Topology, replication_factor: Option<u16>) -> Vec<TopicSpec> {
    let largest = Largest {
        input: largest_input(topology),
        answer: answer_bytes(topology),
    };
    let topics = topology.deployment.topics.iter();
    topics
        .map(|topic| spec(topic, replication_factor, largest))
        .collect()
}

/// Adapts specs to topics that exist with other replication factors: the number of copies that must
/// be in sync follows the copies that there are, since a larger one would stop every producer.
pub fn fit(specs: &mut [TopicSpec], replication: &BTreeMap<String, i32>) {
    for spec in specs {
        if let Some(&factor) = replication.get(&spec.name) {
            spec.configs.insert(MIN_INSYNC.to_owned(), in_sync(factor));
        }
    }
}

/// Returns the size of the largest record that any of our producers may have to send, in bytes.
pub fn largest_record(topology: &Topology) -> u64 {
    let letter = dead_letter_bytes(
        &topology.deployment.topics.dead_letters,
        largest_input(topology),
    );
    letter.max(answer_bytes(topology))
}

/// The sizes of the largest records that are possible, in bytes.
#[derive(Clone, Copy)]
struct Largest {
    input: u64,
    answer: u64,
}

fn spec(topic: &Topic, replication_factor: Option<u16>, largest: Largest) -> TopicSpec {
    let factor = i32::from(replication_factor.unwrap_or(topic.replication_factor));
    let mut configs: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |name: &str, value: String| configs.insert(name.to_owned(), value);
    set("retention.ms", topic.retention.as_millis().to_string());
    set(MIN_INSYNC, in_sync(factor));
    // A leader that missed records would remove them for everybody: offsets of the log would then
    // mean other invalidations, and committed inputs would be lost.
    set("unclean.leader.election.enable", "false".to_owned());
    match topic.role {
        Role::Invalidations => {
            set("cleanup.policy", "compact,delete".to_owned());
            set("message.timestamp.type", "LogAppendTime".to_owned());
        }
        // Compaction keeps the latest record of each alert until retention removes it.
        Role::Alerts => {
            set("cleanup.policy", "compact,delete".to_owned());
        }
        Role::Answers | Role::Metrics => {
            set("message.timestamp.type", "LogAppendTime".to_owned());
        }
        Role::Queries
        | Role::VendorChanges
        | Role::WeddingUpdates
        | Role::DeadLetters
        | Role::Audit => {}
    }
    let bytes = match topic.role {
        Role::Queries | Role::VendorChanges | Role::WeddingUpdates => input_bytes(topic),
        Role::DeadLetters => dead_letter_bytes(topic, largest.input),
        Role::Answers => largest.answer,
        Role::Metrics | Role::Invalidations | Role::Alerts | Role::Audit => LEAST_OUTPUT_BYTES,
    };
    set(MAX_BYTES, bytes.to_string());
    let partitions = match topic.role {
        // The log's offsets are the clock, so it has exactly one partition.
        Role::Invalidations => 1,
        _ => i32::from(topic.partitions),
    };
    TopicSpec {
        name: topic.name.to_string(),
        partitions,
        replication: factor,
        configs,
    }
}

fn in_sync(replication: i32) -> String {
    if replication >= 3 { "2" } else { "1" }.to_owned()
}

fn largest_input(topology: &Topology) -> u64 {
    let inputs = topology
        .deployment
        .topics
        .iter()
        .filter(|topic| topic.role.is_input());
    inputs.map(input_bytes).max().unwrap_or(LEAST_INPUT_BYTES)
}

/// Returns the size of the largest answer that a model may be asked for, in bytes.
fn answer_bytes(topology: &Topology) -> u64 {
    let tokens = topology
        .policy
        .generation
        .values()
        .map(|of| of.max_tokens)
        .max();
    let data = u64::from(tokens.unwrap_or(0)).saturating_mul(TOKEN_BYTES);
    (data + FRAME_BYTES).clamp(LEAST_OUTPUT_BYTES, MOST_BYTES)
}

fn input_bytes(topic: &Topic) -> u64 {
    let read = topic.max_bytes.map_or(0, |bytes| bytes.0);
    let roomy = read.saturating_mul(INPUT_HEADROOM).max(LEAST_INPUT_BYTES);
    roomy
        .saturating_add(FRAME_BYTES)
        .min(MOST_BYTES - FRAME_BYTES)
}

fn dead_letter_bytes(topic: &Topic, largest_input: u64) -> u64 {
    let asked = topic.max_bytes.map_or(0, |bytes| bytes.0);
    asked.max(largest_input + FRAME_BYTES).min(MOST_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{self, ByteSize, Variables};

    fn production() -> Topology {
        let text = include_str!("../topologies/wedsync.yaml");
        let loaded = topology::read("wedsync.yaml", text, Variables::From(&|_| None));
        loaded.unwrap().topology
    }

    fn config<'a>(specs: &'a [TopicSpec], topic: &str, name: &str) -> Option<&'a str> {
        let spec = specs.iter().find(|spec| spec.name == topic).unwrap();
        spec.configs.get(name).map(String::as_str)
    }

    fn bytes(specs: &[TopicSpec], topic: &str) -> u64 {
        let text = config(specs, topic, MAX_BYTES).unwrap();
        text.parse().unwrap()
    }

    const LOG: &str = "wedsync.cache.invalidations";
    const DEAD: &str = "wedsync.cache.dead-letters";

    #[test]
    fn every_role_has_its_topic_with_the_settings_of_the_contract() {
        let specs = specs(&production(), None);
        let shape: Vec<_> = specs
            .iter()
            .map(|spec| (spec.name.as_str(), spec.partitions, spec.replication))
            .collect();
        let want = [
            ("wedsync.ai.queries", 12, 3),
            ("wedsync.vendor.changes", 6, 3),
            ("wedsync.wedding.updates", 6, 3),
            ("wedsync.ai.responses", 12, 3),
            ("wedsync.cache.metrics", 6, 3),
            (LOG, 1, 3),
            ("wedsync.cache.alerts", 1, 3),
            ("wedsync.cache.audit", 1, 3),
            (DEAD, 3, 3),
        ];
        assert_eq!(shape, want);
        let days = |days: u64| Some((days * 86_400_000).to_string());
        for (topic, retention, policy, time) in [
            ("wedsync.ai.queries", 3, None, None),
            ("wedsync.ai.responses", 3, None, Some("LogAppendTime")),
            ("wedsync.cache.metrics", 14, None, Some("LogAppendTime")),
            (LOG, 14, Some("compact,delete"), Some("LogAppendTime")),
            ("wedsync.cache.alerts", 30, Some("compact,delete"), None),
            (DEAD, 30, None, None),
        ] {
            let of = |name| config(&specs, topic, name);
            assert_eq!(of("retention.ms"), days(retention).as_deref(), "{topic}");
            assert_eq!(of("cleanup.policy"), policy, "{topic}");
            assert_eq!(of("message.timestamp.type"), time, "{topic}");
            assert_eq!(of(MIN_INSYNC), Some("2"), "{topic}");
            let unclean = of("unclean.leader.election.enable");
            assert_eq!(unclean, Some("false"), "{topic}");
        }
    }

    #[test]
    fn every_topic_takes_what_is_produced_to_it() {
        let mut topology = production();
        let answers = "wedsync.ai.responses";
        let all = specs(&topology, None);
        for spec in &all {
            assert!(
                bytes(&all, &spec.name) >= LEAST_OUTPUT_BYTES,
                "{}",
                spec.name
            );
        }
        assert_eq!(bytes(&all, answers), LEAST_OUTPUT_BYTES);
        for generation in topology.policy.generation.values_mut() {
            generation.max_tokens = 200_000;
        }
        let wanted = bytes(&specs(&topology, None), answers);
        assert_eq!(wanted, 200_000 * TOKEN_BYTES + FRAME_BYTES);
        assert!(largest_record(&topology) >= wanted);
    }

    #[test]
    fn what_is_too_large_for_us_fits_its_topic_and_the_dead_letters() {
        let mut topology = production();
        for read in [1, 256 << 10, 3 << 20, 200 << 20, 1 << 40] {
            topology.deployment.topics.queries.max_bytes = Some(ByteSize(read));
            let specs = specs(&topology, None);
            let (queries, dead) = (bytes(&specs, "wedsync.ai.queries"), bytes(&specs, DEAD));
            let most = MOST_BYTES - 2 * FRAME_BYTES;
            let wanted = read.saturating_mul(4).clamp(1 << 20, most);
            assert!(queries >= wanted, "{read}: {queries}");
            assert!(dead >= queries + FRAME_BYTES, "{read}: {dead}");
            assert!(dead >= (8 << 20) && i32::try_from(dead).is_ok(), "{dead}");
            assert_eq!(largest_record(&topology), dead);
        }
    }

    #[test]
    fn copies_in_sync_go_by_the_copies_that_there_are() {
        let topology = production();
        for (factor, want) in [(1, "1"), (2, "1"), (3, "2"), (5, "2")] {
            let specs = specs(&topology, Some(factor));
            assert_eq!(config(&specs, LOG, MIN_INSYNC), Some(want), "{factor}");
            assert!(
                specs
                    .iter()
                    .all(|spec| spec.replication == i32::from(factor))
            );
        }
        let mut specs = specs(&topology, Some(3));
        fit(&mut specs, &[(LOG.to_owned(), 1)].into());
        assert_eq!(config(&specs, LOG, MIN_INSYNC), Some("1"));
        assert_eq!(config(&specs, DEAD, MIN_INSYNC), Some("2"));
    }
}
