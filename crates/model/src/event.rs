//! The input records: AI queries, vendor changes and wedding updates, with the fields that
//! `docs/contract.md` lists.
//!
//! A query's text is of the type `S`: [`String`], or on the hit path [`super::text::Text`], which
//! borrows from the record.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::number;
use super::time::{Date, Timestamp};

/// A question to an AI model in a couple's context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    bound(deserialize = "S: Deserialize<'de> + From<&'static str>")
)]
pub struct AiQuery<S = String> {
    pub query_id: S,
    pub query: Question<S>,
    pub wedding_context: WeddingContext<S>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub options: QueryOptions,
    #[serde(default)]
    pub asked_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "S: Deserialize<'de>"))]
pub struct Question<S = String> {
    /// The name of one of the topology's cache types.
    #[serde(rename = "type")]
    pub cache_type: S,
    pub content: S,
    #[serde(default, deserialize_with = "null_as_default")]
    pub vendor_types: Vec<S>,
    /// The vendors that the question is about.
    #[serde(default, deserialize_with = "null_as_default")]
    pub vendor_ids: Vec<S>,
    #[serde(default)]
    pub user_id: Option<S>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    bound(deserialize = "S: Deserialize<'de> + From<&'static str>")
)]
pub struct WeddingContext<S = String> {
    #[serde(default)]
    pub wedding_id: Option<S>,
    pub location: Location<S>,
    #[serde(default)]
    pub wedding_date: Option<Date>,
    #[serde(default)]
    pub budget_range: Option<BudgetRange>,
    #[serde(default)]
    pub wedding_style: Option<S>,
    #[serde(default, deserialize_with = "number::whole")]
    pub guest_count: Option<u32>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub vendor_preferences: Vec<S>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    bound(deserialize = "S: Deserialize<'de> + From<&'static str>")
)]
pub struct Location<S = String> {
    pub city: S,
    pub state: S,
    #[serde(default = "default_country", deserialize_with = "null_as_country")]
    pub country: S,
}

impl<S> AiQuery<S> {
    /// Returns the query with each of its texts converted by `to`.
    pub fn map<T>(self, to: impl Fn(S) -> T) -> AiQuery<T> {
        let Question {
            cache_type,
            content,
            vendor_types,
            vendor_ids,
            user_id,
        } = self.query;
        let wedding = self.wedding_context;
        let all = |texts: Vec<S>| texts.into_iter().map(&to).collect();
        AiQuery {
            query_id: to(self.query_id),
            query: Question {
                cache_type: to(cache_type),
                content: to(content),
                vendor_types: all(vendor_types),
                vendor_ids: all(vendor_ids),
                user_id: user_id.map(&to),
            },
            wedding_context: WeddingContext {
                wedding_id: wedding.wedding_id.map(&to),
                location: Location {
                    city: to(wedding.location.city),
                    state: to(wedding.location.state),
                    country: to(wedding.location.country),
                },
                wedding_date: wedding.wedding_date,
                budget_range: wedding.budget_range,
                wedding_style: wedding.wedding_style.map(&to),
                guest_count: wedding.guest_count,
                vendor_preferences: all(wedding.vendor_preferences),
            },
            options: self.options,
            asked_at: self.asked_at,
        }
    }
}

fn default_country<S: From<&'static str>>() -> S {
    "US".into()
}

/// Reads null as the default: many writers support only one of null and a missing field.
fn null_as_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn null_as_country<'de, S, D>(deserializer: D) -> Result<S, D::Error>
where
    S: Deserialize<'de> + From<&'static str>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(|country| country.unwrap_or_else(default_country))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BudgetRange {
    Budget,
    Moderate,
    Premium,
    Luxury,
}

