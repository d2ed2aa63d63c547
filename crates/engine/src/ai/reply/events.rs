//! Assembles a stream of server-sent events that was not requested into the one reply that it
//! should have been. Some gateways stream whatever the request asks for; the reply is paid for.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::json;

/// The finish reason that is used for a stream that gave none and did not signal its end.
const NO_END: &str = "no end of the stream";

/// Returns true if a text is a stream of events rather than JSON.
pub(super) fn is_stream(text: &str) -> bool {
    let start = text.trim_start();
    ["data:", "event:", "id:", "retry:", ":"]
        .iter()
        .any(|field| start.starts_with(field))
}

/// Assembles a stream's reply; `None` if one of its events cannot be read, since a piece of the
/// answer would be missing.
pub(super) fn whole(text: &str) -> Option<Value> {
    let mut reply = Assembled::default();
    for data in events(text) {
        if data.trim() == "[DONE]" {
            reply.over = true;
        } else {
            reply.add(&json::read(&data)?);
        }
    }
    Some(reply.end())
}

/// Returns the data of each event: the text after `data:` on its lines, up to an empty line.
fn events(text: &str) -> Vec<String> {
    let mut events = Vec::new();
    let mut data: Option<String> = None;
    for line in text.lines().chain([""]) {
        let line = line.trim_end_matches('\r');
        if line.trim().is_empty() {
            events.extend(data.take());
        } else if let Some(rest) = line.trim_start().strip_prefix("data:") {
            let rest = rest.strip_prefix(' ').unwrap_or(rest);
            match &mut data {
                // Some servers leave out the empty lines: there each line is a separate event.
                Some(before) if json::read(before).is_some() || before.trim() == "[DONE]" => {
                    events.push(std::mem::replace(before, rest.to_owned()));
                }
                Some(before) => {
                    before.push('\n');
                    before.push_str(rest);
                }
                None => data = Some(rest.to_owned()),
            }
        }
    }
    events.retain(|data| !data.trim().is_empty());
    events
}

/// A reply in pieces: OpenAI's choices or Anthropic's blocks, by their index.
#[derive(Default)]
struct Assembled {
    head: Map<String, Value>,
    usage: Map<String, Value>,
    choices: BTreeMap<u64, Choice>,
    blocks: BTreeMap<u64, Value>,
    stop_reason: Value,
    /// True if the reply is in Anthropic's dialect.
    messages: bool,
    /// True if the stream signalled its end.
    over: bool,
    /// A reply that came in one event.
    unbroken: Option<Value>,
}

#[derive(Default)]
struct Choice {
    content: String,
    refusal: String,
    other: Vec<Value>,
    finish_reason: Value,
}

impl Assembled {
    fn add(&mut self, event: &Value) {
        self.add_head(event);
        if let Some(choices) = event.get("choices").and_then(Value::as_array) {
            if choices.iter().any(|choice| choice.get("message").is_some()) {
                self.unbroken = Some(event.clone());
            }
            for choice in choices {
                self.add_delta(choice);
            }
        }
        let kind = event.get("type").and_then(Value::as_str);
        match kind.unwrap_or_default() {
            "message" => self.unbroken = Some(event.clone()),
            "message_start" => {
                self.messages = true;
                self.add_head(&event["message"]);
            }
            "content_block_start" => {
                let block = event["content_block"].clone();
                self.blocks.insert(index(event), block);
            }
            "content_block_delta" => self.add_to_block(event),
            "message_delta" => {
                self.messages = true;
                let reason = &event["delta"]["stop_reason"];
                if !reason.is_null() {
                    self.stop_reason = reason.clone();
                }
            }
            "message_stop" => self.over = true,
            _ => {}
        }
    }

    fn add_head(&mut self, event: &Value) {
        for name in ["id", "model", "error"] {
            if let Some(value) = event.get(name).filter(|value| !value.is_null()) {
                self.head.insert(name.to_owned(), value.clone());
            }
        }
        // Later counts cover the whole reply; Anthropic's prompt tokens come first, alone.
        if let Some(usage) = event.get("usage").and_then(Value::as_object) {
            let given = usage.iter().filter(|(_, value)| !value.is_null());
            let given = given.map(|(name, value)| (name.clone(), value.clone()));
            self.usage.extend(given);
        }
    }

    fn add_delta(&mut self, choice: &Value) {
        let into = self.choices.entry(index(choice)).or_default();
        let delta = &choice["delta"];
        match &delta["content"] {
            Value::String(text) => into.content.push_str(text),
            Value::Array(parts) => into.other.extend(parts.iter().cloned()),
            _ => {}
        }
        into.refusal
            .push_str(delta["refusal"].as_str().unwrap_or_default());
        if let Some(reason) = choice.get("finish_reason").filter(|of| !of.is_null()) {
            into.finish_reason = reason.clone();
        }
    }

    fn add_to_block(&mut self, event: &Value) {
        let delta = &event["delta"];
        let block = self
            .blocks
            .entry(index(event))
            .or_insert_with(|| json!({"type": "text", "text": ""}));
        if let (Some(text), Some(block)) = (delta["text"].as_str(), block.as_object_mut()) {
            let before = block.get("text").and_then(Value::as_str);
            let text = before.unwrap_or_default().to_owned() + text;
            block.insert("text".to_owned(), text.into());
        }
    }

