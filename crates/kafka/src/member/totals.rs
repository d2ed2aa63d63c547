//! The work in flight on all partitions of a member, and the poll thread's wait for room.

use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The records in flight on all partitions of one member, and the counts of finished and abandoned
/// tickets.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(super) records: AtomicUsize,
    pub(super) bytes: AtomicU64,
    pub(super) finished: AtomicU64,
    pub(super) finished_late: AtomicU64,
    pub(super) abandoned: AtomicU64,
    /// Notified when `records` falls to zero.
    pub(super) empty: tokio::sync::Notify,
    relief: Relief,
}

/// The place where the poll thread waits for work in flight to be finished.
#[derive(Debug, Default)]
struct Relief {
    waits: AtomicBool,
    lock: Mutex<()>,
    finished: Condvar,
}

impl Totals {
    /// Subtracts tickets that are gone, and wakes those who wait for that.
    pub(super) fn subtract(&self, tickets: usize, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if self.records.fetch_sub(tickets, Ordering::AcqRel) == tickets {
            self.empty.notify_waiters();
        }
        self.relieve();
    }

    /// Waits for as long as `crowded` returns true, at most for `patience`.
    pub(super) fn wait_while(&self, crowded: impl Fn() -> bool, patience: Duration) {
        let Relief {
            waits,
            lock,
            finished,
        } = &self.relief;
        waits.store(true, Ordering::SeqCst);
        let mut guard = lock.lock();
        finished.wait_while_for(&mut guard, |()| crowded(), patience);
        drop(guard);
        waits.store(false, Ordering::SeqCst);
    }

    fn relieve(&self) {
        if self.relief.waits.load(Ordering::SeqCst) {
            // Under the lock, so that the notice cannot fall between the waiter's look and its
            // sleep.
            let lock = self.relief.lock.lock();
            self.relief.finished.notify_all();
            drop(lock);
        }
    }
}
