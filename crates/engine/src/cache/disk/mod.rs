//! The disk layer: sled, as state that can be lost.
//!
//! One dedicated thread opens the folder, writes and sweeps (`writer`); reads run on the calling
//! thread. A failure of the folder costs only this layer's hits: a corrupt folder is put aside and
//! rebuilt (`open`); an operation that the machine refuses is retried.

mod open;
mod reason;
mod sweep;
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::future::{self, BoxFuture, FutureExt as _};
use tokio::sync::{oneshot, watch};

use wedcache_model::clock::Clock;
use wedcache_model::entry::Header;
use wedcache_model::trouble::report::{Purpose, Reporter};
use wedcache_model::trouble::{Pace, Trouble};
use wedcache_model::{CacheKey, Entry, KeyHash, LayerName};

use super::breaker::{Breaker, BreakerOptions};
use super::{Layer, LayerError, Lookup, Put, sealed};
use crate::circuit::CircuitState;

pub use open::DiskError;
use open::Store;
use reason::Reason;
use writer::{Command, Work};

/// Lazy removals are queued only while less than one n-th of the queue is in use.
const RECHECKS: usize = 4;

#[derive(Debug, Clone)]
pub struct DiskOptions {
    /// The folder; created if missing. `<path>.lock` beside it is held while the layer is open.
    pub path: PathBuf,
    /// The size of sled's page cache. Default 64 MiB.
    pub page_cache_bytes: u64,
    /// The most bytes that the stored entries may take together, keys and values. The files take
    /// more, five times that after a bulk load, and do not shrink. Beyond the bound the sweep
    /// evicts in key hash order, which is as good as random. Default 2 GiB.
    pub max_bytes: u64,
    /// The number of writes that may wait; one more is refused as overloaded. Default 1024.
    pub queue: usize,
    /// The most writes that share one flush. Default 256.
    pub max_batch: usize,
    /// The most time that opening may take, with sled's recovery. Default 30 s.
    pub open_timeout: Duration,
    /// Time from a failure until the folder is opened again. While opening fails, the time doubles,
    /// up to 32 times this value. Default 1 s.
    pub reopen_after: Duration,
    /// The number of corrupt folders that are kept beside the folder as `<path>.quarantine-<ms>`;
    /// older ones are deleted. Default 2.
    pub quarantines: usize,
    /// Entries that the background sweep examines per second. Its first round, which counts the
    /// entries, runs ten times as fast. Default 2000.
    pub sweep_per_sec: u32,
    pub breaker: BreakerOptions,
    /// The pace at which repeated failures are logged.
    pub pace: Pace,
}

impl DiskOptions {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            page_cache_bytes: 64 << 20,
            max_bytes: 2 << 30,
            queue: 1024,
            max_batch: 256,
            open_timeout: Duration::from_secs(30),
            reopen_after: Duration::from_secs(1),
            quarantines: 2,
            sweep_per_sec: 2000,
            breaker: BreakerOptions::default(),
            pace: Pace::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskStats {
    /// The number of entries; `None` until the sweep has completed its first round.
    pub entries: Option<u64>,
    /// Bytes of the entries counted so far, keys and values.
    pub entry_bytes: u64,
    /// Bytes that the files take, measured by the sweep every few seconds.
    pub file_bytes: u64,
    pub queued: u64,
    pub breaker: CircuitState,
    /// The number of times that the folder was found corrupt, put aside and rebuilt, since the
    /// start.
    pub rebuilds: u64,
    pub flushes: u64,
    pub writes: u64,
    /// Entries dropped because their `keep_until` had passed.
    pub expired: u64,
    /// Entries dropped because there was no room.
    pub evictions: u64,
    /// Values dropped because they could not be read as the entry that was asked for.
    pub unreadable: u64,
    /// The number of failures since the start, for every reason.
    pub failures: Vec<(&'static str, u64)>,
    /// The current trouble, if there is one.
    pub trouble: Option<Trouble>,
}

/// The open layer. Dropping it ends its thread, which first finishes the queued writes.
#[derive(Debug)]
pub struct Disk {
    shared: Arc<Shared>,
    queue: SyncSender<Command>,
    ended: watch::Receiver<bool>,
}

/// The state that readers and the writer's thread share.
#[derive(Debug)]
struct Shared {
    options: DiskOptions,
    clock: Clock,
    /// The open store; `None` while the folder is being opened again.
    store: ArcSwapOption<Store>,
    breaker: Breaker,
    reporter: Reporter<Reason>,
    closing: AtomicBool,
    /// True if a reader met corruption; the writer then rebuilds the folder.
    corrupt: AtomicBool,
    counters: Counters,
}

#[derive(Debug)]
struct Counters {
    /// The number of entries; −1 until it is known.
    entries: AtomicI64,
    entry_bytes: AtomicU64,
    file_bytes: AtomicU64,
    queued: AtomicU64,
    rebuilds: AtomicU64,
    flushes: AtomicU64,
    writes: AtomicU64,
    expired: AtomicU64,
    evictions: AtomicU64,
    unreadable: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            entries: AtomicI64::new(-1),
            entry_bytes: AtomicU64::default(),
            file_bytes: AtomicU64::default(),
            queued: AtomicU64::default(),
            rebuilds: AtomicU64::default(),
            flushes: AtomicU64::default(),
            writes: AtomicU64::default(),
            expired: AtomicU64::default(),
            evictions: AtomicU64::default(),
            unreadable: AtomicU64::default(),
        }
    }
}

