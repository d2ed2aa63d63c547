//! The client of a schema registry with Confluent's REST API: requests the schemas of incoming
//! frames, and ids for the schemas of outgoing records.
//!
//! Written over [`wedcache_outbound`]'s HTTP client, as all outgoing calls, instead of with the crate
//! `schema_registry_converter`: few endpoints are needed, callers that wait for one id share a
//! request, an unknown id is remembered only for a time, and every failure has its reason for the
//! log.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use trouble::Reason;

use wedcache_model::backoff::{Backoff, Policy};
use wedcache_model::clock::Clock;
use wedcache_model::trouble::report::{Purpose, Reporter};
use wedcache_model::trouble::{Pace, Trouble};
use wedcache_outbound::ClientError;

use super::encoder::Framing;
use super::schemas::{RecordKind, Schemas};
use super::{Format, Reject};

/// The largest response that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// The most ids that are remembered as unknown; ids beyond it are requested again.
const MAX_UNKNOWN_IDS: usize = 1024;
/// The pauses between requests for a schema while the registry is away.
const ASK_AGAIN: Policy = Policy::new(Duration::from_millis(200), Duration::from_secs(5));

#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// The base addresses of one registry's servers, in the order in which they are tried.
    pub urls: Vec<String>,
    pub auth: Option<RegistryAuth>,
    pub connect_timeout: Duration,
    /// The most time for a whole exchange with one server.
    pub request_timeout: Duration,
    /// Time for which a response that an id does not exist is remembered.
    pub unknown_for: Duration,
}

impl RegistryOptions {
    pub fn new(urls: Vec<String>) -> Self {
        Self {
            urls,
            auth: None,
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(3),
            unknown_for: Duration::from_secs(30),
        }
    }
}

/// The description of the trouble in the log.
const WORDS: &str = "the schema registry is of no help, records with unknown schemas wait";
/// One success ends a trouble at once (`quiet` is zero), because the next request may be hours
/// away.
const PACE: Pace = Pace {
    every: Duration::from_mins(1),
    quiet: Duration::ZERO,
};

/// The credentials for the registry.
#[derive(Debug, Clone)]
pub enum RegistryAuth {
    Basic {
        user: String,
        password: SecretString,
    },
    Bearer(SecretString),
}

/// The result of resolving a schema id.
#[derive(Debug, Clone)]
pub enum Resolved {
    /// [`Schemas`] now has it: decode again.
    Known,
    /// There is no such schema: a dead letter, [`super::Reject::unknown_schema_id`].
    Unknown,
    /// The registry cannot be asked: park the record and ask again later.
    Away(Arc<RegistryError>),
}

/// The reason why a request to the registry failed. None of these is the record's fault.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The address without user and password.
    #[error("the registry's address {url:?} is no URL")]
    Url { url: String },
    #[error("no registry address is given")]
    NoUrl,
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the registry at {server} cannot be reached")]
    Unreachable {
        server: String,
        source: reqwest::Error,
    },
    #[error("the registry at {server} answered {status}")]
    Status { server: String, status: u16 },
    #[error("the registry at {server} answered something unreadable")]
    Answer {
        server: String,
        source: serde_json::Error,
    },
    #[error("the registry at {server} answered more than {MAX_ANSWER_BYTES} bytes")]
    TooLong { server: String },
    #[error("the registry refuses the schema of subject {subject}: {message}")]
    Refused { subject: String, message: String },
}

impl RegistryError {
    /// Returns true if asking again later can help.
    pub fn retry(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Answer { .. } | Self::TooLong { .. } => true,
            Self::Status { status, .. } => *status >= 500 || *status == 429,
            Self::Url { .. } | Self::NoUrl | Self::Client(_) | Self::Refused { .. } => false,
        }
    }
}

/// Returns the framing of a topic's records of `kind` in `format`: if the format needs the schema's
/// id, requests it from the registry under the subject `<topic>-value`.
pub async fn framing(
    format: Format,
    topic: &str,
    kind: RecordKind,
    registry: Option<&Registry>,
) -> Result<Framing, RegistryError> {
    match (format, registry) {
        (Format::Json, _) => Ok(Framing::Json),
        (Format::AvroSingleObject, _) => Ok(Framing::SingleObject),
        (Format::Confluent, None) => Err(RegistryError::NoUrl),
        (Format::Confluent, Some(registry)) => {
            let subject = format!("{topic}-value");
            let schema_id = registry.register(&subject, kind).await?;
            Ok(Framing::Confluent { schema_id })
        }
    }
}

