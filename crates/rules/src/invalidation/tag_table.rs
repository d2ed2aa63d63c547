//! This instance's view of the invalidation log: each tag's last purge and last refresh.
//!
//! One thread applies the log; any thread judges. Judging an entry whose tags no change has touched
//! costs one atomic load per tag: a filter of offsets shows without a lock that no record is newer
//! than the stamp, and only if it cannot does the exact table decide.
//!
//! Positions are the clock: an entry stamped `s` is valid at a view `v` ⇔ no record in `[s, v)`
//! hits one of its tags. No wall clock is involved: when the table forgets a tag (because memory is
//! bounded, or because the tag is older than any entry can be), it raises the floor below which
//! stamps are void.

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};
use std::time::Duration;

use arc_swap::ArcSwap;

use wedcache_model::entry::Header;
use wedcache_model::{LogId, Mode, Position, TagHash, Timestamp};

#[derive(Debug, Clone)]
pub struct TagTableOptions {
    /// The slots of the lock-free filter, 8 bytes each; rounded up to a power of two.
    pub filter_slots: usize,
    /// The most tags kept; the oldest are dropped first, and entries stamped before them are void.
    pub max_tags: usize,
    /// The most log records kept for judging the waiters of open flights exactly.
    pub max_recent: usize,
    /// The age of a tag's last record at which the tag is dropped: no entry lives longer.
    pub keep: Duration,
}

impl Default for TagTableOptions {
    fn default() -> Self {
        Self {
            filter_slots: 1 << 17,
            max_tags: 4_000_000,
            max_recent: 65_536,
            keep: Duration::from_hours(72),
        }
    }
}

/// The verdict of the log on an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    Valid,
    /// To be refilled; may be served stale. `at` is the time of the log's record.
    Refreshed {
        at: Timestamp,
    },
    /// Never to be served again.
    Purged,
    /// The stamp cannot be judged: it belongs to another log, or is below the floor.
    Void,
}

/// One record of the log in the table's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    pub offset: i64,
    pub tag: TagHash,
    pub mode: Mode,
    pub at: Timestamp,
}

#[derive(Debug)]
pub struct TagTable {
    options: TagTableOptions,
    /// [`TagTableOptions::keep`], as policies with longer lives have raised it.
    keep_ms: AtomicU64,
    /// Per slot the last offset of any record whose tag falls into the slot, −1 for none.
    filter: Box<[AtomicI64]>,
    /// The next offset to be applied.
    position: AtomicI64,
    /// The position below which stamps are void.
    floor: AtomicI64,
    log_id: ArcSwap<LogId>,
    /// The number of beginnings and ends of resets: odd during a reset. A judge without the lock
    /// reads it before and after, because in a filter that is being cleared no tag has a record.
    resets: AtomicU64,
    exact: RwLock<Exact>,
}

#[derive(Debug, Default)]
struct Exact {
    tags: HashMap<TagHash, Last, BuildHasherDefault<PassHasher>>,
    /// The stamps of the open flights, with the number of flights of each.
    open: BTreeMap<i64, usize>,
    /// The records since the oldest open stamp, or since `recent_from` if that is later.
    recent: VecDeque<(i64, TagHash)>,
    recent_from: i64,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    purge: i64,
    refresh: i64,
    at: Timestamp,
}

impl TagTable {
    pub fn new(options: TagTableOptions) -> Self {
        let slots = options.filter_slots.max(1).next_power_of_two();
        Self {
            filter: (0..slots).map(|_| AtomicI64::new(-1)).collect(),
            keep_ms: AtomicU64::new(millis(options.keep)),
            options,
            position: AtomicI64::new(0),
            floor: AtomicI64::new(0),
            log_id: ArcSwap::from_pointee(LogId::UNKNOWN),
            resets: AtomicU64::new(0),
            exact: RwLock::default(),
        }
    }

    /// Returns the view: everything below it has been applied. Read it before judging; records
    /// applied after that only make the verdict stricter.
    #[inline]
    pub fn position(&self) -> Position {
        Position(self.position.load(Ordering::Acquire))
    }

    pub fn log_id(&self) -> LogId {
        **self.log_id.load()
    }

    /// Judges an entry by its own tags and by those of the asker.
    #[inline]
    pub fn judge(&self, header: &Header, asker: &[TagHash]) -> Validity {
        let resets = self.resets();
        let log_id = **self.log_id.load();
        if header.log_id != log_id
            || log_id == LogId::UNKNOWN
            || header.stamp.0 < self.floor.load(Ordering::Relaxed)
        {
            return Validity::Void;
        }
        let stamp = header.stamp.0;
        let tags = || header.tag_hashes.iter().chain(asker);
        if tags().all(|tag| self.slot(*tag).load(Ordering::Relaxed) < stamp) {
            return if self.is_unreset(resets) {
                Validity::Valid
            } else {
                Validity::Void
            };
        }
        self.judge_exactly(resets, stamp, tags())
    }

