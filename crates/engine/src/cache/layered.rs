//! All layers as one: looked up in order, backfilled upward, filled together.
//!
//! [`Layers::memory_hit`] is the synchronous hit path; look-ups in slower layers go through
//! [`Layers::get_slow`]. A fill is in memory at once and counts as durable when disk or Redis has
//! acknowledged it; the other one goes on in the background, in a bounded set. A fill waits for
//! room in that set as long as the layer works, so a burst slows misses down but makes no answer
//! less durable.

mod writes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use wedcache_model::entry::Header;
use wedcache_model::{CacheKey, Entry, LayerName};

use self::writes::Durable;
use super::disk::{Disk, DiskStats};
use super::memory::{Memory, MemoryStats};
use super::redis::{Redis, RedisStats};
use super::{Layer, LayerError, Leases, Lookup, Put};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayeredOptions {
    /// Time without any reply to its writes after which a fill no longer waits for a layer. Default
    /// 2 s.
    pub fill_wait: Duration,
    /// Time that a fill still waits for the other durable layer, once one has acknowledged. Default
    /// 5 ms.
    pub grace: Duration,
    /// The most writes in flight to one layer, fills and backfills, whether or not somebody waits
    /// for them. A further fill waits for its turn; a further backfill is skipped. Default 1024.
    pub max_writes: u32,
}

impl Default for LayeredOptions {
    fn default() -> Self {
        Self {
            fill_wait: Duration::from_secs(2),
            grace: Duration::from_millis(5),
            max_writes: 1024,
        }
    }
}

/// The layers of one process.
pub struct Layers {
    memory: Option<Memory>,
    disk: Option<Arc<Disk>>,
    redis: Option<Arc<Redis>>,
    /// Disk and Redis, those that are configured, in look-up order.
    durable: Vec<Arc<Durable>>,
    leases: Option<Arc<dyn Leases>>,
    options: LayeredOptions,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    backfills_left_out: AtomicU64,
    late_failures: AtomicU64,
}

/// An entry and where it was found.
#[derive(Debug, Clone)]
pub struct LayerHit {
    pub layer: LayerName,
    pub entry: Arc<Entry>,
}

/// The reply of one layer to a look-up, for metrics.
#[derive(Debug, Clone)]
pub enum LookupOutcome {
    Hit,
    Miss,
    /// The layer had an entry that the judge did not accept.
    Refused,
    Unavailable(LayerError),
}

/// The outcome of a look-up in disk and Redis.
#[derive(Debug, Clone, Default)]
pub struct SlowLookup {
    /// The first entry that the judge accepted, by now also given to the layers above.
    pub hit: Option<LayerHit>,
    /// Entries that the judge refused, the newest fill first; they may still be served stale.
    pub refused: Vec<LayerHit>,
    /// The outcome of each layer that was asked, in order.
    pub outcomes: Vec<(LayerName, LookupOutcome)>,
}

/// The outcome of a fill, layer by layer.
#[derive(Debug, Clone, Default)]
pub struct FillOutcome {
    /// True if disk or Redis has acknowledged the fill: it survives a crash of this process. Never
    /// true if neither is configured ([`Layers::has_durable`]).
    pub durable: bool,
    pub stored_in: Vec<LayerName>,
    /// Layers that hold the same or a newer fill, which is as good.
    pub kept_newer_in: Vec<LayerName>,
    pub errors: Vec<(LayerName, LayerError)>,
    /// Layers that had not answered yet; their writes go on in the background.
    pub pending: Vec<LayerName>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LayeredStats {
    pub memory: Option<MemoryStats>,
    pub disk: Option<DiskStats>,
    pub redis: Option<RedisStats>,
    pub writes_in_flight: u64,
    /// Backfills skipped because too many writes were in flight.
    pub backfills_left_out: u64,
    /// Writes that failed after nobody waited for them any more.
    pub late_failures: u64,
}

impl Layers {
    pub fn new(
        memory: Option<Memory>,
        disk: Option<Disk>,
        redis: Option<Redis>,
        options: LayeredOptions,
    ) -> Self {
        let (disk, redis) = (disk.map(Arc::new), redis.map(Arc::new));
        let mut durable: Vec<Arc<dyn Layer>> = Vec::new();
        if let Some(disk) = &disk {
            durable.push(Arc::clone(disk) as _);
        }
        if let Some(redis) = &redis {
            durable.push(Arc::clone(redis) as _);
        }
        let leases = redis.as_ref().map(|redis| Arc::clone(redis) as _);
        Self {
            disk,
            redis,
            ..Self::of(memory, durable, leases, options)
        }
    }

