//! The rules stage: change events become records of the invalidation log.
//!
//! The poll thread hands each change to one task, which judges them in order. What is decided about
//! a change is in [`Changes`]; the task carries its steps out: it appends the invalidations, then the
//! progress that passes them, and only then finishes the tickets.

mod intake;
mod stall;
mod unusable;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::intake::{ChangeTopics, RulesIntake};
pub use self::stall::{Stall, Stalled};
use self::unusable::UnusableLog;
use super::outputs::{DeadLetter, Original, Outputs};
use crate::backoff::{Backoff, Policy};
use crate::clock::Clock;
use crate::codec::log::{encode_invalidation, encode_progress};
use crate::codec::{Registry, Reject, learn_schema};
use crate::invalidation::RulesProgress;
use crate::kafka::producer::Appended;
use crate::kafka::{OutRecord, Ticket};
use crate::model::{Progress, Tag, TagInvalidation, TraceParent};
use crate::observe::{Invalidated, Observer as _, Observers};
use crate::stages::alerting::Alerting;
use crate::stages::changes::{ChangeInput, Changes, Settle, Step, TakenChange};
use crate::stages::judge::ChangeJudge;

/// The most changes that are judged at once.
const BATCH: usize = 256;
/// The most time for one attempt to append.
const APPEND_PATIENCE: Duration = Duration::from_secs(30);
/// The time between two log lines while the log refuses appends.
const LOG_EVERY: Duration = Duration::from_mins(1);
/// The most time between two looks at what is due.
const LOOK_EVERY: Duration = Duration::from_hours(1);

/// Everything that the stage works with.
pub struct RulesParts {
    pub judge: ChangeJudge,
    pub progress: Arc<RulesProgress>,
    pub outputs: Outputs,
    pub registry: Option<Arc<Registry>>,
    pub clock: Clock,
    pub topics: ChangeTopics,
    /// The time after which progress is appended again, before retention drops its last record.
    pub repeat_progress: Duration,
    pub alerting: Arc<Alerting>,
    pub observer: Observers,
    /// Set while the log does not take what has to be appended.
    pub stall: Arc<Stall>,
}

/// The task's half.
pub struct RulesTask {
    core: Changes<Ticket>,
    /// Sees each replacement of the policy.
    replacements: watch::Receiver<()>,
    inputs: mpsc::Receiver<ChangeInput<Ticket>>,
    /// The registry's responses.
    learnt: Channel<(u32, Result<(), Reject>)>,
    /// Changes whose dead letters have arrived and which asked for refreshes that are held back.
    dead_lettered: Channel<(Ticket, Vec<Tag>)>,
    unusable: UnusableLog,
    log: Appender,
    registry: Option<Arc<Registry>>,
    alerting: Arc<Alerting>,
    clock: Clock,
    repeat_progress: Duration,
}

/// A channel from tasks of the stage back to it.
struct Channel<M> {
    sender: mpsc::Sender<M>,
    receiver: mpsc::Receiver<M>,
}

/// Appends to the invalidation log.
struct Appender {
    outputs: Outputs,
    observer: Observers,
    stall: Arc<Stall>,
}

impl<M> Channel<M> {
    fn new(room: usize) -> Self {
        let (sender, receiver) = mpsc::channel(room.max(1));
        Self { sender, receiver }
    }

    /// Closes the stage's own sender: the channel ends when the last task has sent.
    fn close_own_sender(&mut self) {
        self.sender = mpsc::channel(1).0;
    }
}

/// Creates both halves; `room` is the number of changes that the intake's back-pressure lets in.
pub fn rules_stage(parts: RulesParts, room: usize) -> (RulesIntake, RulesTask) {
    // Besides the changes, a few assignments.
    let (sender, inputs) = mpsc::channel(room + 64);
    let intake = RulesIntake {
        topics: parts.topics,
        sender,
    };
    let task = RulesTask {
        replacements: parts.judge.replacements(),
        core: Changes::new(parts.judge, parts.progress),
        inputs,
        learnt: Channel::new(room),
        dead_lettered: Channel::new(room),
        unusable: UnusableLog::default(),
        log: Appender {
            outputs: parts.outputs,
            observer: parts.observer,
            stall: parts.stall,
        },
        registry: parts.registry,
        alerting: parts.alerting,
        clock: parts.clock,
        repeat_progress: parts.repeat_progress,
    };
    (intake, task)
}

