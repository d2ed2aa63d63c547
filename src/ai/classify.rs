//! What a provider's error status and error body mean; pure, and alike for both dialects.

use std::time::Duration;

use serde_json::Value;

use super::error::ProviderError;

/// The machine-readable names in an error body: OpenAI's `error.code` and `error.type`,
/// Anthropic's `error.type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kind {
    pub out_of_funds: bool,
    pub content_policy: bool,
}

/// Error codes and types that mean an empty account. OpenAI sends the first three with 429,
/// others with 402 or 403; Anthropic's is `billing_error`.
const OUT_OF_FUNDS: &[&str] = &[
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "billing_error",
    "insufficient_balance",
    "insufficient_credits",
];

/// Codes of a content filter that judged the prompt itself; OpenAI's and Azure's, both with 400.
const CONTENT_POLICY: &[&str] = &["content_policy_violation", "content_filter"];

/// Anthropic has sent an empty account as a plain 400 `invalid_request_error` that only its text
/// tells apart: "Your credit balance is too low to access the Anthropic API".
const LOW_CREDIT: &str = "credit balance is too low";

pub(super) fn kind(body: &Value) -> Kind {
    let names = ["/error/code", "/error/type", "/code", "/type"];
    let any_of = |set: &[&str]| {
        names.iter().any(|at| {
            body.pointer(at)
                .and_then(Value::as_str)
                .is_some_and(|n| set.contains(&n))
        })
    };
    Kind {
        out_of_funds: any_of(OUT_OF_FUNDS)
            || message(body).is_some_and(|text| text.contains(LOW_CREDIT)),
        content_policy: any_of(CONTENT_POLICY),
    }
}

/// The text for people in an error body: `error.message`, or what lesser servers send instead.
pub(super) fn message(body: &Value) -> Option<&str> {
    ["/error/message", "/error", "/message", "/detail"]
        .iter()
        .find_map(|at| body.pointer(at).and_then(Value::as_str))
        .filter(|text| !text.trim().is_empty())
}

/// What a status means by itself, without a body.
pub(crate) fn bare_status(status: u16) -> ProviderError {
    status_error(status, Kind::default(), format!("status {status}"), None)
}

pub(super) fn status_error(
    status: u16,
    kind: Kind,
    message: String,
    retry_after: Option<Duration>,
) -> ProviderError {
    match status {
        402 => ProviderError::OutOfFunds { status, message },
        _ if kind.out_of_funds => ProviderError::OutOfFunds { status, message },
        401 | 403 => ProviderError::Unauthorised { status, message },
        429 => ProviderError::RateLimited {
            message,
            retry_after,
        },
        408 | 409 | 500..=599 => ProviderError::Unavailable {
            status,
            message,
            retry_after,
        },
        _ if kind.content_policy => ProviderError::Filtered,
        _ => ProviderError::BadRequest { status, message },
    }
}

/// An error object under a good status, as gateways send it: its own code where it has one.
pub(super) fn error_in_reply(body: &Value) -> Option<(Option<u16>, Kind)> {
    body.get("error").filter(|error| !error.is_null())?;
    let status = body.pointer("/error/code").and_then(Value::as_u64);
    let status = status
        .and_then(|code| u16::try_from(code).ok())
        .filter(|code| *code >= 400);
    Some((status, kind(body)))
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
        for status in [408, 409, 500, 502, 503, 504, 529] {
            check(status, &none, "provider_unavailable", true);
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
        assert_eq!((status, kind.out_of_funds), (None, true));
        assert_eq!(error_in_reply(&json!({"error": null, "choices": []})), None);
    }
}
