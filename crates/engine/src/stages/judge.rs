//! The judging of one change record: the records that it adds to the invalidation log, and the
//! alerts that it raises.

use std::sync::Arc;

use tokio::sync::watch;

use wedcache_codec::{Decoded, Decoder, Reject};
use wedcache_model::invalidation::Severity;
use wedcache_model::{Cause, Coordinates, Mode, Tag, TagInvalidation, Timestamp};
use wedcache_rules::invalidation::plan::{self, Plan, Planned};
use wedcache_rules::invalidation::rule::{Change, ChangeSource};
use wedcache_rules::invalidation::widen::{self, HeldBack, WidenLimiter, Widened};
use wedcache_rules::topology::Policy;

use crate::alerts::Alert;
use crate::observe::{
    self, ConditionFailed, DeadLettered, Input, Observer as _, Observers, Reach, Taken, TakenAs,
};
use crate::policy::PolicyInForce;

/// The rule and the cause of invalidations that a new policy asks for.
const POLICY_REPLACED: &str = "policy-replaced";

/// Judges change events by the rules.
pub struct ChangeJudge {
    decoder: Arc<Decoder>,
    policies: Arc<PolicyInForce>,
    /// The policy by which changes are judged until [`ChangeJudge::follow_policy`].
    policy: Arc<Policy>,
    observer: Observers,
    limiter: WidenLimiter,
}

/// A change record as it was read.
#[derive(Debug, Clone, Copy)]
pub struct ChangeRecord<'a> {
    pub source: ChangeSource,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub cause: &'a Cause,
    pub now: Timestamp,
}

/// The outcome of judging a change.
#[derive(Debug, Default)]
pub struct Judged {
    /// The records to be appended to the log, in this order.
    pub records: Vec<TagInvalidation>,
    pub alerts: Vec<Alert>,
    pub fate: Fate,
    /// The refreshes of whole types that the change asked for and that are held back: if its offset
    /// were committed now, a crash would lose them.
    pub owed: Vec<Tag>,
}

#[derive(Debug, Default, Clone, PartialEq)]
pub enum Fate {
    /// Judged, or a null value: done once its records are in the log.
    #[default]
    Done,
    /// Widened, and for the dead-letter topic.
    Dead(Reject),
    /// Purged by its key, and to be judged again once the registry has responded about this schema.
    /// If that takes longer than a moment, it is to be widened ([`ChangeJudge::widen`]).
    Parked { schema_id: u32 },
}

impl ChangeJudge {
    pub fn new(decoder: Arc<Decoder>, policies: Arc<PolicyInForce>, observer: Observers) -> Self {
        let policy = policies.get();
        let limiter = WidenLimiter::new(policy.freshness.widen_refresh_interval);
        Self {
            decoder,
            policies,
            policy,
            observer,
            limiter,
        }
    }

    /// Returns a receiver that sees each replacement of the policy.
    pub fn replacements(&self) -> watch::Receiver<()> {
        self.policies.replacements()
    }

    /// Judges by the policy in force from now on. Returns the records that have to be in the log
    /// before anything that is judged by it: they purge the types that it tags otherwise. Without
    /// them an entry with tags of another policy would outlive the changes of its facts, if it were
    /// found again after that policy has come back.
    pub fn follow_policy(&mut self, now: Timestamp) -> Vec<TagInvalidation> {
        let new = self.policies.get();
        if Arc::ptr_eq(&new, &self.policy) {
            return Vec::new();
        }
        let old = std::mem::replace(&mut self.policy, new);
        let new = &self.policy;
        self.limiter
            .set_interval(new.freshness.widen_refresh_interval);
        let rule: Arc<str> = POLICY_REPLACED.into();
        let purged: Vec<_> = old
            .catalog
            .tagged_otherwise(&new.catalog)
            .map(|of| Planned {
                tag: Tag::global(&of.name),
                mode: Mode::Purge,
                rule: Arc::clone(&rule),
            })
            .collect();
        // No record is the cause, but each replacement has ids of its own.
        let cause = Cause {
            topic: POLICY_REPLACED.to_owned(),
            partition: 0,
            offset: now.0,
            event_id: Some(new.version.clone()),
        };
        plan::into_records(&purged, &cause, now)
    }

