//! The topology file as written: names not yet resolved, variables not yet substituted.
//!
//! Editors show the doc comments here: they become descriptions in `schemas/topology.schema.json`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Unexpected, Visitor};

use wedcache_model::Mode;

use super::cases::CaseShape;
use super::units::{At, Connection, Lasting, Named};

macro_rules! defaults {
    ($($name:ident: $type:ty = $value:expr;)*) => {$(
        fn $name() -> $type {
            $value
        }
    )*};
}

mod services;
mod transport;

pub(super) use self::services::*;
pub use self::transport::*;

/// A wedcache topology: what is cached, for how long, what makes an answer invalid, and where
/// everything runs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TopologyFile {
    /// The topology's name in logs and drawings, such as `wedsync`.
    #[schemars(with = "At<String>")]
    pub(super) name: Option<At<String>>,
    /// The version of this file, as free text, such as `"1"`.
    #[schemars(with = "At<String>")]
    pub(super) version: Option<At<String>>,
    /// The Kafka cluster, and the settings of the consumers.
    #[schemars(with = "KafkaShape")]
    pub(super) kafka: Option<KafkaShape>,
    /// The schema registry for records in Confluent frames. Without it only JSON and Avro single
    /// objects can be read and written.
    pub(super) registry: Option<RegistryShape>,
    /// The topics by their purpose.
    #[schemars(with = "TopicsShape")]
    pub(super) topics: Option<TopicsShape>,
    /// The kinds of questions, by the name that queries give as their type, such as
    /// `vendor_matching`.
    #[schemars(with = "Named<CacheTypeShape>")]
    pub(super) cache_types: Option<Named<CacheTypeShape>>,
    /// Cities whose answers are kept separate from those of their state. By default none.
    #[serde(default)]
    pub(super) markets: Vec<MarketShape>,
    /// The seasons of the year; every month must occur exactly once.
    #[schemars(with = "At<Vec<SeasonShape>>")]
    pub(super) seasons: Option<At<Vec<SeasonShape>>>,
    /// Upper bounds of the guest bands in keys, ascending; the band above the last bound is open.
    /// For example, `[50, 100]` makes the bands 1-50, 51-100 and 101+.
    #[schemars(with = "At<Vec<u32>>")]
    pub(super) guest_bands: Option<At<Vec<u32>>>,
    /// The settings of each vendor type, such as `florist`.
    #[schemars(with = "Named<VendorShape>")]
    pub(super) vendors: Option<Named<VendorShape>>,
    /// Steps by which TTLs shrink (or grow) as the wedding comes near, the nearest first. By
    /// default none.
    #[serde(default)]
    pub(super) nearness: Vec<NearnessShape>,
    /// The largest share of a TTL that is taken off at random, from 0 to below 1, so that entries
    /// filled together do not all expire together. By default 0.1.
    pub(super) ttl_jitter: Option<At<f64>>,
    /// A regular expression that finds vendor ids in questions and answers; its first group is the
    /// id if there is one, otherwise the whole match. By default `\bv-[A-Za-z0-9_]+`.
    pub(super) vendor_id_pattern: Option<At<String>>,
    /// The rule for ids of vendors, weddings and users that differ in case alone. By default
    /// `insensitive`.
    #[serde(default)]
    pub(super) id_case: IdCaseShape,
    /// The layers that keep answers, looked up in this order: memory, disk, redis. Each is
    /// optional.
    #[schemars(with = "LayersShape")]
    pub(super) layers: Option<LayersShape>,
    /// The AI providers, by names that `cache_types` refer to.
    #[schemars(with = "Named<ProviderShape>")]
    pub(super) providers: Option<Named<ProviderShape>>,
    /// The list prices of the models. Without them costs and savings are unknown.
    pub(super) prices: Option<PricesShape>,
    /// The rules by which changes invalidate answers.
    #[schemars(with = "Vec<RuleShape>")]
    pub(super) rules: Option<Vec<RuleShape>>,
    /// The allowed lags, and the limits of judging changes.
    #[serde(default)]
    pub(super) freshness: FreshnessShape,
    /// The HTTP server for metrics and health checks.
    #[serde(default)]
    pub(super) server: ServerShape,
    /// Test cases of this topology, run by `wedcache test`.
    #[serde(default)]
    pub(super) tests: Vec<CaseShape>,
}

