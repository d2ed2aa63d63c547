//! The stage of a scenario: its topology, its topics, its queries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::queries::Queries;
use super::{Bench, BenchError, Wire};
use wedcache::app::{client, patiently};
use wedcache::kafka::admin::{Admin, Apply, TopicSpec};
use wedcache::kafka::{ClientOptions, Delivery, IntakeOptions, OutRecord, Output, OutputOptions};
use wedcache::topology::settings::{Provider, Role, Topic};
use wedcache::topology::{self, ByteSize, Topology, Variables};

const DEMO: &str = include_str!("../../../../topologies/demo.yaml");
const IN_FLIGHT_BYTES: ByteSize = ByteSize(64 << 20);
/// The name of the slow provider, beside the one that answers at once.
const SLOW: &str = "slow";
/// One hour: on a cluster that is not ours the topics of a run stay, but their records expire.
const RETENTION_MS: &str = "3600000";
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
const ROOM_WAIT: Duration = Duration::from_secs(30);
const FLUSH_WAIT: Duration = Duration::from_mins(1);

/// The settings of wedcache in a scenario.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    /// The format of queries, answers and metrics.
    pub(super) format: Wire,
    /// The number of unfinished queries at which the intake pauses, and of calls at once.
    pub(super) in_flight: usize,
    pub(super) memory: ByteSize,
    /// The time that the provider of [`super::queries::MISS_TYPE`] takes for a call.
    pub(super) miss_latency: Duration,
    /// The partitions of queries, answers and metrics; `None` for those of the demo.
    pub(super) partitions: Option<u16>,
    /// True if answers are of many lengths, as [`super::varied`] writes them.
    pub(super) varied: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            format: Wire::Json,
            in_flight: 32_768,
            memory: ByteSize(256 << 20),
            miss_latency: Duration::from_secs(2),
            partitions: None,
            varied: false,
        }
    }
}

/// Returns the demo's topology with this run's own topics, the memory layer alone, a provider that
/// answers at once, and a slow one for the questions that are to miss.
pub(super) fn topology(setup: &Setup, bootstrap: &str, run: &str) -> Result<Topology, BenchError> {
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
    let topics = &mut topology.deployment.topics;
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
        topic.format = topic.format.map(|_| setup.format.format());
    }
    if let Some(partitions) = setup.partitions {
        for topic in [
            &mut topics.queries,
            &mut topics.answers,
            &mut topics.metrics,
        ] {
            topic.partitions = partitions;
        }
    }
    topology.deployment.kafka.max_in_flight_records = setup.in_flight;
    topology.deployment.kafka.max_in_flight_bytes = IN_FLIGHT_BYTES;
    topology.deployment.layers.disk = None;
    topology.deployment.layers.redis = None;
    if let Some(memory) = &mut topology.deployment.layers.memory {
        memory.size = setup.memory;
    }
    simulate(&mut topology, setup);
    Ok(topology)
}

fn simulate(topology: &mut Topology, setup: &Setup) {
    for provider in topology.deployment.providers.values_mut() {
        if let Provider::Simulator(simulator) = provider {
            simulator.min_latency = Duration::ZERO;
            simulator.max_latency = Duration::ZERO;
            simulator.rate_limited = 0.0;
            simulator.server_error = 0.0;
            simulator.concurrency = setup.in_flight;
        }
    }
    let slow = topology
        .deployment
        .providers
        .values()
        .find_map(|of| match of {
            Provider::Simulator(simulator) => Some(simulator.clone()),
            Provider::OpenAi(_) | Provider::Anthropic(_) => None,
        });
    let Some(mut slow) = slow else { return };
    slow.min_latency = setup.miss_latency;
    slow.max_latency = setup.miss_latency;
    let name: Arc<str> = SLOW.into();
    topology
        .deployment
        .providers
        .insert(Arc::clone(&name), Provider::Simulator(slow));
    if let Some(generation) = topology
        .policy
        .generation
        .get_mut(super::queries::MISS_TYPE)
    {
        generation.provider = name;
    }
}

/// A scenario's topics in a cluster.
pub(super) struct Stage {
    pub(super) topology: Topology,
    pub(super) client: ClientOptions,
    pub(super) format: Wire,
    pub(super) varied: bool,
    admin: Admin,
    groups: AtomicU32,
}