impl Disk {
    /// Opens the folder on a dedicated thread, within `open_timeout`. A corrupt folder is put aside
    /// and rebuilt ([`Disk::was_rebuilt`]). After an error the program should go on without this
    /// layer, not stop.
    pub async fn open(options: DiskOptions, clock: Clock) -> Result<Self, DiskError> {
        let (open_timeout, path) = (options.open_timeout, options.path.clone());
        let (queue, commands) =
            std::sync::mpsc::sync_channel(options.queue + options.queue / RECHECKS + 1);
        let (ended_tx, ended) = watch::channel(false);
        let (opened_tx, opened) = oneshot::channel();
        let shared = Arc::new(Shared {
            breaker: Breaker::new(options.breaker),
            reporter: Reporter::new(
                words,
                path.display().to_string(),
                clock.clone(),
                options.pace,
            ),
            options,
            clock,
            store: ArcSwapOption::empty(),
            closing: AtomicBool::new(false),
            corrupt: AtomicBool::new(false),
            counters: Counters::default(),
        });
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("disk-layer".to_owned())
            .spawn(move || {
                writer::run(of_thread, &commands, opened_tx);
                ended_tx.send_replace(true);
            })
            .map_err(|source| DiskError::Io {
                path: path.clone(),
                source,
            })?;
        match tokio::time::timeout(open_timeout, opened).await {
            Ok(Ok(result)) => result?,
            Ok(Err(_)) => return Err(DiskError::Panicked { path }),
            // The thread ends by itself once it cannot deliver its report.
            Err(_) => {
                return Err(DiskError::TimedOut {
                    path,
                    after: open_timeout,
                });
            }
        }
        Ok(Self {
            shared,
            queue,
            ended,
        })
    }

    /// Looks the key up on the calling thread: a few microseconds from the page cache, otherwise
    /// one read from the disk.
    pub fn get_blocking(&self, key: &CacheKey) -> Lookup {
        let Some(pass) = self.shared.breaker.admit() else {
            return Lookup::Unavailable(LayerError::BreakerOpen);
        };
        let store = self.shared.store.load();
        let Some(store) = store.as_ref() else {
            return Lookup::Unavailable(LayerError::Away);
        };
        match read(store, key.hash()) {
            Ok(found) => {
                pass.succeeded();
                self.shared.reporter.worked(Purpose::Read);
                found.map_or(Lookup::Miss, |bytes| self.opened(key, &bytes))
            }
            Err(error) => {
                pass.failed();
                let failure = reason::failure(&error);
                self.shared.reporter.failed(&failure, Purpose::Read);
                if matches!(error, LayerError::Corrupt { .. }) {
                    self.shared.corrupt.store(true, Ordering::Relaxed);
                }
                Lookup::Unavailable(error)
            }
        }
    }

    /// Returns the current trouble, if there is one.
    pub fn trouble(&self) -> Option<Trouble> {
        let reads = self.shared.store.load().is_some()
            && self.shared.breaker.state() == CircuitState::Closed;
        self.shared.reporter.trouble(!reads)
    }

    /// Returns true if the folder was found corrupt and rebuilt empty, at the start or since.
    pub fn was_rebuilt(&self) -> bool {
        self.shared.counters.rebuilds.load(Ordering::Relaxed) > 0
    }

    pub fn stats(&self) -> DiskStats {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DiskStats {
            entries: u64::try_from(counters.entries.load(Ordering::Relaxed)).ok(),
            entry_bytes: read(&counters.entry_bytes),
            file_bytes: read(&counters.file_bytes),
            queued: read(&counters.queued),
            breaker: self.shared.breaker.state(),
            rebuilds: read(&counters.rebuilds),
            flushes: read(&counters.flushes),
            writes: read(&counters.writes),
            expired: read(&counters.expired),
            evictions: read(&counters.evictions),
            unreadable: read(&counters.unreadable),
            failures: self.shared.reporter.failures(),
            trouble: self.trouble(),
        }
    }

