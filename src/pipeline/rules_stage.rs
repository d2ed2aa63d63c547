//! The rules stage: change events become records of the invalidation log.
//!
//! The poll thread hands each change to one task, which judges in order. For a batch of changes
//! it appends their invalidations, then the progress that passes them, and only then finishes
//! their tickets: so whoever has read the progress has read the invalidations, and what is
//! committed is in the log.

mod intake;
mod parked;
mod stall;
mod words;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::intake::{ChangeTopics, RulesIntake};
use self::intake::{Item, Message};
use self::parked::{Parking, Turn};
pub use self::stall::{Stall, Stalled};
use self::words::Invalidated;
use super::alerting::Alerting;
use super::change::{ChangeJudge, ChangeRecord, Fate, Judged, invalidation_metric};
use super::outputs::{Letter, Original, Outputs};
use crate::backoff::{Backoff, Policy};
use crate::clock::Clock;
use crate::codec::log::{encode_invalidation, encode_progress};
use crate::codec::{Registry, Reject};
use crate::invalidation::{ChangePartition, RulesProgress};
use crate::kafka::Assigned;
use crate::kafka::{OutRecord, Ticket};
use crate::model::{
    Cause, Coordinates, Progress, Tag, TagInvalidation, Timestamp, TopicId, TraceParent,
};
use crate::resolver::MetricSink;
use crate::trouble::{Notice, Pace, Troubles};

/// Changes judged at once at the most.
const BATCH: usize = 256;
/// How long one try at appending may take.
const APPEND_PATIENCE: Duration = Duration::from_secs(30);
/// While the log refuses appends, it is said so often.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// What the stage works with.
pub struct RulesParts {
    pub judge: ChangeJudge,
    pub progress: Arc<RulesProgress>,
    pub outputs: Outputs,
    pub registry: Option<Arc<Registry>>,
    pub clock: Clock,
    pub topics: ChangeTopics,
    /// How often progress is appended again, so that retention never drops the last word.
    pub repeat_progress: Duration,
    pub alerting: Arc<Alerting>,
    /// Set while the log does not take what has to be appended.
    pub stall: Arc<Stall>,
}

/// The task's half.
pub struct RulesTask {
    parts: RulesParts,
    messages: mpsc::Receiver<Message>,
    parking: Parking,
    /// Changes whose refreshes are held back: were their offsets committed, a crash would lose
    /// them. One change stands for each refresh, since the one that is due covers every earlier
    /// one; so there are no more of them than cache types.
    owing: Vec<(Ticket, Vec<Tag>)>,
    /// Tickets of changes that are dead-lettered by now and owe a refresh.
    buried: mpsc::Receiver<(Ticket, Vec<Tag>)>,
    graves: mpsc::Sender<(Ticket, Vec<Tag>)>,
    /// How far each partition that was ever assigned here is judged.
    judged: HashMap<ChangePartition, JudgedTo>,
    assigned: Vec<ChangePartition>,
    /// Changes that wait for their schema with nothing widened for them: progress stays below them,
    /// while later ones are judged.
    waiting: HashMap<ChangePartition, BTreeSet<i64>>,
    /// When changes that cannot be read are worth a line, by reason.
    unreadable: Troubles<&'static str>,
}

/// How far a partition is judged here.
#[derive(Debug, Clone, Copy)]
struct JudgedTo {
    topic: Option<TopicId>,
    /// The next offset to be judged.
    next: i64,
}

/// `room`: how many changes may be in flight, as the intake's back-pressure bounds them.
pub fn rules_stage(parts: RulesParts, room: usize) -> (RulesIntake, RulesTask) {
    // Besides the changes, a few assignments.
    let (sender, messages) = mpsc::channel(room + 64);
    let (graves, buried) = mpsc::channel(room.max(1));
    let intake = RulesIntake {
        topics: parts.topics.clone(),
        sender,
    };
    let task = RulesTask {
        parking: Parking::new(parts.registry.clone(), room),
        parts,
        messages,
        owing: Vec::new(),
        buried,
        graves,
        judged: HashMap::new(),
        assigned: Vec::new(),
        waiting: HashMap::new(),
        unreadable: Troubles::new(Pace::default()),
    };
    (intake, task)
}

