//! The poll thread of an intake: polls, hands records over, regulates, commits.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as LibraryError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::watch;

use super::committer::{self, CLEAR_TIMEOUT, Commits};
use super::intake::{Handler, Limits};
use super::lanes::Lane;
use super::offsets::{Begin, Tracker};
use super::rebalance::{Assigned, GroupContext, Rebalance, list_of, resume};
use super::record::InRecord;
use super::shared::Shared;
use super::skips;
use super::standing::{BadBatch, Standstill};
use super::standing_guard::Guard;
use super::ticket::Ticket;
use crate::model::TopicId;

/// How long a poll waits for a record. Rebalances and errors end it at once; commits that are
/// due and the end of a pause wait for it.
const POLL_WAIT: Duration = Duration::from_millis(50);
/// The same while back-pressure holds the intake: nothing but its end is waited for.
const PAUSED_WAIT: Duration = Duration::from_millis(2);
/// How long a full intake waits before it pauses its partitions. Hits in flight are answered within
/// it; a pause makes librdkafka throw away what it has fetched and fetch it once more, so it is for
/// what takes longer. Rebalances wait that long as well.
const BEFORE_PAUSE: Duration = Duration::from_millis(50);
/// How long a partition's new start may take to be known to librdkafka.
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the cluster is asked where a partition begins.
const BOUNDS_TIMEOUT: Duration = Duration::from_secs(2);
/// So many records are taken in before limits, commits and commands are looked at.
const BATCH_RECORDS: usize = 256;

/// A group that has just moved partitions mostly moves some more: members learn of it by their
/// heartbeats, every 500 ms by default. librdkafka tells nobody that it leaves while it joins, and the
/// others then wait for it until its session ends, with their commits behind their joins.
const GROUP_SETTLES: Duration = Duration::from_millis(750);
/// No end waits longer for that.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);

/// How far the poll thread has come with its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Running,
    /// Takes nothing in any more, still commits and takes part in the group.
    Stopped,
    /// Has committed and left the group.
    Closed,
}

pub(super) struct PollThread<H> {
    consumer: Arc<BaseConsumer<GroupContext>>,
    committer: JoinHandle<()>,
    handler: H,
    shared: Arc<Shared>,
    limits: Limits,
    phase: watch::Sender<Phase>,
    lanes: Vec<Arc<Lane>>,
    epoch: u64,
    /// Where the last record's lane was; the next record is mostly of the same.
    last_lane: usize,
    /// Lanes whose commit metadata is nearly full.
    full_lanes: Vec<Arc<Lane>>,
    last_commit: Instant,
    /// When the group gave or took partitions last, be it none.
    last_rebalance: Option<Instant>,
    guard: Guard,
}

impl<H: Handler> PollThread<H> {
    /// Starts the committing thread too.
    pub(super) fn new(
        consumer: BaseConsumer<GroupContext>,
        handler: H,
        shared: Arc<Shared>,
        limits: Limits,
        phase: watch::Sender<Phase>,
    ) -> std::io::Result<Self> {
        let consumer = Arc::new(consumer);
        let (its_consumer, its_desk) = (Arc::clone(&consumer), Arc::clone(&shared));
        let committer = std::thread::Builder::new()
            .name("commit".to_owned())
            .spawn(move || committer::run(&its_desk, &its_consumer))?;
        Ok(Self {
            consumer,
            committer,
            handler,
            shared,
            limits,
            phase,
            lanes: Vec::new(),
            epoch: 0,
            last_lane: 0,
            full_lanes: Vec::new(),
            last_commit: Instant::now(),
            last_rebalance: None,
            guard: Guard::default(),
        })
    }

