//! A revocation: waits for the work in flight, fences the partitions and commits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::commit::CLEAR_TIMEOUT;
use super::context::GroupContext;
use super::partition::PartitionState;
use super::rebalance::{Rebalance, RebalanceRules, is_cooperative, resume, show};

/// The time for which work in flight is waited for before a partition may be handed over with it.
const BEFORE_HAND_OVER: Duration = Duration::from_millis(100);
/// The interval at which it is asked whether the partitions may be handed over.
const ASK_AGAIN: Duration = Duration::from_millis(10);

impl GroupContext {
    pub(super) fn revoke(&self, consumer: &BaseConsumer<Self>, revoked: &TopicPartitionList) {
        let lost = consumer.assignment_lost();
        let leaving = self.state.take(|partition| {
            revoked
                .find_partition(&partition.topic, partition.index)
                .is_some()
        });
        if !lost {
            self.drain(&leaving);
        }
        if !self.state.commits.clear(Instant::now() + CLEAR_TIMEOUT) {
            tracing::warn!("an earlier commit is still on its way");
        }
        // Fenced before the commit: what finishes from here on is the next owner's.
        let commits: Vec<_> = leaving
            .iter()
            .filter_map(|of| of.fence().map(|commit| (Arc::clone(of), commit)))
            .collect();
        if !lost && !self.state.commit(consumer, &commits) && self.state.lifecycle.is_closing() {
            self.state.lifecycle.leave_uncommitted();
        }
        // A pause would outlive the assignment inside librdkafka.
        resume(consumer, leaving.iter());
        let result = if is_cooperative(consumer) {
            consumer.incremental_unassign(revoked)
        } else {
            consumer.unassign()
        };
        if let Err(error) = result {
            tracing::error!(%error, "librdkafka refused to give partitions back");
        }
        self.state.count(|c| {
            let gone = leaving.len() as u64;
            *(if lost { &mut c.lost } else { &mut c.revoked }) += gone;
        });
        if !leaving.is_empty() {
            tracing::info!(partitions = %show(&leaving), lost, "partitions revoked");
        }
        let events = leaving.iter().map(|of| of.revoked(lost)).collect();
        self.push_pending(Rebalance::Revoked(events));
    }

    /// Waits until the leaving partitions have no work in flight, or may be handed over with it;
    /// one deadline for all of them.
    fn drain(&self, leaving: &[Arc<PartitionState>]) {
        // At the end of a shutdown the drain is already over.
        let closing = || self.state.lifecycle.is_closing();
        let RebalanceRules {
            drain, hand_over, ..
        } = &self.rules;
        let begin = Instant::now();
        let deadline = begin + *drain;
        let drained = |by: Instant| leaving.iter().all(|of| of.wait_drained(by));
        let mut done = closing() || drained(deadline.min(begin + BEFORE_HAND_OVER));
        while !done && Instant::now() < deadline {
            if hand_over.may() {
                tracing::info!("partitions go with work in flight; their next owner takes it over");
                self.state.count(|c| c.handed_over += leaving.len() as u64);
                return;
            }
            done = closing() || drained(deadline.min(Instant::now() + ASK_AGAIN));
        }
        if !done {
            let undrained = leaving.iter().filter(|of| !of.wait_drained(deadline));
            self.state.count(|c| c.drain_timeouts += 1);
            tracing::warn!(
                undrained = undrained.count(),
                "partitions were given back with work in flight; it will be repeated"
            );
        }
    }
}
