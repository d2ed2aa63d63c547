//! The test cases in a topology: events in, answers and invalidations out, in mocked time, with a
//! mocked provider.
//!
//! A case is a list of steps. Events and `advance` cause work; `expect` compares all output since
//! the last `expect`, after all work that is possible at this moment is done. A provider's reply
//! that `takes` time arrives only once the clock has been advanced by it.

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use wedcache_model::{
    AiQuery, Freshness, LayerName, Mode, Operation, Source, StaleReason, Status, Timestamp,
    VendorChange, WeddingUpdate,
};

use super::units::{At, Lasting};

/// A checked case.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    /// The line of the file on which it begins.
    pub line: usize,
    /// The clock's time at the start of the case.
    pub now: Timestamp,
    /// The provider's replies; see [`Reply`].
    pub replies: Vec<Reply>,
    pub steps: Vec<Step>,
}

/// A step and its line in the file.
#[derive(Debug, Clone)]
pub struct Step {
    pub line: usize,
    pub action: Action,
}

#[derive(Debug, Clone)]
pub enum Action {
    Query(AiQuery),
    VendorChange(VendorChange),
    WeddingUpdate(WeddingUpdate),
    /// A record as it was received, readable or not.
    Record(RawRecord),
    /// The clock advances by this time.
    Advance(Duration),
    Expect(Expectation),
}

/// A record's bytes on one of the input topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord {
    pub topic: InputRole,
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a null value.
    pub value: Option<Vec<u8>>,
}

/// The input topics by their purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputRole {
    Queries,
    VendorChanges,
    WeddingUpdates,
}

/// A provider's reply. For each call the first reply is used that fits the question and is not used
/// up; if there is none, the provider answers `answer 1`, `answer 2` and so on, by the number of
/// calls.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The text that a question must contain; `None` fits every question.
    pub when: Option<String>,
    /// The number of times that the reply is given; `None` is without limit.
    pub times: Option<u32>,
    /// The duration of the call.
    pub takes: Duration,
    pub outcome: MockedCall,
}

/// The result of a mocked call.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MockedCall {
    /// The model answers with this text.
    Text(String),
    /// The provider answers with this HTTP status, 400 or above.
    Status(u16),
    /// The model refuses to answer.
    Refused,
    /// The answer breaks off at the token limit.
    Truncated,
    /// The answer has no text.
    Empty,
    /// The call runs into its timeout.
    Timeout,
}

/// All output since the last `expect`. A given list must be complete, in any order; a list that is
/// left out is not compared.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Expectation {
    /// The answers, by the queries that they reply to.
    pub answers: Option<Vec<ExpectedAnswer>>,
    /// The records of the invalidation log.
    pub invalidations: Option<Vec<ExpectedInvalidation>>,
    /// The metric records.
    pub metrics: Option<Vec<ExpectedMetric>>,
    /// The dead letters.
    pub dead_letters: Option<Vec<ExpectedDeadLetter>>,
    /// The number of calls of the provider.
    pub calls: Option<u32>,
}

