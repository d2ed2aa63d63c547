//! A layer in memory that stands in for one that survives a restart: it keeps entries as bytes,
//! and leases where it stands in for Redis.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};

use super::instance::Life;
use tokio::time::Instant;

use wedcache_engine::cache::{Claim, Claimed, Layer, LayerError, Leases, Lookup, Put};
use wedcache_model::entry::Header;
use wedcache_model::{CacheKey, Entry, KeyHash, LayerName, Timestamp};

/// The topologies' default.
const LEASE_TERM: Duration = Duration::from_secs(6);

/// What stays when the process goes. Bounded by what is swept from it.
#[derive(Debug)]
pub(super) struct Store {
    name: LayerName,
    entries: Mutex<HashMap<KeyHash, Vec<u8>>>,
    /// Each with the end of its term.
    claims: Mutex<HashMap<KeyHash, (Claim, Instant)>>,
    latency: Mutex<Duration>,
    away: AtomicBool,
}

impl Store {
    pub(super) fn new(name: LayerName) -> Self {
        Self {
            name,
            entries: Mutex::default(),
            claims: Mutex::default(),
            latency: Mutex::default(),
            away: AtomicBool::new(false),
        }
    }

    /// How long a look-up takes from now on.
    pub(super) fn set_latency(&self, latency: Duration) {
        *lock(&self.latency) = latency;
    }

    /// Drops what is of no use any more.
    pub(super) fn sweep(&self, now: Timestamp) {
        let useful = |bytes: &[u8]| Header::decode(bytes).is_ok_and(|of| now < of.keep_until);
        lock(&self.entries).retain(|_, bytes| useful(bytes));
    }

    /// Whose claim stands under the key.
    #[cfg(test)]
    pub(super) fn claim_of(&self, key: &str) -> Option<Claim> {
        let hash = CacheKey::from_text(key).hash();
        let claims = lock(&self.claims);
        let (claim, until) = claims.get(&hash)?;
        (*until > Instant::now()).then_some(*claim)
    }

    pub(super) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }
}

/// A store as one process sees it; a process that was killed writes no more.
#[derive(Debug)]
pub(super) struct Mounted {
    pub(super) store: Arc<Store>,
    pub(super) life: Life,
}

impl Mounted {
    fn available(&self) -> Result<(), LayerError> {
        if self.store.away.load(Ordering::Relaxed) || !self.life.goes_on() {
            return Err(LayerError::Away);
        }
        Ok(())
    }

    fn look_up(&self, key: &CacheKey) -> Lookup {
        if let Err(error) = self.available() {
            return Lookup::Unavailable(error);
        }
        match lock(&self.store.entries)
            .get(&key.hash())
            .map(|bytes| Entry::decode(bytes))
        {
            Some(Ok(entry)) if entry.key == *key => Lookup::Hit(Arc::new(entry)),
            None | Some(Ok(_)) => Lookup::Miss,
            Some(Err(error)) => Lookup::Unavailable(LayerError::Corrupt {
                detail: error.to_string().into(),
            }),
        }
    }

    fn keep(&self, entry: &Entry) -> Result<Put, LayerError> {
        self.available()?;
        let mut entries = lock(&self.store.entries);
        let held = entries
            .get(&entry.key.hash())
            .and_then(|bytes| Header::decode(bytes).ok());
        if held.is_some_and(|held| !entry.header.is_newer_than(&held)) {
            return Ok(Put::KeptNewer);
        }
        entries.insert(entry.key.hash(), entry.encode());
        Ok(Put::Stored)
    }

    fn let_stand(
        &self,
        key: &CacheKey,
        claim: &Claim,
        instead_of: Option<&Claim>,
    ) -> Result<Claimed, LayerError> {
        self.available()?;
        let (mut claims, now) = (lock(&self.store.claims), Instant::now());
        match claims.get(&key.hash()) {
            Some((held, until)) if *until > now && held != claim && Some(held) != instead_of => {
                Ok(Claimed::HeldBy(*held))
            }
            _ => {
                claims.insert(key.hash(), (*claim, now + LEASE_TERM));
                Ok(Claimed::Ours)
            }
        }
    }

    fn take_away(&self, key: &CacheKey, claim: &Claim) -> Result<(), LayerError> {
        self.available()?;
        let mut claims = lock(&self.store.claims);
        if claims
            .get(&key.hash())
            .is_some_and(|(held, _)| held == claim)
        {
            claims.remove(&key.hash());
        }
        Ok(())
    }

    fn drop_entry(&self, key: &CacheKey, not_newer_than: &Header) -> Result<(), LayerError> {
        self.available()?;
        let mut entries = lock(&self.store.entries);
        let held = entries
            .get(&key.hash())
            .and_then(|bytes| Header::decode(bytes).ok());
        if held.is_some_and(|held| !held.is_newer_than(not_newer_than)) {
            entries.remove(&key.hash());
        }
        Ok(())
    }
}

impl Layer for Mounted {
    fn name(&self) -> LayerName {
        self.store.name
    }

    /// What is told is what was there when it was asked, as with a disk whose reply takes time.
    fn get<'a>(&'a self, key: &'a CacheKey) -> BoxFuture<'a, Lookup> {
        async move {
            let found = self.look_up(key);
            let latency = *lock(&self.store.latency);
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            found
        }
        .boxed()
    }

    fn put<'a>(&'a self, entry: &'a Arc<Entry>) -> BoxFuture<'a, Result<Put, LayerError>> {
        async move { self.keep(entry) }.boxed()
    }

    fn remove<'a>(
        &'a self,
        key: &'a CacheKey,
        not_newer_than: &'a Header,
    ) -> BoxFuture<'a, Result<(), LayerError>> {
        async move { self.drop_entry(key, not_newer_than) }.boxed()
    }
}

impl Leases for Mounted {
    fn claim<'a>(
        &'a self,
        key: &'a CacheKey,
        claim: &'a Claim,
        instead_of: Option<&'a Claim>,
    ) -> BoxFuture<'a, Result<Claimed, LayerError>> {
        async move { self.let_stand(key, claim, instead_of) }.boxed()
    }

    fn release<'a>(
        &'a self,
        key: &'a CacheKey,
        claim: &'a Claim,
    ) -> BoxFuture<'a, Result<(), LayerError>> {
        async move { self.take_away(key, claim) }.boxed()
    }

    fn term(&self) -> Duration {
        LEASE_TERM
    }

    fn available(&self) -> bool {
        Self::available(self).is_ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}
