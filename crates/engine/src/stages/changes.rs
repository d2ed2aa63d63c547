//! The judging of change records, batch by batch.
//!
//! [`Changes`] takes what was read and returns a [`Step`]: first its invalidations are appended to
//! the log, then the progress that passes them, and only then the records are settled. So whoever
//! has read the progress has read the invalidations, and a committed change is in the log.
//!
//! A change stays unfinished while it is parked for its schema, and while a refresh that it asked
//! for is held back: a crash would lose either.

mod parked;
mod positions;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use wedcache_codec::Reject;
use wedcache_model::{
    Cause, Coordinates, Progress, Tag, TagInvalidation, Timestamp, TopicId, TraceParent, Unfinished,
};
use wedcache_rules::invalidation::rule::ChangeSource;
use wedcache_rules::invalidation::{ChangePartition, RulesProgress};

use self::parked::{Parked, Waiting};
use self::positions::Positions;
use super::judge::{ChangeJudge, ChangeRecord, Fate, Judged};
use crate::alerts::Alert;

/// A change record as it was read.
#[derive(Debug)]
pub struct TakenChange<T> {
    pub source: ChangeSource,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub place: Coordinates,
    /// The id of the topic that it was read from; `None` if it is not known.
    pub topic_id: Option<TopicId>,
    pub trace: TraceParent,
    pub ticket: T,
}

/// A partition that is judged here from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    pub partition: ChangePartition,
    pub topic_id: Option<TopicId>,
    /// The committed offset; `None` without one.
    pub next_offset: Option<i64>,
}

/// What is read from the change topics.
#[derive(Debug)]
pub enum ChangeInput<T> {
    Change(Box<TakenChange<T>>),
    Assigned(Vec<Assignment>),
}

/// What is to be done, in the order of the fields.
#[derive(Debug)]
#[must_use = "a step that is not carried out loses invalidations"]
pub struct Step<T> {
    /// To be logged and alerted.
    pub unusable: Vec<Unusable>,
    /// Schemas that the registry is to be asked for; when it has responded: [`Changes::learnt`]. The
    /// time that it has for that counts from now.
    pub learn: Vec<u32>,
    /// To be appended to the invalidation log, each in the trace of its change.
    pub append: Vec<(TagInvalidation, TraceParent)>,
    /// To be appended to the invalidation log once `append` is in it.
    pub progress: Vec<Progress>,
    /// To be done once `progress` is in the log.
    pub settle: Vec<Settle<T>>,
}

/// What is left to do for a change.
#[derive(Debug)]
pub enum Settle<T> {
    /// Finish the record.
    Finish(T),
    /// Write the record to the dead-letter topic; when it has arrived: [`Changes::dead_lettered`].
    DeadLetter {
        change: Box<TakenChange<T>>,
        reject: Reject,
        /// The refreshes that it asked for and that are held back.
        owed: Vec<Tag>,
    },
}

/// A change that could not be read, or lacks a value that a rule needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Unusable {
    pub place: Coordinates,
    pub trace: TraceParent,
    pub reason: &'static str,
    pub detail: String,
    pub alerts: Vec<Alert>,
    /// Its invalidations, as a range of `Step::append`.
    pub appended: Range<usize>,
    /// The number of refreshes that it asked for and that are held back.
    pub owed: usize,
}

/// Judges the changes of the partitions that are assigned here.
pub struct Changes<T> {
    judge: ChangeJudge,
    parked: Parked<T>,
    positions: Positions,
    /// Changes with refreshes that are held back. One change stands for each refresh, because the
    /// refresh that is appended later covers every earlier one; so there are at most as many as
    /// cache types.
    owing: Vec<(T, Vec<Tag>)>,
}

impl<T> Default for Step<T> {
    fn default() -> Self {
        Self {
            unusable: Vec::new(),
            learn: Vec::new(),
            append: Vec::new(),
            progress: Vec::new(),
            settle: Vec::new(),
        }
    }
}

impl<T: Unfinished> Changes<T> {
    /// Creates the core; `progress` is what the log says about all members of the group.
    pub fn new(judge: ChangeJudge, progress: Arc<RulesProgress>) -> Self {
        Self {
            judge,
            parked: Parked::default(),
            positions: Positions::new(progress),
            owing: Vec::new(),
        }
    }

