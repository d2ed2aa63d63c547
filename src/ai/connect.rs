//! What a failed exchange says about the provider: whether a connection came about, and why not.

use std::error::Error;
use std::io;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;
use tokio::net::lookup_host;

use super::error::Unreached;

/// Looks names up as the system does. A resolver of its own, so that a name that is not found is
/// told by its type.
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
            // Port 0 stands for the address's own port.
            let found: Addrs = Box::new(found.collect::<Vec<_>>().into_iter());
            Ok(found)
        })
    }
}

/// Tells why no connection came about, from the errors below the client's own.
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
        // An I/O error made from another one is not its source: it is within.
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