    /// Until it is told to close, or the client fails for good.
    pub(super) fn run(mut self) {
        let mut closing_since = None;
        while !self.may_close(&mut closing_since) && self.is_sound() {
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

    /// Whether it is told to close, and the group has settled or is not waited for any longer.
    fn may_close(&self, closing_since: &mut Option<Instant>) -> bool {
        if !self.shared.close.load(Ordering::Relaxed) {
            return false;
        }
        let since = closing_since.get_or_insert_with(Instant::now);
        let settled = |at: Instant| at.elapsed() >= GROUP_SETTLES;
        self.last_rebalance.is_none_or(settled) || since.elapsed() >= SETTLE_TIMEOUT
    }

    fn poll_batch(&mut self) -> usize {
        let mut wait = if self.shared.paused.load(Ordering::Relaxed) {
            PAUSED_WAIT
        } else {
            POLL_WAIT.min(self.limits.commit_interval)
        };
        let consumer = &self.consumer;
        // The message borrows the consumer, so the rest of the thread is lent out beside it.
        let mut rest = Rest {
            handler: &mut self.handler,
            shared: &self.shared,
            lanes: &self.lanes,
            epoch: self.epoch,
            last_lane: &mut self.last_lane,
            held_back: &self.guard.held_back,
        };
        let (mut taken, mut left_out) = (0, None);
        while taken < BATCH_RECORDS {
            match consumer.poll(wait) {
                // Also after every event that is not a record.
                None => break,
                Some(Ok(message)) => match rest.take_in(&message) {
                    Intake::Taken => taken += 1,
                    Intake::LanesChanged => break,
                    Intake::LeavesOut(lane, batch) => {
                        left_out = Some((lane, batch));
                        break;
                    }
                },
                Some(Err(error)) => rest.see_error(&error),
            }
            wait = Duration::ZERO;
            if self.limits.reached(&self.shared) || self.shared.stop.load(Ordering::Relaxed) {
                break;
            }
        }
        self.shared.count(|c| c.records += taken as u64);
        if let Some((lane, batch)) = left_out {
            self.hold_back(&lane, batch);
        }
        taken
    }

    /// Once a second: which partitions stand still, and why. Those that librdkafka would go on with
    /// behind a batch which it has left out are held back.
    fn see_standstills(&mut self) {
        if !self.guard.is_time_to_look() {
            return;
        }
        for lane in self.lanes.clone() {
            self.skip_if_told(&lane);
        }
        for (lane, batch) in self.guard.look(&self.lanes, &self.shared, &self.limits) {
            self.hold_back(&lane, batch);
        }
        for lane in self.guard.due() {
            if self.seek_back(&lane) {
                let why = *lane.standstill();
                if let Some((_, Standstill::Undecodable(batch))) = why {
                    self.shared.suspects.forget(batch);
                }
                self.guard.let_go(&lane);
            }
        }
    }

    /// Goes on behind a range that an operator has given up, where the partition stands in one. What was
    /// taken in before still has to be finished.
    fn skip_if_told(&mut self, lane: &Arc<Lane>) {
        let partition = (&*lane.topic, lane.partition);
        let mut ranges = self.shared.skips.of(partition, lane.topic_id());
        // Records that can be read are only given up by force: the offsets of a range may have been
        // written again since, after the log was cut or its topic made again.
        let stands = lane.standstill().is_some();
        ranges.retain(|range| stands || range.forced && range.topic_id.is_some());
        if ranges.is_empty() {
            return;
        }
        let to = self.next_of(lane).and_then(|next| {
            let to = skips::behind(&ranges, next)?;
            Some((next, to))
        });
        let Some((next, to)) = to else {
            return;
        };
        if let Err(error) = self.seek(lane, Offset::Offset(to)) {
            tracing::warn!(topic = %lane.topic, partition = lane.partition, to, %error, "cannot go on behind a skipped range yet");
            return;
        }
        lane.skip_to(to);
        if let Some((_, Standstill::Undecodable(batch))) = *lane.standstill() {
            self.shared.suspects.forget(batch);
        }
        lane.stands(None);
        self.guard.let_go(lane);
        tracing::warn!(topic = %lane.topic, partition = lane.partition, next, to, "went on behind a range that is skipped, as an operator asked");
        self.handler.skipped(&Assigned {
            next_offset: Some(to),
            ..assigned(lane)
        });
    }

    /// The next offset of a lane. Where nothing was taken in from the partition's start on, that is
    /// asked for; none until librdkafka knows where it begins, since it would go back there.
    fn next_of(&self, lane: &Lane) -> Option<i64> {
        let next = lane.view(Instant::now()).next_intake;
        if next > 0 {
            return Some(next);
        }
        (lane.fetched.load(Ordering::Relaxed) >= 0).then_some(())?;
        let bounds = self
            .consumer
            .fetch_watermarks(&lane.topic, lane.partition, BOUNDS_TIMEOUT);
        if let Err(error) = &bounds {
            tracing::debug!(topic = %lane.topic, partition = lane.partition, %error, "the partition's start is not known");
        }
        bounds.ok().map(|(first, _)| first)
    }

    /// Takes nothing more in from a partition of which a batch was left out; that batch is asked for
    /// again after a while.
    fn hold_back(&mut self, lane: &Arc<Lane>, batch: BadBatch) {
        lane.stands(Some(Standstill::Undecodable(batch)));
        self.guard.hold_back(lane);
        self.pause(&[lane]);
    }

    /// Back to the first offset that was not taken in.
    fn seek_back(&self, lane: &Lane) -> bool {
        let next = lane.view(Instant::now()).next_intake;
        let sought = self.seek(lane, Offset::Offset(next));
        if let Err(error) = &sought {
            tracing::debug!(topic = %lane.topic, partition = lane.partition, %error, "cannot go back yet");
        }
        sought.is_ok()
    }

    fn seek(&self, lane: &Lane, to: Offset) -> KafkaResult<()> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&lane.topic, lane.partition, to)?;
        let sought = self.consumer.seek_partitions(list, SEEK_TIMEOUT)?;
        let elements = sought.elements();
        elements.iter().try_for_each(TopicPartitionListElem::error)
    }

