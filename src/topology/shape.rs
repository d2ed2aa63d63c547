//! The topology file as written: names not yet resolved, variables not yet substituted.
//!
//! The doc comments here are shown by editors: they are written to `schemas/topology.schema.json`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Unexpected, Visitor};

use super::cases::CaseShape;
use super::units::{At, Connection, Lasting, Named};
use crate::model::Mode;

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
    /// Whether ids of vendors, weddings and users that differ in case alone are one id.
    #[serde(default)]
    pub(super) id_case: IdCaseShape,
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

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum IdCaseShape {
    /// `V-17` is `v-17`.
    #[default]
    Insensitive,
    /// They are two ids.
    Sensitive,
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
    /// One of `providers`. Variables may stand in it: which one answers is up to the environment.
    pub(super) provider: Connection,
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
    /// Other names of the city, such as `NYC`. Other spellings of a name (`St. Louis`,
    /// `SAINT LOUIS`, `Saint Louis, MO`) are known without.
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

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["trigger"]}, {"required": ["on"]}]))]
pub(super) struct RuleShape {
    /// Told in every invalidation.
    pub(super) name: At<String>,
    /// `vendor.<change>` or `wedding.<change>`; `vendor.*` is every change.
    #[serde(default)]
    #[schemars(with = "At<String>")]
    pub(super) trigger: Option<At<String>>,
    /// The same as `trigger`. Tools that read YAML 1.1 take this name for `true`.
    #[serde(default)]
    #[schemars(with = "At<String>")]
    pub(super) on: Option<At<String>>,
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
