//! The reasons why there is no answer, a closed set: for retries, the circuit breaker and the
//! asker.

use std::time::Duration;

use thiserror::Error;

use wedcache_model::AnswerError;

/// The reason why a prompt has no usable answer. None of these is ever stored.
///
/// Messages of providers are cut to [`MESSAGE_LIMIT`] characters and do not contain our keys.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProviderError {
    /// No connection was made: nothing was sent.
    #[error("the AI provider cannot be reached ({why}): {detail}")]
    Unreachable { why: Unreached, detail: String },
    /// 503, 529, or a 500 that the provider itself wrote: it did not do the work.
    #[error("the AI provider answered {status}: {message}")]
    Unavailable {
        status: u16,
        message: String,
        retry_after: Option<Duration>,
    },
    /// Any other 5xx, 408 or 409, from the provider or from a gateway: the provider may have done
    /// the work and may charge for it.
    #[error("the AI provider's answer was lost on its way: {status}: {message}")]
    Gateway { status: u16, message: String },
    /// The connection broke after the request was sent and before the reply began.
    #[error("the connection to the AI provider broke after the request was sent: {detail}")]
    CutOff { detail: String },
    /// 429 that goes away after waiting.
    #[error("the AI provider limits our rate: {message}")]
    RateLimited {
        message: String,
        retry_after: Option<Duration>,
    },
    /// The account has no money or quota left: only people can fix that.
    #[error("the AI provider's account is out of funds: {message}")]
    OutOfFunds { status: u16, message: String },
    /// 401 or 403.
    #[error("the AI provider refuses our credentials ({status}): {message}")]
    Unauthorised { status: u16, message: String },
    /// Any other status that a retry would not change.
    #[error("the AI provider refuses the request ({status}): {message}")]
    BadRequest { status: u16, message: String },
    #[error("no complete reply from the AI provider within {after:?} ({phase})")]
    Timeout { phase: CallPhase, after: Duration },
    #[error("the AI provider's reply cannot be used: {problem}")]
    Unusable { problem: ReplyProblem },
    /// The model declined to answer.
    #[error("the model declined to answer: {message}")]
    Refused { message: String },
    /// The provider's content filter withheld the answer.
    #[error("the AI provider's content filter withheld the answer: {why}")]
    Filtered { why: String },
    /// The answer ends in the middle, or is not known to be whole.
    #[error("the answer was cut off at {completion_tokens} tokens: {why}")]
    Truncated { completion_tokens: u64, why: String },
    #[error("the answer is empty")]
    Empty,
    /// Not sent, because of too many recent failures.
    #[error(
        "calls to the AI provider are suspended after repeated failures, next try in {retry_after:?}"
    )]
    CircuitOpen { retry_after: Duration },
    /// Not sent, because the deadline of the last waiter has passed.
    #[error("the last waiter's deadline passed before the call could be made")]
    DeadlinePassed,
}

/// The most characters that are kept of a provider's message.
pub const MESSAGE_LIMIT: usize = 300;

/// The limit of [`super::http::Timeouts`] that ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallPhase {
    Connect,
    FirstByte,
    Total,
}

impl std::fmt::Display for CallPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::FirstByte => "waiting for its first byte",
            Self::Total => "reading it to its end",
        })
    }
}

/// The reason why there was no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unreached {
    #[error("name not found")]
    Name,
    #[error("connection refused")]
    Refused,
    #[error("TLS failed")]
    Tls,
    #[error("no connection")]
    Network,
}

/// The problem of a reply whose status was good.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReplyProblem {
    #[error("it is not JSON")]
    NotJson,
    #[error("it cannot be unpacked")]
    Packed,
    #[error("characters of its answer cannot be read")]
    Characters,
    #[error("it has no body")]
    NoBody,
    #[error("it holds no answer")]
    NoChoices,
    #[error("its answer is not text")]
    NotText,
    #[error("the model wants to call a tool (`{word}`), and none was offered")]
    ToolCall { word: String },
    #[error("it reports an error under a good status: {message}")]
    ErrorInReply { message: String },
    #[error("it breaks off before its end")]
    CutShort,
    #[error("it is larger than {limit} bytes")]
    TooLarge { limit: usize },
}

