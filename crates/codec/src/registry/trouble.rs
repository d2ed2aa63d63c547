//! The reasons why a request to the registry failed, for the log.

use std::error::Error;

use wedcache_model::trouble::report;

use super::RegistryError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    Unreachable,
    Unauthorized,
    WrongPath,
    /// Any other status.
    Status,
    Unreadable,
}

impl report::Reason for Reason {
    const ALL: &'static [Self] = &[
        Self::Unreachable,
        Self::Unauthorized,
        Self::WrongPath,
        Self::Status,
        Self::Unreadable,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Unauthorized => "unauthorized",
            Self::WrongPath => "wrong_path",
            Self::Status => "status",
            Self::Unreadable => "unreadable",
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Unreachable => "is it running, and is the address right?",
            Self::Unauthorized => "it refuses our user, password or token",
            Self::WrongPath => "it does not know the path: is the address that of a registry?",
            Self::Status => "it answers an error",
            Self::Unreadable => "what answers does not speak a registry's language",
        }
    }
}

pub(super) fn failure(error: &RegistryError) -> report::Failure<Reason> {
    let reason = match error {
        RegistryError::Status { status, .. } => match status {
            401 | 403 => Reason::Unauthorized,
            404 => Reason::WrongPath,
            _ => Reason::Status,
        },
        RegistryError::Answer { .. } | RegistryError::TooLong { .. } => Reason::Unreadable,
        RegistryError::Unreachable { .. }
        | RegistryError::Url { .. }
        | RegistryError::NoUrl
        | RegistryError::Client(_)
        | RegistryError::Refused { .. } => Reason::Unreachable,
    };
    // The HTTP client gives the reason only in the last of its causes.
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let text = match error {
        RegistryError::Unreachable { .. } => format!("{error}: {cause}"),
        _ => error.to_string(),
    };
    report::Failure::new(reason, &text)
}
