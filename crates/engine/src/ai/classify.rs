//! The meaning of a provider's error status and error body; pure, and the same for both dialects.

use std::time::Duration;

use serde_json::Value;

use super::error::ProviderError;

/// The machine-readable part of an error body: OpenAI's `error.code` and `error.type`, Anthropic's
/// `error.type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kind {
    pub cause: Option<Cause>,
    /// True if the body has the form of the dialects' errors, so that the provider itself wrote it
    /// rather than a gateway in between.
    pub own: bool,
}

/// The cause of an error, if its body names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    OutOfFunds,
    ContentPolicy,
    /// The key is wrong or lacks the permission.
    NoRight,
}

/// Error codes and types that mean an empty account. OpenAI sends the first three with 429,
/// others with 402 or 403; Anthropic's is `billing_error`, Alibaba's `Arrearage`.
const OUT_OF_FUNDS: &[&str] = &[
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "billing_error",
    "insufficient_balance",
    "insufficient_credits",
    "insufficient_funds",
    "insufficient_user_quota",
    "exceeded_current_quota_error",
    "arrearage",
    "payment_required",
];

/// Codes of a content filter that judged the prompt itself; OpenAI's and Azure's, both with 400.
const CONTENT_POLICY: &[&str] = &["content_policy_violation", "content_filter"];

/// Codes of a wrong key, which some servers send with 400.
const NO_RIGHT: &[&str] = &[
    "invalid_api_key",
    "api_key_invalid",
    "incorrect_api_key",
    "authentication_error",
    "permission_error",
    "permission_denied",
    "unauthenticated",
];

/// Text of an error for an empty account. Anthropic has sent it as a plain 400
/// `invalid_request_error` that only the text distinguishes: "Your credit balance is too low to
/// access the Anthropic API".
const LOW_CREDIT: &str = "credit balance is too low";

/// Text of an error for a wrong key. Google and xAI send it as a plain 400 that only the text
/// distinguishes: "API key not valid", "Incorrect API key provided".
const API_KEY: &str = "api key";

pub(super) fn kind(body: &Value) -> Kind {
    let names = [
        "/error/code",
        "/error/type",
        "/error/status",
        "/code",
        "/type",
    ];
    let any_of = |set: &[&str]| {
        names.iter().any(|at| {
            let name = body.pointer(at).and_then(Value::as_str);
            name.is_some_and(|name| set.contains(&name.to_lowercase().as_str()))
        })
    };
    let text = message(body).unwrap_or_default();
    let cause = if any_of(OUT_OF_FUNDS) || text.contains(LOW_CREDIT) {
        Some(Cause::OutOfFunds)
    } else if any_of(CONTENT_POLICY) {
        Some(Cause::ContentPolicy)
    } else if any_of(NO_RIGHT) || text.to_lowercase().contains(API_KEY) {
        Some(Cause::NoRight)
    } else {
        None
    };
    Kind {
        cause,
        own: is_own(body),
    }
}

/// Returns true if the provider itself wrote the body. Both dialects write an object `error` with a
/// message or a type in it; vLLM writes `"object": "error"`. Gateways write pages, plain words, or
/// a bare `message`.
fn is_own(body: &Value) -> bool {
    let named = ["message", "type", "code"].iter().any(|name| {
        let value = body.get("error").and_then(|error| error.get(name));
        value.is_some_and(|value| value.as_str().is_some_and(|text| !text.trim().is_empty()))
    });
    named || body.get("object").and_then(Value::as_str) == Some("error")
}

/// Returns the human-readable text of an error body: `error.message`, or the fields that other
/// servers use instead.
pub(super) fn message(body: &Value) -> Option<&str> {
    ["/error/message", "/error", "/message", "/detail"]
        .iter()
        .find_map(|at| body.pointer(at).and_then(Value::as_str))
        .filter(|text| !text.trim().is_empty())
}

/// Returns the meaning of a status that the provider itself sent, without a body.
pub fn bare_status(status: u16) -> ProviderError {
    let kind = Kind {
        own: true,
        ..Kind::default()
    };
    status_error(status, kind, format!("status {status}"), None)
}

pub(super) fn status_error(
    status: u16,
    kind: Kind,
    message: String,
    retry_after: Option<Duration>,
) -> ProviderError {
    match status {
        402 => ProviderError::OutOfFunds { status, message },
        _ if kind.cause == Some(Cause::OutOfFunds) => ProviderError::OutOfFunds { status, message },
        401 | 403 => ProviderError::Unauthorised { status, message },
        429 => ProviderError::RateLimited {
            message,
            retry_after,
        },
        // A provider that answers 503 or 529 turned the request away before any work.
        500 if kind.own => ProviderError::Unavailable {
            status,
            message,
            retry_after,
        },
        503 | 529 => ProviderError::Unavailable {
            status,
            message,
            retry_after,
        },
        // 502, 504 and a bare 500 come from a gateway, which cannot know what the provider did.
        408 | 409 | 500..=599 => ProviderError::Gateway { status, message },
        _ if kind.cause == Some(Cause::ContentPolicy) => ProviderError::Filtered { why: message },
        400 if kind.cause == Some(Cause::NoRight) => {
            ProviderError::Unauthorised { status, message }
        }
        _ => ProviderError::BadRequest { status, message },
    }
}

/// Finds an error in a reply with a good status, as gateways send it. Returns its own code, if that
/// is a status, and its kind.
pub(super) fn error_in_reply(body: &Value) -> Option<(Option<u16>, Kind)> {
    if !is_error(body.get("error")?) {
        return None;
    }
    let code = body.pointer("/error/code").and_then(|code| match code {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64(),
    });
    let status = code
        .and_then(|code| u16::try_from(code).ok())
        .filter(|code| (400..=599).contains(code));
    Some((status, kind(body)))
}

