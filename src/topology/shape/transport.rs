//! Kafka, the registry and the topics, as written in the file.

use schemars::JsonSchema;
use serde::Deserialize;

use super::at;
use crate::topology::units::{At, ByteSize, Connection, Lasting, Named};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct KafkaShape {
    /// `host:port`, several separated by commas.
    pub(in crate::topology) bootstrap_servers: Connection,
    #[serde(default = "client_id")]
    pub(in crate::topology) client_id: String,
    #[serde(default)]
    pub(in crate::topology) groups: GroupsShape,
    /// Static membership: an id that is this instance's alone and survives its restart. Empty
    /// means dynamic membership.
    pub(in crate::topology) instance_id: Option<Connection>,
    /// How long a dead member keeps its partitions.
    #[serde(default = "session_timeout")]
    pub(in crate::topology) session_timeout: At<Lasting>,
    #[serde(default)]
    pub(in crate::topology) assignment: Assignment,
    /// Threads that poll the query topic.
    #[serde(default = "poll_threads")]
    pub(in crate::topology) poll_threads: At<u16>,
    #[serde(default)]
    pub(in crate::topology) in_flight: InFlightShape,
    /// How long a revoked partition's queries may take to finish.
    #[serde(default = "drain_deadline")]
    pub(in crate::topology) drain_deadline: Lasting,
    #[serde(default = "commit_interval")]
    pub(in crate::topology) commit_interval: At<Lasting>,
    /// The age of an unfinished offset at which the instance is no longer ready; at twice the age
    /// it ends itself.
    #[serde(default = "watchdog")]
    pub(in crate::topology) watchdog: At<Lasting>,
    /// Any librdkafka setting, such as `security.protocol`. Variables may stand in the values.
    #[serde(default)]
    pub(in crate::topology) properties: Named<Connection>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::topology) struct GroupsShape {
    /// The consumer group that answers queries.
    pub(in crate::topology) queries: String,
    /// The consumer group that judges change events.
    pub(in crate::topology) rules: String,
}

impl Default for GroupsShape {
    fn default() -> Self {
        Self {
            queries: "wedcache-queries".to_owned(),
            rules: "wedcache-rules".to_owned(),
        }
    }
}

/// How partitions are shared out among the members of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Assignment {
    /// Moves as few partitions as possible, without stopping the others.
    #[default]
    CooperativeSticky,
    Range,
    RoundRobin,
}

impl Assignment {
    /// Returns the value of librdkafka's `partition.assignment.strategy`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CooperativeSticky => "cooperative-sticky",
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
        }
    }
}

/// How much may be taken in and not yet answered before intake stops.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::topology) struct InFlightShape {
    pub(in crate::topology) records: At<u32>,
    pub(in crate::topology) bytes: ByteSize,
}

