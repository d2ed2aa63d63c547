//! The part that both HTTP dialects share: one exchange, its cost, and its text or the reason why
//! there is none.

use serde_json::Value;
use tokio::time::Instant;

use super::classify::{self, Cause};
use super::error::{ProviderError, ReplyProblem};
use super::http::{Endpoint, Post, Reply};
use super::provider::{Attempt, PricedCall, Prompt};
use super::reply::usage::{Usage, usage};
use super::words::{clean_message, shortened};

/// A provider's address.
pub(super) struct Caller {
    pub post: Post,
    pub model: String,
}

/// A function that reads the answer's text from a reply, given the number of completion tokens.
pub(super) type ReadText = fn(&Value, u64) -> Result<String, ProviderError>;

/// The longest name or id that is kept, in characters.
const NAME_LIMIT: usize = 200;

impl Caller {
    pub fn new(post: Post, endpoint: &Endpoint) -> Self {
        Self {
            post,
            model: endpoint.model.clone(),
        }
    }

    /// Sends `body` once and records the cost of the reply, whose text `read` extracts.
    pub async fn call(&self, prompt: &Prompt, body: &Value, read: ReadText) -> Attempt {
        let started = Instant::now();
        let Reply { said, request_id } = match self.post.send(body).await {
            Ok(reply) => reply,
            Err(error) => {
                let call = error
                    .may_be_charged()
                    .then(|| self.unknown_account(started));
                return Attempt {
                    result: Err(error),
                    call,
                };
            }
        };
        let json = &said.json;
        if let Some(error) = self.error_in_reply(json) {
            // In these cases the provider itself turned the request away, at no charge.
            let free = error.asked_again() || error.refuses_all();
            let call = (!free).then(|| self.unknown_account(started));
            return Attempt {
                result: Err(error),
                call,
            };
        }
        let usage = usage(json);
        let text = read(json, usage.map_or(0, |usage| usage.completion));
        let text = text.and_then(|text| whole_characters(text, said.replaced));
        let model = name_at(json, "model").unwrap_or_else(|| self.model.clone());
        let account = PricedCall {
            cost_usd: usage.and_then(|usage| self.cost(prompt, &model, usage)),
            prompt_tokens: usage.map_or(0, |usage| usage.prompt),
            completion_tokens: usage.map_or(0, |usage| usage.completion),
            model,
            request_id: request_id.or_else(|| name_at(json, "id")),
            simulated: false,
            usable: true,
            elapsed: started.elapsed(),
        };
        Attempt::replied(account, text.map_err(|error| self.cleaned(error)))
    }

    /// Returns the cost by the model name in the reply or, if that has no price, by the requested
    /// name: gateways rename models.
    fn cost(&self, prompt: &Prompt, model: &str, usage: Usage) -> Option<f64> {
        [model, &self.model]
            .iter()
            .find_map(|name| prompt.prices.cost_usd(name, usage.prompt, usage.completion))
    }

    fn error_in_reply(&self, json: &Value) -> Option<ProviderError> {
        let (status, kind) = classify::error_in_reply(json)?;
        let message = classify::message(json).unwrap_or("no reason given");
        let message = self.post.clean(message);
        Some(match status {
            Some(status) if status < 500 => classify::status_error(status, kind, message, None),
            None if kind.cause == Some(Cause::OutOfFunds) => ProviderError::OutOfFunds {
                status: 200,
                message,
            },
            // Its status was sent before the error: the work had begun.
            _ => ProviderError::Unusable {
                problem: ReplyProblem::ErrorInReply { message },
            },
        })
    }

    /// Returns a call that may have been charged for at an unknown price.
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

    /// Removes secrets from the messages of an error that was read from a reply.
    fn cleaned(&self, error: ProviderError) -> ProviderError {
        match error {
            ProviderError::Refused { message } => ProviderError::Refused {
                message: self.post.clean(&message),
            },
            ProviderError::Unusable {
                problem: ReplyProblem::ErrorInReply { message },
            } => {
                let message = self.post.clean(&message);
                let problem = ReplyProblem::ErrorInReply { message };
                ProviderError::Unusable { problem }
            }
            other => other,
        }
    }
}

/// Returns the text unless it contains a replacement character from a reply that could not be
/// decoded without loss: such a text may have holes.
fn whole_characters(text: String, replaced: bool) -> Result<String, ProviderError> {
    if replaced && text.contains(char::REPLACEMENT_CHARACTER) {
        return Err(ProviderError::Unusable {
            problem: ReplyProblem::Characters,
        });
    }
    Ok(text)
}

/// Returns a name or an id in a reply, on one line and bounded.
fn name_at(json: &Value, field: &str) -> Option<String> {
    let name = clean_message(json.get(field)?.as_str()?, "");
    (!name.is_empty()).then(|| shortened(&name, NAME_LIMIT))
}

#[cfg(test)]
mod tests;
