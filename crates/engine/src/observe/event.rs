//! The events. A name that ends up in a label of a metric comes from a closed set.

use std::sync::Arc;
use std::time::Duration;

use wedcache_model::event::QueryOptions;
use wedcache_model::invalidation::CacheAlert;
use wedcache_model::record::RecordId;
use wedcache_model::{
    AiAnswer, Body, Coordinates, Entry, LayerName, Operation, Position, Prepared, TagInvalidation,
    Timestamp, TraceParent,
};

/// Declares an enum with the names of its values in labels.
macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $value:ident = $text:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$of])* $value,)+ }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$value,)+];

            /// Returns the name in metric labels.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text,)+ }
            }
        }
    )+};
}

labels! {
    /// An input topic.
    Input {
        Queries = "queries",
        VendorChanges = "vendor",
        WeddingUpdates = "wedding",
    }
    /// The outcome of reading a record.
    TakenAs {
        Event = "event",
        Null = "null",
        DeadLetter = "dead_letter",
        /// Its schema is not known yet.
        Parked = "parked",
        /// A change that only says that its integration lives.
        Heartbeat = "heartbeat",
        /// A change that was parked and is judged now.
        JudgedLate = "judged_late",
    }
    /// The outcome of a look-up in a layer.
    LookupResult {
        Hit = "hit",
        /// In memory also an entry that may not be served.
        Miss = "miss",
        /// There is an entry that may not be served.
        Refused = "refused",
        Unavailable = "unavailable",
    }
    /// The outcome of asking the other instances before a call.
    LeaseResult {
        /// This instance calls.
        Held = "held",
        /// The answer of another instance came.
        NotNeeded = "not_needed",
        /// This instance calls without a lease.
        Unavailable = "unavailable",
    }
    /// The outcome of a fill in one layer.
    Stored {
        Stored = "stored",
        /// The layer has a newer entry.
        KeptNewer = "kept_newer",
        Unavailable = "unavailable",
        /// The layer has not confirmed the write in time.
        Pending = "pending",
    }
    /// The extent to which a change that cannot be read is widened.
    Reach {
        /// Everything that its record key names.
        Key = "key",
        /// Whole cache types.
        Types = "type",
    }
}

/// A record was read from an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    pub input: Input,
    pub result: TakenAs,
}

/// A layer was asked for an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookedUp {
    pub layer: LayerName,
    pub result: LookupResult,
}

/// The query behind an event; nothing in it names a couple.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub answer_id: RecordId,
    pub cache_type: &'a Arc<str>,
    pub location: &'a str,
    pub season: &'a str,
    pub budget: &'a str,
    /// The span of the query; a record of the event has a child of it.
    pub trace: TraceParent,
}

/// A query was answered.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a> {
    pub asked: Asked<'a>,
    pub query: Querying<'a>,
    /// The answer, without its text: that is `data`.
    pub answer: &'a AiAnswer<'a>,
    pub data: Option<&'a Body>,
    pub operation: Operation,
    /// The entry with the answer; `None` if there is no answer.
    pub entry: Option<&'a Arc<Entry>>,
    /// The time from the query's arrival.
    pub took: Duration,
}

/// The query that was answered, with the ids of the couple: for observers that keep them to
/// themselves.
#[derive(Debug, Clone, Copy)]
pub struct Querying<'a> {
    pub prepared: &'a Prepared,
    pub options: &'a QueryOptions,
    pub wedding_id: Option<&'a str>,
    pub arrived_at: Timestamp,
    /// The position up to which the instance had applied the invalidation log at the arrival.
    pub arrival: Position,
}

/// The other instances were asked before a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leased {
    pub result: LeaseResult,
}

/// The provider was asked, with all its retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempted<'a> {
    pub provider: &'a str,
    /// `ok`, or the code of the error.
    pub result: &'static str,
    pub requests: u32,
}

/// One priced call of a provider.
#[derive(Debug, Clone, Copy)]
pub struct Called<'a> {
    pub asked: Asked<'a>,
    pub provider: &'a str,
    pub model: &'a str,
    /// The time at which the flight began, and the number of the call in it, from 0.
    pub flight: (Timestamp, usize),
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// `None` if the price is not known.
    pub cost_usd: Option<f64>,
    pub simulated: bool,
    pub took: Duration,
    pub at: Timestamp,
}

/// An answer was given to the layers.
#[derive(Debug, Clone, Copy)]
pub struct Filled<'a> {
    pub asked: Asked<'a>,
    pub entry: &'a Arc<Entry>,
    pub layers: &'a [(LayerName, Stored)],
    pub at: Timestamp,
}

/// An answer was not stored, because a purge had overtaken it.
#[derive(Debug, Clone, Copy)]
pub struct Overtaken<'a> {
    pub asked: Asked<'a>,
    pub entry: &'a Arc<Entry>,
}

/// A rule's condition could not be evaluated and counts as true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConditionFailed<'a> {
    pub rule: &'a str,
}

/// A change invalidates more than its rules say, because it could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Widened {
    pub input: Input,
    pub reach: Reach,
}

/// A record of the invalidation log was appended.
#[derive(Debug, Clone, Copy)]
pub struct Invalidated<'a> {
    pub record: &'a TagInvalidation,
    /// Its offset in the log.
    pub offset: i64,
    /// The span of the change.
    pub trace: TraceParent,
}

/// A record is for the dead-letter topic.
#[derive(Debug, Clone, Copy)]
pub struct DeadLettered<'a> {
    pub input: Input,
    pub place: &'a Coordinates,
    pub reason: &'static str,
    pub detail: &'a str,
}

/// An alert fires or is resolved.
#[derive(Debug, Clone, Copy)]
pub struct Alerted<'a> {
    pub alert: &'a CacheAlert,
    pub trace: TraceParent,
}