impl BudgetRange {
    pub const ALL: [Self; 4] = [Self::Budget, Self::Moderate, Self::Premium, Self::Luxury];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::Moderate => "moderate",
            Self::Premium => "premium",
            Self::Luxury => "luxury",
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryOptions {
    /// Skips the look-up and joins no flight; the answer is stored all the same.
    #[serde(deserialize_with = "null_as_default")]
    pub bypass_cache: bool,
    /// Allows look-up and joining, stores nothing; the query's own flight cannot be joined.
    #[serde(deserialize_with = "null_as_default")]
    pub no_store: bool,
    /// The greatest age of an entry: time from the start of its call to the query's arrival.
    #[serde(rename = "maxAgeSecs", with = "number::seconds")]
    pub max_age: Option<Duration>,
    /// The time after which the query is answered `expired`.
    pub deadline: Option<Timestamp>,
}

/// The change by which an integration shows that it is alive. Nothing changed, so nothing is
/// invalidated, and no rule can name it.
pub const HEARTBEAT: &str = "heartbeat";

/// A change at a vendor; the record key is the vendor id. Rule trigger `vendor.<change>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VendorChange {
    pub event_id: String,
    /// The vendor's id. Empty if the record names none, as a [`HEARTBEAT`] may; decoding rejects
    /// other records without it.
    #[serde(default, deserialize_with = "null_as_default")]
    pub vendor_id: String,
    #[serde(default)]
    pub vendor_type: Option<String>,
    pub change: String,
    #[serde(default)]
    pub location: Option<Location>,
    #[serde(default)]
    pub occurred_at: Option<Timestamp>,
    /// The integration that sent the event.
    #[serde(default)]
    pub source: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub attributes: Attributes,
}

impl VendorChange {
    pub fn is_heartbeat(&self) -> bool {
        self.change == HEARTBEAT
    }

    /// Returns the key of the event's record: the vendor or, for a heartbeat, the integration.
    pub fn record_key(&self) -> &str {
        if self.is_heartbeat() {
            return self.source.as_deref().unwrap_or_default();
        }
        &self.vendor_id
    }
}

/// A change at a wedding; the record key is the wedding id. Rule trigger `wedding.<change>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WeddingUpdate {
    pub event_id: String,
    pub wedding_id: String,
    #[serde(default)]
    pub user_id: Option<String>,
    pub change: String,
    #[serde(default)]
    pub occurred_at: Option<Timestamp>,
    /// The facts after the change.
    #[serde(default)]
    pub wedding_context: Option<WeddingFacts>,
    /// The facts before the change.
    #[serde(default)]
    pub previous: Option<WeddingFacts>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub attributes: Attributes,
}

/// A wedding's context in an update: the facts that the sender has, every field optional.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WeddingFacts {
    pub wedding_id: Option<String>,
    pub location: Option<Location>,
    pub wedding_date: Option<Date>,
    pub budget_range: Option<BudgetRange>,
    pub wedding_style: Option<String>,
    #[serde(deserialize_with = "number::whole")]
    pub guest_count: Option<u32>,
    #[serde(deserialize_with = "null_as_default")]
    pub vendor_preferences: Vec<String>,
}

/// Free-form facts of a change event, available to rule conditions.
pub type Attributes = BTreeMap<String, Attribute>;

#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    Text(String),
    Number(f64),
    Flag(bool),
}

impl Serialize for Attribute {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_f64(*number),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
        }
    }
}

impl<'de> Deserialize<'de> for Attribute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AttributeVisitor;
        impl Visitor<'_> for AttributeVisitor {
            type Value = Attribute;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number or a boolean")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Attribute, E> {
                Ok(Attribute::Text(text.to_owned()))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Attribute, E> {
                Ok(Attribute::Number(number))
            }
            #[expect(clippy::cast_precision_loss, reason = "conditions compute in doubles")]
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Attribute, E> {
                Ok(Attribute::Number(number as f64))
            }
            #[expect(clippy::cast_precision_loss, reason = "conditions compute in doubles")]
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Attribute, E> {
                Ok(Attribute::Number(number as f64))
            }
            fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Attribute, E> {
                Ok(Attribute::Flag(flag))
            }
        }
        deserializer.deserialize_any(AttributeVisitor)
    }
}
