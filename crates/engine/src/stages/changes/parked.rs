//! Changes that wait for their schema: at first with nothing widened, and once what they may
//! concern is invalidated, as long as necessary.

use std::collections::BTreeMap;
use std::time::Duration;

use wedcache_model::{Tag, Timestamp};

use super::TakenChange;

/// The time that the registry has to respond about a schema before whole types are refreshed for a
/// change in it.
const PATIENCE: Duration = Duration::from_secs(1);

/// A change under way.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    pub(super) change: Box<TakenChange<T>>,
    /// Refreshes that it asked for and that are held back.
    pub(super) owed: Vec<Tag>,
    /// True if everything that it may concern is invalidated, though it could not be read.
    pub(super) widened: bool,
}

/// The parked changes, by the schema that they wait for.
#[derive(Debug)]
pub(super) struct Parked<T> {
    schemas: BTreeMap<u32, Awaited<T>>,
}

#[derive(Debug)]
struct Awaited<T> {
    asked_at: Timestamp,
    changes: Vec<Waiting<T>>,
}

impl<T> Waiting<T> {
    pub(super) fn new(change: Box<TakenChange<T>>) -> Self {
        Self {
            change,
            owed: Vec::new(),
            widened: false,
        }
    }
}

impl<T> Default for Parked<T> {
    fn default() -> Self {
        Self {
            schemas: BTreeMap::new(),
        }
    }
}

impl<T> Parked<T> {
    /// Returns true if the schema may still come in time: it was not asked for yet, or just now.
    pub(super) fn may_come(&self, schema_id: u32, now: Timestamp) -> bool {
        let awaited = self.schemas.get(&schema_id);
        awaited.is_none_or(|of| !of.is_overdue(now))
    }

    /// Parks a change. Returns true if its schema has to be asked for.
    pub(super) fn park(&mut self, schema_id: u32, waiting: Waiting<T>, now: Timestamp) -> bool {
        if let Some(awaited) = self.schemas.get_mut(&schema_id) {
            awaited.changes.push(waiting);
            return false;
        }
        let awaited = Awaited {
            asked_at: now,
            changes: vec![waiting],
        };
        self.schemas.insert(schema_id, awaited);
        true
    }

    /// Takes the changes that waited for this schema, in their order.
    pub(super) fn learnt(&mut self, schema_id: u32) -> Vec<Waiting<T>> {
        self.schemas
            .remove(&schema_id)
            .map(|of| of.changes)
            .unwrap_or_default()
    }

    /// Takes the changes whose schema is overdue and for which nothing is widened yet.
    pub(super) fn overdue(&mut self, now: Timestamp) -> Vec<(u32, Waiting<T>)> {
        let overdue = self.schemas.iter_mut().filter(|(_, of)| of.is_overdue(now));
        overdue
            .flat_map(|(schema_id, of)| {
                let unwidened = of.changes.extract_if(.., |waiting| !waiting.widened);
                unwidened.map(|waiting| (*schema_id, waiting))
            })
            .collect()
    }

    /// Returns the next time at which [`Parked::overdue`] returns something.
    pub(super) fn next_overdue(&self) -> Option<Timestamp> {
        let unwidened = |of: &&Awaited<T>| of.changes.iter().any(|waiting| !waiting.widened);
        let open = self.schemas.values().filter(unwidened);
        open.map(|of| of.asked_at.plus(PATIENCE)).min()
    }

    pub(super) fn leave(self) -> Vec<T> {
        let waiting = self.schemas.into_values().flat_map(|of| of.changes);
        waiting.map(|waiting| waiting.change.ticket).collect()
    }
}

impl<T> Awaited<T> {
    /// Returns true if the patience is over. If the clock was set back it counts as over, so that
    /// nothing waits longer.
    fn is_overdue(&self, now: Timestamp) -> bool {
        now < self.asked_at || now.since(self.asked_at) >= PATIENCE
    }
}
