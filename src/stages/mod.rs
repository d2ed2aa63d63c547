//! The cores of the stages: what the stages on Kafka, the driver and the simulation share.
//!
//! A core turns what was read into what is to be written. It takes values and returns values: it
//! waits for nothing, and it imports no Kafka. Whoever feeds a core does the waiting: the module
//! `pipeline` on Kafka's threads, the module `driver` in stopped time.
//!
//! Reading order: [`query`] (a query on its way in, its answer on the way out) · [`judge`] (one
//! change) · [`changes`] (the changes of a batch, and those that wait) · [`follower`] (the log applied
//! to the tag table) · [`lag`] (how far knowledge of changes lags) ·
//! [`alerting`] (the alerts that fire).

pub mod alerting;
pub mod changes;
pub mod follower;
pub mod judge;
pub mod lag;
pub mod query;