    fn end(self) -> Value {
        let unbroken = self.unbroken.filter(|_| !self.head.contains_key("error"));
        if let Some(unbroken) = unbroken {
            return unbroken;
        }
        let end = |reason: Value| match reason {
            Value::Null if !self.over => NO_END.into(),
            reason => reason,
        };
        let mut reply = self.head;
        if !self.usage.is_empty() {
            reply.insert("usage".to_owned(), self.usage.into());
        }
        if self.messages || !self.blocks.is_empty() {
            let blocks: Vec<Value> = self.blocks.into_values().collect();
            reply.insert("content".to_owned(), blocks.into());
            reply.insert("stop_reason".to_owned(), end(self.stop_reason));
        } else if !self.choices.is_empty() {
            let choices: Vec<Value> = self
                .choices
                .into_values()
                .map(|choice| {
                    let (finish_reason, message) = choice.end();
                    json!({"message": message, "finish_reason": end(finish_reason)})
                })
                .collect();
            reply.insert("choices".to_owned(), choices.into());
        }
        reply.into()
    }
}

impl Choice {
    fn end(mut self) -> (Value, Value) {
        let content = if self.other.is_empty() {
            Value::from(self.content)
        } else {
            self.other.insert(0, self.content.into());
            self.other.into()
        };
        let refusal = Some(self.refusal).filter(|refusal| !refusal.is_empty());
        let message = json!({"content": content, "refusal": refusal});
        (self.finish_reason, message)
    }
}

fn index(of: &Value) -> u64 {
    of.get("index").and_then(Value::as_u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(content: &str) -> String {
        let chunk = json!({"id": "c-1", "model": "m", "usage": null,
            "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": null}]});
        format!("data: {chunk}\n\n")
    }

    const STOP: &str =
        "data: {\"choices\": [{\"index\": 0, \"delta\": {}, \"finish_reason\": \"stop\"}]}\n\n";
    const USAGE: &str =
        "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 3, \"completion_tokens\": 5}}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    #[test]
    fn chunks_of_chat_completions_become_one_reply() {
        let ask = [delta("Ask "), delta("v-18.")].concat();
        let want = |reason: Value, usage: bool| {
            let mut want = json!({"id": "c-1", "model": "m",
                "choices": [{"message": {"content": "Ask v-18.", "refusal": null}, "finish_reason": reason}]});
            if usage {
                want["usage"] = json!({"prompt_tokens": 3, "completion_tokens": 5});
            }
            want
        };
        for (text, want) in [
            (
                format!("{ask}{STOP}{USAGE}{DONE}"),
                want("stop".into(), true),
            ),
            (
                format!(": comment\n\nevent: x\nid: 7\n{ask}{STOP}"),
                want("stop".into(), false),
            ),
            (
                format!("{ask}{STOP}{DONE}").replace("\n\n", "\n"),
                want("stop".into(), false),
            ),
            (
                format!("{ask}{STOP}{DONE}").replace('\n', "\r\n"),
                want("stop".into(), false),
            ),
            (format!("{ask}{DONE}"), want(Value::Null, false)),
            (ask.clone(), want(NO_END.into(), false)),
        ] {
            assert!(is_stream(&text), "{text}");
            assert_eq!(whole(&text), Some(want), "{text}");
        }
    }

    #[test]
    fn a_whole_reply_in_one_event_is_that_reply() {
        let reply = json!({"choices": [{"message": {"content": "yes"}}]});
        assert_eq!(whole(&format!("data: {reply}\n\n")), Some(reply.clone()));
        assert_eq!(whole(&format!("data:{reply}\n\n{DONE}")), Some(reply));
    }

    #[test]
    fn events_of_anthropics_messages_become_one_reply() {
        let events = [
            json!({"type": "message_start", "message": {"id": "m-1", "model": "m", "content": [], "stop_reason": null, "usage": {"input_tokens": 3, "output_tokens": 1}}}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}}),
            json!({"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Ask "}}),
            json!({"type": "ping"}),
            json!({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "v-18."}}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}),
            json!({"type": "message_stop"}),
        ];
        let stream = |events: &[Value]| -> String {
            let event = |event: &Value| format!("event: x\ndata: {event}\n\n");
            events.iter().map(event).collect::<Vec<_>>().concat()
        };
        let want = json!({"id": "m-1", "model": "m", "usage": {"input_tokens": 3, "output_tokens": 5}, "stop_reason": "end_turn",
            "content": [{"type": "thinking", "thinking": ""}, {"type": "text", "text": "Ask v-18."}]});
        assert_eq!(whole(&stream(&events)), Some(want));
        let cut = whole(&stream(&events[..5])).unwrap();
        assert_eq!(cut["stop_reason"], NO_END);
    }

    #[test]
    fn an_error_in_the_stream_and_a_broken_event_are_seen() {
        let text = delta("Ask ") + "data: {\"error\": {\"code\": 502, \"message\": \"broke\"}}\n\n";
        assert_eq!(whole(&text).unwrap()["error"]["code"], 502);
        assert_eq!(whole(&(delta("Ask ") + "data: {\"choi\n\n" + DONE)), None);
    }
}