/// Waits until the registry has responded about a schema, however long that takes. On `Ok` the
/// schema is known here: decode again.
pub async fn learn_schema(registry: Option<&Registry>, schema_id: u32) -> Result<(), Reject> {
    let Some(registry) = registry else {
        return Err(Reject::no_registry(schema_id));
    };
    let mut backoff = Backoff::new(ASK_AGAIN);
    loop {
        match registry.resolve(schema_id).await {
            Resolved::Known => return Ok(()),
            Resolved::Unknown => return Err(Reject::unknown_schema_id(schema_id)),
            Resolved::Away(error) => {
                tracing::debug!(schema_id, %error, "the registry is away; its records wait");
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}

/// A registry. Its schemas go into the [`Schemas`] that decoders read.
#[derive(Debug)]
pub struct Registry {
    client: Client,
    servers: Vec<Server>,
    auth: Option<RegistryAuth>,
    unknown_for: Duration,
    schemas: Arc<Schemas>,
    reporter: Reporter<Reason>,
    /// Ids that the registry did not have, with the time until which that is remembered.
    unknown: Mutex<HashMap<u32, Instant>>,
    /// The schema requests in flight: one for each id that callers wait for.
    requests: Mutex<HashMap<u32, SharedRequest>>,
}

#[derive(Debug)]
struct Server {
    base: SecretString,
    /// The address without user and password.
    shown: String,
}

/// One request that several callers wait for. Unlike the resolver's flights it has no leader of its
/// own: one of the callers makes it, and another takes over if that one is dropped.
#[derive(Debug, Default)]
struct SharedRequest {
    answer: Arc<OnceCell<Resolved>>,
    callers: usize,
}

/// One caller's share of a request; the last caller to leave removes the request.
struct RequestShare<'a> {
    registry: &'a Registry,
    id: u32,
    answer: Arc<OnceCell<Resolved>>,
}

impl Drop for RequestShare<'_> {
    fn drop(&mut self) {
        let mut requests = lock(&self.registry.requests);
        if let Some(request) = requests.get_mut(&self.id) {
            request.callers -= 1;
            if request.callers == 0 {
                requests.remove(&self.id);
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SchemaAnswer {
    schema: String,
    schema_type: Option<String>,
    #[serde(default)]
    references: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct IdAnswer {
    id: u32,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    message: String,
}

#[derive(Deserialize)]
struct ErrorCode {
    error_code: u32,
}

/// The error code "Schema not found" (Confluent Schema Registry API, errors of
/// `GET /schemas/ids/{id}`). Any other 404 is a wrong path or comes from a proxy, and does not mean
/// that the id is unknown.
const NO_SUCH_SCHEMA: u32 = 40_403;

/// A usable response, even if it is a refusal.
struct Answer<'a> {
    server: &'a Server,
    status: StatusCode,
    body: Vec<u8>,
}

impl Registry {
    pub fn new(options: RegistryOptions, schemas: Arc<Schemas>) -> Result<Self, RegistryError> {
        if options.urls.is_empty() {
            return Err(RegistryError::NoUrl);
        }
        let servers = options.urls.iter().map(|url| Server::parse(url));
        let servers = servers.collect::<Result<Vec<_>, _>>()?;
        let builder = || {
            Client::builder()
                .connect_timeout(options.connect_timeout)
                .timeout(options.request_timeout)
        };
        let with_https = servers.iter().any(Server::is_https);
        let client = wedcache_outbound::client(builder, with_https)?;
        let shown: Vec<_> = servers.iter().map(|of| of.shown.as_str()).collect();
        let location = shown.join(", ");
        Ok(Self {
            client,
            reporter: Reporter::new(|_| WORDS, location, Clock::System, PACE),
            servers,
            auth: options.auth,
            unknown_for: options.unknown_for,
            schemas,
            unknown: Mutex::default(),
            requests: Mutex::default(),
        })
    }

    /// Resolves a schema id. Callers that wait for one id at the same time share one request.
    /// Cancel safe: if the caller that makes the request is dropped, another one makes it.
    pub async fn resolve(&self, id: u32) -> Resolved {
        if self.schemas.knows_id(id) {
            return Resolved::Known;
        }
        if self.is_unknown(id) {
            return Resolved::Unknown;
        }
        let share = self.join(id);
        share.answer.get_or_init(|| self.ask(id)).await.clone()
    }

    /// Returns the id of our schema of `kind` under `subject`; registers the schema if it is not
    /// there yet.
    pub async fn register(&self, subject: &str, kind: RecordKind) -> Result<u32, RegistryError> {
        let path = format!(
            "/subjects/{}",
            utf8_percent_encode(subject, NON_ALPHANUMERIC)
        );
        let body = serde_json::json!({ "schema": kind.schema_text() });
        // Looked up first: a registry that is read-only for us may still have it.
        let found = self.exchange(|url| self.client.post(url).json(&body), &path);
        let found = found.await?;
        if found.status.is_success() {
            return found.read::<IdAnswer>().map(|answer| answer.id);
        }
        let path = format!("{path}/versions");
        let made = self.exchange(|url| self.client.post(url).json(&body), &path);
        let made = made.await?;
        match made.status {
            status if status.is_success() => made.read::<IdAnswer>().map(|answer| answer.id),
            StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => {
                let answer = made.read::<ErrorAnswer>()?;
                Err(RegistryError::Refused {
                    subject: subject.to_owned(),
                    message: answer.message,
                })
            }
            _ => Err(made.refused()),
        }
    }

    /// Requests a schema that may or may not exist: either response shows that the registry is
    /// there and accepts us. Returns the servers' addresses.
    pub async fn reach(&self) -> Result<String, RegistryError> {
        self.fetch(1).await?;
        let shown: Vec<_> = self.servers.iter().map(|of| of.shown.as_str()).collect();
        Ok(shown.join(", "))
    }

    /// Returns the current trouble, if there is one.
    pub fn trouble(&self) -> Option<Trouble> {
        self.reporter.trouble(true)
    }

    fn join(&self, id: u32) -> RequestShare<'_> {
        let mut requests = lock(&self.requests);
        let request = requests.entry(id).or_default();
        request.callers += 1;
        RequestShare {
            registry: self,
            id,
            answer: Arc::clone(&request.answer),
        }
    }

    async fn ask(&self, id: u32) -> Resolved {
        let fetched = self.fetch(id).await;
        match &fetched {
            Ok(_) => self.reporter.worked(Purpose::Read),
            Err(error) => self
                .reporter
                .failed(&trouble::failure(error), Purpose::Read),
        }
        self.reporter.settle();
        match fetched {
            Ok(Some(answer)) => {
                let references = answer.references.is_some_and(|list| !list.is_empty());
                let kind = answer.schema_type.as_deref();
                self.schemas.learn(
                    id,
                    Schemas::registered(id, kind, &answer.schema, references),
                );
                Resolved::Known
            }
            Ok(None) => {
                self.remember_unknown(id);
                Resolved::Unknown
            }
            Err(error) => Resolved::Away(Arc::new(error)),
        }
    }

    async fn fetch(&self, id: u32) -> Result<Option<SchemaAnswer>, RegistryError> {
        let path = format!("/schemas/ids/{id}");
        let answer = self.exchange(|url| self.client.get(url), &path).await?;
        match answer.status {
            StatusCode::NOT_FOUND if answer.says_no_such_schema() => Ok(None),
            status if status.is_success() => answer.read().map(Some),
            _ => Err(answer.refused()),
        }
    }

    /// Returns the first response of any server that is up; a server's own failure (5xx) counts as
    /// down.
    async fn exchange(
        &self,
        request: impl Fn(String) -> RequestBuilder,
        path: &str,
    ) -> Result<Answer<'_>, RegistryError> {
        let mut last = RegistryError::NoUrl;
        for server in &self.servers {
            let mut request = request(format!("{}{path}", server.base.expose_secret()))
                .header("accept", "application/vnd.schemaregistry.v1+json");
            request = match &self.auth {
                Some(RegistryAuth::Basic { user, password }) => {
                    request.basic_auth(user, Some(password.expose_secret()))
                }
                Some(RegistryAuth::Bearer(token)) => request.bearer_auth(token.expose_secret()),
                None => request,
            };
            match server.send(request).await {
                Ok(answer) if answer.status.is_server_error() => last = answer.refused(),
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn is_unknown(&self, id: u32) -> bool {
        let unknown = lock(&self.unknown);
        unknown
            .get(&id)
            .is_some_and(|until| Instant::now() < *until)
    }

    fn remember_unknown(&self, id: u32) {
        let now = Instant::now();
        let mut unknown = lock(&self.unknown);
        if unknown.len() >= MAX_UNKNOWN_IDS {
            unknown.retain(|_, until| now < *until);
        }
        if unknown.len() < MAX_UNKNOWN_IDS {
            unknown.insert(id, now + self.unknown_for);
        }
    }
}

impl Server {
    fn parse(text: &str) -> Result<Self, RegistryError> {
        let wrong = || RegistryError::Url {
            // The part before the last @ may be a password.
            url: text.rsplit('@').next().unwrap_or_default().to_owned(),
        };
        let mut url = Url::parse(text).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(wrong());
        }
        let base = SecretString::from(url.as_str().trim_end_matches('/'));
        url.set_username("").map_err(|()| wrong())?;
        url.set_password(None).map_err(|()| wrong())?;
        let shown = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { base, shown })
    }

    fn is_https(&self) -> bool {
        self.base.expose_secret().starts_with("https:")
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer<'_>, RegistryError> {
        let unreachable = |source| RegistryError::Unreachable {
            server: self.shown.clone(),
            source,
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(RegistryError::TooLong {
                    server: self.shown.clone(),
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            server: self,
            status: response.status(),
            body,
        })
    }
}

impl Answer<'_> {
    fn says_no_such_schema(&self) -> bool {
        serde_json::from_slice::<ErrorCode>(&self.body)
            .is_ok_and(|answer| answer.error_code == NO_SUCH_SCHEMA)
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, RegistryError> {
        serde_json::from_slice(&self.body).map_err(|source| RegistryError::Answer {
            server: self.server.shown.clone(),
            source,
        })
    }

    fn refused(&self) -> RegistryError {
        RegistryError::Status {
            server: self.server.shown.clone(),
            status: self.status.as_u16(),
        }
    }
}

/// Locks a mutex. A panic elsewhere leaves these maps consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

mod trouble;

#[cfg(test)]
mod tests;
