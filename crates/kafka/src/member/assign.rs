//! An assignment: reads the committed offsets and starts the partitions from them.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};

use wedcache_model::TopicId;

use super::super::topic_ids::{self, TopicIds};
use super::context::GroupContext;
use super::offsets::Tracker;
use super::partition::PartitionState;
use super::rebalance::{Assigned, Rebalance, is_cooperative, show};

/// The longest time for one attempt to read committed offsets.
const RESTORE_ATTEMPT: Duration = Duration::from_secs(3);

/// The start of one partition.
struct Start {
    partition: Arc<PartitionState>,
    next_offset: Option<i64>,
    /// True if the group coordinator answered for the partition.
    known: bool,
}

impl Start {
    fn assigned(&self) -> Assigned {
        self.partition.assigned(self.next_offset)
    }

    fn place(&self) -> Offset {
        match (self.next_offset, self.known) {
            (Some(next), _) => Offset::Offset(next),
            (None, true) => Offset::Beginning,
            // librdkafka asks for the committed offset itself, as long as it takes.
            (None, false) => Offset::Stored,
        }
    }
}

impl GroupContext {
    pub(super) fn assign(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        self.state.next_generation();
        let starts = self.restore(consumer, list);
        let mut places = TopicPartitionList::with_capacity(starts.len());
        for start in &starts {
            let (topic, index) = (&start.partition.topic, start.partition.index);
            if let Err(error) = places.add_partition_offset(topic, index, start.place()) {
                tracing::error!(%topic, partition = index, %error, "cannot set a start offset");
            }
        }
        let partitions: Vec<_> = starts
            .iter()
            .map(|start| Arc::clone(&start.partition))
            .collect();
        let result = if is_cooperative(consumer) {
            consumer.incremental_assign(&places)
        } else {
            // An eager assignment is the whole one.
            for partition in self.state.take(|_| true) {
                partition.fence();
            }
            consumer.assign(&places)
        };
        if let Err(error) = result {
            tracing::error!(%error, "librdkafka refused an assignment");
        }
        self.state.add(&partitions);
        let assigned: Vec<_> = starts.iter().map(Start::assigned).collect();
        self.state.count(|c| c.assigned += assigned.len() as u64);
        for one in &assigned {
            tracing::debug!(topic = %one.topic, partition = one.partition, next_offset = one.next_offset, generation = one.generation, "partition assigned");
        }
        if !assigned.is_empty() {
            tracing::info!(partitions = %show(&partitions), "partitions assigned");
        }
        self.push_pending(Rebalance::Assigned(assigned));
    }

    /// Reads the committed offsets with their metadata. A partition for which that does not succeed
    /// in time starts without its finished offsets above the gap: repeats, never loss.
    fn restore(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> Vec<Start> {
        // At the end of a shutdown nothing is read from the partitions any more.
        let closing = self.state.lifecycle.is_closing();
        let (committed, ids) = if closing {
            (None, None)
        } else {
            let committed = self.committed(consumer, list);
            // After the offsets: a topic that is recreated between the two is noticed here.
            (committed, ask_ids(consumer, list))
        };
        list.elements()
            .iter()
            .map(|element| {
                let (topic, index) = (element.topic(), element.partition());
                let found = committed
                    .as_ref()
                    .and_then(|list| list.find_partition(topic, index));
                let id = ids.as_ref().and_then(|ids| ids.of(topic));
                self.start((topic, index), found, id)
            })
            .collect()
    }

    fn committed(
        &self,
        consumer: &BaseConsumer<Self>,
        list: &TopicPartitionList,
    ) -> Option<TopicPartitionList> {
        let deadline = Instant::now() + self.rules.restore;
        loop {
            let mut wanted = TopicPartitionList::with_capacity(list.count());
            for element in list.elements() {
                wanted.add_partition(element.topic(), element.partition());
            }
            match consumer.committed_offsets(wanted, RESTORE_ATTEMPT) {
                Ok(list) => return Some(list),
                Err(error) if Instant::now() >= deadline => {
                    tracing::warn!(%error, "committed offsets could not be read");
                    return None;
                }
                Err(error) => {
                    self.state.log.explains(&error, "read committed offsets");
                    tracing::debug!(%error, "reading committed offsets again");
                }
            }
        }
    }

    fn start(
        &self,
        (topic, index): (&str, i32),
        found: Option<TopicPartitionListElem<'_>>,
        id: Option<TopicId>,
    ) -> Start {
        let found = found.filter(|element| element.error().is_ok());
        let known = found.is_some();
        let committed = found.and_then(|element| match element.offset() {
            Offset::Offset(next) => Some((next, metadata_of(&element))),
            _ => None,
        });
        if !known {
            self.state.count(|c| c.restore_failures += 1);
        }
        let mut next_offset = committed.as_ref().map(|(next, _)| *next);
        let mut tracker = committed.map_or_else(
            || Tracker::new(0),
            |(next, metadata)| {
                let (tracker, unreadable) = Tracker::restore(next, &metadata);
                if let Some(why) = unreadable {
                    self.state.count(|c| c.metadata_unreadable += 1);
                    tracing::warn!(topic, partition = index, ?why, "commit metadata is ignored");
                }
                tracker
            },
        );
        if let Some(id) = id {
            if let Some(committed_of) = tracker.topic().filter(|of| *of != id) {
                self.state.count(|c| c.topics_recreated += 1);
                tracing::warn!(
                    topic, partition = index, next_offset, %committed_of, %id,
                    "the committed offset is of a topic that has been deleted; the new one is read from its start"
                );
                (tracker, next_offset) = (Tracker::new(0), None);
            }
            tracker.set_topic(id);
        }
        Start {
            partition: self.state.new_partition(topic.into(), index, tracker),
            next_offset,
            known,
        }
    }
}

/// Asks for the ids of the partitions' topics. Returns `None` if the cluster does not answer; the
/// committing thread then asks again.
fn ask_ids(consumer: &BaseConsumer<GroupContext>, list: &TopicPartitionList) -> Option<TopicIds> {
    let elements = list.elements();
    let topics: BTreeSet<&str> = elements.iter().map(TopicPartitionListElem::topic).collect();
    let topics: Vec<&str> = topics.into_iter().collect();
    match topic_ids::ask(consumer.client(), &topics, RESTORE_ATTEMPT) {
        Ok(ids) => Some(ids),
        Err(error) => {
            tracing::warn!(%error, "the ids of the topics could not be asked for");
            None
        }
    }
}

/// Returns the metadata of a committed offset. rdkafka panics on metadata that is not UTF-8;
/// another tool's commit must not end the thread.
fn metadata_of(element: &TopicPartitionListElem<'_>) -> String {
    catch_unwind(AssertUnwindSafe(|| element.metadata().to_owned()))
        .unwrap_or_else(|_| "not UTF-8".to_owned())
}
