//! The way from a change to invalid answers: rules plan invalidations, the log orders them, and the
//! tag table judges entries by them.

pub mod condition;
pub mod explain;
pub mod facts;
pub mod log;
pub mod plan;
pub mod progress;
pub mod rule;
pub mod tag_table;
pub mod widen;

pub use progress::{ChangeEnd, ChangeEnds, ChangePartition, RulesProgress};
pub use tag_table::{OpenStamp, TagTable, TagTableOptions, Validity};
