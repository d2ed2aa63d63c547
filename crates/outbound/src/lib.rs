//! HTTP clients for requests of this process: TLS is set up once, and certificates are needed only
//! where an address is `https`.

use reqwest::{Client, ClientBuilder};
use thiserror::Error;

/// The reason why a client cannot be built.
#[derive(Debug, Error)]
pub enum ClientError {
    /// An `https` address, without certificates to check it by.
    #[error(
        "cannot set up TLS ({why}): install the system's CA certificates (Debian: \
         `apt-get install ca-certificates`), or name a bundle in SSL_CERT_FILE"
    )]
    Tls { why: String },
    #[error("cannot set up the HTTP client: {why}")]
    Http { why: String },
}

/// Makes ring the process's TLS crypto provider; may be called any number of times, and keeps a
/// provider that was installed before.
pub fn install_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none()
        && rustls::crypto::ring::default_provider()
            .install_default()
            .is_err()
    {
        tracing::debug!("another thread installed its TLS crypto first");
    }
}

/// Builds a client. `with_https` is true if any of its addresses is `https`. Otherwise a machine
/// without CA certificates suffices, where reqwest's own builder fails.
pub fn client(
    builder: impl Fn() -> ClientBuilder,
    with_https: bool,
) -> Result<Client, ClientError> {
    install_crypto();
    match builder().build() {
        Ok(client) => Ok(client),
        Err(error) if with_https => Err(ClientError::Tls {
            why: root_cause(&error),
        }),
        Err(_) => {
            let client = builder().tls_certs_only([]).build();
            client.map_err(|error| ClientError::Http {
                why: root_cause(&error),
            })
        }
    }
}

/// Returns the text of the innermost error: reqwest's own text has only the address and the fact
/// that sending failed.
pub fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crypto_can_be_installed_twice() {
        install_crypto();
        install_crypto();
        assert!(rustls::crypto::CryptoProvider::get_default().is_some());
    }

    /// Returns a builder that fails unless it gets certificates, as every builder does on a machine
    /// that has none: reqwest allows this setting only then.
    fn without_certificates() -> ClientBuilder {
        Client::builder().tls_danger_accept_invalid_hostnames(true)
    }

    #[test]
    fn only_https_needs_certificates() {
        client(without_certificates, false).unwrap();
        let error = client(without_certificates, true).unwrap_err().to_string();
        assert!(error.contains("ca-certificates"), "{error}");
    }
}
