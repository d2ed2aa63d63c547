//! The Redis layer: shared between instances, on a single node or a cluster.
//!
//! Values are kept under `<prefix><64 hexadecimal digits of the key's hash>` with a TTL up to
//! `keep_until`. A value starts with 33 bytes that the `script` compares on the server, so that
//! an older fill never replaces a newer one, whichever instance writes:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 1 | version, 1 |
//! | 1 | 16 | log id |
//! | 17 | 8 | stamp, big-endian with the sign bit flipped: bytes compare as numbers do |
//! | 25 | 8 | call began (ms), in the same form |
//! | 33 | | the sealed entry |
//!
//! While an instance calls the provider, its `lease` is kept beside the entry under
//! `<prefix>lease:<hash>`.
//!
//! An error reply is a failure like a broken connection: `reason` defines the meaning of every
//! code, the reporter counts and logs it, `breakers` keep reads and writes apart, and `link`
//! replaces the connection where another server may answer better.
//!
//! A call that is cancelled or runs out of time leaves nothing behind for the next caller: the
//! client's driver task keeps a queue of the requests in flight, each with its own channel, and
//! takes every reply off the wire for the request at the queue's front, whether or not somebody
//! still waits for it (redis 1.8.1, `aio/multiplexed_connection.rs`: `send_result`). The key that
//! is compared on every read is the second guard.

mod breakers;
mod connect;
mod failure;
mod lease;
mod link;
mod reason;
mod reply;
mod script;

use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use redis::{RedisResult, Value};
use secrecy::SecretString;
use tokio::sync::Semaphore;

use wedcache_model::clock::Clock;
use wedcache_model::entry::{EntryError, Header};
use wedcache_model::trouble::report::{self, Purpose, Reporter};
use wedcache_model::trouble::{Pace, Trouble};
use wedcache_model::{CacheKey, Entry, LayerName};

use super::breaker::BreakerOptions;
use super::sealed::{self, OpenError};
use super::{Layer, LayerError, Lookup, Put};
use crate::circuit::CircuitState;

use breakers::Breakers;
pub use connect::RedisSetupError;
use connect::{Connection, Target};
use failure::{Failure, Secrets};
use lease::LeaseScripts;
use link::{Link, Manner};
use reason::{Reach, Reason};
use reply::Reply;
use script::Scripts;

#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// The addresses, `redis://` or `rediss://` (TLS; the process must have installed a rustls
    /// provider). For a cluster, some of its nodes; otherwise exactly one.
    pub urls: Vec<SecretString>,
    pub cluster: bool,
    /// The prefix of the layer's keys. Default `wedcache:`.
    pub key_prefix: String,
    /// The most time that connecting may take, with the handshake. Default 500 ms.
    pub connect_timeout: Duration,
    /// The most time that one call may take. Default 50 ms.
    pub response_timeout: Duration,
    /// The first and the longest pause between attempts to connect. Default 50 ms and 2 s.
    pub reconnect_after: (Duration, Duration),
    /// The most calls in flight; more wait for their turn, and their time-out begins when they get
    /// it. Default 64, few enough for a healthy Redis to answer all of them within 20 ms.
    pub max_in_flight: usize,
    /// The longest time that a call waits for its turn. Default 10 s: while the queue moves,
    /// waiting is worth it, because the answer to be found has been paid for and a model would take
    /// as long.
    pub max_wait: Duration,
    pub breaker: BreakerOptions,
    /// Time after which a lease that is not renewed ends. Default 6 s, as long as Kafka takes to
    /// notice that its holder is gone.
    pub lease_term: Duration,
    /// The pace at which repeated failures are logged.
    pub pace: Pace,
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
            pace: Pace::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisStats {
    pub connected: bool,
    /// The worst state of the breakers; reads and writes have one each.
    pub breaker: CircuitState,
    /// The number of connections made since the start.
    pub connects: u64,
    /// The number of calls and attempts to connect that have failed since the start, for every
    /// reason.
    pub failures: Vec<(&'static str, u64)>,
    /// The current trouble, if there is one.
    pub trouble: Option<Trouble>,
}

/// The Redis layer. It connects in the background until it is dropped.
#[derive(Debug)]
pub struct Redis {
    options: RedisOptions,
    clock: Clock,
    breakers: Arc<Breakers>,
    reporter: Arc<Reporter<Reason>>,
    secrets: Arc<Secrets>,
    link: Link,
    turns: Semaphore,
    scripts: Scripts,
    leases: LeaseScripts,
}

/// The reason why a Redis cannot be reached; without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Unreached {
    /// The address; empty if the settings have none.
    pub address: String,
    pub error: String,
    /// The meaning of the error and the advice.
    pub advice: &'static str,
}

