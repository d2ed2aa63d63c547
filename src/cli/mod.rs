//! cli

pub mod explain;
pub mod test;
