//! The invalidation log's records and positions; its offsets are the cache's logical clock.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::answer::wire_names;
use super::time::Timestamp;
use super::topic_id::TopicId;

/// A position in the invalidation log: the offset of the next record to be read there, so
/// "everything below it has been applied".
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Position(pub i64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which log a stamp counts in. A log that was deleted and made again has another id, and the
/// stamps of the old one mean nothing there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(pub [u8; 16]);

impl LogId {
    /// Reads 32 hexadecimal digits, as `Debug` shows them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = digits
            .then(|| u128::from_str_radix(text, 16).ok())
            .flatten()?;
        Some(Self(id.to_be_bytes()))
    }

    /// The id of the log that is the topic of this id.
    #[must_use]
    pub fn of_topic(topic: TopicId) -> Self {
        Self(topic.0.to_be_bytes())
    }

    /// Before the log has told its id; an entry stamped under it is never valid.
    pub const UNKNOWN: Self = Self([0; 16]);
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Never served again.
    Purge,
    /// May be served stale while one flight refills it.
    Refresh,
}

wire_names! { Mode { Purge = "purge", Refresh = "refresh" } }

/// One record of the log: every entry that carries the tag and was filled before it is invalid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TagInvalidation {
    pub tag: String,
    pub mode: Mode,
    /// The rule that asked for it; [`UNREADABLE_RULE`] where the event could not be read.
    pub rule: String,
    pub cause: Cause,
    /// Which of how many for this cause, from 1.
    pub part: u32,
    pub parts: u32,
    pub at: Timestamp,
}

/// The rule name of an invalidation that was widened because its event could not be read.
pub const UNREADABLE_RULE: &str = "unreadable";

/// The change event behind an invalidation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    #[serde(default)]
    pub event_id: Option<String>,
}

/// How far the rules stage has judged (or widened) a change topic's partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    pub topic: String,
    /// The topic that the name stood for; none where the brokers know no ids, and from instances of
    /// before 0.2.
    #[serde(default)]
    pub topic_id: Option<TopicId>,
    pub partition: i32,
    /// The next offset that is not yet judged; readers take the highest they have seen.
    pub next: i64,
    pub at: Timestamp,
}

/// What the record keys of progress records start with.
pub const PROGRESS_KEY_PREFIX: &str = "progress:";

impl TagInvalidation {
    /// The log's record key: the mode is part of it, so that compaction never lets a refresh
    /// erase a purge.
    #[must_use]
    pub fn record_key(&self) -> String {
        format!("{}:{}", self.mode.as_str(), self.tag)
    }
}

impl Progress {
    #[must_use]
    pub fn record_key(&self) -> String {
        format!("{PROGRESS_KEY_PREFIX}{}:{}", self.topic, self.partition)
    }
}

/// A range of an input partition that an operator has given up, since it cannot be read: whoever owns
/// the partition goes on behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SkippedRange {
    pub topic: String,
    /// The topic that the name stood for; none where the brokers know no ids.
    #[serde(default)]
    pub topic_id: Option<TopicId>,
    pub partition: i32,
    /// The first offset that is skipped.
    pub from: i64,
    /// The offset to go on from.
    pub to: i64,
    pub at: Timestamp,
}

/// What the record keys of skipped ranges start with.
pub const SKIP_KEY_PREFIX: &str = "skip:";

impl SkippedRange {
    #[must_use]
    pub fn record_key(&self) -> String {
        let Self {
            topic,
            partition,
            from,
            ..
        } = self;
        format!("{SKIP_KEY_PREFIX}{topic}:{partition}:{from}")
    }
}

/// The log's own identity, appended when none is found and again before retention drops it. Where
/// the brokers tell topic ids it holds the topic's, for readers that do not ask for that. Else, of
/// several (two instances began at one moment) the earliest counts, then the smaller id: so all
/// readers agree whatever compaction has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogIdentity {
    pub created_at: Timestamp,
    pub id: LogId,
}

/// What the record keys of identity records start with.
pub const IDENTITY_KEY_PREFIX: &str = "identity:";

impl LogIdentity {
    /// A new one for a log that has none.
    pub fn fresh(created_at: Timestamp) -> Self {
        let id = LogId(fastrand::u128(1..).to_be_bytes());
        Self { created_at, id }
    }

    #[must_use]
    pub fn record_key(&self) -> String {
        format!("{IDENTITY_KEY_PREFIX}{:?}", self.id)
    }
}

/// The record of `wedsync.cache.alerts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheAlert {
    pub alert: String,
    pub state: AlertState,
    pub severity: Severity,
    pub summary: String,
    pub value: Option<f64>,
    pub threshold: Option<f64>,
    pub since: Timestamp,
    /// The instance that it is about; none: the whole fleet.
    #[serde(default)]
    pub instance: Option<String>,
    /// What tells it apart from others of its name.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    Firing,
    Resolved,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody has to act now.
    Page,
    /// Somebody has to act in working hours.
    Ticket,
    Info,
}

wire_names! {
    AlertState { Firing = "firing", Resolved = "resolved" }
    Severity { Page = "page", Ticket = "ticket", Info = "info" }
}
