//! The Redis layer: shared between instances, on a single node or a cluster.
//!
//! Values are kept under `<prefix><64 hexadecimal digits of the key's hash>` with a TTL up to
//! `keep_until`. A value starts with 33 bytes that the [`script`] compares on the server, so that
//! an older fill never replaces a newer one, whoever writes:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 1 | version, 1 |
//! | 1 | 16 | log id |
//! | 17 | 8 | stamp, big-endian with the sign bit flipped: bytes compare as numbers do |
//! | 25 | 8 | call began (ms), in the same form |
//! | 33 | | the sealed entry |
//!
//! Beside an entry a [`lease`] stands under `<prefix>lease:<hash>` while an instance asks for it.
//!
//! A call that is cancelled or runs out of time leaves nothing behind for the next caller: the
//! client's driver task keeps a queue of the requests in flight, each with its own channel, and
//! takes every reply off the wire for the request at the queue's front, whether or not somebody
//! still waits for it (redis 1.8.1, `aio/multiplexed_connection.rs`: `send_result`). The key that
//! is compared on every read is the second guard.

mod lease;
mod link;
mod script;

use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use redis::{RedisError, RedisResult};
use secrecy::SecretString;
use tokio::sync::Semaphore;

use super::breaker::{Breaker, BreakerOptions, BreakerState};
use super::{Layer, LayerError, Lookup, Put, sealed};
use crate::clock::Clock;
use crate::model::entry::Header;
use crate::model::{CacheKey, Entry, LayerName};

use lease::LeaseScripts;
pub use link::RedisSetupError;
use link::{Connection, Link};
use script::Scripts;

#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// `redis://` or `rediss://` (TLS; the process must have installed a rustls provider). For a
    /// cluster, some of its nodes; else exactly one.
    pub urls: Vec<SecretString>,
    pub cluster: bool,
    /// What the layer's keys start with. Default `wedcache:`.
    pub key_prefix: String,
    /// For connecting with its handshake. Default 500 ms.
    pub connect_timeout: Duration,
    /// For one call. Default 50 ms.
    pub response_timeout: Duration,
    /// Between attempts to connect: the first and the longest pause. Default 50 ms and 2 s.
    pub reconnect_after: (Duration, Duration),
    /// Calls on their way at once; more wait for their turn, and their time-out begins with it.
    /// Default 64: so few that a Redis that is well answers them all within 20 ms.
    pub max_in_flight: usize,
    /// How long a call waits for its turn. Default 10 s: while the queue moves, what it would find
    /// has been paid for, and a model takes as long.
    pub max_wait: Duration,
    pub breaker: BreakerOptions,
    /// How long a lease stands that is not renewed. Default 6 s, as long as Kafka takes to miss
    /// its holder.
    pub lease_term: Duration,
}

impl RedisOptions {
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            urls: vec![SecretString::from(url.into())],
            cluster: false,
            key_prefix: "wedcache:".to_owned(),
            connect_timeout: Duration::from_millis(500),
            response_timeout: Duration::from_millis(50),
            reconnect_after: (Duration::from_millis(50), Duration::from_secs(2)),
            max_in_flight: 64,
            max_wait: Duration::from_secs(10),
            breaker: BreakerOptions::default(),
            lease_term: Duration::from_secs(6),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisStats {
    pub connected: bool,
    pub breaker: BreakerState,
    /// How many times a connection was made, since the start.
    pub connects: u64,
    pub timeouts: u64,
    /// Values that could not be read as the entry asked for; left alone, for they may be another
    /// version's.
    pub unreadable: u64,
}

/// The layer. It connects in the background; dropping it ends that.
#[derive(Debug)]
pub struct Redis {
    options: RedisOptions,
    clock: Clock,
    breaker: Arc<Breaker>,
    link: Link,
    turns: Semaphore,
    scripts: Scripts,
    leases: LeaseScripts,
    timeouts: AtomicU64,
    unreadable: AtomicU64,
}

impl Redis {
    /// Checks the settings and begins to connect; never waits for the server. Must be called
    /// within a tokio runtime.
    pub fn start(options: RedisOptions, clock: Clock) -> Result<Self, RedisSetupError> {
        let breaker = Arc::new(Breaker::new(options.breaker));
        Ok(Self {
            link: Link::start(&options, Arc::clone(&breaker))?,
            turns: Semaphore::new(options.max_in_flight.max(1)),
            options,
            clock,
            breaker,
            scripts: Scripts::new(),
            leases: LeaseScripts::new(),
            timeouts: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
        })
    }

    pub fn is_connected(&self) -> bool {
        self.link.connection().is_some()
    }