impl RulesTask {
    /// Judges until `stop`, then what has been handed over already; appends the refreshes that are
    /// held back, and ends once the dead letters of its changes are written. Parked changes stay
    /// unfinished: the next owners of their partitions judge them.
    pub async fn run(mut self, stop: CancellationToken, tasks: TaskTracker) {
        let mut repeat = tokio::time::interval(self.repeat_progress);
        repeat.tick().await;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let due = self.due_in();
            tokio::select! {
                biased;
                taken = self.inputs.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        break;
                    }
                    let next = self.core.take(batch.drain(..), self.clock.now());
                    self.carry_out(next, &tasks).await;
                }
                // The stage's own senders keep both channels open.
                Some((schema_id, schema)) = self.learnt.receiver.recv() => {
                    let next = self.core.learnt(schema_id, &schema, self.clock.now());
                    self.carry_out(next, &tasks).await;
                }
                Some((ticket, owed)) = self.dead_lettered.receiver.recv() => {
                    if let Some(ticket) = self.core.dead_lettered(ticket, owed) {
                        ticket.finish();
                    }
                }
                // Until the log has what a new policy asks for, entries filled by it may be
                // older than changes judged by the old one.
                Ok(()) = self.replacements.changed() => {
                    let next = self.core.due(self.clock.now());
                    self.carry_out(next, &tasks).await;
                }
                () = tokio::time::sleep(due) => {
                    let next = self.core.due(self.clock.now());
                    self.carry_out(next, &tasks).await;
                }
                _ = repeat.tick() => {
                    let progress = self.core.progress(self.clock.now());
                    self.log.append_progress(&progress).await;
                }
                () = stop.cancelled() => break,
            }
        }
        self.end(batch, &tasks).await;
    }

    async fn end(mut self, mut batch: Vec<ChangeInput<Ticket>>, tasks: &TaskTracker) {
        self.inputs.close();
        while self.inputs.recv_many(&mut batch, BATCH).await > 0 {
            let step = self.core.take(batch.drain(..), self.clock.now());
            self.carry_out(step, tasks).await;
        }
        // The changes' offsets are committed at the end, so nothing may be held back any more.
        let step = self.core.end(self.clock.now());
        self.carry_out(step, tasks).await;
        self.dead_lettered.close_own_sender();
        while let Some((ticket, _)) = self.dead_lettered.receiver.recv().await {
            ticket.finish();
        }
        self.core.leave().into_iter().for_each(Ticket::leave);
    }

    /// Returns the time until something is due.
    fn due_in(&self) -> Duration {
        self.core
            .next_due()
            .map_or(LOOK_EVERY, |due| due.since(self.clock.now()))
    }

    /// Carries a step out, in the order of its fields.
    async fn carry_out(&mut self, step: Step<Ticket>, tasks: &TaskTracker) {
        for mut change in step.unusable {
            let appended = &step.append[change.appended.clone()];
            self.unusable.note(&change, appended);
            for alert in change.alerts.drain(..) {
                self.alerting.event(alert, change.trace);
            }
        }
        step.learn
            .into_iter()
            .for_each(|of| self.ask_for_schema(of));
        self.log.append(&step.append).await;
        self.log.append_progress(&step.progress).await;
        for settle in step.settle {
            self.settle(settle, tasks);
        }
    }

    fn ask_for_schema(&self, schema_id: u32) {
        let (registry, learnt) = (self.registry.clone(), self.learnt.sender.clone());
        tokio::spawn(async move {
            let schema = learn_schema(registry.as_deref(), schema_id).await;
            if learnt.send((schema_id, schema)).await.is_err() {
                tracing::debug!(schema_id, "the rules task ended before the schema came");
            }
        });
    }

    fn settle(&self, settle: Settle<Ticket>, tasks: &TaskTracker) {
        match settle {
            Settle::Finish(ticket) => ticket.finish(),
            Settle::DeadLetter {
                change,
                reject,
                owed,
            } => {
                let outputs = self.log.outputs.clone();
                let arrived = self.dead_lettered.sender.clone();
                tasks.spawn(async move {
                    let Some(ticket) = dead_letter(&outputs, *change, &reject).await else {
                        return;
                    };
                    if owed.is_empty() {
                        ticket.finish();
                    } else if arrived.send((ticket, owed)).await.is_err() {
                        tracing::debug!("the rules task ended; the change is read again");
                    }
                });
            }
        }
    }
}