    /// Creates layers from any durable layers, in look-up order, and from leases if they are
    /// shared.
    pub fn of(
        memory: Option<Memory>,
        durable: Vec<Arc<dyn Layer>>,
        leases: Option<Arc<dyn Leases>>,
        options: LayeredOptions,
    ) -> Self {
        let durable = durable
            .into_iter()
            .map(|layer| Durable::new(layer, options.max_writes as usize, options.fill_wait))
            .map(Arc::new)
            .collect();
        Self {
            memory,
            disk: None,
            redis: None,
            durable,
            leases,
            options,
            counters: Arc::default(),
        }
    }

    /// Returns the memory layer's entry of exactly this key; its freshness is not judged.
    #[inline]
    pub fn memory_hit(&self, key: &CacheKey) -> Option<Arc<Entry>> {
        self.memory.as_ref()?.get(key)
    }

    /// Returns the memory layer, for resizing it.
    pub fn memory(&self) -> Option<&Memory> {
        self.memory.as_ref()
    }

    /// Returns the leases, which record which of several instances calls the provider; `None` if
    /// the instances share no layer.
    pub fn leases(&self) -> Option<&dyn Leases> {
        self.leases.as_deref()
    }

    /// Returns true if a layer is configured that survives a crash.
    pub fn has_durable(&self) -> bool {
        !self.durable.is_empty()
    }

    /// Asks disk, then Redis, for an entry that `judge` accepts, and copies it to the layers above
    /// (to memory at once, to disk in the background). Cancel safe.
    pub async fn get_slow(
        &self,
        key: &CacheKey,
        judge: &(dyn Fn(&Header) -> bool + Sync),
    ) -> SlowLookup {
        let mut found = SlowLookup::default();
        for (index, Durable { layer, .. }) in self.durable.iter().map(|of| &**of).enumerate() {
            let name = layer.name();
            let outcome = match layer.get(key).await {
                Lookup::Miss => LookupOutcome::Miss,
                Lookup::Unavailable(error) => LookupOutcome::Unavailable(error),
                Lookup::Hit(entry) if judge(&entry.header) => {
                    self.backfill(&entry, &self.durable[..index]);
                    found.hit = Some(LayerHit { layer: name, entry });
                    LookupOutcome::Hit
                }
                Lookup::Hit(entry) => {
                    found.refuse(LayerHit { layer: name, entry });
                    LookupOutcome::Refused
                }
            };
            found.outcomes.push((name, outcome));
            if found.hit.is_some() {
                break;
            }
        }
        found
    }

    /// Keeps a fill everywhere: in memory at once, on disk and in Redis side by side. Returns when
    /// one of disk and Redis has acknowledged (and the other too, or its grace has passed), when
    /// all have failed, or when the remaining ones have stored nothing for `fill_wait`. If this
    /// future is cancelled, writes that have begun go on; where a fill must not be lost, run it in
    /// a separate task.
    pub async fn fill(&self, entry: Arc<Entry>) -> FillOutcome {
        let mut outcome = FillOutcome::default();
        if let Some(memory) = &self.memory {
            outcome.note(LayerName::Memory, Ok(memory.put(&entry)));
        }
        let mut waiting: Vec<&Arc<Durable>> = Vec::with_capacity(self.durable.len());
        let (answers, mut answered) = mpsc::channel(self.durable.len().max(1));
        // Side by side: a stalled layer must not delay another one's write.
        let mut rooms = FuturesUnordered::new();
        for layer in &self.durable {
            rooms.push(async move { (layer, layer.room().await) });
        }
        while let Some((layer, room)) = rooms.next().await {
            let room = match room {
                Ok(room) => room,
                Err(error) => {
                    outcome.note(layer.name(), Err(error));
                    continue;
                }
            };
            waiting.push(layer);
            let (layer, entry) = (Arc::clone(layer), Arc::clone(&entry));
            let (answers, counters) = (answers.clone(), Arc::clone(&self.counters));
            tokio::spawn(async move {
                let result = layer.put(&entry, room).await;
                let name = layer.name();
                // The channel has room for every layer's answer, so sending fails only if it is
                // closed.
                if let Err(unheard) = answers.try_send((name, result)) {
                    late(&counters, name, unheard.into_inner().1.err());
                }
            });
        }
        drop(rooms);
        // Without this sender the channel closes when the last write has ended.
        drop(answers);
        let mut grace = None;
        while !waiting.is_empty() {
            let works_until = || waiting.iter().map(|layer| layer.works_until()).max();
            let deadline = grace.or_else(works_until).unwrap_or_else(Instant::now);
            match timeout_at(deadline, answered.recv()).await {
                Ok(Some((name, result))) => {
                    waiting.retain(|layer| layer.name() != name);
                    if result.is_ok() {
                        outcome.durable = true;
                        grace.get_or_insert(Instant::now() + self.options.grace);
                    }
                    outcome.note(name, result);
                }
                Err(_) if grace.is_none() && works_until() > Some(deadline) => {}
                Ok(None) | Err(_) => break,
            }
        }
        outcome.pending = waiting.iter().map(|layer| layer.name()).collect();
        outcome
    }

