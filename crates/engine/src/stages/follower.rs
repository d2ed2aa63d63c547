//! Applies the invalidation log to the tag table, on the log reader's thread.
//!
//! The table has no log id, so all entries are void, until the log has been read to the end that it
//! had at the start. Entries stamped in a log that was deleted and recreated stay void.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use wedcache_codec::LogRecord;
use wedcache_codec::log::invalidation_of_key;
use wedcache_model::clock::Clock;
use wedcache_model::invalidation::{LogIdentity, SkippedRange};
use wedcache_model::{LogId, Position, Tag, TagHash, TopicId};
use wedcache_rules::invalidation::log::{Follow, ReaderEvent, StoredRecord};
use wedcache_rules::invalidation::tag_table::Applied;
use wedcache_rules::invalidation::{RulesProgress, TagTable};

use crate::policy::PolicyInForce;

/// The state of reading the log, for the rest of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogStatus {
    /// True once the end that the log had at the start is reached.
    pub caught_up: bool,
    /// The id of the log; `None` until it is known.
    pub log_id: Option<LogId>,
    /// The log's identity record; the log needs one, for readers that do not ask for topic ids.
    pub identity: Option<LogIdentity>,
    /// The last time at which the log's end was asked for, and true if it had been reached.
    pub measured: Option<(Instant, bool)>,
    /// True while the topic does not exist.
    pub gone: bool,
}

/// A change to the set of input ranges that an operator has given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SkipChange {
    Added(SkippedRange),
    /// The log is read again from its start: the set is empty until it names ranges again.
    Reset,
}

/// Reads the log into the tag table and the progress of judging.
pub struct LogFollower {
    table: Arc<TagTable>,
    progress: Arc<RulesProgress>,
    on_skip: Box<dyn FnMut(SkipChange) + Send>,
    policies: Arc<PolicyInForce>,
    clock: Clock,
    /// The id of the topic that is read; `None` if the brokers have no topic ids.
    topic: Option<TopicId>,
    /// The identity record that counts among those that have been read: the earliest one, or if the
    /// topic's id is known, the earliest one with that id.
    identity: Option<LogIdentity>,
    caught_up: bool,
    status: watch::Sender<LogStatus>,
    swept_at: Instant,
}

const SWEEP_EVERY: std::time::Duration = std::time::Duration::from_mins(1);

impl LogFollower {
    pub fn new(
        table: Arc<TagTable>,
        progress: Arc<RulesProgress>,
        policies: Arc<PolicyInForce>,
        clock: Clock,
    ) -> (Self, watch::Receiver<LogStatus>) {
        let status = LogStatus {
            caught_up: false,
            log_id: None,
            identity: None,
            measured: None,
            gone: false,
        };
        let (status, receiver) = watch::channel(status);
        let follower = Self {
            table,
            progress,
            on_skip: Box::new(|_| {}),
            policies,
            clock,
            topic: None,
            identity: None,
            caught_up: false,
            status,
            swept_at: Instant::now(),
        };
        (follower, receiver)
    }

    /// Calls `on_skip` for every range of an input that the log gives up.
    #[must_use]
    pub fn with_skips(self, on_skip: impl FnMut(SkipChange) + Send + 'static) -> Self {
        Self {
            on_skip: Box::new(on_skip),
            ..self
        }
    }

    fn restart(&mut self) {
        self.table.reset();
        self.progress.reset();
        (self.on_skip)(SkipChange::Reset);
        self.topic = None;
        self.identity = None;
        self.caught_up = false;
        self.update(|status| {
            status.caught_up = false;
            status.log_id = None;
            status.identity = None;
            status.measured = None;
            status.gone = false;
        });
    }

    fn record(&mut self, record: &StoredRecord, applied: &mut Vec<Applied>) {
        let key = record.key.as_deref();
        let mut take = |tag: &str, mode| {
            applied.push(Applied {
                offset: record.offset,
                // During an upgrade, instances of an older version still write tags in their form.
                tag: TagHash::of(&Tag::canonical(tag, &self.policies.get().catalog)),
                mode,
                at: record.timestamp,
            });
        };
        match LogRecord::decode(key, record.value.as_deref()) {
            LogRecord::Invalidation(invalidation) => take(&invalidation.tag, invalidation.mode),
            LogRecord::Progress(progress) => self.progress.apply(&progress),
            LogRecord::Identity(identity) => self.identified(identity),
            LogRecord::Skip(skip) => (self.on_skip)(SkipChange::Added(skip)),
            LogRecord::Tombstone => {}
            LogRecord::Foreign(reason) => {
                let offset = record.offset;
                if let Some((mode, tag)) = key.and_then(invalidation_of_key) {
                    tracing::warn!(offset, %reason, tag, "invalidation taken by its record key");
                    take(tag, mode);
                } else {
                    tracing::warn!(offset, %reason, "a foreign record in the invalidation log");
                }
            }
        }
    }

