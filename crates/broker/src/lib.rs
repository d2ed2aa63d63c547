//! An embedded Kafka broker in memory, for `demo` and for tests. Never for production.
//!
//! One process, one broker, loopback only, nothing on disk: a stop loses everything. It implements
//! the real protocol over TCP, so that the real client code runs against it: topics and their
//! settings, idempotent producers, long polls that wake at once, consumer groups in the classic
//! protocol (any assignor, static members), committed offsets with metadata, look-ups by time,
//! topic ids. Record batches are stored as received; compressed ones stay compressed.
//!
//! The alternative would be librdkafka's mock cluster, which has no admin API and drops records
//! above 5 MiB a partition; it was measured to wake idle consumers only every 250 ms and to need 3
//! s for a first assignment. The messages of the protocol are those of the `kafka-protocol` crate.
//!
//! Absent on purpose: transactions, replication, security, quotas, the newer consumer protocol
//! (KIP-848), retention by time, and compaction in the background ([`Broker::compact`] compacts on
//! demand).
//!
//! In reading order: `batch` and `log` (one partition), with `producers`, `records` and
//! `compaction`; `configs` and `topics`; `groups` and `offsets`; `api` (one handler for each
//! request); `server` (connections).

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

use parking_lot::{Mutex, MutexGuard};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use configs::TopicConfig;
use groups::Groups;
use topics::Topics;

use wedcache_model::clock::Clock;

pub use batch::Damage;
pub use configs::ConfigError;
pub use log::OutOfRange;
pub use offsets::Committed;
pub use topics::TopicError;
pub use uuid::Uuid as TopicId;

/// The settings of the broker; the defaults are Apache Kafka's where Kafka has the setting.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// A loopback address; by default port 0, which takes any free port.
    pub listen: SocketAddr,
    /// Partitions of a topic that is created without a number of partitions; by default 1.
    pub default_partitions: i32,
    /// True if an unknown topic is created when a client requests it; by default true.
    pub auto_create_topics: bool,
    /// The size in bytes above which a partition drops its oldest batches and its log start moves;
    /// by default 64 MiB.
    pub max_partition_bytes: usize,
    /// The largest request in bytes; a larger one closes its connection. By default 100 MiB.
    pub max_request_bytes: usize,
    /// The most open connections; a further one is closed at once. By default 256.
    pub max_connections: usize,
    /// The shortest session timeout that a group member may request; by default 6 s.
    pub min_session_timeout: Duration,
    /// The source of log-append times. Sessions and long polls use tokio's time.
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

/// A running broker. Dropping it stops the broker too, without waiting.
#[derive(Debug)]
pub struct Broker {
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// The state shared by all connections. The locks are held for a few lines and never across an
/// await; nobody takes `topics` while holding `groups`.
#[derive(Debug)]
struct Shared {
    options: BrokerOptions,
    address: SocketAddr,
    cluster_id: String,
    topics: Mutex<Topics>,
    groups: Mutex<Groups>,
    /// Notified when a group may have an earlier deadline than before.
    groups_changed: Notify,
    next_producer_id: AtomicI64,
    stop: CancellationToken,
}

impl Broker {
    /// Binds and serves. Clients may connect as soon as this returns.
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

    /// Returns the address for a client's `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.shared.address.to_string()
    }

    /// Closes all connections; the contents of the log are lost.
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

    /// Deletes a topic and the groups' committed offsets in it.
    pub fn delete_topic(&self, name: &str) -> Result<TopicId, TopicError> {
        self.shared.delete_topic(name)
    }

    /// Returns the id that distinguishes this topic from an earlier one of the same name.
    pub fn topic_id(&self, name: &str) -> Option<TopicId> {
        self.shared.topics().get(name).map(|topic| topic.id)
    }

    /// Returns the first readable offset and the next offset of a partition.
    pub fn watermarks(&self, topic: &str, partition: i32) -> Option<(i64, i64)> {
        let topics = self.shared.topics();
        let log = &topics.partition(topic, partition)?.log;
        Some((log.start(), log.end()))
    }

    /// Makes reads of a partition return nothing, or normal results again, for tests.
    pub fn withhold(&self, topic: &str, partition: i32, withheld: bool) {
        let mut topics = self.shared.topics();
        let partitions = topics.get_mut(topic).map(|topic| &mut topic.partitions);
        if let Some(of) = partitions.and_then(|of| of.get_mut(usize::try_from(partition).ok()?)) {
            of.log.withhold(withheld);
        }
    }

    /// Removes a partition's records below an offset, for tests; returns true if the offset is in
    /// the log's range.
    pub fn delete_before(&self, topic: &str, partition: i32, offset: i64) -> bool {
        let mut topics = self.shared.topics();
        let partitions = topics.get_mut(topic).map(|topic| &mut topic.partitions);
        let found = partitions.and_then(|of| of.get_mut(usize::try_from(partition).ok()?));
        found.is_some_and(|of| of.log.delete_before(offset).is_ok())
    }

    /// Damages the stored batch that contains an offset, for tests; returns true if there is one.
    pub fn damage(&self, topic: &str, partition: i32, offset: i64, damage: Damage) -> bool {
        let mut topics = self.shared.topics();
        let partitions = topics.get_mut(topic).map(|topic| &mut topic.partitions);
        let found = partitions.and_then(|of| of.get_mut(usize::try_from(partition).ok()?));
        found.is_some_and(|of| of.log.damage(offset, damage))
    }

    /// Returns the bytes that all logs hold.
    pub fn stored_bytes(&self) -> usize {
        let topics = self.shared.topics();
        let partitions = topics.iter().flat_map(|(_, topic)| &topic.partitions);
        partitions.map(|partition| partition.log.bytes()).sum()
    }

    /// Compacts a topic now, up to its very end (the cleaner of Apache Kafka leaves the active
    /// segment alone); returns how many records were removed. Compressed batches stay as they are.
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

    /// Returns the committed position of a group in a partition.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<Committed> {
        self.shared
            .groups()
            .get(group)?
            .offsets
            .get(topic, partition)
            .cloned()
    }

    /// Returns how many members a group has, and whether the group is stable.
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
        self.topics.lock()
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock()
    }

    fn delete_topic(&self, name: &str) -> Result<TopicId, TopicError> {
        let id = self.topics().delete(name)?;
        self.groups().forget_topic(name);
        Ok(id)
    }
}

/// The reason why a broker did not start.
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
