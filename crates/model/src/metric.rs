//! The record of `wedsync.cache.metrics`: an event of a query, a call, a fill or the log.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::answer::{LayerName, wire_names};
use super::time::Timestamp;

/// A metric record. Never carries an id of a couple, a user or a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheMetric<'a> {
    /// The id of the record. For a query's outcome it is derived from `answer_id` alone, so that
    /// the record of a redelivery is recognisable.
    pub metric_id: Cow<'a, str>,
    pub answer_id: Option<Cow<'a, str>>,
    pub operation: Operation,
    pub coalesced: bool,
    pub cache_type: Cow<'a, str>,
    pub layer: Option<LayerName>,
    pub location: Option<Cow<'a, str>>,
    pub season: Option<Cow<'a, str>>,
    pub budget: Option<Cow<'a, str>>,
    pub response_time_ms: Option<f64>,
    pub size_bytes: Option<u64>,
    pub cost_usd: Option<f64>,
    pub saved_usd: Option<f64>,
    pub at: Timestamp,
}

/// The kind of event. Each query has exactly one of the first six.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Hit,
    StaleHit,
    Miss,
    Bypass,
    Expired,
    Failure,
    /// Every priced call of a provider.
    Call,
    /// Every stored answer.
    Fill,
    /// Every record of the invalidation log, reported by the rules stage.
    Invalidation,
}

wire_names! {
    Operation {
        Hit = "hit", StaleHit = "stale_hit", Miss = "miss", Bypass = "bypass",
        Expired = "expired", Failure = "failure", Call = "call", Fill = "fill",
        Invalidation = "invalidation",
    }
}