    pub fn judge(&mut self, record: &ChangeRecord<'_>) -> Judged {
        match self.decode(record) {
            Decoded::Event(change) => {
                let is_heartbeat = change.is_heartbeat();
                let result = if is_heartbeat {
                    TakenAs::Heartbeat
                } else {
                    TakenAs::Event
                };
                self.taken(record.source, result);
                let key = record.key.and_then(|key| std::str::from_utf8(key).ok());
                let plan = plan::plan(&self.policy.rules, &self.policy.catalog, &change, key);
                let cause = Cause {
                    event_id: Some(change.event_id().to_owned()),
                    ..record.cause.clone()
                };
                let record = ChangeRecord {
                    cause: &cause,
                    ..*record
                };
                self.planned(&record, plan)
            }
            Decoded::Tombstone => {
                self.taken(record.source, TakenAs::Null);
                Judged::default()
            }
            Decoded::Rejected(reject) => {
                let fate = Fate::Dead(reject);
                let (wide, judged) = self.by_key(record, fate);
                self.widened(record, wide.by_key, &wide.refresh_types, judged)
            }
            Decoded::Unresolved { schema_id } => {
                self.taken(record.source, TakenAs::Parked);
                let (wide, mut judged) = self.by_key(record, Fate::Parked { schema_id });
                judged.records = plan::into_records(&wide.by_key, record.cause, record.now);
                judged
            }
        }
    }

    /// Tells that a change was parked and is judged again.
    pub fn judges_late(&self, source: ChangeSource) {
        self.taken(source, TakenAs::JudgedLate);
    }

    /// Tells that a change is for the dead-letter topic.
    pub fn dead_letters(&self, source: ChangeSource, place: &Coordinates, reject: &Reject) {
        self.taken(source, TakenAs::DeadLetter);
        self.observer.dead_lettered(&DeadLettered {
            input: input(source),
            place,
            reason: reject.reason.as_str(),
            detail: &reject.detail,
        });
    }

    fn taken(&self, source: ChangeSource, result: TakenAs) {
        let input = input(source);
        self.observer.taken(&Taken { input, result });
    }

    /// Takes the refreshes that were held back and may be appended now.
    pub fn due(&mut self, now: Timestamp) -> Vec<TagInvalidation> {
        let due = self.limiter.due(now);
        records_of(&due, now)
    }

    /// Takes all refreshes that are held back, due or not.
    pub fn owed(&mut self, now: Timestamp) -> Vec<TagInvalidation> {
        let owed = self.limiter.owed(now);
        records_of(&owed, now)
    }

    /// Returns the next time at which [`ChangeJudge::due`] returns something.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.limiter.next_due()
    }

    /// Returns true if the refresh of this tag is held back.
    pub fn owes(&self, tag: &Tag) -> bool {
        self.limiter.is_owed(tag)
    }

    fn decode(&self, record: &ChangeRecord<'_>) -> Decoded<Change> {
        match record.source {
            ChangeSource::Vendor => map(
                self.decoder.decode_vendor_change(record.value),
                Change::Vendor,
            ),
            ChangeSource::Wedding => map(
                self.decoder.decode_wedding_update(record.value),
                Change::Wedding,
            ),
        }
    }

    fn planned(&mut self, record: &ChangeRecord<'_>, plan: Plan) -> Judged {
        let mut judged = Judged::default();
        for failure in plan.condition_failures {
            let rule = &failure.rule;
            self.observer.condition_failed(&ConditionFailed { rule });
            let summary = format!(
                "the condition of rule {} could not be evaluated on {}: {}",
                failure.rule,
                place(record.cause),
                failure.message
            );
            judged.alerts.push(alert(summary).of("rule", &failure.rule));
        }
        for lacking in plan.lacking {
            let summary = format!(
                "rule {} fired on {}, which does not say its {}; widened",
                lacking.rule,
                place(record.cause),
                lacking.scope.as_str()
            );
            judged.alerts.push(alert(summary).of("rule", &lacking.rule));
        }
        self.append(record, plan.invalidations, &plan.refresh_types, &mut judged);
        judged
    }

    /// Adds the refreshes of the whole types that a change that cannot be read may concern besides
    /// its key.
    pub fn widen(&mut self, record: &ChangeRecord<'_>, judged: Judged) -> Judged {
        let wide = self.wide(record);
        self.widened(record, Vec::new(), &wide.refresh_types, judged)
    }

    fn widened(
        &mut self,
        record: &ChangeRecord<'_>,
        by_key: Vec<Planned>,
        refresh_types: &[Planned],
        mut judged: Judged,
    ) -> Judged {
        let input = record.source.as_str();
        if !refresh_types.is_empty() {
            self.widens(record.source, Reach::Types);
            let summary = format!(
                "a {input} change that cannot be read ({}) refreshes whole cache types",
                place(record.cause)
            );
            judged.alerts.push(alert(summary).of("source", input));
        }
        self.append(record, by_key, refresh_types, &mut judged);
        judged
    }

    /// Returns what a change that cannot be read may concern; what its key names is to be purged.
    fn by_key(&mut self, record: &ChangeRecord<'_>, fate: Fate) -> (Widened, Judged) {
        let wide = self.wide(record);
        if !wide.by_key.is_empty() {
            self.widens(record.source, Reach::Key);
        }
        let judged = Judged {
            fate,
            ..Judged::default()
        };
        (wide, judged)
    }

    fn widens(&self, source: ChangeSource, reach: Reach) {
        let input = input(source);
        self.observer.widened(&observe::Widened { input, reach });
    }

    fn wide(&self, record: &ChangeRecord<'_>) -> Widened {
        let key = record.key.and_then(|key| std::str::from_utf8(key).ok());
        widen::widen(&self.policy.rules, &self.policy.catalog, record.source, key)
    }

    fn append(
        &mut self,
        record: &ChangeRecord<'_>,
        mut planned: Vec<Planned>,
        refresh_types: &[Planned],
        judged: &mut Judged,
    ) {
        let admitted = self
            .limiter
            .admit(record.now, refresh_types.to_vec(), record.cause);
        let owed = refresh_types
            .iter()
            .filter(|planned| self.limiter.owes(std::slice::from_ref(planned)));
        judged.owed.extend(owed.map(|planned| planned.tag.clone()));
        planned.extend(admitted);
        judged
            .records
            .extend(plan::into_records(&planned, record.cause, record.now));
    }
}