impl Appender {
    async fn append_progress(&self, progress: &[Progress]) {
        let values: Vec<_> = progress
            .iter()
            .map(|of| (of.record_key(), encode_progress(of)))
            .collect();
        let trace = TraceParent::fresh();
        let records: Vec<_> = values
            .iter()
            .map(|(key, value)| self.record(key, value, trace))
            .collect();
        self.append_until_done(&records).await;
    }

    /// Appends invalidations, and tells observers of each.
    async fn append(&self, invalidations: &[(TagInvalidation, TraceParent)]) {
        if invalidations.is_empty() {
            return;
        }
        let values: Vec<_> = invalidations
            .iter()
            .map(|(record, _)| (record.record_key(), encode_invalidation(record)))
            .collect();
        let records: Vec<_> = values
            .iter()
            .zip(invalidations)
            .map(|((key, value), (_, trace))| self.record(key, value, *trace))
            .collect();
        let appended = self.append_until_done(&records).await;
        for ((record, trace), at) in invalidations.iter().zip(appended) {
            self.observer.invalidated(&Invalidated {
                record,
                offset: at.offset,
                trace: *trace,
            });
        }
    }

    fn record<'a>(&'a self, key: &'a str, value: &'a [u8], trace: TraceParent) -> OutRecord<'a> {
        let topic = &self.outputs.topics.invalidations;
        OutRecord {
            partition: Some(0),
            trace: Some(trace.child()),
            ..OutRecord::to(topic, Some(key.as_bytes()), Some(value))
        }
    }

    /// Appends records, and tries again until the log has taken them: an invalidation that is
    /// appended twice costs a refill, a lost one would let forbidden answers be served.
    /// Returns their places.
    async fn append_until_done(&self, records: &[OutRecord<'_>]) -> Vec<Appended> {
        if records.is_empty() {
            return Vec::new();
        }
        let mut backoff = Backoff::new(Policy::new(
            Duration::from_millis(100),
            Duration::from_secs(5),
        ));
        let mut logged: Option<Instant> = None;
        loop {
            let deadline = Instant::now() + APPEND_PATIENCE;
            match self.outputs.log.append_all(records, deadline).await {
                Ok(appended) => {
                    if let Some(lasted) = self.stall.clear() {
                        let secs = lasted.as_secs();
                        tracing::info!(secs, "the invalidation log takes appends again");
                    }
                    return appended;
                }
                Err(error) => {
                    let stalled = self.stall.set(error.to_string());
                    if logged.is_none_or(|logged| logged.elapsed() >= LOG_EVERY) {
                        logged = Some(Instant::now());
                        let secs = stalled.since.elapsed().as_secs();
                        tracing::error!(%error, secs, "the invalidation log refuses appends; changes wait");
                    }
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }
}

/// Writes the dead letter of a change. Returns the ticket once it has arrived, none if the partition
/// has another owner by now.
async fn dead_letter(
    outputs: &Outputs,
    change: TakenChange<Ticket>,
    reject: &Reject,
) -> Option<Ticket> {
    let headers = change
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_deref()));
    let original = Original {
        key: change.key.as_deref(),
        value: change.value.as_deref(),
        place: &change.place,
    };
    let letter = DeadLetter::of(original, headers, reject);
    let arrived = outputs.dead_letter(&letter, &change.ticket).await;
    arrived.then_some(change.ticket)
}

#[cfg(test)]
mod tests;
