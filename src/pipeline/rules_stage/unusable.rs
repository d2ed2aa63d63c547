//! The log lines about changes that cannot be used as they are.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::model::{Mode, TagInvalidation, TraceParent};
use crate::stages::changes::Unusable;
use crate::trouble::{Notice, Pace, Troubles};

/// Writes one line for the first change of a reason, then one a minute with a count.
pub(super) struct UnusableLog(Troubles<&'static str>);

impl Default for UnusableLog {
    fn default() -> Self {
        Self(Troubles::new(Pace::default()))
    }
}

impl UnusableLog {
    /// Notes a change; `appended` are its invalidations.
    pub(super) fn note(&mut self, change: &Unusable, appended: &[(TagInvalidation, TraceParent)]) {
        let Some(notice) = self.0.failed(change.reason, Instant::now()) else {
            return;
        };
        let more = match notice {
            Notice::Lasts { failures, .. } => failures.saturating_sub(1),
            Notice::Begins | Notice::Over { .. } => 0,
        };
        let Unusable {
            place,
            reason,
            detail,
            owed,
            ..
        } = change;
        let purged = values(appended, Mode::Purge);
        let refreshed = values(appended, Mode::Refresh);
        tracing::warn!(%place, reason, detail, more, %purged, %refreshed, owed, "a change cannot be used as it is; what it may concern is invalidated");
    }
}

/// Returns what the records of this mode invalidate: each value once, whatever the cache type.
fn values(records: &[(TagInvalidation, TraceParent)], mode: Mode) -> String {
    let of_mode = records.iter().filter(|(record, _)| record.mode == mode);
    let values: BTreeSet<&str> = of_mode
        .map(|(record, _)| match record.tag.split_once('|') {
            // For a whole type its name says more than `global`.
            Some((cache_type, "global")) => cache_type,
            Some((_, value)) => value,
            None => record.tag.as_str(),
        })
        .collect();
    Vec::from_iter(values).join(", ")
}
