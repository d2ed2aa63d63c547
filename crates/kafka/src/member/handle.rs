//! The control of a running group member, and its statistics.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::lifecycle::{LifeStage, MemberFailure};
use super::partition::PartitionState;
use super::state::MemberState;
use super::stats::{IntakeCounters, IntakeStats, PartitionStats};

/// The control of a running member. Dropping it makes the member commit and leave the group in the
/// background; [`IntakeHandle::shutdown`] waits for that.
#[derive(Debug)]
pub struct IntakeHandle {
    state: Arc<MemberState>,
}

impl IntakeHandle {
    pub(super) fn new(state: Arc<MemberState>) -> Self {
        Self { state }
    }

    /// Stops the intake for good. The member stays in the group and commits.
    pub fn stop_intake(&self) {
        self.state.lifecycle.stop();
    }

    /// Waits, after [`IntakeHandle::stop_intake`], until every ticket is finished, left or dropped.
    /// Returns false if tickets are still out at the deadline. Cancel safe.
    pub async fn drained(&self, deadline: Instant) -> bool {
        let totals = &self.state.totals;
        let is_empty = || totals.records.load(Ordering::Acquire) == 0;
        let wait = async {
            self.state.lifecycle.until(LifeStage::Stopped).await;
            loop {
                let mut empty = std::pin::pin!(totals.empty.notified());
                empty.as_mut().enable();
                if is_empty() {
                    return;
                }
                empty.await;
            }
        };
        let waited = tokio::time::timeout_at(deadline.into(), wait).await;
        // A poll thread in the middle of a rebalance has not entered `Stopped` yet; it takes in
        // nothing all the same.
        waited.is_ok() || is_empty()
    }

    /// Waits, after [`IntakeHandle::stop_intake`], until the poll thread hands nothing over any
    /// more, or until the deadline. Cancel safe.
    pub async fn stopped(&self, deadline: Instant) {
        let stopped = self.state.lifecycle.until(LifeStage::Stopped);
        if tokio::time::timeout_at(deadline.into(), stopped)
            .await
            .is_err()
        {
            tracing::debug!("the poll thread has not stopped by the deadline");
        }
    }

    /// Returns the number of unfinished records of the partitions held now, without those that were
    /// left to the next owner.
    pub fn unfinished(&self) -> usize {
        let partitions = self.state.partitions();
        partitions.iter().map(|partition| partition.owed()).sum()
    }

    /// Commits what is finished, leaves the group and ends the thread. Returns false if the
    /// deadline came first (the thread then goes on in the background), or if something that is
    /// finished could not be committed. Cancel safe.
    pub async fn shutdown(self, deadline: Instant) -> bool {
        let lifecycle = &self.state.lifecycle;
        lifecycle.close();
        let closed = lifecycle.until(LifeStage::Closed);
        let closed = tokio::time::timeout_at(deadline.into(), closed).await;
        closed.is_ok() && lifecycle.is_all_committed()
    }

    /// Waits until the poll thread has ended, for whatever reason. Cancel safe.
    pub async fn ended(&self) {
        self.state.lifecycle.until(LifeStage::Closed).await;
    }

    /// Returns true while the poll thread runs; false after a shutdown, a fatal error or a panic.
    pub fn is_running(&self) -> bool {
        !self.state.lifecycle.is_closed()
    }

    /// Returns true if the member ends because Kafka has taken another one for its successor. If no
    /// other process has its instance id, that was its own return, after its coordinator had died;
    /// a new member then continues from what is committed.
    pub fn is_fenced(&self) -> bool {
        matches!(
            self.state.lifecycle.failure(),
            Some(MemberFailure::Fenced(_))
        )
    }

    pub fn stats(&self) -> IntakeStats {
        let state = &self.state;
        let now = Instant::now();
        let partitions: Vec<_> = state
            .partitions()
            .iter()
            .map(|partition| partition_stats(partition, now))
            .collect();
        let failure = state.lifecycle.failure();
        IntakeStats {
            oldest_unfinished: partitions
                .iter()
                .filter_map(|p| p.oldest_unfinished.map(|(_, age)| age))
                .max(),
            partitions,
            in_flight_records: state.totals.records.load(Ordering::Relaxed),
            in_flight_bytes: state.totals.bytes.load(Ordering::Relaxed),
            paused: state.paused.load(Ordering::Relaxed),
            stopped: !state.lifecycle.is_running(),
            generation: state.generation(),
            counters: self.counters(),
            last_error: state.log.counters.last_error(),
            fatal: failure.and_then(MemberFailure::text).map(str::to_owned),
        }
    }

    fn counters(&self) -> IntakeCounters {
        let (totals, log) = (&self.state.totals, &self.state.log.counters);
        IntakeCounters {
            finished: totals.finished.load(Ordering::Relaxed),
            finished_late: totals.finished_late.load(Ordering::Relaxed),
            abandoned: totals.abandoned.load(Ordering::Relaxed),
            offset_resets: log.offset_resets.load(Ordering::Relaxed),
            errors: log.errors.load(Ordering::Relaxed),
            all_brokers_down: log.all_brokers_down.load(Ordering::Relaxed),
            ..self.state.counters()
        }
    }
}

fn partition_stats(partition: &PartitionState, now: Instant) -> PartitionStats {
    let view = partition.view(now);
    let end = partition.end_offset.load(Ordering::Relaxed);
    PartitionStats {
        topic: Arc::clone(&partition.topic),
        partition: partition.index,
        generation: partition.generation,
        next_offset: view.next_offset,
        next_intake: view.next_intake,
        lag: (end >= 0).then(|| u64::try_from(end - view.next_offset).unwrap_or(0)),
        unfinished: view.unfinished,
        unfinished_bytes: view.unfinished_bytes,
        oldest_unfinished: view.oldest,
        abandoned: view.abandoned,
        paused: partition.paused.load(Ordering::Relaxed),
        standstill: partition
            .standstill()
            .map(|(since, why)| (now - since, why)),
    }
}

impl Drop for IntakeHandle {
    fn drop(&mut self) {
        self.state.lifecycle.close();
    }
}