/// Returns the name of the bare loop's output topic, which stands beside wedcache's.
pub(super) fn bare_topic(topology: &Topology, role: Role) -> String {
    format!("{}.bare", topology.deployment.topics.get(role).name)
}

impl Stage {
    /// Creates the topics; `name` distinguishes them from other stages of this run.
    pub(super) async fn new(
        bench: &Bench,
        bootstrap: &str,
        setup: &Setup,
        name: &str,
    ) -> Result<Self, BenchError> {
        let run = format!("bench-{}-{name}", bench.clock.now().0);
        let topology = topology(setup, bootstrap, &run)?;
        let client = client(&topology.deployment.kafka);
        let admin = Admin::new(&client.named("admin"), ADMIN_TIMEOUT)?;
        let mut desired: Vec<_> = topology
            .deployment
            .topics
            .iter()
            .map(|topic| spec(topic, topic.name.to_string()))
            .collect();
        for role in [Role::Answers, Role::Metrics] {
            desired.push(spec(
                topology.deployment.topics.get(role),
                bare_topic(&topology, role),
            ));
        }
        let actions = admin.plan(&desired).await?;
        admin.apply(&actions, Apply::default()).await?;
        Ok(Self {
            topology,
            client,
            format: setup.format,
            varied: setup.varied,
            admin,
            groups: AtomicU32::new(0),
        })
    }

    pub(super) fn topic(&self, role: Role) -> &Arc<str> {
        &self.topology.deployment.topics.get(role).name
    }

    pub(super) fn partitions(&self, role: Role) -> i32 {
        self.topology.deployment.topics.get(role).partitions.into()
    }

    /// Returns a name that no group of this stage has had.
    pub(super) fn fresh_group(&self) -> String {
        let number = self.groups.fetch_add(1, Ordering::Relaxed);
        format!("{}.{number}", self.topic(Role::Queries))
    }

    /// Returns options for reading a topic without joining a group.
    pub(super) fn input(&self, topic: &str) -> IntakeOptions {
        let client = self.client.named("bare");
        IntakeOptions::new(client, format!("{topic}.bare"), vec![topic.to_owned()])
    }

    /// Returns how many records a topic has ever taken, by partition. Waits while a topic that was
    /// just created has no leader yet.
    pub(super) async fn ends(&self, topic: &str) -> Result<Vec<i64>, BenchError> {
        let ends = patiently(async || self.admin.ends(topic).await).await?;
        Ok(ends.into_iter().map(|(_, end)| end).collect())
    }

    pub(super) async fn count(&self, topic: &str) -> Result<u64, BenchError> {
        let sum: i64 = self.ends(topic).await?.into_iter().sum();
        Ok(u64::try_from(sum).unwrap_or(0))
    }

    /// Produces all queries to their topic; returns the mean size of a value, in bytes.
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
    use wedcache::topology::settings::Format;

    #[test]
    fn the_topology_has_topics_of_its_own_and_no_layer_but_memory() {
        let setup = Setup {
            format: Wire::Avro,
            ..Setup::default()
        };
        let topology = topology(&setup, "127.0.0.1:1", "r-1").unwrap();
        assert!(
            topology
                .deployment
                .topics
                .iter()
                .all(|of| of.name.starts_with("r-1."))
        );
        assert_eq!(
            topology.deployment.topics.answers.format,
            Some(Format::Avro)
        );
        let layers = &topology.deployment.layers;
        assert!(layers.memory.is_some() && layers.disk.is_none() && layers.redis.is_none());
    }

    #[test]
    fn only_the_questions_that_are_to_miss_go_to_the_slow_provider() {
        let setup = Setup::default();
        let topology = topology(&setup, "127.0.0.1:1", "r-1").unwrap();
        for (cache_type, generation) in &topology.policy.generation {
            let Some(Provider::Simulator(of)) =
                topology.deployment.providers.get(&generation.provider)
            else {
                panic!("no simulator answers {cache_type}");
            };
            let wanted = match &**cache_type {
                super::super::queries::MISS_TYPE => setup.miss_latency,
                _ => Duration::ZERO,
            };
            assert_eq!((of.min_latency, of.concurrency), (wanted, setup.in_flight));
        }
    }
}
