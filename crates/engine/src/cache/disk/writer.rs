//! The disk layer's one thread: all writes, in groups that share a flush, and the sweep between
//! them. No other thread writes, so comparing stamps and writing needs no lock.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use wedcache_model::entry::Header;
use wedcache_model::trouble::report::Purpose;
use wedcache_model::{Entry, KeyHash};

use super::open::{self, DiskError, Store};
use super::sweep::Sweep;
use super::{LayerError, Put, Shared, guarded, reason, sealed};

/// The longest wait for a write before the thread attends to the sweep and checks whether to end.
const TICK: Duration = Duration::from_millis(50);
/// The longest pause between attempts to open the folder, as a multiple of `reopen_after`.
const REOPEN_RANGE: u32 = 32;
/// Time that readers get to release a store that is to be closed.
const LET_GO: Duration = Duration::from_millis(200);

/// The channel that receives the result once the flush that covers the work is done.
pub(super) type Reply = oneshot::Sender<Result<Put, LayerError>>;

#[derive(Debug)]
pub(super) struct Command {
    pub(super) work: Work,
    /// `None` if nobody waits for the result.
    pub(super) reply: Option<Reply>,
}

#[derive(Debug)]
pub(super) enum Work {
    Put(Arc<Entry>),
    Remove {
        hash: KeyHash,
        not_newer_than: Box<Header>,
    },
    /// A reader met a value that has expired or is unreadable: drop it if that still holds.
    Recheck {
        hash: KeyHash,
    },
}

/// The value stored under a key hash.
struct Held {
    bytes: sled::IVec,
    header: Option<Header>,
}

/// Opens the folder, reports, and works until the layer is dropped or closed.
pub(super) fn run(
    shared: Arc<Shared>,
    commands: &Receiver<Command>,
    opened: oneshot::Sender<Result<(), DiskError>>,
) {
    let lock = match open::lock(&shared.options.path) {
        Ok(lock) => lock,
        Err(error) => return report(opened, Err(error)),
    };
    match open::open(&shared.options, &lock, shared.clock.now()) {
        Ok((store, rebuilt)) => {
            if rebuilt {
                shared.counters.rebuilds.fetch_add(1, Ordering::Relaxed);
            }
            shared.store.store(Some(Arc::new(store)));
        }
        Err(error) => return report(opened, Err(error)),
    }
    if opened.send(Ok(())).is_err() {
        tracing::warn!("the disk layer opened too late and is closed again");
        return;
    }
    let mut writer = Writer {
        sweep: Sweep::new(shared.options.sweep_per_sec),
        shared,
        lock,
        reopen_at: None,
        pause: Duration::ZERO,
        damaged: false,
    };
    writer.work(commands);
    writer.close();
}

fn report(opened: oneshot::Sender<Result<(), DiskError>>, result: Result<(), DiskError>) {
    if let Err(unheard) = opened.send(result) {
        tracing::warn!(?unheard, "the disk layer's opening ended after its time");
    }
}

struct Writer {
    shared: Arc<Shared>,
    lock: Arc<File>,
    sweep: Sweep,
    /// The time of the next attempt to open; `None` while there is a store.
    reopen_at: Option<Instant>,
    /// The pause that follows the next failed attempt.
    pause: Duration,
    /// True if the folder must be put aside before it is opened again.
    damaged: bool,
}