    /// Judges what was read, in its order.
    pub fn take(
        &mut self,
        batch: impl IntoIterator<Item = ChangeInput<T>>,
        now: Timestamp,
    ) -> Step<T> {
        let (mut step, mut touched, mut judged) = (self.step(now), Vec::new(), Vec::new());
        for input in batch {
            match input {
                ChangeInput::Assigned(assigned) => {
                    touched.extend(self.positions.assigned(assigned));
                }
                ChangeInput::Change(change) => {
                    let (partition, place) = (change.partition(), &change.place);
                    self.positions
                        .passes(&partition, change.topic_id, place.offset + 1);
                    touched.push(partition);
                    let mut waiting = Waiting::new(change);
                    let verdict = self.judge(&mut waiting, now, &mut step);
                    judged.push((waiting, verdict));
                }
            }
        }
        step.progress = self.positions.progress(touched, now);
        for (waiting, verdict) in judged {
            self.settle(waiting, verdict, now, &mut step);
        }
        self.finish_covered(&mut step);
        step
    }

    /// Takes the registry's response about a schema: the changes that waited for it go on.
    pub fn learnt(
        &mut self,
        schema_id: u32,
        schema: &Result<(), Reject>,
        now: Timestamp,
    ) -> Step<T> {
        let mut step = self.step(now);
        let mut passed = Vec::new();
        for mut waiting in self.parked.learnt(schema_id) {
            waiting.change.ticket.release();
            passed.push(self.positions.waits_no_more(&waiting.change));
            let verdict = match schema {
                Ok(()) => {
                    self.judge.judges_late(waiting.change.source);
                    self.judge(&mut waiting, now, &mut step)
                }
                Err(reject) => {
                    let judged = Judged {
                        owed: std::mem::take(&mut waiting.owed),
                        fate: Fate::Dead(reject.clone()),
                        ..Judged::default()
                    };
                    self.widen_once(&mut waiting, judged, now, &mut step)
                }
            };
            self.settle(waiting, verdict, now, &mut step);
        }
        let passed = passed.into_iter().flatten();
        step.progress = self.positions.progress(passed, now);
        self.finish_covered(&mut step);
        step
    }

    /// Returns the time of the next [`Changes::due`].
    pub fn next_due(&self) -> Option<Timestamp> {
        let due = [self.judge.next_due(), self.parked.next_overdue()];
        due.into_iter().flatten().min()
    }

    /// Does what is due: appends what a new policy asks for and refreshes whose interval is over, and
    /// widens changes whose schema has not come in time.
    pub fn due(&mut self, now: Timestamp) -> Step<T> {
        let mut step = self.step(now);
        let due = self.judge.due(now);
        step.append_alone(due);
        let mut passed = Vec::new();
        for (schema_id, mut waiting) in self.parked.overdue(now) {
            passed.push(self.positions.waits_no_more(&waiting.change));
            let judged = Judged {
                fate: Fate::Parked { schema_id },
                ..Judged::default()
            };
            let verdict = self.widen_once(&mut waiting, judged, now, &mut step);
            self.settle(waiting, verdict, now, &mut step);
        }
        let passed = passed.into_iter().flatten();
        step.progress = self.positions.progress(passed, now);
        self.finish_covered(&mut step);
        step
    }

    /// Takes back a change whose dead letter has arrived; returns it if it is to be finished now.
    pub fn dead_lettered(&mut self, ticket: T, owed: Vec<Tag>) -> Option<T> {
        self.finish_or_hold(ticket, owed)
    }

    /// Returns the progress of all partitions, to be appended again: otherwise retention would drop
    /// the last record of a partition without changes.
    pub fn progress(&self, now: Timestamp) -> Vec<Progress> {
        self.positions.progress_of_all(now)
    }

    /// Returns everything that is held back, due or not: the process ends.
    pub fn end(&mut self, now: Timestamp) -> Step<T> {
        let mut step = Step::default();
        let owed = self.judge.owed(now);
        step.append_alone(owed);
        self.finish_covered(&mut step);
        step
    }

    /// Returns the changes that are still parked, for the next owners of their partitions.
    pub fn leave(self) -> Vec<T> {
        self.parked.leave()
    }

    /// Begins a step, all of which is judged by the policy that is in force now.
    fn step(&mut self, now: Timestamp) -> Step<T> {
        let mut step = Step::default();
        let purges = self.judge.follow_policy(now);
        if !purges.is_empty() {
            step.append_alone(purges);
        }
        step
    }

    /// Judges one change; its records and alerts go into the step.
    fn judge(&mut self, waiting: &mut Waiting<T>, now: Timestamp, step: &mut Step<T>) -> Ruling {
        let cause = waiting.change.cause();
        let mut judged = self.judge.judge(&waiting.change.record(&cause, now));
        if let Fate::Parked { schema_id } = judged.fate {
            if self.parked.may_come(schema_id, now) {
                self.positions.waits(&waiting.change);
                step.append(&waiting.change, judged.records);
                let (fate, owed) = (judged.fate, judged.owed);
                return Ruling { fate, owed };
            }
            judged = self.widen(waiting, judged, now);
        }
        step.take(&waiting.change, judged)
    }