    #[inline]
    fn resets(&self) -> u64 {
        self.resets.load(Ordering::Acquire)
    }

    /// Returns true if `resets` was read outside of a reset and no reset has begun since.
    #[inline]
    fn is_unreset(&self, resets: u64) -> bool {
        // The loads before this fence must not move behind the load of the number.
        fence(Ordering::Acquire);
        resets.is_multiple_of(2) && self.resets.load(Ordering::Relaxed) == resets
    }

    #[cold]
    fn judge_exactly<'a>(
        &self,
        resets: u64,
        stamp: i64,
        tags: impl Iterator<Item = &'a TagHash>,
    ) -> Validity {
        let exact = self.read();
        // Tags may have been dropped since the filter was read; the floor was raised with them.
        if !self.is_unreset(resets) || stamp < self.floor.load(Ordering::Relaxed) {
            return Validity::Void;
        }
        let mut verdict = Validity::Valid;
        for last in tags.filter_map(|tag| exact.tags.get(tag)) {
            if last.purge >= stamp {
                return Validity::Purged;
            }
            if last.refresh >= stamp {
                verdict = Validity::Refreshed { at: last.at };
            }
        }
        verdict
    }

    /// Returns true if a record in `[from, to)` of the log `log_id` hits one of the tags, or if the
    /// table has taken up another log. Exact while a flight stamped at or before `from` is open; if
    /// records had to be dropped, errs towards true.
    pub fn hit_between(
        &self,
        log_id: LogId,
        tags: &[TagHash],
        from: Position,
        to: Position,
    ) -> bool {
        let resets = self.resets();
        if log_id != self.log_id() {
            return true;
        }
        if from >= to
            || tags
                .iter()
                .all(|tag| self.slot(*tag).load(Ordering::Relaxed) < from.0)
        {
            return !self.is_unreset(resets);
        }
        let exact = self.read();
        if !self.is_unreset(resets) || from.0 < self.floor.load(Ordering::Relaxed) {
            return true;
        }
        let last = |tag| {
            exact
                .tags
                .get(tag)
                .map_or(-1, |last: &Last| last.purge.max(last.refresh))
        };
        if tags.iter().all(|tag| last(tag) < from.0) {
            return false;
        }
        if from.0 < exact.recent_from || !exact.covers(from.0) {
            return true;
        }
        let first = exact.recent.partition_point(|(offset, _)| *offset < from.0);
        exact
            .recent
            .range(first..)
            .take_while(|(offset, _)| *offset < to.0)
            .any(|(_, tag)| tags.contains(tag))
    }

    /// Opens a flight: its stamp is the position applied so far, and the log's records from there
    /// on are kept until the guard is dropped.
    pub fn open_flight(self: &Arc<Self>) -> OpenStamp {
        let mut exact = self.write();
        let stamp = self.position.load(Ordering::Acquire);
        if exact.open.is_empty() {
            exact.recent.clear();
            exact.recent_from = stamp;
        }
        // From here on records are kept, even if the log was recreated: `reset` sets `recent_from`
        // to the maximum but leaves flights of the old log open, and a busy instance always has an
        // open flight.
        exact.recent_from = exact.recent_from.min(stamp);
        *exact.open.entry(stamp).or_insert(0) += 1;
        OpenStamp {
            table: Arc::clone(self),
            stamp: Position(stamp),
            log_id: self.log_id(),
        }
    }

    /// Applies records in log order and moves the position to `next`, which may be beyond the last
    /// of them: compaction and other kinds of records leave gaps.
    pub fn apply(&self, records: &[Applied], next: Position) {
        if records.is_empty() {
            self.position.fetch_max(next.0, Ordering::Release);
            return;
        }
        let mut exact = self.write();
        for record in records {
            exact.insert(record, self.options.max_recent);
            self.slot(record.tag)
                .fetch_max(record.offset, Ordering::Relaxed);
        }
        if exact.tags.len() > self.options.max_tags {
            self.forget_oldest(&mut exact);
        }
        // Under the lock: a flight opened before this store would be stamped before these records,
        // but they would not be kept for judging its waiters.
        self.position.fetch_max(next.0, Ordering::Release);
        drop(exact);
    }

    /// Starts with another log, or with the same log again from its start: everything known is
    /// dropped, and until `apply` has reached the log's end this table must not be used for
    /// judging.
    pub fn reset(&self) {
        let mut exact = self.write();
        self.resets.fetch_add(1, Ordering::Relaxed);
        // No reader may see the following stores together with the number from before.
        fence(Ordering::Release);
        exact.tags.clear();
        exact.recent.clear();
        exact.recent_from = i64::MAX;
        self.log_id.store(Arc::new(LogId::UNKNOWN));
        self.filter
            .iter()
            .for_each(|slot| slot.store(-1, Ordering::Relaxed));
        self.floor.store(0, Ordering::Relaxed);
        self.position.store(0, Ordering::Release);
        self.resets.fetch_add(1, Ordering::Release);
        drop(exact);
    }

    pub fn set_log_id(&self, id: LogId) {
        self.log_id.store(Arc::new(id));
    }

    /// Makes stamps below `position` void from now on (the log starts there).
    pub fn raise_floor(&self, position: Position) {
        self.floor.fetch_max(position.0, Ordering::Relaxed);
    }

    /// Keeps tags for at least so long from now on. The time is never shortened: entries that were
    /// stored before may still live as long as that.
    pub fn keep_for(&self, keep: Duration) {
        self.keep_ms.fetch_max(millis(keep), Ordering::Relaxed);
    }

    /// Drops the tags whose last record is older than any living entry.
    pub fn sweep(&self, now: Timestamp) {
        let keep = Duration::from_millis(self.keep_ms.load(Ordering::Relaxed));
        let oldest = now.minus(keep);
        let mut exact = self.write();
        let mut floor = -1;
        exact.tags.retain(|_, last| {
            let keep = last.at >= oldest;
            if !keep {
                floor = floor.max(last.purge).max(last.refresh);
            }
            keep
        });
        self.floor.fetch_max(floor + 1, Ordering::Relaxed);
    }

    pub fn tags(&self) -> usize {
        self.read().tags.len()
    }

    /// Drops the older half of the tags, by their last offset, and raises the floor above it.
    fn forget_oldest(&self, exact: &mut Exact) {
        let mut offsets: Vec<i64> = exact.tags.values().map(Last::newest).collect();
        let middle = offsets.len() / 2;
        let (_, cut, _) = offsets.select_nth_unstable(middle);
        let cut = *cut;
        exact.tags.retain(|_, last| last.newest() > cut);
        self.floor.fetch_max(cut + 1, Ordering::Relaxed);
        tracing::warn!(
            kept = exact.tags.len(),
            floor = cut + 1,
            "tag table full, oldest dropped"
        );
    }

    #[inline]
    fn slot(&self, tag: TagHash) -> &AtomicI64 {
        let mask = self.filter.len() - 1;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low bits are what is wanted"
        )]
        let at = tag.0 as usize & mask;
        &self.filter[at]
    }

    fn read(&self) -> RwLockReadGuard<'_, Exact> {
        self.exact.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Exact> {
        self.exact.write()
    }
}

