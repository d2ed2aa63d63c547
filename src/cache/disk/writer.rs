//! The disk layer's one thread: all writes, in groups that share a flush, and the sweep between
//! them. Since nobody else writes, comparing stamps and writing needs no lock.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::open::{self, DiskError, Store};
use super::sweep::Sweep;
use super::{LayerError, Put, Shared, guarded, sealed};
use crate::model::entry::Header;
use crate::model::{Entry, KeyHash};

/// How long the thread waits for a write before it looks after the sweep and its own end.
const TICK: Duration = Duration::from_millis(50);
/// How long readers get to let go of a store that is to be closed.
const LET_GO: Duration = Duration::from_millis(200);

pub(super) type Reply<T> = oneshot::Sender<Result<T, LayerError>>;

#[derive(Debug)]
pub(super) enum Command {
    Put {
        entry: Arc<Entry>,
        reply: Reply<Put>,
    },
    Remove {
        hash: KeyHash,
        not_newer_than: Box<Header>,
        reply: Reply<()>,
    },
    /// A reader met a value that is past its time or not readable: drop it if that still holds.
    Recheck { hash: KeyHash },
}

/// A write that is done but for the flush.
enum Done {
    Put(Reply<Put>, Put),
    Remove(Reply<()>),
    Quietly,
}

