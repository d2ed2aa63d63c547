//! What a rebalance does: restore on assign; drain, commit and fence on revoke.
//!
//! librdkafka calls back on the poll thread, inside `poll`. So nothing is taken in while a
//! callback runs, and tickets must be finished by other threads for a drain to end.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError as LibraryError;
use rdkafka::statistics::{Broker, Statistics};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};
use rdkafka::types::RDKafkaRespErr;

use super::committer::CLEAR_TIMEOUT;
use super::hand_over::HandOver;
use super::lanes::Lane;
use super::offsets::{Commit, Tracker};
use super::shared::Shared;
use super::standing;
use super::topic_ids::{self, TopicIds};
use crate::model::TopicId;

/// A partition that this member now owns.
#[derive(Debug, Clone)]
pub struct Assigned {
    pub topic: Arc<str>,
    pub partition: i32,
    /// The topic that the name stands for, as far as is known.
    pub topic_id: Option<TopicId>,
    pub generation: u64,
    /// Where reading goes on; `None` without a committed offset: at the partition's start.
    pub next_offset: Option<i64>,
}

/// A partition that this member owns no more.
#[derive(Debug, Clone)]
pub struct Revoked {
    pub topic: Arc<str>,
    pub partition: i32,
    pub generation: u64,
    /// Taken away without warning: what was finished last is not committed and will be repeated.
    pub lost: bool,
}

#[derive(Debug)]
pub(super) enum Rebalance {
    Assigned(Vec<Assigned>),
    Revoked(Vec<Revoked>),
}

/// How long the callbacks may take. Both times together must stay below `max.poll.interval.ms`.
#[derive(Debug, Clone)]
pub(super) struct RebalanceRules {
    pub(super) drain: Duration,
    pub(super) restore: Duration,
    pub(super) hand_over: HandOver,
}

/// What is finished within so long is finished before a partition is handed over.
const BEFORE_HAND_OVER: Duration = Duration::from_millis(100);
/// So often it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// One try at reading committed offsets.
const RESTORE_TRY: Duration = Duration::from_secs(3);

/// librdkafka's view of the intake.
pub(super) struct GroupContext {
    shared: Arc<Shared>,
    rules: RebalanceRules,
    pending: Mutex<Vec<Rebalance>>,
}

impl GroupContext {
    pub(super) fn new(shared: Arc<Shared>, rules: RebalanceRules) -> Self {
        Self {
            shared,
            rules,
            pending: Mutex::default(),
        }
    }

