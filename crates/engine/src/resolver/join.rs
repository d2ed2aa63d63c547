//! One flight a key in this process: a query joins the flight of its key or leads a new one, and
//! accepts the flight's answer unless a change has overtaken it.

use std::sync::Arc;

use tokio::time::Instant;

use wedcache_model::{Entry, StaleReason, Tag, TagHash};

use super::call::{Flight, FlightAnswer, FlightResult, Leader};
use super::flight::{Joinable, Part};
use super::usable::Use;
use super::{Ask, Called, Hit, LagState, Resolver};

/// The number of times that a query looks up again because a change overtook the flight that it
/// waited for, before it leads a flight of its own.
const MAX_OVERTAKEN: usize = 3;

/// The hashes of the tags that are known before the answer: all but those of the vendors that only
/// the answer names. Computed once for each query that no layer answers.
pub(super) type KnownTags = Arc<[TagHash]>;

/// The result of joining a flight or of leading a new one.
pub(super) enum FlightOrHit {
    Flight {
        flight: Arc<Flight>,
        /// True if another query leads the flight.
        coalesced: bool,
    },
    /// No flight is needed: the answer has been stored since the look-up.
    Hit(Hit),
}

impl Resolver {
    /// Returns the hashes of the tags by which flights and claims are judged for the query.
    pub(super) fn known_tags<S: AsRef<str>>(ask: &Ask<S>) -> KnownTags {
        let tags = ask.prepared.known_tags(&ask.policy.catalog, &ask.query);
        tags.iter().map(Tag::hash).collect()
    }

    /// Joins the flight of the query's key if its answer will do for the query, else leads a new
    /// one. A query that changes have overtaken too often does not join.
    pub(super) fn join_or_lead(
        self: &Arc<Self>,
        ask: &Ask,
        known: &KnownTags,
        overtaken: usize,
    ) -> FlightOrHit {
        let may_join = ask.reads() && overtaken < MAX_OVERTAKEN;
        let good = |flight: &_| may_join && self.is_good_for(ask, flight, known);
        match self.part(ask, good) {
            Part::Waiter(flight) => {
                flight.until.extend(ask.deadline());
                FlightOrHit::Flight {
                    flight,
                    coalesced: true,
                }
            }
            // Looked up once more, now that this query leads: another flight may have stored the
            // answer since the first look-up, and it would be paid for twice. Queries that have
            // joined this flight in between find its leader gone and look up again.
            Part::Leader(leader) => match self.settled_in_memory(ask) {
                Some(hit) => FlightOrHit::Hit(hit),
                None => FlightOrHit::Flight {
                    flight: self.start(leader, ask.clone(), known, ask.deadline()),
                    coalesced: false,
                },
            },
        }
    }

    /// Starts one flight for an entry that is to be refreshed and is served meanwhile. Starts none
    /// while the provider is known to be away, or each such hit would pay for a flight that comes
    /// to nothing.
    pub(super) fn refill<S>(self: &Arc<Self>, ask: &Ask<S>, verdict: Use)
    where
        S: AsRef<str> + Clone,
    {
        let refused = || {
            let model = self.model(ask);
            model.is_some_and(|(ai, _)| ai.refuses())
        };
        if verdict != Use::Stale(StaleReason::Refreshed) || !ask.stores() || refused() {
            return;
        }
        let known = Self::known_tags(ask);
        let good = |flight: &_| self.is_good_for(ask, flight, &known);
        if let Part::Leader(leader) = self.part(ask, good)
            && self.settled_in_memory(ask).is_none()
        {
            self.start(leader, ask.to_owned(), &known, None);
        }
    }

    /// Returns the flight's answer as the query may have it, or `None` if the query must look up
    /// again.
    pub(super) fn accept(
        self: &Arc<Self>,
        ask: &Ask,
        flight: &Flight,
        answer: FlightAnswer,
        coalesced: bool,
    ) -> Option<Called> {
        match answer {
            // The call may have begun before this flight was stamped, so the entry is judged like
            // any stored one.
            FlightAnswer::Elsewhere(entry) => {
                let verdict = self.judge(&entry.header, ask, self.parts.clock.now());
                self.refill(ask, verdict);
                verdict.serves().then(|| Called {
                    entry,
                    coalesced: true,
                    stale: verdict.stale(),
                })
            }
            FlightAnswer::Called {
                entry,
                tags_complete,
            } => {
                let for_all = tags_complete || !coalesced;
                let may_have = for_all && !self.forbids(ask, flight, &entry);
                may_have.then(|| Called {
                    entry,
                    coalesced,
                    stale: self.lagging(),
                })
            }
        }
    }

    /// Takes a part in the flight of the query's key.
    fn part<S>(&self, ask: &Ask<S>, good: impl Fn(&Flight) -> bool) -> Part<FlightResult> {
        let joinable = if ask.stores() {
            Joinable::Yes
        } else {
            Joinable::No
        };
        // The stamp is taken before the call begins: a change that is applied during the call then
        // comes after the stamp, and forbids the answer to queries that arrive after the change.
        let begin = || (self.parts.table.open_flight(), self.parts.clock.now());
        self.flights
            .join_or_lead(&ask.prepared.key, joinable, good, begin)
    }

    /// Starts the leader's task; the flight is wanted until `until`, or forever.
    fn start(
        self: &Arc<Self>,
        leader: Leader,
        ask: Ask,
        known: &KnownTags,
        until: Option<Instant>,
    ) -> Arc<Flight> {
        let flight = Arc::clone(&leader.flight);
        flight.until.extend(until);
        let (resolver, known) = (Arc::clone(self), Arc::clone(known));
        self.leading.spawn_on(
            async move { resolver.lead(leader, &ask, &known).await },
            &self.parts.runtime,
        );
        flight
    }

    /// Returns true if the flight is young enough for the query, and no change that the query came
    /// after has hit a known tag since the flight's stamp.
    fn is_good_for<S>(&self, ask: &Ask<S>, flight: &Flight, known: &[TagHash]) -> bool {
        ask.accepts_age_of(flight.called_at) && !self.is_overtaken(ask, flight, known)
    }

    /// Returns true if a change that the query came after forbids the query the flight's answer.
    /// Unlike in [`Resolver::is_good_for`] the vendors that the answer names are known by now.
    fn forbids(&self, ask: &Ask, flight: &Flight, entry: &Entry) -> bool {
        let mut tags = entry.header.tag_hashes.to_vec();
        tags.extend(&ask.asker);
        self.is_overtaken(ask, flight, &tags)
    }

    fn is_overtaken<S>(&self, ask: &Ask<S>, flight: &Flight, tags: &[TagHash]) -> bool {
        let stamp = &flight.stamp;
        self.parts
            .table
            .hit_between(stamp.log_id(), tags, stamp.position(), ask.arrival)
    }

    /// Returns the label of an answer that was just made, if the view of changes lags.
    fn lagging(&self) -> Option<StaleReason> {
        match self.parts.lag.get() {
            LagState::Label(reason) => Some(reason),
            LagState::Current | LagState::Bypass(_) => None,
        }
    }
}
