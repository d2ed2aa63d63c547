//! The way of a query: memory, then the slower layers, then one call that many may wait for.
//!
//! ```text
//! Ask ─▶ hit (memory, in place) ─▶ look_up (disk, redis) ─▶ board a flight ─▶ fly: clear ▸ call ▸ fill
//!              └──────── judged by the tag table at every step ────────┘          └▶ land: all aboard
//! ```
//!
//! The order in `resolve` is what the promises rest on: the view is read before an entry is
//! judged, a flight is stamped before its call begins, a fill is durable before anybody is
//! answered from it, and whoever arrived after a change looks up again rather than take the
//! answer of a flight that the change has overtaken.

pub mod ask;
mod clearance;
pub mod flight;
mod fly;
pub mod lag;
mod observed;
pub mod outcome;
mod usable;
mod waiter;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

pub use ask::{Ask, AskerTags};
pub use flight::Flights;
pub use lag::{Lag, LagState};
pub use outcome::{Called, Hit, Outcome};

use crate::ai::Ai;
use crate::cache::{Holder, LayerHit, Layers};
use crate::clock::Clock;
use crate::invalidation::{TagTable, Verdict};
use crate::model::entry::Header;
use crate::model::{AnswerError, Catalog, Entry, LayerName, StaleReason, TagHash, Timestamp};
use crate::observe::{LookedUp, LookupResult, Observer as _, Observers};
use crate::trouble::Throttle;
use clearance::Traffic;
use flight::{Boarding, Doors, Flight, Pilot};
use usable::{Use, usable};
pub use waiter::Waiter;
use waiter::landing;

/// Everything a resolver works with.
pub struct Parts {
    pub catalog: Arc<Catalog>,
    pub layers: Layers,
    pub table: Arc<TagTable>,
    pub lag: Arc<Lag>,
    /// Who this instance is to the others that share its leases.
    pub holder: Holder,
    /// Who is asked, by the name of the cache type.
    pub models: HashMap<Arc<str>, Model>,
    pub clock: Clock,
    /// Given the events of look-ups, leases, calls and fills; the stage tells the answers.
    pub observer: Observers,
    /// Where flights fly.
    pub runtime: Handle,
}

/// Who answers a cache type's questions; types can share a client.
#[derive(Clone)]
pub struct Model {
    pub ai: Arc<Ai>,
    /// The longest answer, in the model's tokens.
    pub max_tokens: u32,
}

pub struct Resolver {
    parts: Parts,
    flights: Flights<Landing>,
    flying: TaskTracker,
    traffic: Traffic,
    /// For the line that an answer is in memory only.
    memory_only: Throttle,
}

/// What a flight lands with: the answer as an entry, stored or not, or why there is none.
type Landing = Result<Landed, Arc<FlightError>>;

#[derive(Debug, Clone)]
struct Landed {
    entry: Arc<Entry>,
    /// Whether the entry's tags name every vendor that the answer refers to; where they do not,
    /// nobody but the leader can be given it.
    tags_complete: bool,
    /// Another instance has called: the entry is older than the flight.
    elsewhere: bool,
}

#[derive(Debug)]
struct FlightError {
    error: AnswerError,
    /// The provider could not be had, as opposed to what it said being of no use.
    provider_away: bool,
}

/// A stale entry that is better than nothing.
struct LastResort {
    hit: Hit,
}

/// What boarding came to.
enum Seat {
    Aboard {
        flight: Arc<Flight<Landing>>,
        /// Whether it is another query's call.
        coalesced: bool,
    },
    /// The answer has been stored since the look-up.
    NotNeeded(Hit),
}

/// How often a query looks up again because a change overtook the flight that it waited for,
/// before it leads a call of its own.
const MAX_REBOARDINGS: usize = 3;

