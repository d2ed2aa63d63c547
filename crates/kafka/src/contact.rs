//! First contact with a cluster: its content, or the reason why it cannot be reached, in a text
//! that says more than "no broker answers".

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError as LibraryError;
use rdkafka::types::RDKafkaErrorCode;

use super::KafkaError;
use super::client::ClientOptions;

/// The longest time for one attempt to get the cluster's metadata; the reasons of failures are
/// looked at in between.
const ATTEMPT: Duration = Duration::from_millis(500);

/// The most events of librdkafka that are read after one attempt; more than it has.
const EVENTS: usize = 64;

/// The content of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    pub brokers: usize,
    /// All topics with their numbers of partitions, as far as this user may see them.
    pub topics: BTreeMap<String, i32>,
}

/// The reason why there was no contact.
#[derive(Debug, thiserror::Error)]
pub enum Unreached {
    #[error(transparent)]
    Settings(KafkaError),
    /// The user, the password or the mechanism is refused.
    #[error("the broker refuses the credentials: {reason}")]
    Refused { reason: String },
    #[error("TLS failed: {reason}")]
    Tls { reason: String },
    #[error("no such host: {reason}")]
    Name { reason: String },
    /// The address or the network is wrong, or only one side speaks TLS.
    #[error("no broker answers: {reason}")]
    Away { reason: String },
}

impl Unreached {
    /// Returns what to do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Settings(_) => "correct `kafka.properties`",
            Self::Refused { .. } => {
                "check `sasl.mechanism`, `sasl.username` and `sasl.password` of `kafka.properties`"
            }
            Self::Tls { .. } => {
                "check `ssl.ca.location` of `kafka.properties`, the host name that the broker's \
                 certificate is for, and that this listener speaks TLS"
            }
            Self::Name { .. } => "check `kafka.bootstrap_servers` and the name servers",
            Self::Away { .. } => {
                "check `kafka.bootstrap_servers`, that a broker runs there, and that its listener \
                 speaks what `security.protocol` of `kafka.properties` says"
            }
        }
    }

    /// Picks the most telling of librdkafka's errors.
    fn of(told: &[ClientError], last: &LibraryError) -> Self {
        let reason = |of: RDKafkaErrorCode| {
            let found = told.iter().find(|told| told.code == Some(of));
            found.map(|told| told.text.clone())
        };
        if let Some(reason) = reason(RDKafkaErrorCode::Authentication) {
            return Self::Refused { reason };
        }
        if let Some(reason) = reason(RDKafkaErrorCode::SSL) {
            return Self::Tls { reason };
        }
        if let Some(reason) = reason(RDKafkaErrorCode::Resolve) {
            return Self::Name { reason };
        }
        let text = told.last().map(|told| told.text.clone());
        Self::Away {
            reason: text.unwrap_or_else(|| last.to_string()),
        }
    }
}

/// Asks a cluster for its brokers and topics; blocks until it answers, refuses, or the time is up.
pub fn reach(options: &ClientOptions, timeout: Duration) -> Result<Reached, Unreached> {
    // A client without a group gets no errors (rdkafka 0.39, `base_consumer.rs`). It never
    // subscribes, so it never becomes a member.
    let group = [("group.id", "wedcache-validate")];
    let config = options.config(&group).map_err(Unreached::Settings)?;
    let listener = Listener::default();
    let made = BaseConsumer::from_config_and_context(&config, listener.clone());
    let client = made.map_err(|source| Unreached::Settings(options.refused(source)))?;
    let deadline = Instant::now() + timeout;
    loop {
        let error = match client.fetch_metadata(None, ATTEMPT) {
            Ok(metadata) => {
                let good = metadata.topics().iter();
                let good = good.filter(|topic| topic.error().is_none());
                let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
                return Ok(Reached {
                    brokers: metadata.brokers().len(),
                    topics: good
                        .map(|topic| (topic.name().to_owned(), count(topic.partitions().len())))
                        .collect(),
                });
            }
            Err(error) => error,
        };
        // Errors come through the client's queue, log lines among them; a poll that took a
        // log line returns nothing, as one that found nothing does.
        for _ in 0..EVENTS {
            if let Some(Err(error)) = client.poll(Duration::ZERO) {
                tracing::debug!(%error, "first contact");
            }
        }
        let told = listener.errors();
        let decided = told.iter().any(|told| {
            matches!(
                told.code,
                Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL)
            )
        });
        if decided || Instant::now() >= deadline {
            return Err(Unreached::of(&told, &error));
        }
    }
}

/// An error that librdkafka reported of a failed attempt.
#[derive(Debug, Clone)]
struct ClientError {
    code: Option<RDKafkaErrorCode>,
    text: String,
}

/// The errors that librdkafka reported of its attempts, up to a limit.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<ClientError>>>);

impl Listener {
    const MOST: usize = 32;

    fn errors(&self) -> Vec<ClientError> {
        let told = self.0.lock();
        told.clone()
    }
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(?level, facility, "{text}");
    }

    fn error(&self, error: LibraryError, reason: &str) {
        let code = error.rdkafka_error_code();
        // It says only that every broker has failed; their own errors say why.
        if code == Some(RDKafkaErrorCode::AllBrokersDown) {
            return;
        }
        let mut told = self.0.lock();
        if told.len() < Self::MOST {
            told.push(ClientError {
                code,
                text: reason.to_owned(),
            });
        }
    }
}

impl ConsumerContext for Listener {}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, PATIENCE};
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_cluster_tells_what_it_has() {
        let cluster = Cluster::new(&[("a", 2), ("b", 1)]).await;
        let client = cluster.client("c");
        let reached = tokio::task::spawn_blocking(move || reach(&client, PATIENCE));
        let reached = reached.await.unwrap().unwrap();
        assert_eq!(reached.brokers, 1);
        let topics = [("a".to_owned(), 2), ("b".to_owned(), 1)];
        assert_eq!(reached.topics, BTreeMap::from(topics));
    }

    #[test]
    fn a_broker_that_is_away_is_named_with_the_reason() {
        let port = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        };
        let client = ClientOptions::new(format!("127.0.0.1:{port}"), "c");
        let error = reach(&client, Duration::from_secs(1)).unwrap_err();
        assert!(matches!(error, Unreached::Away { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&port.to_string()), "{text}");
        assert!(text.contains("refused"), "{text}");
    }

    #[test]
    fn the_most_telling_reason_comes_first() {
        let told = |code, text: &str| ClientError {
            code: Some(code),
            text: text.to_owned(),
        };
        let last = LibraryError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
        let transport = told(RDKafkaErrorCode::BrokerTransportFailure, "down");
        let refused = told(RDKafkaErrorCode::Authentication, "no");
        let of = |told: &[ClientError]| Unreached::of(told, &last).to_string();
        assert_eq!(
            of(&[transport.clone(), refused]),
            "the broker refuses the credentials: no"
        );
        assert_eq!(of(&[transport]), "no broker answers: down");
        let silent = of(&[]);
        assert!(silent.starts_with("no broker answers: "), "{silent}");
    }
}
