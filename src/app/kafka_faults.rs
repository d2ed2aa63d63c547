//! Checks whether Kafka's clients can be built from a topology's settings, without contact to
//! Kafka.

use super::clients;
use crate::kafka::{KafkaError, OutputOptions};
use crate::topology::Topology;

/// Returns the faults of `kafka.properties`: every property that cannot be used; or, where all can,
/// the first reason why a consumer or a producer cannot be built with all of them. Files that the
/// properties name, such as certificates, are read; nothing is sent.
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
