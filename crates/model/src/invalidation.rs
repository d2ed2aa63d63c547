//! The invalidation log's records and positions; its offsets are the cache's logical clock.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::answer::wire_names;
use super::time::Timestamp;
use super::topic_id::TopicId;

/// A position in the invalidation log: the offset of the next record to be read, so that
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

/// The id of the log in which a stamp counts. A log that was deleted and recreated has another id,
/// and stamps of the old one mean nothing there.
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

    /// Returns the id of a log from its topic's id.
    #[must_use]
    pub fn of_topic(topic: TopicId) -> Self {
        Self(topic.0.to_be_bytes())
    }

    /// The id before the log's identity has been read; an entry stamped under it is never valid.
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
    /// The rule that caused the invalidation; [`UNREADABLE_RULE`] if the event could not be read.
    pub rule: String,
    pub cause: Cause,
    /// The number of this record among the `parts` records of its cause, from 1.
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

/// The position up to which the rules stage has judged (or widened) a partition of a change topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    pub topic: String,
    /// The id of the topic that had this name; `None` if the brokers have no topic ids, and from
    /// instances before 0.2.
    #[serde(default)]
    pub topic_id: Option<TopicId>,
    pub partition: i32,
    /// The next offset that has not been judged; readers take the highest that they have seen.
    pub next: i64,
    pub at: Timestamp,
}

/// The prefix of the record keys of progress records.
pub const PROGRESS_KEY_PREFIX: &str = "progress:";

impl TagInvalidation {
    /// Returns the log's record key. The mode is part of it, so that compaction never lets a
    /// refresh erase a purge.
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

/// A range of an input partition that an operator has given up because it cannot be read: the
/// partition's owner continues after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SkippedRange {
    pub topic: String,
    /// The id of the topic that had this name; `None` if the brokers have no topic ids.
    #[serde(default)]
    pub topic_id: Option<TopicId>,
    pub partition: i32,
    /// The first offset that is skipped.
    pub from: i64,
    /// The offset from which to continue.
    pub to: i64,
    /// True if the range is skipped although records in it can be read.
    #[serde(default)]
    pub forced: bool,
    pub at: Timestamp,
}

/// The prefix of the record keys of skipped ranges.
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

/// The log's own identity, appended if none is found and again before retention drops it. If the
/// brokers have topic ids it holds the topic's id, for readers that do not ask the brokers.
/// Otherwise, of several identities (two instances that started at once) the earliest counts, then
/// the smaller id, so that all readers agree whatever compaction has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogIdentity {
    pub created_at: Timestamp,
    pub id: LogId,
}

/// The prefix of the record keys of identity records.
pub const IDENTITY_KEY_PREFIX: &str = "identity:";

impl LogIdentity {
    /// Creates an identity for a log that has none.
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
    /// The instance that the alert is about; `None` for the whole fleet.
    #[serde(default)]
    pub instance: Option<String>,
    /// The labels that distinguish the alert from others of its name.
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