    /// What happened since the last call, in order; the handler is told outside the callback.
    pub(super) fn take_pending(&self) -> Vec<Rebalance> {
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, event: Rebalance) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.push(event);
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        self.shared.next_generation();
        let starts = self.restore(consumer, partitions);
        let mut list = TopicPartitionList::with_capacity(starts.len());
        for start in &starts {
            let place = match (start.next_offset, start.known) {
                (Some(next), _) => Offset::Offset(next),
                (None, true) => Offset::Beginning,
                // librdkafka asks for the committed offset itself, as long as it takes.
                (None, false) => Offset::Stored,
            };
            if let Err(error) =
                list.add_partition_offset(&start.lane.topic, start.lane.partition, place)
            {
                tracing::error!(topic = %start.lane.topic, partition = start.lane.partition, %error, "cannot set a start offset");
            }
        }
        let lanes: Vec<_> = starts.iter().map(|start| Arc::clone(&start.lane)).collect();
        let result = if is_cooperative(consumer) {
            consumer.incremental_assign(&list)
        } else {
            // An eager assignment is the whole one.
            for lane in self.shared.take(|_| true) {
                lane.fence();
            }
            consumer.assign(&list)
        };
        if let Err(error) = result {
            tracing::error!(%error, "librdkafka refused an assignment");
        }
        self.shared.add(&lanes);
        let assigned: Vec<_> = starts.iter().map(Start::assigned).collect();
        self.shared.count(|c| c.assigned += assigned.len() as u64);
        for one in &assigned {
            tracing::debug!(topic = %one.topic, partition = one.partition, next_offset = one.next_offset, generation = one.generation, "partition assigned");
        }
        if !assigned.is_empty() {
            let partitions = listed(&lanes);
            tracing::info!(%partitions, "partitions assigned");
        }
        self.tell(Rebalance::Assigned(assigned));
    }

    /// Reads the committed offsets with their metadata. Where that does not succeed in time, the
    /// partition starts without knowing what was finished above its gap: repeats, never loss.
    fn restore(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &TopicPartitionList,
    ) -> Vec<Start> {
        // At the end of a shutdown nothing is read from the partitions any more.
        let closing = self.shared.close.load(Ordering::Relaxed);
        let deadline = Instant::now() + self.rules.restore;
        let committed = loop {
            if closing {
                break None;
            }
            let mut wanted = TopicPartitionList::with_capacity(partitions.count());
            for element in partitions.elements() {
                wanted.add_partition(element.topic(), element.partition());
            }
            match consumer.committed_offsets(wanted, RESTORE_TRY) {
                Ok(list) => break Some(list),
                Err(error) if Instant::now() >= deadline => {
                    tracing::warn!(%error, "committed offsets could not be read");
                    break None;
                }
                Err(error) => {
                    self.shared.log.explains(&error, "read committed offsets");
                    tracing::debug!(%error, "reading committed offsets again");
                }
            }
        };
        // After the offsets: a topic that is made again between the two is noticed here.
        let ids = if closing {
            None
        } else {
            ask_ids(consumer, partitions)
        };
        partitions
            .elements()
            .iter()
            .map(|element| {
                let (topic, partition) = (element.topic(), element.partition());
                let found = committed
                    .as_ref()
                    .and_then(|list| list.find_partition(topic, partition));
                let id = ids.as_ref().and_then(|ids| ids.of(topic));
                self.start((topic, partition), found, id)
            })
            .collect()
    }

    fn start(
        &self,
        (topic, partition): (&str, i32),
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
            self.shared.count(|c| c.restore_failures += 1);
        }
        let mut next_offset = committed.as_ref().map(|(next, _)| *next);
        let mut tracker = committed.map_or_else(
            || Tracker::new(0),
            |(next, metadata)| {
                let (tracker, unreadable) = Tracker::restore(next, &metadata);
                if let Some(why) = unreadable {
                    self.shared.count(|c| c.metadata_unreadable += 1);
                    tracing::warn!(topic, partition, ?why, "commit metadata is ignored");
                }
                tracker
            },
        );
        if let Some(id) = id {
            if let Some(committed_of) = tracker.topic().filter(|of| *of != id) {
                self.shared.count(|c| c.topics_recreated += 1);
                tracing::warn!(
                    topic, partition, next_offset, %committed_of, %id,
                    "the committed offset is of a topic that has been deleted; the new one is read from its start"
                );
                (tracker, next_offset) = (Tracker::new(0), None);
            }
            tracker.set_topic(id);
        }
        Start {
            lane: self.shared.new_lane(topic.into(), partition, tracker),
            next_offset,
            known,
        }
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let lost = consumer.assignment_lost();
        let leaving = self.shared.take(|lane| {
            partitions
                .find_partition(&lane.topic, lane.partition)
                .is_some()
        });
        if !lost {
            self.drain(&leaving);
        }
        if !self.shared.desk.clear(Instant::now() + CLEAR_TIMEOUT) {
            tracing::warn!("a commit of before is still on its way");
        }
        let commits: Vec<_> = leaving
            .iter()
            .filter_map(|lane| lane.fence().map(|commit| (Arc::clone(lane), commit)))
            .collect();
        if !lost && !self.shared.commit(consumer, &commits) {
            let closing = self.shared.close.load(Ordering::Relaxed);
            self.shared.uncommitted.fetch_or(closing, Ordering::Relaxed);
        }
        // The pause flag would outlive the assignment inside librdkafka.
        resume(
            consumer,
            leaving
                .iter()
                .filter(|lane| lane.paused.load(Ordering::Relaxed)),
        );
        let result = if is_cooperative(consumer) {
            consumer.incremental_unassign(partitions)
        } else {
            consumer.unassign()
        };
        if let Err(error) = result {
            tracing::error!(%error, "librdkafka refused to give partitions back");
        }
        self.shared.count(|c| {
            let gone = leaving.len() as u64;
            *(if lost { &mut c.lost } else { &mut c.revoked }) += gone;
        });
        let revoked: Vec<_> = leaving.iter().map(|lane| revoked(lane, lost)).collect();
        if !leaving.is_empty() {
            let partitions = listed(&leaving);
            tracing::info!(%partitions, lost, "partitions revoked");
        }
        self.tell(Rebalance::Revoked(revoked));
    }

    /// Waits for the work in flight on lanes that leave, or until it may be handed over; one
    /// deadline for all of them.
    fn drain(&self, leaving: &[Arc<Lane>]) {
        // At the end of a shutdown the drain is already behind us.
        let closing = || self.shared.close.load(Ordering::Relaxed);
        let RebalanceRules {
            drain, hand_over, ..
        } = &self.rules;
        let begin = Instant::now();
        let deadline = begin + *drain;
        let drained = |by: Instant| leaving.iter().all(|lane| lane.wait_drained(by));
        let mut done = closing() || drained(deadline.min(begin + BEFORE_HAND_OVER));
        while !done && Instant::now() < deadline {
            if hand_over.may() {
                tracing::info!("partitions go with work in flight; their next owner takes it over");
                self.shared.count(|c| c.handed_over += leaving.len() as u64);
                return;
            }
            done = closing() || drained(deadline.min(Instant::now() + ASK_AGAIN));
        }
        if !done {
            let undrained = leaving.iter().filter(|lane| !lane.wait_drained(deadline));
            self.shared.count(|c| c.drain_timeouts += 1);
            tracing::warn!(
                undrained = undrained.count(),
                "partitions were given back with work in flight; it will be repeated"
            );
        }
    }
}

