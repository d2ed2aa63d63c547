//! wedcache-lab measures wedcache, and simulates a year of the platform that asks it.
//!
//! It is a program of its own, so that operators neither build nor install it, and runs the library
//! `wedcache` in its own process.
//!
//! # Reading order
//! 1. [`mod@bench`]: scenarios, each timed beside a baseline in the same run.
//! 2. [`simulate`]: a year of couples, vendors and a model on stopped time.
//! 3. [`cli`]: the command line.

pub mod bench;
pub mod cli;
pub mod simulate;
