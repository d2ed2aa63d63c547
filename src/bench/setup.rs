//! What a run works on: its topology, its topics, its queries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::queries::Queries;
use super::{BenchError, Options};
use crate::app::client;
use crate::kafka::admin::{Admin, Apply, TopicSpec};
use crate::kafka::{ClientOptions, Delivery, OutRecord, Output, OutputOptions};
use crate::topology::settings::{Provider, Role, Topic};
use crate::topology::{self, ByteSize, Topology, Variables};

const DEMO: &str = include_str!("../../topologies/demo.yaml");
const IN_FLIGHT_BYTES: ByteSize = ByteSize(64 << 20);
const MEMORY: ByteSize = ByteSize(256 << 20);
/// The topics of a run stay in a cluster that is not ours; their records for an hour.
const RETENTION_MS: &str = "3600000";
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
const ROOM_WAIT: Duration = Duration::from_secs(30);
const FLUSH_WAIT: Duration = Duration::from_mins(1);

/// The demo's topology with topics of this run's own, the memory layer alone, and a provider that
/// answers at once.
pub(super) fn topology(
    options: &Options,
    bootstrap: &str,
    run: &str,
) -> Result<Topology, BenchError> {
    let variables = |name: &str| match name {
        "WEDCACHE_KAFKA" => Some(bootstrap.to_owned()),
        "WEDCACHE_LISTEN" => Some("127.0.0.1:0".to_owned()),
        _ => None,
    };
    let mut topology = topology::read("demo.yaml", DEMO, Variables::From(&variables))
        .map_err(|problems| BenchError::Topology {
            problems: problems.to_string(),
        })?
        .topology;
    let topics = &mut topology.topics;
    for topic in [
        &mut topics.queries,
        &mut topics.vendor_changes,
        &mut topics.wedding_updates,
        &mut topics.answers,
        &mut topics.metrics,
        &mut topics.invalidations,
        &mut topics.alerts,
        &mut topics.audit,
        &mut topics.dead_letters,
    ] {
        topic.name = format!("{run}.{}", topic.name).into();
        topic.format = topic.format.map(|_| options.format);
    }
    topology.kafka.poll_threads = options.poll_threads;
    topology.kafka.max_in_flight_records = options.in_flight;
    topology.kafka.max_in_flight_bytes = IN_FLIGHT_BYTES;
    topology.layers.disk = None;
    topology.layers.redis = None;
    if let Some(memory) = &mut topology.layers.memory {
        memory.size = MEMORY;
    }
    for provider in topology.providers.values_mut() {
        if let Provider::Simulator(simulator) = provider {
            simulator.min_latency = Duration::ZERO;
            simulator.max_latency = Duration::ZERO;
            simulator.rate_limited = 0.0;
            simulator.server_error = 0.0;
        }
    }
    Ok(topology)
}

/// The topics in a cluster.
pub(super) struct Stage {
    pub(super) topology: Topology,
    pub(super) client: ClientOptions,
    pub(super) admin: Admin,
}

/// The outputs of the bare loop, beside wedcache's.
pub(super) fn bare_topic(topology: &Topology, role: Role) -> String {
    format!("{}.bare", topology.topics.get(role).name)
}

impl Stage {
    pub(super) async fn new(topology: Topology) -> Result<Self, BenchError> {
        let client = client(&topology.kafka);
        let admin = Admin::new(&client.named("admin"), ADMIN_TIMEOUT)?;
        let mut desired: Vec<_> = topology
            .topics
            .iter()
            .map(|topic| spec(topic, topic.name.to_string()))
            .collect();
        for role in [Role::Answers, Role::Metrics] {
            desired.push(spec(topology.topics.get(role), bare_topic(&topology, role)));
        }
        let actions = admin.plan(&desired).await?;
        admin.apply(&actions, Apply::default()).await?;
        Ok(Self {
            topology,
            client,
            admin,
        })
    }

    pub(super) fn topic(&self, role: Role) -> &Arc<str> {
        &self.topology.topics.get(role).name
    }

    /// How many records a topic has ever taken, by partition.
    pub(super) async fn ends(&self, topic: &str) -> Result<Vec<i64>, BenchError> {
        let ends = self.admin.ends(topic).await?;
        Ok(ends.into_iter().map(|(_, end)| end).collect())
    }

    pub(super) async fn count(&self, topic: &str) -> Result<u64, BenchError> {
        let sum: i64 = self.ends(topic).await?.into_iter().sum();
        Ok(u64::try_from(sum).unwrap_or(0))
    }

    /// Puts all queries into their topic; returns the mean size of a value.
    pub(super) async fn load(&self, queries: &Queries, records: usize) -> Result<u64, BenchError> {
        let output = Output::new(&OutputOptions::new(self.client.named("load")))?;
        let topic = self.topic(Role::Queries);
        let mut bytes = 0;
        for number in 0..records {
            let (key, value) = queries.record(number);
            bytes += value.len();
            let record = OutRecord::to(topic, Some(key.as_bytes()), Some(&value));
            let deadline = Instant::now() + ROOM_WAIT;
            if let Err(refused) = output.send_by(&record, Delivery::Forget, deadline).await {
                tracing::error!(reason = %refused.reason, "a query was refused");
                break;
            }
        }
        output.flush(FLUSH_WAIT).await;
        let delivered = self.count(topic).await?;
        if delivered < records as u64 {
            return Err(BenchError::NotLoaded { delivered, records });
        }
        Ok((bytes / records.max(1)) as u64)
    }
}

fn spec(topic: &Topic, name: String) -> TopicSpec {
    TopicSpec {
        name,
        partitions: topic.partitions.into(),
        replication: 1,
        configs: BTreeMap::from([("retention.ms".to_owned(), RETENTION_MS.to_owned())]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::settings::Format;

    #[test]
    fn the_topology_has_topics_of_its_own_and_no_layer_but_memory() {
        let options = Options {
            records: 1,
            keys: 1,
            poll_threads: 2,
            in_flight: 4096,
            format: Format::Avro,
            kafka: None,
            rounds: 1,
        };
        let topology = topology(&options, "127.0.0.1:1", "r-1").unwrap();
        assert!(topology.topics.iter().all(|of| of.name.starts_with("r-1.")));
        assert_eq!(topology.topics.answers.format, Some(Format::Avro));
        assert_eq!(topology.kafka.poll_threads, 2);
        let layers = &topology.layers;
        assert!(layers.memory.is_some() && layers.disk.is_none() && layers.redis.is_none());
    }
}
