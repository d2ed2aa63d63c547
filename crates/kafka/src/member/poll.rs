//! The poll thread of a group member: polls, hands records over, regulates and commits.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::Handler;
use super::commit::{self, Commits};
use super::context::GroupContext;
use super::lifecycle::ThreadLife;
use super::options::Limits;
use super::partition::PartitionState;
use super::rebalance::Rebalance;
use super::standstill_watch::StandstillWatch;
use super::state::MemberState;
use super::take_in::{RecordIntake, TakeIn};

/// The longest time for which a poll waits for a record. Rebalances and errors end it at once;
/// commits that are due wait for it.
const POLL_WAIT: Duration = Duration::from_millis(50);
/// The longest time for which a poll waits while back-pressure holds the intake, whose end is then
/// looked for.
const PAUSED_WAIT: Duration = Duration::from_millis(2);
/// The number of records after which limits, commits and commands are looked at.
const BATCH_RECORDS: usize = 256;

/// The time without a rebalance after which a group has settled. A group that has just moved
/// partitions mostly moves some more: members learn of it by their heartbeats, which librdkafka sends
/// when its main loop wakes, so up to a second apart. librdkafka does not announce that it leaves while it joins; the others then wait for it
/// until its session ends, with their commits behind their joins.
const GROUP_SETTLES: Duration = Duration::from_millis(1250);
/// The longest time for which a closing member waits for its group to settle.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(1500);

pub(super) struct PollThread<H> {
    pub(super) consumer: Arc<BaseConsumer<GroupContext>>,
    committer: JoinHandle<()>,
    pub(super) handler: H,
    pub(super) state: Arc<MemberState>,
    pub(super) limits: Limits,
    /// The partitions as of `epoch`.
    pub(super) partitions: Vec<Arc<PartitionState>>,
    epoch: u64,
    /// The index of the last record's partition; the next record is mostly of it too.
    last_partition: usize,
    /// The partitions whose commit metadata is nearly full.
    pub(super) full: Vec<Arc<PartitionState>>,
    last_commit: Instant,
    /// The time at which the group last gave or took partitions, be it none.
    last_rebalance: Option<Instant>,
    pub(super) watch: StandstillWatch,
    /// Last, so that a panic closes the lifecycle when everything else is dropped.
    life: ThreadLife,
}

impl<H: Handler> PollThread<H> {
    /// Prepares the poll thread and starts the committing thread.
    pub(super) fn new(
        consumer: BaseConsumer<GroupContext>,
        handler: H,
        state: Arc<MemberState>,
        limits: Limits,
    ) -> std::io::Result<Self> {
        let consumer = Arc::new(consumer);
        let (its_consumer, its_state) = (Arc::clone(&consumer), Arc::clone(&state));
        let committer = std::thread::Builder::new()
            .name("commit".to_owned())
            .spawn(move || commit::run(&its_state, &its_consumer))?;
        Ok(Self {
            consumer,
            committer,
            handler,
            limits,
            partitions: Vec::new(),
            epoch: 0,
            last_partition: 0,
            full: Vec::new(),
            last_commit: Instant::now(),
            last_rebalance: None,
            watch: StandstillWatch::default(),
            life: ThreadLife::new(Arc::clone(&state)),
            state,
        })
    }

    /// Runs until the member is asked to close, or its client fails for good.
    pub(super) fn run(mut self) {
        let mut closing_since = None;
        while !self.is_to_close(&mut closing_since) {
            let taken = self.poll_batch();
            self.see_rebalances();
            self.see_topics();
            self.see_standstills();
            self.regulate();
            self.commit_if_due();
            if taken == 0 {
                self.handler.idle();
            }
        }
        self.close();
    }

