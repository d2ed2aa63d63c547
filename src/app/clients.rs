//! The options of each Kafka client, from a topology's Kafka section.

use std::sync::Arc;
use std::time::Duration;

use crate::kafka::HandOver;
use crate::kafka::producer::OutputOptions;
use crate::kafka::{Assignor, IntakeOptions, Limits};
use crate::kafka::{ClientOptions, KafkaError, Output};
use crate::resolver::Resolver;
use crate::topics;
use crate::topology::Topology;
use crate::topology::settings::{Assignment, Kafka, Role};

/// Returns the options that all clients of one instance have in common.
pub fn client(kafka: &Kafka) -> ClientOptions {
    let mut client = ClientOptions::new(&kafka.bootstrap_servers, &kafka.client_id);
    client.secrets.clone_from(&kafka.properties);
    client
}

/// Returns the options of poll thread `number` of the query group. A partition that goes to another
/// instance does not wait for the calls of this one, while all of them hold leases by which the
/// other instance can wait for their answers.
pub fn queries(topology: &Topology, number: usize, resolver: &Arc<Resolver>) -> IntakeOptions {
    let kafka = &topology.deployment.kafka;
    let threads = kafka.poll_threads.max(1);
    let mut options = group(
        kafka,
        &format!("queries-{number}"),
        &kafka.queries_group,
        vec![
            topology
                .deployment
                .topics
                .get(Role::Queries)
                .name
                .to_string(),
        ],
    );
    let resolver = Arc::clone(resolver);
    options.hand_over = HandOver::when(move || resolver.may_hand_over());
    options.limits.in_flight_records = (kafka.max_in_flight_records / threads).max(1);
    options.limits.in_flight_bytes = (kafka.max_in_flight_bytes.0 / threads as u64).max(1);
    options
}

/// Returns the options of this instance's one member of the rules group.
pub fn rules(topology: &Topology) -> IntakeOptions {
    let kafka = &topology.deployment.kafka;
    let topics = [Role::VendorChanges, Role::WeddingUpdates]
        .map(|role| topology.deployment.topics.get(role).name.to_string());
    group(kafka, "rules", &kafka.rules_group, topics.to_vec())
}

fn group(kafka: &Kafka, suffix: &str, group: &str, topics: Vec<String>) -> IntakeOptions {
    let defaults = IntakeOptions::new(client(kafka).named(suffix), group, topics);
    IntakeOptions {
        instance_id: kafka
            .instance_id
            .as_ref()
            .map(|id| format!("{id}-{suffix}")),
        assignor: match kafka.assignment {
            Assignment::Range => Assignor::Range,
            Assignment::RoundRobin => Assignor::RoundRobin,
            Assignment::CooperativeSticky => Assignor::CooperativeSticky,
        },
        session_timeout: kafka.session_timeout,
        drain_timeout: kafka.drain_deadline,
        limits: Limits {
            commit_interval: kafka.commit_interval,
            in_flight_records: kafka.max_in_flight_records,
            in_flight_bytes: kafka.max_in_flight_bytes.0,
            stuck_after: kafka.watchdog_age,
        },
        ..defaults
    }
}

/// The producers of an instance.
pub struct Producers {
    pub answers: Output,
    pub single: Output,
    pub log: Output,
    pub metrics: Output,
}

pub fn producers(topology: &Topology) -> Result<Producers, KafkaError> {
    let client = client(&topology.deployment.kafka);
    let largest = u32::try_from(topics::largest_record(topology)).unwrap_or(u32::MAX);
    let largest = largest.max(1_000_000);
    let answers = OutputOptions {
        max_record_bytes: largest,
        ..OutputOptions::new(client.named("answers"))
    };
    let single = OutputOptions {
        max_record_bytes: largest,
        ..OutputOptions::single(client.named("single"))
    };
    // No linger: an invalidation must reach all instances soon rather than fill a batch.
    let log = OutputOptions {
        linger: Duration::ZERO,
        ..OutputOptions::new(client.named("log"))
    };
    Ok(Producers {
        answers: Output::new(&answers)?,
        single: Output::new(&single)?,
        log: Output::new(&log)?,
        metrics: Output::new(&OutputOptions::lossy(client.named("metrics")))?,
    })
}
