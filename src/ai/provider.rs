//! What a model is asked and what comes back, alike for every provider.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::error::ProviderError;

/// What a model is asked. Built by [`super::prompt`], so that nothing enters it unseen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// How to answer: the cache type's instruction.
    pub system: String,
    /// The facts that may be used, and the question.
    pub user: String,
    /// The longest answer in tokens; a longer one comes back as [`ProviderError::Truncated`].
    pub max_tokens: u32,
}

/// An answer that may be stored: complete, not refused, not empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    pub text: String,
    /// As the provider names it in its reply, which may be more exact than what was asked for.
    pub model: String,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// `None` where the price table does not know the model or the reply has no usage.
    pub cost_usd: Option<f64>,
    /// The provider's own id of the call, for its support and its bills.
    pub request_id: Option<String>,
    /// Made up by the simulator.
    pub simulated: bool,
}

/// A reply that was (or may have been) charged for, usable or not.
#[derive(Debug, Clone, PartialEq)]
pub struct PricedCall {
    pub model: String,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// As in [`Completion::cost_usd`].
    pub cost_usd: Option<f64>,
    pub request_id: Option<String>,
    pub simulated: bool,
    /// False where the reply could not be used and the money is lost.
    pub usable: bool,
    /// From sending the request to the end of the reply.
    pub elapsed: Duration,
}

/// One request to a provider: what it gave, and what it cost even where it gave nothing usable.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    pub result: Result<Completion, ProviderError>,
    /// `None` where no reply came that could have been charged for.
    pub call: Option<PricedCall>,
}

impl Attempt {
    pub fn failed(error: ProviderError) -> Self {
        Self {
            result: Err(error),
            call: None,
        }
    }

    /// A reply that was read to its end: its account, and its text or why there is none.
    pub fn replied(call: PricedCall, text: Result<String, ProviderError>) -> Self {
        let result = text.map(|text| Completion {
            text,
            model: call.model.clone(),
            prompt_tokens: call.prompt_tokens,
            completion_tokens: call.completion_tokens,
            cost_usd: call.cost_usd,
            request_id: call.request_id.clone(),
            simulated: call.simulated,
        });
        let call = PricedCall {
            usable: result.is_ok(),
            ..call
        };
        Self {
            result,
            call: Some(call),
        }
    }
}

/// One model behind one address. Implementations send a single request and never retry:
/// that is [`super::Ai`]'s work, for all of them alike.
pub trait Provider: Send + Sync {
    /// A short name for logs and metric labels.
    fn name(&self) -> &str;

    /// Dropping the future abandons a request that may already have been charged for.
    fn attempt<'a>(&'a self, prompt: &'a Prompt) -> BoxFuture<'a, Attempt>;
}