impl Redis {
    /// Checks the settings and begins to connect; never waits for the server. Must be called
    /// within a tokio runtime.
    pub fn start(options: RedisOptions, clock: Clock) -> Result<Self, RedisSetupError> {
        let target = Target::of(&options)?;
        let breakers = Arc::new(Breakers::new(options.breaker));
        let secrets = Arc::new(target.secrets());
        let (location, pace) = (target.address(), options.pace);
        let reporter = Arc::new(Reporter::new(words, location, clock.clone(), pace));
        let manner = Manner {
            connect_timeout: options.connect_timeout,
            pauses: options.reconnect_after,
            quiet: options.pace.quiet,
            secrets: Arc::clone(&secrets),
        };
        Ok(Self {
            link: Link::start(target, manner, Arc::clone(&breakers), Arc::clone(&reporter)),
            turns: Semaphore::new(options.max_in_flight.max(1)),
            options,
            clock,
            breakers,
            reporter,
            secrets,
            scripts: Scripts::new(),
            leases: LeaseScripts::new(),
        })
    }

    /// Connects once and returns the server's address; waits at most `connect_timeout`. The layer's
    /// rights are not tested: nothing is written.
    pub async fn reach(options: &RedisOptions) -> Result<String, Unreached> {
        let target = Target::of(options).map_err(|error| Unreached {
            address: String::new(),
            error: error.to_string(),
            advice: "correct the address",
        })?;
        let address = target.address();
        let patience = options.connect_timeout;
        let unreached = |failure: Failure| Unreached {
            address: address.clone(),
            error: failure.text.to_string(),
            advice: report::Reason::advice(failure.reason),
        };
        let secrets = target.secrets();
        match tokio::time::timeout(patience, target.connect(&secrets)).await {
            Ok(Ok(_)) => Ok(address),
            Ok(Err(failure)) => Err(unreached(failure)),
            Err(_) => {
                let text = format!("no connection within {patience:?}");
                Err(unreached(Failure::new(Reason::Timeout, &text)))
            }
        }
    }

    pub fn is_connected(&self) -> bool {
        self.link.connection().is_some()
    }

    /// Returns the current trouble, if there is one.
    pub fn trouble(&self) -> Option<Trouble> {
        let reads = self.is_connected() && self.breakers.let_reads();
        self.reporter.trouble(!reads)
    }

    pub fn stats(&self) -> RedisStats {
        RedisStats {
            connected: self.is_connected(),
            breaker: self.breakers.state(),
            connects: self.link.connects(),
            failures: self.reporter.failures(),
            trouble: self.trouble(),
        }
    }

