//! Whether Kafka's clients can be made from a topology's settings, without Kafka.

use super::clients;
use crate::kafka::{KafkaError, OutputOptions};
use crate::topology::Topology;

/// Returns what is wrong with `kafka.properties`: every property that cannot be used; where all
/// can, the first reason why a consumer or a producer cannot be made with all of them. Files that
/// they name, such as certificates, are read; nothing is sent.
pub fn kafka_faults(topology: &Topology) -> Vec<KafkaError> {
    let client = clients::client(&topology.deployment.kafka);
    let faults = client.check();
    if !faults.is_empty() {
        return faults;
    }
    let tried = clients::rules(topology)
        .check()
        .and_then(|()| OutputOptions::new(client.named("answers")).check())
        .and_then(|()| OutputOptions::lossy(client.named("metrics")).check());
    tried.err().into_iter().collect()
}
