//! Settings, logging and error counting that every Kafka client of ours shares.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError as LibraryError;
use rdkafka::types::RDKafkaErrorCode;
use secrecy::{ExposeSecret, SecretString};

use super::KafkaError;

/// Repeated troubles are logged once in this time, with how often they came since.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// How to reach a cluster.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// `host:port`, several separated by commas.
    pub bootstrap: String,
    pub client_id: String,
    /// Further librdkafka properties; they override our defaults.
    pub properties: BTreeMap<String, String>,
    /// The same for values that must not be shown, such as `sasl.password`.
    pub secrets: BTreeMap<String, SecretString>,
}

/// What librdkafka must not be told otherwise: the promises about offsets and duplicates rest on
/// these.
const RESERVED: &[&str] = &[
    "bootstrap.servers",
    "metadata.broker.list",
    "client.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "enable.partition.eof",
    "enable.idempotence",
    "acks",
    "request.required.acks",
    "group.id",
    "group.instance.id",
    "transactional.id",
];

impl ClientOptions {
    /// For tests and tools: an address, and a name.
    pub fn new(bootstrap: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            client_id: client_id.into(),
            ..Self::default()
        }
    }

    /// The same cluster under another client id.
    pub fn named(&self, suffix: &str) -> Self {
        Self {
            client_id: format!("{}-{suffix}", self.client_id),
            ..self.clone()
        }
    }

    /// Our settings of a client, then the user's; the first of the user's that cannot be used is an
    /// error.
    pub(super) fn config(&self, ours: &[(&str, &str)]) -> Result<ClientConfig, KafkaError> {
        if let Some(fault) = self.check().into_iter().next() {
            return Err(fault);
        }
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", &self.client_id)
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.timeout.ms", "10000")
            // A topic that is made after us is found within this time, and so is a new leader: when a
            // broker dies librdkafka asks once, at a moment when Kafka still takes it for the leader.
            .set("topic.metadata.refresh.interval.ms", "3000")
            .set("log.connection.close", "false")
            .set_log_level(RDKafkaLogLevel::Info);
        for (name, value) in ours {
            config.set(*name, *value);
        }
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        for (name, value) in &self.secrets {
            config.set(name, value.expose_secret());
        }
        Ok(config)
    }

    /// The properties that are this program's alone to set.
    pub(super) fn reserved(&self) -> impl Iterator<Item = &str> {
        let given = self.properties.keys().chain(self.secrets.keys());
        given
            .map(String::as_str)
            .filter(|name| RESERVED.contains(name))
    }
}

/// How often a client had which trouble.
#[derive(Debug, Default)]
pub struct ClientCounters {
    pub errors: AtomicU64,
    /// No broker could be reached.
    pub all_brokers_down: AtomicU64,
    /// A position was outside the log, and reading went on at the log's start.
    pub offset_resets: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl ClientCounters {
    pub fn last_error(&self) -> Option<String> {
        let last = self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }
}

/// The part of a client context that all clients share: librdkafka's log and errors to tracing.
#[derive(Debug, Clone)]
pub(super) struct ClientLog {
    client_id: Arc<str>,
    pub(super) counters: Arc<ClientCounters>,
    throttle: Arc<Throttle>,
}

impl ClientLog {
    pub(super) fn new(client_id: &str) -> Self {
        Self {
            client_id: client_id.into(),
            counters: Arc::default(),
            throttle: Arc::new(Throttle::new(LOG_INTERVAL)),
        }
    }
}

impl ClientContext for ClientLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        let client = &*self.client_id;
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => {
                // The facility under which librdkafka reports that it left an offset that is
                // outside the log; it has no event for it.
                if facility == "OFFSET" {
                    self.counters.offset_resets.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(client, facility, "{text}");
                } else if let Some(more) = self.throttle.pass() {
                    tracing::warn!(client, facility, more, "{text}");
                }
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(client, facility, "{text}");
            }
        }
    }

    fn error(&self, error: LibraryError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        self.counters.errors.fetch_add(1, Ordering::Relaxed);
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.counters
                .all_brokers_down
                .fetch_add(1, Ordering::Relaxed);
        }
        let mut last = self
            .counters
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = Some(reason.to_owned());
        drop(last);
        if let Some(more) = self.throttle.pass() {
            let client = &*self.client_id;
            tracing::warn!(client, %error, more, "Kafka: {reason}");
        }
    }
}

/// Lets one message pass in an interval, and counts the others.
#[derive(Debug)]
pub struct Throttle {
    start: Instant,
    interval: Duration,
    /// Milliseconds since `start` from which the next message may pass.
    next_ms: AtomicU64,
    held: AtomicU64,
}

impl Throttle {
    pub fn new(interval: Duration) -> Self {
        Self {
            start: Instant::now(),
            interval,
            next_ms: AtomicU64::new(0),
            held: AtomicU64::new(0),
        }
    }

    /// How many were held back since the last one, if this one may pass.
    pub fn pass(&self) -> Option<u64> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let now = millis(self.start.elapsed());
        let next = self.next_ms.load(Ordering::Relaxed);
        let until = now.saturating_add(millis(self.interval));
        let passes = now >= next
            && self
                .next_ms
                .compare_exchange(next, until, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if passes {
            Some(self.held.swap(0, Ordering::Relaxed))
        } else {
            self.held.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_properties_win_over_defaults_but_not_over_promises() {
        let mut options = ClientOptions::new("localhost:9092", "c");
        options
            .properties
            .insert("socket.timeout.ms".into(), "7000".into());
        options
            .secrets
            .insert("sasl.password".into(), "hidden".to_owned().into());
        let config = options.config(&[("linger.ms", "3")]).unwrap();
        assert_eq!(config.get("socket.timeout.ms"), Some("7000"));
        assert_eq!(config.get("linger.ms"), Some("3"));
        assert_eq!(config.get("sasl.password"), Some("hidden"));
        assert!(!format!("{options:?}").contains("hidden"));
        options
            .properties
            .insert("enable.auto.commit".into(), "true".into());
        assert!(matches!(
            options.config(&[]),
            Err(KafkaError::Reserved { property }) if property == "enable.auto.commit"
        ));
    }

    #[test]
    fn a_throttle_passes_the_first_and_counts_the_rest() {
        let throttle = Throttle::new(Duration::from_hours(1));
        assert_eq!(throttle.pass(), Some(0));
        assert_eq!((throttle.pass(), throttle.pass()), (None, None));
        assert_eq!(throttle.held.load(Ordering::Relaxed), 2);
    }
}