impl Last {
    fn newest(&self) -> i64 {
        self.purge.max(self.refresh)
    }
}

impl Exact {
    fn insert(&mut self, record: &Applied, max_recent: usize) {
        let none = Last {
            purge: -1,
            refresh: -1,
            at: record.at,
        };
        let last = self.tags.entry(record.tag).or_insert(none);
        let offset = match record.mode {
            Mode::Purge => &mut last.purge,
            Mode::Refresh => &mut last.refresh,
        };
        *offset = (*offset).max(record.offset);
        last.at = last.at.max(record.at);
        if self.open.is_empty() {
            return;
        }
        self.recent.push_back((record.offset, record.tag));
        if self.recent.len() > max_recent
            && let Some((dropped, _)) = self.recent.pop_front()
        {
            self.recent_from = dropped + 1;
        }
    }

    /// Returns true if `recent` reaches back to `from`.
    fn covers(&self, from: i64) -> bool {
        self.open
            .first_key_value()
            .is_some_and(|(oldest, _)| *oldest <= from)
    }

    fn close(&mut self, stamp: i64) {
        if let Some(held) = self.open.get_mut(&stamp) {
            *held -= 1;
            if *held == 0 {
                self.open.remove(&stamp);
            }
        }
        let Some((&oldest, _)) = self.open.first_key_value() else {
            self.recent.clear();
            return;
        };
        let done = self.recent.partition_point(|(offset, _)| *offset < oldest);
        self.recent.drain(..done);
    }
}

/// The stamp of an open flight; while it lives, waiters can be judged exactly.
#[derive(Debug)]
pub struct OpenStamp {
    table: Arc<TagTable>,
    stamp: Position,
    log_id: LogId,
}

impl OpenStamp {
    pub fn position(&self) -> Position {
        self.stamp
    }

    pub fn log_id(&self) -> LogId {
        self.log_id
    }
}

impl Drop for OpenStamp {
    fn drop(&mut self) {
        self.table.write().close(self.stamp.0);
    }
}

/// A hasher that returns a tag hash unchanged.
#[derive(Debug, Default)]
struct PassHasher(u64);

impl Hasher for PassHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
