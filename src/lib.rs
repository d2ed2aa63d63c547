//! wedcache: an event-driven AI response cache.

pub mod ai;
pub mod api;
pub mod app;
pub mod backoff;
pub mod bench;
pub mod broker;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod codec;
pub mod health;
pub mod invalidation;
pub mod kafka;
pub mod metrics;
pub mod model;
pub mod pipeline;
pub mod resolver;
pub mod shutdown;
pub mod telemetry;
pub mod topology;
