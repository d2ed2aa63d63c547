//! The AI providers: the prompts, the guarded calls, and their cost.
//!
//! ```text
//! prompt ─▶ Ai (turn · breaker · retries under a budget) ─▶ Provider ─▶ OpenAi │ Anthropic │ …
//!                                                           └ a request: Attempt { result, call }
//! ```
//!
//! A [`Provider`] sends one request and records its cost. [`Ai`] decides whether and when to send
//! it, and returns an [`AiOutcome`]: the answer or the error, with every [`PricedCall`] made on the
//! way. Only a [`Completion`] may be stored; each [`ProviderError`] defines whether it can be asked
//! again and whether it may have been charged for. Messages to operators about a provider that does
//! not answer are [`Notice`]s, from [`Ai::notices`].
//!
//! No client crate of a provider (such as `async-openai`) is used: these crates change often and
//! hide a reply's headers and usage, which are needed for `Retry-After`, request ids and costs.

pub mod anthropic;
pub mod breaker;
pub mod budget;
mod classify;
pub mod client;
pub mod configured;
mod connect;
pub mod deadline;
mod dialect;
pub mod error;
mod headers;
pub mod http;
pub mod openai;
pub mod prompt;
pub mod provider;
pub mod reach;
mod reply;
pub mod simulator;
mod troubles;
mod words;

pub use anthropic::Anthropic;
pub use breaker::BreakerOptions;
pub use budget::BudgetOptions;
pub use classify::bare_status;
pub use client::{Ai, AiOptions, AiOutcome, AiStatus};
pub use configured::{Providers, UnusableProvider, options, providers, still_world};
pub use deadline::Until;
pub use error::ProviderError;
pub use http::{BuildError, Endpoint, Timeouts, is_loopback_address, shown_address};
pub use openai::{OpenAi, OpenAiOptions, TokenLimit};
pub use provider::{Attempt, Completion, PricedCall, Prompt, Provider};
pub use simulator::{Simulator, SimulatorOptions};
pub use troubles::{AlertChange, Level, Notice, Site};
