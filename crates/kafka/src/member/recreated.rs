//! Topics that are deleted and recreated while the member reads them.

use std::sync::Arc;
use std::time::Instant;

use rdkafka::topic_partition_list::Offset;

use wedcache_model::TopicId;

use super::Handler;
use super::commit::CLEAR_TIMEOUT;
use super::offsets::Tracker;
use super::partition::PartitionState;
use super::poll::PollThread;
use super::rebalance::Assigned;

impl<H: Handler> PollThread<H> {
    /// Starts the partitions of recreated topics over. Reading on would skip the new topic's
    /// records below the old position, and commit past them.
    pub(super) fn see_topics(&mut self) {
        let Some(ids) = self.state.take_topic_ids() else {
            return;
        };
        let mut started = Vec::new();
        for partition in self.partitions.clone() {
            // The answer to a question from before the assignment may name the topic of before.
            let Some(id) = ids
                .of(&partition.topic)
                .filter(|_| ids.asked_at > partition.since)
            else {
                continue;
            };
            match partition.topic_id() {
                Some(known) if known == id => {}
                Some(known) => {
                    tracing::warn!(
                        topic = %partition.topic, partition = partition.index, was = %known, is = %id,
                        "the topic has been deleted and made again; it is read from its start"
                    );
                    started.extend(self.start_over(&partition, id));
                }
                None => {
                    partition.identify(id);
                    let next_offset = partition.view(Instant::now()).next_offset;
                    started.push(partition.assigned(Some(next_offset)));
                }
            }
        }
        if !started.is_empty() {
            self.see_rebalances();
            self.handler.assigned(&started);
        }
    }

    /// Puts a new state in the place of one whose topic is gone. If that does not succeed the old
    /// one stays, and the next answer about the topics leads here again.
    fn start_over(&mut self, old: &Arc<PartitionState>, id: TopicId) -> Option<Assigned> {
        // No commit of the old topic's offsets may follow the new one's.
        self.state.commits.clear(Instant::now() + CLEAR_TIMEOUT);
        if let Err(error) = self.seek(old, Offset::Beginning) {
            tracing::warn!(topic = %old.topic, partition = old.index, %error, "cannot start the partition over yet");
            return None;
        }
        let mut tracker = Tracker::new(0);
        tracker.set_topic(id);
        let new = self.state.start_over(old, tracker);
        self.state.count(|c| c.topics_recreated += 1);
        Some(new.assigned(None))
    }
}
