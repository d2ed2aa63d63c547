//! The record of `wedsync.cache.audit`: what an operator did, and how it ended.

use serde::{Deserialize, Serialize};

use super::answer::wire_names;
use super::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// Who did it.
    pub actor: String,
    /// What was done, such as `invalidate`.
    pub action: String,
    /// What it was done to; the record's key.
    pub subject: String,
    pub outcome: Outcome,
    /// The subject before, as JSON text.
    pub before: Option<String>,
    /// The subject after, as JSON text.
    pub after: Option<String>,
    pub request_id: Option<String>,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Succeeded,
    /// The actor may not do it.
    Denied,
    Failed,
}

wire_names! { Outcome { Succeeded = "succeeded", Denied = "denied", Failed = "failed" } }