impl Shared {
    /// Commits and waits for the answer; a failure makes the lanes offer their state again. Returns
    /// whether all is committed.
    pub(super) fn commit(
        &self,
        consumer: &BaseConsumer<GroupContext>,
        commits: &[(Arc<Lane>, Commit)],
    ) -> bool {
        if commits.is_empty() {
            return true;
        }
        let mut list = TopicPartitionList::with_capacity(commits.len());
        let mut truncated = 0;
        for (lane, commit) in commits {
            truncated += u64::from(commit.truncated);
            let mut element = list.add_partition(&lane.topic, lane.partition);
            // Once only: a second `set_metadata` on one element leaks the first.
            element.set_metadata(&commit.metadata);
            if let Err(error) = element.set_offset(Offset::Offset(commit.next_offset)) {
                tracing::error!(topic = %lane.topic, partition = lane.partition, %error, "cannot commit an offset");
            }
        }
        let result = consumer.commit(&list, CommitMode::Sync);
        self.count(|c| {
            c.commits_truncated += truncated;
            let failed = u64::from(result.is_err());
            c.commit_failures += failed;
            c.commits += 1 - failed;
        });
        let Err(error) = result else {
            self.log.answered();
            return true;
        };
        if self.log.explains(&error, "commit offsets") {
            tracing::debug!(%error, "commit failed; it will be repeated");
        } else {
            tracing::warn!(%error, partitions = commits.len(), "commit failed; it will be repeated");
        }
        for (lane, _) in commits {
            lane.commit_failed();
        }
        false
    }

    fn see_ends(&self, statistics: &Statistics) {
        for lane in self.lanes().iter() {
            let topic = statistics.topics.get(&*lane.topic);
            let partition = topic.and_then(|topic| topic.partitions.get(&lane.partition));
            let Some(partition) = partition else { continue };
            if partition.hi_offset >= 0 {
                lane.end_offset
                    .store(partition.hi_offset, Ordering::Relaxed);
            }
            lane.stable_end
                .store(partition.ls_offset, Ordering::Relaxed);
            lane.fetched.store(partition.next_offset, Ordering::Relaxed);
        }
    }
}

