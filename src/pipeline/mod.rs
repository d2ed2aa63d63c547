//! The stages: what happens to a record between Kafka and Kafka.
//!
//! `query` and `change` are what is done with one record's value, without Kafka; `query_stage`
//! and `rules_stage` are how it is done on the poll threads; `follower` applies the invalidation
//! log, `lag` measures, `outputs` are the producers.

pub mod change;
pub mod follower;
pub mod lag;
pub mod outputs;
pub mod query;
pub mod query_stage;
pub mod rules_stage;

use std::sync::atomic::{AtomicUsize, Ordering};

/// Records that are held back on purpose: they wait for a schema while the registry is away, or
/// for the turn of a refresh. The watchdog lets them be.
#[derive(Debug, Default)]
pub struct Held(AtomicUsize);

impl Held {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub fn hold(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn release(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
