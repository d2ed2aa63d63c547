//! The Anthropic dialect: `POST {base}/v1/messages`. [`super`] has the reason why no client crate
//! is used.

use futures_util::future::BoxFuture;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::dialect::Caller;
use super::error::{ProviderError, ReplyProblem};
use super::http::{BuildError, Endpoint, Post, secret_header};
use super::provider::{Attempt, Prompt, Provider};
use super::reply::content::Content;
use super::reply::ending;

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
        let post = Post::new(endpoint, "/v1/messages", headers(endpoint)?)?;
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

/// Returns the headers that every request of this dialect carries.
pub(super) fn headers(endpoint: &Endpoint) -> Result<HeaderMap, BuildError> {
    let mut headers = HeaderMap::new();
    let key = secret_header("API key", "", &endpoint.api_key)?;
    headers.insert(HeaderName::from_static("x-api-key"), key);
    headers.insert(HeaderName::from_static("anthropic-version"), VERSION);
    Ok(headers)
}

impl Provider for Anthropic {
    fn name(&self) -> &str {
        &self.name
    }

    fn attempt<'a>(&'a self, prompt: &'a Prompt) -> BoxFuture<'a, Attempt> {
        Box::pin(async move { self.caller.call(prompt, &self.body(prompt), text).await })
    }
}

fn text(json: &Value, completion_tokens: u64) -> Result<String, ProviderError> {
    let Some(content) = json.get("content").filter(|content| !content.is_null()) else {
        return Err(ProviderError::Unusable {
            problem: ReplyProblem::NoChoices,
        });
    };
    let content = Content::of(content);
    if let Some(message) = content.refusal {
        return Err(ProviderError::Refused { message });
    }
    let reason = ["stop_reason", "stopReason"]
        .iter()
        .find_map(|name| json.get(name).filter(|reason| !reason.is_null()));
    ending::judge(reason.unwrap_or(&Value::Null), completion_tokens).map_err(
        |error| match error {
            // The model's own words in place of an answer are more informative than the stop
            // reason.
            ProviderError::Refused { .. } if !content.text.trim().is_empty() => {
                let message = content.text.clone();
                ProviderError::Refused { message }
            }
            other => other,
        },
    )?;
    content.answer(completion_tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(stop_reason: &str, content: &Value, want: Result<&str, &str>) {
        let got = text(&json!({"content": content, "stop_reason": stop_reason}), 5);
        let got = got.as_deref().map_err(ProviderError::code);
        assert_eq!(got, want, "{stop_reason} {content}");
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
        check("guardrail_intervened", &says("x"), Err("filtered"));
        check("tool_use", &says("x"), Err("unusable_reply"));
        check("pause_turn", &says("x"), Err("unusable_reply"));
        check("compaction", &says("x"), Err("truncated"));
        check("end_turn", &says(" \n"), Err("empty"));
        check("end_turn", &says("<think>hm"), Err("truncated"));
        check("end_turn", &json!([]), Err("empty"));
        check(
            "end_turn",
            &json!([{"type": "tool_use", "id": "t"}]),
            Err("unusable_reply"),
        );
    }

    #[test]
    fn a_refusal_says_what_the_model_said() {
        let reply =
            json!({"content": [{"type": "text", "text": "I can't."}], "stop_reason": "refusal"});
        let message = "I can't.".to_owned();
        assert_eq!(text(&reply, 0), Err(ProviderError::Refused { message }));
        check("refusal", &json!([]), Err("refused"));
    }

    #[test]
    fn only_blocks_of_text_are_the_answer() {
        let blocks = json!([
            {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "Ask ", "citations": null},
            {"type": "server_tool_use", "name": "search", "input": {}},
            {"type": "text", "text": "v-18."},
        ]);
        check("end_turn", &blocks, Ok("Ask v-18."));
        check("end_turn", &json!("Ask v-18."), Ok("Ask v-18."));
        check("", &json!([{"type": "text", "text": "yes"}]), Ok("yes"));
    }

    #[test]
    fn a_reply_without_content_is_unusable() {
        for json in [json!({}), json!({"content": null}), json!([]), json!("x")] {
            assert_eq!(
                text(&json, 0).unwrap_err().code(),
                "unusable_reply",
                "{json}"
            );
        }
    }
}
