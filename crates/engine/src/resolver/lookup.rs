//! The look-up: entries of memory and of the slower layers, judged for one query.

use std::sync::Arc;

use wedcache_model::entry::Header;
use wedcache_model::{Entry, LayerName, Position, Timestamp};
use wedcache_rules::invalidation::Validity;

use super::usable::{Use, usable};
use super::{Ask, Hit, Parts, Resolver};
use crate::cache::LayerHit;
use crate::observe::{LookedUp, LookupResult, Observer as _};

/// The result of a look-up in all layers.
pub(super) enum CacheResult {
    /// An entry that serves the query at once.
    Hit(Hit),
    /// No such entry; `last_resort` may serve if the provider turns out to be away.
    Miss { last_resort: Option<Hit> },
}

impl Resolver {
    /// Returns the answer from memory at `now`, if there is one: no waiting, no lock, no task.
    #[inline]
    pub fn hit<S>(self: &Arc<Self>, ask: &Ask<S>, now: Timestamp) -> Option<Hit>
    where
        S: AsRef<str> + Clone,
    {
        if !ask.reads() || ask.came_late() {
            return None;
        }
        let hit = self.from_memory(ask, now);
        if self.parts.layers.memory().is_some() {
            let result = match hit {
                Some(_) => LookupResult::Hit,
                None => LookupResult::Miss,
            };
            let layer = LayerName::Memory;
            self.parts.observer.looked_up(&LookedUp { layer, result });
        }
        hit
    }

    fn from_memory<S>(self: &Arc<Self>, ask: &Ask<S>, now: Timestamp) -> Option<Hit>
    where
        S: AsRef<str> + Clone,
    {
        let (found, view) = self.in_memory(ask)?;
        let verdict = self.judge(&found.entry.header, ask, now);
        match verdict {
            Use::Dead => self.forget(ask, &found.entry),
            verdict => self.refill(ask, verdict),
        }
        Hit::serving(found, verdict, view)
    }

    /// Looks the query up in memory again and then in the slower layers.
    pub(super) async fn look_up(self: &Arc<Self>, ask: &Ask) -> CacheResult {
        let Parts { layers, clock, .. } = &self.parts;
        if let Some(hit) = self.hit(ask, clock.now()) {
            return CacheResult::Hit(hit);
        }
        let now = clock.now();
        // The view is read before any entry is judged: changes that are applied in between make
        // the verdict stricter than the view that the answer states.
        let view = self.parts.table.position();
        let judge = |header: &_| self.judge(header, ask, now);
        let found = layers
            .get_slow(&ask.prepared.key, &|header| judge(header).serves())
            .await;
        self.looked_up(&found.outcomes);
        if let Some(found) = found.hit {
            // Judged once more: changes may have been applied while the layer was asked.
            let verdict = judge(&found.entry.header);
            self.refill(ask, verdict);
            if let Some(hit) = Hit::serving(found, verdict, view) {
                return CacheResult::Hit(hit);
            }
        }
        let memory = self.in_memory(ask).map(|(found, _)| found);
        let last_resort = memory
            .into_iter()
            .chain(found.refused)
            .filter_map(|found| {
                let verdict = judge(&found.entry.header);
                verdict
                    .serves_if_away()
                    .then(|| Hit::of(found, verdict, view))
            })
            .max_by_key(|hit| hit.entry.header.called_at);
        CacheResult::Miss { last_resort }
    }

    /// Returns the entry in memory that serves the query and that no call refills, if there is one.
    pub(super) fn settled_in_memory<S>(&self, ask: &Ask<S>) -> Option<Hit> {
        if !ask.reads() {
            return None;
        }
        let (found, view) = self.in_memory(ask)?;
        let verdict = self.judge(&found.entry.header, ask, self.parts.clock.now());
        verdict
            .needs_no_call()
            .then(|| Hit::of(found, verdict, view))
    }

    /// Returns the entry of a slower layer that serves the query and that no call refills.
    pub(super) async fn settled_in_slower_layers(&self, ask: &Ask) -> Option<Arc<Entry>> {
        let now = self.parts.clock.now();
        let settled = |header: &_| self.judge(header, ask, now).needs_no_call();
        let layers = &self.parts.layers;
        let found = layers.get_slow(&ask.prepared.key, &settled).await;
        found.hit.map(|hit| hit.entry)
    }

    /// Returns a last resort as it may serve now: the provider took its time to fail, and changes
    /// that were applied meanwhile forbid the entry, or the lag that held it back has ended.
    pub(super) fn as_last_resort(&self, ask: &Ask, hit: Hit) -> Option<Hit> {
        let Parts { table, clock, .. } = &self.parts;
        // The view is read before the entry is judged, as in any look-up.
        let view = table.position();
        let Hit { layer, entry, .. } = hit;
        let verdict = self.judge(&entry.header, ask, clock.now());
        (verdict.serves() || verdict.serves_if_away())
            .then(|| Hit::of(LayerHit { layer, entry }, verdict, view))
    }

    #[inline]
    pub(super) fn judge<S>(&self, header: &Header, ask: &Ask<S>, now: Timestamp) -> Use {
        let Parts { table, lag, .. } = &self.parts;
        usable(table, lag.get(), header, ask, now)
    }

    /// Returns the entry in memory, not judged yet, and the view to judge it at.
    #[inline]
    fn in_memory<S>(&self, ask: &Ask<S>) -> Option<(LayerHit, Position)> {
        let entry = self.parts.layers.memory_hit(&ask.prepared.key)?;
        let layer = LayerName::Memory;
        // The view is read here, before the caller judges: changes that are applied in between
        // make the verdict stricter than the view that the answer states.
        Some((LayerHit { layer, entry }, self.parts.table.position()))
    }

    /// Drops an entry from memory that is dead for everybody: one that is dead because of the
    /// asker's own change still serves other couples.
    fn forget<S>(&self, ask: &Ask<S>, entry: &Entry) {
        let Parts { layers, table, .. } = &self.parts;
        if let Some(memory) = layers.memory()
            && table.judge(&entry.header, &[]) == Validity::Purged
        {
            memory.remove(&ask.prepared.key, &entry.header);
        }
    }
}
