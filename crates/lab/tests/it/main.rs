//! The program from outside: with the embedded broker always, with Redis if `scripts/test` has
//! started it.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and read which services were started for it"
)]

mod bench;
mod cli;
