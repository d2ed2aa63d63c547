//! A query as the resolver takes it: decoded, with its key, and dated by its arrival.

use std::sync::Arc;

use arrayvec::ArrayVec;
use tokio::time::Instant;

use wedcache_model::prepared::Prepared;
use wedcache_model::record::RecordId;
use wedcache_model::{AiQuery, Position, TagHash, Timestamp, TraceParent};
use wedcache_rules::topology::Policy;

/// A query to be answered. On the hit path its text is borrowed from the record.
#[derive(Debug, Clone)]
pub struct Ask<S = String> {
    pub answer_id: RecordId,
    pub query: AiQuery<S>,
    pub prepared: Prepared,
    /// The policy in force at the arrival, by which the query is answered to its end.
    pub policy: Arc<Policy>,
    /// The hashes of the asker's tags.
    pub asker: AskerTags,
    pub trace: TraceParent,
    pub arrived_at: Timestamp,
    pub arrived: Instant,
    /// The position up to which this instance had applied the invalidation log when the query
    /// arrived.
    pub arrival: Position,
}

/// The hashes of a couple's own tags, at most two: its wedding and its user.
pub type AskerTags = ArrayVec<TagHash, 2>;

impl<S: AsRef<str>> Ask<S> {
    /// Copies the query with text of its own, for a task that outlives the record.
    pub fn to_owned(&self) -> Ask
    where
        S: Clone,
    {
        Ask {
            answer_id: self.answer_id,
            query: self.query.clone().map(|text| text.as_ref().to_owned()),
            prepared: self.prepared.clone(),
            policy: Arc::clone(&self.policy),
            asker: self.asker.clone(),
            trace: self.trace,
            arrived_at: self.arrived_at,
            arrived: self.arrived,
            arrival: self.arrival,
        }
    }
}

impl<S> Ask<S> {
    /// Returns true if an entry of the cache or another query's call may answer the query.
    pub fn reads(&self) -> bool {
        self.prepared.storable && !self.query.options.bypass_cache
    }

    /// Returns true if the answer of the query's own call may be stored and shared.
    pub fn stores(&self) -> bool {
        self.prepared.storable && !self.query.options.no_store
    }

    /// Returns true if an answer whose call began at `called_at` is young enough.
    pub fn accepts_age_of(&self, called_at: Timestamp) -> bool {
        self.oldest_call().is_none_or(|oldest| called_at >= oldest)
    }

    /// Returns the earliest beginning of a call that is young enough; `None` if any age will do.
    pub fn oldest_call(&self) -> Option<Timestamp> {
        let age = self.query.options.max_age?;
        Some(self.arrived_at.minus(age))
    }

    /// Returns the time at which the query is answered `expired`, on the clock of timers.
    pub fn deadline(&self) -> Option<Instant> {
        let deadline = self.query.options.deadline?;
        Some(self.arrived + deadline.since(self.arrived_at))
    }

    /// Returns true if the deadline had passed when the query arrived.
    pub fn came_late(&self) -> bool {
        self.query
            .options
            .deadline
            .is_some_and(|deadline| deadline <= self.arrived_at)
    }
}
