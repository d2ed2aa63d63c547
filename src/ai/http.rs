//! One bounded POST to a provider: timeouts, body limit, and the headers that matter.

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use thiserror::Error;
use tokio::time::timeout;

use super::classify;
use super::error::{Phase, ProviderError, ReplyProblem, clean_message};
use super::price::PriceTable;
use crate::clock::Clock;
use crate::model::Timestamp;

/// How long a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection stands, TLS included.
    pub connect: Duration,
    /// From sending the request to the reply's headers. Models that do not stream send them only
    /// when the whole answer is written: this is how long an answer may take to write.
    pub first_byte: Duration,
    /// From sending the request to the reply's end.
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

/// Where a provider is and how it is talked to, alike for both dialects.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// For logs and metric labels.
    pub name: String,
    /// As the provider documents it: `https://api.openai.com/v1`, `https://api.anthropic.com`.
    pub base_url: String,
    pub api_key: SecretString,
    /// The model to ask for.
    pub model: String,
    /// Left to the provider where `None`.
    pub temperature: Option<f64>,
    pub timeouts: Timeouts,
    /// A larger reply is unusable; bytes.
    pub body_limit: usize,
    pub prices: Arc<PriceTable>,
    /// Reads `Retry-After` where it is a date.
    pub clock: Clock,
}

/// Twenty times the longest answer that a chat model gives to a question of this platform.
pub const DEFAULT_BODY_LIMIT: usize = 1024 * 1024;

/// Why a client cannot be built from an [`Endpoint`].
#[derive(Debug, Error)]
pub enum BuildError {
    #[error("`{url}` is not an http or https address")]
    Address { url: String },
    #[error("the {what} holds characters that no HTTP header may hold")]
    Header { what: &'static str },
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// Makes ring the process's TLS crypto; safe to call any number of times, and a provider that
/// was installed before stays.
pub fn install_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none()
        && rustls::crypto::ring::default_provider()
            .install_default()
            .is_err()
    {
        tracing::debug!("another thread installed its TLS crypto first");
    }
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
    pub json: Value,
    pub request_id: Option<String>,
}

impl Post {
    /// `path` is appended to the endpoint's base address.
    pub fn new(endpoint: &Endpoint, path: &str, headers: HeaderMap) -> Result<Self, BuildError> {
        install_crypto();
        let url = address(&endpoint.base_url, path)?;
        let mut builder = Client::builder()
            .connect_timeout(endpoint.timeouts.connect)
            // A redirect could carry the key in its header to another host.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("wedcache/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&url) {
            builder = builder.no_proxy();
        }
        Ok(Self {
            client: builder.build().map_err(BuildError::Client)?,
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
                phase: Phase::Total,
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
                    phase: Phase::FirstByte,
                    after: first_byte,
                });
            }
        };
        let status = response.status();
        let request_id = request_id(response.headers());
        let retry_after = retry_after(response.headers(), self.clock.now());
        let body = self.read(response).await;
        if !status.is_success() {
            // The status says enough where the body cannot be read.
            let body = body.unwrap_or_default();
            return Err(self.status_error(status, &body, retry_after));
        }
        let json = parse(&body?)?;
        Ok(Reply { json, request_id })
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, ProviderError> {
        let too_large = ProviderError::Unusable {
            problem: ReplyProblem::TooLarge {
                limit: self.body_limit,
            },
        };
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > self.body_limit => {
                    return Err(too_large);
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(body),
                Err(_) => {
                    return Err(ProviderError::Unusable {
                        problem: ReplyProblem::CutShort,
                    });
                }
            }
        }
    }

    fn send_error(&self, error: &reqwest::Error) -> ProviderError {
        if error.is_connect() && error.is_timeout() {
            return ProviderError::Timeout {
                phase: Phase::Connect,
                after: self.timeouts.connect,
            };
        }
        ProviderError::Unreachable {
            detail: self.clean(&root_cause(error)),
        }
    }

    fn status_error(
        &self,
        status: StatusCode,
        body: &[u8],
        retry_after: Option<Duration>,
    ) -> ProviderError {
        let json: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let kind = classify::kind(&json);
        let message = match classify::message(&json) {
            Some(message) => self.clean(message),
            None => self.clean(status.canonical_reason().unwrap_or("no reason given")),
        };
        classify::status_error(status.as_u16(), kind, message, retry_after)
    }

    /// A provider's message made fit for logs and answers.
    pub fn clean(&self, message: &str) -> String {
        clean_message(message, self.secret.expose_secret())
    }
}

/// A header value that debug output does not show.
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

/// `base` with `path` appended to its own; a query in it stays, as some gateways want one.
fn address(base: &str, path: &str) -> Result<Url, BuildError> {
    let bad = || BuildError::Address {
        url: base.to_owned(),
    };
    let mut url = Url::parse(base).map_err(|_| bad())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad());
    }
    let path = format!("{}{path}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

fn parse(body: &[u8]) -> Result<Value, ProviderError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(ProviderError::Unusable {
            problem: ReplyProblem::NoBody,
        });
    }
    serde_json::from_slice(body).map_err(|_| ProviderError::Unusable {
        problem: ReplyProblem::NotJson,
    })
}

/// `x-request-id` is OpenAI's and most others', `request-id` Anthropic's.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let value = headers
        .get("x-request-id")
        .or_else(|| headers.get("request-id"))?;
    value.to_str().ok().map(|id| id.chars().take(200).collect())
}

/// The least wait that the provider asks for. `retry-after-ms` is OpenAI's finer form;
/// `Retry-After` is a number of seconds or an HTTP date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    const MILLIS: HeaderName = HeaderName::from_static("retry-after-ms");
    let text = |name: HeaderName| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .map(str::trim)
    };
    if let Some(wait) = text(MILLIS).and_then(|ms| duration(ms, 1e-3)) {
        return Some(wait);
    }
    let value = text(reqwest::header::RETRY_AFTER)?;
    duration(value, 1.0).or_else(|| {
        let at = DateTime::parse_from_rfc2822(value).ok()?;
        Some(Timestamp(at.timestamp_millis()).since(now))
    })
}

fn duration(number: &str, unit_secs: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit_secs).ok()
}

/// The innermost error: reqwest's own text only says that sending failed, and names the address.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_retry_after(name: &'static str, value: &str, want_ms: Option<u64>) {
        let now = Timestamp::parse("2026-11-22T10:00:00Z").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        let got = retry_after(&headers, now);
        assert_eq!(got, want_ms.map(Duration::from_millis), "{name}: {value}");
    }

    #[test]
    fn retry_after_is_read_as_seconds_milliseconds_or_a_date() {
        check_retry_after("retry-after", "7", Some(7_000));
        check_retry_after("retry-after", " 0.5 ", Some(500));
        check_retry_after("retry-after-ms", "250", Some(250));
        check_retry_after("retry-after", "Sun, 22 Nov 2026 10:00:30 GMT", Some(30_000));
        check_retry_after("retry-after", "Sun, 22 Nov 2026 09:00:00 GMT", Some(0));
        for rubbish in ["", "soon", "-1", "NaN", "inf", "1e300"] {
            check_retry_after("retry-after", rubbish, None);
        }
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

    #[test]
    fn crypto_can_be_installed_twice() {
        install_crypto();
        install_crypto();
        assert!(rustls::crypto::CryptoProvider::get_default().is_some());
    }
}
