//! Single flight: of the queries that miss one key, one leads and pays, the others wait for it.
//!
//! A flight carries the log position at which it began; whoever asks to board says by that
//! position (and by the call's begin) whether the flight is still good for it. Where it is not, a
//! newer flight takes the key's place and the older one flies on for those already aboard.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::ai::Until;
use crate::invalidation::OpenStamp;
use crate::model::{CacheKey, KeyHash, Timestamp};

/// The flights of one process; `R` is what a flight lands with.
#[derive(Debug)]
pub struct Flights<R> {
    /// The newest joinable flight of each key.
    joinable: Arc<Mutex<Joinable<R>>>,
}

type Joinable<R> = HashMap<KeyHash, Arc<Flight<R>>>;

/// One call to the provider on its way, as those aboard see it.
#[derive(Debug)]
pub struct Flight<R> {
    pub key: CacheKey,
    pub stamp: OpenStamp,
    /// When it began: what `maxAgeSecs` counts from.
    pub called_at: Timestamp,
    /// Until when anybody aboard wants the answer; whoever waits extends it.
    pub until: Until,
    landed: watch::Receiver<Option<R>>,
}

/// The one who flies it: lands it, or by being dropped tells those aboard that it is lost.
#[derive(Debug)]
pub struct Pilot<R> {
    pub flight: Arc<Flight<R>>,
    land: watch::Sender<Option<R>>,
    joinable: Arc<Mutex<Joinable<R>>>,
}

#[derive(Debug)]
pub enum Boarding<R> {
    Joined(Arc<Flight<R>>),
    Leads(Pilot<R>),
}

/// Whether others may board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doors {
    Open,
    Closed,
}

impl<R> Default for Flights<R> {
    fn default() -> Self {
        Self {
            joinable: Arc::default(),
        }
    }
}

impl<R: Clone> Flights<R> {
    /// Joins the key's flight where `good` says that it will do, else begins one. `begin` runs
    /// under the lock, so that of many at one moment exactly one leads.
    pub fn board(
        &self,
        key: &CacheKey,
        doors: Doors,
        good: impl Fn(&Flight<R>) -> bool,
        begin: impl FnOnce() -> (OpenStamp, Timestamp),
    ) -> Boarding<R> {
        let mut joinable = lock(&self.joinable);
        if let Some(flight) = joinable.get(&key.hash())
            && flight.key == *key
            && good(flight)
        {
            return Boarding::Joined(Arc::clone(flight));
        }
        let pilot = self.pilot(key, begin());
        if doors == Doors::Open {
            joinable.insert(key.hash(), Arc::clone(&pilot.flight));
        }
        Boarding::Leads(pilot)
    }

    /// Begins a flight without looking for another one.
    pub fn lead(&self, key: &CacheKey, doors: Doors, begun: (OpenStamp, Timestamp)) -> Pilot<R> {
        let pilot = self.pilot(key, begun);
        if doors == Doors::Open {
            lock(&self.joinable).insert(key.hash(), Arc::clone(&pilot.flight));
        }
        pilot
    }

    /// Joinable flights on their way.
    pub fn open(&self) -> usize {
        lock(&self.joinable).len()
    }

    fn pilot(&self, key: &CacheKey, (stamp, called_at): (OpenStamp, Timestamp)) -> Pilot<R> {
        let (land, landed) = watch::channel(None);
        let flight = Flight {
            key: key.clone(),
            stamp,
            called_at,
            // Nobody aboard yet: whoever waits says how long.
            until: Until::at(Instant::now()),
            landed,
        };
        Pilot {
            flight: Arc::new(flight),
            land,
            joinable: Arc::clone(&self.joinable),
        }
    }
}

impl<R: Clone> Flight<R> {
    /// Waits for the landing; `None` when the flight was lost. Cancel safe.
    pub async fn landing(&self) -> Option<R> {
        let mut landed = self.landed.clone();
        landed
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|landed| landed.clone())
    }
}

impl<R> Pilot<R> {
    /// Lands: those aboard have the result, later queries find the cache (or fly anew).
    pub fn land(self, result: R) {
        self.land.send_replace(Some(result));
    }
}

impl<R> Drop for Pilot<R> {
    fn drop(&mut self) {
        let mut joinable = lock(&self.joinable);
        let hash = self.flight.key.hash();
        if joinable
            .get(&hash)
            .is_some_and(|flight| Arc::ptr_eq(flight, &self.flight))
        {
            joinable.remove(&hash);
        }
    }
}

fn lock<R>(joinable: &Mutex<Joinable<R>>) -> MutexGuard<'_, Joinable<R>> {
    joinable.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invalidation::{TagTable, TagTableOptions};

    fn begin() -> (OpenStamp, Timestamp) {
        let table = Arc::new(TagTable::new(TagTableOptions::default()));
        (table.open_flight(), Timestamp(0))
    }

    fn key() -> CacheKey {
        CacheKey::from_text("m:TX:any:any:00")
    }

    fn board(flights: &Flights<u8>, good: bool) -> Boarding<u8> {
        flights.board(&key(), Doors::Open, |_| good, begin)
    }

    #[tokio::test]
    async fn all_aboard_have_what_the_one_leader_brings() {
        let flights = Flights::default();
        let Boarding::Leads(pilot) = board(&flights, true) else {
            panic!("the first leads")
        };
        let aboard: Vec<_> = (0..200)
            .map(|_| match board(&flights, true) {
                Boarding::Joined(flight) => tokio::spawn(async move { flight.landing().await }),
                Boarding::Leads(_) => panic!("a second leader"),
            })
            .collect();
        pilot.land(7);
        for waiter in aboard {
            assert_eq!(waiter.await.unwrap(), Some(7));
        }
        assert_eq!(flights.open(), 0);
    }

    #[tokio::test]
    async fn a_newer_flight_takes_the_place_and_the_older_flies_on() {
        let flights = Flights::default();
        let Boarding::Leads(old) = board(&flights, true) else {
            panic!()
        };
        let aboard_old = Arc::clone(&old.flight);
        let Boarding::Leads(new) = board(&flights, false) else {
            panic!("not good: leads")
        };
        old.land(1);
        assert_eq!(aboard_old.landing().await, Some(1));
        let Boarding::Joined(flight) = board(&flights, true) else {
            panic!("the newer is open")
        };
        assert!(Arc::ptr_eq(&flight, &new.flight));
    }

    #[tokio::test]
    async fn a_lost_flight_tells_those_aboard_and_closed_doors_let_nobody_in() {
        let flights = Flights::default();
        let Boarding::Leads(pilot) = board(&flights, true) else {
            panic!()
        };
        let flight = Arc::clone(&pilot.flight);
        drop(pilot);
        assert_eq!(flight.landing().await, None);
        let _closed = flights.lead(&key(), Doors::Closed, begin());
        assert!(matches!(board(&flights, true), Boarding::Leads(_)));
    }
}
