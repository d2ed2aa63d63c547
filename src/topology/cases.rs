//! The test cases in a topology: events in, answers and invalidations out, in mocked time, with a
//! mocked provider.
//!
//! A case is a list of steps. Events and `advance` cause work; `expect` compares all output since
//! the last `expect`, after all work that is possible at this moment is done. A provider's reply
//! that `takes` time arrives only once the clock has been advanced by it.

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::units::{At, Lasting};
use crate::model::{
    AiQuery, Freshness, LayerName, Mode, Operation, Source, StaleReason, Status, Timestamp,
    VendorChange, WeddingUpdate,
};

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

/// The input topics by what they are for.
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
    pub outcome: Outcome,
}

/// How a mocked call ends.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The model answers this.
    Text(String),
    /// The provider answers with this HTTP status, from 400.
    Status(u16),
    /// The model refuses.
    Refused,
    /// The answer breaks off at the token limit.
    Truncated,
    /// An answer without text.
    Empty,
    /// The call runs into its timeout.
    Timeout,
}

/// What came out since the last `expect`. A list that is given is the whole list, in any order; a
/// list that is left out is not looked at.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Expectation {
    /// Answers, by the query they reply to.
    pub answers: Option<Vec<ExpectedAnswer>>,
    pub invalidations: Option<Vec<ExpectedInvalidation>>,
    pub metrics: Option<Vec<ExpectedMetric>>,
    pub dead_letters: Option<Vec<ExpectedDeadLetter>>,
    /// How often the provider was called.
    pub calls: Option<u32>,
}

/// The fields of the answer record that matter to the case; those left out may be anything.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExpectedAnswer {
    pub query_id: String,
    #[serde(default)]
    #[schemars(schema_with = "names::status")]
    pub status: Option<Status>,
    /// The whole text.
    pub data: Option<String>,
    #[serde(default)]
    #[schemars(schema_with = "names::source")]
    pub source: Option<Source>,
    #[serde(default)]
    #[schemars(schema_with = "names::layer")]
    pub layer: Option<LayerName>,
    #[serde(default)]
    #[schemars(schema_with = "names::freshness")]
    pub freshness: Option<Freshness>,
    #[serde(default)]
    #[schemars(schema_with = "names::stale_reason")]
    pub stale_reason: Option<StaleReason>,
    pub coalesced: Option<bool>,
    pub age_secs: Option<f64>,
    pub cache_key: Option<String>,
    /// Tags that must be among the answer's.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The error's code.
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExpectedInvalidation {
    pub tag: String,
    #[schemars(schema_with = "names::mode")]
    pub mode: Mode,
    /// The rule's name, or `unreadable`.
    pub rule: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExpectedMetric {
    #[schemars(schema_with = "names::operation")]
    pub operation: Operation,
    pub cache_type: Option<String>,
    #[serde(default)]
    #[schemars(schema_with = "names::layer")]
    pub layer: Option<LayerName>,
    pub coalesced: Option<bool>,
    /// How many records of this kind.
    #[serde(default = "one")]
    pub count: u32,
}

fn one() -> u32 {
    1
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExpectedDeadLetter {
    /// As in the header `wedcache.reason`.
    pub reason: String,
    pub key: Option<String>,
}

/// A test case of this topology.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseShape {
    /// What the case shows, as a sentence.
    pub(super) name: At<String>,
    /// Where the clock stands at the start, RFC 3339.
    pub(super) now: At<String>,
    /// What the provider answers.
    #[serde(default)]
    pub(super) replies: Vec<ReplyShape>,
    pub(super) steps: At<Vec<At<StepShape>>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplyShape {
    /// Fits questions that contain this text; without it, every question.
    pub(super) when: Option<String>,
    /// How often it is given; without it, always.
    pub(super) times: Option<u32>,
    /// How long the call takes.
    #[serde(default = "no_time")]
    pub(super) takes: Lasting,
    pub(super) reply: At<Outcome>,
}

fn no_time() -> Lasting {
    Lasting::secs(0)
}

/// One thing that happens.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StepShape {
    /// A query comes in.
    Query(#[schemars(with = "wire::AiQuery")] Box<AiQuery>),
    /// A vendor change comes in; its key is the vendor id.
    VendorChange(#[schemars(with = "wire::VendorChange")] Box<VendorChange>),
    /// A wedding update comes in; its key is the wedding id.
    WeddingUpdate(#[schemars(with = "wire::WeddingUpdate")] Box<WeddingUpdate>),
    /// A record comes in, byte for byte.
    Record(RecordShape),
    /// The clock moves on.
    Advance(Lasting),
    /// All that came out since the last `expect`.
    Expect(Box<Expectation>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordShape {
    pub(super) topic: InputRole,
    pub(super) key: Option<String>,
    pub(super) value: At<RecordValue>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RecordValue {
    /// UTF-8.
    Text(String),
    /// Pairs of hexadecimal digits; white space between them is ignored.
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
        query_id: String,
        query: Question,
        wedding_context: WeddingContext,
        options: Option<QueryOptions>,
        asked_at: Option<String>,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase")]
    struct Question {
        /// One of `cache_types`.
        r#type: String,
        content: String,
        vendor_types: Option<Vec<String>>,
        vendor_ids: Option<Vec<String>>,
        user_id: Option<String>,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase")]
    struct WeddingContext {
        wedding_id: Option<String>,
        location: Location,
        wedding_date: Option<String>,
        budget_range: Option<BudgetRange>,
        wedding_style: Option<String>,
        guest_count: Option<u32>,
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
        city: String,
        state: String,
        country: Option<String>,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase")]
    struct QueryOptions {
        bypass_cache: Option<bool>,
        no_store: Option<bool>,
        max_age_secs: Option<f64>,
        deadline: Option<String>,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct VendorChange {
        event_id: String,
        /// Left out only in a `heartbeat`.
        vendor_id: Option<String>,
        vendor_type: Option<String>,
        /// `price_changed`, `availability_changed`, `menu_changed`, `portfolio_changed`,
        /// `details_changed`, `opened`, `closed`, `heartbeat`, or any other.
        change: String,
        location: Option<Location>,
        occurred_at: Option<String>,
        source: Option<String>,
        attributes: Option<BTreeMap<String, serde_json::Value>>,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct WeddingUpdate {
        event_id: String,
        wedding_id: String,
        user_id: Option<String>,
        /// `date_changed`, `location_changed`, `budget_changed`, `style_changed`,
        /// `guest_count_changed`, `preferences_changed`, `guest_list_changed`, `cancelled`,
        /// `deleted`, or any other.
        change: String,
        occurred_at: Option<String>,
        wedding_context: Option<WeddingFacts>,
        previous: Option<WeddingFacts>,
        attributes: Option<BTreeMap<String, serde_json::Value>>,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "camelCase")]
    struct WeddingFacts {
        wedding_id: Option<String>,
        location: Option<Location>,
        wedding_date: Option<String>,
        budget_range: Option<BudgetRange>,
        wedding_style: Option<String>,
        guest_count: Option<u32>,
        vendor_preferences: Option<Vec<String>>,
    }
}
