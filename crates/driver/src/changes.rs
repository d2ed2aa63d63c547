//! The judging of changes: the core on a log in memory.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use wedcache_codec::Reject;
use wedcache_engine::observe::{Invalidated, Observer as _};
use wedcache_engine::stages::changes::{ChangeInput, Changes, Settle, Step, TakenChange};
use wedcache_engine::stages::judge::ChangeJudge;
use wedcache_model::{Coordinates, Timestamp, TraceParent, Unfinished};
use wedcache_rules::invalidation::rule::ChangeSource;

use super::{DeadLetter, Driver, next};

/// The one member of the rules group.
pub(super) struct Judging {
    core: Changes<OpenChange>,
    /// Changes that are in their topic and not yet read.
    unread: VecDeque<ChangeInput<OpenChange>>,
    /// Changes whose offsets are not committed.
    unfinished: BTreeSet<OpenChange>,
}

/// The place of a change, which stands for its unfinished record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OpenChange {
    topic: Arc<str>,
    offset: i64,
}

/// Nothing here watches the age of a record, and the one member keeps its partitions.
impl Unfinished for OpenChange {}

impl Judging {
    pub(super) fn new(judge: ChangeJudge) -> Self {
        Self {
            core: Changes::new(judge, Arc::default()),
            unread: VecDeque::new(),
            unfinished: BTreeSet::new(),
        }
    }

    /// Returns true if changes wait to be read.
    pub(super) fn is_behind(&self) -> bool {
        !self.unread.is_empty()
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.core.next_due()
    }
}

impl Driver {
    /// Returns the offsets of a topic's changes that are not finished: after a crash they would be
    /// read again.
    pub fn unfinished(&self, topic: &str) -> Vec<i64> {
        let unfinished = self.judging.unfinished.iter();
        let of_topic = unfinished.filter(|place| *place.topic == *topic);
        of_topic.map(|place| place.offset).collect()
    }

    /// Returns the next offset of a topic to be judged, as the first instance knows it from the log.
    pub fn judged(&self, topic: &str) -> i64 {
        self.instances[0].judged(topic)
    }

    pub(super) fn change(
        &mut self,
        source: ChangeSource,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
    ) {
        let topics = &self.world.topology.deployment.topics;
        let (topic, end) = match source {
            ChangeSource::Vendor => (&topics.vendor_changes.name, &mut self.ends.vendor),
            ChangeSource::Wedding => (&topics.wedding_updates.name, &mut self.ends.wedding),
        };
        let place = OpenChange {
            topic: Arc::clone(topic),
            offset: next(end),
        };
        let change = TakenChange {
            source,
            key,
            value,
            headers: Vec::new(),
            place: Coordinates {
                topic: Arc::clone(&place.topic),
                partition: 0,
                offset: place.offset,
                timestamp: self.now(),
            },
            topic_id: None,
            trace: TraceParent::fresh(),
            ticket: place.clone(),
        };
        self.judging.unfinished.insert(place);
        let input = ChangeInput::Change(Box::new(change));
        self.judging.unread.push_back(input);
        if !self.held.changes {
            self.judge_all();
        }
    }

    pub(super) fn judge_all(&mut self) {
        let (now, judging) = (self.now(), &mut self.judging);
        let step = judging.core.take(judging.unread.drain(..), now);
        self.carry_out(step);
        if !self.held.log {
            self.apply_log();
        }
    }

    /// Does what is due by now, unless changes are held.
    pub(super) fn judge_due(&mut self) {
        if self.held.changes {
            return;
        }
        let now = self.now();
        let step = self.judging.core.due(now);
        let appends = !step.append.is_empty() || !step.progress.is_empty();
        self.carry_out(step);
        if appends && !self.held.log {
            self.apply_log();
        }
    }

    /// Passes the registry's response about a schema on to the changes that wait for it.
    pub(super) fn changes_learnt(&mut self, schema_id: u32, schema: &Result<(), Reject>) {
        let now = self.now();
        let step = self.judging.core.learnt(schema_id, schema, now);
        self.carry_out(step);
        if !self.held.log {
            self.apply_log();
        }
    }

    fn carry_out(&mut self, step: Step<OpenChange>) {
        for change in step.unusable {
            for alert in change.alerts {
                self.alerting.event(alert, change.trace);
            }
        }
        for (record, trace) in &step.append {
            let offset = self.log.append(record);
            self.world.observer.invalidated(&Invalidated {
                record,
                offset,
                trace: *trace,
            });
        }
        for progress in &step.progress {
            self.log.append_progress(progress);
        }
        for settle in step.settle {
            self.settle_change(settle);
        }
        for schema_id in step.learn {
            if let Some(schema) = self.registry.response(schema_id) {
                self.changes_learnt(schema_id, &schema);
            }
        }
    }

    fn settle_change(&mut self, settle: Settle<OpenChange>) {
        let finished = match settle {
            Settle::Finish(place) => Some(place),
            Settle::DeadLetter {
                change,
                reject,
                owed,
            } => {
                let TakenChange { key, value, .. } = *change;
                let letter = DeadLetter { key, value, reject };
                self.world.collector.dead_letter(letter);
                self.judging.core.dead_lettered(change.ticket, owed)
            }
        };
        if let Some(place) = finished {
            self.judging.unfinished.remove(&place);
        }
    }
}
