//! Changes that wait for their schema while the registry is away.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::Item;
use crate::codec::{Registry, Reject};
use crate::pipeline::query_stage::learn_schema;

/// Parked changes by the schema that they wait for; one question a schema is on its way.
pub(super) struct Parking {
    registry: Option<Arc<Registry>>,
    waiting: HashMap<u32, Vec<Item>>,
    learnt: mpsc::Sender<(u32, Option<Reject>)>,
    answers: mpsc::Receiver<(u32, Option<Reject>)>,
    /// Items whose schema has come, or will never, in their order.
    ready: Vec<(Item, Option<Reject>)>,
}

impl Parking {
    pub(super) fn new(registry: Option<Arc<Registry>>, room: usize) -> Self {
        let (learnt, answers) = mpsc::channel(room.max(1));
        Self {
            registry,
            waiting: HashMap::new(),
            learnt,
            answers,
            ready: Vec::new(),
        }
    }

    pub(super) fn park(&mut self, schema_id: u32, item: Item) {
        let waiting = self.waiting.entry(schema_id).or_default();
        waiting.push(item);
        if waiting.len() > 1 {
            return;
        }
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
        let ready = self.ready.into_iter().map(|(item, _)| item);
        let waiting = self.waiting.into_values().flatten();
        waiting.chain(ready).for_each(|item| item.ticket.leave());
    }

    /// The next change that can be judged again, or the reject of its schema. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<(Item, Option<Reject>)> {
        if self.ready.is_empty() {
            let (schema_id, reject) = self.answers.recv().await?;
            let items = self.waiting.remove(&schema_id).unwrap_or_default();
            self.ready
                .extend(items.into_iter().map(|item| (item, reject.clone())));
            self.ready.reverse();
        }
        self.ready.pop()
    }
}