impl Writer {
    fn work(&mut self, commands: &Receiver<Command>) {
        let mut batch = Vec::with_capacity(self.shared.options.max_batch);
        loop {
            match commands.recv_timeout(TICK) {
                Ok(first) => {
                    batch.push(first);
                    let room = self.shared.options.max_batch.saturating_sub(1);
                    batch.extend(commands.try_iter().take(room));
                    let queued = &self.shared.counters.queued;
                    queued.fetch_sub(batch.len() as u64, Ordering::Relaxed);
                    self.write(batch.drain(..));
                }
                Err(RecvTimeoutError::Timeout) if self.shared.closing.load(Ordering::Acquire) => {
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.look_after();
        }
    }

    /// Applies a group of writes one by one, flushes once, then answers all of them. A single
    /// `sled::Batch` would block readers meanwhile, and the writes need not be atomic together.
    fn write(&mut self, batch: impl Iterator<Item = Command>) {
        let shared = Arc::clone(&self.shared);
        let Some(store) = shared.store.load_full() else {
            return batch.for_each(|command| answer(command.reply, Err(LayerError::Away)));
        };
        let Some(pass) = shared.breaker.admit() else {
            return batch.for_each(|command| answer(command.reply, Err(LayerError::BreakerOpen)));
        };
        let mut done = Vec::new();
        let mut failure = None;
        for command in batch {
            let applied = match &failure {
                None => self.apply(&store, command.work),
                Some(error) => Err(LayerError::clone(error)),
            };
            failure = applied.as_ref().err().cloned();
            done.push((command.reply, applied));
        }
        let flushed = guarded(|| store.db.flush());
        // Released now, because `give_up` may have to close the store.
        drop(store);
        if let Some(error) = failure.or(flushed.err()) {
            pass.failed();
            self.give_up(&error);
            for (reply, _) in done {
                answer(reply, Err(error.clone()));
            }
        } else {
            pass.succeeded();
            shared.reporter.worked(Purpose::Write);
            shared.counters.flushes.fetch_add(1, Ordering::Relaxed);
            for (reply, applied) in done {
                answer(reply, applied);
            }
        }
    }

    fn apply(&mut self, store: &Store, work: Work) -> Result<Put, LayerError> {
        match work {
            Work::Put(entry) => self.put(store, &entry),
            Work::Remove {
                hash,
                not_newer_than,
            } => {
                let newer = |header: &Header| header.is_newer_than(&not_newer_than);
                match held(store, hash)? {
                    Some(held) if !held.header.as_ref().is_some_and(newer) => {
                        self.remove(store, hash, held.bytes.len())
                    }
                    _ => Ok(Put::KeptNewer),
                }
            }
            Work::Recheck { hash } => self.recheck(store, hash),
        }
    }

    fn put(&mut self, store: &Store, entry: &Entry) -> Result<Put, LayerError> {
        let hash = entry.key.hash();
        let held = held(store, hash)?;
        let header = held.as_ref().and_then(|held| held.header.as_ref());
        if header.is_some_and(|held| !entry.header.is_newer_than(held)) {
            return Ok(Put::KeptNewer);
        }
        let bytes = sealed::seal(entry);
        let (old, new) = (held.map(|held| held.bytes.len()), bytes.len());
        guarded(|| store.db.insert(hash.0, bytes))?;
        self.sweep.changed(&self.shared, hash, old, Some(new));
        self.shared.counters.writes.fetch_add(1, Ordering::Relaxed);
        Ok(Put::Stored)
    }

    fn recheck(&mut self, store: &Store, hash: KeyHash) -> Result<Put, LayerError> {
        let Some(held) = held(store, hash)? else {
            return Ok(Put::KeptNewer);
        };
        let counters = &self.shared.counters;
        let reason = match sealed::open_stored(&held.bytes) {
            Ok(entry) if entry.header.keep_until >= self.shared.clock.now() => {
                return Ok(Put::KeptNewer);
            }
            Ok(_) => &counters.expired,
            Err(_) => &counters.unreadable,
        };
        reason.fetch_add(1, Ordering::Relaxed);
        self.remove(store, hash, held.bytes.len())
    }

    fn remove(&mut self, store: &Store, hash: KeyHash, len: usize) -> Result<Put, LayerError> {
        guarded(|| store.db.remove(hash.0))?;
        self.sweep.changed(&self.shared, hash, Some(len), None);
        Ok(Put::Stored)
    }

    /// Runs between writes: sweeps a little, or tries to open the store again.
    fn look_after(&mut self) {
        self.shared.reporter.settle();
        if self.shared.corrupt.swap(false, Ordering::Relaxed) {
            // The reader has already reported the corruption.
            self.damaged = true;
            self.close_for_now();
        }
        let Some(store) = self.shared.store.load_full() else {
            return self.reopen();
        };
        let swept = self.sweep.some(&self.shared, &store);
        // Released now, because `give_up` may have to close the store.
        drop(store);
        if let Err(error) = swept {
            self.give_up(&error);
        }
    }

    fn give_up(&mut self, error: &LayerError) {
        let failure = reason::failure(error);
        self.shared.reporter.failed(&failure, Purpose::Write);
        self.damaged |= matches!(error, LayerError::Corrupt { .. });
        self.close_for_now();
    }

    /// Closes the store for now: after a failure sled refuses everything until it is opened again.
    fn close_for_now(&mut self) {
        self.pause = self.shared.options.reopen_after;
        let pause = if self.damaged {
            Duration::ZERO
        } else {
            self.pause
        };
        self.reopen_at = Some(Instant::now() + pause);
        self.close();
    }

    fn reopen(&mut self) {
        if self.reopen_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let (options, now) = (&self.shared.options, self.shared.clock.now());
        let put_aside = self.damaged && options.path.exists();
        let result = if put_aside {
            open::quarantine(options, now).and_then(|()| open::open(options, &self.lock, now))
        } else {
            open::open(options, &self.lock, now)
        };
        match result {
            Ok((store, rebuilt)) => {
                if rebuilt || self.damaged {
                    self.shared
                        .counters
                        .rebuilds
                        .fetch_add(1, Ordering::Relaxed);
                }
                self.shared.reporter.worked(Purpose::Open);
                self.damaged = false;
                self.reopen_at = None;
                self.sweep.restart(&self.shared);
                self.shared.store.store(Some(Arc::new(store)));
                self.shared.breaker.probe_now();
            }
            Err(error) => {
                let failure = reason::not_open(&error);
                self.shared.reporter.failed(&failure, Purpose::Open);
                self.reopen_at = Some(Instant::now() + self.pause);
                self.pause = (self.pause * 2).min(self.shared.options.reopen_after * REOPEN_RANGE);
            }
        }
    }

    /// Takes the store from the readers and closes it. If a reader still holds the store after a
    /// short wait, that reader closes it; opening again then has to wait for sled's own lock.
    fn close(&mut self) {
        let Some(mut store) = self.shared.store.swap(None) else {
            return;
        };
        let until = Instant::now() + LET_GO;
        while Arc::get_mut(&mut store).is_none() && Instant::now() < until {
            std::thread::yield_now();
        }
        let closed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(store)));
        if closed.is_err() {
            tracing::warn!("sled panicked while it was closed");
        }
    }
}

fn held(store: &Store, hash: KeyHash) -> Result<Option<Held>, LayerError> {
    let bytes = guarded(|| store.db.get(hash.0))?;
    Ok(bytes.map(|bytes| Held {
        header: sealed::open_header(&bytes).ok(),
        bytes,
    }))
}

fn answer(reply: Option<Reply>, result: Result<Put, LayerError>) {
    // The receiver may be gone; the write took effect all the same.
    if let Some(Err(unheard)) = reply.map(|reply| reply.send(result)) {
        tracing::trace!(?unheard, "a write that nobody waited for any more");
    }
}