impl Default for InFlightShape {
    fn default() -> Self {
        Self {
            records: at(32_768),
            bytes: ByteSize::mib(64),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct RegistryShape {
    /// Base addresses, tried in turn. A list whose variables are all empty means no registry.
    pub(in crate::topology) urls: Vec<Connection>,
    pub(in crate::topology) auth: Option<RegistryAuthShape>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::topology) enum RegistryAuthShape {
    Basic(BasicAuthShape),
    /// A token for the `Authorization: Bearer` header.
    Bearer(Connection),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct BasicAuthShape {
    pub(in crate::topology) user: Connection,
    pub(in crate::topology) password: Connection,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct TopicsShape {
    /// Copies of each partition of each topic that has no factor of its own: a number, or a
    /// variable, as it goes by the cluster.
    #[serde(default = "replication_factor")]
    pub(in crate::topology) replication_factor: Connection,
    /// In: AI queries.
    pub(in crate::topology) queries: InputTopicShape,
    /// In: what changed at vendors, keyed by vendor id.
    pub(in crate::topology) vendor_changes: InputTopicShape,
    /// In: what changed at weddings, keyed by wedding id.
    pub(in crate::topology) wedding_updates: InputTopicShape,
    /// Out: answers, keyed as their queries.
    pub(in crate::topology) answers: OutputTopicShape,
    /// Out: what happened to every query.
    pub(in crate::topology) metrics: OutputTopicShape,
    /// The invalidation log: one partition, compacted, JSON.
    pub(in crate::topology) invalidations: LogTopicShape,
    /// Out: alerts.
    pub(in crate::topology) alerts: OutputTopicShape,
    /// Out: operators' actions.
    pub(in crate::topology) audit: OutputTopicShape,
    /// Out: what could not be read, byte for byte.
    pub(in crate::topology) dead_letters: DeadLetterTopicShape,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct InputTopicShape {
    pub(in crate::topology) name: At<String>,
    #[serde(default = "partitions")]
    pub(in crate::topology) partitions: At<u16>,
    /// Copies of each partition, where not as many as of the other topics.
    #[serde(default)]
    #[schemars(with = "At<u16>")]
    pub(in crate::topology) replication_factor: Option<At<u16>>,
    #[serde(default = "retention")]
    pub(in crate::topology) retention: At<Lasting>,
    /// Larger values are dead-lettered as `too_large`.
    #[serde(default = "max_value")]
    pub(in crate::topology) max_bytes: At<ByteSize>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct OutputTopicShape {
    pub(in crate::topology) name: At<String>,
    #[serde(default = "partitions")]
    pub(in crate::topology) partitions: At<u16>,
    /// Copies of each partition, where not as many as of the other topics.
    #[serde(default)]
    #[schemars(with = "At<u16>")]
    pub(in crate::topology) replication_factor: Option<At<u16>>,
    #[serde(default = "retention")]
    pub(in crate::topology) retention: At<Lasting>,
    #[serde(default = "format")]
    pub(in crate::topology) format: At<Format>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct LogTopicShape {
    pub(in crate::topology) name: At<String>,
    /// Copies of each partition, where not as many as of the other topics.
    #[serde(default)]
    #[schemars(with = "At<u16>")]
    pub(in crate::topology) replication_factor: Option<At<u16>>,
    /// At least as long as any entry may live: the longest TTL × the highest season and nearness
    /// factors + stale window + stale-if-error.
    pub(in crate::topology) retention: At<Lasting>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct DeadLetterTopicShape {
    pub(in crate::topology) name: At<String>,
    #[serde(default = "partitions")]
    pub(in crate::topology) partitions: At<u16>,
    /// Copies of each partition, where not as many as of the other topics.
    #[serde(default)]
    #[schemars(with = "At<u16>")]
    pub(in crate::topology) replication_factor: Option<At<u16>>,
    #[serde(default = "retention")]
    pub(in crate::topology) retention: At<Lasting>,
    /// Larger than any record of the inputs.
    #[serde(default = "max_dead_letter")]
    pub(in crate::topology) max_bytes: At<ByteSize>,
}

/// How the records of an output topic are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    #[default]
    Json,
    /// Avro single-object encoding: needs no registry.
    Avro,
    /// Avro in a Confluent frame: needs the registry.
    Confluent,
}

impl Format {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Avro => "avro",
            Self::Confluent => "confluent",
        }
    }
}

defaults! {
    client_id: String = "wedcache".to_owned();
    session_timeout: At<Lasting> = at(Lasting::secs(6));
    poll_threads: At<u16> = at(2);
    drain_deadline: Lasting = Lasting::secs(10);
    commit_interval: At<Lasting> = at(Lasting::secs(1));
    watchdog: At<Lasting> = at(Lasting::secs(120));
    partitions: At<u16> = at(12);
    replication_factor: Connection = Connection(at("3".to_owned()));
    retention: At<Lasting> = at(Lasting::secs(7 * 86_400));
    max_value: At<ByteSize> = at(ByteSize::kib(256));
    max_dead_letter: At<ByteSize> = at(ByteSize::mib(2));
    format: At<Format> = at(Format::Json);
}
