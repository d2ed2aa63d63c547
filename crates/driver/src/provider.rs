//! A provider that answers by a script, behind the real client: retries, breaker and all.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::time::Instant;

use wedcache_engine::ai::error::CallPhase;
use wedcache_engine::ai::{Attempt, PricedCall, Prompt, Provider, ProviderError, bare_status};
use wedcache_rules::topology::cases::{MockedCall, Reply};

use super::collect::Collector;

/// A request to the provider.
#[derive(Debug, Clone)]
pub struct Call {
    /// The number of the request, from 1, over the whole life of the driver.
    pub number: u32,
    pub prompt: Prompt,
}

impl Call {
    /// Returns the question, without the facts before it.
    pub fn question(&self) -> &str {
        // Every fact before it is one line, so the first heading is the prompt's own.
        let user = &self.prompt.user;
        user.split_once("Question:\n")
            .map_or(user, |(_, question)| question)
    }
}

/// The course of a call.
#[derive(Debug, Clone)]
pub struct Scripted {
    pub takes: Duration,
    pub outcome: MockedCall,
}

impl Scripted {
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            takes: Duration::ZERO,
            outcome: MockedCall::Text(text.into()),
        }
    }

    pub fn after(self, takes: Duration) -> Self {
        Self { takes, ..self }
    }
}

/// Decides the course of a call at its begin.
pub type Responder = Box<dyn FnMut(&Call) -> Scripted + Send>;

/// The script that all mocked providers of a driver share.
pub(super) struct Script {
    state: Mutex<State>,
    collector: Arc<Collector>,
}

struct State {
    respond: Responder,
    calls: u32,
}

impl Script {
    pub(super) fn new(respond: Responder, collector: Arc<Collector>) -> Self {
        Self {
            state: Mutex::new(State { respond, calls: 0 }),
            collector,
        }
    }

    pub(super) fn set(&self, respond: Responder) {
        self.state().respond = respond;
    }

    fn begin(&self, prompt: &Prompt) -> Scripted {
        let mut state = self.state();
        state.calls += 1;
        let call = Call {
            number: state.calls,
            prompt: prompt.clone(),
        };
        let scripted = (state.respond)(&call);
        drop(state);
        self.collector.call(call);
        scripted
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// Returns a responder that follows the `replies` of a case: the first reply that fits and is not used
/// up, otherwise `answer 1`, `answer 2` and so on, by the number of the call.
pub fn replies(replies: Vec<Reply>) -> Responder {
    let mut replies: Vec<(Reply, u32)> = replies.into_iter().map(|reply| (reply, 0)).collect();
    Box::new(move |call| {
        let fitting = replies.iter_mut().find(|(reply, given)| {
            let fits = |text: &String| call.question().contains(text.as_str());
            reply.when.as_ref().is_none_or(fits) && reply.times.is_none_or(|times| *given < times)
        });
        match fitting {
            Some((reply, given)) => {
                *given += 1;
                Scripted {
                    takes: reply.takes,
                    outcome: reply.outcome.clone(),
                }
            }
            None => Scripted::text(format!("answer {}", call.number)),
        }
    })
}

/// One of the topology's providers, mocked.
pub(super) struct Mocked {
    pub(super) name: String,
    pub(super) model: String,
    pub(super) script: Arc<Script>,
}

impl Provider for Mocked {
    fn name(&self) -> &str {
        &self.name
    }

    fn attempt<'a>(&'a self, prompt: &'a Prompt) -> BoxFuture<'a, Attempt> {
        async move {
            let began = Instant::now();
            let Scripted { takes, outcome } = self.script.begin(prompt);
            if !takes.is_zero() {
                tokio::time::sleep(takes).await;
            }
            let result = match outcome {
                MockedCall::Text(text) => Ok(text),
                MockedCall::Status(status) => return Attempt::failed(bare_status(status)),
                MockedCall::Timeout => {
                    let phase = CallPhase::Total;
                    return Attempt::failed(ProviderError::Timeout {
                        phase,
                        after: takes,
                    });
                }
                MockedCall::Refused => Err(ProviderError::Refused {
                    message: "as the script says".to_owned(),
                }),
                MockedCall::Truncated => Err(ProviderError::Truncated {
                    completion_tokens: u64::from(prompt.max_tokens),
                    why: "as the script says".to_owned(),
                }),
                MockedCall::Empty => Err(ProviderError::Empty),
            };
            let text = result.as_deref().unwrap_or_default();
            Attempt::replied(self.account(prompt, text, began), result)
        }
        .boxed()
    }
}

impl Mocked {
    /// Returns the price of a call; words count as tokens.
    fn account(&self, prompt: &Prompt, text: &str, began: Instant) -> PricedCall {
        let words = |text: &str| text.split_whitespace().count() as u64;
        let prompt_tokens = words(&prompt.system) + words(&prompt.user);
        let completion_tokens = words(text);
        let cost_usd = prompt
            .prices
            .cost_usd(&self.model, prompt_tokens, completion_tokens);
        PricedCall {
            model: self.model.clone(),
            prompt_tokens,
            completion_tokens,
            cost_usd,
            request_id: None,
            simulated: true,
            usable: true,
            elapsed: began.elapsed(),
        }
    }
}
