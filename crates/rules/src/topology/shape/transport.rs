//! Kafka, the registry and the topics, as written in the file.

use schemars::JsonSchema;
use serde::Deserialize;

use super::at;
use crate::topology::units::{At, ByteSize, Connection, Lasting, Named};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct KafkaShape {
    /// The brokers as `host:port`, several separated by commas.
    pub(in crate::topology) bootstrap_servers: Connection,
    /// The name of this program's clients at the brokers; each client appends its purpose. By
    /// default `wedcache`.
    #[serde(default = "client_id")]
    pub(in crate::topology) client_id: String,
    /// The consumer groups. All instances with the same groups share the work.
    #[serde(default)]
    pub(in crate::topology) groups: GroupsShape,
    /// The id for static membership: one that only this instance has and that survives its restart,
    /// such as a pod's name. A restart within `session_timeout` then moves no partitions. Empty or
    /// left out: dynamic membership.
    pub(in crate::topology) instance_id: Option<Connection>,
    /// Time after which a dead member's partitions go to other members. By default 6s, the least
    /// that brokers accept by default.
    #[serde(default = "session_timeout")]
    pub(in crate::topology) session_timeout: At<Lasting>,
    /// The assignment of partitions to members. By default `cooperative_sticky`.
    #[serde(default)]
    pub(in crate::topology) assignment: Assignment,
    /// Threads that poll the query topic, each a member of the group. By default 2.
    #[serde(default = "poll_threads")]
    pub(in crate::topology) poll_threads: At<u16>,
    /// The unfinished queries at which the intake pauses.
    #[serde(default)]
    pub(in crate::topology) in_flight: InFlightShape,
    /// The longest time for finishing queries when a partition is revoked or the instance stops. By
    /// default 10s.
    #[serde(default = "drain_deadline")]
    pub(in crate::topology) drain_deadline: Lasting,
    /// The least time between two commits of offsets. By default 1s.
    #[serde(default = "commit_interval")]
    pub(in crate::topology) commit_interval: At<Lasting>,
    /// The age of an unfinished record at which the instance is no longer ready; at twice that age
    /// the process ends. Also the time after which a partition that does not advance is reported as
    /// stuck. By default 2m.
    #[serde(default = "watchdog")]
    pub(in crate::topology) watchdog: At<Lasting>,
    /// Further librdkafka settings, such as `security.protocol: SASL_SSL`; values may contain
    /// variables. Settings that wedcache sets itself are refused. By default none.
    #[serde(default)]
    pub(in crate::topology) properties: Named<Connection>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::topology) struct GroupsShape {
    /// The consumer group that answers queries. By default `wedcache-queries`.
    pub(in crate::topology) queries: String,
    /// The consumer group that judges change events. By default `wedcache-rules`.
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

/// The assignment of partitions to the members of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Assignment {
    /// Moves as few partitions as possible, and the others continue meanwhile.
    #[default]
    CooperativeSticky,
    /// Gives each member a range of partitions; a rebalance stops all members.
    Range,
    /// Gives partitions to the members in turn; a rebalance stops all members.
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

/// The amount of unfinished queries at which the intake pauses; it resumes at half of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::topology) struct InFlightShape {
    /// The number of queries, in all poll threads together. By default 32768.
    pub(in crate::topology) records: At<u32>,
    /// The bytes of keys and values, in all poll threads together. By default 64MiB.
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
    /// Base addresses of one registry's servers, tried in turn, such as `http://registry:8081`. If
    /// all are empty, there is no registry.
    pub(in crate::topology) urls: Vec<Connection>,
    /// The credentials for the registry. By default none are sent.
    pub(in crate::topology) auth: Option<RegistryAuthShape>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::topology) enum RegistryAuthShape {
    /// User and password (HTTP Basic).
    Basic(BasicAuthShape),
    /// A token for the `Authorization: Bearer` header.
    Bearer(Connection),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct BasicAuthShape {
    /// The user's name.
    pub(in crate::topology) user: Connection,
    /// The password, usually a variable.
    pub(in crate::topology) password: Connection,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct TopicsShape {
    /// Copies of each partition of each topic that has no replication factor of its own: a number
    /// or a variable, because it depends on the cluster. By default 3.
    #[serde(default = "replication_factor")]
    pub(in crate::topology) replication_factor: Connection,
    /// Input: AI queries.
    pub(in crate::topology) queries: InputTopicShape,
    /// Input: changes at vendors, keyed by vendor id.
    pub(in crate::topology) vendor_changes: InputTopicShape,
    /// Input: changes at weddings, keyed by wedding id.
    pub(in crate::topology) wedding_updates: InputTopicShape,
    /// Output: answers, keyed as their queries.
    pub(in crate::topology) answers: OutputTopicShape,
    /// Output: an event for every query, call and fill.
    pub(in crate::topology) metrics: OutputTopicShape,
    /// The invalidation log, by which every look-up is judged: one partition, compacted, JSON.
    pub(in crate::topology) invalidations: LogTopicShape,
    /// Output: alerts.
    pub(in crate::topology) alerts: OutputTopicShape,
    /// Output: operators' actions.
    pub(in crate::topology) audit: OutputTopicShape,
    /// Output: records that could not be read, byte for byte, with the reason.
    pub(in crate::topology) dead_letters: DeadLetterTopicShape,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct InputTopicShape {
    /// The topic's name, such as `wedsync.ai.queries`.
    pub(in crate::topology) name: At<String>,
    /// The number of partitions, for `wedcache topics`. By default 12.
    #[serde(default = "partitions")]
    pub(in crate::topology) partitions: At<u16>,
    /// Copies of each partition. By default `topics.replication_factor`.
    #[serde(default)]
    #[schemars(with = "At<u16>")]
    pub(in crate::topology) replication_factor: Option<At<u16>>,
    /// Time for which the brokers keep records. By default 7d.
    #[serde(default = "retention")]
    pub(in crate::topology) retention: At<Lasting>,
    /// The largest value; larger ones become dead letters with the reason `too_large`. By default
    /// 256KiB.
    #[serde(default = "max_value")]
    pub(in crate::topology) max_bytes: At<ByteSize>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct OutputTopicShape {
    /// The topic's name, such as `wedsync.ai.responses`.
    pub(in crate::topology) name: At<String>,
    /// The number of partitions, for `wedcache topics`. By default 12.
    #[serde(default = "partitions")]
    pub(in crate::topology) partitions: At<u16>,
    /// Copies of each partition. By default `topics.replication_factor`.
    #[serde(default)]
    #[schemars(with = "At<u16>")]
    pub(in crate::topology) replication_factor: Option<At<u16>>,
    /// Time for which the brokers keep records. By default 7d.
    #[serde(default = "retention")]
    pub(in crate::topology) retention: At<Lasting>,
    /// The format of the records. By default `json`.
    #[serde(default = "format")]
    pub(in crate::topology) format: At<Format>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct LogTopicShape {
    /// The topic's name, such as `wedsync.cache.invalidations`.
    pub(in crate::topology) name: At<String>,
    /// Copies of the partition. By default `topics.replication_factor`.
    #[serde(default)]
    #[schemars(with = "At<u16>")]
    pub(in crate::topology) replication_factor: Option<At<u16>>,
    /// Time for which the brokers keep records, such as `14d`: at least as long as any entry may
    /// live, which is the longest TTL × the highest season and nearness factors + the stale window
    /// and `stale_if_error`.
    pub(in crate::topology) retention: At<Lasting>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct DeadLetterTopicShape {
    /// The topic's name, such as `wedsync.cache.dead-letters`.
    pub(in crate::topology) name: At<String>,
    /// The number of partitions, for `wedcache topics`. By default 12.
    #[serde(default = "partitions")]
    pub(in crate::topology) partitions: At<u16>,
    /// Copies of each partition. By default `topics.replication_factor`.
    #[serde(default)]
    #[schemars(with = "At<u16>")]
    pub(in crate::topology) replication_factor: Option<At<u16>>,
    /// Time for which the brokers keep records. By default 7d.
    #[serde(default = "retention")]
    pub(in crate::topology) retention: At<Lasting>,
    /// The largest record; larger than the `max_bytes` of every input. By default 2MiB.
    #[serde(default = "max_dead_letter")]
    pub(in crate::topology) max_bytes: At<ByteSize>,
}

/// The format of an output topic's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// JSON.
    #[default]
    Json,
    /// Avro single-object encoding, which needs no registry.
    Avro,
    /// Avro in a Confluent frame, which needs the registry.
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