    /// Tells the handler of rebalances before it sees a record of the new assignment.
    fn see_rebalances(&mut self) {
        let epoch = self.shared.epoch();
        if epoch == self.epoch {
            return;
        }
        self.epoch = epoch;
        self.last_rebalance = Some(Instant::now());
        self.last_lane = 0;
        self.lanes.clone_from(&self.shared.lanes());
        self.full_lanes.retain(|lane| !lane.is_fenced());
        for event in self.consumer.context().take_pending() {
            match event {
                Rebalance::Assigned(partitions) => self.handler.assigned(&partitions),
                Rebalance::Revoked(partitions) => self.handler.revoked(&partitions),
            }
        }
    }

    /// Starts the partitions of topics over that have been deleted and made again. Reading on would
    /// skip the new topic's records below the old position, and commit past them.
    fn see_topics(&mut self) {
        let Some(ids) = self.shared.news_of_topics() else {
            return;
        };
        let mut started = Vec::new();
        for lane in self.lanes.clone() {
            // An answer to a question of before the assignment may name the topic of before.
            let Some(id) = ids.of(&lane.topic).filter(|_| ids.asked_at > lane.since) else {
                continue;
            };
            match lane.topic_id() {
                Some(known) if known == id => {}
                Some(known) => {
                    tracing::warn!(
                        topic = %lane.topic, partition = lane.partition, was = %known, is = %id,
                        "the topic has been deleted and made again; it is read from its start"
                    );
                    started.extend(self.start_over(&lane, id));
                }
                None => {
                    lane.identify(id);
                    started.push(Assigned {
                        next_offset: Some(lane.view(Instant::now()).next_offset),
                        ..assigned(&lane)
                    });
                }
            }
        }
        if !started.is_empty() {
            self.see_rebalances();
            self.handler.assigned(&started);
        }
    }

    /// Puts a new lane in the place of one whose topic is gone. Where that does not succeed the lane
    /// stays, and the next answer about the topics brings it here again.
    fn start_over(&mut self, old: &Arc<Lane>, id: TopicId) -> Option<Assigned> {
        // No commit of the old topic's offsets may follow the new one's.
        self.shared.desk.clear(Instant::now() + CLEAR_TIMEOUT);
        if let Err(error) = self.seek(old, Offset::Beginning) {
            tracing::warn!(topic = %old.topic, partition = old.partition, %error, "cannot start the partition over yet");
            return None;
        }
        let mut tracker = Tracker::new(0);
        tracker.set_topic(id);
        let lane = self
            .shared
            .new_lane(Arc::clone(&old.topic), old.partition, tracker);
        lane.paused
            .store(old.paused.load(Ordering::Relaxed), Ordering::Relaxed);
        self.shared.replace(old, &lane);
        self.shared.count(|c| c.topics_recreated += 1);
        Some(assigned(&lane))
    }

