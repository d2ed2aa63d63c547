//! The OpenAI dialect: `POST {base}/chat/completions`, spoken by OpenAI and by most gateways and
//! self-hosted servers.

use futures_util::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::dialect::{Caller, Reading, not_empty, string_at};
use super::error::{ProviderError, ReplyProblem};
use super::http::{BuildError, Endpoint, Post, header, secret_header};
use super::provider::{Attempt, Prompt, Provider};

/// What servers of this dialect differ in.
#[derive(Debug, Clone, Default)]
pub struct OpenAiOptions {
    /// Sent as `OpenAI-Organization`.
    pub organisation: Option<String>,
    pub token_limit: TokenLimit,
}

/// The name of the field that bounds the answer's length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TokenLimit {
    /// `max_completion_tokens`: OpenAI's own name, the only one its reasoning models take.
    #[default]
    MaxCompletionTokens,
    /// `max_tokens`: the old name, the only one that many other servers know.
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
    /// An empty API key sends no `Authorization` header: local servers often want none.
    pub fn new(endpoint: &Endpoint, options: &OpenAiOptions) -> Result<Self, BuildError> {
        const ORGANISATION: HeaderName = HeaderName::from_static("openai-organization");
        let mut headers = HeaderMap::new();
        if !endpoint.api_key.expose_secret().is_empty() {
            let bearer = secret_header("API key", "Bearer ", &endpoint.api_key)?;
            headers.insert(AUTHORIZATION, bearer);
        }
        if let Some(organisation) = &options.organisation {
            headers.insert(ORGANISATION, header("organisation", organisation)?);
        }
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

impl Provider for OpenAi {
    fn name(&self) -> &str {
        &self.name
    }

    fn attempt<'a>(&'a self, prompt: &'a Prompt) -> BoxFuture<'a, Attempt> {
        Box::pin(async move { self.caller.call(&self.body(prompt), read).await })
    }
}

fn read(json: &Value) -> Reading {
    let tokens = |name| json.pointer(name).and_then(Value::as_u64);
    let usage = tokens("/usage/prompt_tokens").zip(tokens("/usage/completion_tokens"));
    Reading {
        model: string_at(json, "/model"),
        usage,
        id: string_at(json, "/id"),
        text: text(json, usage.map_or(0, |(_, completion)| completion)),
    }
}

fn text(json: &Value, completion_tokens: u64) -> Result<String, ProviderError> {
    let unusable = |problem| Err(ProviderError::Unusable { problem });
    let Some(choice) = json.pointer("/choices/0") else {
        return unusable(ReplyProblem::NoChoices);
    };
    let message = choice.get("message").unwrap_or(&Value::Null);
    if let Some(refusal) = refusal(message) {
        return Err(ProviderError::Refused { message: refusal });
    }
    match choice.get("finish_reason").and_then(Value::as_str) {
        Some("length") => return Err(ProviderError::Truncated { completion_tokens }),
        Some("content_filter") => return Err(ProviderError::Filtered),
        // OpenRouter's word for a model that broke down while it wrote.
        Some("error") => return unusable(ReplyProblem::ErrorInReply),
        Some("tool_calls" | "function_call") => return unusable(ReplyProblem::NotText),
        // "stop"; servers that are not OpenAI's have other words for it, or none.
        _ => {}
    }
    match message.get("content") {
        Some(Value::String(content)) => not_empty(content.clone()),
        Some(Value::Array(parts)) => not_empty(parts.iter().filter_map(part_text).collect()),
        None | Some(Value::Null) => Err(ProviderError::Empty),
        Some(_) => unusable(ReplyProblem::NotText),
    }
}

/// `message.refusal`, or a part of type `refusal` among its content.
fn refusal(message: &Value) -> Option<String> {
    let parts = message
        .get("content")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    parts
        .filter(|part| part.get("type").and_then(Value::as_str) == Some("refusal"))
        .chain([message])
        .find_map(|part| part.get("refusal").and_then(Value::as_str))
        .filter(|refusal| !refusal.trim().is_empty())
        .map(str::to_owned)
}

fn part_text(part: &Value) -> Option<&str> {
    part.as_str().or_else(|| part.get("text")?.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(choice: &Value, want: Result<&str, &str>) {
        let json =
            json!({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 5}});
        let reading = read(&json);
        let got = reading.text.as_deref().map_err(ProviderError::code);
        assert_eq!(got, want, "{choice}");
        assert_eq!(reading.usage, Some((3, 5)));
    }

    #[test]
    fn each_way_to_finish_is_told_apart() {
        let says = |content: Value, finish: &str| json!({"message": {"content": content}, "finish_reason": finish});
        check(&says(json!("yes"), "stop"), Ok("yes"));
        check(
            &says(
                json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
                "stop",
            ),
            Ok("ab"),
        );
        check(&says(json!("half a sen"), "length"), Err("truncated"));
        check(&says(json!(""), "length"), Err("truncated"));
        check(&says(json!("x"), "content_filter"), Err("filtered"));
        check(&says(json!("x"), "error"), Err("unusable_reply"));
        check(&says(Value::Null, "tool_calls"), Err("unusable_reply"));
        check(&says(json!(" \n\u{a0}"), "stop"), Err("empty"));
        check(&says(Value::Null, "stop"), Err("empty"));
        check(&says(json!(7), "stop"), Err("unusable_reply"));
        check(&json!({"message": {"content": "yes"}}), Ok("yes"));
        check(&json!({}), Err("empty"));
    }

    #[test]
    fn a_refusal_is_never_taken_for_an_answer() {
        let refusal = "I'm sorry, I can't help with that.";
        check(
            &json!({"message": {"content": null, "refusal": refusal}, "finish_reason": "stop"}),
            Err("refused"),
        );
        check(
            &json!({"message": {"content": "x", "refusal": refusal}, "finish_reason": "stop"}),
            Err("refused"),
        );
        check(
            &json!({"message": {"content": [{"type": "refusal", "refusal": refusal}]}, "finish_reason": "stop"}),
            Err("refused"),
        );
        check(
            &json!({"message": {"content": "yes", "refusal": null}, "finish_reason": "stop"}),
            Ok("yes"),
        );
    }

    #[test]
    fn a_reply_without_choices_or_usage_is_still_read() {
        for json in [
            json!({}),
            json!({"choices": []}),
            json!({"choices": null}),
            json!([1]),
            json!("x"),
        ] {
            let reading = read(&json);
            assert_eq!(reading.text.unwrap_err().code(), "unusable_reply", "{json}");
            assert_eq!(reading.usage, None);
        }
    }
}
