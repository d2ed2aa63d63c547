//! A failed call in a form that may be shown: the reason, and the error's text without secrets or
//! payload.

use redis::{Client, ErrorKind, RedisError};
use secrecy::{ExposeSecret as _, SecretString};

use super::reason::Reason;

/// The most characters of an error's text that are shown.
const MAX_TEXT_CHARS: usize = 240;
/// The text before the quoted arguments of a command that Redis does not know: the password of
/// AUTH, the value of a write. Everything from here on is cut off.
const QUOTED_ARGUMENTS: &str = "with args beginning with";

pub(super) type Failure = wedcache_model::trouble::report::Failure<Reason>;

/// The passwords in the layer's addresses, which must not be shown.
#[derive(Debug)]
pub(super) struct Secrets(Vec<SecretString>);

impl Secrets {
    pub(super) fn of<'a>(clients: impl IntoIterator<Item = &'a Client>) -> Self {
        let password = |client: &Client| {
            let settings = client.get_connection_info().redis_settings();
            settings
                .password()
                .filter(|password| !password.is_empty())
                .map(SecretString::from)
        };
        Self(clients.into_iter().filter_map(password).collect())
    }

    /// Describes an error of the client or the server.
    pub(super) fn failure(&self, error: &RedisError) -> Failure {
        let detail = error.detail().unwrap_or_default();
        let (reason, text) = match (error.kind(), error.code()) {
            (_, Some(code)) => (Reason::of(code, detail), format!("{code} {detail}")),
            (ErrorKind::AuthenticationFailed, _) => (Reason::WrongPass, error.to_string()),
            (ErrorKind::Io | ErrorKind::ClusterConnectionNotFound, _) if error.is_timeout() => {
                (Reason::Timeout, error.to_string())
            }
            (ErrorKind::Io | ErrorKind::ClusterConnectionNotFound, _) => {
                (Reason::Connection, error.to_string())
            }
            _ => (Reason::Protocol, error.to_string()),
        };
        Failure::new(reason, &self.cleaned(&text))
    }

    /// Returns the text as one bounded line without quoted arguments and passwords.
    fn cleaned(&self, text: &str) -> String {
        let text = text.split(QUOTED_ARGUMENTS).next().unwrap_or_default();
        let mut text = text.to_owned();
        for secret in &self.0 {
            text = text.replace(secret.expose_secret(), "***");
        }
        let blank = |of: char| if of.is_control() { ' ' } else { of };
        let shown: String = text.chars().take(MAX_TEXT_CHARS).map(blank).collect();
        shown.trim_end_matches([' ', ',']).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wedcache_model::trouble::report::Reason as _;

    fn secrets() -> Secrets {
        let client = Client::open("redis://me:s3cret%21@127.0.0.1").unwrap();
        Secrets::of([&client])
    }

    #[track_caller]
    fn check(reply: &str, wanted: (&str, &str)) {
        let (code, detail) = reply.split_once(' ').unwrap();
        let error = redis::make_extension_error(code.to_owned(), Some(detail.to_owned()));
        let failure = secrets().failure(&error);
        assert_eq!((failure.reason.label(), &*failure.text), wanted);
    }

    #[test]
    fn arguments_and_passwords_are_not_shown() {
        check(
            "ERR unknown command 'AUTH', with args beginning with: 'me' 's3cret!' ",
            ("other", "ERR unknown command 'AUTH'"),
        );
        // Cut off in the middle of the password.
        check(
            "ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `me`, `s3c",
            ("other", "ERR unknown command `HELLO`"),
        );
        check(
            "NOPERM me/s3cret!\r\nmay not",
            ("noperm", "NOPERM me/***  may not"),
        );
        let long = format!("OOM {}", "x".repeat(9000));
        let shown = format!("OOM {}", "x".repeat(MAX_TEXT_CHARS - 4));
        check(&long, ("oom", &shown));
        assert!(!format!("{:?}", secrets()).contains("s3cret"));
    }

    #[test]
    fn errors_of_the_client_have_reasons_too() {
        let of = |kind: ErrorKind| {
            let error = RedisError::from((kind, "told by the client"));
            secrets().failure(&error).reason
        };
        assert_eq!(of(ErrorKind::AuthenticationFailed), Reason::WrongPass);
        assert_eq!(of(ErrorKind::Io), Reason::Connection);
        assert_eq!(of(ErrorKind::Parse), Reason::Protocol);
        assert_eq!(of(ErrorKind::UnexpectedReturnType), Reason::Protocol);
        let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
        let failure = secrets().failure(&RedisError::from(late));
        assert_eq!(failure.reason, Reason::Timeout);
    }
}
