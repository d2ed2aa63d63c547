//! The stages: what happens to a record between Kafka and Kafka.

pub mod change;
pub mod follower;
pub mod lag;
pub mod query;
