//! An embedded Kafka broker in memory, for `demo` and for tests. Never for production.
//!
//! One process, one broker, loopback only, nothing on disk: a stop loses everything. It speaks
//! the real protocol over TCP, so that the real client code runs against it: topics and their
//! settings, idempotent producers, long polls that wake at once, consumer groups in the classic
//! protocol (any assignor, static members), committed offsets with metadata, look-ups by time,
//! topic ids. Record batches are kept as they came; compressed ones stay compressed.
//!
//! Absent on purpose: transactions, replication, security, quotas, the newer consumer protocol
//! (KIP-848), retention by time, and compaction in the background ([`Broker::compact`] does it
//! when told to).
//!
//! In reading order: `batch` and `log` (one partition), `producers`, `records` and `compaction`
//! beside them; `configs` and `topics`; `groups` and `offsets`; `api` (one handler a request);
//! `server` (connections).

mod api;
mod batch;
mod compaction;
mod configs;
mod groups;
mod log;
mod offsets;
mod producers;
mod records;
mod server;
#[cfg(test)]
mod tests;
mod topics;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use configs::TopicConfig;
use groups::Groups;
use topics::Topics;

pub use batch::Damage;
pub use configs::ConfigError;
pub use log::OutOfRange;
pub use offsets::Committed;
pub use topics::TopicError;
pub use uuid::Uuid as TopicId;

/// How the broker behaves; the defaults are Apache Kafka's where it has them.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// A loopback address; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Partitions of a topic that is created without saying how many.
    pub default_partitions: i32,
    /// Whether a client that asks for an unknown topic gets it.
    pub auto_create_topics: bool,
    /// Above it a partition drops its oldest batches and its log start moves.
    pub max_partition_bytes: usize,
    /// A longer request closes its connection.
    pub max_request_bytes: usize,
    /// A further connection is closed at once.
    pub max_connections: usize,
    /// The shortest session a group member may ask for.
    pub min_session_timeout: Duration,
    /// Where log-append times come from. Sessions and long polls run on tokio's time.
    pub clock: Clock,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            default_partitions: 1,
            auto_create_topics: true,
            max_partition_bytes: 64 << 20,
            max_request_bytes: 100 << 20,
            max_connections: 256,
            min_session_timeout: Duration::from_secs(6),
            clock: Clock::System,
        }
    }
}

/// A running broker. Dropping it stops it too, without waiting.
#[derive(Debug)]
pub struct Broker {
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// What all connections share. The locks are held for a few lines and never across an await; no
/// one takes `groups` and then `topics`.
#[derive(Debug)]
struct Shared {
    options: BrokerOptions,
    address: SocketAddr,
    cluster_id: String,
    topics: Mutex<Topics>,
    groups: Mutex<Groups>,
    /// A group may have an earlier deadline than before.
    groups_changed: Notify,
    next_producer_id: AtomicI64,
    stop: CancellationToken,
}

impl Broker {
    /// Binds and serves. Clients may connect as soon as it returns.
    pub async fn start(options: BrokerOptions) -> Result<Self, BrokerError> {
        let listen = options.listen;
        if !listen.ip().is_loopback() {
            return Err(BrokerError::NotLoopback { address: listen });
        }
        let bind = |source| BrokerError::Bind {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let shared = Arc::new(Shared {
            options,
            address,
            cluster_id: format!("embedded-{:016x}", fastrand::u64(..)),
            topics: Mutex::default(),
            groups: Mutex::default(),
            groups_changed: Notify::new(),
            next_producer_id: AtomicI64::new(1),
            stop: CancellationToken::new(),
        });
        let server = tokio::spawn(server::serve(Arc::clone(&shared), listener));
        tracing::info!(%address, "embedded broker listens");
        Ok(Self { shared, server })
    }

    /// For a client's `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.shared.address.to_string()
    }

    /// Closes all connections; what the log held is gone.
    pub async fn shutdown(mut self) {
        self.shared.stop.cancel();
        if let Err(error) = (&mut self.server).await {
            tracing::error!(%error, "embedded broker ended badly");
        }
    }

