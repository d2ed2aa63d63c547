//! The seam for whoever watches: an [`Observer`] is given an event for everything that is answered,
//! called, filled, invalidated, dead-lettered or alerted.
//!
//! Events are values of the model: no bytes and no Kafka. They borrow, so that telling one costs a
//! call and no allocation. Each event is told exactly once, where it happens; [`Observers`] passes it
//! on to several observers. The topics of metrics and alerts, Prometheus, the driver and the
//! simulation are observers.
//!
//! Reading order: [`event`] (what happens) · [`metric`] (the record of the metric topic that stands
//! for an event).

pub mod event;
pub mod metric;
#[cfg(any(test, feature = "testing"))]
pub mod sample;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use event::{
    Alerted, Answered, Asked, Attempted, Called, ConditionFailed, DeadLettered, Filled, Input,
    Invalidated, LeaseResult, Leased, LookedUp, LookupResult, Overtaken, Querying, Reach, Stored,
    Taken, TakenAs, Widened,
};

/// Declares the trait with its events, and that whatever passes events on passes on all of them.
macro_rules! observer {
    ($($(#[$doc:meta])+ $name:ident($event:ty);)+) => {
        /// Is given every event. Each method does nothing unless an observer implements it.
        ///
        /// Called on the thread on which the event happens, the poll threads of the hit path included:
        /// an implementation returns soon and waits for nothing.
        pub trait Observer: Send + Sync {
            $($(#[$doc])+ fn $name(&self, event: &$event) { let _ = event; })+
        }

        impl<F: Forward + Send + Sync> Observer for F {
            $(#[inline] fn $name(&self, event: &$event) { self.each(|to| to.$name(event)); })+
        }
    };
}

observer! {
    /// A record was read from an input.
    taken(Taken);
    /// A layer was asked for an entry.
    looked_up(LookedUp);
    /// A query was answered: of every query exactly one event.
    answered(Answered<'_>);
    /// The other instances were asked before a call.
    leased(Leased);
    /// The provider was asked, with all its retries.
    attempted(Attempted<'_>);
    /// One priced call of a provider.
    called(Called<'_>);
    /// An answer was given to the layers.
    filled(Filled<'_>);
    /// An answer was not stored, because a purge had overtaken it.
    overtaken(Overtaken<'_>);
    /// A rule's condition could not be evaluated and counts as true.
    condition_failed(ConditionFailed<'_>);
    /// A change invalidates more than its rules say, because it could not be read.
    widened(Widened);
    /// A record of the invalidation log was appended.
    invalidated(Invalidated<'_>);
    /// A record is for the dead-letter topic.
    dead_lettered(DeadLettered<'_>);
    /// An alert fires or is resolved.
    alerted(Alerted<'_>);
}

/// Passes events on to other observers.
pub trait Forward {
    /// Calls `tell` for each observer.
    fn each(&self, tell: impl FnMut(&dyn Observer));
}

/// Several observers. They are given each event in their order.
#[derive(Clone, Default)]
pub struct Observers(Arc<[Arc<dyn Observer>]>);

impl Observers {
    pub fn new(observers: impl IntoIterator<Item = Arc<dyn Observer>>) -> Self {
        Self(observers.into_iter().collect())
    }
}

impl Forward for Observers {
    #[inline]
    fn each(&self, tell: impl FnMut(&dyn Observer)) {
        self.0.iter().map(|of| &**of).for_each(tell);
    }
}
