//! The AI providers: what a model is asked, how it is asked with care, and what that costs.
//!
//! ```text
//! prompt ─▶ Ai (turn · breaker · retries under a budget) ─▶ Provider ─▶ OpenAi │ Anthropic │ Simulator
//!                                                             └ one request: Attempt { result, call }
//! ```
//!
//! A [`Provider`] sends one request and accounts for it. [`Ai`] decides whether and when to send
//! it, and hands back an [`Outcome`]: the answer or the error, with every [`PricedCall`] made on
//! the way. Only a [`Completion`] may be stored; each [`ProviderError`] says by itself whether it
//! can be asked again, and whether it may have been charged for. What operators are to be told of
//! a provider that does not answer comes as [`Notice`]s, from [`Ai::notices`].

pub mod anthropic;
pub mod breaker;
pub mod budget;
mod classify;
pub mod client;
mod connect;
pub mod deadline;
mod dialect;
pub mod error;
mod headers;
pub mod http;
pub mod openai;
pub mod price;
pub mod prompt;
pub mod provider;
pub mod reach;
mod reply;
pub mod simulator;
mod troubles;
mod words;

pub use anthropic::Anthropic;
pub use breaker::{BreakerOptions, BreakerState};
pub use budget::BudgetOptions;
pub(crate) use classify::bare_status;
pub use client::{Ai, AiOptions, AiStatus, Outcome};
pub use deadline::Until;
pub use error::ProviderError;
pub use http::{BuildError, Endpoint, Timeouts, is_loopback_address, shown_address};
pub use openai::{OpenAi, OpenAiOptions, TokenLimit};
pub use price::{Price, PriceProblem, PriceTable};
pub use provider::{Attempt, Completion, PricedCall, Prompt, Provider};
pub use simulator::{Simulator, SimulatorOptions};
pub use troubles::{AlertChange, Level, Notice, Site};
