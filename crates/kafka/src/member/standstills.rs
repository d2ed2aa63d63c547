//! Partitions that stand still: held back at a bad batch, and moved on behind a skipped range.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};

use super::super::standstill::{BadBatch, Standstill};
use super::Handler;
use super::partition::PartitionState;
use super::poll::PollThread;
use super::skips;

/// The longest time for which librdkafka is waited for to learn of a partition's new position.
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time for which the cluster is asked for a partition's start.
const BOUNDS_TIMEOUT: Duration = Duration::from_secs(2);

impl<H: Handler> PollThread<H> {
    /// Finds, once a second, the partitions that stand still, and the reasons. Those that
    /// librdkafka would continue behind a batch which it has left out are held back.
    pub(super) fn see_standstills(&mut self) {
        if !self.watch.is_time_to_look() {
            return;
        }
        self.see_resets();
        for partition in self.partitions.clone() {
            self.skip_if_told(&partition);
        }
        let left_out = self.watch.look(&self.partitions, &self.state, &self.limits);
        for (partition, batch) in left_out {
            self.hold_back(&partition, batch);
        }
        for partition in self.watch.due() {
            if self.seek_back(&partition) {
                self.forget_suspect(&partition);
                self.watch.let_go(&partition);
            }
        }
    }

    /// Logs and counts resets of positions, but for those that librdkafka had made up itself: their
    /// partitions are held back.
    fn see_resets(&self) {
        for reset in self.state.resets.take(Instant::now()) {
            if self.state.suspects.just_left_out() {
                tracing::debug!("{}", reset.text);
            } else {
                self.state.log.log(reset.level, "OFFSET", &reset.text);
            }
        }
    }

    /// Moves a partition on behind a range that an operator has given up, if it stands in one. What
    /// was taken in before still has to be finished.
    fn skip_if_told(&mut self, partition: &Arc<PartitionState>) {
        let Some((next, to)) = self.end_of_skip(partition) else {
            return;
        };
        if let Err(error) = self.seek(partition, Offset::Offset(to)) {
            tracing::warn!(topic = %partition.topic, partition = partition.index, to, %error, "cannot skip a range yet");
            return;
        }
        partition.skip_to(to);
        self.forget_suspect(partition);
        partition.set_standstill(None);
        self.watch.let_go(partition);
        tracing::warn!(topic = %partition.topic, partition = partition.index, next, to, "skipped a range, as an operator asked");
        self.handler.skipped(&partition.assigned(Some(to)));
    }

    /// Returns the partition's next offset and the end of the skipped range that it lies in.
    fn end_of_skip(&self, partition: &PartitionState) -> Option<(i64, i64)> {
        let place = (&*partition.topic, partition.index);
        let mut ranges = self.state.skips.of(place, partition.topic_id());
        // Records that can be read are only given up by force: other records may have the offsets
        // of a range by now, after the log was truncated or its topic recreated.
        let stands = partition.standstill().is_some();
        ranges.retain(|range| stands || range.forced && range.topic_id.is_some());
        if ranges.is_empty() {
            return None;
        }
        let next = self.next_of(partition)?;
        Some((next, skips::behind(&ranges, next)?))
    }

    /// Returns the next offset of a partition. If nothing was taken in since the partition's start,
    /// the cluster is asked for it, but not before librdkafka knows where the partition begins,
    /// because it would go back there.
    fn next_of(&self, partition: &PartitionState) -> Option<i64> {
        let next = partition.view(Instant::now()).next_intake;
        if next > 0 {
            return Some(next);
        }
        (partition.fetched.load(Ordering::Relaxed) >= 0).then_some(())?;
        let bounds =
            self.consumer
                .fetch_watermarks(&partition.topic, partition.index, BOUNDS_TIMEOUT);
        if let Err(error) = &bounds {
            tracing::debug!(topic = %partition.topic, partition = partition.index, %error, "the partition's start is not known");
        }
        bounds.ok().map(|(first, _)| first)
    }

    /// Takes nothing more in from a partition of which a batch was left out; that batch is fetched
    /// again after a while.
    pub(super) fn hold_back(&mut self, partition: &Arc<PartitionState>, batch: BadBatch) {
        partition.set_standstill(Some(Standstill::Undecodable(batch)));
        self.watch.hold_back(partition);
        self.pause(&[partition]);
    }

    /// Seeks to the first offset that was not taken in; returns true if that succeeded.
    fn seek_back(&self, partition: &PartitionState) -> bool {
        let next = partition.view(Instant::now()).next_intake;
        let sought = self.seek(partition, Offset::Offset(next));
        if let Err(error) = &sought {
            tracing::debug!(topic = %partition.topic, partition = partition.index, %error, "cannot fetch a bad batch again yet");
        }
        sought.is_ok()
    }

    pub(super) fn seek(&self, partition: &PartitionState, to: Offset) -> KafkaResult<()> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&partition.topic, partition.index, to)?;
        let sought = self.consumer.seek_partitions(list, SEEK_TIMEOUT)?;
        let elements = sought.elements();
        elements.iter().try_for_each(TopicPartitionListElem::error)
    }

    /// Forgets the bad batch at which the partition stands.
    fn forget_suspect(&self, partition: &PartitionState) {
        let standstill = *partition.standstill();
        if let Some((_, Standstill::Undecodable(batch))) = standstill {
            self.state.suspects.forget(batch);
        }
    }
}
