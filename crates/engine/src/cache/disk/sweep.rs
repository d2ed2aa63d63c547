//! The sweep: goes through the folder in key order, a little at a time, counts the entries and
//! drops those that have expired or for which there is no room.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use wedcache_model::KeyHash;

use super::open::Store;
use super::{LayerError, Shared, guarded, sealed};

/// The most entries that are examined between two groups of writes.
const CHUNK: usize = 1024;
/// The factor by which the first round is faster: until it is complete, the size of the folder is
/// unknown and `max_bytes` cannot be enforced.
const FIRST_ROUND_SPEED: u128 = 10;
/// The longest time that a chunk may take.
const SLICE: Duration = Duration::from_millis(2);
const MEASURE_FILES_EVERY: Duration = Duration::from_secs(5);

/// The progress of the current round. Only the writer's thread changes the folder, so the counts
/// are exact once the first round is complete.
pub(super) struct Sweep {
    per_sec: u32,
    last: Instant,
    files_measured: Option<Instant>,
    /// The first key that this round has not examined yet.
    cursor: Vec<u8>,
    /// True during the first round, which counts; later rounds only drop.
    counting: bool,
    entries: u64,
    bytes: u64,
}

impl Sweep {
    pub(super) fn new(per_sec: u32) -> Self {
        Self {
            per_sec,
            last: Instant::now(),
            files_measured: None,
            cursor: Vec::new(),
            counting: true,
            entries: 0,
            bytes: 0,
        }
    }

    /// Starts again with another folder.
    pub(super) fn restart(&mut self, shared: &Shared) {
        *self = Self::new(self.per_sec);
        self.publish(shared);
    }

    /// Records one write: the lengths of the value before and after.
    pub(super) fn changed(
        &mut self,
        shared: &Shared,
        hash: KeyHash,
        old: Option<usize>,
        new: Option<usize>,
    ) {
        // The first round will count this key when it gets there.
        if self.counting && hash.0.as_slice() >= self.cursor.as_slice() {
            return;
        }
        if let Some(len) = old {
            self.forget(len);
        }
        if let Some(len) = new {
            self.count(len);
        }
        self.publish(shared);
    }

    /// Examines as many entries as the rate allows by now, at most one chunk; always a full chunk
    /// while there is no room.
    pub(super) fn some(&mut self, shared: &Shared, store: &Store) -> Result<(), LayerError> {
        self.measure_files(shared, store);
        let over = self.bytes > shared.options.max_bytes;
        let speed = if self.counting { FIRST_ROUND_SPEED } else { 1 };
        let rate = u128::from(self.per_sec) * speed;
        let allowed = self.last.elapsed().as_micros() * rate / 1_000_000;
        let chunk = match usize::try_from(allowed) {
            _ if over => CHUNK,
            Ok(0) => return Ok(()),
            allowed => allowed.map_or(CHUNK, |allowed| allowed.min(CHUNK)),
        };
        self.last = Instant::now();
        let round = guarded(|| self.chunk(shared, store, chunk))?;
        if round == Round::Complete {
            self.cursor.clear();
            self.counting = false;
        }
        self.publish(shared);
        Ok(())
    }

    fn chunk(&mut self, shared: &Shared, store: &Store, chunk: usize) -> sled::Result<Round> {
        let (now, began) = (shared.clock.now(), Instant::now());
        for found in store.db.range(self.cursor.clone()..).take(chunk) {
            let (key, value) = found?;
            if self.counting {
                self.count(value.len());
            }
            self.cursor.clear();
            self.cursor.extend_from_slice(&key);
            // The next key in order is this one followed by a zero byte.
            self.cursor.push(0);
            let counters = &shared.counters;
            let reason = match sealed::open_header(&value) {
                Err(_) => Some(&counters.unreadable),
                Ok(header) if header.keep_until < now => Some(&counters.expired),
                Ok(_) if self.bytes > shared.options.max_bytes => Some(&counters.evictions),
                Ok(_) => None,
            };
            if let Some(counter) = reason {
                store.db.remove(&key)?;
                counter.fetch_add(1, Ordering::Relaxed);
                self.forget(value.len());
            }
            if began.elapsed() > SLICE {
                return Ok(Round::Goes);
            }
        }
        // One more look-up is cheaper than detecting whether the range ended exactly here.
        Ok(if store.db.range(self.cursor.clone()..).next().is_none() {
            Round::Complete
        } else {
            Round::Goes
        })
    }

    fn measure_files(&mut self, shared: &Shared, store: &Store) {
        if self
            .files_measured
            .is_some_and(|at| at.elapsed() < MEASURE_FILES_EVERY)
        {
            return;
        }
        self.files_measured = Some(Instant::now());
        match guarded(|| store.db.size_on_disk()) {
            Ok(bytes) => shared.counters.file_bytes.store(bytes, Ordering::Relaxed),
            Err(error) => tracing::debug!(%error, "the disk layer's files cannot be measured"),
        }
    }

    fn count(&mut self, value_len: usize) {
        self.entries += 1;
        self.bytes += (size_of::<KeyHash>() + value_len) as u64;
    }

    fn forget(&mut self, value_len: usize) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self
            .bytes
            .saturating_sub((size_of::<KeyHash>() + value_len) as u64);
    }

    fn publish(&self, shared: &Shared) {
        let entries = if self.counting {
            -1
        } else {
            i64::try_from(self.entries).unwrap_or(i64::MAX)
        };
        shared.counters.entries.store(entries, Ordering::Relaxed);
        shared
            .counters
            .entry_bytes
            .store(self.bytes, Ordering::Relaxed);
    }
}

#[derive(PartialEq, Eq)]
enum Round {
    Goes,
    Complete,
}
