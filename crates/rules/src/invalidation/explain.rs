//! Explanations: the verdict of each rule on an event, and a query's key, tags and TTL with their
//! reasons.
//!
//! Available as data and as text for people ([`std::fmt::Display`]). Computed by the same functions
//! as in the stream, so the two cannot differ.

mod event;
mod query;
#[cfg(test)]
mod tests;

pub use event::event;
pub use event::{ConditionReport, EventReport, FieldValue, Finding, PlannedReport, RuleReport};
pub use query::{DimensionReport, QueryReport, TtlReport, VendorTtl, query};
