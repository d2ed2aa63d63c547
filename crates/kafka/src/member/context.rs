//! librdkafka's callbacks into a group member: rebalances, errors and statistics.
//!
//! librdkafka calls back on the poll thread, inside `poll`. So nothing is taken in while a callback
//! runs, and tickets must be finished by other threads for a drain to end.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError as LibraryError;
use rdkafka::statistics::{Broker, Statistics};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use super::super::standstill;
use super::rebalance::{Rebalance, RebalanceRules};
use super::state::MemberState;

/// The context of a member's client.
pub(super) struct GroupContext {
    pub(super) state: Arc<MemberState>,
    pub(super) rules: RebalanceRules,
    pending: Mutex<Vec<Rebalance>>,
}

impl GroupContext {
    pub(super) fn new(state: Arc<MemberState>, rules: RebalanceRules) -> Self {
        Self {
            state,
            rules,
            pending: Mutex::default(),
        }
    }

    /// Takes the rebalances since the last call, in order. The handler sees them outside of the
    /// callback.
    pub(super) fn take_pending(&self) -> Vec<Rebalance> {
        std::mem::take(&mut *self.pending.lock())
    }

    pub(super) fn push_pending(&self, event: Rebalance) {
        let mut pending = self.pending.lock();
        pending.push(event);
    }
}

impl MemberState {
    /// Keeps the partitions' ends and positions that statistics report.
    fn apply(&self, statistics: &Statistics) {
        for state in self.partitions().iter() {
            let topic = statistics.topics.get(&*state.topic);
            let reported = topic.and_then(|topic| topic.partitions.get(&state.index));
            let Some(reported) = reported else { continue };
            if reported.hi_offset >= 0 {
                state
                    .end_offset
                    .store(reported.hi_offset, Ordering::Relaxed);
            }
            state
                .stable_end
                .store(reported.ls_offset, Ordering::Relaxed);
            state.fetched.store(reported.next_offset, Ordering::Relaxed);
        }
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        if facility == "OFFSET" {
            self.state.resets.put(level, text);
        } else {
            self.state.log.log(level, facility, text);
        }
    }

    fn error(&self, error: LibraryError, reason: &str) {
        match standstill::bad_batch(reason) {
            // Logged once its partition is known.
            Some(batch) => self.state.suspects.add(batch),
            None => self.state.log.error(error, reason),
        }
    }

    fn stats(&self, statistics: Statistics) {
        let up = |broker: &&Broker| broker.state == "UP";
        let brokers = statistics.brokers.values().filter(up);
        self.state
            .log
            .connected(brokers.map(|broker| broker.nodename.as_str()));
        self.state.apply(&statistics);
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assign(consumer, partitions);
        } else {
            self.revoke(consumer, partitions);
        }
    }
}
