//! The memory layer: bounded by bytes, read synchronously on the hit path.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::{self, BoxFuture, FutureExt as _};
use quick_cache::sync::{Cache, EntryAction, EntryResult};
use quick_cache::{Lifecycle, Weighter};

use wedcache_model::entry::Header;
use wedcache_model::{CacheKey, Entry, Form, KeyHash, LayerName};

use super::{Layer, LayerError, Lookup, Put};

/// The assumed weight of an entry in bytes, used to size the tables at first.
const ESTIMATED_ENTRY_BYTES: u64 = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryOptions {
    /// The most that the entries may weigh together ([`Entry::weight`]). Default 256 MiB. The cache
    /// is split into shards; an entry heavier than one shard's part is not kept.
    pub max_bytes: u64,
    /// The form in which answers are kept: the one in which they are sent.
    pub form: Form,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            max_bytes: 256 << 20,
            form: Form::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryStats {
    pub entries: u64,
    pub bytes: u64,
    pub max_bytes: u64,
    /// Entries dropped because there was no room, since the start.
    pub evictions: u64,
}

/// The entries, by key hash.
#[derive(Debug)]
pub struct Memory {
    cache: Cache<KeyHash, Arc<Entry>, ByWeight, Seeded, CountEvictions>,
    max_bytes: AtomicU64,
    form: Form,
    evictions: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy)]
struct ByWeight;

impl Weighter<KeyHash, Arc<Entry>> for ByWeight {
    fn weight(&self, _: &KeyHash, entry: &Arc<Entry>) -> u64 {
        entry.weight() as u64
    }
}

#[derive(Debug, Clone)]
struct CountEvictions(Arc<AtomicU64>);

impl Lifecycle<KeyHash, Arc<Entry>> for CountEvictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: KeyHash, _: Arc<Entry>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A hasher for keys that are hashes already. Its seed is unknown to anybody who chooses questions.
/// The seed comes from this thread's random generator, so that a simulation evicts the same entries
/// every time.
#[derive(Debug, Clone, Copy)]
struct Seeded(u64);

#[derive(Debug)]
struct KeyHasher(u64);

impl BuildHasher for Seeded {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(self.0)
    }
}

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, _) = bytes.as_chunks::<8>();
        for word in words {
            // A folded multiplication: after XORing the product's halves, every bit depends on the
            // whole word.
            let mixed = u128::from(self.0 ^ u64::from_le_bytes(*word)) * u128::from(FACTOR);
            let (low, high) = (mixed & u128::from(u64::MAX), mixed >> 64);
            self.0 = u64::try_from(low ^ high).expect("both halves have 64 bits");
        }
    }

    /// Ignores the length prefix of an array, which is the same for all keys.
    fn write_usize(&mut self, _: usize) {}
}

/// An odd factor whose bits are well mixed: 2^64 divided by the golden ratio.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

impl Memory {
    pub fn new(options: &MemoryOptions) -> Self {
        let evictions = Arc::new(AtomicU64::new(0));
        let items = (options.max_bytes / ESTIMATED_ENTRY_BYTES).clamp(64, 1 << 20);
        Self {
            cache: Cache::with(
                usize::try_from(items).expect("clamped to 2^20"),
                options.max_bytes,
                ByWeight,
                Seeded(fastrand::u64(..)),
                CountEvictions(Arc::clone(&evictions)),
            ),
            max_bytes: AtomicU64::new(options.max_bytes),
            form: options.form,
            evictions,
        }
    }

    /// Returns the entry of exactly this key. Allocates nothing.
    #[inline]
    pub fn get(&self, key: &CacheKey) -> Option<Arc<Entry>> {
        self.cache
            .get(&key.hash())
            .filter(|entry| entry.key == *key)
    }

    /// Keeps the entry unless the same or a newer fill is present; the comparison and the change
    /// are one step.
    pub fn put(&self, entry: &Arc<Entry>) -> Put {
        let entry = &entry.in_form(self.form);
        let found = self.cache.entry(&entry.key.hash(), None, |_, held| {
            if entry.header.is_newer_than(&held.header) {
                // Replaced in place, because `ReplaceWithGuard` would make readers miss meanwhile.
                *held = Arc::clone(entry);
                EntryAction::Retain(Put::Stored)
            } else {
                EntryAction::Retain(Put::KeptNewer)
            }
        });
        match found {
            EntryResult::Retained(put) => {
                self.shed_growth();
                put
            }
            EntryResult::Vacant(guard) => {
                // An error means that `remove` or an eviction took the placeholder away meanwhile,
                // which equals a fill that was dropped right after.
                match guard.insert(Arc::clone(entry)) {
                    Ok(()) | Err(_) => Put::Stored,
                }
            }
            EntryResult::Removed(..) | EntryResult::Replaced(..) | EntryResult::Timeout => {
                unreachable!("the callback always retains and the wait has no end")
            }
        }
    }

    /// Drops the entry unless it is newer than `not_newer_than`. Returns true if an entry was
    /// dropped.
    pub fn remove(&self, key: &CacheKey, not_newer_than: &Header) -> bool {
        self.cache
            .remove_if(&key.hash(), |held| {
                held.key == *key && !held.header.is_newer_than(not_newer_than)
            })
            .is_some()
    }