/// Opens the folder, reports, and works until the layer is dropped or closed.
pub(super) fn run(
    shared: Arc<Shared>,
    commands: Receiver<Command>,
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
        damaged: false,
    };
    writer.work(&commands);
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
    /// When there is no store: the time of the next attempt.
    reopen_at: Option<Instant>,
    /// The folder is to be put aside before it is opened again.
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

    /// Applies a group of writes one by one, flushes once, then answers all. (Not as one
    /// `sled::Batch`: that locks readers out meanwhile, and the writes need not be atomic
    /// together.)
    fn write(&mut self, batch: impl Iterator<Item = Command>) {
        let shared = Arc::clone(&self.shared);
        let Some(store) = shared.store.load_full() else {
            return batch.for_each(|command| refuse(command, &LayerError::Away));
        };
        let Some(pass) = shared.breaker.admit() else {
            return batch.for_each(|command| refuse(command, &LayerError::BreakerOpen));
        };
        let mut done = Vec::new();
        let mut failure = None;
        for command in batch {
            let applied = match &failure {
                None => self.apply(&store, command),
                Some(error) => Err((command, LayerError::clone(error))),
            };
            match applied {
                Ok(one) => done.push(one),
                Err((command, error)) => {
                    refuse(command, &error);
                    failure = Some(error);
                }
            }
        }
        let flushed = guarded(|| store.db.flush());
        drop(store);
        match (failure, flushed) {
            (None, Ok(_)) => {
                pass.succeeded();
                shared.counters.flushes.fetch_add(1, Ordering::Relaxed);
                done.into_iter().for_each(Done::acknowledge);
            }
            (Some(error), _) | (None, Err(error)) => {
                done.into_iter().for_each(|one| one.refuse(&error));
                pass.failed();
                self.give_up(&error);
            }
        }
    }

    fn apply(&mut self, store: &Store, command: Command) -> Result<Done, (Command, LayerError)> {
        let now = self.shared.clock.now();
        let hash = match &command {
            Command::Put { entry, .. } => entry.key.hash(),
            Command::Remove { hash, .. } | Command::Recheck { hash } => *hash,
        };
        let old = match guarded(|| store.db.get(hash.0)) {
            Ok(old) => old,
            Err(error) => return Err((command, error)),
        };
        let header = old
            .as_ref()
            .and_then(|bytes| sealed::open_header(bytes).ok());
        let old_len = old.as_ref().map(|bytes| bytes.len());
        match command {
            Command::Put { entry, reply } => {
                if header.is_some_and(|held| !entry.header.is_newer_than(&held)) {
                    return Ok(Done::Put(reply, Put::KeptNewer));
                }
                let bytes = sealed::seal(&entry);
                let new_len = bytes.len();
                match guarded(|| store.db.insert(hash.0, bytes)) {
                    Ok(_) => {
                        self.sweep
                            .changed(&self.shared, hash, old_len, Some(new_len));
                        self.shared.counters.writes.fetch_add(1, Ordering::Relaxed);
                        Ok(Done::Put(reply, Put::Stored))
                    }
                    Err(error) => Err((Command::Put { entry, reply }, error)),
                }
            }
            Command::Remove {
                hash,
                not_newer_than,
                reply,
            } => {
                let keep = header.is_some_and(|held| held.is_newer_than(&not_newer_than));
                match self.drop_unless(store, hash, keep, old_len) {
                    Ok(()) => Ok(Done::Remove(reply)),
                    Err(error) => Err((
                        Command::Remove {
                            hash,
                            not_newer_than,
                            reply,
                        },
                        error,
                    )),
                }
            }
            Command::Recheck { hash } => {
                let counters = &self.shared.counters;
                let readable = old.as_ref().map(|bytes| Entry::decode(bytes).is_ok());
                let keep = match (&header, readable) {
                    (Some(header), Some(true)) if header.keep_until >= now => true,
                    (_, Some(true)) => {
                        counters.expired.fetch_add(1, Ordering::Relaxed);
                        false
                    }
                    (_, Some(false)) => {
                        counters.unreadable.fetch_add(1, Ordering::Relaxed);
                        false
                    }
                    (_, None) => true,
                };
                self.drop_unless(store, hash, keep, old_len)
                    .map(|()| Done::Quietly)
                    .map_err(|error| (Command::Recheck { hash }, error))
            }
        }
    }

    fn drop_unless(
        &mut self,
        store: &Store,
        hash: KeyHash,
        keep: bool,
        old_len: Option<usize>,
    ) -> Result<(), LayerError> {
        if keep || old_len.is_none() {
            return Ok(());
        }
        guarded(|| store.db.remove(hash.0))?;
        self.sweep.changed(&self.shared, hash, old_len, None);
        Ok(())
    }

    /// Between writes: sweeps a little, or brings the store back.
    fn look_after(&mut self) {
        if self.shared.corrupt.swap(false, Ordering::Relaxed) {
            self.give_up(&LayerError::Corrupt {
                detail: "met by a reader".into(),
            });
        }
        let Some(store) = self.shared.store.load_full() else {
            return self.reopen();
        };
        let swept = self.sweep.some(&self.shared, &store);
        drop(store);
        if let Err(error) = swept {
            self.give_up(&error);
        }
    }

    /// After a failure sled refuses everything until it is opened again.
    fn give_up(&mut self, error: &LayerError) {
        self.damaged |= matches!(error, LayerError::Corrupt { .. });
        tracing::warn!(%error, "the disk layer is closed for now and will be opened again");
        self.reopen_at = Some(if self.damaged {
            Instant::now()
        } else {
            Instant::now() + self.shared.options.reopen_after
        });
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
                tracing::info!(
                    rebuilt = rebuilt || self.damaged,
                    "the disk layer is open again"
                );
                self.damaged = false;
                self.reopen_at = None;
                self.sweep.restart(&self.shared);
                self.shared.store.store(Some(Arc::new(store)));
                self.shared.breaker.probe_now();
            }
            Err(error) => {
                tracing::warn!(%error, "the disk layer does not open yet");
                self.reopen_at = Some(Instant::now() + self.shared.options.reopen_after);
            }
        }
    }

    /// Takes the store from the readers and closes it. One that a reader still holds after a
    /// while is closed by that reader; opening again then has to wait for sled's own lock.
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

impl Done {
    fn acknowledge(self) {
        match self {
            // Nobody may be waiting any more; the write stands all the same.
            Self::Put(reply, put) => drop(reply.send(Ok(put))),
            Self::Remove(reply) => drop(reply.send(Ok(()))),
            Self::Quietly => {}
        }
    }

    fn refuse(self, error: &LayerError) {
        match self {
            Self::Put(reply, _) => drop(reply.send(Err(error.clone()))),
            Self::Remove(reply) => drop(reply.send(Err(error.clone()))),
            Self::Quietly => {}
        }
    }
}

fn refuse(command: Command, error: &LayerError) {
    match command {
        Command::Put { reply, .. } => drop(reply.send(Err(error.clone()))),
        Command::Remove { reply, .. } => drop(reply.send(Err(error.clone()))),
        Command::Recheck { .. } => {}
    }
}