impl RulesTask {
    /// Judges until `stop`, then what has been handed over already; appends the refreshes that are
    /// held back, and ends once the dead letters of its changes are written. Changes that are parked
    /// stay unfinished: whoever owns their partition next judges them.
    pub async fn run(mut self, stop: CancellationToken, tasks: TaskTracker) {
        let mut repeat = tokio::time::interval(self.parts.repeat_progress);
        repeat.tick().await;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let due = self.due_in();
            tokio::select! {
                biased;
                taken = self.messages.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        break;
                    }
                    self.judge_all(std::mem::take(&mut batch), &tasks).await;
                }
                turn = self.parking.next() => self.unpark(turn, &tasks).await,
                Some((ticket, owed)) = self.buried.recv() => self.hold(ticket, owed),
                () = tokio::time::sleep(due) => {
                    let due = self.parts.judge.due(self.parts.clock.now());
                    self.append_held_back(due).await;
                }
                _ = repeat.tick() => self.repeat_progress().await,
                () = stop.cancelled() => break,
            }
        }
        self.messages.close();
        while self.messages.recv_many(&mut batch, BATCH).await > 0 {
            self.judge_all(std::mem::take(&mut batch), &tasks).await;
        }
        self.append_owed().await;
        // With our own sender gone, the channel ends with the last letter.
        let (none, _) = mpsc::channel(1);
        self.graves = none;
        while let Some((ticket, _)) = self.buried.recv().await {
            ticket.finish();
        }
        self.parking.leave();
    }

    /// Appends what is held back, however recent the last refresh of its kind is: the process ends,
    /// and its changes' offsets with it.
    async fn append_owed(&mut self) {
        let owed = self.parts.judge.owed(self.parts.clock.now());
        self.append_held_back(owed).await;
    }

    /// How long until refreshes that are held back may be appended.
    fn due_in(&self) -> Duration {
        let never = Duration::from_hours(1);
        self.parts
            .judge
            .next_due()
            .map_or(never, |due| due.since(self.parts.clock.now()))
    }

    async fn judge_all(&mut self, batch: Vec<Message>, tasks: &TaskTracker) {
        let (mut records, mut done) = (Vec::new(), Vec::with_capacity(batch.len()));
        let mut touched = Vec::new();
        for message in batch {
            match message {
                Message::Assigned(partitions) => self.assigned(partitions, &mut touched),
                Message::Change(mut item) => {
                    let judged = self.judge(&mut item, false);
                    records.extend(
                        judged
                            .records
                            .iter()
                            .map(|record| (record.clone(), item.trace)),
                    );
                    let partition = item.partition();
                    self.passes(&partition, item.topic_id, item.place.offset + 1);
                    touched.push(partition);
                    done.push((item, judged));
                }
            }
        }
        self.append(&records).await;
        touched.sort_unstable();
        touched.dedup();
        self.append_progress(&touched).await;
        for (item, judged) in done {
            self.settle(*item, judged, tasks);
        }
    }

    fn judge(&mut self, item: &mut Item, again: bool) -> Judged {
        let cause = cause(&item.place);
        let record = record(item, &cause, self.parts.clock.now());
        let mut judged = if again {
            self.parts.judge.judge_again(&record)
        } else {
            self.parts.judge.judge(&record)
        };
        if let Fate::Parked { schema_id } = judged.fate {
            if self.parking.may_come(schema_id) {
                let waiting = self.waiting.entry(item.partition()).or_default();
                waiting.insert(item.place.offset);
                return judged;
            }
            judged = self.widen(item, judged);
        }
        self.tell(item, &mut judged);
        judged
    }

    /// Adds what stands for a change that cannot be read, besides its key.
    fn widen(&mut self, item: &mut Item, judged: Judged) -> Judged {
        item.widened = true;
        let cause = cause(&item.place);
        let record = record(item, &cause, self.parts.clock.now());
        self.parts.judge.widen(&record, judged)
    }

    /// What people are told of a change.
    fn tell(&mut self, item: &Item, judged: &mut Judged) {
        self.tell_unreadable(item, judged);
        for alert in judged.alerts.drain(..) {
            self.parts.alerting.event(alert, item.trace);
        }
    }

    /// One line for a change that could not be read, or not used whole: the first of a reason, then
    /// one a minute with a count.
    fn tell_unreadable(&mut self, item: &Item, judged: &Judged) {
        let now = Instant::now();
        let place = &item.place;
        let (reason, detail) = match &judged.fate {
            Fate::Dead(reject) => (reject.reason.as_str(), reject.detail.clone()),
            Fate::Parked { schema_id } => (
                "parked",
                format!("schema {schema_id} is not known yet, and the registry is away"),
            ),
            Fate::Done => match judged.alerts.first() {
                Some(alert) => ("lacking", alert.summary.clone()),
                None => return,
            },
        };
        let Some(notice) = self.unreadable.failed(reason, now) else {
            return;
        };
        let more = match notice {
            Notice::Lasts { failures, .. } => failures.saturating_sub(1),
            Notice::Begins | Notice::Over { .. } => 0,
        };
        let done = Invalidated::by(&judged.records);
        let owed = judged.owed.len();
        tracing::warn!(%place, reason, detail, more, purged = %done.purged, refreshed = %done.refreshed, owed, "a change cannot be used as it is; what it may concern is invalidated");
    }

    /// Its records are in the log: what is left to do for a change.
    fn settle(&mut self, item: Item, judged: Judged, tasks: &TaskTracker) {
        match judged.fate {
            Fate::Done => self.hold(item.ticket, judged.owed),
            Fate::Dead(reject) if judged.owed.is_empty() => {
                let outputs = self.parts.outputs.clone();
                tasks.spawn(async move {
                    if let Some(ticket) = bury(&outputs, item, &reject).await {
                        ticket.finish();
                    }
                });
            }
            Fate::Dead(reject) => {
                let (outputs, graves) = (self.parts.outputs.clone(), self.graves.clone());
                let owed = judged.owed;
                tasks.spawn(async move {
                    if let Some(ticket) = bury(&outputs, item, &reject).await
                        && graves.send((ticket, owed)).await.is_err()
                    {
                        tracing::debug!("the rules task ended; the change comes again");
                    }
                });
            }
            Fate::Parked { schema_id } => {
                item.ticket.hold();
                let owed = judged.owed;
                self.parking.park(schema_id, Item { owed, ..item });
            }
        }
    }

    /// Finishes a change, unless a refresh that it owes rests on no other change yet.
    fn hold(&mut self, ticket: Ticket, owed: Vec<Tag>) {
        self.owing.retain(|(held, _)| !held.is_fenced());
        let still_owed = self.parts.judge.next_due().is_some();
        let rests_on_another =
            |tag: &Tag| self.owing.iter().any(|(_, covered)| covered.contains(tag));
        if !still_owed || owed.iter().all(rests_on_another) {
            return ticket.finish();
        }
        ticket.hold();
        self.owing.push((ticket, owed));
    }

    /// A change that waited for its schema goes on: it is judged again, or what stands for it is
    /// appended.
    async fn unpark(&mut self, turn: Turn, tasks: &TaskTracker) {
        let (mut item, judged) = match turn {
            Turn::Learnt(mut item, None) => {
                item.ticket.release();
                let judged = self.judge(&mut item, true);
                (item, judged)
            }
            Turn::Learnt(mut item, Some(reject)) => {
                item.ticket.release();
                let judged = Judged {
                    fate: Fate::Dead(reject),
                    owed: std::mem::take(&mut item.owed),
                    ..Judged::default()
                };
                self.parts.judge.counts_dead(item.source, &judged.fate);
                let judged = self.widened_once(&mut item, judged);
                (item, judged)
            }
            Turn::Overdue(schema_id, mut item) => {
                let judged = Judged {
                    fate: Fate::Parked { schema_id },
                    ..Judged::default()
                };
                let judged = self.widened_once(&mut item, judged);
                (item, judged)
            }
        };
        let records = judged.records.iter();
        let records: Vec<_> = records.map(|record| (record.clone(), item.trace)).collect();
        self.append(&records).await;
        let partition = item.partition();
        if let Some(waiting) = self.waiting.get_mut(&partition)
            && waiting.remove(&item.place.offset)
        {
            if waiting.is_empty() {
                self.waiting.remove(&partition);
            }
            self.append_progress(&[partition]).await;
        }
        item.widened |= matches!(judged.fate, Fate::Parked { .. });
        self.settle(item, judged, tasks);
    }

    /// A change that will not be read in time, or never. Its widening may stand in the log already,
    /// but for what it owes.
    fn widened_once(&mut self, item: &mut Item, judged: Judged) -> Judged {
        if item.widened {
            return judged;
        }
        let mut judged = self.widen(item, judged);
        self.tell(item, &mut judged);
        judged
    }

    /// Appends refreshes that were held back; finishes what owed them, where nothing is owed any
    /// more.
    async fn append_held_back(&mut self, records: Vec<TagInvalidation>) {
        let trace = TraceParent::fresh();
        let records: Vec<_> = records.into_iter().map(|record| (record, trace)).collect();
        self.append(&records).await;
        if self.parts.judge.next_due().is_none() {
            for (ticket, _) in self.owing.drain(..) {
                ticket.finish();
            }
        }
    }

    /// Where an assignment starts is progress too: without it nobody would know how far a
    /// partition without new changes has been judged.
    fn assigned(&mut self, partitions: Vec<Assigned>, touched: &mut Vec<ChangePartition>) {
        for assigned in partitions {
            let partition = (Arc::clone(&assigned.topic), assigned.partition);
            if let Some(committed) = assigned.next_offset {
                self.passes(&partition, assigned.topic_id, committed);
                touched.push(partition.clone());
            }
            if !self.assigned.contains(&partition) {
                self.assigned.push(partition);
            }
        }
    }

    /// Everything of the partition below `next` is judged. What was judged of a topic that had the
    /// same name before says nothing about this one.
    fn passes(&mut self, partition: &ChangePartition, topic: Option<TopicId>, next: i64) {
        let judged = self.judged.entry(partition.clone());
        let judged = judged.or_insert(JudgedTo { topic, next });
        if judged.topic == topic {
            judged.next = judged.next.max(next);
        } else {
            *judged = JudgedTo { topic, next };
        }
    }

    async fn repeat_progress(&mut self) {
        let assigned = self.assigned.clone();
        self.append_progress(&assigned).await;
    }

    async fn append_progress(&self, partitions: &[ChangePartition]) {
        let at = self.parts.clock.now();
        let values: Vec<(String, Vec<u8>)> = partitions
            .iter()
            .filter_map(|partition| {
                let (topic, number) = partition;
                let judged = self.judged.get(partition)?;
                // Another member may have judged further while this one was away.
                let known = self.parts.progress.judged(partition, judged.topic);
                let waiting = self.waiting.get(partition).and_then(BTreeSet::first);
                let next = waiting.map_or(judged.next, |&at| judged.next.min(at));
                let next = next.max(known.unwrap_or(0));
                let progress = Progress {
                    topic: topic.to_string(),
                    topic_id: judged.topic,
                    partition: *number,
                    next,
                    at,
                };
                Some((progress.record_key(), encode_progress(&progress)))
            })
            .collect();
        let trace = TraceParent::fresh();
        let records: Vec<_> = values
            .iter()
            .map(|(key, value)| self.log_record(key, value, trace))
            .collect();
        self.append_until_done(&records).await;
    }

    /// Appends them, with one metric record for each.
    async fn append(&self, invalidations: &[(TagInvalidation, TraceParent)]) {
        if invalidations.is_empty() {
            return;
        }
        let values: Vec<(String, Vec<u8>)> = invalidations
            .iter()
            .map(|(record, _)| (record.record_key(), encode_invalidation(record)))
            .collect();
        let records: Vec<_> = values
            .iter()
            .zip(invalidations)
            .map(|((key, value), (_, trace))| self.log_record(key, value, *trace))
            .collect();
        self.append_until_done(&records).await;
        for (record, trace) in invalidations {
            self.parts
                .outputs
                .emit(&invalidation_metric(record), trace.child());
        }
    }

    fn log_record<'a>(
        &'a self,
        key: &'a str,
        value: &'a [u8],
        trace: TraceParent,
    ) -> OutRecord<'a> {
        let topic = &self.parts.outputs.topics.invalidations;
        OutRecord {
            partition: Some(0),
            trace: Some(trace.child()),
            ..OutRecord::to(topic, Some(key.as_bytes()), Some(value))
        }
    }

    /// Appends as often as it takes: an invalidation twice costs a refill, one lost would let
    /// forbidden answers be served.
    async fn append_until_done(&self, records: &[OutRecord<'_>]) {
        let mut backoff = Backoff::new(Policy::new(
            Duration::from_millis(100),
            Duration::from_secs(5),
        ));
        let mut told: Option<Instant> = None;
        while !records.is_empty() {
            let deadline = Instant::now() + APPEND_PATIENCE;
            match self.parts.outputs.log.append_all(records, deadline).await {
                Ok(_) => {
                    if let Some(lasted) = self.parts.stall.clear() {
                        let secs = lasted.as_secs();
                        tracing::info!(secs, "the invalidation log takes appends again");
                    }
                    return;
                }
                Err(error) => {
                    let stalled = self.parts.stall.set(error.to_string());
                    if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                        told = Some(Instant::now());
                        let secs = stalled.since.elapsed().as_secs();
                        tracing::error!(%error, secs, "the invalidation log refuses appends; changes wait");
                    }
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }
}

/// Writes the letter and gives the ticket back once it has arrived.
async fn bury(outputs: &Outputs, item: Item, reject: &Reject) -> Option<Ticket> {
    let letter = letter(&item, reject);
    let arrived = outputs.bury(&letter, &item.ticket).await;
    arrived.then_some(item.ticket)
}

fn letter(item: &Item, reject: &Reject) -> Letter {
    let headers = item
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_deref()));
    let original = Original {
        key: item.key.as_deref(),
        value: item.value.as_deref(),
        place: &item.place,
    };
    Letter::of(original, headers, reject)
}

fn record<'a>(item: &'a Item, cause: &'a Cause, now: Timestamp) -> ChangeRecord<'a> {
    ChangeRecord {
        source: item.source,
        key: item.key.as_deref(),
        value: item.value.as_deref(),
        cause,
        now,
    }
}

fn cause(place: &Coordinates) -> Cause {
    Cause {
        topic: place.topic.to_string(),
        partition: place.partition,
        offset: place.offset,
        event_id: None,
    }
}

#[cfg(test)]
mod tests;
