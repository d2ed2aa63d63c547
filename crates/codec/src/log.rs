//! The invalidation log's records, which are always JSON: tag invalidations, the rules stage's
//! progress, and any records that others may have written there.

use serde::{Deserialize, Serialize};

use wedcache_model::invalidation::{
    IDENTITY_KEY_PREFIX, LogIdentity, PROGRESS_KEY_PREFIX, SKIP_KEY_PREFIX, SkippedRange,
};
use wedcache_model::{LogId, Mode, Progress, TagInvalidation, Timestamp};

/// A record of the log by its kind.
#[derive(Debug, Clone, PartialEq)]
pub enum LogRecord {
    Invalidation(TagInvalidation),
    Progress(Progress),
    Identity(LogIdentity),
    Skip(SkippedRange),
    /// A null value, as compaction leaves it.
    Tombstone,
    /// None of these. A reader counts and reports it: if it were a broken invalidation, answers
    /// that it forbids would be served.
    Foreign(ForeignRecord),
}

/// The reason why a record of the log is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignRecord {
    #[error("its key is neither an invalidation's (<mode>:<tag>) nor another one that is known")]
    Key,
    #[error("its value cannot be read: {0}")]
    Value(String),
    #[error("by its value its key is {0}")]
    OtherKey(String),
}

impl LogRecord {
    /// Decodes a record from its key and value.
    pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        let Some(value) = value else {
            return Self::Tombstone;
        };
        Self::read(key.unwrap_or_default(), value).unwrap_or_else(Self::Foreign)
    }

    fn read(key: &[u8], value: &[u8]) -> Result<Self, ForeignRecord> {
        let unreadable = |error: serde_json::Error| ForeignRecord::Value(error.to_string());
        if key.starts_with(PROGRESS_KEY_PREFIX.as_bytes()) {
            let progress: Progress = serde_json::from_slice(value).map_err(unreadable)?;
            // Rejected if key and value disagree: it could skip changes that have not been judged.
            if progress.record_key().as_bytes() != key {
                return Err(ForeignRecord::OtherKey(progress.record_key()));
            }
            return Ok(Self::Progress(progress));
        }
        if key.starts_with(SKIP_KEY_PREFIX.as_bytes()) {
            let skip: SkippedRange = serde_json::from_slice(value).map_err(unreadable)?;
            if skip.record_key().as_bytes() != key {
                return Err(ForeignRecord::OtherKey(skip.record_key()));
            }
            return Ok(Self::Skip(skip));
        }
        if key.starts_with(IDENTITY_KEY_PREFIX.as_bytes()) {
            return read_identity(value).map(Self::Identity);
        }
        // An invalidation is applied under any key: at worst it costs a refill.
        match serde_json::from_slice(value) {
            Ok(invalidation) => Ok(Self::Invalidation(invalidation)),
            Err(error) if is_invalidation_key(key) => Err(unreadable(error)),
            Err(_) => Err(ForeignRecord::Key),
        }
    }
}

/// The identity record's value.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdentityValue {
    log_id: String,
    created_at: Timestamp,
}

fn read_identity(value: &[u8]) -> Result<LogIdentity, ForeignRecord> {
    let value: IdentityValue =
        serde_json::from_slice(value).map_err(|error| ForeignRecord::Value(error.to_string()))?;
    let id = LogId::parse(&value.log_id)
        .ok_or_else(|| ForeignRecord::Value(format!("{:?} is no log id", value.log_id)))?;
    Ok(LogIdentity {
        created_at: value.created_at,
        id,
    })
}

/// Returns the value of an identity record; its key is [`LogIdentity::record_key`].
pub fn encode_identity(identity: &LogIdentity) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    let value = IdentityValue {
        log_id: format!("{:?}", identity.id),
        created_at: identity.created_at,
    };
    write_json(&value, &mut out);
    out
}

/// Returns the mode and tag in an invalidation's record key, for a record whose value cannot be
/// read.
pub fn invalidation_of_key(key: &[u8]) -> Option<(Mode, &str)> {
    let (mode, tag) = std::str::from_utf8(key).ok()?.split_once(':')?;
    let mode = Mode::ALL.iter().find(|known| known.as_str() == mode)?;
    Some((*mode, tag))
}

fn is_invalidation_key(key: &[u8]) -> bool {
    Mode::ALL.iter().any(|mode| {
        key.strip_prefix(mode.as_str().as_bytes())
            .is_some_and(|rest| rest.starts_with(b":"))
    })
}

/// Returns the value of an invalidation; its key is [`TagInvalidation::record_key`].
pub fn encode_invalidation(invalidation: &TagInvalidation) -> Vec<u8> {
    let mut out = Vec::with_capacity(320);
    write_json(invalidation, &mut out);
    out
}

/// Returns the value of a progress record; its key is [`Progress::record_key`].
pub fn encode_progress(progress: &Progress) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    write_json(progress, &mut out);
    out
}

/// Returns the value of a skipped range; its key is [`SkippedRange::record_key`].
pub fn encode_skip(skip: &SkippedRange) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    write_json(skip, &mut out);
    out
}

/// Appends the record's JSON.
pub(super) fn write_json(record: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, record)
        .expect("our records have text keys only, and a Vec takes all bytes");
}
