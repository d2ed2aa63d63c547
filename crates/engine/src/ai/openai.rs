//! The OpenAI dialect: `POST {base}/chat/completions`, used by OpenAI and by most gateways and
//! self-hosted servers. [`super`] has the reason why no client crate is used.

use futures_util::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::classify;
use super::dialect::Caller;
use super::error::{ProviderError, ReplyProblem};
use super::http::{BuildError, Endpoint, Post, header, secret_header};
use super::provider::{Attempt, Prompt, Provider};
use super::reply::content::{Content, said};
use super::reply::ending;

/// The options in which servers of this dialect differ.
#[derive(Debug, Clone, Default)]
pub struct OpenAiOptions {
    /// The organisation, sent as `OpenAI-Organization`.
    pub organisation: Option<String>,
    pub token_limit: TokenLimit,
}

/// The name of the field that bounds the answer's length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TokenLimit {
    /// `max_completion_tokens`: OpenAI's own name, the only one that its reasoning models accept.
    #[default]
    MaxCompletionTokens,
    /// `max_tokens`: the old name, the only one that many other servers accept.
    MaxTokens,
}

/// A server of the OpenAI dialect.
pub struct OpenAi {
    name: String,
    caller: Caller,
    temperature: Option<f64>,
    token_limit: TokenLimit,
}

impl OpenAi {
    /// Creates the provider. With an empty API key no `Authorization` header is sent: local servers
    /// often need none.
    pub fn new(endpoint: &Endpoint, options: &OpenAiOptions) -> Result<Self, BuildError> {
        let headers = headers(endpoint, options.organisation.as_deref())?;
        let post = Post::new(endpoint, "/chat/completions", headers)?;
        Ok(Self {
            name: endpoint.name.clone(),
            caller: Caller::new(post, endpoint),
            temperature: endpoint.temperature,
            token_limit: options.token_limit,
        })
    }

    fn body(&self, prompt: &Prompt) -> Value {
        let limit = match self.token_limit {
            TokenLimit::MaxCompletionTokens => "max_completion_tokens",
            TokenLimit::MaxTokens => "max_tokens",
        };
        let mut body = json!({
            "model": self.caller.model,
            "messages": [
                {"role": "system", "content": prompt.system},
                {"role": "user", "content": prompt.user},
            ],
            limit: prompt.max_tokens,
        });
        if let Some(temperature) = self.temperature {
            body["temperature"] = temperature.into();
        }
        body
    }
}

/// Returns the headers that every request of this dialect carries.
pub(super) fn headers(
    endpoint: &Endpoint,
    organisation: Option<&str>,
) -> Result<HeaderMap, BuildError> {
    const ORGANISATION: HeaderName = HeaderName::from_static("openai-organization");
    let mut headers = HeaderMap::new();
    if !endpoint.api_key.expose_secret().is_empty() {
        let bearer = secret_header("API key", "Bearer ", &endpoint.api_key)?;
        headers.insert(AUTHORIZATION, bearer);
    }
    if let Some(organisation) = organisation {
        headers.insert(ORGANISATION, header("organisation", organisation)?);
    }
    Ok(headers)
}

impl Provider for OpenAi {
    fn name(&self) -> &str {
        &self.name
    }

    fn attempt<'a>(&'a self, prompt: &'a Prompt) -> BoxFuture<'a, Attempt> {
        Box::pin(async move { self.caller.call(prompt, &self.body(prompt), text).await })
    }
}