/// The rule for ids that differ in case alone.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum IdCaseShape {
    /// `V-17` and `v-17` are one id.
    #[default]
    Insensitive,
    /// `V-17` and `v-17` are two ids.
    Sensitive,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CacheTypeShape {
    /// The sharing of answers between couples.
    pub(super) sharing: At<SharingShape>,
    /// The parts of the key besides type, place, season, budget and content, in the key's order,
    /// such as `[vendors, style, prompt]`. Every type needs `vendors`, a private one also
    /// `wedding`.
    pub(super) dimensions: At<Vec<At<DimensionShape>>>,
    /// Time for which an answer is fresh, such as `24h`. The TTLs of the vendor types concerned may
    /// shorten it; then the factors of season and nearness apply.
    pub(super) ttl: At<Lasting>,
    /// Time after a refresh for which the old entry may still be served, labelled stale. By default
    /// 1h.
    #[serde(default = "stale_window")]
    pub(super) stale_window: Lasting,
    /// Time past its TTL for which an entry may be served, labelled stale, while the provider is
    /// away. By default 6h.
    #[serde(default = "stale_if_error")]
    pub(super) stale_if_error: Lasting,
    /// Vendor types that every question of this type concerns, even if it names none; each is one
    /// of `vendors`. By default none.
    #[serde(default)]
    pub(super) vendor_types: Vec<At<String>>,
    /// The name of one of `providers`. It may contain variables, so that the environment selects
    /// the provider: `${WEDCACHE_PROVIDER:-main}`.
    pub(super) provider: Connection,
    /// The most tokens of an answer. By default 800.
    #[serde(default = "max_tokens")]
    pub(super) max_tokens: At<u32>,
    /// The prompt for questions of this type.
    pub(super) prompt: PromptShape,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PromptShape {
    /// The version of the prompt; raising it makes all answers of this type unfindable. A change of
    /// the instructions does so by itself. By default 1.
    #[serde(default = "one")]
    pub(super) version: u32,
    /// The text that the model is given before the question.
    pub(super) instructions: At<String>,
}

/// The sharing of answers between couples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum SharingShape {
    /// The answer is made only from the key's dimensions and the question, and is shared by all
    /// couples with that key.
    Shared,
    /// The answer is about one wedding, whose id is part of the key.
    Private,
}

/// A part of the key that a cache type may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DimensionShape {
    /// The vendors that the question is about. Required.
    Vendors,
    /// The vendor types that the question is about.
    VendorTypes,
    /// The wedding's style.
    Style,
    /// The band of the guest count, see `guest_bands`.
    Guests,
    /// The wedding's id; for private types only, and required there.
    Wedding,
    /// The version and a digest of the prompt. Added at the end if missing.
    Prompt,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MarketShape {
    /// The city's name, such as `New York`.
    pub(super) city: At<String>,
    /// The two-letter code of the US state, such as `NY`.
    pub(super) state: At<String>,
    /// Other names of the city, such as `NYC`. Other spellings of a name (`St. Louis`,
    /// `SAINT LOUIS`, `Saint Louis, MO`) need not be listed. By default none.
    #[serde(default)]
    pub(super) aliases: Vec<At<String>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SeasonShape {
    /// Calendar months, 1 (January) to 12.
    pub(super) months: Vec<At<u8>>,
    /// The season's name in keys, such as `summer`; several entries may share it.
    pub(super) name: At<String>,
    /// The factor for TTLs of weddings in these months, above 0, at most 100. By default 1.
    #[serde(default = "factor")]
    pub(super) ttl_factor: At<f64>,
    /// The capacity that these months need, relative to the quietest; the load of each month in
    /// `wedcache-lab simulate`. By default 1.
    #[serde(default = "factor")]
    pub(super) capacity_factor: At<f64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VendorShape {
    /// The longest time for which an answer that concerns this vendor type is fresh, such as `4h`.
    pub(super) ttl: At<Lasting>,
    /// Actions of couples after which answers about this vendor type will probably be needed. Not
    /// used in this version. By default none.
    #[serde(default)]
    pub(super) preload_triggers: Vec<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NearnessShape {
    /// The largest number of days until the wedding for which this step applies.
    pub(super) within_days: At<u32>,
    /// The factor for TTLs within this step, above 0, at most 100.
    pub(super) ttl_factor: At<f64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["trigger"]}, {"required": ["on"]}]))]
