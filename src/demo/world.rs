//! The world that the demo's model answers from: the vendors with all vendor changes applied.
//!
//! A real model learns of a change from its own sources; this one reads the topic that the stream
//! reads, so it learns every change, whether the demo's season or another client sent it: a call
//! waits until the topic has been read to the end that it had when the call began. So a call that
//! begins after a change was written to Kafka answers from the facts after the change. A call that
//! began before may answer from the facts before it; the stream treats that answer as overtaken.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::ai::configured::VENDORS;
use crate::ai::simulator::{Vendors, World};
use crate::model::VendorChange;

/// The longest that a call waits for the changes written before it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A function that returns the current ends of the vendor changes' partitions; `None` once they
/// cannot be had.
pub(super) type Ends = Box<dyn Fn() -> Option<Vec<i64>> + Send + Sync>;

/// The vendors, and the offsets up to which changes were read.
pub(super) struct LiveWorld {
    ends: Ends,
    known: watch::Sender<Known>,
}

#[derive(Debug)]
struct Known {
    vendors: Arc<Vendors>,
    /// The next offset to be read, by partition.
    next: Vec<i64>,
}

impl LiveWorld {
    /// Returns a world whose vendors are all open, before anything was read.
    pub fn new(partitions: usize, ends: Ends) -> Self {
        let known = Known {
            vendors: Arc::new(Vendors::numbered(VENDORS)),
            next: vec![0; partitions],
        };
        let known = watch::Sender::new(known);
        Self { ends, known }
    }

    /// Applies a change; calls `tell` with the vendors after the change, before any call can answer
    /// from them.
    pub fn change(&self, change: &VendorChange, tell: impl FnOnce(&Vendors)) {
        self.known.send_modify(|known| {
            Arc::make_mut(&mut known.vendors).apply(change);
            tell(&known.vendors);
        });
    }

    /// Notes that everything of the partition below `next` was read.
    pub fn read(&self, partition: usize, next: i64) {
        self.known.send_if_modified(|known| {
            let read = known.next.get_mut(partition);
            let Some(read) = read.filter(|read| **read < next) else {
                return false;
            };
            *read = next;
            true
        });
    }
}

impl fmt::Debug for LiveWorld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveWorld")
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

impl World for LiveWorld {
    fn vendors(&self) -> BoxFuture<'_, Option<Arc<Vendors>>> {
        Box::pin(async {
            let ends = (self.ends)()?;
            let mut known = self.known.subscribe();
            let read = known.wait_for(|known| {
                let mut both = known.next.iter().zip(&ends);
                both.all(|(next, end)| next >= end)
            });
            let known = tokio::time::timeout(PATIENCE, read).await.ok()?.ok()?;
            Some(Arc::clone(&known.vendors))
        })
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use futures_util::FutureExt as _;

    use super::*;

    fn closed(vendor: &str) -> VendorChange {
        let json = format!(r#"{{"eventId":"e","vendorId":"{vendor}","change":"closed"}}"#);
        serde_json::from_str(&json).unwrap()
    }

    fn world(ends: &Arc<Mutex<Option<Vec<i64>>>>) -> LiveWorld {
        let ends = Arc::clone(ends);
        LiveWorld::new(2, Box::new(move || ends.lock().clone()))
    }

    #[tokio::test]
    async fn a_call_waits_for_the_changes_that_stand_before_it_and_for_no_later_ones() {
        let ends = Arc::new(Mutex::new(Some(vec![0, 0])));
        let world = world(&ends);
        let vendors = world.vendors().now_or_never().unwrap().unwrap();
        assert!(!vendors.is_closed("v-3"), "there is nothing to wait for");

        *ends.lock() = Some(vec![1, 2]);
        let mut call = world.vendors();
        assert!((&mut call).now_or_never().is_none());
        *ends.lock() = Some(vec![1, 9]);
        world.read(1, 2);
        assert!(
            (&mut call).now_or_never().is_none(),
            "one partition is not read"
        );
        let mut told = false;
        world.change(&closed("v-3"), |after| told = after.is_closed("v-3"));
        world.read(0, 1);
        assert!(told);
        let vendors = call.now_or_never().unwrap().unwrap();
        assert!(vendors.is_closed("v-3"));

        assert!(
            world.vendors().now_or_never().is_none(),
            "a later call waits for more"
        );
        world.read(1, 12);
        world.read(1, 3);
        world.read(7, 1);
        assert!(world.vendors().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_world_that_is_not_read_or_has_no_ends_is_not_known() {
        let ends = Arc::new(Mutex::new(Some(vec![1, 0])));
        let world = world(&ends);
        assert_eq!(world.vendors().await, None);
        *ends.lock() = None;
        assert_eq!(world.vendors().await, None);
    }
}
