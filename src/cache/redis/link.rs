//! The connection to Redis: made in the background, replaced when it breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult,
    Value,
};
use secrecy::ExposeSecret as _;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::RedisOptions;
use crate::cache::breaker::Breaker;

/// Settings that can never work.
#[derive(Debug, thiserror::Error)]
pub enum RedisSetupError {
    /// The URL itself is not shown: it may hold a password.
    #[error("the Redis URL number {number} is not usable: {source}")]
    Url { number: usize, source: RedisError },
    #[error("a single Redis node takes exactly one URL, not {given}")]
    OneUrl { given: usize },
}

/// A connection that many callers share; cheap to clone.
#[derive(Clone)]
pub(super) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Single(_) => "Single",
            Self::Cluster(_) => "Cluster",
        })
    }
}

/// Keeps one connection up for as long as it lives.
#[derive(Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    connection: ArcSwapOption<Connection>,
    broken: Notify,
    connects: AtomicU64,
    breaker: Arc<Breaker>,
}

enum Target {
    Single(Client, AsyncConnectionConfig),
    Cluster(ClusterClient),
}

impl Link {
    pub(super) fn start(
        options: &RedisOptions,
        breaker: Arc<Breaker>,
    ) -> Result<Self, RedisSetupError> {
        let target = Target::of(options)?;
        let shared = Arc::new(Shared {
            connection: ArcSwapOption::empty(),
            broken: Notify::new(),
            connects: AtomicU64::new(0),
            breaker,
        });
        let of_task = Arc::clone(&shared);
        let (connect_timeout, pauses) = (options.connect_timeout, options.reconnect_after);
        let task = tokio::spawn(async move {
            of_task.keep_up(&target, connect_timeout, pauses).await;
        });
        Ok(Self { shared, task })
    }

    pub(super) fn connection(&self) -> Option<Arc<Connection>> {
        self.shared.connection.load_full()
    }

    /// Has the connection replaced, unless that has been done.
    pub(super) fn broken(&self, connection: &Arc<Connection>) {
        let held = self
            .shared
            .connection
            .compare_and_swap(connection, None::<Arc<Connection>>);
        if held
            .as_ref()
            .is_some_and(|held| Arc::ptr_eq(held, connection))
        {
            self.shared.broken.notify_one();
        }
    }

    pub(super) fn connects(&self) -> u64 {
        self.shared.connects.load(Ordering::Relaxed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    async fn keep_up(
        &self,
        target: &Target,
        connect_timeout: Duration,
        (first, longest): (Duration, Duration),
    ) {
        let mut pause = first;
        loop {
            // The cluster client can hang in its first connect: bounded from outside as well.
            match tokio::time::timeout(connect_timeout * 2, target.connect()).await {
                Ok(Ok(connection)) => {
                    tracing::info!("connected to Redis");
                    pause = first;
                    self.connects.fetch_add(1, Ordering::Relaxed);
                    self.connection.store(Some(Arc::new(connection)));
                    self.breaker.probe_now();
                    while self.connection.load().is_some() {
                        self.broken.notified().await;
                    }
                    tracing::warn!("lost the connection to Redis");
                }
                Ok(Err(error)) => tracing::debug!(%error, "cannot connect to Redis"),
                Err(_) => tracing::debug!("cannot connect to Redis: no reply in time"),
            }
            // Full jitter over the upper half, so that instances do not come back in step.
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(longest);
        }
    }
}

impl Target {
    fn of(options: &RedisOptions) -> Result<Self, RedisSetupError> {
        let mut clients = Vec::new();
        for (index, url) in options.urls.iter().enumerate() {
            let client =
                Client::open(url.expose_secret()).map_err(|source| RedisSetupError::Url {
                    number: index + 1,
                    source,
                })?;
            clients.push(client);
        }
        if options.cluster {
            let nodes = clients
                .iter()
                .map(|client| client.get_connection_info().clone());
            return ClusterClient::builder(nodes)
                .connection_timeout(options.connect_timeout)
                // The layer bounds every call itself; this one ends what nobody waits for.
                .response_timeout(options.connect_timeout.max(options.response_timeout))
                .retries(1)
                .connection_concurrency_limit(options.max_in_flight.max(1))
                .build()
                .map(Self::Cluster)
                .map_err(|source| RedisSetupError::Url { number: 1, source });
        }
        let [client] =
            <[Client; 1]>::try_from(clients).map_err(|clients| RedisSetupError::OneUrl {
                given: clients.len(),
            })?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.connect_timeout))
            // The layer bounds every call itself.
            .set_response_timeout(None)
            .set_concurrency_limit(options.max_in_flight.max(1));
        Ok(Self::Single(client, config))
    }

    async fn connect(&self) -> RedisResult<Connection> {
        let mut connection = match self {
            Self::Single(client, config) => Connection::Single(
                client
                    .get_multiplexed_async_connection_with_config(config)
                    .await?,
            ),
            Self::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
        };
        // A listening socket is not yet a server that answers.
        redis::cmd("PING")
            .query_async::<Value>(&mut connection)
            .await?;
        Ok(connection)
    }
}

/// True for errors that the server itself replied: the path to it is fine.
pub(super) fn server_is_there(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::UnexpectedReturnType
    )
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