/// Where one partition starts.
struct Start {
    lane: Arc<Lane>,
    next_offset: Option<i64>,
    /// Whether the group coordinator answered for it.
    known: bool,
}

impl Start {
    fn assigned(&self) -> Assigned {
        Assigned {
            topic: Arc::clone(&self.lane.topic),
            partition: self.lane.partition,
            topic_id: self.lane.topic_id(),
            generation: self.lane.generation,
            next_offset: self.next_offset,
        }
    }
}

/// The ids of the topics that the partitions are of; `None` where the cluster does not answer, which
/// is then asked by the committing thread.
fn ask_ids(
    consumer: &BaseConsumer<GroupContext>,
    partitions: &TopicPartitionList,
) -> Option<TopicIds> {
    let elements = partitions.elements();
    let topics: BTreeSet<&str> = elements.iter().map(TopicPartitionListElem::topic).collect();
    let topics: Vec<&str> = topics.into_iter().collect();
    match topic_ids::ask(consumer.client(), &topics, RESTORE_TRY) {
        Ok(ids) => Some(ids),
        Err(error) => {
            tracing::warn!(%error, "the ids of the topics could not be asked for");
            None
        }
    }
}

/// Partitions for people: `a 0 1 2, b 0`.
fn listed(lanes: &[Arc<Lane>]) -> String {
    let mut topics: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for lane in lanes {
        topics
            .entry(&lane.topic)
            .or_default()
            .insert(lane.partition);
    }
    let of_topic = |(topic, partitions): (&str, BTreeSet<i32>)| {
        let partitions = partitions.iter().map(|partition| format!(" {partition}"));
        format!("{topic}{}", partitions.collect::<String>())
    };
    let topics: Vec<String> = topics.into_iter().map(of_topic).collect();
    topics.join(", ")
}

fn revoked(lane: &Arc<Lane>, lost: bool) -> Revoked {
    Revoked {
        topic: Arc::clone(&lane.topic),
        partition: lane.partition,
        generation: lane.generation,
        lost,
    }
}

fn is_cooperative(consumer: &BaseConsumer<GroupContext>) -> bool {
    matches!(
        consumer.rebalance_protocol(),
        RebalanceProtocol::Cooperative
    )
}

/// rdkafka panics on metadata that is not UTF-8; another tool's commit must not end the thread.
fn metadata_of(element: &TopicPartitionListElem<'_>) -> String {
    catch_unwind(AssertUnwindSafe(|| element.metadata().to_owned()))
        .unwrap_or_else(|_| "not UTF-8".to_owned())
}

pub(super) fn list_of<'a>(lanes: impl Iterator<Item = &'a Arc<Lane>>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for lane in lanes {
        list.add_partition(&lane.topic, lane.partition);
    }
    list
}

pub(super) fn resume<'a>(
    consumer: &BaseConsumer<GroupContext>,
    lanes: impl Iterator<Item = &'a Arc<Lane>>,
) {
    let list = list_of(lanes);
    if list.count() > 0
        && let Err(error) = consumer.resume(&list)
    {
        tracing::error!(%error, "cannot resume partitions");
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        if facility == "OFFSET" && self.shared.suspects.just_left_out() {
            // Asked for by nobody; the partition is held.
            return tracing::debug!(facility, "{text}");
        }
        self.shared.log.log(level, facility, text);
    }

    fn error(&self, error: LibraryError, reason: &str) {
        match standing::complaint(reason) {
            // Told once the partition is known.
            Some(batch) => self.shared.suspects.add(batch),
            None => self.shared.log.error(error, reason),
        }
    }

    fn stats(&self, statistics: Statistics) {
        let up = |broker: &&Broker| broker.state == "UP";
        let brokers = statistics.brokers.values().filter(up);
        self.shared
            .log
            .connected(brokers.map(|broker| broker.nodename.as_str()));
        self.shared.see_ends(&statistics);
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
