//! From the poll thread to the rules task.

use std::sync::Arc;

use tokio::sync::mpsc::{self, error::TrySendError};

use crate::invalidation::ChangePartition;
use crate::invalidation::rule::Source;
use crate::kafka::Assigned;
use crate::kafka::{Handler, InRecord, Ticket};
use crate::model::{Coordinates, Tag, TopicId, TraceParent};

#[derive(Debug, Clone)]
pub struct ChangeTopics {
    pub vendor: Arc<str>,
    pub wedding: Arc<str>,
}

/// A change as it came, with what it owes.
pub(super) struct Item {
    pub(super) source: Source,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(super) place: Coordinates,
    /// The topic that it was read from, as far as is known.
    pub(super) topic_id: Option<TopicId>,
    pub(super) trace: TraceParent,
    pub(super) ticket: Ticket,
    /// Refreshes that it owed when it was parked.
    pub(super) owed: Vec<Tag>,
    /// Whether all that it may concern is invalidated, though it could not be read.
    pub(super) widened: bool,
}

impl Item {
    pub(super) fn partition(&self) -> ChangePartition {
        (Arc::clone(&self.place.topic), self.place.partition)
    }
}

pub(super) enum Message {
    Change(Box<Item>),
    Assigned(Vec<Assigned>),
}

/// The poll thread's half: hands changes over, never waits. A clone is for a member that takes
/// this one's place.
#[derive(Clone)]
pub struct RulesIntake {
    pub(super) topics: ChangeTopics,
    pub(super) sender: mpsc::Sender<Message>,
}

impl Handler for RulesIntake {
    fn record(&mut self, record: &InRecord<'_>, ticket: Ticket) {
        let source = if *record.topic() == self.topics.wedding {
            Source::Wedding
        } else {
            Source::Vendor
        };
        let headers = record
            .headers()
            .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
            .collect();
        let item = Item {
            source,
            key: record.key().map(<[u8]>::to_vec),
            value: record.value().map(<[u8]>::to_vec),
            headers,
            place: record.coordinates(),
            topic_id: record.topic_id(),
            trace: record
                .trace_parent()
                .map_or_else(TraceParent::fresh, TraceParent::child),
            ticket,
            owed: Vec::new(),
            widened: false,
        };
        self.hand_over(Message::Change(Box::new(item)));
    }

    fn assigned(&mut self, partitions: &[Assigned]) {
        self.hand_over(Message::Assigned(partitions.to_vec()));
    }

    /// What is given up counts as judged: whoever skipped it has widened what it may concern.
    fn skipped(&mut self, partition: &Assigned) {
        self.assigned(std::slice::from_ref(partition));
    }
}

impl RulesIntake {
    /// There is room for everything that back-pressure lets in; what does not fit is left
    /// unfinished, which is seen and never skipped.
    fn hand_over(&self, message: Message) {
        match self.sender.try_send(message) {
            Ok(()) => {}
            // It judges nothing any more once the instance drains.
            Err(TrySendError::Closed(_)) => tracing::debug!("the rules task has ended"),
            Err(TrySendError::Full(_)) => {
                tracing::error!("a change could not be handed to the rules task: no room");
            }
        }
    }
}
