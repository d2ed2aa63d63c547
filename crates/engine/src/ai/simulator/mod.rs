//! A provider that makes its answers up: for the demo, for tests and for trying rules without
//! paying. Each answer is marked as simulated.
//!
//! The text of an answer depends only on the seed, the prompt and the [`World`] at the call's
//! start; the duration of a call and whether it fails depend also on its number, so that a retry
//! may succeed.

mod advice;
mod chance;
mod world;

use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::error::{ProviderError, Unreached};
use super::provider::{Attempt, PricedCall, Prompt, Provider};
use advice::Habit;
pub use chance::{Behaviour, Faults, Latency};
pub use world::{Price as VendorPrice, Vendor, Vendors, World, vendor_type};

/// The options of the simulator.
#[derive(Debug, Clone)]
pub struct SimulatorOptions {
    /// The provider's name, for logs and metric labels.
    pub name: String,
    pub model: String,
    pub seed: u64,
    pub behaviour: Behaviour,
    /// The share of answers that mention vendors of the world, 0 to 1. Vendors named in the prompt
    /// are always mentioned, unless they have closed.
    pub mention_rate: f64,
    /// The most vendors that an answer mentions of its own accord.
    pub most_vendors: usize,
    /// The most calls that the log keeps; the oldest are dropped first. 0 keeps none.
    pub log_limit: usize,
}

impl Default for SimulatorOptions {
    fn default() -> Self {
        Self {
            name: "simulator".to_owned(),
            model: "simulated-planner-1".to_owned(),
            seed: 0,
            behaviour: Behaviour::default(),
            mention_rate: 0.6,
            most_vendors: 3,
            log_limit: 0,
        }
    }
}

/// One call in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedCall {
    /// The number of the call, from 0.
    pub number: u64,
    pub began: Instant,
    pub prompt: Prompt,
    /// The error's code, if the call fails.
    pub fails_with: Option<&'static str>,
}

pub struct Simulator {
    options: SimulatorOptions,
    world: Arc<dyn World>,
    state: Mutex<State>,
}

struct State {
    behaviour: Behaviour,
    calls: u64,
    log: VecDeque<LoggedCall>,
}

impl Simulator {
    /// Creates a simulator of a world without vendors.
    pub fn new(options: SimulatorOptions) -> Self {
        let behaviour = options.behaviour.clone();
        let state = Mutex::new(State {
            behaviour,
            calls: 0,
            log: VecDeque::new(),
        });
        Self {
            options,
            world: Arc::new(Arc::new(Vendors::default())),
            state,
        }
    }

    /// Bases answers on the state of `world` when their call begins, not when it ends: the worst
    /// case with a real model.
    pub fn in_world(self, world: Arc<dyn World>) -> Self {
        Self { world, ..self }
    }

    /// Changes the behaviour from the next call on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.state().behaviour = behaviour;
    }

    /// Returns the number of calls that have begun.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Returns the last calls, oldest first, at most `log_limit`.
    pub fn log(&self) -> Vec<LoggedCall> {
        self.state().log.iter().cloned().collect()
    }

    /// Decides the result of a call, and logs it.
    fn begin(&self, prompt: &Prompt) -> (Duration, Option<ProviderError>) {
        let digest = digest(prompt);
        let mut state = self.state();
        let number = state.calls;
        state.calls += 1;
        let mut rng = chance::rng(self.options.seed, digest, Some(number));
        let latency = state.behaviour.latency.draw(&mut rng);
        let error = state.behaviour.faults.draw(latency, &mut rng);
        if self.options.log_limit > 0 {
            if state.log.len() >= self.options.log_limit {
                state.log.pop_front();
            }
            let fails_with = error.as_ref().map(ProviderError::code);
            let prompt = prompt.clone();
            state.log.push_back(LoggedCall {
                number,
                began: Instant::now(),
                prompt,
                fails_with,
            });
        }
        (latency, error)
    }

    fn answer(&self, prompt: &Prompt, world: &Vendors) -> String {
        let mut rng = chance::rng(self.options.seed, digest(prompt), None);
        let habit = Habit {
            rate: self.options.mention_rate,
            most: self.options.most_vendors,
        };
        let mentions = advice::mentions(&prompt.user, world, habit, &mut rng);
        advice::write(&prompt.user, &mentions, world, &mut rng)
    }

    fn account(&self, prompt: &Prompt, text: &str, began: Instant) -> PricedCall {
        let prompt_tokens = tokens(&prompt.system) + tokens(&prompt.user);
        let completion_tokens = tokens(text);
        let model = &self.options.model;
        let cost = prompt
            .prices
            .cost_usd(model, prompt_tokens, completion_tokens);
        PricedCall {
            model: model.clone(),
            prompt_tokens,
            completion_tokens,
            // Nobody is charged for what has no price here.
            cost_usd: Some(cost.unwrap_or(0.0)),
            request_id: Some(format!("sim-{:016x}", digest(prompt))),
            simulated: true,
            usable: true,
            elapsed: began.elapsed(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Provider for Simulator {
    fn name(&self) -> &str {
        &self.options.name
    }

    fn attempt<'a>(&'a self, prompt: &'a Prompt) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            let began = Instant::now();
            let (latency, error) = self.begin(prompt);
            let Some(world) = self.world.vendors().await else {
                return Attempt::failed(ProviderError::Unreachable {
                    why: Unreached::Network,
                    detail: "simulated: the changes of the vendors cannot be read".to_owned(),
                });
            };
            let text = self.answer(prompt, &world);
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            let Some(error) = error else {
                return Attempt::replied(self.account(prompt, &text, began), Ok(text));
            };
            if !chance::is_charged(&error) {
                return Attempt::failed(error);
            }
            // Half an answer if it was cut off; the model wrote that half all the same.
            let half = text
                .char_indices()
                .nth(text.chars().count() / 2)
                .map_or(0, |(at, _)| at);
            Attempt::replied(self.account(prompt, &text[..half], began), Err(error))
        })
    }
}

/// Estimates the tokens of a text: four bytes each, as English text has with usual tokenisers.
fn tokens(text: &str) -> u64 {
    u64::try_from(text.len().div_ceil(4)).unwrap_or(u64::MAX)
}

fn digest(prompt: &Prompt) -> u64 {
    let mut hasher = blake3::Hasher::new();
    // The length marks the border between the two parts.
    hasher.update(
        &u64::try_from(prompt.system.len())
            .unwrap_or(u64::MAX)
            .to_le_bytes(),
    );
    hasher
        .update(prompt.system.as_bytes())
        .update(prompt.user.as_bytes());
    let hash = hasher.finalize();
    u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
}

#[cfg(test)]
mod tests;
