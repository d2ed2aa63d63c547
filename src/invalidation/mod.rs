//! How a change forbids answers: rules plan invalidations, the log orders them, the tag table
//! judges by them.

pub mod tag_table;

pub use tag_table::{OpenStamp, TagTable, TagTableOptions, Verdict};
