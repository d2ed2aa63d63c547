//! One bounded POST to a provider: timeouts, body limit, and the headers that are used.

use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, CONNECTION, HeaderMap, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use thiserror::Error;
use tokio::time::timeout;

use wedcache_model::clock::Clock;
use wedcache_outbound::{ClientError, root_cause};

use super::classify;
use super::connect::{Names, unreached};
use super::error::{CallPhase, ProviderError, ReplyProblem};
use super::headers;
use super::reply::{self, Raw, Said};
use super::words::clean_message;

/// The limits on the duration of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Time until the connection is established, TLS included.
    pub connect: Duration,
    /// Time from sending the request to the reply's headers. Models that do not stream send the
    /// headers only when the whole answer is written, so this bounds the time to write an answer.
    pub first_byte: Duration,
    /// Time from sending the request to the reply's end.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_mins(1),
            total: Duration::from_secs(90),
        }
    }
}

/// The address of a provider and the settings of its calls, the same for both dialects.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The provider's name, for logs and metric labels.
    pub name: String,
    /// The base address as the provider documents it: `https://api.openai.com/v1`,
    /// `https://api.anthropic.com`.
    pub base_url: String,
    pub api_key: SecretString,
    /// The model to ask for.
    pub model: String,
    /// The temperature; `None` leaves it to the provider.
    pub temperature: Option<f64>,
    pub timeouts: Timeouts,
    /// The most bytes of a reply; a larger one is unusable.
    pub body_limit: usize,
    /// The clock for a `Retry-After` that is a date.
    pub clock: Clock,
}

/// The default limit: twenty times the longest answer that a chat model gives to a question of this
/// platform.
pub const DEFAULT_BODY_LIMIT: usize = 1024 * 1024;

/// The longest time to wait for a list of models, which comes at once, unlike an answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// The reason why a client cannot be built from an [`Endpoint`].
#[derive(Debug, Error)]
pub enum BuildError {
    #[error("`{url}` is not an http or https address")]
    Address { url: String },
    #[error("the {what} holds characters that no HTTP header may hold")]
    Header { what: &'static str },
    #[error("{url}: {why}")]
    Client { url: String, why: ClientError },
}

/// A sender of JSON to one address.
#[derive(Debug)]
pub(super) struct Post {
    client: Client,
    url: Url,
    headers: HeaderMap,
    timeouts: Timeouts,
    body_limit: usize,
    clock: Clock,
    secret: SecretString,
}

/// A reply with a good status, read to its end.
#[derive(Debug)]
pub(super) struct Reply {
    pub said: Said,
    pub request_id: Option<String>,
}

impl Post {
    /// Creates a sender. `path` is appended to the endpoint's base address.
    pub fn new(
        endpoint: &Endpoint,
        path: &str,
        mut headers: HeaderMap,
    ) -> Result<Self, BuildError> {
        let url = address(&endpoint.base_url, path)?;
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        // Each call has a connection of its own. On a reused connection, the server closing an idle
        // connection looks the same as the server breaking off after it took the request: the first
        // must be retried, the second must not. A handshake is short compared with the seconds that
        // a model takes to write.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let builder = || {
            let builder = Client::builder()
                .connect_timeout(endpoint.timeouts.connect)
                .pool_max_idle_per_host(0)
                // The client's own retries are disabled: they are for requests that it assumes were
                // not processed.
                .retry(reqwest::retry::never())
                .dns_resolver(Names)
                // A redirect could carry the key in its header to another host.
                .redirect(redirect::Policy::none())
                .user_agent(concat!("wedcache/", env!("CARGO_PKG_VERSION")));
            if is_loopback(&url) {
                builder.no_proxy()
            } else {
                builder
            }
        };
        let client = wedcache_outbound::client(builder, url.scheme() == "https");
        Ok(Self {
            client: client.map_err(|why| BuildError::Client {
                url: shown(&url),
                why,
            })?,
            url,
            headers,
            timeouts: endpoint.timeouts,
            body_limit: endpoint.body_limit,
            clock: endpoint.clock.clone(),
            secret: endpoint.api_key.clone(),
        })
    }

    pub async fn send(&self, body: &Value) -> Result<Reply, ProviderError> {
        let whole = self.timeouts.total;
        timeout(whole, self.exchange(body))
            .await
            .unwrap_or(Err(ProviderError::Timeout {
                phase: CallPhase::Total,
                after: whole,
            }))
    }

