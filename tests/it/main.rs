//! The whole program against real clients: over TCP with the embedded broker always, against
//! Apache Kafka and Redis where `scripts/test` has started them.

mod architecture;
mod foreign_ai;
mod stream;
mod support;