    /// Pauses and resumes what must be, with hysteresis. Resuming a partition that is not paused
    /// would make librdkafka fetch from a stale position, so the flag of each lane is exact.
    fn regulate(&mut self) {
        let stopped = self.shared.stop.load(Ordering::Relaxed);
        let was_held = self.shared.paused.load(Ordering::Relaxed);
        let hold = if was_held {
            !self.limits.relaxed(&self.shared)
        } else {
            self.limits.reached(&self.shared) && self.stays_full()
        };
        if hold != was_held {
            self.shared.paused.store(hold, Ordering::Relaxed);
            self.shared.count(|c| c.pauses += u64::from(hold));
        }
        self.full_lanes.retain(|lane| !lane.intake_easy());
        for lane in &self.lanes {
            if !lane.intake_ok() && !self.full_lanes.iter().any(|full| Arc::ptr_eq(full, lane)) {
                self.full_lanes.push(Arc::clone(lane));
            }
        }
        let full = &self.full_lanes;
        let wanted = |lane: &Arc<Lane>| {
            stopped
                || hold
                || full.iter().any(|other| Arc::ptr_eq(other, lane))
                || self.guard.holds_back(lane)
        };
        let (mut to_pause, mut to_resume) = (Vec::new(), Vec::new());
        for lane in &self.lanes {
            let paused = lane.paused.load(Ordering::Relaxed);
            match (wanted(lane), paused) {
                (true, false) => to_pause.push(lane),
                (false, true) => to_resume.push(lane),
                _ => {}
            }
        }
        self.pause(&to_pause);
        resume(&self.consumer, to_resume.iter().copied());
        for lane in to_resume {
            lane.paused.store(false, Ordering::Relaxed);
        }
        if stopped {
            self.phase.send_if_modified(|phase| {
                let first = *phase == Phase::Running;
                *phase = (*phase).max(Phase::Stopped);
                first
            });
        }
    }

    /// Waits a moment for some room; whether there is still none.
    fn stays_full(&self) -> bool {
        let crowded = || self.limits.crowded(&self.shared);
        self.shared.totals.wait_while(crowded, BEFORE_PAUSE);
        self.limits.reached(&self.shared)
    }

    fn pause(&self, lanes: &[&Arc<Lane>]) {
        if lanes.is_empty() {
            return;
        }
        match self.consumer.pause(&list_of(lanes.iter().copied())) {
            Ok(()) => lanes
                .iter()
                .for_each(|lane| lane.paused.store(true, Ordering::Relaxed)),
            Err(error) => tracing::error!(%error, "cannot pause partitions"),
        }
    }

    fn commit_if_due(&mut self) {
        if self.last_commit.elapsed() >= self.limits.commit_interval && self.shared.desk.is_free() {
            self.last_commit = Instant::now();
            self.shared.desk.leave(commits_of(&self.lanes));
        }
    }

    fn is_sound(&self) -> bool {
        let fatal = self.shared.fatal.lock();
        fatal.is_ok_and(|fatal| fatal.is_none())
    }

    /// Commits what is finished and leaves the group. Dropping the consumer revokes what is left,
    /// which fences it; the handler is told.
    fn close(self) {
        // The committing thread must be gone before the consumer is: its last owner closes it,
        // and only here can that serve the callbacks.
        self.shared.desk.close();
        let Self {
            consumer,
            committer,
            lanes,
            mut handler,
            shared,
            phase,
            ..
        } = self;
        if committer.join().is_err() {
            tracing::error!("the committing thread panicked");
        }
        // What was left there and not sent is offered again.
        shared.desk.clear(Instant::now());
        shared.commit(&consumer, &commits_of(&lanes));
        let context = Arc::clone(consumer.context());
        drop(consumer);
        for lane in shared.lanes().drain(..) {
            let uncommitted = lane.fence().is_some();
            shared.uncommitted.fetch_or(uncommitted, Ordering::Relaxed);
        }
        for event in context.take_pending() {
            if let Rebalance::Revoked(partitions) = event {
                handler.revoked(&partitions);
            }
        }
        phase.send_replace(Phase::Closed);
    }
}

enum Intake {
    Taken,
    /// What the thread knows of the lanes is out of date.
    LanesChanged,
    /// The record comes behind a batch that librdkafka has left out: it is not taken in.
    LeavesOut(Arc<Lane>, BadBatch),
}

/// The poll thread without its consumer.
struct Rest<'a, H> {
    handler: &'a mut H,
    shared: &'a Arc<Shared>,
    lanes: &'a [Arc<Lane>],
    epoch: u64,
    last_lane: &'a mut usize,
    held_back: &'a [(Arc<Lane>, Instant)],
}

