//! Single flight: of the queries that miss one key, one leads and pays, the others wait for it.
//!
//! A flight carries the log position at which it began. A query that would join it decides by that
//! position, and by the time of the call, whether the flight's answer will do. If it will not, a
//! newer flight takes the key's place, and the older one goes on for those that wait for it.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use wedcache_model::{CacheKey, KeyHash, Timestamp};
use wedcache_rules::invalidation::OpenStamp;

use crate::ai::Until;

/// The flights of one process; `R` is the result of a flight.
#[derive(Debug)]
pub struct Flights<R> {
    joinable: Arc<Mutex<NewestFlights<R>>>,
}

/// The newest joinable flight of each key.
type NewestFlights<R> = HashMap<KeyHash, Arc<Flight<R>>>;

/// One call to the provider, as its waiters see it.
#[derive(Debug)]
pub struct Flight<R> {
    pub key: CacheKey,
    pub stamp: OpenStamp,
    /// The time at which the flight began; `maxAgeSecs` counts from it.
    pub called_at: Timestamp,
    /// The time until which a waiter wants the answer; each waiter extends it.
    pub until: Until,
    result: watch::Receiver<Option<R>>,
}

/// The one who makes the flight's call and gives its result to the waiters. If the leader is
/// dropped without a result, the waiters learn that there is none.
#[derive(Debug)]
pub struct Leader<R> {
    pub flight: Arc<Flight<R>>,
    result: watch::Sender<Option<R>>,
    joinable: Arc<Mutex<NewestFlights<R>>>,
}

/// A query's part in a flight.
#[derive(Debug)]
pub enum Part<R> {
    Leader(Leader<R>),
    Waiter(Arc<Flight<R>>),
}

/// The choice whether other queries may join a new flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joinable {
    Yes,
    No,
}

impl<R> Default for Flights<R> {
    fn default() -> Self {
        Self {
            joinable: Arc::default(),
        }
    }
}

impl<R> Flights<R> {
    /// Joins the key's flight if it is `good`, else leads a new one, which others may join if
    /// `joinable` says so. `good` and `begin` run under the lock, so that of many queries at one
    /// moment exactly one leads.
    pub fn join_or_lead(
        &self,
        key: &CacheKey,
        joinable: Joinable,
        good: impl FnOnce(&Flight<R>) -> bool,
        begin: impl FnOnce() -> (OpenStamp, Timestamp),
    ) -> Part<R> {
        let mut newest = lock(&self.joinable);
        // Two keys can have one hash.
        if let Some(flight) = newest.get(&key.hash())
            && flight.key == *key
            && good(flight)
        {
            return Part::Waiter(Arc::clone(flight));
        }
        let leader = self.leader(key, begin());
        if joinable == Joinable::Yes {
            newest.insert(key.hash(), Arc::clone(&leader.flight));
        }
        Part::Leader(leader)
    }

    /// Returns the number of joinable flights.
    pub fn open(&self) -> usize {
        lock(&self.joinable).len()
    }

    fn leader(&self, key: &CacheKey, (stamp, called_at): (OpenStamp, Timestamp)) -> Leader<R> {
        let (sender, result) = watch::channel(None);
        let flight = Flight {
            key: key.clone(),
            stamp,
            called_at,
            // Nobody waits yet; each waiter extends it.
            until: Until::at(Instant::now()),
            result,
        };
        Leader {
            flight: Arc::new(flight),
            result: sender,
            joinable: Arc::clone(&self.joinable),
        }
    }
}

impl<R: Clone> Flight<R> {
    /// Waits for the result; `None` if the leader was dropped without one. Cancel safe.
    pub async fn result(&self) -> Option<R> {
        let mut result = self.result.clone();
        let result = result.wait_for(Option::is_some).await.ok()?;
        result.clone()
    }
}

impl<R> Leader<R> {
    /// Gives the waiters the result. Later queries find the cache, or lead a new flight.
    pub fn finish(self, result: R) {
        // The result is there before `drop` makes the flight no longer joinable: a query that joins
        // in between has it at once.
        self.result.send_replace(Some(result));
    }
}

impl<R> Drop for Leader<R> {
    fn drop(&mut self) {
        let mut newest = lock(&self.joinable);
        let hash = self.flight.key.hash();
        // A newer flight may have taken the key's place.
        if newest
            .get(&hash)
            .is_some_and(|flight| Arc::ptr_eq(flight, &self.flight))
        {
            newest.remove(&hash);
        }
    }
}

/// Locks the map. Nothing that panics changes it half, so a poisoned one is consistent.
fn lock<R>(joinable: &Mutex<NewestFlights<R>>) -> MutexGuard<'_, NewestFlights<R>> {
    joinable.lock()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wedcache_rules::invalidation::{TagTable, TagTableOptions};

    fn begin() -> (OpenStamp, Timestamp) {
        let table = Arc::new(TagTable::new(TagTableOptions::default()));
        (table.open_flight(), Timestamp(0))
    }

    fn join_or_lead(flights: &Flights<u8>, joinable: Joinable, good: bool) -> Part<u8> {
        let key = CacheKey::from_text("m:TX:any:any:00");
        flights.join_or_lead(&key, joinable, |_| good, begin)
    }

    #[track_caller]
    fn lead(flights: &Flights<u8>, joinable: Joinable, good: bool) -> Leader<u8> {
        match join_or_lead(flights, joinable, good) {
            Part::Leader(leader) => leader,
            Part::Waiter(_) => panic!("waits for another flight"),
        }
    }

    #[track_caller]
    fn join(flights: &Flights<u8>) -> Arc<Flight<u8>> {
        match join_or_lead(flights, Joinable::Yes, true) {
            Part::Waiter(flight) => flight,
            Part::Leader(_) => panic!("leads"),
        }
    }

    #[tokio::test]
    async fn all_waiters_have_the_result_of_the_one_leader() {
        let flights = Flights::default();
        let leader = lead(&flights, Joinable::Yes, true);
        let waiters: Vec<_> = (0..200)
            .map(|_| join(&flights))
            .map(|flight| tokio::spawn(async move { flight.result().await }))
            .collect();
        leader.finish(7);
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap(), Some(7));
        }
        assert_eq!(flights.open(), 0);
    }

    #[tokio::test]
    async fn a_newer_flight_takes_the_place_and_the_older_goes_on() {
        let flights = Flights::default();
        let old = lead(&flights, Joinable::Yes, true);
        let waits_for_old = Arc::clone(&old.flight);
        let new = lead(&flights, Joinable::Yes, false);
        old.finish(1);
        assert_eq!(waits_for_old.result().await, Some(1));
        assert!(Arc::ptr_eq(&join(&flights), &new.flight));
    }

    #[tokio::test]
    async fn a_leader_that_gives_up_leaves_its_waiters_without_a_result() {
        let flights = Flights::<u8>::default();
        let leader = lead(&flights, Joinable::Yes, true);
        let flight = join(&flights);
        drop(leader);
        assert_eq!(flight.result().await, None);
        lead(&flights, Joinable::Yes, true);
    }

    #[test]
    fn nobody_joins_a_flight_that_is_not_joinable() {
        let flights = Flights::<u8>::default();
        let _alone = lead(&flights, Joinable::No, true);
        assert_eq!(flights.open(), 0);
        lead(&flights, Joinable::Yes, true);
    }
}