/// Returns the text of the first choice that has one; if none has, the problem of the first choice.
fn text(json: &Value, completion_tokens: u64) -> Result<String, ProviderError> {
    let choices = match json.get("choices") {
        Some(Value::Array(choices)) => choices.as_slice(),
        Some(one @ Value::Object(_)) => std::slice::from_ref(one),
        _ => &[],
    };
    let texts = choices.iter().filter(|choice| choice.is_object());
    let mut first = None;
    for choice in texts {
        match choice_text(choice, completion_tokens) {
            Ok(text) => return Ok(text),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.unwrap_or(ProviderError::Unusable {
        problem: ReplyProblem::NoChoices,
    }))
}

fn choice_text(choice: &Value, completion_tokens: u64) -> Result<String, ProviderError> {
    // A reply to a request without streaming holds a `message`; some gateways leave it in the form
    // of a stream's last event, or of the older completions.
    let message = ["message", "delta"]
        .iter()
        .find_map(|name| choice.get(name).filter(|of| !of.is_null()));
    let message = message.unwrap_or(&Value::Null);
    let content = message.get("content").or_else(|| choice.get("text"));
    let content = Content::of(content.unwrap_or(&Value::Null));
    let refusal = message.get("refusal").and_then(said);
    if let Some(message) = refusal.or_else(|| content.refusal.clone()) {
        return Err(ProviderError::Refused { message });
    }
    if choice.get("error").is_some_and(classify::is_error) {
        let message = classify::message(choice).unwrap_or("no reason given");
        let message = message.to_owned();
        return Err(ProviderError::Unusable {
            problem: ReplyProblem::ErrorInReply { message },
        });
    }
    ending::judge(finish_reason(choice), completion_tokens)?;
    let calls = ["tool_calls", "function_call"].iter().any(|name| {
        let call = message.get(name);
        call.is_some_and(|call| {
            call.is_object() || call.as_array().is_some_and(|all| !all.is_empty())
        })
    });
    let content = Content {
        other: content.other || calls,
        ..content
    };
    content.answer(completion_tokens)
}

/// Returns `finish_reason` or, if it is missing, the field that some servers send instead. vLLM's
/// `stop_reason` beside it may be a number: the token that stopped the reply.
fn finish_reason(choice: &Value) -> &Value {
    let given = |reason: &&Value| !reason.is_null() && reason.as_str() != Some("");
    ["finish_reason", "finishReason"]
        .iter()
        .find_map(|name| choice.get(name).filter(given))
        .or_else(|| {
            choice
                .get("stop_reason")
                .filter(|reason| reason.is_string())
        })
        .unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(choice: &Value, want: Result<&str, &str>) {
        let got = text(&json!({"choices": [choice]}), 5);
        let got = got.as_deref().map_err(ProviderError::code);
        assert_eq!(got, want, "{choice}");
    }

    fn says(content: &Value, finish: &str) -> Value {
        json!({"message": {"role": "assistant", "content": content}, "finish_reason": finish})
    }

    #[test]
    fn each_way_to_finish_is_told_apart() {
        check(&says(&json!("yes"), "stop"), Ok("yes"));
        check(&says(&json!("half a sen"), "length"), Err("truncated"));
        check(&says(&json!(""), "length"), Err("truncated"));
        check(&says(&json!("x"), "content_filter"), Err("filtered"));
        check(&says(&json!("x"), "error"), Err("unusable_reply"));
        check(&says(&Value::Null, "tool_calls"), Err("unusable_reply"));
        check(
            &says(&json!("Let me look."), "tool_calls"),
            Err("unusable_reply"),
        );
        check(&says(&json!(" \n\u{a0}"), "stop"), Err("empty"));
        check(&says(&Value::Null, "stop"), Err("empty"));
        check(&says(&json!(7), "stop"), Err("unusable_reply"));
        check(&json!({"message": {"content": "yes"}}), Ok("yes"));
        check(&json!({}), Err("empty"));
    }

    #[test]
    fn a_finish_reason_of_another_name_counts() {
        let message = json!({"content": "x"});
        check(
            &json!({"message": message, "finishReason": "MAX_TOKENS"}),
            Err("truncated"),
        );
        check(
            &json!({"message": message, "finish_reason": null, "stop_reason": "max_tokens"}),
            Err("truncated"),
        );
        check(
            &json!({"message": message, "finish_reason": "stop", "stop_reason": 151_645}),
            Ok("x"),
        );
        check(
            &json!({"message": message, "finish_reason": "stop", "stop_reason": "###"}),
            Ok("x"),
        );
        check(
            &json!({"message": message, "finish_reason": "", "stop_reason": null}),
            Ok("x"),
        );
        check(
            &json!({"message": message, "finish_reason": 7}),
            Err("truncated"),
        );
    }

    #[test]
    fn a_refusal_is_never_taken_for_an_answer() {
        let refusal = "I'm sorry, I can't help with that.";
        for message in [
            json!({"content": null, "refusal": refusal}),
            json!({"content": "x", "refusal": refusal}),
            json!({"content": "x", "refusal": true}),
            json!({"content": [{"type": "refusal", "refusal": refusal}]}),
        ] {
            check(
                &json!({"message": message, "finish_reason": "stop"}),
                Err("refused"),
            );
        }
        for refusal in [json!(null), json!(""), json!(false)] {
            check(
                &json!({"message": {"content": "yes", "refusal": refusal}, "finish_reason": "stop"}),
                Ok("yes"),
            );
        }
    }

    #[test]
    fn what_stands_beside_the_answer_does_not_matter() {
        let message = json!({"content": "yes", "reasoning_content": "hm", "reasoning": "hm", "tool_calls": [], "audio": null, "new": {"a": 1}});
        check(
            &json!({"message": message, "finish_reason": "stop", "logprobs": null, "error": null}),
            Ok("yes"),
        );
        check(
            &json!({"delta": {"content": "yes"}, "finish_reason": "stop"}),
            Ok("yes"),
        );
        check(&json!({"text": "yes", "finish_reason": "stop"}), Ok("yes"));
        check(
            &json!({"message": {"content": null, "reasoning_content": "hm"}, "finish_reason": "stop"}),
            Err("empty"),
        );
        check(
            &json!({"message": {"content": "<think>hm</think>yes"}, "finish_reason": "stop"}),
            Ok("yes"),
        );
        check(
            &json!({"message": {"content": null, "tool_calls": [{"id": "t"}]}, "finish_reason": "stop"}),
            Err("unusable_reply"),
        );
        check(
            &json!({"message": {"content": "x"}, "error": {"code": 502, "message": "broke"}}),
            Err("unusable_reply"),
        );
    }

    #[test]
    fn of_several_choices_the_first_whole_one_is_taken() {
        let reply =
            |choices: Value| text(&json!({ "choices": choices }), 5).map_err(|error| error.code());
        let (whole, cut) = (says(&json!("yes"), "stop"), says(&json!("hal"), "length"));
        assert_eq!(
            reply(json!([whole, says(&json!("no"), "stop")])).as_deref(),
            Ok("yes")
        );
        assert_eq!(reply(json!([null, cut, whole])).as_deref(), Ok("yes"));
        assert_eq!(
            reply(json!([cut, says(&json!("x"), "SAFETY")])),
            Err("truncated")
        );
        assert_eq!(reply(whole).as_deref(), Ok("yes"));
    }

    #[test]
    fn a_reply_without_choices_is_unusable() {
        for json in [
            json!({}),
            json!({"choices": []}),
            json!({"choices": null}),
            json!({"choices": "x"}),
            json!({"choices": ["x", 7]}),
            json!([1]),
            json!("x"),
        ] {
            assert_eq!(
                text(&json, 0).unwrap_err().code(),
                "unusable_reply",
                "{json}"
            );
        }
    }
}
