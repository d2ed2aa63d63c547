//! Who waits for an answer learns whether it is worked on.

use super::flight::Flight;

/// Who waits for an answer, and wants to know whether it is worked on.
pub trait Waiter: Sync {
    /// The question waits for its turn: whatever time that takes is no sign of anything.
    fn waits(&self) {}

    /// It is worked on again.
    fn goes_on(&self) {}
}

/// One that does not care.
impl Waiter for () {}

/// Waits for the landing, and tells the waiter while the flight waits for its turn.
pub(super) async fn landing<R: Clone>(flight: &Flight<R>, waiter: &impl Waiter) -> Option<R> {
    let mut in_line = flight.until.in_line();
    let mut landed = std::pin::pin!(flight.landing());
    let mut waits = false;
    loop {
        let now = *in_line.borrow_and_update();
        if now != waits {
            waits = now;
            if waits {
                waiter.waits();
            } else {
                waiter.goes_on();
            }
        }
        tokio::select! {
            landed = &mut landed => {
                if waits {
                    waiter.goes_on();
                }
                return landed;
            }
            // The flight holds the other end.
            Ok(()) = in_line.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::flight::{Boarding, Doors, Flights};
    use super::*;
    use crate::invalidation::{TagTable, TagTableOptions};
    use crate::model::{CacheKey, Timestamp};

    #[derive(Default)]
    struct Told(Mutex<Vec<&'static str>>);

    impl Waiter for Told {
        fn waits(&self) {
            self.0.lock().unwrap().push("waits");
        }

        fn goes_on(&self) {
            self.0.lock().unwrap().push("goes on");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told_each_time_that_the_flight_stands_in_line() {
        let table = Arc::new(TagTable::new(TagTableOptions::default()));
        let flights = Flights::<u8>::default();
        let begin = || (table.open_flight(), Timestamp(0));
        let key = CacheKey::from_text("t:k");
        let Boarding::Leads(pilot) = flights.board(&key, Doors::Open, |_| true, begin) else {
            panic!("nobody else flies");
        };
        let (flight, told) = (Arc::clone(&pilot.flight), Told::default());
        let fly = async {
            let pause = || tokio::time::sleep(std::time::Duration::from_secs(1));
            pause().await;
            let first = pilot.flight.until.stand_in_line();
            pause().await;
            drop(first);
            pause().await;
            let _still_in_line = flight.until.stand_in_line();
            pause().await;
            pilot.land(7);
        };
        let (landed, ()) = tokio::join!(landing(&flight, &told), fly);
        assert_eq!(landed, Some(7));
        let told = told.0.into_inner().unwrap();
        assert_eq!(told, ["waits", "goes on", "waits", "goes on"]);
    }
}