    fn identified(&mut self, identity: LogIdentity) {
        // An instance that has not yet noticed that the topic was recreated appends the identity of
        // the old topic to the new one.
        if self
            .topic
            .is_some_and(|topic| LogId::of_topic(topic) != identity.id)
        {
            return;
        }
        let known = self.identity.get_or_insert(identity);
        *known = identity.min(*known);
        if self.caught_up {
            self.adopt();
        }
    }

    /// Sets the table's log id: from here on stamps are valid.
    fn adopt(&mut self) {
        let identity = self.identity;
        let log_id = self
            .topic
            .map(LogId::of_topic)
            .or(identity.map(|identity| identity.id));
        if let Some(id) = log_id
            && self.table.log_id() != id
        {
            if self.table.log_id() != LogId::UNKNOWN {
                tracing::warn!(?id, "another log: all entries are void");
            }
            self.table.set_log_id(id);
        }
        self.update(|status| {
            status.log_id = log_id;
            status.identity = identity;
        });
    }

    fn reached_end(&mut self) {
        if !self.caught_up {
            self.caught_up = true;
            tracing::info!(
                position = self.table.position().0,
                tags = self.table.tags(),
                "the invalidation log is read to its end"
            );
            self.adopt();
            self.update(|status| status.caught_up = true);
        }
    }

    fn measure(&mut self, log_start: i64, log_end: i64) {
        self.table.raise_floor(Position(log_start));
        let whole = self.caught_up && self.table.position().0 >= log_end;
        self.update(|status| status.measured = Some((Instant::now(), whole)));
        if self.swept_at.elapsed() >= SWEEP_EVERY {
            self.swept_at = Instant::now();
            self.table.sweep(self.clock.now());
        }
    }

    fn update(&self, change: impl FnOnce(&mut LogStatus)) {
        self.status.send_modify(change);
    }
}

