//! The stages: what happens to a record between Kafka and Kafka.

pub mod lag;
