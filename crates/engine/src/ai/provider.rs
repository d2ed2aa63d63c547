//! The types of a question to a model and of its reply, the same for every provider.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use wedcache_model::PriceTable;

use super::error::ProviderError;

/// The question to a model. Built by [`super::prompt`], so that only named values enter it.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// The cache type's instruction how to answer.
    pub system: String,
    /// The facts that may be used, and the question.
    pub user: String,
    /// The longest answer in tokens; a longer one is returned as [`ProviderError::Truncated`].
    pub max_tokens: u32,
    /// The prices by which the call is charged to the answer.
    pub prices: Arc<PriceTable>,
}

/// An answer that may be stored: complete, not refused, not empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    pub text: String,
    /// The model's name in the reply, which may be more exact than the requested one.
    pub model: String,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// The cost; `None` if the price table does not list the model or the reply has no usage.
    pub cost_usd: Option<f64>,
    /// The provider's own id of the call, for its support and its bills.
    pub request_id: Option<String>,
    /// True if the simulator made the answer up.
    pub simulated: bool,
}

/// A reply that was, or may have been, charged for, usable or not.
#[derive(Debug, Clone, PartialEq)]
pub struct PricedCall {
    pub model: String,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// The cost, as in [`Completion::cost_usd`].
    pub cost_usd: Option<f64>,
    pub request_id: Option<String>,
    pub simulated: bool,
    /// False if the reply could not be used and the money is lost.
    pub usable: bool,
    /// Time from sending the request to the end of the reply.
    pub elapsed: Duration,
}

/// One request to a provider: its result, and its cost even if the result is unusable.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    pub result: Result<Completion, ProviderError>,
    /// The priced call; `None` if there was no reply that could have been charged for.
    pub call: Option<PricedCall>,
}

impl Attempt {
    pub fn failed(error: ProviderError) -> Self {
        Self {
            result: Err(error),
            call: None,
        }
    }

    /// Creates the attempt of a reply that was read to its end, from its cost and its text or the
    /// reason why there is none.
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
/// [`super::Ai`] does that for all of them.
pub trait Provider: Send + Sync {
    /// A short name for logs and metric labels.
    fn name(&self) -> &str;

    /// Sends one request. Dropping the future abandons a request that may already have been charged
    /// for.
    fn attempt<'a>(&'a self, prompt: &'a Prompt) -> BoxFuture<'a, Attempt>;
}