    /// Creates a topic with Apache Kafka's topic settings, as `(name, value)`.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<TopicId, TopicError> {
        let mut config = TopicConfig::default();
        for (setting, value) in settings {
            config.set(setting, value)?;
        }
        self.shared.topics().create(name, partitions, config)
    }

    /// Deletes a topic and the groups' positions in it.
    pub fn delete_topic(&self, name: &str) -> Result<TopicId, TopicError> {
        self.shared.delete_topic(name)
    }

    /// The id that tells this topic from an earlier one of the same name.
    pub fn topic_id(&self, name: &str) -> Option<TopicId> {
        self.shared.topics().get(name).map(|topic| topic.id)
    }

    /// First readable offset and next offset of a partition.
    pub fn watermarks(&self, topic: &str, partition: i32) -> Option<(i64, i64)> {
        let topics = self.shared.topics();
        let log = &topics.partition(topic, partition)?.log;
        Some((log.start(), log.end()))
    }

    /// Lets readers of a partition find nothing, or what there is, for tests.
    pub fn withhold(&self, topic: &str, partition: i32, withheld: bool) {
        let mut topics = self.shared.topics();
        let partitions = topics.get_mut(topic).map(|topic| &mut topic.partitions);
        if let Some(of) = partitions.and_then(|of| of.get_mut(usize::try_from(partition).ok()?)) {
            of.log.withhold(withheld);
        }
    }

    /// Removes a partition's records below an offset, for tests; whether there are any from there on.
    pub fn delete_before(&self, topic: &str, partition: i32, offset: i64) -> bool {
        let mut topics = self.shared.topics();
        let partitions = topics.get_mut(topic).map(|topic| &mut topic.partitions);
        let found = partitions.and_then(|of| of.get_mut(usize::try_from(partition).ok()?));
        found.is_some_and(|of| of.log.delete_before(offset).is_ok())
    }

    /// Damages the stored batch that holds an offset, for tests; whether there is one.
    pub fn damage(&self, topic: &str, partition: i32, offset: i64, damage: Damage) -> bool {
        let mut topics = self.shared.topics();
        let partitions = topics.get_mut(topic).map(|topic| &mut topic.partitions);
        let found = partitions.and_then(|of| of.get_mut(usize::try_from(partition).ok()?));
        found.is_some_and(|of| of.log.damage(offset, damage))
    }

    /// Bytes that all logs hold.
    pub fn stored_bytes(&self) -> usize {
        let topics = self.shared.topics();
        let partitions = topics.iter().flat_map(|(_, topic)| &topic.partitions);
        partitions.map(|partition| partition.log.bytes()).sum()
    }

    /// Compacts a topic now, up to its very end (the cleaner of Apache Kafka leaves the active
    /// segment alone); returns how many records went. Compressed batches stay as they are.
    pub fn compact(&self, topic: &str) -> Result<usize, TopicError> {
        let mut topics = self.shared.topics();
        let topic = topics.get_mut(topic).ok_or_else(|| TopicError::Unknown {
            name: topic.to_owned(),
        })?;
        Ok(topic
            .partitions
            .iter_mut()
            .map(|partition| partition.log.compact())
            .sum())
    }

    /// What a group has committed for a partition.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<Committed> {
        self.shared
            .groups()
            .get(group)?
            .offsets
            .get(topic, partition)
            .cloned()
    }

    /// How many members a group has, and whether they all have their assignment.
    pub fn group_members(&self, group: &str) -> Option<(usize, bool)> {
        let groups = self.shared.groups();
        let group = groups.get(group)?;
        Some((
            group.members().len(),
            group.state() == groups::GroupState::Stable,
        ))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Shared {
    fn topics(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn delete_topic(&self, name: &str) -> Result<TopicId, TopicError> {
        let id = self.topics().delete(name)?;
        self.groups().forget_topic(name);
        Ok(id)
    }
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("the embedded broker listens on loopback only, not on {address}")]
    NotLoopback { address: SocketAddr },
    #[error("cannot listen on {address}")]
    Bind {
        address: SocketAddr,
        source: std::io::Error,
    },
}