pub(super) struct RuleShape {
    /// The name of the rule, given in every invalidation that it causes.
    pub(super) name: At<String>,
    /// The change that triggers the rule: `vendor.<change>` or `wedding.<change>`, such as
    /// `vendor.price_changed`. `vendor.*` is every vendor change.
    #[serde(default)]
    #[schemars(with = "At<String>")]
    pub(super) trigger: Option<At<String>>,
    /// Another name of `trigger`, for existing files: tools that read YAML 1.1 read `on` as `true`.
    #[serde(default)]
    #[schemars(with = "At<String>")]
    pub(super) on: Option<At<String>>,
    /// The cache types whose answers the rule invalidates: `all` or a list of names. By default
    /// `all`.
    pub(super) types: Option<At<TypesShape>>,
    /// The answers that the rule invalidates.
    pub(super) scope: At<ScopeShape>,
    /// A CEL condition over `event`, such as `event.attributes.priceChangePct > 5.0`. A condition
    /// that cannot be evaluated counts as holding. By default the rule always fires.
    pub(super) when: Option<At<String>>,
    /// `purge`: the answers are never served again. `refresh`: they may be served, labelled stale,
    /// while one call fetches a new answer.
    #[schemars(with = "ModeSchema")]
    pub(super) mode: Mode,
    /// False switches the rule off. By default true.
    #[serde(default = "yes")]
    pub(super) active: bool,
}

/// The value `all`, or a list of names.
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
    /// The answers are never served again.
    Purge,
    /// The answers may be served, labelled stale, while one call fetches a new answer.
    Refresh,
}

/// The answers that a rule invalidates, among those of its cache types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ScopeShape {
    /// Every answer.
    Global,
    /// Answers that this wedding's couple asked for.
    Wedding,
    /// Answers that this user asked for.
    User,
    /// Answers for the event's place; for a moved wedding those for the places before and after.
    Location,
    /// Answers that name this vendor, or whose questions do.
    Vendor,
    /// Answers for the event's place that concern the vendor's type.
    VendorType,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FreshnessShape {
    /// The largest lag of this instance's view of the invalidation log, and what look-ups do beyond
    /// it. By default `{lag: 10s, then: stale}`.
    pub(super) max_invalidation_lag: LagShape,
    /// The largest lag of judging change events, and what look-ups do beyond it. By default
    /// `{lag: 30s, then: stale}`.
    pub(super) max_rules_lag: LagShape,
    /// The longest time that a start waits until the changes present at its beginning are judged;
    /// more than `kafka.session_timeout`. Afterwards the instance starts and treats the rules as
    /// lagging. By default 1m.
    pub(super) start_barrier_timeout: At<Lasting>,
    /// The least time between two refreshes of a whole cache type that are caused by change events
    /// that cannot be read. By default 5m.
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
    /// The longest lag that is allowed, such as `10s`.
    pub(super) lag: At<Lasting>,
    /// The behaviour of look-ups beyond this lag, such as `stale`.
    pub(super) then: LagAction,
}

/// The behaviour of look-ups beyond the allowed lag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LagAction {
    /// Cached answers are served, labelled stale.
    Stale,
    /// Nothing is served from the cache: every query is a call. Only while the provider is away are
    /// cached answers served, labelled stale.
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
    /// The address of `/metrics`, `/livez` and `/readyz`, as `address:port`. By default
    /// `${WEDCACHE_LISTEN:-127.0.0.1:9464}`.
    pub(super) listen: Connection,
}

impl Default for ServerShape {
    fn default() -> Self {
        Self {
            listen: Connection(at("${WEDCACHE_LISTEN:-127.0.0.1:9464}".to_owned())),
        }
    }
}

/// Returns a default value; its place is not in the file.
fn at<T>(value: T) -> At<T> {
    At {
        value,
        span: super::problem::Span::default(),
    }
}

defaults! {
    stale_window: Lasting = Lasting::secs(3_600);
    stale_if_error: Lasting = Lasting::secs(6 * 3_600);
    max_tokens: At<u32> = at(800);
    one: u32 = 1;
    factor: At<f64> = at(1.0);
    yes: bool = true;
}