    /// Adds what a change that cannot be read may concern besides its key.
    fn widen(&mut self, waiting: &mut Waiting<T>, judged: Judged, now: Timestamp) -> Judged {
        waiting.widened = true;
        let cause = waiting.change.cause();
        self.judge
            .widen(&waiting.change.record(&cause, now), judged)
    }

    /// Widens a change that will not be read in time, or never, unless that is done already.
    fn widen_once(
        &mut self,
        waiting: &mut Waiting<T>,
        judged: Judged,
        now: Timestamp,
        step: &mut Step<T>,
    ) -> Ruling {
        if waiting.widened {
            let (fate, owed) = (judged.fate, judged.owed);
            return Ruling { fate, owed };
        }
        let judged = self.widen(waiting, judged, now);
        step.take(&waiting.change, judged)
    }

    fn settle(
        &mut self,
        mut waiting: Waiting<T>,
        Ruling { fate, owed }: Ruling,
        now: Timestamp,
        step: &mut Step<T>,
    ) {
        match fate {
            Fate::Done => {
                let finished = self.finish_or_hold(waiting.change.ticket, owed);
                step.settle.extend(finished.map(Settle::Finish));
            }
            Fate::Dead(reject) => {
                let change = waiting.change;
                self.judge
                    .dead_letters(change.source, &change.place, &reject);
                step.settle.push(Settle::DeadLetter {
                    change,
                    reject,
                    owed,
                });
            }
            Fate::Parked { schema_id } => {
                waiting.change.ticket.hold();
                waiting.owed = owed;
                if self.parked.park(schema_id, waiting, now) {
                    step.learn.push(schema_id);
                }
            }
        }
    }

    /// Returns a ticket that may be finished; holds it while it owes a refresh that no other held
    /// change stands for.
    fn finish_or_hold(&mut self, ticket: T, mut owed: Vec<Tag>) -> Option<T> {
        self.owing.retain(|(held, _)| !held.is_fenced());
        owed.retain(|tag| self.judge.owes(tag));
        let rests_on_another =
            |tag: &Tag| self.owing.iter().any(|(_, covered)| covered.contains(tag));
        if owed.iter().all(rests_on_another) {
            return Some(ticket);
        }
        ticket.hold();
        self.owing.push((ticket, owed));
        None
    }

    /// Finishes the changes whose refreshes are appended, by this step or by an earlier one.
    fn finish_covered(&mut self, step: &mut Step<T>) {
        for (_, owed) in &mut self.owing {
            owed.retain(|tag| self.judge.owes(tag));
        }
        let covered = self.owing.extract_if(.., |(_, owed)| owed.is_empty());
        step.settle
            .extend(covered.map(|(ticket, _)| Settle::Finish(ticket)));
    }
}

/// The outcome of judging, once the records and alerts are in the step.
struct Ruling {
    fate: Fate,
    owed: Vec<Tag>,
}

impl<T> Step<T> {
    /// Takes the records and alerts of a change that was judged.
    fn take(&mut self, change: &TakenChange<T>, judged: Judged) -> Ruling {
        let Judged {
            records,
            alerts,
            fate,
            owed,
        } = judged;
        let appended = self.append(change, records);
        let (reason, detail) = match &fate {
            Fate::Dead(reject) => (reject.reason.as_str(), reject.detail.clone()),
            Fate::Parked { schema_id } => (
                "parked",
                format!("schema {schema_id} is not known yet, and the registry is away"),
            ),
            Fate::Done => match alerts.first() {
                Some(alert) => ("lacking", alert.summary.clone()),
                None => return Ruling { fate, owed },
            },
        };
        self.unusable.push(Unusable {
            place: change.place.clone(),
            trace: change.trace,
            reason,
            detail,
            alerts,
            appended,
            owed: owed.len(),
        });
        Ruling { fate, owed }
    }

    fn append(&mut self, change: &TakenChange<T>, records: Vec<TagInvalidation>) -> Range<usize> {
        let from = self.append.len();
        let records = records.into_iter().map(|record| (record, change.trace));
        self.append.extend(records);
        from..self.append.len()
    }

    fn append_alone(&mut self, records: Vec<TagInvalidation>) {
        let trace = TraceParent::fresh();
        let records = records.into_iter().map(|record| (record, trace));
        self.append.extend(records);
    }
}

impl<T> TakenChange<T> {
    fn partition(&self) -> ChangePartition {
        (Arc::clone(&self.place.topic), self.place.partition)
    }

    fn cause(&self) -> Cause {
        Cause {
            topic: self.place.topic.to_string(),
            partition: self.place.partition,
            offset: self.place.offset,
            event_id: None,
        }
    }

    fn record<'a>(&'a self, cause: &'a Cause, now: Timestamp) -> ChangeRecord<'a> {
        ChangeRecord {
            source: self.source,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            cause,
            now,
        }
    }
}
