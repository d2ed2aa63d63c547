//! The whole program with real clients: over TCP with the embedded broker always, with Apache Kafka
//! and Redis if `scripts/test` has started them.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test may panic, speak, and read which services were started for it"
)]

mod architecture;
mod cli;
mod foreign_ai;
mod guarantees;
mod stream;
mod support;