impl<'a, H: Handler> Rest<'a, H> {
    fn take_in(&mut self, message: &BorrowedMessage<'_>) -> Intake {
        let found;
        let lane = if let Some(lane) = self.lane_of(message) {
            lane
        } else if let Some(lane) = self.late_lane_of(message) {
            found = lane;
            &found
        } else {
            tracing::debug!(
                topic = message.topic(),
                "a record of a partition that is not ours"
            );
            return Intake::LanesChanged;
        };
        // Once intake is stopped nothing is handed over; the record stays uncommitted.
        if self.shared.stop.load(Ordering::Relaxed) {
            return Intake::LanesChanged;
        }
        let mut held_back = self.held_back.iter();
        if held_back.any(|(held, _)| Arc::ptr_eq(held, lane)) {
            return Intake::LanesChanged;
        }
        if self.shared.suspects.any() {
            let next = lane.view(Instant::now()).next_intake;
            if let Some(batch) = self.shared.suspects.left_out(next, message.offset()) {
                return Intake::LeavesOut(Arc::clone(lane), batch);
            }
        }
        let record = InRecord::new(message, lane);
        let bytes = u32::try_from(record.len()).unwrap_or(u32::MAX);
        match lane.begin(record.offset(), bytes, Instant::now()) {
            Begin::New => {
                self.handler
                    .record(&record, Ticket::new(lane, record.offset()));
                Intake::Taken
            }
            Begin::AlreadyFinished => {
                self.shared.count(|c| c.skipped += 1);
                Intake::Taken
            }
            Begin::Rewound => self.rewind(lane, message),
        }
    }

    /// The partition starts below where we were: it was cut, or its topic made again, so nothing
    /// that we know of it holds. Of which topic it is, the cluster is asked.
    fn rewind(&mut self, old: &Arc<Lane>, message: &BorrowedMessage<'_>) -> Intake {
        tracing::warn!(
            topic = %old.topic, partition = old.partition, offset = message.offset(),
            "the partition went back; it is read again from here"
        );
        let tracker = Tracker::new(message.offset());
        let lane = self
            .shared
            .new_lane(Arc::clone(&old.topic), old.partition, tracker);
        lane.paused
            .store(old.paused.load(Ordering::Relaxed), Ordering::Relaxed);
        self.shared.replace(old, &lane);
        self.shared.count(|c| c.rewinds += 1);
        let record = InRecord::new(message, &lane);
        let bytes = u32::try_from(record.len()).unwrap_or(u32::MAX);
        lane.begin(record.offset(), bytes, Instant::now());
        self.handler
            .record(&record, Ticket::new(&lane, record.offset()));
        Intake::LanesChanged
    }

    fn lane_of(&mut self, message: &BorrowedMessage<'_>) -> Option<&'a Arc<Lane>> {
        if self.epoch != self.shared.epoch() {
            return None;
        }
        let lanes = self.lanes;
        if !lanes
            .get(*self.last_lane)
            .is_some_and(|lane| is_of(lane, message))
        {
            *self.last_lane = lanes.iter().position(|lane| is_of(lane, message))?;
        }
        lanes.get(*self.last_lane)
    }

    /// rdkafka ends a poll after a rebalance, so this finds nothing today. Should it ever go on to
    /// a record, that record must not be dropped: the next one would be committed past it.
    fn late_lane_of(&self, message: &BorrowedMessage<'_>) -> Option<Arc<Lane>> {
        let lanes = self.shared.lanes();
        lanes.iter().find(|lane| is_of(lane, message)).cloned()
    }

    /// What concerns the client as a whole its context has counted and logged already; what concerns a
    /// partition comes here alone.
    fn see_error(&self, error: &LibraryError) {
        if !self.shared.log.explains(error, "fetch records") {
            tracing::debug!(%error, "an error of the consumer");
        }
        if let LibraryError::MessageConsumptionFatal(code) = error {
            tracing::error!(%code, "the Kafka client cannot go on");
            let fenced = *code == RDKafkaErrorCode::FencedInstanceId;
            self.shared.fenced.store(fenced, Ordering::Relaxed);
            if let Ok(mut fatal) = self.shared.fatal.lock() {
                *fatal = Some(code.to_string());
            }
        }
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition) {
            self.shared.count(|c| c.unknown_topic_errors += 1);
        }
    }
}

fn assigned(lane: &Lane) -> Assigned {
    Assigned {
        topic: Arc::clone(&lane.topic),
        partition: lane.partition,
        topic_id: lane.topic_id(),
        generation: lane.generation,
        next_offset: None,
    }
}

fn is_of(lane: &Lane, message: &BorrowedMessage<'_>) -> bool {
    lane.partition == message.partition() && *lane.topic == *message.topic()
}

fn commits_of(lanes: &[Arc<Lane>]) -> Commits {
    lanes
        .iter()
        .filter_map(|lane| lane.next_commit().map(|commit| (Arc::clone(lane), commit)))
        .collect()
}
