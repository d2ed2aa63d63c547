//! The stages: what happens to a record between Kafka and Kafka.
//!
//! `query` and `change` are what is done with one record's value, without Kafka; `query_stage`
//! and `rules_stage` are how it is done on the poll threads; `follower` applies the invalidation
//! log, `lag` measures, `outputs` are the producers, `redelivery` sends again what they could not
//! deliver, `letters` what the log says of dead letters, `alerting` publishes alerts.

pub mod alerting;
pub mod change;
pub mod follower;
pub mod lag;
pub mod letters;
pub mod outputs;
pub mod query;
pub mod query_stage;
pub mod redelivery;
pub mod rules_stage;
#[cfg(test)]
mod testing;
