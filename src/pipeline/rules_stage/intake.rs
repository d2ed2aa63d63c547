//! The intake of the rules stage: from the poll thread to the task.

use std::sync::Arc;

use tokio::sync::mpsc::{self, error::TrySendError};

use crate::invalidation::rule::ChangeSource;
use crate::kafka::Assigned;
use crate::kafka::{Handler, InRecord, Ticket};
use crate::model::TraceParent;
use crate::stages::changes::{Assignment, ChangeInput, TakenChange};

#[derive(Debug, Clone)]
pub struct ChangeTopics {
    pub vendor: Arc<str>,
    pub wedding: Arc<str>,
}

/// The poll thread's half: it hands changes over and never waits. A member that takes this one's
/// place gets a clone.
#[derive(Clone)]
pub struct RulesIntake {
    pub(super) topics: ChangeTopics,
    pub(super) sender: mpsc::Sender<ChangeInput<Ticket>>,
}

impl Handler for RulesIntake {
    fn record(&mut self, record: &InRecord<'_>, ticket: Ticket) {
        let source = if *record.topic() == self.topics.wedding {
            ChangeSource::Wedding
        } else {
            ChangeSource::Vendor
        };
        let headers = record
            .headers()
            .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
            .collect();
        let change = TakenChange {
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
        };
        self.hand_over(ChangeInput::Change(Box::new(change)));
    }

    fn assigned(&mut self, partitions: &[Assigned]) {
        let assigned = partitions.iter().map(|of| Assignment {
            partition: (Arc::clone(&of.topic), of.partition),
            topic_id: of.topic_id,
            next_offset: of.next_offset,
        });
        self.hand_over(ChangeInput::Assigned(assigned.collect()));
    }

    /// Counts a range that was given up as judged: whoever skipped it has widened what it may
    /// concern.
    fn skipped(&mut self, partition: &Assigned) {
        self.assigned(std::slice::from_ref(partition));
    }
}

impl RulesIntake {
    /// Hands something over to the task. There is room for everything that back-pressure lets in; a
    /// change that does not fit stays unfinished, which raises an alarm.
    fn hand_over(&self, input: ChangeInput<Ticket>) {
        match self.sender.try_send(input) {
            Ok(()) => {}
            // The task judges no more changes once the instance drains.
            Err(TrySendError::Closed(_)) => tracing::debug!("the rules task has ended"),
            Err(TrySendError::Full(_)) => {
                tracing::error!("a change could not be handed to the rules task: no room");
            }
        }
    }
}
