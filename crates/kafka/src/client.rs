//! Settings, logging and error counts that all Kafka clients of this program share.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError as LibraryError;
use rdkafka::types::RDKafkaErrorCode;
use secrecy::{ExposeSecret, SecretString};

use wedcache_model::trouble::Throttle;

use super::KafkaError;
use super::access::{self, Wants};
use super::reach::Reach;

/// The interval at which a client's other errors are logged, with their number since.
pub(super) const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The address of a cluster, and the settings of a client for it.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// The addresses as `host:port`, separated by commas.
    pub bootstrap: String,
    pub client_id: String,
    /// Further librdkafka properties, which override this program's defaults.
    pub properties: BTreeMap<String, String>,
    /// Further librdkafka properties whose values must not be shown, such as `sasl.password`.
    pub secrets: BTreeMap<String, SecretString>,
}

/// The properties that users cannot set: the promises about offsets and duplicates rest on them.
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
    /// Returns the settings for an address and a client id, for tests and tools.
    pub fn new(bootstrap: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            client_id: client_id.into(),
            ..Self::default()
        }
    }

    /// Returns the settings with a suffix to the client id.
    pub fn named(&self, suffix: &str) -> Self {
        Self {
            client_id: format!("{}-{suffix}", self.client_id),
            ..self.clone()
        }
    }

    /// Returns `ours`, overridden by the user's properties; the first of the user's that cannot be
    /// used is an error.
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
            // A topic that is created later is found within this time, and so is a new leader: when
            // a broker dies librdkafka asks once, at a moment when Kafka still takes it for the
            // leader.
            .set("topic.metadata.refresh.interval.ms", "3000")
            // A broker that wants TLS or SASL closes at once, and this line is the only sign of it.
            .set("log.connection.close", "true")
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

    /// Returns the given properties that users cannot set.
    pub(super) fn reserved(&self) -> impl Iterator<Item = &str> {
        let given = self.properties.keys().chain(self.secrets.keys());
        given
            .map(String::as_str)
            .filter(|name| RESERVED.contains(name))
    }
}

/// Counts of a client's errors.
#[derive(Debug, Default)]
pub struct ClientCounters {
    pub errors: AtomicU64,
    /// Times that no broker could be reached.
    pub all_brokers_down: AtomicU64,
    /// Positions that were outside the log, after which reading resumed at the log's start.
    pub offset_resets: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl ClientCounters {
    pub fn last_error(&self) -> Option<String> {
        let last = self.last_error.lock();
        last.clone()
    }

    fn saw(&self, code: Option<RDKafkaErrorCode>, reason: &str) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        if code == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.all_brokers_down.fetch_add(1, Ordering::Relaxed);
        }
        let mut last = self.last_error.lock();
        *last = Some(reason.to_owned());
    }
}

/// The part of a client's context that all clients share: passes librdkafka's log and errors to
/// tracing.
#[derive(Debug, Clone)]
pub(super) struct ClientLog {
    client_id: Arc<str>,
    pub(super) counters: Arc<ClientCounters>,
    throttle: Arc<Throttle>,
    reach: Arc<Reach>,
    wants: Arc<Wants>,
}

impl ClientLog {
    /// Returns the log of a client; `wants` is its use of the cluster, so that a missing permission
    /// can be named.
    pub(super) fn new(options: &ClientOptions, wants: Wants) -> Self {
        Self {
            client_id: options.client_id.as_str().into(),
            counters: Arc::default(),
            throttle: Arc::new(Throttle::new(LOG_INTERVAL)),
            reach: Reach::of(&options.bootstrap),
            wants: Arc::new(wants),
        }
    }

    /// Notes that the cluster has answered a request of this client.
    pub(super) fn answered(&self) {
        self.reach.answered();
    }

    pub(super) fn connected<'a>(&self, brokers: impl Iterator<Item = &'a str>) {
        self.reach.connected(brokers);
    }

    /// Returns true if the failure of a call is explained: by the cluster's absence, which has its
    /// own log line, or by a missing permission, which is logged. Otherwise the caller logs it.
    pub(super) fn explains(&self, error: &LibraryError, request: &str) -> bool {
        let Some(code) = error.rdkafka_error_code() else {
            return false;
        };
        self.wants.needs_not(code)
            || self.reach.unanswered(code, request)
            || self.is_denied(code, &error.to_string())
    }

    /// Logs the permission that a request lacked, if the code is a refusal of access.
    pub(super) fn refused(&self, code: RDKafkaErrorCode, needs: &str) {
        if access::denies(code) {
            self.reach.denied(&self.client_id, needs, &code.to_string());
        }
    }

    /// Like [`ClientLog::explains`], for a record that could not be delivered.
    pub(super) fn explains_delivery(&self, code: RDKafkaErrorCode, topic: &str) -> bool {
        if code == RDKafkaErrorCode::TopicAuthorizationFailed {
            self.refused(code, &access::on_topic(self.wants.operation, topic));
            return true;
        }
        self.reach.unanswered(code, "write records") || self.is_denied(code, topic)
    }

    fn is_denied(&self, code: RDKafkaErrorCode, words: &str) -> bool {
        let needs = self.wants.lacking(code, words);
        if let Some(needs) = &needs {
            self.reach.denied(&self.client_id, needs, words);
        }
        needs.is_some()
    }
}

impl ClientContext for ClientLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        let client = &*self.client_id;
        let matters = matches!(
            level,
            RDKafkaLogLevel::Emerg
                | RDKafkaLogLevel::Alert
                | RDKafkaLogLevel::Critical
                | RDKafkaLogLevel::Error
                | RDKafkaLogLevel::Warning
        );
        if matters && facility == "OFFSET" {
            // librdkafka has reset an offset that is outside the log; it has no event for that.
            self.counters.offset_resets.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(client, facility, "{text}");
        } else if facility == "FAIL" && !matters {
            self.reach.closed(without_thread(text));
            tracing::debug!(client, facility, "{text}");
        } else if matches!(facility, "FAIL" | "ERROR") || self.reach.is_failing() || !matters {
            // A failure comes as an error event too, or follows from one.
            tracing::debug!(client, facility, "{text}");
        } else if let Some(more) = self.throttle.pass() {
            tracing::warn!(client, facility, more, "{text}");
        }
    }

    fn error(&self, error: LibraryError, reason: &str) {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        self.counters.saw(code, reason);
        let client = &*self.client_id;
        let explained = code.is_some_and(|code| {
            self.wants.needs_not(code)
                || self.reach.failed(code, reason)
                || self.is_denied(code, reason)
        });
        if explained {
            tracing::debug!(client, %error, "Kafka: {reason}");
        } else if let Some(more) = self.throttle.pass() {
            tracing::warn!(client, %error, more, "Kafka: {reason}");
        }
    }
}

/// Returns librdkafka's text without the name of its thread, which its errors do not have either.
fn without_thread(text: &str) -> &str {
    let named = text.strip_prefix("[thrd:");
    let rest = named.and_then(|named| named.split_once("]: "));
    rest.map_or(text, |(_, words)| words)
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
    fn librdkafkas_words_are_without_its_threads() {
        for (text, wanted) in [
            (
                "[thrd:b:9092/1]: b:9092/1: Disconnected",
                "b:9092/1: Disconnected",
            ),
            (
                "[thrd:[::1]:9092/1]: [::1]:9092/1: Disconnected",
                "[::1]:9092/1: Disconnected",
            ),
            ("b:9092/1: Disconnected", "b:9092/1: Disconnected"),
            ("[thrd:main", "[thrd:main"),
        ] {
            assert_eq!(without_thread(text), wanted);
        }
    }
}