    async fn exchange(&self, body: &Value) -> Result<Reply, ProviderError> {
        let request = self
            .client
            .post(self.url.clone())
            .headers(self.headers.clone())
            .json(body);
        let first_byte = self.timeouts.first_byte;
        let response = match timeout(first_byte, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.send_error(&error)),
            Err(_) => {
                return Err(ProviderError::Timeout {
                    phase: CallPhase::FirstByte,
                    after: first_byte,
                });
            }
        };
        let status = response.status();
        let request_id = headers::request_id(response.headers());
        let retry_after = headers::retry_after(response.headers(), self.clock.now());
        let raw = self.read(response).await;
        if !status.is_success() {
            // If the body cannot be read, the status alone is enough.
            return Err(self.status_error(status, raw.unwrap_or_default(), retry_after));
        }
        let unusable = |problem| ProviderError::Unusable { problem };
        let said = reply::read(raw.map_err(unusable)?, self.body_limit).map_err(unusable)?;
        Ok(Reply { said, request_id })
    }

    /// Reads the JSON at this address, within the time of one call; anything else becomes null.
    pub async fn look(&self) -> Result<Value, ProviderError> {
        let whole = self.timeouts.total.min(LOOK_TIMEOUT);
        timeout(whole, self.look_up())
            .await
            .unwrap_or(Err(ProviderError::Timeout {
                phase: CallPhase::Total,
                after: whole,
            }))
    }

    async fn look_up(&self) -> Result<Value, ProviderError> {
        let request = self.client.get(self.url.clone());
        let sent = request.headers(self.headers.clone()).send().await;
        let response = sent.map_err(|error| self.send_error(&error))?;
        let status = response.status();
        let retry_after = headers::retry_after(response.headers(), self.clock.now());
        let raw = self.read(response).await.unwrap_or_default();
        if !status.is_success() {
            return Err(self.status_error(status, raw, retry_after));
        }
        Ok(reply::read_error(raw, self.body_limit).0)
    }

    async fn read(&self, mut response: Response) -> Result<Raw, ReplyProblem> {
        let mut raw = Raw {
            bytes: Vec::new(),
            encodings: headers::encodings(response.headers()),
            media_type: headers::media_type(response.headers()),
        };
        let limit = self.body_limit;
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if raw.bytes.len() + chunk.len() > limit => {
                    return Err(ReplyProblem::TooLarge { limit });
                }
                Ok(Some(chunk)) => raw.bytes.extend_from_slice(&chunk),
                Ok(None) => return Ok(raw),
                Err(_) => return Err(ReplyProblem::CutShort),
            }
        }
    }

    /// Returns the meaning of an exchange without a reply. Only if no connection was made is it
    /// certain that the provider did not get the request.
    fn send_error(&self, error: &reqwest::Error) -> ProviderError {
        let detail = self.clean(&root_cause(error));
        if error.is_connect() && error.is_timeout() {
            ProviderError::Timeout {
                phase: CallPhase::Connect,
                after: self.timeouts.connect,
            }
        } else if error.is_connect() || error.is_builder() {
            let why = unreached(error);
            ProviderError::Unreachable { why, detail }
        } else {
            ProviderError::CutOff { detail }
        }
    }

    fn status_error(
        &self,
        status: StatusCode,
        body: Raw,
        retry_after: Option<Duration>,
    ) -> ProviderError {
        let (json, text) = reply::read_error(body, self.body_limit);
        let kind = classify::kind(&json);
        let message = match classify::message(&json).or(text.as_deref()) {
            Some(message) => self.clean(message),
            None => self.clean(status.canonical_reason().unwrap_or("no reason given")),
        };
        classify::status_error(status.as_u16(), kind, message, retry_after)
    }

    /// Cleans a provider's message for logs and answers.
    pub fn clean(&self, message: &str) -> String {
        clean_message(message, self.secret.expose_secret())
    }
}

/// Creates a header value that debug output does not show.
pub(super) fn secret_header(
    what: &'static str,
    prefix: &str,
    secret: &SecretString,
) -> Result<HeaderValue, BuildError> {
    let mut value = header(what, &format!("{prefix}{}", secret.expose_secret()))?;
    value.set_sensitive(true);
    Ok(value)
}

pub(super) fn header(what: &'static str, value: &str) -> Result<HeaderValue, BuildError> {
    HeaderValue::from_str(value).map_err(|_| BuildError::Header { what })
}

/// Appends `path` to the path of `base`; a query in `base` stays, because some gateways need one.
fn address(base: &str, path: &str) -> Result<Url, BuildError> {
    let bad = || BuildError::Address {
        url: clean_message(base, ""),
    };
    let mut url = Url::parse(base).map_err(|_| bad())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad());
    }
    let path = format!("{}{path}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

/// Returns true if the address belongs to this machine.
pub fn is_loopback_address(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| is_loopback(&url))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// Returns an address in a form that may be shown: without user, password and query, which may hold
/// secrets.
pub fn shown_address(url: &str) -> String {
    Url::parse(url).map_or_else(|_| clean_message(url, ""), |url| shown(&url))
}

fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url
        .port()
        .map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        let shown = shown_address("https://me:pass@host:8443/v1?key=secret");
        assert_eq!(shown, "https://host:8443/v1");
    }

    #[test]
    fn only_web_addresses_are_taken_and_loopback_is_recognised() {
        let url = |base| address(base, "/chat/completions");
        assert_eq!(
            url("http://h:1/v1/").unwrap().as_str(),
            "http://h:1/v1/chat/completions"
        );
        assert_eq!(
            url("https://h/a?version=2").unwrap().as_str(),
            "https://h/a/chat/completions?version=2"
        );
        for bad in ["", "h:1", "ftp://h", "http://", "file:///x"] {
            assert!(url(bad).is_err(), "{bad}");
        }
        for (base, want) in [
            ("http://127.0.0.1:9", true),
            ("http://[::1]:9", true),
            ("http://LocalHost", true),
            ("http://127.evil.example", false),
            ("https://api.openai.com/v1", false),
        ] {
            assert_eq!(is_loopback(&url(base).unwrap()), want, "{base}");
        }
    }
}
