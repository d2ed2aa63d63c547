//! The text of a message's content: only the parts that belong to the answer become the answer.

use std::borrow::Cow;

use serde_json::Value;

use super::thoughts::{Spoken, without_thoughts};
use crate::ai::error::{ProviderError, ReplyProblem};

/// The parts of a message's content.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::ai) struct Content {
    pub text: String,
    /// The model's words if it declines to answer.
    pub refusal: Option<String>,
    /// True if there are parts that are neither text nor thoughts: images, tool calls.
    pub other: bool,
}

impl Content {
    /// Reads a content that is one text, one part or a list of parts.
    pub fn of(content: &Value) -> Self {
        let mut found = Self::default();
        match content {
            Value::Array(parts) => parts.iter().for_each(|part| found.add(part)),
            Value::Null => {}
            one => found.add(one),
        }
        found
    }

    fn add(&mut self, part: &Value) {
        match part {
            Value::String(text) => self.text.push_str(text),
            Value::Object(_) => self.add_part(part),
            Value::Null => {}
            _ => self.other = true,
        }
    }

    fn add_part(&mut self, part: &Value) {
        let kind = part.get("type").and_then(Value::as_str);
        let kind = kind.unwrap_or_default().trim().to_lowercase();
        let refusal = part.get("refusal").and_then(said);
        match kind.as_str() {
            _ if refusal.is_some() || kind == "refusal" => {
                let refusal = refusal.or_else(|| part.get("text").and_then(said));
                self.refusal = Some(refusal.unwrap_or_else(|| "no reason given".to_owned()));
            }
            // Gemini marks thoughts by a field of text parts.
            "" | "text" | "output_text" if part.get("thought") != Some(&Value::Bool(true)) => {
                match part.get("text") {
                    Some(Value::String(text)) => self.text.push_str(text),
                    // `{"text": {"value": "…", "annotations": []}}` comes from OpenAI's assistants.
                    Some(text) if text.get("value").is_some_and(Value::is_string) => {
                        self.text
                            .push_str(text["value"].as_str().unwrap_or_default());
                    }
                    Some(Value::Null) => {}
                    _ => self.other = true,
                }
            }
            "" | "text" | "output_text" => {}
            of if is_thought(of) => {}
            _ => self.other = true,
        }
    }

    /// Returns the answer: the text without thoughts, if any of it is left.
    pub fn answer(self, completion_tokens: u64) -> Result<String, ProviderError> {
        if is_blank(&self.text) {
            return Err(if self.other {
                let problem = ReplyProblem::NotText;
                ProviderError::Unusable { problem }
            } else {
                ProviderError::Empty
            });
        }
        let answer = match without_thoughts(&self.text) {
            Spoken::Answer(Cow::Borrowed(_)) => return Ok(self.text),
            Spoken::Answer(Cow::Owned(answer)) => answer,
            Spoken::Nothing => return Err(ProviderError::Empty),
            Spoken::Unfinished => {
                return Err(ProviderError::Truncated {
                    completion_tokens,
                    why: "it ended within the model's thoughts".to_owned(),
                });
            }
        };
        if is_blank(&answer) {
            return Err(ProviderError::Empty);
        }
        Ok(answer)
    }
}

/// Returns a non-blank text. The value `true` in its place counts as a refusal without a reason.
pub(in crate::ai) fn said(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !is_blank(text) => Some(text.clone()),
        Value::Bool(true) => Some("no reason given".to_owned()),
        _ => None,
    }
}

fn is_thought(kind: &str) -> bool {
    ["think", "thought", "reason", "redacted", "summary"]
        .iter()
        .any(|of| kind.starts_with(of))
}

