//! The Anthropic dialect: `POST {base}/v1/messages`.

use futures_util::future::BoxFuture;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::dialect::{Caller, Reading, not_empty, string_at};
use super::error::{ProviderError, ReplyProblem};
use super::http::{BuildError, Endpoint, Post, secret_header};
use super::provider::{Attempt, Prompt, Provider};

/// The API version that this dialect is written against; required in each request.
const VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// Anthropic's messages API.
pub struct Anthropic {
    name: String,
    caller: Caller,
    temperature: Option<f64>,
}

impl Anthropic {
    pub fn new(endpoint: &Endpoint) -> Result<Self, BuildError> {
        let mut headers = HeaderMap::new();
        let key = secret_header("API key", "", &endpoint.api_key)?;
        headers.insert(HeaderName::from_static("x-api-key"), key);
        headers.insert(HeaderName::from_static("anthropic-version"), VERSION);
        let post = Post::new(endpoint, "/v1/messages", headers)?;
        Ok(Self {
            name: endpoint.name.clone(),
            caller: Caller::new(post, endpoint),
            temperature: endpoint.temperature,
        })
    }

    fn body(&self, prompt: &Prompt) -> Value {
        let mut body = json!({
            "model": self.caller.model,
            "max_tokens": prompt.max_tokens,
            "system": prompt.system,
            "messages": [{"role": "user", "content": prompt.user}],
        });
        if let Some(temperature) = self.temperature {
            body["temperature"] = temperature.into();
        }
        body
    }
}

impl Provider for Anthropic {
    fn name(&self) -> &str {
        &self.name
    }

    fn attempt<'a>(&'a self, prompt: &'a Prompt) -> BoxFuture<'a, Attempt> {
        Box::pin(async move { self.caller.call(&self.body(prompt), read).await })
    }
}

fn read(json: &Value) -> Reading {
    let tokens = |name| json.pointer(name).and_then(Value::as_u64);
    // `input_tokens` leaves out what was written to or read from the provider's prompt cache.
    // Those have other prices; we send nothing that it would cache.
    let cached = [
        "/usage/cache_creation_input_tokens",
        "/usage/cache_read_input_tokens",
    ];
    let cached: u64 = cached.into_iter().filter_map(tokens).sum();
    let usage = tokens("/usage/input_tokens")
        .zip(tokens("/usage/output_tokens"))
        .map(|(input, output)| (input + cached, output));
    Reading {
        model: string_at(json, "/model"),
        usage,
        id: string_at(json, "/id"),
        text: text(json, usage.map_or(0, |(_, completion)| completion)),
    }
}

fn text(json: &Value, completion_tokens: u64) -> Result<String, ProviderError> {
    let Some(blocks) = json.get("content").and_then(Value::as_array) else {
        return Err(ProviderError::Unusable {
            problem: ReplyProblem::NoChoices,
        });
    };
    let text: String = blocks
        .iter()
        .filter(|block| block.get("type").and_then(Value::as_str) == Some("text"))
        .filter_map(|block| block.get("text")?.as_str())
        .collect();
    match json.get("stop_reason").and_then(Value::as_str) {
        Some("refusal") => Err(ProviderError::Refused { message: text }),
        Some("max_tokens" | "model_context_window_exceeded") => {
            Err(ProviderError::Truncated { completion_tokens })
        }
        Some("tool_use" | "pause_turn") => Err(ProviderError::Unusable {
            problem: ReplyProblem::NotText,
        }),
        _ => not_empty(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(stop_reason: &str, blocks: &Value, want: Result<&str, &str>) {
        let reading = read(&json!({
            "content": blocks, "stop_reason": stop_reason,
            "usage": {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 5},
        }));
        let got = reading.text.as_deref().map_err(ProviderError::code);
        assert_eq!(got, want, "{stop_reason} {blocks}");
        assert_eq!(reading.usage, Some((7, 5)));
    }

    #[test]
    fn each_stop_reason_is_told_apart() {
        let says = |text: &str| json!([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": text}]);
        check("end_turn", &says("yes"), Ok("yes"));
        check("stop_sequence", &says("yes"), Ok("yes"));
        check("max_tokens", &says("half a sen"), Err("truncated"));
        check(
            "model_context_window_exceeded",
            &says("half"),
            Err("truncated"),
        );
        check("refusal", &says("I can't"), Err("refused"));
        check("tool_use", &says("x"), Err("unusable_reply"));
        check("pause_turn", &says("x"), Err("unusable_reply"));
        check("end_turn", &says(" \n"), Err("empty"));
        check("end_turn", &json!([]), Err("empty"));
    }

    #[test]
    fn a_reply_without_content_is_unusable() {
        for json in [json!({}), json!({"content": "yes"}), json!([])] {
            assert_eq!(
                read(&json).text.unwrap_err().code(),
                "unusable_reply",
                "{json}"
            );
        }
    }
}