/// The provider's health as shown by one attempt, for the circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderHealth {
    /// The provider works, whatever it replied.
    Good,
    /// The provider does not work.
    Bad,
    /// The attempt allows no conclusion.
    Unknown,
}

impl ProviderError {
    /// Returns the code of `AiAnswer.error`; also a metric label.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. }
            | Self::Unavailable { .. }
            | Self::Gateway { .. }
            | Self::CutOff { .. } => "provider_unavailable",
            Self::RateLimited { .. } => "rate_limited",
            Self::OutOfFunds { .. } => "out_of_funds",
            Self::Unauthorised { .. } => "unauthorised",
            Self::BadRequest { .. } => "bad_request",
            Self::Timeout { .. } => "timeout",
            Self::Unusable { .. } => "unusable_reply",
            Self::Refused { .. } => "refused",
            Self::Filtered { .. } => "filtered",
            Self::Truncated { .. } => "truncated",
            Self::Empty => "empty",
            Self::CircuitOpen { .. } => "circuit_open",
            Self::DeadlinePassed => "deadline_passed",
        }
    }

    /// Returns the error in the form that a failed answer carries.
    pub fn to_answer_error(&self) -> AnswerError {
        AnswerError {
            code: self.code().to_owned(),
            message: self.to_string(),
            retryable: self.retryable(),
        }
    }

    /// All codes that [`ProviderError::code`] returns.
    pub const CODES: &'static [&'static str] = &[
        "provider_unavailable",
        "rate_limited",
        "out_of_funds",
        "unauthorised",
        "bad_request",
        "timeout",
        "unusable_reply",
        "refused",
        "filtered",
        "truncated",
        "empty",
        "circuit_open",
        "deadline_passed",
    ];

    /// Returns true if the same question may succeed later without anyone changing anything
    /// (`AiAnswer.error.retryable`).
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Unavailable { .. }
            | Self::Gateway { .. }
            | Self::CutOff { .. }
            | Self::RateLimited { .. }
            | Self::Timeout { .. }
            | Self::Unusable { .. }
            | Self::Empty
            | Self::CircuitOpen { .. }
            | Self::DeadlinePassed => true,
            Self::OutOfFunds { .. }
            | Self::Unauthorised { .. }
            | Self::BadRequest { .. }
            | Self::Refused { .. }
            | Self::Filtered { .. }
            | Self::Truncated { .. } => false,
        }
    }

    /// Returns true if [`super::Ai`] itself asks again. Narrower than [`ProviderError::retryable`]:
    /// after the request was sent, a retry needs the provider's own statement that it did nothing.
    /// Otherwise the request may have been charged for, and asking again would pay for it twice.
    pub(super) fn asked_again(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Unavailable { .. }
                | Self::RateLimited { .. }
                | Self::Timeout {
                    phase: CallPhase::Connect,
                    ..
                }
        )
    }

    /// Returns true if the provider may have done the work and may charge for it although no usable
    /// reply came. Never true for an error that is asked again.
    pub(super) fn may_be_charged(&self) -> bool {
        matches!(
            self,
            Self::Gateway { .. }
                | Self::CutOff { .. }
                | Self::Unusable { .. }
                | Self::Timeout {
                    phase: CallPhase::FirstByte | CallPhase::Total,
                    ..
                }
        )
    }

    /// Returns true if the provider refuses every call until people change something: no
    /// permission, no money, or nothing at this address or of this name.
    pub fn refuses_all(&self) -> bool {
        match self {
            Self::OutOfFunds { .. } | Self::Unauthorised { .. } => true,
            Self::BadRequest { status, .. } => matches!(status, 404 | 405 | 407 | 410),
            _ => false,
        }
    }

    /// Returns true if an expired entry may be served instead (`stale_if_error`): the provider is
    /// away, rather than having judged this very question.
    pub fn provider_away(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Unavailable { .. }
            | Self::Gateway { .. }
            | Self::CutOff { .. }
            | Self::RateLimited { .. }
            | Self::OutOfFunds { .. }
            | Self::Unauthorised { .. }
            | Self::Timeout { .. }
            | Self::Unusable { .. }
            | Self::CircuitOpen { .. } => true,
            Self::BadRequest { .. } => self.refuses_all(),
            Self::Refused { .. }
            | Self::Filtered { .. }
            | Self::Truncated { .. }
            | Self::Empty
            | Self::DeadlinePassed => false,
        }
    }

    /// Returns the least time to wait before asking again, if it is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } | Self::RateLimited { retry_after, .. } => {
                *retry_after
            }
            Self::CircuitOpen { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    pub(super) fn health(&self) -> ProviderHealth {
        match self {
            Self::Unreachable { .. }
            | Self::Unavailable { .. }
            | Self::Gateway { .. }
            | Self::CutOff { .. }
            | Self::Timeout { .. }
            | Self::Unusable { .. } => ProviderHealth::Bad,
            // A 429 proves that something answers, but shows nothing about the model behind it.
            Self::RateLimited { .. } | Self::CircuitOpen { .. } | Self::DeadlinePassed => {
                ProviderHealth::Unknown
            }
            // Without funds or permission each call fails at once by itself; an open circuit would
            // only hide the reason from the people who can fix it.
            Self::OutOfFunds { .. }
            | Self::Unauthorised { .. }
            | Self::BadRequest { .. }
            | Self::Refused { .. }
            | Self::Filtered { .. }
            | Self::Truncated { .. }
            | Self::Empty => ProviderHealth::Good,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of_each() -> Vec<ProviderError> {
        let message = || "m".to_owned();
        let after = Duration::from_secs(1);
        vec![
            ProviderError::Unreachable {
                why: Unreached::Name,
                detail: message(),
            },
            ProviderError::RateLimited {
                message: message(),
                retry_after: Some(after),
            },
            ProviderError::OutOfFunds {
                status: 429,
                message: message(),
            },
            ProviderError::Unauthorised {
                status: 401,
                message: message(),
            },
            ProviderError::BadRequest {
                status: 400,
                message: message(),
            },
            ProviderError::Timeout {
                phase: CallPhase::Total,
                after,
            },
            ProviderError::Unusable {
                problem: ReplyProblem::NotJson,
            },
            ProviderError::Refused { message: message() },
            ProviderError::Filtered { why: message() },
            ProviderError::Truncated {
                completion_tokens: 5,
                why: message(),
            },
            ProviderError::Empty,
            ProviderError::CircuitOpen { retry_after: after },
            ProviderError::DeadlinePassed,
        ]
    }

    #[test]
    fn the_set_of_codes_is_closed() {
        let codes: Vec<&str> = one_of_each().iter().map(ProviderError::code).collect();
        assert_eq!(codes, ProviderError::CODES);
    }

    #[test]
    fn whatever_is_asked_again_is_retryable_and_was_not_charged() {
        let after = Duration::from_secs(1);
        let others = [
            ProviderError::Unavailable {
                status: 503,
                message: String::new(),
                retry_after: None,
            },
            ProviderError::Gateway {
                status: 504,
                message: String::new(),
            },
            ProviderError::CutOff {
                detail: String::new(),
            },
            ProviderError::Timeout {
                phase: CallPhase::Connect,
                after,
            },
            ProviderError::Timeout {
                phase: CallPhase::FirstByte,
                after,
            },
        ];
        for error in one_of_each().into_iter().chain(others) {
            let again = error.asked_again();
            assert!(error.retryable() || !again, "{error}");
            assert!(!error.may_be_charged() || !again, "{error}");
        }
    }

    #[test]
    fn an_address_or_a_model_that_is_not_there_does_not_judge_the_question() {
        for (status, away) in [
            (404, true),
            (405, true),
            (410, true),
            (400, false),
            (422, false),
        ] {
            let error = ProviderError::BadRequest {
                status,
                message: String::new(),
            };
            assert_eq!(
                (error.refuses_all(), error.provider_away()),
                (away, away),
                "{status}"
            );
        }
    }

    #[test]
    fn an_answer_carries_the_code_the_message_and_whether_to_ask_again() {
        let error = ProviderError::Unavailable {
            status: 503,
            message: "busy".to_owned(),
            retry_after: None,
        };
        let want = AnswerError {
            code: "provider_unavailable".to_owned(),
            message: "the AI provider answered 503: busy".to_owned(),
            retryable: true,
        };
        assert_eq!(error.to_answer_error(), want);
    }
}