    /// Drops the layers' entries for the key unless they are newer than `not_newer_than`.
    pub async fn remove(
        &self,
        key: &CacheKey,
        not_newer_than: &Header,
    ) -> Vec<(LayerName, LayerError)> {
        if let Some(memory) = &self.memory {
            memory.remove(key, not_newer_than);
        }
        let removals = self.durable.iter().map(|of| async move {
            let layer = &of.layer;
            let error = layer.remove(key, not_newer_than).await.err()?;
            Some((layer.name(), error))
        });
        join_all(removals).await.into_iter().flatten().collect()
    }

    /// Waits until all writes in flight have ended, then closes the disk, which refuses any writes
    /// that arrive meanwhile. Callers should bound this with a time-out.
    pub async fn close(&self) {
        join_all(self.durable.iter().map(|layer| layer.idle())).await;
        if let Some(disk) = &self.disk {
            disk.close().await;
        }
    }

    pub fn stats(&self) -> LayeredStats {
        LayeredStats {
            memory: self.memory.as_ref().map(Memory::stats),
            disk: self.disk.as_ref().map(|disk| disk.stats()),
            redis: self.redis.as_ref().map(|redis| redis.stats()),
            writes_in_flight: self.durable.iter().map(|of| of.on_their_way() as u64).sum(),
            backfills_left_out: self.counters.backfills_left_out.load(Ordering::Relaxed),
            late_failures: self.counters.late_failures.load(Ordering::Relaxed),
        }
    }

    fn backfill(&self, entry: &Arc<Entry>, above: &[Arc<Durable>]) {
        if let Some(memory) = &self.memory {
            memory.put(entry);
        }
        for layer in above {
            let Some(room) = layer.try_room() else {
                let left_out = &self.counters.backfills_left_out;
                left_out.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let (layer, entry) = (Arc::clone(layer), Arc::clone(entry));
            let counters = Arc::clone(&self.counters);
            tokio::spawn(async move {
                let result = layer.put(&entry, room).await;
                late(&counters, layer.name(), result.err());
            });
        }
    }
}

impl std::fmt::Debug for Layers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.durable.iter().map(|layer| layer.name()).collect();
        f.debug_struct("Layers")
            .field("memory", &self.memory.is_some())
            .field("durable", &names)
            .finish_non_exhaustive()
    }
}

impl SlowLookup {
    /// Adds a refused entry, keeping the newest fill first and, at equal age, the layer asked
    /// first.
    fn refuse(&mut self, hit: LayerHit) {
        let newer_than = |other: &LayerHit| hit.entry.header.is_newer_than(&other.entry.header);
        let at = self
            .refused
            .iter()
            .position(newer_than)
            .unwrap_or(self.refused.len());
        self.refused.insert(at, hit);
    }
}

impl FillOutcome {
    fn note(&mut self, layer: LayerName, result: Result<Put, LayerError>) {
        match result {
            Ok(Put::Stored) => self.stored_in.push(layer),
            Ok(Put::KeptNewer) => self.kept_newer_in.push(layer),
            Err(error) => self.errors.push((layer, error)),
        }
    }
}

fn late(counters: &Counters, layer: LayerName, error: Option<LayerError>) {
    if let Some(error) = error {
        counters.late_failures.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%error, layer = layer.as_str(), "a write in the background failed");
    }
}

#[cfg(test)]
mod tests;
