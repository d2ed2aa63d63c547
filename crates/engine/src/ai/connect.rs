//! The meaning of a failed exchange: whether a connection was made, and if not, why.

use std::error::Error;
use std::io;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;
use tokio::net::lookup_host;

use super::error::Unreached;

/// A resolver that looks names up as the system does. It is a separate type, so that a name that is
/// not found has an error type of its own.
#[derive(Debug)]
pub(super) struct Names;

#[derive(Debug, Error)]
#[error("{0}")]
struct NameNotFound(io::Error);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = lookup_host((name.as_str(), 0))
                .await
                .map_err(NameNotFound)?;
            // Port 0 means the address's own port.
            let found: Addrs = Box::new(found.collect::<Vec<_>>().into_iter());
            Ok(found)
        })
    }
}

/// Returns the reason why there was no connection, from the errors below the client's own.
pub(super) fn unreached(error: &(dyn Error + 'static)) -> Unreached {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<NameNotFound>() {
            return Unreached::Name;
        }
        if error.is::<rustls::Error>() {
            return Unreached::Tls;
        }
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused) {
            return Unreached::Refused;
        }
        // The error that an I/O error was made from is not its source, but its inner error.
        let within = io.and_then(|io| io.get_ref());
        next = within
            .map(|within| within as &(dyn Error + 'static))
            .or_else(|| error.source());
    }
    Unreached::Network
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    #[test]
    fn causes_are_found_however_deep_they_are() {
        let other = |inner: Box<dyn Error + Send + Sync>| Outer(io::Error::other(inner));
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        for (error, want) in [
            (Outer(refused()), Unreached::Refused),
            (other(Box::new(refused())), Unreached::Refused),
            (
                other(Box::new(NameNotFound(io::Error::other("no such name")))),
                Unreached::Name,
            ),
            (
                other(Box::new(rustls::Error::HandshakeNotComplete)),
                Unreached::Tls,
            ),
            (
                other(Box::new(other(Box::new(
                    rustls::Error::HandshakeNotComplete,
                )))),
                Unreached::Tls,
            ),
            (
                Outer(io::Error::from(io::ErrorKind::NetworkUnreachable)),
                Unreached::Network,
            ),
        ] {
            assert_eq!(unreached(&error), want, "{error:?}");
        }
    }
}
