//! The layers that hold entries: memory, disk (sled) and Redis, behind one trait, and the look-up
//! through all of them.
//!
//! A layer does not consider freshness: it finds, keeps and drops entries by key and by the order
//! of their fills ([`Header::is_newer_than`]). The caller judges the header. A layer that is away
//! or slow answers [`Lookup::Unavailable`] within its time-outs and costs only its hits.
//!
//! Reading order: `sealed` (bytes ⇄ entries), [`breaker`], [`memory`], [`disk`], [`redis`],
//! [`layered`]; [`lease`] decides which of several instances calls the provider.

pub mod breaker;
pub mod disk;
pub mod layered;
pub mod lease;
pub mod memory;
pub mod redis;
mod sealed;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use wedcache_model::entry::Header;
use wedcache_model::{CacheKey, Entry, LayerName};

pub use breaker::{Breaker, BreakerOptions};
pub use disk::{Disk, DiskError, DiskOptions, DiskStats};
pub use layered::{
    FillOutcome, LayerHit, LayeredOptions, LayeredStats, Layers, LookupOutcome, SlowLookup,
};
pub use lease::{Claim, Claimed, Holder, Leases};
pub use memory::{Memory, MemoryOptions, MemoryStats};
pub use redis::{Redis, RedisOptions, RedisSetupError, RedisStats, Unreached};

/// The reply of a layer to a look-up.
#[derive(Debug, Clone)]
pub enum Lookup {
    Hit(Arc<Entry>),
    Miss,
    Unavailable(LayerError),
}

/// The outcome of a fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Stored,
    /// The layer already holds this fill or a newer one: an older flight never overwrites it.
    KeptNewer,
}

/// The reason why a layer could not do its work. Cheap to clone, so that one failed batch can
/// answer many callers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LayerError {
    /// The layer is not connected yet, or is being opened again.
    #[error("the layer is away")]
    Away,
    #[error("the layer's breaker is open after repeated failures")]
    BreakerOpen,
    #[error("no reply within {after:?}")]
    TimedOut { after: Duration },
    #[error("the queue is full: {capacity} calls at once, and others wait")]
    Overloaded { capacity: usize },
    #[error("the layer is shut down")]
    Closed,
    /// The store's own files are damaged; it is being rebuilt.
    #[error("the layer's state is corrupt: {detail}")]
    Corrupt { detail: Arc<str> },
    #[error("{source}")]
    Failed {
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
}

impl LayerError {
    fn failed(source: impl Error + Send + Sync + 'static) -> Self {
        Self::Failed {
            source: Arc::new(source),
        }
    }

    /// Returns a name from a closed set, for metric labels.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::BreakerOpen => "breaker_open",
            Self::TimedOut { .. } => "timeout",
            Self::Overloaded { .. } => "overloaded",
            Self::Closed => "closed",
            Self::Corrupt { .. } => "corrupt",
            Self::Failed { .. } => "failed",
        }
    }
}

/// A store of entries.
///
/// Cancel safety: dropping a future of `get` loses nothing; a dropped future of `put` or `remove`
/// may or may not have taken effect, and no other caller receives its reply.
pub trait Layer: Send + Sync {
    fn name(&self) -> LayerName;

    /// Looks up the entry of exactly this key, whatever its freshness.
    fn get<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Lookup>;

    /// Keeps the entry unless the same or a newer fill is held. Resolves once the entry would
    /// survive a crash of this process (memory: at once).
    fn put<'a>(&'a self, entry: &'a Arc<Entry>) -> BoxFuture<'a, Result<Put, LayerError>>;

    /// Drops the entry held under the key unless it is newer than `not_newer_than`.
    fn remove<'a>(
        &'a self,
        key: &'a CacheKey,
        not_newer_than: &'a Header,
    ) -> BoxFuture<'a, Result<(), LayerError>>;
}

#[cfg(test)]
mod naive;
