//! The cores of the stages: what the stages on Kafka, the driver and the simulation share.
//!
//! A core turns what was read into what is to be written. It takes values and returns values: it
//! waits for nothing, and it imports no Kafka. Whoever feeds a core does the waiting: the module
//! `pipeline` on Kafka's threads, the module `driver` in stopped time.
//!
//! Reading order: [`query`] (a query on its way in, its answer on the way out) · [`judge`] (one
//! change) · [`changes`] (the changes of a batch, and those that wait) · [`follower`] (the log applied
//! to the tag table) · [`lag`] (how far knowledge of changes lags) ·
//! [`alerting`] (the alerts that fire).

pub mod alerting;
pub mod changes;
pub mod follower;
pub mod judge;
pub mod lag;
pub mod query;

use wedcache_codec::MaxBytes;
use wedcache_rules::topology::settings::{Role, Topics};

/// Returns the length in bytes up to which the values of each input are read.
pub fn max_bytes(topics: &Topics) -> MaxBytes {
    let of = |role| {
        let max = topics.get(role).max_bytes;
        max.map_or(usize::MAX, |max| {
            usize::try_from(max.0).unwrap_or(usize::MAX)
        })
    };
    MaxBytes {
        queries: of(Role::Queries),
        vendor_changes: of(Role::VendorChanges),
        wedding_updates: of(Role::WeddingUpdates),
    }
}