    async fn look_up(&self, key: &CacheKey) -> Lookup {
        let name = self.server_key(key);
        let get = async |mut connection: Connection| {
            let mut get = redis::cmd("GET");
            get.arg(&name).query_async(&mut connection).await
        };
        let bytes = match self.call(Purpose::Read, get).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Lookup::Miss,
            Err(error) => return Lookup::Unavailable(error),
        };
        match script::sealed_part(&bytes).map(|sealed| sealed::open(sealed, key)) {
            Some(Ok(entry)) => Lookup::Hit(Arc::new(entry)),
            // Written by an instance of another version, which shares Redis during an upgrade.
            Some(Err(OpenError::Unreadable(EntryError::Version { .. }))) => Lookup::Miss,
            unreadable => {
                tracing::debug!(?unreadable, hash = ?key.hash(), "a value in Redis is not the entry asked for");
                // Not removed, because another version may have written it.
                let failure = Failure::new(Reason::Unreadable, "not the entry asked for");
                self.reporter.failed(&failure, Purpose::Read);
                Lookup::Miss
            }
        }
    }

    async fn store(&self, entry: &Entry) -> Result<Put, LayerError> {
        let name = self.server_key(&entry.key);
        let value = script::value(&entry.header, &sealed::seal(entry));
        let ttl = entry.header.keep_until.since(self.clock.now());
        let put = async |mut connection: Connection| {
            self.scripts.put(&mut connection, &name, &value, ttl).await
        };
        let stored = self.call(Purpose::Write, put).await?;
        Ok(if stored { Put::Stored } else { Put::KeptNewer })
    }

    async fn drop_entry(&self, key: &CacheKey, limit: &Header) -> Result<(), LayerError> {
        let name = self.server_key(key);
        let stamp = script::stamp(limit);
        let remove = async |mut connection: Connection| {
            self.scripts.remove(&mut connection, &name, &stamp).await
        };
        self.call(Purpose::Write, remove).await
    }

    /// Makes one call: refuses it at once while the layer is away, bounds its time, reads its reply
    /// strictly and judges its failure.
    async fn call<T: Reply, F>(
        &self,
        purpose: Purpose,
        work: impl FnOnce(Connection) -> F,
    ) -> Result<T, LayerError>
    where
        F: Future<Output = RedisResult<Value>>,
    {
        // The time-out begins when the call gets its turn, so our own burst opens no breaker and
        // causes no second call to the provider. While the layer is away or a breaker is open,
        // calls are refused as the queue moves up.
        let turn = tokio::time::timeout(self.options.max_wait, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            let failure = Failure::new(Reason::Overloaded, "no turn in time");
            self.reporter.failed(&failure, purpose);
            let capacity = self.options.max_in_flight;
            return Err(LayerError::Overloaded { capacity });
        };
        let Some(connection) = self.link.connection() else {
            return Err(LayerError::Away);
        };
        let leave = self
            .breakers
            .admit(purpose)
            .ok_or(LayerError::BreakerOpen)?;
        let after = self.options.response_timeout;
        let answered = tokio::time::timeout(after, work(Connection::clone(&connection))).await;
        let failure = match answered {
            Ok(Ok(reply)) => match T::read(reply) {
                Some(value) => {
                    leave.succeeded();
                    self.reporter.worked(purpose);
                    return Ok(value);
                }
                None => Failure::new(Reason::Protocol, "not a reply to what was asked"),
            },
            Ok(Err(error)) => self.secrets.failure(&error),
            Err(_) => Failure::new(Reason::Timeout, &format!("no reply within {after:?}")),
        };
        let opened = leave.failed(failure.reason.reach());
        self.heed(&failure, purpose, (&connection, opened));
        Err(match failure.reason {
            Reason::Timeout => LayerError::TimedOut { after },
            _ => LayerError::failed(failure),
        })
    }

    /// Reports a failed call and has its connection replaced where that may help.
    fn heed(
        &self,
        failure: &Failure,
        purpose: Purpose,
        (connection, opened): (&Arc<Connection>, bool),
    ) {
        // Reported as a failure to open, so that the trouble ends as soon as there is a connection
        // again, whether or not a call is made on it.
        let purpose = match failure.reason {
            Reason::Connection => Purpose::Open,
            _ => purpose,
        };
        // A single late reply is not worth a log line; many of them open the breaker.
        if failure.reason == Reason::Timeout && !opened {
            self.reporter.count(failure, purpose);
        } else {
            self.reporter.failed(failure, purpose);
        }
        let cluster = self.options.cluster;
        if !failure.reason.renews(cluster, opened) {
            return;
        }
        if failure.reason.reach() == Reach::Path && !cluster {
            // The path may be dead rather than the server slow.
            self.link.broken(connection);
        } else {
            // Until there is a better connection, this server keeps doing what it still can; in a
            // cluster the other nodes are fine.
            self.link.renew(connection);
        }
    }

    fn server_key(&self, key: &CacheKey) -> String {
        server_key(&self.options.key_prefix, key)
    }
}

/// Returns the word for a purpose in the log.
fn words(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Read => "lookups in Redis fail",
        Purpose::Write => "fills and leases in Redis fail",
        Purpose::Open => "no connection to Redis",
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

#[cfg(test)]
mod tests;