/// The fields of an answer record that matter to the case; fields left out may have any value.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExpectedAnswer {
    /// The id of the query.
    pub query_id: String,
    /// The outcome of the query.
    #[serde(default)]
    #[schemars(schema_with = "names::status")]
    pub status: Option<Status>,
    /// The whole text of the answer.
    pub data: Option<String>,
    /// The origin of the answer.
    #[serde(default)]
    #[schemars(schema_with = "names::source")]
    pub source: Option<Source>,
    /// The layer that had the answer.
    #[serde(default)]
    #[schemars(schema_with = "names::layer")]
    pub layer: Option<LayerName>,
    /// The freshness of the answer.
    #[serde(default)]
    #[schemars(schema_with = "names::freshness")]
    pub freshness: Option<Freshness>,
    /// The reason why a stale answer is stale.
    #[serde(default)]
    #[schemars(schema_with = "names::stale_reason")]
    pub stale_reason: Option<StaleReason>,
    /// True if the query waited for another query's call.
    pub coalesced: Option<bool>,
    /// Seconds since the call to the model began.
    pub age_secs: Option<f64>,
    /// The whole cache key.
    pub cache_key: Option<String>,
    /// Tags that must be among the answer's. By default none.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The code of the error, such as `refused`.
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExpectedInvalidation {
    /// The tag, such as `vendor_matching|vendor=v-17`.
    pub tag: String,
    /// The mode: the answers are purged, or may be served stale.
    #[schemars(schema_with = "names::mode")]
    pub mode: Mode,
    /// The name of the rule, or `unreadable`.
    pub rule: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExpectedMetric {
    /// The kind of event.
    #[schemars(schema_with = "names::operation")]
    pub operation: Operation,
    /// The cache type of the query.
    pub cache_type: Option<String>,
    /// The layer that had the answer.
    #[serde(default)]
    #[schemars(schema_with = "names::layer")]
    pub layer: Option<LayerName>,
    /// True if the query waited for another query's call.
    pub coalesced: Option<bool>,
    /// The number of records of this kind. By default 1.
    #[serde(default = "one")]
    pub count: u32,
}

fn one() -> u32 {
    1
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExpectedDeadLetter {
    /// The reason, as in the header `wedcache.reason`.
    pub reason: String,
    /// The key of the original record.
    pub key: Option<String>,
}

/// A test case of this topology.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseShape {
    /// The name of the case: a sentence about what it shows.
    pub(super) name: At<String>,
    /// The clock's time at the start, such as `2026-11-22T10:00:00Z` (RFC 3339).
    pub(super) now: At<String>,
    /// The provider's replies. For each call the first reply is used that fits the question and is
    /// not used up; if there is none, the provider answers `answer 1`, `answer 2` and so on, by the
    /// number of calls.
    #[serde(default)]
    pub(super) replies: Vec<ReplyShape>,
    /// The steps, in order.
    pub(super) steps: At<Vec<At<StepShape>>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplyShape {
    /// A text that the question must contain. By default every question fits.
    pub(super) when: Option<String>,
    /// The number of times that the reply is given. By default without limit.
    pub(super) times: Option<u32>,
    /// The duration of the call. By default 0s.
    #[serde(default = "no_time")]
    pub(super) takes: Lasting,
    /// The result of the call.
    pub(super) reply: At<MockedCall>,
}

fn no_time() -> Lasting {
    Lasting::secs(0)
}

/// One step of a test case.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StepShape {
    /// A query arrives.
    Query(#[schemars(with = "wire::AiQuery")] Box<AiQuery>),
    /// A vendor change arrives; its record key is the vendor id.
    VendorChange(#[schemars(with = "wire::VendorChange")] Box<VendorChange>),
    /// A wedding update arrives; its record key is the wedding id.
    WeddingUpdate(#[schemars(with = "wire::WeddingUpdate")] Box<WeddingUpdate>),
    /// A record arrives, byte for byte.
    Record(RecordShape),
    /// The clock advances by this time, such as `2h`.
    Advance(Lasting),
    /// The expected output since the last `expect`.
    Expect(Box<Expectation>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordShape {
    /// The topic of the record, by its purpose.
    pub(super) topic: InputRole,
    /// The key, as text. By default null.
    pub(super) key: Option<String>,
    /// The value.
    pub(super) value: At<RecordValue>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RecordValue {
    /// Text in UTF-8.
    Text(String),
    /// Bytes as pairs of hexadecimal digits; white space between them is ignored.
    Hex(String),
    /// A null value.
    Nothing,
}

impl RecordValue {
    /// Returns the bytes; `Err` if the hexadecimal digits are malformed.
    pub(super) fn bytes(&self) -> Result<Option<Vec<u8>>, ()> {
        match self {
            Self::Nothing => Ok(None),
            Self::Text(text) => Ok(Some(text.as_bytes().to_vec())),
            Self::Hex(digits) => {
                let digits: Vec<u32> = digits
                    .chars()
                    .filter(|c| !c.is_whitespace())
                    .map(|c| c.to_digit(16).ok_or(()))
                    .collect::<Result<_, _>>()?;
                let (pairs, []) = digits.as_chunks::<2>() else {
                    return Err(());
                };
                let byte = |[high, low]: &[u32; 2]| u8::try_from(high << 4 | low).map_err(drop);
                pairs.iter().map(byte).collect::<Result<_, _>>().map(Some)
            }
        }
    }
}

/// The schemas of names that are defined in the model.
mod names {
    use super::{
        Freshness, LayerName, Mode, Operation, Schema, SchemaGenerator, Source, StaleReason,
        Status, json_schema,
    };

    macro_rules! schemas {
        ($($name:ident: $type:ty),+ $(,)?) => {$(
            pub(super) fn $name(_: &mut SchemaGenerator) -> Schema {
                let names: Vec<_> = <$type>::ALL.iter().map(|name| name.as_str()).collect();
                json_schema!({"enum": names})
            }
        )+};
    }

    schemas! {
        status: Status, source: Source, layer: LayerName, freshness: Freshness,
        stale_reason: StaleReason, mode: Mode, operation: Operation,
    }
}

/// The events in their wire form, for the JSON Schema alone: the model's types read them.
#[expect(dead_code, reason = "only their schemas are used")]
mod wire {
    use std::collections::BTreeMap;

    use super::JsonSchema;

    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct AiQuery {
        /// The id of the query; the answer repeats it.
        query_id: String,
        /// The question.
        query: Question,
        /// The couple's wedding, as far as the question gives it.
        wedding_context: WeddingContext,
        /// Options of the query.
        options: Option<QueryOptions>,
        /// The time of asking, RFC 3339; not used.
        asked_at: Option<String>,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase")]
    struct Question {
        /// The cache type: one of `cache_types`.
        r#type: String,
        /// The text of the question.
        content: String,
        /// Vendor types that the question is about.
        vendor_types: Option<Vec<String>>,
        /// Ids of vendors that the question is about.
        vendor_ids: Option<Vec<String>>,
        /// The id of the user who asks.
        user_id: Option<String>,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase")]
    struct WeddingContext {
        /// The id of the wedding; without it, answers of private types are not stored.
        wedding_id: Option<String>,
        /// The place of the wedding.
        location: Location,
        /// The date, as `2027-06-12`.
        wedding_date: Option<String>,
        /// The budget range.
        budget_range: Option<BudgetRange>,
        /// The style, such as `rustic`.
        wedding_style: Option<String>,
        /// The number of guests.
        guest_count: Option<u32>,
        /// The kinds of vendors that the couple prefers.
        vendor_preferences: Option<Vec<String>>,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum BudgetRange {
        Budget,
        Moderate,
        Premium,
        Luxury,
    }

    #[derive(JsonSchema)]
    struct Location {
        /// The city.
        city: String,
        /// The state or province, by its code or name.
        state: String,
        /// The country, by its code or name. By default `US`.
        country: Option<String>,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase")]
    struct QueryOptions {
        /// Skips the look-up and joins no other call; the answer is stored. By default false.
        bypass_cache: Option<bool>,
        /// Stores nothing. By default false.
        no_store: Option<bool>,
        /// The greatest age of a cached answer, in seconds. By default without limit.
        max_age_secs: Option<f64>,
        /// The time after which the query is answered `expired`, RFC 3339. By default none.
        deadline: Option<String>,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct VendorChange {
        /// The id of the event.
        event_id: String,
        /// The id of the vendor; may be left out only in a `heartbeat`.
        vendor_id: Option<String>,
        /// The type of the vendor, such as `florist`.
        vendor_type: Option<String>,
        /// The kind of change: `price_changed`, `availability_changed`, `menu_changed`,
        /// `portfolio_changed`, `details_changed`, `opened`, `closed`, `heartbeat`, or any other.
        change: String,
        /// The place where the vendor works.
        location: Option<Location>,
        /// The time of the change, RFC 3339.
        occurred_at: Option<String>,
        /// The integration that sent the event.
        source: Option<String>,
        /// Facts for the conditions of rules: texts, numbers and booleans.
        attributes: Option<BTreeMap<String, serde_json::Value>>,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct WeddingUpdate {
        /// The id of the event.
        event_id: String,
        /// The id of the wedding.
        wedding_id: String,
        /// The id of the user who made the change.
        user_id: Option<String>,
        /// The kind of change: `date_changed`, `location_changed`, `budget_changed`,
        /// `style_changed`, `guest_count_changed`, `preferences_changed`, `guest_list_changed`,
        /// `cancelled`, `deleted`, or any other.
        change: String,
        /// The time of the change, RFC 3339.
        occurred_at: Option<String>,
        /// The wedding after the change.
        wedding_context: Option<WeddingFacts>,
        /// The wedding before the change.
        previous: Option<WeddingFacts>,
        /// Facts for the conditions of rules: texts, numbers and booleans.
        attributes: Option<BTreeMap<String, serde_json::Value>>,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase")]
    struct WeddingFacts {
        /// The id of the wedding.
        wedding_id: Option<String>,
        /// The place of the wedding.
        location: Option<Location>,
        /// The date, as `2027-06-12`.
        wedding_date: Option<String>,
        /// The budget range.
        budget_range: Option<BudgetRange>,
        /// The style, such as `rustic`.
        wedding_style: Option<String>,
        /// The number of guests.
        guest_count: Option<u32>,
        /// The kinds of vendors that the couple prefers.
        vendor_preferences: Option<Vec<String>>,
    }
}
