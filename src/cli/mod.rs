//! cli

pub mod graph;
pub mod schema;
pub mod screen;
pub mod validate;
