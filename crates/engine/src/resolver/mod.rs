//! The way of a query: memory, then the slower layers, then one call that many may wait for.
//!
//! ```text
//! Ask ─▶ hit (memory, in place) ─▶ look_up (disk, redis) ─▶ join_or_lead ─▶ lead: lease ▸ call ▸ fill
//!              └──────── judged by the tag table at every step ────────┘          └▶ finish: all waiters
//! ```
//!
//! [`Resolver::resolve`] is the whole way. Its steps are in `lookup` (what the layers have),
//! `join` (one flight a key in this process), `lease` (one call a key among all instances) and
//! `call` (the work of a flight's leader).
//!
//! The promises rest on the order of four things: the view is read before an entry is judged, a
//! flight is stamped before its call begins, a fill is durable before anybody is answered from it,
//! and a query that arrived after a change looks up again rather than take the answer of a flight
//! that the change has overtaken.

pub mod ask;
mod call;
pub mod flight;
mod join;
pub mod lag;
mod lease;
mod lookup;
mod observed;
pub mod outcome;
mod prompt;
mod usable;
mod waiter;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

pub use ask::{Ask, AskerTags};
pub use flight::Flights;
pub use lag::{Lag, LagState};
pub use outcome::{Called, Hit, Outcome};

use call::FlightResult;
use join::FlightOrHit;
use lookup::CacheResult;
use waiter::result_for;

use wedcache_model::Unfinished;
use wedcache_model::clock::Clock;
use wedcache_model::trouble::Throttle;
use wedcache_rules::invalidation::TagTable;

use crate::ai::Ai;
use crate::cache::{Holder, Layers};
use crate::observe::Observers;

/// Everything that a resolver works with.
pub struct Parts {
    pub layers: Layers,
    pub table: Arc<TagTable>,
    pub lag: Arc<Lag>,
    /// The name of this instance in the leases that all instances share.
    pub holder: Holder,
    /// The clients of the AI providers, by their names in the topology.
    pub providers: BTreeMap<Arc<str>, Arc<Ai>>,
    pub clock: Clock,
    /// The receivers of the events of look-ups, leases, calls and fills; the stage passes on the
    /// answers.
    pub observer: Observers,
    /// The runtime on which the tasks of flights run.
    pub runtime: Handle,
}

/// The cache and the models, as one thing that answers queries.
pub struct Resolver {
    parts: Parts,
    flights: Flights<FlightResult>,
    /// The tasks of the flights' leaders.
    leading: TaskTracker,
    /// The number of claims that this instance has made on leases.
    claims: AtomicU64,
    /// The calls without a lease, which no other instance sees.
    unleased: TaskTracker,
    /// Limits the log line about an answer that is in memory only.
    memory_only: Throttle,
}

impl Resolver {
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            flights: Flights::default(),
            leading: TaskTracker::new(),
            claims: AtomicU64::new(0),
            unleased: TaskTracker::new(),
            memory_only: Throttle::new(Duration::from_mins(1)),
        }
    }

    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Returns the number of flights that are not finished, joinable or not.
    pub fn open_flights(&self) -> usize {
        self.leading.len()
    }

    /// Waits until every flight is finished and its fill is stored. Cancel safe.
    pub async fn drained(&self) {
        self.leading.close();
        self.leading.wait().await;
    }

    /// Answers a query that [`Resolver::hit`] could not answer; `waiter` is notified while the
    /// query waits for its turn at the provider. Dropping the future gives the query up; a call in
    /// progress goes on and its answer is kept.
    pub async fn resolve(self: &Arc<Self>, ask: &Ask, waiter: &impl Unfinished) -> Outcome {
        if ask.came_late() {
            return Outcome::Expired;
        }
        match ask.deadline() {
            None => self.resolve_in_time(ask, waiter).await,
            Some(deadline) => tokio::time::timeout_at(deadline, self.resolve_in_time(ask, waiter))
                .await
                .unwrap_or(Outcome::Expired),
        }
    }

    async fn resolve_in_time(self: &Arc<Self>, ask: &Ask, waiter: &impl Unfinished) -> Outcome {
        let (mut last_resort, mut known, mut overtaken) = (None, None, 0);
        loop {
            if ask.reads() {
                match self.look_up(ask).await {
                    CacheResult::Hit(hit) => return Outcome::Hit(hit),
                    CacheResult::Miss { last_resort: found } => last_resort = found,
                }
            }
            let known = known.get_or_insert_with(|| Self::known_tags(ask));
            let (flight, coalesced) = match self.join_or_lead(ask, known, overtaken) {
                FlightOrHit::Flight { flight, coalesced } => (flight, coalesced),
                FlightOrHit::Hit(hit) => return Outcome::Hit(hit),
            };
            match result_for(waiter, &flight).await {
                Some(Ok(answer)) => match self.accept(ask, &flight, answer, coalesced) {
                    Some(called) => return Outcome::Called(called),
                    // A query that arrived after a change looks up again: the flight's answer may
                    // be older than the change.
                    None => overtaken += 1,
                },
                Some(Err(failure)) => {
                    let hit = last_resort
                        .filter(|_| failure.provider_away)
                        .and_then(|hit| self.as_last_resort(ask, hit));
                    return hit
                        .map_or_else(|| Outcome::Failed(failure.error.clone()), Outcome::Hit);
                }
                // The flight was not needed, since the answer has been stored meanwhile. Or its
                // task was ended with the runtime, which then ends this one too.
                None => tokio::task::yield_now().await,
            }
        }
    }
}
