//! The stages on Kafka: what happens to a record between Kafka and Kafka.
//!
//! What is decided about a record is in the cores of [`crate::stages`]; here is how it is done on
//! Kafka's threads and tasks. [`query_stage`] and [`rules_stage`] take records in, [`outputs`] are
//! the producers, [`redelivery`] sends answers again that could not be delivered,
//! [`dead_letter_log`] logs dead letters, [`publisher`] sends the records of metrics and alerts.

pub mod dead_letter_log;
pub mod outputs;
pub mod publisher;
pub mod query_stage;
pub mod redelivery;
pub mod rules_stage;
#[cfg(test)]
mod testing;