/// Returns the log records of refreshes that were held back. Those of one cause are numbered
/// together.
fn records_of(held_back: &[HeldBack], now: Timestamp) -> Vec<TagInvalidation> {
    held_back
        .chunk_by(|one, other| one.cause == other.cause)
        .flat_map(|of_one| {
            let planned: Vec<_> = of_one.iter().map(|held| held.planned.clone()).collect();
            plan::into_records(&planned, &of_one[0].cause, now)
        })
        .collect()
}

fn input(source: ChangeSource) -> Input {
    match source {
        ChangeSource::Vendor => Input::VendorChanges,
        ChangeSource::Wedding => Input::WeddingUpdates,
    }
}

fn map<T, U>(decoded: Decoded<T>, wrap: impl FnOnce(T) -> U) -> Decoded<U> {
    match decoded {
        Decoded::Event(event) => Decoded::Event(wrap(event)),
        Decoded::Tombstone => Decoded::Tombstone,
        Decoded::Rejected(reject) => Decoded::Rejected(reject),
        Decoded::Unresolved { schema_id } => Decoded::Unresolved { schema_id },
    }
}

fn place(cause: &Cause) -> String {
    format!("{}[{}]@{}", cause.topic, cause.partition, cause.offset)
}

/// Returns the alert for a change that could not be read, or lacks a value that a rule needs.
fn alert(summary: String) -> Alert {
    Alert::new("change_unreadable", Severity::Ticket, summary)
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::observe::Observer;
    use wedcache_codec::Schemas;
    use wedcache_model::Mode;
    use wedcache_model::catalog::sample;
    use wedcache_rules::invalidation::rule::{RuleSpec, Scope, Selection};

    struct Kept(Arc<Mutex<Vec<Taken>>>);

    impl Observer for Kept {
        fn taken(&self, event: &Taken) {
            self.0.lock().push(*event);
        }
    }

    #[test]
    fn a_heartbeat_is_counted_and_nothing_else() {
        let all = RuleSpec {
            name: "all".into(),
            on: "vendor.*".into(),
            cache_types: Selection::All,
            scope: Scope::Vendor,
            mode: Mode::Purge,
            condition: None,
            active: true,
        };
        let taken = Arc::new(Mutex::new(Vec::new()));
        let mut judge = ChangeJudge::new(
            Arc::new(Decoder::new(Schemas::embedded().into(), usize::MAX)),
            Arc::new(PolicyInForce::with_rules(sample::catalog(), &[all])),
            Observers::new([Arc::new(Kept(Arc::clone(&taken))) as Arc<dyn Observer>]),
        );
        let value = br#"{"eventId": "e-1", "change": "heartbeat", "source": "bloomdesk"}"#;
        let cause = Cause {
            topic: "wedsync.vendor.changes".into(),
            partition: 0,
            offset: 7,
            event_id: None,
        };
        let judged = judge.judge(&ChangeRecord {
            source: ChangeSource::Vendor,
            key: Some(b"bloomdesk"),
            value: Some(value),
            cause: &cause,
            now: Timestamp(0),
        });
        assert!(
            judged.records.is_empty() && judged.alerts.is_empty(),
            "{judged:?}"
        );
        assert_eq!((judged.fate, judged.owed), (Fate::Done, Vec::new()));
        let heartbeat = Taken {
            input: Input::VendorChanges,
            result: TakenAs::Heartbeat,
        };
        assert_eq!(*taken.lock(), [heartbeat]);
    }
}