    /// Accepts no more writes, finishes the waiting ones, flushes, closes the folder and releases
    /// its lock. Callers should bound this with a time-out; cancelling it stops only the waiting.
    pub async fn close(&self) {
        self.shared.closing.store(true, Ordering::Release);
        let mut ended = self.ended.clone();
        // An error means that the thread has ended already.
        if ended.wait_for(|ended| *ended).await.is_err() {
            tracing::debug!("the disk layer's thread was gone already");
        }
    }

    fn opened(&self, key: &CacheKey, bytes: &[u8]) -> Lookup {
        match sealed::open(bytes, key) {
            Ok(entry) if entry.header.keep_until >= self.shared.clock.now() => {
                Lookup::Hit(Arc::new(entry))
            }
            // Expired: removed lazily.
            Ok(_) => {
                self.recheck(key.hash());
                Lookup::Miss
            }
            Err(error) => {
                tracing::debug!(%error, hash = ?key.hash(), "a stored value is not the entry asked for");
                self.recheck(key.hash());
                Lookup::Miss
            }
        }
    }

    /// Asks the writer to check the entry again. If many writes wait already, nothing is queued:
    /// the sweep will reach the entry.
    fn recheck(&self, hash: KeyHash) {
        let shared = &self.shared;
        let queued = shared.counters.queued.load(Ordering::Relaxed);
        if queued >= (shared.options.queue / RECHECKS) as u64 {
            return;
        }
        let command = Command {
            work: Work::Recheck { hash },
            reply: None,
        };
        if let Err(error) = self.send(command) {
            tracing::trace!(%error, "a lazy removal is left to the sweep");
        }
    }

    fn send(&self, command: Command) -> Result<(), LayerError> {
        if self.shared.closing.load(Ordering::Acquire) {
            return Err(LayerError::Closed);
        }
        let queued = &self.shared.counters.queued;
        queued.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(command).map_err(|error| {
            queued.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => LayerError::Overloaded {
                    capacity: self.shared.options.queue,
                },
                TrySendError::Disconnected(_) => LayerError::Closed,
            }
        })
    }

    /// Queues a write and waits for the flush that covers it. The writer reports failures of the
    /// disk itself; only this function can report that a write never reached the writer.
    async fn write(&self, work: Work) -> Result<Put, LayerError> {
        let (reply, replied) = oneshot::channel();
        let queued = self.send(Command {
            work,
            reply: Some(reply),
        });
        let lost = match queued {
            Ok(()) => match replied.await {
                Ok(written) => return written,
                Err(_) => LayerError::Closed,
            },
            Err(error) => error,
        };
        if !self.shared.closing.load(Ordering::Acquire) {
            let failure = reason::failure(&lost);
            self.shared.reporter.failed(&failure, Purpose::Write);
        }
        Err(lost)
    }
}

impl Layer for Disk {
    fn name(&self) -> LayerName {
        LayerName::Disk
    }

    /// Reads on the calling thread. Measured with 100 000 entries of 1.5 KB, decoding included: a
    /// hit took 8 µs at the median (17 µs by way of `spawn_blocking`), a miss 0.2 µs.
    fn get<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Lookup> {
        future::lazy(move |_| self.get_blocking(key)).boxed()
    }

    fn put<'a>(&'a self, entry: &'a Arc<Entry>) -> BoxFuture<'a, Result<Put, LayerError>> {
        self.write(Work::Put(Arc::clone(entry))).boxed()
    }

    fn remove<'a>(
        &'a self,
        key: &'a CacheKey,
        not_newer_than: &'a Header,
    ) -> BoxFuture<'a, Result<(), LayerError>> {
        let work = Work::Remove {
            hash: key.hash(),
            not_newer_than: Box::new(not_newer_than.clone()),
        };
        self.write(work).map(|done| done.map(drop)).boxed()
    }
}

/// Returns the word for a purpose in the log.
fn words(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Read => "lookups on disk fail",
        Purpose::Write => "fills on disk fail",
        Purpose::Open => "the disk layer's folder does not open",
    }
}

/// Reads one value; a panic inside sled (which a damaged file can cause) becomes corruption.
fn read(store: &Store, hash: KeyHash) -> Result<Option<sled::IVec>, LayerError> {
    guarded(|| store.db.get(hash.0))
}

fn guarded<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, LayerError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) if open::is_corruption(&error) => Err(LayerError::Corrupt {
            detail: error.to_string().into(),
        }),
        Ok(Err(error)) => Err(LayerError::failed(error)),
        Err(_) => Err(LayerError::Corrupt {
            detail: "sled panicked".into(),
        }),
    }
}

#[cfg(test)]
mod tests;
