//! The topology file as it is written: names not yet looked up, variables not yet put in.
//!
//! The doc comments here are what editors show: they come out in `schemas/topology.schema.json`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Unexpected, Visitor};

use super::cases::CaseShape;
use super::units::{At, ByteSize, Connection, Lasting, Named};
use crate::model::Mode;

/// A wedcache topology: what is cached, for how long, what makes it invalid, and where it all
/// runs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TopologyFile {
    /// What this topology is called in logs and drawings.
    #[schemars(with = "At<String>")]
    pub(super) name: Option<At<String>>,
    /// The version of this file; free text.
    #[schemars(with = "At<String>")]
    pub(super) version: Option<At<String>>,
    #[schemars(with = "KafkaShape")]
    pub(super) kafka: Option<KafkaShape>,
    /// The schema registry for Confluent-framed records. Without it, Avro single-object and JSON
    /// still work.
    pub(super) registry: Option<RegistryShape>,
    #[schemars(with = "TopicsShape")]
    pub(super) topics: Option<TopicsShape>,
    /// The kinds of questions, by the name that queries give as their type.
    #[schemars(with = "Named<CacheTypeShape>")]
    pub(super) cache_types: Option<Named<CacheTypeShape>>,
    /// Cities whose answers are kept apart from their state's.
    #[serde(default)]
    pub(super) markets: Vec<MarketShape>,
    /// The months of the year, each exactly once.
    #[schemars(with = "At<Vec<SeasonShape>>")]
    pub(super) seasons: Option<At<Vec<SeasonShape>>>,
    /// Upper bounds of the guest bands, ascending; above the last it is open.
    #[schemars(with = "At<Vec<u32>>")]
    pub(super) guest_bands: Option<At<Vec<u32>>>,
    /// Strategies by vendor type.
    #[schemars(with = "Named<VendorShape>")]
    pub(super) vendors: Option<Named<VendorShape>>,
    /// How the TTL shrinks (or grows) as the wedding comes near.
    #[serde(default)]
    pub(super) nearness: Vec<NearnessShape>,
    /// The share of a TTL that is taken off at random, from 0 to below 1, so that entries of one
    /// moment do not all expire at one moment.
    pub(super) ttl_jitter: Option<At<f64>>,
    /// A regular expression that finds vendor ids in answers; its first group is the id where it
    /// has one, else the whole match.
    pub(super) vendor_id_pattern: Option<At<String>>,
    /// Where answers are kept, looked up in this order: memory, disk, redis. Each is optional.
    #[schemars(with = "LayersShape")]
    pub(super) layers: Option<LayersShape>,
    /// AI providers by name.
    #[schemars(with = "Named<ProviderShape>")]
    pub(super) providers: Option<Named<ProviderShape>>,
    /// What the models cost.
    pub(super) prices: Option<PricesShape>,
    /// Which changes make which answers invalid.
    #[schemars(with = "Vec<RuleShape>")]
    pub(super) rules: Option<Vec<RuleShape>>,
    #[serde(default)]
    pub(super) freshness: FreshnessShape,
    #[serde(default)]
    pub(super) server: ServerShape,
    /// Test cases of this topology, run by `wedcache test`.
    #[serde(default)]
    pub(super) tests: Vec<CaseShape>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KafkaShape {
    /// `host:port`, several separated by commas.
    pub(super) bootstrap_servers: Connection,
    #[serde(default = "client_id")]
    pub(super) client_id: String,
    #[serde(default)]
    pub(super) groups: GroupsShape,
    /// Static membership: an id that is this instance's alone and survives its restart. Empty
    /// means dynamic membership.
    pub(super) instance_id: Option<Connection>,
    /// How long a dead member keeps its partitions.
    #[serde(default = "session_timeout")]
    pub(super) session_timeout: At<Lasting>,
    #[serde(default)]
    pub(super) assignment: Assignment,
    /// Threads that poll the query topic.
    #[serde(default = "poll_threads")]
    pub(super) poll_threads: At<u16>,
    #[serde(default)]
    pub(super) in_flight: InFlightShape,
    /// How long a revoked partition's queries may take to finish.
    #[serde(default = "drain_deadline")]
    pub(super) drain_deadline: Lasting,
    #[serde(default = "commit_interval")]
    pub(super) commit_interval: At<Lasting>,
    /// The age of an unfinished offset at which the instance is no longer ready; at twice the age
    /// it ends itself.
    #[serde(default = "watchdog")]
    pub(super) watchdog: At<Lasting>,
    /// Any librdkafka setting, such as `security.protocol`. Variables may stand in the values.
    #[serde(default)]
    pub(super) properties: Named<Connection>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GroupsShape {
    /// The consumer group that answers queries.
    pub(super) queries: String,
    /// The consumer group that judges change events.
    pub(super) rules: String,
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
    /// The value of librdkafka's `partition.assignment.strategy`.
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
pub(super) struct InFlightShape {
    pub(super) records: At<u32>,
    pub(super) bytes: ByteSize,
}

impl Default for InFlightShape {
    fn default() -> Self {
        Self {
            records: at(4096),
            bytes: ByteSize::mib(64),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegistryShape {
    /// Base addresses, tried in turn. A list whose variables are all empty means no registry.
    pub(super) urls: Vec<Connection>,
    pub(super) auth: Option<RegistryAuthShape>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RegistryAuthShape {
    Basic(BasicAuthShape),
    /// A token for the `Authorization: Bearer` header.
    Bearer(Connection),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BasicAuthShape {
    pub(super) user: Connection,
    pub(super) password: Connection,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicsShape {
    /// In: AI queries.
    pub(super) queries: InputTopicShape,
    /// In: what changed at vendors, keyed by vendor id.
    pub(super) vendor_changes: InputTopicShape,
    /// In: what changed at weddings, keyed by wedding id.
    pub(super) wedding_updates: InputTopicShape,
    /// Out: answers, keyed as their queries.
    pub(super) answers: OutputTopicShape,
    /// Out: what happened to every query.
    pub(super) metrics: OutputTopicShape,
    /// The invalidation log: one partition, compacted, JSON.
    pub(super) invalidations: LogTopicShape,
    /// Out: alerts.
    pub(super) alerts: OutputTopicShape,
    /// Out: operators' actions.
    pub(super) audit: OutputTopicShape,
    /// Out: what could not be read, byte for byte.
    pub(super) dead_letters: DeadLetterTopicShape,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InputTopicShape {
    pub(super) name: At<String>,
    #[serde(default = "partitions")]
    pub(super) partitions: At<u16>,
    #[serde(default = "replication_factor")]
    pub(super) replication_factor: At<u16>,
    #[serde(default = "retention")]
    pub(super) retention: At<Lasting>,
    /// Larger values are dead-lettered as `too_large`.
    #[serde(default = "max_value")]
    pub(super) max_bytes: At<ByteSize>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutputTopicShape {
    pub(super) name: At<String>,
    #[serde(default = "partitions")]
    pub(super) partitions: At<u16>,
    #[serde(default = "replication_factor")]
    pub(super) replication_factor: At<u16>,
    #[serde(default = "retention")]
    pub(super) retention: At<Lasting>,
    #[serde(default = "format")]
    pub(super) format: At<Format>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogTopicShape {
    pub(super) name: At<String>,
    #[serde(default = "replication_factor")]
    pub(super) replication_factor: At<u16>,
    /// At least as long as any entry may live: the longest TTL × the highest season and nearness
    /// factors + stale window + stale-if-error.
    pub(super) retention: At<Lasting>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadLetterTopicShape {
    pub(super) name: At<String>,
    #[serde(default = "partitions")]
    pub(super) partitions: At<u16>,
    #[serde(default = "replication_factor")]
    pub(super) replication_factor: At<u16>,
    #[serde(default = "retention")]
    pub(super) retention: At<Lasting>,
    /// Larger than any record of the inputs.
    #[serde(default = "max_dead_letter")]
    pub(super) max_bytes: At<ByteSize>,
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

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CacheTypeShape {
    pub(super) sharing: At<SharingShape>,
    /// What the key says beyond type, place, season, budget and content, in the key's order.
    pub(super) dimensions: At<Vec<At<DimensionShape>>>,
    /// How long an answer is fresh, before the vendor types', the season's and nearness's say.
    pub(super) ttl: At<Lasting>,
    /// How long after a refresh or a lag an entry may still be served, labelled stale.
    #[serde(default = "stale_window")]
    pub(super) stale_window: Lasting,
    /// How long past its TTL an entry may be served, labelled so, while the provider is away.
    #[serde(default = "stale_if_error")]
    pub(super) stale_if_error: Lasting,
    /// Vendor types that every question of this type concerns, named or not.
    #[serde(default)]
    pub(super) vendor_types: Vec<At<String>>,
    /// One of `providers`.
    pub(super) provider: At<String>,
    /// The most tokens that the model may answer with.
    #[serde(default = "max_tokens")]
    pub(super) max_tokens: At<u32>,
    pub(super) prompt: PromptShape,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PromptShape {
    /// Raise it with every change of the instructions: it makes every key of this type a new one.
    #[serde(default = "one")]
    pub(super) version: u32,
    /// What the model is told before the question.
    pub(super) instructions: At<String>,
}

/// Whether couples share an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum SharingShape {
    /// Made from the key's dimensions and the question alone, shared by all who have that key.
    Shared,
    /// About one wedding, whose id is part of the key.
    Private,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DimensionShape {
    /// The vendors that the question is about.
    Vendors,
    /// The vendor types that the question is about.
    VendorTypes,
    /// The wedding's style.
    Style,
    /// The guest count, as a band.
    Guests,
    /// The wedding's id: makes the type private.
    Wedding,
    /// The prompt's version.
    Prompt,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MarketShape {
    pub(super) city: At<String>,
    /// The two-letter code.
    pub(super) state: At<String>,
    /// Other names of the city, such as `NYC`.
    #[serde(default)]
    pub(super) aliases: Vec<At<String>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SeasonShape {
    /// Calendar months, January is 1.
    pub(super) months: Vec<At<u8>>,
    /// The season's name in keys; several entries may share it.
    pub(super) name: At<String>,
    /// What TTLs are multiplied by for weddings in these months.
    #[serde(default = "factor")]
    pub(super) ttl_factor: At<f64>,
    /// How much capacity these months need beside the quietest.
    #[serde(default = "factor")]
    pub(super) capacity_factor: At<f64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VendorShape {
    /// The longest that an answer about this vendor type is fresh.
    pub(super) ttl: At<Lasting>,
    /// Actions of couples after which answers about this vendor type are worth having at hand.
    #[serde(default)]
    pub(super) preload_triggers: Vec<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NearnessShape {
    /// For weddings within so many days …
    pub(super) within_days: At<u32>,
    /// … TTLs are multiplied by this.
    pub(super) ttl_factor: At<f64>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LayersShape {
    pub(super) memory: Option<MemoryShape>,
    pub(super) disk: Option<DiskShape>,
    pub(super) redis: Option<RedisShape>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MemoryShape {
    /// The most that entries may take.
    pub(super) size: At<ByteSize>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DiskShape {
    /// A folder of this instance's own.
    pub(super) path: Connection,
    /// The store's page cache in memory.
    #[serde(default = "disk_cache")]
    pub(super) cache_size: At<ByteSize>,
    /// The most that entries may take on disk; without it, the sweep of expired entries is the
    /// only bound.
    pub(super) max_size: Option<At<ByteSize>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RedisShape {
    /// An empty address means no Redis layer.
    pub(super) server: RedisServerShape,
    #[serde(default = "redis_connect")]
    pub(super) connect_timeout: At<Lasting>,
    /// What is not answered by then is a miss.
    #[serde(default = "redis_response")]
    pub(super) response_timeout: At<Lasting>,
    #[serde(default)]
    pub(super) breaker: BreakerShape,
    /// What every key of ours starts with.
    #[serde(default = "key_prefix")]
    pub(super) key_prefix: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RedisServerShape {
    /// `redis://host:6379` or `rediss://user:password@host:6379`.
    Single(Connection),
    /// Some nodes of the cluster; the others are found through them.
    Cluster(Vec<Connection>),
}

/// A circuit breaker: after so many failures in a row, nothing is tried for a while.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BreakerShape {
    pub(super) failures: At<u32>,
    pub(super) open_for: At<Lasting>,
}

impl Default for BreakerShape {
    fn default() -> Self {
        Self {
            failures: at(5),
            open_for: at(Lasting::secs(10)),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ProviderShape {
    /// OpenAI-compatible chat completions.
    Openai(HttpProviderShape),
    /// Anthropic messages.
    Anthropic(HttpProviderShape),
    /// Built in, for demos and tests; its answers say `simulated`.
    Simulator(SimulatorShape),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpProviderShape {
    /// Up to and with the version: `https://api.openai.com/v1`.
    pub(super) base_url: Connection,
    pub(super) api_key: Option<Connection>,
    pub(super) model: At<String>,
    #[serde(default = "ai_connect")]
    pub(super) connect_timeout: At<Lasting>,
    /// Until the reply's first byte.
    #[serde(default = "ai_first_byte")]
    pub(super) first_byte_timeout: At<Lasting>,
    /// For one attempt as a whole.
    #[serde(default = "ai_total")]
    pub(super) total_timeout: At<Lasting>,
    #[serde(default)]
    pub(super) retry: RetryShape,
    /// Calls at one time, from this instance.
    #[serde(default = "concurrency")]
    pub(super) concurrency: At<u32>,
    #[serde(default)]
    pub(super) breaker: BreakerShape,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RetryShape {
    /// Attempts after the first.
    pub(super) attempts: At<u32>,
    /// The longest first wait; it doubles with every attempt, and the wait is drawn at random
    /// below it.
    pub(super) base_delay: At<Lasting>,
    pub(super) max_delay: Lasting,
    /// Retries as a share of all calls: beyond it, failures are not retried.
    pub(super) budget: At<f64>,
}

impl Default for RetryShape {
    fn default() -> Self {
        Self {
            attempts: at(3),
            base_delay: at(Lasting::millis(250)),
            max_delay: Lasting::secs(10),
            budget: at(0.2),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SimulatorShape {
    pub(super) model: String,
    /// The same seed gives the same answers, delays and errors.
    pub(super) seed: u64,
    pub(super) latency: LatencyShape,
    pub(super) errors: ErrorRatesShape,
    /// How many vendors an answer refers to, at most.
    pub(super) vendors_per_answer: u32,
    pub(super) concurrency: At<u32>,
}

impl Default for SimulatorShape {
    fn default() -> Self {
        Self {
            model: "simulated-planner".to_owned(),
            seed: 1,
            latency: LatencyShape::default(),
            errors: ErrorRatesShape::default(),
            vendors_per_answer: 3,
            concurrency: at(64),
        }
    }
}

/// Delays are drawn between the two.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LatencyShape {
    pub(super) min: At<Lasting>,
    pub(super) max: At<Lasting>,
}

impl Default for LatencyShape {
    fn default() -> Self {
        Self {
            min: at(Lasting::millis(300)),
            max: at(Lasting::millis(1500)),
        }
    }
}

/// Shares of all calls, from 0 to 1.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ErrorRatesShape {
    /// Told to wait (429).
    pub(super) rate_limited: At<f64>,
    /// The provider fails (500).
    pub(super) server_error: At<f64>,
    /// No reply in time.
    pub(super) timeout: At<f64>,
    /// The model refuses to answer.
    pub(super) refused: At<f64>,
}

impl Default for ErrorRatesShape {
    fn default() -> Self {
        Self {
            rate_limited: at(0.0),
            server_error: at(0.0),
            timeout: at(0.0),
            refused: at(0.0),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PricesShape {
    /// The day on which these prices were looked up.
    pub(super) date: At<String>,
    /// US dollars per million tokens, by model.
    pub(super) models: Named<PriceShape>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PriceShape {
    pub(super) input: At<f64>,
    pub(super) output: At<f64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleShape {
    /// Told in every invalidation.
    pub(super) name: At<String>,
    /// `vendor.<change>` or `wedding.<change>`; `vendor.*` is every change.
    pub(super) on: At<String>,
    /// The cache types that it touches; without it, all of them.
    pub(super) types: Option<At<TypesShape>>,
    /// Whose answers.
    pub(super) scope: At<ScopeShape>,
    /// A CEL condition over the event; without it, always.
    pub(super) when: Option<At<String>>,
    /// `purge`: never served again. `refresh`: may be served stale while it is fetched anew.
    #[schemars(with = "ModeSchema")]
    pub(super) mode: Mode,
    #[serde(default = "yes")]
    pub(super) active: bool,
}

/// `all`, or a list of names.
#[derive(Debug)]
pub(super) enum TypesShape {
    All,
    Named(Vec<At<String>>),
}

impl<'de> Deserialize<'de> for TypesShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TypesVisitor;
        impl<'de> Visitor<'de> for TypesVisitor {
            type Value = TypesShape;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`all`, or a list of cache types")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<TypesShape, E> {
                if text == "all" {
                    return Ok(TypesShape::All);
                }
                Err(E::invalid_value(Unexpected::Str(text), &self))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<TypesShape, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(TypesShape::Named(names))
            }
        }
        deserializer.deserialize_any(TypesVisitor)
    }
}

impl JsonSchema for TypesShape {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Types".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"const": "all"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ],
        })
    }
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(
    dead_code,
    reason = "what the schema shows in place of the model's type"
)]
enum ModeSchema {
    /// Never served again.
    Purge,
    /// May be served stale while one call fetches it anew.
    Refresh,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ScopeShape {
    /// Every answer of the types.
    Global,
    /// What this wedding asked for.
    Wedding,
    /// What this user asked for.
    User,
    /// Answers for the event's place; for a moved wedding the place before and after.
    Location,
    /// Answers about this vendor or naming it.
    Vendor,
    /// Answers about this type of vendor in the event's place.
    VendorType,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FreshnessShape {
    /// How far this instance's view of the invalidation log may lag.
    pub(super) max_invalidation_lag: LagShape,
    /// How far the judging of change events may lag.
    pub(super) max_rules_lag: LagShape,
    /// How long a start waits for the changes that stood unjudged at its start; longer than the
    /// session timeout.
    pub(super) start_barrier_timeout: At<Lasting>,
    /// At most once in this time a change event that cannot be read refreshes all it could touch.
    pub(super) widen_refresh_interval: At<Lasting>,
}

impl Default for FreshnessShape {
    fn default() -> Self {
        let lag = |secs, then| LagShape {
            lag: at(Lasting::secs(secs)),
            then,
        };
        Self {
            max_invalidation_lag: lag(10, LagAction::Stale),
            max_rules_lag: lag(30, LagAction::Stale),
            start_barrier_timeout: at(Lasting::secs(60)),
            widen_refresh_interval: at(Lasting::secs(300)),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LagShape {
    pub(super) lag: At<Lasting>,
    pub(super) then: LagAction,
}

/// What look-ups do past a lag's bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LagAction {
    /// Serve what is cached, labelled stale.
    Stale,
    /// Serve nothing from the cache: every query is a call.
    Bypass,
}

impl LagAction {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Bypass => "bypass",
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServerShape {
    /// `address:port` of `/metrics`, `/livez` and `/readyz`.
    pub(super) listen: Connection,
}

impl Default for ServerShape {
    fn default() -> Self {
        Self {
            listen: Connection(at("${WEDCACHE_LISTEN:-127.0.0.1:9464}".to_owned())),
        }
    }
}

/// A default stands nowhere in the file.
fn at<T>(value: T) -> At<T> {
    At {
        value,
        span: super::problem::Span::default(),
    }
}

macro_rules! defaults {
    ($($name:ident: $type:ty = $value:expr;)*) => {$(
        fn $name() -> $type {
            $value
        }
    )*};
}

defaults! {
    client_id: String = "wedcache".to_owned();
    session_timeout: At<Lasting> = at(Lasting::secs(6));
    poll_threads: At<u16> = at(2);
    drain_deadline: Lasting = Lasting::secs(10);
    commit_interval: At<Lasting> = at(Lasting::secs(1));
    watchdog: At<Lasting> = at(Lasting::secs(120));
    partitions: At<u16> = at(12);
    replication_factor: At<u16> = at(3);
    retention: At<Lasting> = at(Lasting::secs(7 * 86_400));
    max_value: At<ByteSize> = at(ByteSize::kib(256));
    max_dead_letter: At<ByteSize> = at(ByteSize::mib(2));
    format: At<Format> = at(Format::Json);
    stale_window: Lasting = Lasting::secs(3_600);
    stale_if_error: Lasting = Lasting::secs(6 * 3_600);
    max_tokens: At<u32> = at(800);
    one: u32 = 1;
    factor: At<f64> = at(1.0);
    disk_cache: At<ByteSize> = at(ByteSize::mib(128));
    redis_connect: At<Lasting> = at(Lasting::millis(500));
    redis_response: At<Lasting> = at(Lasting::millis(20));
    key_prefix: String = "wedcache:".to_owned();
    ai_connect: At<Lasting> = at(Lasting::secs(3));
    ai_first_byte: At<Lasting> = at(Lasting::secs(30));
    ai_total: At<Lasting> = at(Lasting::secs(60));
    concurrency: At<u32> = at(64);
    yes: bool = true;
}
