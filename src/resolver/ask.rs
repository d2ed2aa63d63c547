//! A query as the resolver takes it: decoded, keyed, and dated by what was known at its arrival.

use arrayvec::ArrayVec;
use tokio::time::Instant;

use crate::model::prepared::Prepared;
use crate::model::record::RecordId;
use crate::model::{AiQuery, Position, TagHash, Timestamp, TraceParent};

/// On the hit path the query borrows its text from the record.
#[derive(Debug, Clone)]
pub struct Ask<S = String> {
    pub answer_id: RecordId,
    pub query: AiQuery<S>,
    pub prepared: Prepared,
    /// The hashes of the asker's tags.
    pub asker: AskerTags,
    pub trace: TraceParent,
    pub arrived_at: Timestamp,
    pub arrived: Instant,
    /// How far this instance had applied the invalidation log when the query arrived.
    pub arrival: Position,
}

/// The hashes of a couple's at most two tags of its own, wedding and user.
pub type AskerTags = ArrayVec<TagHash, 2>;

impl<S: AsRef<str>> Ask<S> {
    /// The same question with text of its own, for whatever outlives the record.
    pub fn to_owned(&self) -> Ask
    where
        S: Clone,
    {
        Ask {
            answer_id: self.answer_id,
            query: self.query.clone().map(|text| text.as_ref().to_owned()),
            prepared: self.prepared.clone(),
            asker: self.asker.clone(),
            trace: self.trace,
            arrived_at: self.arrived_at,
            arrived: self.arrived,
            arrival: self.arrival,
        }
    }
}

impl<S> Ask<S> {
    /// Whether an answer from the cache may serve it.
    pub fn reads(&self) -> bool {
        self.prepared.storable && !self.query.options.bypass_cache
    }

    /// Whether it may wait for another query's call.
    pub fn joins(&self) -> bool {
        self.reads()
    }

    /// Whether its own call's answer may be kept and shared.
    pub fn stores(&self) -> bool {
        self.prepared.storable && !self.query.options.no_store
    }

    /// An entry whose call began before it is too old; none where any age will do.
    pub fn oldest_call(&self) -> Option<Timestamp> {
        let age = self.query.options.max_age?;
        Some(self.arrived_at.minus(age))
    }

    /// When it is answered `expired`, on the clock of timers.
    pub fn deadline(&self) -> Option<Instant> {
        let deadline = self.query.options.deadline?;
        Some(self.arrived + deadline.since(self.arrived_at))
    }

    /// Whether the deadline had passed at the arrival.
    pub fn came_late(&self) -> bool {
        self.query
            .options
            .deadline
            .is_some_and(|deadline| deadline <= self.arrived_at)
    }
}
