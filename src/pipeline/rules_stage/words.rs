//! What a change's records invalidate, for people.

use std::collections::BTreeSet;

use crate::model::{Mode, TagInvalidation};

/// Each value once, whatever the cache type.
pub(super) struct Invalidated {
    pub(super) purged: String,
    pub(super) refreshed: String,
}

impl Invalidated {
    pub(super) fn by(records: &[TagInvalidation]) -> Self {
        let of = |mode| {
            let of_mode = records.iter().filter(|record| record.mode == mode);
            let values: BTreeSet<&str> = of_mode
                .map(|record| match record.tag.split_once('|') {
                    // A whole type: its name is what tells.
                    Some((cache_type, "global")) => cache_type,
                    Some((_, value)) => value,
                    None => record.tag.as_str(),
                })
                .collect();
            Vec::from_iter(values).join(", ")
        };
        Self {
            purged: of(Mode::Purge),
            refreshed: of(Mode::Refresh),
        }
    }
}
