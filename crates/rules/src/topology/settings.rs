//! The validated settings of a topology, section by section. Secrets never show in `Debug`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

pub use super::shape::{Assignment, Format, LagAction};
use super::units::ByteSize;

#[derive(Debug, Clone)]
pub struct Kafka {
    /// The brokers as `host:port`, several separated by commas.
    pub bootstrap_servers: String,
    /// The environment variables in the value, for messages.
    pub bootstrap_variables: Vec<String>,
    pub client_id: String,
    pub queries_group: String,
    pub rules_group: String,
    /// The id for static membership; `None` is dynamic membership.
    pub instance_id: Option<String>,
    pub session_timeout: Duration,
    pub assignment: Assignment,
    pub poll_threads: usize,
    pub max_in_flight_records: usize,
    pub max_in_flight_bytes: ByteSize,
    pub drain_deadline: Duration,
    pub commit_interval: Duration,
    /// The age of an unfinished offset at which the instance is no longer ready; at twice the age
    /// it terminates itself.
    pub watchdog_age: Duration,
    /// Further librdkafka settings; all treated as secrets, because some are passwords.
    pub properties: BTreeMap<String, SecretString>,
}

#[derive(Debug, Clone)]
pub struct Registry {
    /// The addresses, at least one, without a slash at the end.
    pub urls: Vec<String>,
    pub auth: Option<RegistryAuth>,
}

#[derive(Debug, Clone)]
pub enum RegistryAuth {
    Basic {
        user: String,
        password: SecretString,
    },
    Bearer(SecretString),
}

/// The purpose of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Queries,
    VendorChanges,
    WeddingUpdates,
    Answers,
    Metrics,
    Invalidations,
    Alerts,
    Audit,
    DeadLetters,
}

impl Role {
    pub const ALL: [Self; 9] = [
        Self::Queries,
        Self::VendorChanges,
        Self::WeddingUpdates,
        Self::Answers,
        Self::Metrics,
        Self::Invalidations,
        Self::Alerts,
        Self::Audit,
        Self::DeadLetters,
    ];

    /// Returns the name in the topology file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queries => "queries",
            Self::VendorChanges => "vendor_changes",
            Self::WeddingUpdates => "wedding_updates",
            Self::Answers => "answers",
            Self::Metrics => "metrics",
            Self::Invalidations => "invalidations",
            Self::Alerts => "alerts",
            Self::Audit => "audit",
            Self::DeadLetters => "dead_letters",
        }
    }

    pub fn is_input(self) -> bool {
        matches!(
            self,
            Self::Queries | Self::VendorChanges | Self::WeddingUpdates
        )
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    pub role: Role,
    pub name: Arc<str>,
    pub partitions: u16,
    pub replication_factor: u16,
    pub retention: Duration,
    /// The largest value that is read of an input; the largest record of the dead letters.
    pub max_bytes: Option<ByteSize>,
    /// The format of answers, metrics, alerts and audit records; the invalidation log is always
    /// JSON.
    pub format: Option<Format>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    pub queries: Topic,
    pub vendor_changes: Topic,
    pub wedding_updates: Topic,
    pub answers: Topic,
    pub metrics: Topic,
    pub invalidations: Topic,
    pub alerts: Topic,
    pub audit: Topic,
    pub dead_letters: Topic,
}

impl Topics {
    pub fn get(&self, role: Role) -> &Topic {
        match role {
            Role::Queries => &self.queries,
            Role::VendorChanges => &self.vendor_changes,
            Role::WeddingUpdates => &self.wedding_updates,
            Role::Answers => &self.answers,
            Role::Metrics => &self.metrics,
            Role::Invalidations => &self.invalidations,
            Role::Alerts => &self.alerts,
            Role::Audit => &self.audit,
            Role::DeadLetters => &self.dead_letters,
        }
    }

    /// Returns the topics, inputs first, in the order of [`Role::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = &Topic> {
        Role::ALL.into_iter().map(|role| self.get(role))
    }
}

/// The settings for answering a cache type's questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The name of the provider in [`super::Deployment::providers`].
    pub provider: Arc<str>,
    pub max_tokens: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vendor {
    pub ttl: Duration,
    pub preload_triggers: Vec<String>,
}

/// The configured layers, in the order of look-up.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    pub memory: Option<Memory>,
    pub disk: Option<Disk>,
    pub redis: Option<Redis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub size: ByteSize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    pub path: PathBuf,
    pub cache_size: ByteSize,
    pub max_size: Option<ByteSize>,
}

#[derive(Debug, Clone)]
pub struct Redis {
    /// The server; secret, because addresses contain passwords.
    pub server: RedisServer,
    pub connect_timeout: Duration,
    pub response_timeout: Duration,
    pub breaker: Breaker,
    /// Time for which a claim to call for a key lasts if it is not renewed.
    pub lease_term: Duration,
    pub key_prefix: String,
}

#[derive(Debug, Clone)]
pub enum RedisServer {
    Single(SecretString),
    Cluster(Vec<SecretString>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// Consecutive failures that open the breaker.
    pub failures: u32,
    /// Time for which nothing is tried while it is open.
    pub open_for: Duration,
}

#[derive(Debug, Clone)]
pub enum Provider {
    OpenAi(HttpProvider),
    Anthropic(HttpProvider),
    Simulator(Simulator),
}

impl Provider {
    /// Returns the name of the kind in the topology file.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::OpenAi(_) => "openai",
            Self::Anthropic(_) => "anthropic",
            Self::Simulator(_) => "simulator",
        }
    }

    pub fn model(&self) -> &str {
        match self {
            Self::OpenAi(http) | Self::Anthropic(http) => &http.model,
            Self::Simulator(simulator) => &simulator.model,
        }
    }
}

#[derive(Debug, Clone)]
pub struct HttpProvider {
    /// The address, without a slash at the end.
    pub base_url: String,
    pub api_key: Option<SecretString>,
    /// The environment variables in `base_url`, for messages.
    pub url_variables: Vec<String>,
    /// The environment variables in `api_key`, for messages.
    pub key_variables: Vec<String>,
    pub model: String,
    pub connect_timeout: Duration,
    pub first_byte_timeout: Duration,
    /// The most time for one attempt as a whole.
    pub total_timeout: Duration,
    pub retry: Retry,
    pub concurrency: usize,
    pub breaker: Breaker,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// The number of attempts after the first.
    pub attempts: u32,
    pub base_delay: Duration,
    pub max_delay: Duration,
    /// The largest share of all calls that may be retries.
    pub budget: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Simulator {
    pub model: String,
    pub seed: u64,
    pub min_latency: Duration,
    pub max_latency: Duration,
    /// The share of all calls that are rate-limited. This share and the three below are from 0 to
    /// 1, together at most 1.
    pub rate_limited: f64,
    pub server_error: f64,
    pub timeout: f64,
    pub refused: f64,
    pub vendors_per_answer: u32,
    pub concurrency: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// The largest lag of this instance's view of the invalidation log.
    pub max_invalidation_lag: LagBound,
    /// The largest lag of the judging of change events.
    pub max_rules_lag: LagBound,
    pub widen_refresh_interval: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LagBound {
    pub bound: Duration,
    pub then: LagAction,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The address of `/metrics`, `/livez` and `/readyz`.
    pub listen: SocketAddr,
}
