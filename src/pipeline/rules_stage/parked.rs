//! Changes that wait for their schema: for a moment with nothing widened, for as long as it takes
//! once what they may concern is invalidated.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::intake::Item;
use crate::codec::{Registry, Reject};
use crate::pipeline::query_stage::learn_schema;

/// How long the registry has to tell a schema before whole types are refreshed for a change in it.
const PATIENCE: Duration = Duration::from_secs(1);

/// What goes on with a change that waited for its schema.
pub(super) enum Turn {
    /// The schema has come, or will never.
    Learnt(Item, Option<Reject>),
    /// The registry has not told this schema in time.
    Overdue(u32, Item),
}

/// Waiting changes by the schema that they wait for; one question a schema is on its way.
pub(super) struct Parking {
    registry: Option<Arc<Registry>>,
    questions: HashMap<u32, Question>,
    learnt: mpsc::Sender<(u32, Option<Reject>)>,
    answers: mpsc::Receiver<(u32, Option<Reject>)>,
    /// Whose turn it is, the last one first.
    ready: Vec<Turn>,
}

struct Question {
    overdue_at: Instant,
    items: Vec<Item>,
}

impl Question {
    fn waits_unwidened(&self) -> bool {
        self.items.iter().any(|item| !item.widened)
    }
}

impl Parking {
    pub(super) fn new(registry: Option<Arc<Registry>>, room: usize) -> Self {
        let (learnt, answers) = mpsc::channel(room.max(1));
        Self {
            registry,
            questions: HashMap::new(),
            learnt,
            answers,
            ready: Vec::new(),
        }
    }

    /// Whether a schema may still be told in time: it was not asked for yet, or just now.
    pub(super) fn may_come(&self, schema_id: u32) -> bool {
        let question = self.questions.get(&schema_id);
        question.is_none_or(|of| Instant::now() < of.overdue_at)
    }

    pub(super) fn park(&mut self, schema_id: u32, item: Item) {
        if let Some(question) = self.questions.get_mut(&schema_id) {
            question.items.push(item);
            return;
        }
        let question = Question {
            overdue_at: Instant::now() + PATIENCE,
            items: vec![item],
        };
        self.questions.insert(schema_id, question);
        let (registry, learnt) = (self.registry.clone(), self.learnt.clone());
        tokio::spawn(async move {
            let reject = learn_schema(registry.as_deref(), schema_id).await;
            if learnt.send((schema_id, reject)).await.is_err() {
                tracing::debug!(schema_id, "the rules task ended before the schema came");
            }
        });
    }

    /// Leaves all that wait to the next owners of their partitions.
    pub(super) fn leave(self) {
        let ready = self.ready.into_iter().map(|turn| match turn {
            Turn::Learnt(item, _) | Turn::Overdue(_, item) => item,
        });
        let waiting = self.questions.into_values().flat_map(|of| of.items);
        waiting.chain(ready).for_each(|item| item.ticket.leave());
    }

    /// The next change that can go on; for ever if there is none. Cancel safe.
    pub(super) async fn next(&mut self) -> Turn {
        loop {
            if let Some(turn) = self.ready.pop() {
                return turn;
            }
            let overdue = self.next_overdue();
            let overdue_at = overdue.map_or_else(far_off, |(at, _)| at);
            tokio::select! {
                // Our own sender keeps the channel open.
                Some((schema_id, reject)) = self.answers.recv() => {
                    let question = self.questions.remove(&schema_id);
                    let items = question.map(|of| of.items).unwrap_or_default();
                    let turns = items.into_iter().map(|item| Turn::Learnt(item, reject.clone()));
                    self.ready.extend(turns.rev());
                }
                () = tokio::time::sleep_until(overdue_at) => {
                    if let Some((_, schema_id)) = overdue {
                        self.give_up(schema_id);
                    }
                }
            }
        }
    }

    /// The next question that is overdue with changes for which nothing is widened yet.
    fn next_overdue(&self) -> Option<(Instant, u32)> {
        let open = self.questions.iter().filter(|(_, of)| of.waits_unwidened());
        open.map(|(schema_id, of)| (of.overdue_at, *schema_id))
            .min()
    }

    fn give_up(&mut self, schema_id: u32) {
        let Some(question) = self.questions.get_mut(&schema_id) else {
            return;
        };
        let (widened, overdue): (Vec<_>, Vec<_>) = std::mem::take(&mut question.items)
            .into_iter()
            .partition(|item| item.widened);
        question.items = widened;
        let turns = overdue
            .into_iter()
            .map(|item| Turn::Overdue(schema_id, item));
        self.ready.extend(turns.rev());
    }
}

fn far_off() -> Instant {
    Instant::now() + Duration::from_hours(24)
}
