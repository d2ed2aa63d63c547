//! The address of Redis, and one connection to it.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, ProtocolVersion, RedisError,
    RedisFuture, RedisResult, Value,
};
use secrecy::ExposeSecret as _;

use super::RedisOptions;
use super::failure::{Failure, Secrets};
use super::reason::Reason;
use super::reply::{Pong, Reply as _};

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

/// The address to connect to, and the settings of the connection.
pub(super) struct Target {
    /// The single server, or the configured nodes of the cluster.
    nodes: Vec<Client>,
    config: AsyncConnectionConfig,
    cluster: Option<ClusterClient>,
}

impl Target {
    pub(super) fn of(options: &RedisOptions) -> Result<Self, RedisSetupError> {
        let mut nodes = Vec::new();
        for (index, url) in options.urls.iter().enumerate() {
            let client =
                Client::open(url.expose_secret()).map_err(|source| RedisSetupError::Url {
                    number: index + 1,
                    source,
                })?;
            nodes.push(client);
        }
        if !options.cluster && nodes.len() != 1 {
            let given = nodes.len();
            return Err(RedisSetupError::OneUrl { given });
        }
        let cluster = options.cluster.then(|| cluster_client(&nodes, options));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.connect_timeout))
            // None, because the layer bounds every call itself.
            .set_response_timeout(None)
            // Room for all: the queue of the client's driver must not make a call that has its turn
            // wait again.
            .set_pipeline_buffer_size(options.max_in_flight.max(1))
            .set_concurrency_limit(options.max_in_flight.max(1));
        Ok(Self {
            cluster: cluster.transpose()?,
            nodes,
            config,
        })
    }

    /// Returns host and port, without user and password.
    pub(super) fn address(&self) -> String {
        let address = |node: &Client| node.get_connection_info().addr().to_string();
        let all: Vec<_> = self.nodes.iter().map(address).collect();
        all.join(", ")
    }

    pub(super) fn secrets(&self) -> Secrets {
        Secrets::of(&self.nodes)
    }

    pub(super) async fn connect(&self, secrets: &Secrets) -> Result<Connection, Failure> {
        let connected = match &self.cluster {
            Some(cluster) => cluster
                .get_async_connection()
                .await
                .map(Connection::Cluster),
            None => self.single().await.map(Connection::Single),
        };
        let error = match connected {
            Ok(mut connection) => match greet(&mut connection).await {
                Ok(true) => return Ok(connection),
                Ok(false) => return Err(Failure::new(Reason::Protocol, "no PONG to a PING")),
                Err(error) => error,
            },
            Err(error) => error,
        };
        let failure = secrets.failure(&error);
        let is_known = error.code().is_some_and(|code| code != "ERR")
            || error.is_timeout()
            || error.is_connection_refusal();
        if is_known {
            return Err(failure);
        }
        Err(self.refusal(secrets).await.unwrap_or(failure))
    }

    async fn single(&self) -> RedisResult<MultiplexedConnection> {
        self.nodes[0]
            .get_multiplexed_async_connection_with_config(&self.config)
            .await
    }

    /// Returns the reply of the first node that refuses a plain HELLO, as a failure. The client
    /// itself does not keep the replies of its handshakes: every refusal of AUTH becomes
    /// "authentication failed" (also that of a server that accepts no more connections), refusals
    /// of other commands are dropped, and a cluster's client turns them into text (redis 1.8.1,
    /// `connection.rs`: `check_resp2_auth`).
    async fn refusal(&self, secrets: &Secrets) -> Option<Failure> {
        for node in &self.nodes {
            let info = node.get_connection_info().clone();
            let settings = info.redis_settings().clone();
            // Sends nothing but the HELLO: a server that turns us away closes after one reply.
            let settings = settings
                .set_protocol(ProtocolVersion::RESP3)
                .set_skip_set_lib_name()
                .set_db(0);
            let client = Client::open(info.set_redis_settings(settings)).ok()?;
            let connection = client.get_multiplexed_async_connection_with_config(&self.config);
            let refused = match connection.await {
                Ok(connection) => greet(&mut Connection::Single(connection)).await.err(),
                Err(error) => Some(error),
            };
            let says_why = |error: &RedisError| {
                matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
            };
            if let Some(error) = refused.filter(says_why) {
                return Some(secrets.failure(&error));
            }
        }
        None
    }
}

fn cluster_client(
    nodes: &[Client],
    options: &RedisOptions,
) -> Result<ClusterClient, RedisSetupError> {
    let nodes = nodes.iter().map(|node| node.get_connection_info().clone());
    ClusterClient::builder(nodes)
        .connection_timeout(options.connect_timeout)
        // The layer bounds every call itself; this limit ends calls that nobody waits for.
        .response_timeout(options.connect_timeout.max(options.response_timeout))
        .retries(1)
        .connection_concurrency_limit(options.max_in_flight.max(1))
        .build()
        .map_err(|source| RedisSetupError::Url { number: 1, source })
}

/// Checks that a Redis server answers, because a listening socket alone does not prove that.
/// Skipped for a cluster: its client has asked its nodes already, and a PING to all of them would
/// fail if one is down.
async fn greet(connection: &mut Connection) -> RedisResult<bool> {
    if matches!(connection, Connection::Cluster(_)) {
        return Ok(true);
    }
    let replied = redis::cmd("PING").query_async::<Value>(connection).await;
    match replied {
        // The server answers; the first calls will show whether this user may do what the layer
        // needs.
        Err(error) if error.code() == Some("NOPERM") => Ok(true),
        replied => replied.map(|reply| Pong::read(reply).is_some()),
    }
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
