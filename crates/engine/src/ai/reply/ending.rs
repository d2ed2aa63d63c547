//! The end of a reply: its finish reason is judged by a list of the good ones, and any other is a
//! failure.
//!
//! Servers have dozens of words for a reply that broke off, and invent new ones. Half a sentence
//! that is stored would be given to everyone who asks, so an unknown word counts as a break.

use serde_json::Value;

use crate::ai::error::{ProviderError, ReplyProblem};
use crate::ai::words::{clean_message, shortened};

/// Words for a reply that the model finished, without separators and in lower case.
const GOOD: &[&str] = &[
    "stop",
    "stopped",
    "stopsequence",
    "stopsequences",
    "stopsequencereached",
    "stopstring",
    "stoptoken",
    "stoptokenid",
    "stopword",
    "eos",
    "eosfound",
    "eostoken",
    "eostokenid",
    "eot",
    "eotid",
    "endid",
    "endofmessage",
    "endofsequence",
    "endofstream",
    "endoftext",
    "endofturn",
    "endturn",
    "imend",
    "complete",
    "completed",
    "done",
    "end",
    "ended",
    "finish",
    "finished",
    "normal",
    "success",
];

/// Parts of the words for a content filter.
const FILTERED: &[&str] = &[
    "blocked",
    "blocklist",
    "censor",
    "contentpolicy",
    "copyright",
    "filter",
    "flagged",
    "guardrail",
    "harm",
    "inspection",
    "jailbreak",
    "moderat",
    "policyviolation",
    "prohibit",
    "recitation",
    "safety",
    "sensitive",
    "spii",
    "toxic",
    "unsafe",
];

/// Parts of the words for a model that declined.
const REFUSED: &[&str] = &["declin", "refus"];

/// Parts of the words for a model that waits for a tool. No tool was offered, so the text beside
/// the call is not an answer.
const TOOL: &[&str] = &["functioncall", "pauseturn", "toolcall", "tooluse"];

/// Prefixes of enums that are printed with their type: `FinishReason.STOP`.
const PREFIXES: &[&str] = &["finishreason", "stopreason"];

/// The longest word that an error names, in characters.
const WORD_LIMIT: usize = 60;

/// Checks that a reply with this finish or stop reason is whole. A missing or empty reason is good:
/// many small servers send none.
pub(in crate::ai) fn judge(reason: &Value, completion_tokens: u64) -> Result<(), ProviderError> {
    let bare = match reason {
        Value::Null => return Ok(()),
        Value::String(word) if word.trim().is_empty() => return Ok(()),
        Value::String(word) => bare(word),
        // A number or an object is not a known word, whatever it means to its server.
        _ => String::new(),
    };
    let has = |parts: &[&str]| parts.iter().any(|part| bare.contains(part));
    if GOOD.contains(&bare.as_str()) {
        return Ok(());
    }
    let why = || format!("it ended with `{}`", shown(reason));
    Err(if has(TOOL) {
        let problem = ReplyProblem::ToolCall {
            word: shown(reason),
        };
        ProviderError::Unusable { problem }
    } else if has(REFUSED) {
        ProviderError::Refused { message: why() }
    } else if has(FILTERED) {
        ProviderError::Filtered { why: why() }
    } else if bare == "error" {
        // OpenRouter's word for a model that failed while it wrote.
        let message = why();
        let problem = ReplyProblem::ErrorInReply { message };
        ProviderError::Unusable { problem }
    } else {
        ProviderError::Truncated {
            completion_tokens,
            why: why(),
        }
    })
}

/// Returns the word in lower case, without separators and without the name of its enum.
fn bare(word: &str) -> String {
    let letters: String = word
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    let prefix = PREFIXES.iter().find_map(|of| letters.strip_prefix(of));
    match prefix {
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        _ => letters,
    }
}