    /// Changes the bound; a smaller one evicts at once.
    pub fn resize(&self, max_bytes: u64) {
        self.max_bytes.store(max_bytes, Ordering::Relaxed);
        self.cache.set_capacity(max_bytes);
    }

    pub fn stats(&self) -> MemoryStats {
        MemoryStats {
            entries: self.cache.len() as u64,
            bytes: self.cache.weight(),
            max_bytes: self.max_bytes.load(Ordering::Relaxed),
            evictions: self.evictions.load(Ordering::Relaxed),
        }
    }

    /// Evicts what exceeds the bound: quick_cache evicts when an entry comes in, not when one grows
    /// in its place.
    fn shed_growth(&self) {
        let max_bytes = self.max_bytes.load(Ordering::Relaxed);
        if self.cache.weight() > max_bytes {
            self.cache.set_capacity(max_bytes);
        }
    }
}

impl Layer for Memory {
    fn name(&self) -> LayerName {
        LayerName::Memory
    }

    fn get<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Lookup> {
        future::ready(self.get(key).map_or(Lookup::Miss, Lookup::Hit)).boxed()
    }

    fn put<'a>(&'a self, entry: &'a Arc<Entry>) -> BoxFuture<'a, Result<Put, LayerError>> {
        future::ready(Ok(self.put(entry))).boxed()
    }

    fn remove<'a>(
        &'a self,
        key: &'a CacheKey,
        not_newer_than: &'a Header,
    ) -> BoxFuture<'a, Result<(), LayerError>> {
        self.remove(key, not_newer_than);
        future::ready(Ok(())).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use proptest::prelude::*;

    use super::super::naive::{self, Step};
    use super::*;

    fn memory(max_bytes: u64) -> Memory {
        Memory::new(&MemoryOptions {
            max_bytes,
            ..MemoryOptions::default()
        })
    }

    #[test]
    fn an_entry_of_another_key_under_the_same_hash_is_a_miss() {
        let memory = memory(1 << 20);
        let (asked, held) = (naive::entry(0, 1, 1), naive::entry(1, 1, 1));
        memory.cache.insert(asked.key.hash(), held);
        assert!(memory.get(&asked.key).is_none());
        assert!(!memory.remove(&asked.key, &asked.header));
    }

    #[test]
    fn the_bound_holds_while_entries_come_and_grow_and_when_it_shrinks() {
        let memory = memory(256 << 10);
        for key in 0..200 {
            memory.put(&naive::entry_of_bytes(key, 1, 4 << 10));
        }
        let full = memory.stats();
        assert!(
            full.bytes <= full.max_bytes && full.bytes > 128 << 10,
            "{full:?}"
        );
        assert!(full.evictions > 100, "{full:?}");

        for key in 0..200 {
            memory.put(&naive::entry_of_bytes(key, 2, 8 << 10));
            assert!(memory.stats().bytes <= 256 << 10, "key {key}");
        }

        memory.resize(64 << 10);
        let small = memory.stats();
        assert!(small.bytes <= 64 << 10 && small.entries > 0, "{small:?}");
        memory.resize(1 << 20);
        (0..100).for_each(|key| {
            memory.put(&naive::entry_of_bytes(key, 3, 4 << 10));
        });
        assert!(memory.stats().bytes > 256 << 10);
    }

    #[test]
    fn keys_spread_evenly_and_by_the_seed() {
        let mut buckets = [0_u32; 256];
        let hash = |seed, number| Seeded(seed).hash_one(naive::key(number).hash());
        for number in 0..25_600 {
            let hash = hash(7, number);
            assert_eq!(hash, Seeded(7).hash_one(naive::key(number).hash()));
            // quick_cache selects the shard by the upper bits and the slot by the lower ones.
            buckets[usize::try_from(hash >> 56).unwrap()] += 1;
            buckets[usize::try_from(hash & 0xff).unwrap()] += 1;
        }
        assert!(
            buckets.iter().all(|count| (130..280).contains(count)),
            "{buckets:?}"
        );
        let same = (0..1000).filter(|number| hash(7, *number) == hash(8, *number));
        assert_eq!(same.count(), 0);
    }

    #[test]
    fn of_racing_fills_the_newest_stays() {
        for round in 0..200 {
            let memory = memory(1 << 20);
            let start = Barrier::new(4);
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let (memory, start) = (&memory, &start);
                    scope.spawn(move || {
                        start.wait();
                        for stamp in 0..8 {
                            memory.put(&naive::entry(0, stamp * 4 + thread, 0));
                        }
                    });
                }
            });
            let held = memory.get(&naive::key(0)).unwrap();
            assert_eq!(held.header.stamp.0, 31, "round {round}");
        }
    }

    proptest! {
        #[test]
        fn memory_does_what_the_naive_model_does(steps in naive::steps(60)) {
            let (memory, mut model) = (memory(16 << 20), naive::Model::default());
            for step in steps {
                match step {
                    Step::Put(entry) => prop_assert_eq!(memory.put(&entry), model.put(&entry)),
                    Step::Remove(entry) => {
                        memory.remove(&entry.key, &entry.header);
                        model.remove(&entry);
                    }
                    Step::Get(key) => prop_assert_eq!(memory.get(&key), model.get(&key)),
                }
            }
            prop_assert_eq!(memory.stats().entries, model.len() as u64);
        }
    }
}