    pub fn stats(&self) -> RedisStats {
        RedisStats {
            connected: self.is_connected(),
            breaker: self.breaker.state(),
            connects: self.link.connects(),
            timeouts: self.timeouts.load(Ordering::Relaxed),
            unreadable: self.unreadable.load(Ordering::Relaxed),
        }
    }

    async fn look_up(&self, key: &CacheKey) -> Lookup {
        let name = self.server_key(key);
        let found: Result<Option<Vec<u8>>, _> = self
            .call(async |mut connection: Connection| {
                redis::cmd("GET")
                    .arg(&name)
                    .query_async(&mut connection)
                    .await
            })
            .await;
        let bytes = match found {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Lookup::Miss,
            Err(error) => return Lookup::Unavailable(error),
        };
        match script::sealed_part(&bytes).map(|sealed| sealed::open(sealed, key)) {
            Some(Ok(entry)) => Lookup::Hit(Arc::new(entry)),
            unreadable => {
                tracing::debug!(?unreadable, hash = ?key.hash(), "a value in Redis is not the entry asked for");
                self.unreadable.fetch_add(1, Ordering::Relaxed);
                Lookup::Miss
            }
        }
    }

    async fn store(&self, entry: &Entry) -> Result<Put, LayerError> {
        let name = self.server_key(&entry.key);
        let value = script::value(&entry.header, &sealed::seal(entry));
        let ttl = entry.header.keep_until.since(self.clock.now());
        let stored = self
            .call(async |mut connection: Connection| {
                self.scripts.put(&mut connection, &name, &value, ttl).await
            })
            .await?;
        Ok(if stored { Put::Stored } else { Put::KeptNewer })
    }

    async fn drop_entry(&self, key: &CacheKey, limit: &Header) -> Result<(), LayerError> {
        let name = self.server_key(key);
        let stamp = script::stamp(limit);
        self.call(async |mut connection: Connection| {
            self.scripts.remove(&mut connection, &name, &stamp).await
        })
        .await
    }

    /// One call: refused at once while the layer is away, bounded in time, and judged.
    async fn call<T, F>(&self, work: impl FnOnce(Connection) -> F) -> Result<T, LayerError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        // A burst of ours is no sign of a slow server: timed from its turn on, it opens no breaker,
        // and nothing is bought again for it. Away or open, the queue is refused as it moves up.
        let turn = tokio::time::timeout(self.options.max_wait, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            let capacity = self.options.max_in_flight;
            return Err(LayerError::Overloaded { capacity });
        };
        let Some(connection) = self.link.connection() else {
            return Err(LayerError::Away);
        };
        let pass = self.breaker.admit().ok_or(LayerError::BreakerOpen)?;
        let after = self.options.response_timeout;
        let answered = tokio::time::timeout(after, work(Connection::clone(&connection))).await;
        let Some(answered) = answered.ok().filter(|answered| !timed_out(answered)) else {
            self.timeouts.fetch_add(1, Ordering::Relaxed);
            if pass.failed() {
                // Maybe the path is dead rather than the server slow.
                self.link.broken(&connection);
            }
            return Err(LayerError::TimedOut { after });
        };
        match answered {
            Ok(value) => {
                pass.succeeded();
                Ok(value)
            }
            Err(error) => {
                if link::server_is_there(&error) {
                    pass.succeeded();
                } else {
                    pass.failed();
                    self.link.broken(&connection);
                }
                Err(LayerError::failed(error))
            }
        }
    }

    fn server_key(&self, key: &CacheKey) -> String {
        server_key(&self.options.key_prefix, key)
    }
}

fn server_key(prefix: &str, key: &CacheKey) -> String {
    let mut name = String::with_capacity(prefix.len() + 64);
    name.push_str(prefix);
    for byte in key.hash().0 {
        write!(name, "{byte:02x}").expect("writing to a string cannot fail");
    }
    name
}

impl Layer for Redis {
    fn name(&self) -> LayerName {
        LayerName::Redis
    }

    fn get<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Lookup> {
        self.look_up(key).boxed()
    }

    fn put<'a>(&'a self, entry: &'a Arc<Entry>) -> BoxFuture<'a, Result<Put, LayerError>> {
        self.store(entry).boxed()
    }

    fn remove<'a>(
        &'a self,
        key: &'a CacheKey,
        not_newer_than: &'a Header,
    ) -> BoxFuture<'a, Result<(), LayerError>> {
        self.drop_entry(key, not_newer_than).boxed()
    }
}

/// The cluster client has time-outs of its own.
fn timed_out<T>(answered: &RedisResult<T>) -> bool {
    answered.as_ref().is_err_and(RedisError::is_timeout)
}

#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;