/// Returns the word for an error's message: one line, bounded.
fn shown(reason: &Value) -> String {
    let text = match reason {
        Value::String(word) => word.clone(),
        other => other.to_string(),
    };
    shortened(&clean_message(&text, ""), WORD_LIMIT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(reasons: &[Value], want: Result<(), &str>) {
        for reason in reasons {
            let got = judge(reason, 7);
            assert_eq!(got.clone().map_err(|error| error.code()), want, "{reason}");
            if let (Value::String(word), Err(error)) = (reason, got) {
                assert!(error.to_string().contains(word.trim()), "{error}");
            }
        }
    }

    #[test]
    fn finished_replies_are_known_by_a_list() {
        let words = [
            "stop",
            "STOP",
            "Stop",
            " stop ",
            "eos",
            "eos_token",
            "EOS-Token",
            "</eos>",
            "end_turn",
            "END_TURN",
            "endTurn",
            "stop_sequence",
            "stopSequence",
            "stop sequence",
            "stop_token",
            "complete",
            "COMPLETE",
            "completed",
            "finished",
            "FINISH",
            "<|endoftext|>",
            "<|im_end|>",
            "FinishReason.STOP",
            "FINISH_REASON_STOP",
            "",
            " \n",
        ];
        check(&words.map(Value::from), Ok(()));
        check(&[Value::Null], Ok(()));
    }

    #[test]
    fn any_other_word_is_a_break() {
        let words = [
            "length",
            "LENGTH",
            "max_tokens",
            "MAX_TOKENS",
            "maxTokens",
            "max_output_tokens",
            "model_length",
            "token_limit",
            "context_length_exceeded",
            "ERROR_LIMIT",
            "time_limit",
            "model_context_window_exceeded",
            "insufficient_system_resource",
            "abort",
            "aborted",
            "cancelled",
            "USER_CANCEL",
            "network_error",
            "timeout",
            "repetition_truncation",
            "MALFORMED_RESPONSE",
            "OTHER",
            "LANGUAGE",
            "unknown",
            "incomplete",
            "not_finished",
            "unfinished",
            "null",
            "none",
            "nonstop",
            "stop!length",
            "FINISH_REASON_UNSPECIFIED",
            "FinishReason",
            "load",
            "停止",
        ];
        check(&words.map(Value::from), Err("truncated"));
        let others = [
            json!(0),
            json!(1),
            json!(true),
            json!(false),
            json!({}),
            json!([]),
            json!({"type": "stop"}),
            json!(["stop"]),
        ];
        check(&others, Err("truncated"));
    }

    #[test]
    fn filters_refusals_and_tool_calls_are_told_apart() {
        let filtered = [
            "content_filter",
            "CONTENT_FILTERED",
            "contentFilter",
            "SAFETY",
            "IMAGE_SAFETY",
            "RECITATION",
            "PROHIBITED_CONTENT",
            "BLOCKLIST",
            "SPII",
            "sensitive",
            "guardrail_intervened",
            "ERROR_TOXIC",
            "moderation",
            "data_inspection_failed",
            "content_policy_violation",
        ];
        check(&filtered.map(Value::from), Err("filtered"));
        check(
            &["refusal", "REFUSED", "declined"].map(Value::from),
            Err("refused"),
        );
        let tools = [
            "tool_calls",
            "tool_use",
            "TOOL_CALL",
            "function_call",
            "pause_turn",
            "MALFORMED_FUNCTION_CALL",
            "UNEXPECTED_TOOL_CALL",
        ];
        check(&tools.map(Value::from), Err("unusable_reply"));
        check(&[json!("error")], Err("unusable_reply"));
    }

    #[test]
    fn the_error_names_the_word_in_one_bounded_line() {
        let error = judge(&json!("max\u{7}\n_tokens"), 7)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "the answer was cut off at 7 tokens: it ended with `max _tokens`"
        );
        let error = judge(&json!("x".repeat(5000)), 7).unwrap_err().to_string();
        assert!(error.chars().count() < 150, "{error}");
        let error = judge(&json!({"type": "length"}), 0)
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("it ended with `{\"type\":\"length\"}`"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn only_listed_words_are_good(word in "[a-z_]{1,20}") {
            let good = judge(&json!(word), 0).is_ok();
            let listed = GOOD.contains(&bare(&word).as_str());
            prop_assert_eq!(good, listed || word.trim().is_empty());
        }

        #[test]
        fn case_and_separators_make_no_difference(at in 0..GOOD.len(), mask in any::<u32>(), separator in "[ _.-]") {
            let word: String = GOOD[at]
                .chars()
                .enumerate()
                .map(|(n, c)| match mask >> (n % 32) & 1 {
                    1 => format!("{}{separator}", c.to_ascii_uppercase()),
                    _ => c.to_string(),
                })
                .collect();
            prop_assert!(judge(&json!(word), 0).is_ok(), "{}", word);
        }

        #[test]
        fn whatever_it_is_the_message_is_one_short_line(word in any::<String>()) {
            if let Err(error) = judge(&json!(word), 0) {
                let message = error.to_string();
                prop_assert!(!message.contains(char::is_control) && message.chars().count() < 200, "{}", message);
            }
        }
    }
}