/// Returns true if a text has no visible character.
fn is_blank(text: &str) -> bool {
    const INVISIBLE: &[char] = &['\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{feff}'];
    text.chars()
        .all(|c| c.is_whitespace() || c.is_control() || INVISIBLE.contains(&c))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(content: &Value, want: Result<&str, &str>) {
        let found = Content::of(content);
        let got = match &found.refusal {
            Some(_) => Err("refused"),
            None => found.answer(0).map_err(|error| error.code()),
        };
        assert_eq!(got.as_deref().map_err(|code| *code), want, "{content}");
    }

    #[test]
    fn text_is_read_from_every_usual_form() {
        for content in [
            json!("Ask v-18."),
            json!(["Ask ", "v-18."]),
            json!({"type": "text", "text": "Ask v-18."}),
            json!([{"type": "text", "text": "Ask "}, {"type": "text", "text": "v-18."}]),
            json!([{"type": "output_text", "text": "Ask v-18.", "annotations": []}]),
            json!([{"text": "Ask v-18."}]),
            json!([{"type": null, "text": "Ask v-18."}]),
            json!([{"type": "TEXT", "text": "Ask v-18."}, null, {"type": "text", "text": null}]),
            json!([{"type": "text", "text": {"value": "Ask v-18.", "annotations": []}}]),
        ] {
            check(&content, Ok("Ask v-18."));
        }
    }

    #[test]
    fn parts_that_are_not_the_answer_do_not_become_it() {
        for other in [
            json!({"type": "thinking", "thinking": "hm", "signature": "x", "text": "hm"}),
            json!({"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}),
            json!({"type": "redacted_thinking", "data": "hm"}),
            json!({"type": "reasoning", "text": "hm"}),
            json!({"type": "reasoning_text", "text": "hm"}),
            json!({"type": "summary_text", "text": "hm"}),
            json!({"type": "text", "text": "hm", "thought": true}),
            json!({"type": "tool_use", "id": "t", "name": "f", "input": {}, "text": "hm"}),
            json!({"type": "image_url", "image_url": {"url": "hm"}}),
            json!({"type": "image", "text": "hm"}),
            json!({"type": "server_tool_use", "text": "hm"}),
            json!({"type": "brand_new", "text": "hm"}),
            json!({}),
            json!(7),
        ] {
            check(
                &json!([other, {"type": "text", "text": "Ask v-18."}]),
                Ok("Ask v-18."),
            );
        }
    }

    #[test]
    fn without_text_the_reason_is_told() {
        for (content, want) in [
            (Value::Null, "empty"),
            (json!(""), "empty"),
            (json!(" \n\u{a0}\u{200b}\u{feff}\0"), "empty"),
            (json!([]), "empty"),
            (json!([{"type": "thinking", "thinking": "hm"}]), "empty"),
            (json!("<think>hm</think>"), "empty"),
            (json!("<think>hm"), "truncated"),
            (json!([{"type": "tool_use", "name": "f"}]), "unusable_reply"),
            (json!([{"type": "text", "text": 7}]), "unusable_reply"),
            (json!(7), "unusable_reply"),
            (json!(false), "unusable_reply"),
            (
                json!([{"type": "refusal", "refusal": "no"}, {"type": "text", "text": "x"}]),
                "refused",
            ),
            (json!([{"type": "refusal", "text": "no"}]), "refused"),
            (json!([{"type": "refusal"}]), "refused"),
        ] {
            check(&content, Err(want));
        }
        check(
            &json!([{"type": "text", "text": "yes", "refusal": null}]),
            Ok("yes"),
        );
    }

    proptest! {
        #[test]
        fn text_without_tags_is_the_answer_as_it_is(text in "[^<\\[&◁]*[a-z][^<\\[&◁]*") {
            prop_assume!(!text.trim_start().starts_with("analysis") && !text.trim_start().to_lowercase().starts_with("here"));
            prop_assert_eq!(Content::of(&json!(text)).answer(0).unwrap(), text.clone());
            prop_assert_eq!(Content::of(&json!([{"type": "text", "text": text}])).answer(0).unwrap(), text);
        }
    }
}
