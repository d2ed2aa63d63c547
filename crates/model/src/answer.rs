//! The record that is sent for every query: the answer, with its origin and freshness.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::invalidation::Position;
use super::time::Timestamp;

/// The record of `wedsync.ai.responses`. It borrows where it can, so that a hit is encoded from
/// the entry in place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AiAnswer<'a> {
    /// The id of the answer; the same for a redelivery of the same record.
    pub answer_id: Cow<'a, str>,
    pub query_id: Cow<'a, str>,
    pub status: Status,
    /// The model's answer as text; null unless `answered`.
    pub data: Option<Cow<'a, str>>,
    pub source: Source,
    pub layer: Option<LayerName>,
    pub freshness: Option<Freshness>,
    pub stale_reason: Option<StaleReason>,
    /// True if the query joined another query's flight.
    pub coalesced: bool,
    pub cached_at: Option<Timestamp>,
    pub age_secs: Option<f64>,
    pub cache_type: Cow<'a, str>,
    pub cache_key: Cow<'a, str>,
    /// The position in the invalidation log that the fill was made against.
    pub stamp: Option<Position>,
    /// The position in the invalidation log at which this answer was judged.
    pub view: Option<Position>,
    /// The tags by which the answer was judged.
    pub tags: Vec<Cow<'a, str>>,
    pub model: Option<Cow<'a, str>>,
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    pub cost_usd: Option<f64>,
    pub saved_usd: Option<f64>,
    pub simulated: bool,
    pub error: Option<AnswerError>,
    pub answered_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Answered,
    Failed,
    /// There was no answer by the query's deadline.
    Expired,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Cache,
    Ai,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerName {
    Memory,
    Disk,
    Redis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Freshness {
    Fresh,
    Stale,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StaleReason {
    /// A refresh requested a new answer, which is being fetched.
    Refreshed,
    /// The answer is older than its TTL; it is served because the provider is away.
    Expired,
    /// This instance's view of the invalidation log lags.
    LogLag,
    /// The judging of change events lags.
    RulesLag,
    /// A change arrived while the answer was being made. It belongs to the contract's set; nothing
    /// here serves such an answer.
    Overtaken,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnswerError {
    /// A code from a closed set, for programs.
    pub code: String,
    /// The text for people.
    pub message: String,
    pub retryable: bool,
}

macro_rules! wire_names {
    ($($type:ty { $($variant:ident = $name:literal),+ $(,)? })+) => {$(
        impl $type {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// Returns the name on the wire and in metric labels.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    )+};
}
pub(super) use wire_names;

wire_names! {
    Status { Answered = "answered", Failed = "failed", Expired = "expired" }
    Source { Cache = "cache", Ai = "ai", None = "none" }
    LayerName { Memory = "memory", Disk = "disk", Redis = "redis" }
    Freshness { Fresh = "fresh", Stale = "stale" }
    StaleReason {
        Refreshed = "refreshed", Expired = "expired", LogLag = "log_lag",
        RulesLag = "rules_lag", Overtaken = "overtaken",
    }
}