    /// Returns true after a failure, and if the member is asked to close and its group has settled
    /// or is not waited for any longer.
    fn is_to_close(&self, closing_since: &mut Option<Instant>) -> bool {
        let lifecycle = &self.state.lifecycle;
        if lifecycle.failure().is_some() {
            return true;
        }
        if !lifecycle.is_closing() {
            return false;
        }
        let since = closing_since.get_or_insert_with(Instant::now);
        // A member that has had no assignment yet, be it of no partition, has not joined yet.
        let settled = |at: Instant| at.elapsed() >= GROUP_SETTLES;
        self.last_rebalance.is_some_and(settled) || since.elapsed() >= SETTLE_TIMEOUT
    }

    fn poll_batch(&mut self) -> usize {
        let mut wait = if self.state.paused.load(Ordering::Relaxed) {
            PAUSED_WAIT
        } else {
            POLL_WAIT.min(self.limits.commit_interval)
        };
        let consumer = &self.consumer;
        // The message borrows the consumer, so the rest of the thread is lent out beside it.
        let mut intake = RecordIntake {
            handler: &mut self.handler,
            state: &self.state,
            partitions: &self.partitions,
            epoch: self.epoch,
            last_partition: &mut self.last_partition,
            held_back: &self.watch.held_back,
        };
        let (mut taken, mut left_out) = (0, None);
        while taken < BATCH_RECORDS {
            match consumer.poll(wait) {
                // Also after every event that is not a record.
                None => break,
                Some(Ok(message)) => match intake.take_in(&message) {
                    TakeIn::Taken => taken += 1,
                    TakeIn::PartitionsChanged => break,
                    TakeIn::LeavesOut(partition, batch) => {
                        left_out = Some((partition, batch));
                        break;
                    }
                },
                Some(Err(error)) => intake.see_error(&error),
            }
            wait = Duration::ZERO;
            if self.limits.reached(&self.state.totals) || !self.state.lifecycle.is_running() {
                break;
            }
        }
        self.state.count(|c| c.records += taken as u64);
        if let Some((partition, batch)) = left_out {
            self.hold_back(&partition, batch);
        }
        taken
    }

    /// Passes rebalances to the handler before it sees a record of the new assignment.
    pub(super) fn see_rebalances(&mut self) {
        let epoch = self.state.epoch();
        if epoch == self.epoch {
            return;
        }
        self.epoch = epoch;
        self.last_rebalance = Some(Instant::now());
        self.last_partition = 0;
        self.partitions.clone_from(&self.state.partitions());
        self.full.retain(|partition| !partition.is_fenced());
        for event in self.consumer.context().take_pending() {
            match event {
                Rebalance::Assigned(partitions) => self.handler.assigned(&partitions),
                Rebalance::Revoked(partitions) => self.handler.revoked(&partitions),
            }
        }
    }

    fn commit_if_due(&mut self) {
        if self.last_commit.elapsed() >= self.limits.commit_interval
            && self.state.commits.has_room()
        {
            self.last_commit = Instant::now();
            self.state.commits.put(commits_of(&self.partitions));
        }
    }

    /// Commits what is finished and leaves the group. Dropping the consumer revokes the remaining
    /// partitions, which fences them; the handler sees that.
    fn close(self) {
        // The committing thread must be gone before the consumer is: its last owner closes it,
        // and only here can that serve the callbacks.
        self.state.commits.close();
        let Self {
            consumer,
            committer,
            partitions,
            mut handler,
            state,
            life,
            ..
        } = self;
        if committer.join().is_err() {
            tracing::error!("the committing thread panicked");
        }
        // Commits that were put in and not sent are offered again.
        state.commits.clear(Instant::now());
        state.commit(&consumer, &commits_of(&partitions));
        let context = Arc::clone(consumer.context());
        drop(consumer);
        for partition in state.partitions().drain(..) {
            if partition.fence().is_some() {
                state.lifecycle.leave_uncommitted();
            }
        }
        for event in context.take_pending() {
            if let Rebalance::Revoked(partitions) = event {
                handler.revoked(&partitions);
            }
        }
        state.lifecycle.closed();
        drop(life);
    }
}

fn commits_of(partitions: &[Arc<PartitionState>]) -> Commits {
    partitions
        .iter()
        .filter_map(|of| of.next_commit().map(|commit| (Arc::clone(of), commit)))
        .collect()
}
