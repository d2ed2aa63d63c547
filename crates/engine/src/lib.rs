//! The engine: what answers a query and what judges a change, with no Kafka in it.
//!
//! ```text
//! stages ─▶ resolver ─▶ cache, ai          observe ◀─ every room that has something to say
//! ```
//! A stage core in [`stages`] turns what was read into what is to be written; the [`resolver`] answers
//! from the [`cache`] or asks a provider ([`ai`]); [`policy`] is what decides, replaced while the
//! program runs. Whoever watches implements [`observe::Observer`], as [`metrics`] does.

pub mod ai;
pub mod alerts;
pub mod cache;
pub mod circuit;
pub mod health;
pub mod metrics;
pub mod observe;
pub mod policy;
pub mod resolver;
pub mod stages;
