//! Why: what each rule makes of an event, and what a query's key, tags and time of life are.
//!
//! As data, and as text for people ([`std::fmt::Display`]). It asks the same functions that the
//! stream asks, so it cannot tell another story.

mod event;
mod query;
#[cfg(test)]
mod tests;

pub use event::event;
pub use event::{ConditionReport, EventReport, FieldValue, Finding, PlannedReport, RuleReport};
pub use query::{DimensionReport, QueryReport, TtlReport, VendorTtl, query};
