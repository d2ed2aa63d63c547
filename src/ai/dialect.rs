//! What both HTTP dialects share: one exchange, its account, and the text or why there is none.

use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;

use super::classify;
use super::error::{Phase, ProviderError, ReplyProblem};
use super::http::{Endpoint, Post, Reply};
use super::price::PriceTable;
use super::provider::{Attempt, PricedCall};

/// What a dialect finds in a reply with a good status.
pub(super) struct Reading {
    pub model: Option<String>,
    /// Prompt and completion tokens, where the reply tells them.
    pub usage: Option<(u64, u64)>,
    /// The reply's own id, for providers that send no request id header.
    pub id: Option<String>,
    pub text: Result<String, ProviderError>,
}

/// A provider's address with its prices.
pub(super) struct Caller {
    pub post: Post,
    pub model: String,
    prices: Arc<PriceTable>,
}

impl Caller {
    pub fn new(post: Post, endpoint: &Endpoint) -> Self {
        Self {
            post,
            model: endpoint.model.clone(),
            prices: Arc::clone(&endpoint.prices),
        }
    }

    /// Sends `body` once and accounts for the reply that `read` makes sense of.
    pub async fn call(&self, body: &Value, read: fn(&Value) -> Reading) -> Attempt {
        let started = Instant::now();
        let Reply { json, request_id } = match self.post.send(body).await {
            Ok(reply) => reply,
            Err(error) => {
                let call = may_be_charged(&error).then(|| self.unknown_account(started));
                return Attempt {
                    result: Err(error),
                    call,
                };
            }
        };
        if json.get("choices").is_none_or(Value::is_null)
            && let Some(error) = self.error_in_reply(&json)
        {
            return Attempt {
                result: Err(error),
                call: Some(self.unknown_account(started)),
            };
        }
        let Reading {
            model,
            usage,
            id,
            text,
        } = read(&json);
        let model = model.unwrap_or_else(|| self.model.clone());
        let cost_usd = usage.and_then(|(prompt, completion)| self.cost(&model, prompt, completion));
        let (prompt_tokens, completion_tokens) = usage.unwrap_or_default();
        let account = PricedCall {
            model,
            prompt_tokens,
            completion_tokens,
            cost_usd,
            request_id: request_id.or(id),
            simulated: false,
            usable: true,
            elapsed: started.elapsed(),
        };
        Attempt::replied(account, text.map_err(|error| self.cleaned(error)))
    }

    /// By the name in the reply, else by the one that was asked for: gateways rename models.
    fn cost(&self, model: &str, prompt_tokens: u64, completion_tokens: u64) -> Option<f64> {
        [model, &self.model]
            .iter()
            .find_map(|name| self.prices.cost_usd(name, prompt_tokens, completion_tokens))
    }

    fn error_in_reply(&self, json: &Value) -> Option<ProviderError> {
        let (status, kind) = classify::error_in_reply(json)?;
        let message = self.post.clean(classify::message(json).unwrap_or_default());
        Some(match status {
            Some(status) => classify::status_error(status, kind, message, None),
            None if kind.out_of_funds => ProviderError::OutOfFunds {
                status: 200,
                message,
            },
            None => ProviderError::Unusable {
                problem: ReplyProblem::ErrorInReply,
            },
        })
    }

    /// A call that may have been charged for, nobody told how much.
    fn unknown_account(&self, started: Instant) -> PricedCall {
        PricedCall {
            model: self.model.clone(),
            prompt_tokens: 0,
            completion_tokens: 0,
            cost_usd: None,
            request_id: None,
            simulated: false,
            usable: false,
            elapsed: started.elapsed(),
        }
    }

    fn cleaned(&self, error: ProviderError) -> ProviderError {
        match error {
            ProviderError::Refused { message } => ProviderError::Refused {
                message: self.post.clean(&message),
            },
            other => other,
        }
    }
}

/// The provider had the request and worked on it.
fn may_be_charged(error: &ProviderError) -> bool {
    matches!(
        error,
        ProviderError::Unusable { .. }
            | ProviderError::Timeout {
                phase: Phase::FirstByte | Phase::Total,
                ..
            }
    )
}

/// An answer that holds more than white space.
pub(super) fn not_empty(text: String) -> Result<String, ProviderError> {
    if text.trim().is_empty() {
        Err(ProviderError::Empty)
    } else {
        Ok(text)
    }
}

pub(super) fn string_at(json: &Value, pointer: &str) -> Option<String> {
    json.pointer(pointer)
        .and_then(Value::as_str)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests;