impl Follow for LogFollower {
    fn on_batch(&mut self, events: Vec<ReaderEvent>) {
        let mut applied = Vec::new();
        let mut next = self.table.position();
        for event in events {
            match event {
                ReaderEvent::Record(record) => {
                    self.record(&record, &mut applied);
                    next = Position(record.offset + 1);
                    continue;
                }
                ReaderEvent::Position(position) | ReaderEvent::CaughtUp { position } => {
                    next = next.max(Position(position));
                }
                _ => {}
            }
            self.table.apply(&applied, next);
            applied.clear();
            match event {
                ReaderEvent::Started {
                    topic, log_start, ..
                } => {
                    self.restart();
                    self.topic = topic;
                    self.table.raise_floor(Position(log_start));
                    next = Position(log_start);
                }
                ReaderEvent::CaughtUp { .. } => self.reached_end(),
                ReaderEvent::Ends { log_start, log_end } => self.measure(log_start, log_end),
                ReaderEvent::Truncated {
                    position,
                    log_start,
                    log_end,
                } => {
                    tracing::warn!(position, log_start, log_end, "the log was cut or recreated");
                    self.restart();
                }
                ReaderEvent::Gone => {
                    tracing::error!("the invalidation log's topic does not exist");
                    self.restart();
                    self.update(|status| status.gone = true);
                }
                ReaderEvent::Record(_) | ReaderEvent::Position(_) => {}
            }
        }
        self.table.apply(&applied, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wedcache_codec::log::{encode_identity, encode_invalidation};
    use wedcache_model::catalog::sample::catalog;
    use wedcache_model::entry::sample;
    use wedcache_model::{Cause, Mode, Tag, TagInvalidation, Timestamp};
    use wedcache_rules::invalidation::{TagTableOptions, Validity};

    fn follower() -> (LogFollower, watch::Receiver<LogStatus>, Arc<TagTable>) {
        let table = Arc::new(TagTable::new(TagTableOptions::default()));
        let (follower, status) = LogFollower::new(
            Arc::clone(&table),
            Arc::default(),
            Arc::new(PolicyInForce::sample(catalog())),
            Clock::default(),
        );
        (follower, status, table)
    }

    fn record(offset: i64, key: String, value: &[u8]) -> ReaderEvent {
        ReaderEvent::Record(StoredRecord {
            key: Some(key.into_bytes()),
            value: Some(value.to_vec()),
            headers: Vec::new(),
            offset,
            timestamp: Timestamp(0),
        })
    }

    fn purge(offset: i64, tag: &Tag) -> ReaderEvent {
        let invalidation = TagInvalidation {
            tag: tag.as_str().to_owned(),
            mode: Mode::Purge,
            rule: "r".into(),
            cause: Cause {
                topic: "t".into(),
                partition: 0,
                offset: 0,
                event_id: None,
            },
            part: 1,
            parts: 1,
            at: Timestamp(0),
        };
        record(
            offset,
            invalidation.record_key(),
            &encode_invalidation(&invalidation),
        )
    }

    fn identity(offset: i64, created_at: i64, id: u8) -> ReaderEvent {
        let identity = LogIdentity {
            created_at: Timestamp(created_at),
            id: LogId([id; 16]),
        };
        record(offset, identity.record_key(), &encode_identity(&identity))
    }

    #[test]
    fn nothing_is_valid_before_the_end_and_the_identity_are_known() {
        let (mut follower, status, table) = follower();
        let tag = Tag::vendor("m", "v-1");
        let entry = sample::entry("k", 2, &[]);
        follower.on_batch(vec![
            ReaderEvent::Started {
                topic: None,
                log_start: 0,
                log_end: 2,
            },
            identity(0, 5, 7),
            purge(1, &tag),
        ]);
        assert_eq!(table.judge(&entry.header, &[]), Validity::Void);
        follower.on_batch(vec![ReaderEvent::CaughtUp { position: 2 }]);
        assert!(status.borrow().caught_up);
        assert_eq!(table.judge(&entry.header, &[]), Validity::Valid);
        assert_eq!(
            table.judge(&sample::entry("k", 1, &[tag]).header, &[]),
            Validity::Purged
        );
    }

    #[test]
    fn of_two_identities_the_earliest_counts_in_either_order() {
        for ids in [[(5, 7), (9, 1)], [(9, 1), (5, 7)]] {
            let (mut follower, _status, table) = follower();
            let mut events = vec![ReaderEvent::Started {
                topic: None,
                log_start: 0,
                log_end: 2,
            }];
            events.extend(
                (0..)
                    .zip(ids)
                    .map(|(at, (created, id))| identity(at, created, id)),
            );
            events.push(ReaderEvent::CaughtUp { position: 2 });
            follower.on_batch(events);
            assert_eq!(table.log_id(), LogId([7; 16]));
        }
    }

    #[test]
    fn a_recreated_log_voids_what_was_stamped_in_the_old_one() {
        let (mut follower, status, table) = follower();
        let caught_up = |position| ReaderEvent::CaughtUp { position };
        let started = ReaderEvent::Started {
            topic: None,
            log_start: 0,
            log_end: 1,
        };
        follower.on_batch(vec![started.clone(), identity(0, 5, 7), caught_up(1)]);
        let old = sample::entry("k", 1, &[]);
        assert_eq!(table.judge(&old.header, &[]), Validity::Valid);
        follower.on_batch(vec![
            ReaderEvent::Truncated {
                position: 1,
                log_start: 0,
                log_end: 0,
            },
            started,
        ]);
        assert_eq!(table.judge(&old.header, &[]), Validity::Void);
        assert!(!status.borrow().caught_up);
        follower.on_batch(vec![caught_up(0), identity(0, 6, 8), caught_up(1)]);
        assert_eq!(table.judge(&old.header, &[]), Validity::Void);
        assert_eq!(status.borrow().log_id, Some(LogId([8; 16])));
    }

    #[test]
    fn the_topics_id_counts_before_any_identity_record() {
        let (mut follower, status, table) = follower();
        let topic = TopicId(0x0808_0808_0808_0808_0808_0808_0808_0808);
        let of_topic = LogId([8; 16]);
        follower.on_batch(vec![
            ReaderEvent::Started {
                topic: Some(topic),
                log_start: 0,
                log_end: 1,
            },
            // Carried over from the topic that had the name before.
            identity(0, 5, 7),
            ReaderEvent::CaughtUp { position: 1 },
        ]);
        let said = *status.borrow();
        assert_eq!(table.log_id(), of_topic);
        assert_eq!((said.log_id, said.identity), (Some(of_topic), None));
        let old = sample::entry("k", 1, &[]);
        assert_eq!(table.judge(&old.header, &[]), Validity::Void);
        follower.on_batch(vec![identity(1, 9, 8)]);
        assert!(status.borrow().identity.is_some());
        assert_eq!(table.log_id(), of_topic);
    }

    #[test]
    fn a_tag_that_an_older_instance_wrote_counts_in_its_canonical_form() {
        let (mut follower, _status, table) = follower();
        follower.on_batch(vec![
            ReaderEvent::Started {
                topic: None,
                log_start: 0,
                log_end: 2,
            },
            identity(0, 5, 7),
            purge(1, &Tag::from_text("m|vendor=V\u{2011}1 ")),
            ReaderEvent::CaughtUp { position: 2 },
        ]);
        let tag = Tag::vendor("m", "v-1");
        assert_eq!(
            table.judge(&sample::entry("k", 1, &[tag]).header, &[]),
            Validity::Purged
        );
    }

    #[test]
    fn an_invalidation_whose_value_is_broken_counts_by_its_key() {
        let (mut follower, _status, table) = follower();
        let tag = Tag::vendor("m", "v-1");
        follower.on_batch(vec![
            ReaderEvent::Started {
                topic: None,
                log_start: 0,
                log_end: 2,
            },
            identity(0, 5, 7),
            record(1, format!("purge:{tag}"), b"{broken"),
            ReaderEvent::CaughtUp { position: 2 },
        ]);
        assert_eq!(
            table.judge(&sample::entry("k", 1, &[tag]).header, &[]),
            Validity::Purged
        );
    }
}