impl Resolver {
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            flights: Flights::default(),
            flying: TaskTracker::new(),
            traffic: Traffic::default(),
            memory_only: Throttle::new(Duration::from_mins(1)),
        }
    }

    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    pub fn open_flights(&self) -> usize {
        self.flying.len()
    }

    /// Waits until every flight has landed and its fill is stored. Cancel safe.
    pub async fn drained(&self) {
        self.flying.close();
        self.flying.wait().await;
    }

    /// The answer from memory at `now`, where there is one: no waiting, no lock, no task.
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
        let Parts { layers, table, .. } = &self.parts;
        let entry = layers.memory_hit(&ask.prepared.key)?;
        let view = table.position();
        match self.judged(&entry.header, ask, now) {
            Use::Fresh => Some(Hit {
                entry,
                layer: LayerName::Memory,
                stale: None,
                view,
            }),
            Use::Stale(reason) => {
                self.refill(ask, reason);
                Some(Hit {
                    entry,
                    layer: LayerName::Memory,
                    stale: Some(reason),
                    view,
                })
            }
            Use::IfError(_) | Use::Never => None,
            Use::Dead => {
                // What one couple's own change forbids it stays good for the others.
                if let Some(memory) = layers.memory()
                    && table.judge(&entry.header, &[]) == Verdict::Purged
                {
                    memory.remove(&ask.prepared.key, &entry.header);
                }
                None
            }
        }
    }

    /// Answers a query that memory could not answer at once; `waiter` is told when it waits for its
    /// turn. Dropping the future gives the query up; a call under way goes on and its answer is
    /// kept.
    pub async fn resolve(self: &Arc<Self>, ask: &Ask, waiter: &impl Waiter) -> Outcome {
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

    async fn resolve_in_time(self: &Arc<Self>, ask: &Ask, waiter: &impl Waiter) -> Outcome {
        let (mut last_resort, mut overtaken) = (None, 0);
        loop {
            if ask.reads() {
                match self.look_up(ask).await {
                    Ok(hit) => return Outcome::Hit(hit),
                    Err(found) => last_resort = found,
                }
            }
            let (flight, coalesced) = match self.board(ask, overtaken < MAX_REBOARDINGS) {
                Seat::Aboard { flight, coalesced } => (flight, coalesced),
                Seat::NotNeeded(hit) => return Outcome::Hit(hit),
            };
            match landing(&flight, waiter).await {
                Some(Ok(landed)) if landed.elsewhere => {
                    match self.called_elsewhere(ask, landed.entry) {
                        Some(called) => return Outcome::Called(called),
                        None => overtaken += 1,
                    }
                }
                Some(Ok(landed))
                    if (coalesced && !landed.tags_complete)
                        || self.overtaken(ask, &flight, &landed.entry) =>
                {
                    overtaken += 1;
                }
                Some(Ok(landed)) => {
                    return Outcome::Called(Called {
                        entry: landed.entry,
                        coalesced,
                        stale: self.lagging(),
                    });
                }
                Some(Err(failure)) => return self.without_answer(ask, &failure, last_resort),
                // It was not needed: the answer has been stored meanwhile. Or its task was ended
                // with the runtime, which then ends this one too.
                None => tokio::task::yield_now().await,
            }
        }
    }

    /// The answer of another instance's call, unless it will not do for this query: then it looks
    /// up again.
    fn called_elsewhere(self: &Arc<Self>, ask: &Ask, entry: Arc<Entry>) -> Option<Called> {
        let stale = match self.judged(&entry.header, ask, self.parts.clock.now()) {
            Use::Fresh => None,
            Use::Stale(reason) => {
                self.refill(ask, reason);
                Some(reason)
            }
            Use::IfError(_) | Use::Never | Use::Dead => return None,
        };
        Some(Called {
            entry,
            coalesced: true,
            stale,
        })
    }

    /// Memory and the slower layers. The error is what could still serve if all else fails.
    async fn look_up(self: &Arc<Self>, ask: &Ask) -> Result<Hit, Option<LastResort>> {
        if let Some(hit) = self.hit(ask, self.parts.clock.now()) {
            return Ok(hit);
        }
        let Parts {
            layers,
            table,
            clock,
            ..
        } = &self.parts;
        let now = clock.now();
        let view = table.position();
        let judged = |header: &_| self.judged(header, ask, now);
        let found = layers
            .get_slow(&ask.prepared.key, &|header| judged(header).serves())
            .await;
        self.looked_up(&found.outcomes);
        if let Some(LayerHit { layer, entry }) = found.hit {
            // Judged once more: changes may have been applied while the layer was asked.
            match judged(&entry.header) {
                Use::Fresh => {
                    return Ok(Hit {
                        entry,
                        layer,
                        stale: None,
                        view,
                    });
                }
                Use::Stale(reason) => {
                    self.refill(ask, reason);
                    return Ok(Hit {
                        entry,
                        layer,
                        stale: Some(reason),
                        view,
                    });
                }
                Use::IfError(_) | Use::Never | Use::Dead => {}
            }
        }
        let memory = layers.memory_hit(&ask.prepared.key).map(|entry| LayerHit {
            layer: LayerName::Memory,
            entry,
        });
        let candidates = memory.into_iter().chain(found.refused);
        Err(candidates
            .filter_map(|LayerHit { layer, entry }| match judged(&entry.header) {
                Use::IfError(reason) => Some(LastResort {
                    hit: Hit {
                        entry,
                        layer,
                        stale: Some(reason),
                        view,
                    },
                }),
                _ => None,
            })
            .max_by_key(|found| found.hit.entry.header.called_at))
    }

    /// Takes a seat: in the flight that is on its way where it is good for this query, else in
    /// one of its own.
    fn board(self: &Arc<Self>, ask: &Ask, may_join: bool) -> Seat {
        let key = &ask.prepared.key;
        let begin = || (self.parts.table.open_flight(), self.parts.clock.now());
        let doors = if ask.stores() {
            Doors::Open
        } else {
            Doors::Closed
        };
        let boarding = if ask.joins() && may_join {
            let known = self.known_tags(ask);
            let good = |flight: &Flight<Landing>| self.good_for(ask, flight, &known);
            self.flights.board(key, doors, good, begin)
        } else {
            Boarding::Leads(self.flights.lead(key, doors, begin()))
        };
        match boarding {
            Boarding::Joined(flight) => {
                flight.until.extend(ask.deadline());
                Seat::Aboard {
                    flight,
                    coalesced: true,
                }
            }
            // Whoever boarded meanwhile sees this flight lost, and looks up again.
            Boarding::Leads(pilot) => {
                if let Some(hit) = self.landed_meanwhile(ask) {
                    return Seat::NotNeeded(hit);
                }
                pilot.flight.until.extend(ask.deadline());
                let flight = Arc::clone(&pilot.flight);
                self.take_off(pilot, ask.clone());
                Seat::Aboard {
                    flight,
                    coalesced: false,
                }
            }
        }
    }

    /// What another flight has stored between the look-up and the boarding: without asking again
    /// a slow look-up would buy the answer twice.
    fn landed_meanwhile<S>(&self, ask: &Ask<S>) -> Option<Hit> {
        let Parts {
            layers,
            table,
            clock,
            ..
        } = &self.parts;
        if !ask.reads() {
            return None;
        }
        let entry = layers.memory_hit(&ask.prepared.key)?;
        let view = table.position();
        let judged = self.judged(&entry.header, ask, clock.now());
        if !judged.needs_no_call() {
            return None;
        }
        let stale = match judged {
            Use::Stale(reason) => Some(reason),
            _ => None,
        };
        Some(Hit {
            entry,
            layer: LayerName::Memory,
            stale,
            view,
        })
    }

    #[inline]
    fn judged<S>(&self, header: &Header, ask: &Ask<S>, now: Timestamp) -> Use {
        let Parts { table, lag, .. } = &self.parts;
        usable(table, lag.get(), header, ask, now)
    }

    /// A waiter joins only a flight that none of its known tags has overtaken.
    fn good_for<S>(&self, ask: &Ask<S>, flight: &Flight<Landing>, known: &[TagHash]) -> bool {
        let table = &self.parts.table;
        ask.oldest_call()
            .is_none_or(|oldest| flight.called_at >= oldest)
            && !table.hit_between(
                flight.stamp.log_id(),
                known,
                flight.stamp.position(),
                ask.arrival,
            )
    }

    /// Whether a change that this query came after forbids it the flight's answer; now the tags
    /// of the vendors that the answer names are known too.
    fn overtaken(&self, ask: &Ask, flight: &Flight<Landing>, entry: &Entry) -> bool {
        let mut tags = entry.header.tag_hashes.to_vec();
        tags.extend(&ask.asker);
        let stamp = &flight.stamp;
        self.parts
            .table
            .hit_between(stamp.log_id(), &tags, stamp.position(), ask.arrival)
    }

    fn known_tags<S: AsRef<str>>(&self, ask: &Ask<S>) -> Vec<TagHash> {
        let tags = ask.prepared.known_tags(&self.parts.catalog, &ask.query);
        tags.iter().map(crate::model::Tag::hash).collect()
    }

    /// Sends one flight for a refreshed entry, which is served meanwhile; none while its provider
    /// is known to be away, or each such hit would pay for a flight that comes to nothing.
    fn refill<S>(self: &Arc<Self>, ask: &Ask<S>, reason: StaleReason)
    where
        S: AsRef<str> + Clone,
    {
        let refused = || {
            let model = self.parts.models.get(&ask.prepared.cache_type.name);
            model.is_some_and(|model| model.ai.refuses())
        };
        if reason != StaleReason::Refreshed || !ask.stores() || refused() {
            return;
        }
        let known = self.known_tags(ask);
        let good = |flight: &Flight<Landing>| self.good_for(ask, flight, &known);
        let begin = || (self.parts.table.open_flight(), self.parts.clock.now());
        if let Boarding::Leads(pilot) =
            self.flights
                .board(&ask.prepared.key, Doors::Open, good, begin)
            && self.landed_meanwhile(ask).is_none()
        {
            pilot.flight.until.extend(None);
            self.take_off(pilot, ask.to_owned());
        }
    }

    fn take_off(self: &Arc<Self>, pilot: Pilot<Landing>, ask: Ask) {
        let resolver = Arc::clone(self);
        self.flying.spawn_on(
            async move { resolver.fly(pilot, &ask).await },
            &self.parts.runtime,
        );
    }

    /// What a query gets when its flight brought none: an expired answer if the provider is away
    /// and the topology lets it, judged again now.
    fn without_answer(
        &self,
        ask: &Ask,
        failure: &FlightError,
        last_resort: Option<LastResort>,
    ) -> Outcome {
        let Parts { table, clock, .. } = &self.parts;
        let view = table.position();
        let still = last_resort
            .filter(|_| failure.provider_away)
            .and_then(
                |found| match self.judged(&found.hit.entry.header, ask, clock.now()) {
                    Use::IfError(reason) | Use::Stale(reason) => Some(Hit {
                        stale: Some(reason),
                        view,
                        ..found.hit
                    }),
                    _ => None,
                },
            );
        still.map_or_else(|| Outcome::Failed(failure.error.clone()), Outcome::Hit)
    }

    /// An answer that was just made is labelled too where the view of changes lags.
    fn lagging(&self) -> Option<StaleReason> {
        match self.parts.lag.get() {
            LagState::Label(reason) => Some(reason),
            LagState::Current | LagState::Bypass(_) => None,
        }
    }
}