/// Returns true if a field `error` reports an error: some servers always send the field, as null,
/// empty or with the code 0.
pub(super) fn is_error(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Object(fields) => {
            let no_code = |code: &Value| code.as_u64() == Some(0) || code.as_str() == Some("0");
            !fields.get("code").is_some_and(no_code)
                && fields
                    .values()
                    .any(|value| !value.is_null() && value.as_str() != Some(""))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(status: u16, body: &Value, want_code: &str, want_again: bool) {
        let message = message(body).unwrap_or_default().to_owned();
        let error = status_error(status, kind(body), message, None);
        assert_eq!(
            (error.code(), error.asked_again()),
            (want_code, want_again),
            "{status} {body}"
        );
    }

    #[test]
    fn each_status_has_its_meaning() {
        let none = Value::Null;
        for status in [503, 529] {
            check(status, &none, "provider_unavailable", true);
        }
        for status in [408, 409, 500, 501, 502, 504, 505, 520, 522, 524, 599] {
            check(status, &none, "provider_unavailable", false);
        }
        check(429, &none, "rate_limited", true);
        check(401, &none, "unauthorised", false);
        check(403, &none, "unauthorised", false);
        check(402, &none, "out_of_funds", false);
        for status in [301, 400, 404, 413, 415, 422] {
            check(status, &none, "bad_request", false);
        }
    }

    #[test]
    fn a_500_is_repeated_only_where_the_provider_wrote_it() {
        for own in [
            json!({"error": {"message": "The server had an error", "type": "server_error", "code": null}}),
            json!({"type": "error", "error": {"type": "api_error", "message": "Internal server error"}}),
            json!({"error": {"type": "server_error"}}),
            json!({"object": "error", "message": "CUDA error", "code": 500}),
        ] {
            check(500, &own, "provider_unavailable", true);
            check(502, &own, "provider_unavailable", false);
            check(504, &own, "provider_unavailable", false);
        }
        for gateway in [
            json!({"message": "Internal server error"}),
            json!({"detail": "Internal Server Error"}),
            json!({"timestamp": 1, "status": 500, "error": "Internal Server Error", "path": "/"}),
            json!({"error": {}}),
            json!({"error": {"message": " "}}),
            json!("broken"),
            json!([]),
            Value::Null,
        ] {
            check(500, &gateway, "provider_unavailable", false);
        }
    }

    #[test]
    fn a_wrong_key_is_known_whatever_the_status() {
        for body in [
            json!({"error": {"code": "invalid_api_key", "message": "m"}}),
            json!({"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT"}}),
            json!({"code": "Client specified an invalid argument", "error": "Incorrect API key provided"}),
        ] {
            check(400, &body, "unauthorised", false);
        }
        check(
            400,
            &json!({"error": {"message": "max_tokens is too large"}}),
            "bad_request",
            false,
        );
    }

    #[test]
    fn an_empty_account_is_known_by_its_code_whatever_the_status() {
        for (status, body) in [
            (
                429,
                json!({"error": {"type": "insufficient_quota", "code": "insufficient_quota"}}),
            ),
            (
                429,
                json!({"error": {"code": "insufficient_quota", "message": "m"}}),
            ),
            (
                429,
                json!({"error": {"type": "insufficient_quota", "code": null}}),
            ),
            (403, json!({"error": {"code": "billing_not_active"}})),
            (
                400,
                json!({"type": "error", "error": {"type": "billing_error"}}),
            ),
            (
                400,
                json!({"type": "error", "error": {"type": "invalid_request_error",
                "message": "Your credit balance is too low to access the Anthropic API."}}),
            ),
        ] {
            check(status, &body, "out_of_funds", false);
        }
        let plain = json!({"error": {"type": "requests", "code": "rate_limit_exceeded"}});
        check(429, &plain, "rate_limited", true);
    }

    #[test]
    fn a_prompt_that_the_filter_judged_is_filtered() {
        check(
            400,
            &json!({"error": {"code": "content_filter"}}),
            "filtered",
            false,
        );
    }

    #[test]
    fn messages_are_found_in_every_usual_place() {
        for body in [
            json!({"error": {"message": "m"}}),
            json!({"error": "m"}),
            json!({"message": "m"}),
            json!({"detail": "m"}),
        ] {
            assert_eq!(message(&body), Some("m"), "{body}");
        }
        assert_eq!(message(&json!({"error": {"message": " "}})), None);
        assert_eq!(message(&json!([1])), None);
    }

    #[test]
    fn an_error_object_under_a_good_status_is_seen() {
        let (status, _) = error_in_reply(&json!({"error": {"code": 502, "message": "m"}})).unwrap();
        assert_eq!(status, Some(502));
        let (status, kind) =
            error_in_reply(&json!({"error": {"code": "insufficient_quota"}})).unwrap();
        assert_eq!((status, kind.cause), (None, Some(Cause::OutOfFunds)));
        let (status, _) = error_in_reply(&json!({"error": {"code": "429"}})).unwrap();
        assert_eq!(status, Some(429));
        let (status, _) = error_in_reply(&json!({"error": "upstream broke"})).unwrap();
        assert_eq!(status, None);
        for none in [
            json!(null),
            json!(""),
            json!(false),
            json!({}),
            json!({"code": null, "message": ""}),
            json!({"code": 0, "message": "success"}),
        ] {
            assert_eq!(error_in_reply(&json!({"error": none, "choices": []})), None);
        }
    }
}
