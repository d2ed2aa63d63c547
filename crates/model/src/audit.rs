//! The record of `wedsync.cache.audit`: an operator's action and its outcome.

use serde::{Deserialize, Serialize};

use super::answer::wire_names;
use super::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// The person who acted.
    pub actor: String,
    /// The action, such as `invalidate`.
    pub action: String,
    /// The object of the action; the record's key.
    pub subject: String,
    pub outcome: AuditOutcome,
    /// The state of the subject before the action, as JSON text.
    pub before: Option<String>,
    /// The state of the subject after the action, as JSON text.
    pub after: Option<String>,
    pub request_id: Option<String>,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    Succeeded,
    /// The actor lacks the permission.
    Denied,
    Failed,
}

wire_names! { AuditOutcome { Succeeded = "succeeded", Denied = "denied", Failed = "failed" } }
