//! A naive model of a layer for the tests: a map and the rule that the newest fill wins.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use wedcache_model::entry::sample;
use wedcache_model::{CacheKey, Entry, LogId, Tag, Timestamp};

use super::Put;

/// A time before the `keep_until` of every entry made here.
pub(super) const NOW: Timestamp = Timestamp(1_790_000_000_000);

#[derive(Debug, Clone)]
pub(super) enum Step {
    Put(Arc<Entry>),
    Remove(Arc<Entry>),
    Get(CacheKey),
}

#[derive(Default)]
pub(super) struct Model(HashMap<String, Arc<Entry>>);

impl Model {
    pub(super) fn put(&mut self, entry: &Arc<Entry>) -> Put {
        match self.0.get(entry.key.as_str()) {
            Some(held) if !entry.header.is_newer_than(&held.header) => Put::KeptNewer,
            _ => {
                self.0
                    .insert(entry.key.as_str().to_owned(), Arc::clone(entry));
                Put::Stored
            }
        }
    }

    pub(super) fn remove(&mut self, limit: &Arc<Entry>) {
        self.0.retain(|key, held| {
            key != limit.key.as_str() || held.header.is_newer_than(&limit.header)
        });
    }

    pub(super) fn get(&self, key: &CacheKey) -> Option<Arc<Entry>> {
        self.0.get(key.as_str()).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

pub(super) fn key(number: u32) -> CacheKey {
    CacheKey::from_text(&format!("m:TX:any:any:{number:04}"))
}

/// Returns an entry whose data contains its stamp and call.
pub(super) fn entry(number: u32, stamp: i64, call: i64) -> Arc<Entry> {
    let mut entry = sample::entry(key(number).as_str(), stamp, &[Tag::global("m")]);
    entry.header.called_at = Timestamp(NOW.0 + call);
    entry.data = format!("key {number} stamp {stamp} call {call}").into();
    Arc::new(entry)
}

pub(super) fn entry_of_bytes(number: u32, stamp: i64, bytes: usize) -> Arc<Entry> {
    let mut entry = Entry::clone(&entry(number, stamp, 0));
    // Random, so that it does not compress.
    let mut random = fastrand::Rng::with_seed(u64::from(number));
    entry.data = std::iter::repeat_with(|| random.alphanumeric())
        .take(bytes)
        .collect::<String>()
        .into();
    Arc::new(entry)
}

/// Generates steps over three keys with stamps (also negative and huge ones) that often collide;
/// the log's identity changes now and then.
pub(super) fn steps(at_most: usize) -> impl Strategy<Value = Vec<Step>> {
    let stamp =
        prop_oneof![8 => 0..6i64, 1 => Just(-1), 1 => Just(i64::MAX), 1 => Just(1i64 << 32)];
    let entry = (0..3u32, stamp, 0..3i64, 0..12u8).prop_map(|(number, stamp, call, log)| {
        let mut entry = Entry::clone(&entry(number, stamp, call));
        if log == 0 {
            entry.header.log_id = LogId([9; 16]);
        }
        Arc::new(entry)
    });
    let step = prop_oneof![
        5 => entry.clone().prop_map(Step::Put),
        1 => entry.prop_map(Step::Remove),
        2 => (0..3u32).prop_map(|number| Step::Get(key(number))),
    ];
    prop::collection::vec(step, 1..at_most)
}
