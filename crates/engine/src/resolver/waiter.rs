//! The waiter for a flight's result, which is notified while the flight waits for its turn.

use wedcache_model::Unfinished;

use super::flight::Flight;

/// Waits for the flight's result and notifies the waiter while the flight waits for its turn;
/// `None` if the flight ended without a result. Cancel safe.
pub(super) async fn result_for<R: Clone>(
    waiter: &impl Unfinished,
    flight: &Flight<R>,
) -> Option<R> {
    let mut in_line = flight.until.in_line();
    let mut result = std::pin::pin!(flight.result());
    let mut waits = false;
    loop {
        let now = *in_line.borrow_and_update();
        if now != waits {
            waits = now;
            if waits {
                waiter.hold();
            } else {
                waiter.release();
            }
        }
        tokio::select! {
            result = &mut result => {
                // Each `hold` is followed by a `release`.
                if waits {
                    waiter.release();
                }
                return result;
            }
            // Never closed: the flight holds the sender.
            Ok(()) = in_line.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use std::sync::Arc;

    use super::super::flight::{Flights, Joinable, Part};
    use super::*;
    use wedcache_model::{CacheKey, Timestamp};
    use wedcache_rules::invalidation::{TagTable, TagTableOptions};

    #[derive(Default)]
    struct Told(Mutex<Vec<&'static str>>);

    impl Unfinished for Told {
        fn hold(&self) {
            self.0.lock().push("hold");
        }

        fn release(&self) {
            self.0.lock().push("release");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told_each_time_that_the_flight_stands_in_line() {
        let table = Arc::new(TagTable::new(TagTableOptions::default()));
        let flights = Flights::<u8>::default();
        let begin = || (table.open_flight(), Timestamp(0));
        let key = CacheKey::from_text("t:k");
        let Part::Leader(leader) = flights.join_or_lead(&key, Joinable::Yes, |_| true, begin)
        else {
            panic!("nobody else leads");
        };
        let (flight, told) = (Arc::clone(&leader.flight), Told::default());
        let lead = async {
            let pause = || tokio::time::sleep(std::time::Duration::from_secs(1));
            pause().await;
            let first = leader.flight.until.stand_in_line();
            pause().await;
            drop(first);
            pause().await;
            let _still_in_line = flight.until.stand_in_line();
            pause().await;
            leader.finish(7);
        };
        let (result, ()) = tokio::join!(result_for(&told, &flight), lead);
        assert_eq!(result, Some(7));
        let told = told.0.into_inner();
        assert_eq!(told, ["hold", "release", "hold", "release"]);
    }
}
