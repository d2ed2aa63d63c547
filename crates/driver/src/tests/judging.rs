//! The judging of changes: what waits for a schema, what holds a change unfinished, and that the
//! driver judges as the stage does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use proptest::prelude::*;

use wedcache_codec::{Decoder, Reject, Schemas};
use wedcache_engine::observe::Invalidated;
use wedcache_engine::policy::PolicyInForce;
use wedcache_engine::stages::changes::{ChangeInput, Changes, Settle, Step, TakenChange};
use wedcache_engine::stages::judge::ChangeJudge;
use wedcache_model::{Coordinates, Mode, TraceParent, Unfinished};
use wedcache_rules::invalidation::rule::ChangeSource;

use super::*;
use crate::Response;

static TOPOLOGY: LazyLock<Topology> = LazyLock::new(production);

const SCHEMA: u32 = 77;

/// A value in JSON, framed by the id of a registry's schema.
fn framed(value: &serde_json::Value) -> Vec<u8> {
    [
        &[0],
        SCHEMA.to_be_bytes().as_slice(),
        value.to_string().as_bytes(),
    ]
    .concat()
}

fn closed(vendor: &str) -> serde_json::Value {
    serde_json::json!({
        "eventId": "e", "vendorId": vendor, "vendorType": "florist", "change": "closed",
        "location": {"city": "Waco", "state": "TX"},
    })
}

fn vendor_record(key: Option<&str>, value: Option<Vec<u8>>) -> RawRecord {
    RawRecord {
        topic: InputRole::VendorChanges,
        key: key.map(|key| key.as_bytes().to_vec()),
        value,
    }
}

impl Stage {
    fn unfinished_changes(&self) -> Vec<i64> {
        self.driver.unfinished("wedsync.vendor.changes")
    }

    fn count_by(&self, rule: &str, mode: Mode) -> usize {
        let by = self.invalidations.iter();
        by.filter(|of| of.rule == rule && of.mode == mode).count()
    }
}

#[test]
fn a_change_whose_schema_comes_in_time_is_purged_by_its_key_then_judged_and_widens_nothing() {
    play(async |stage| {
        stage.driver.configure_registry();
        let value = framed(&closed("v-1"));
        stage.driver.record(vendor_record(Some("v-1"), Some(value)));
        stage.advance(Duration::from_millis(900)).await;
        assert!(stage.count_by("unreadable", Mode::Purge) > 0);
        assert_eq!(stage.count_by("vendor-closed", Mode::Purge), 0);
        assert_eq!(stage.unfinished_changes(), [0]);
        stage.driver.registry_responds(SCHEMA, Response::Json);
        stage.collect().await;
        assert!(stage.count_by("vendor-closed", Mode::Purge) > 0);
        assert_eq!(stage.count_by("unreadable", Mode::Refresh), 0);
        assert!(stage.unfinished_changes().is_empty());
        assert!(stage.rest.dead_letters.is_empty());
    });
}

#[test]
fn a_change_whose_schema_comes_late_is_widened_once_and_judged_when_it_comes() {
    play(async |stage| {
        stage.driver.configure_registry();
        let value = framed(&closed("v-1"));
        stage.driver.record(vendor_record(Some("v-1"), Some(value)));
        stage.advance(secs(1)).await;
        let refreshed = stage.count_by("unreadable", Mode::Refresh);
        assert!(refreshed > 0 && !stage.rest.alerts.is_empty());
        stage.advance(secs(30)).await;
        assert_eq!(stage.count_by("unreadable", Mode::Refresh), refreshed);
        assert_eq!(stage.unfinished_changes(), [0]);
        stage.driver.registry_responds(SCHEMA, Response::Json);
        stage.collect().await;
        assert!(stage.count_by("vendor-closed", Mode::Purge) > 0);
        assert!(stage.unfinished_changes().is_empty());
    });
}

#[test]
fn a_change_whose_schema_does_not_exist_is_widened_and_dead_lettered() {
    play(async |stage| {
        stage.driver.configure_registry();
        let value = framed(&closed("v-1"));
        stage.driver.record(vendor_record(None, Some(value)));
        stage.driver.registry_responds(SCHEMA, Response::Unknown);
        stage.collect().await;
        assert!(stage.count_by("unreadable", Mode::Refresh) > 0);
        assert_eq!(stage.rest.dead_letters.len(), 1);
        assert!(stage.unfinished_changes().is_empty());
    });
}

#[test]
fn progress_stays_below_a_parked_change_while_later_ones_are_judged() {
    play(async |stage| {
        stage.driver.configure_registry();
        let value = framed(&closed("v-1"));
        stage.driver.record(vendor_record(Some("v-1"), Some(value)));
        stage
            .vendor_change(&change("v-2", "availability_changed"))
            .await;
        assert!(stage.count_by("availability-changed", Mode::Purge) > 0);
        let judged = |stage: &Stage| stage.driver.judged("wedsync.vendor.changes");
        assert_eq!((judged(stage), stage.unfinished_changes()), (0, vec![0]));
        stage.driver.registry_responds(SCHEMA, Response::Json);
        assert_eq!(judged(stage), 2);
    });
}

#[test]
fn a_refresh_that_is_held_back_holds_one_change_unfinished_until_it_is_appended() {
    play(async |stage| {
        let broken = || vendor_record(None, Some(b"{broken".to_vec()));
        for _ in 0..4 {
            stage.driver.record(broken());
        }
        stage.collect().await;
        // The first one was refreshed for at once; the second stands for those after it.
        assert_eq!(stage.unfinished_changes(), [1]);
        assert_eq!(stage.rest.dead_letters.len(), 4);
        let once = stage.count_by("unreadable", Mode::Refresh);
        stage.advance(secs(299)).await;
        assert_eq!(stage.unfinished_changes(), [1]);
        stage.advance(secs(1)).await;
        assert_eq!(stage.count_by("unreadable", Mode::Refresh), 2 * once);
        assert!(stage.unfinished_changes().is_empty());
    });
}

#[test]
fn a_query_whose_schema_is_unknown_waits_for_it() {
    play(async |stage| {
        stage.driver.configure_registry();
        for id in ["q-1", "q-2"] {
            let query = serde_json::to_value(about(id, "v-1")).unwrap();
            stage.driver.query_record(None, Some(framed(&query)));
        }
        stage.collect().await;
        assert!(stage.is_waiting("q-1") && stage.calls.is_empty());
        stage.driver.registry_responds(SCHEMA, Response::Json);
        stage.collect().await;
        stage.seen("q-1").is_called("answer 1");
        stage.seen("q-2").is_joined("answer 1");
    });
}

/// What happens to the change topics.
#[derive(Debug, Clone)]
enum Event {
    Vendor { vendor: u8, what: What },
    Wedding { wedding: u8, what: What },
    Advance(u64),
    Respond(bool),
}

#[derive(Debug, Clone, Copy)]
enum What {
    Readable,
    /// Lacks the place that a rule needs.
    Lacking,
    Broken,
    BrokenWithoutKey,
    Null,
    Framed,
}

fn event() -> impl Strategy<Value = Event> {
    let what = || {
        prop_oneof![
            4 => Just(What::Readable),
            1 => Just(What::Lacking),
            2 => Just(What::Broken),
            2 => Just(What::BrokenWithoutKey),
            1 => Just(What::Null),
            2 => Just(What::Framed),
        ]
    };
    prop_oneof![
        6 => (0_u8..3, what()).prop_map(|(vendor, what)| Event::Vendor { vendor, what }),
        3 => (0_u8..3, what()).prop_map(|(wedding, what)| Event::Wedding { wedding, what }),
        3 => prop_oneof![Just(400_u64), Just(1_000), Just(120_000), Just(300_000)]
            .prop_map(Event::Advance),
        1 => any::<bool>().prop_map(Event::Respond),
    ]
}

fn record((source, number, what): (ChangeSource, u8, What)) -> RawRecord {
    let id = format!("id-{number}");
    let value = match source {
        ChangeSource::Vendor => closed(&id),
        ChangeSource::Wedding => {
            serde_json::json!({"eventId": "e", "weddingId": id, "change": "location_changed"})
        }
    };
    let value = match what {
        What::Readable => Some(value.to_string().into_bytes()),
        What::Lacking => {
            let lacking = serde_json::json!({"eventId": "e", "vendorId": id, "change": "closed"});
            Some(lacking.to_string().into_bytes())
        }
        What::Broken | What::BrokenWithoutKey => Some(b"{broken".to_vec()),
        What::Null => None,
        What::Framed => Some(framed(&value)),
    };
    RawRecord {
        topic: match source {
            ChangeSource::Vendor => InputRole::VendorChanges,
            ChangeSource::Wedding => InputRole::WeddingUpdates,
        },
        key: (!matches!(what, What::BrokenWithoutKey)).then(|| id.into_bytes()),
        value,
    }
}

/// A ticket that counts what is done with it, unlike the driver's.
struct Ticket(Arc<str>, i64);

impl Unfinished for Ticket {}

/// The stage's core, fed with whole batches, on a log that is a list.
struct Batches {
    core: Changes<Ticket>,
    schemas: Arc<Schemas>,
    responses: BTreeMap<u32, Result<(), Reject>>,
    now: Timestamp,
    batch: Vec<ChangeInput<Ticket>>,
    ends: BTreeMap<Arc<str>, i64>,
    log: Vec<TagInvalidation>,
    progress: BTreeMap<String, i64>,
    unfinished: BTreeSet<(Arc<str>, i64)>,
}

impl Batches {
    fn new(topology: &Topology, now: Timestamp) -> Self {
        let schemas = Arc::new(Schemas::embedded());
        let max = wedcache_engine::stages::max_bytes(&topology.deployment.topics);
        let judge = ChangeJudge::new(
            Arc::new(Decoder::new(Arc::clone(&schemas), max)),
            Arc::new(PolicyInForce::new(topology.policy.clone())),
            wedcache_engine::observe::Observers::default(),
        );
        Self {
            core: Changes::new(judge, Arc::default()),
            schemas,
            responses: BTreeMap::new(),
            now,
            batch: Vec::new(),
            ends: BTreeMap::new(),
            log: Vec::new(),
            progress: BTreeMap::new(),
            unfinished: BTreeSet::new(),
        }
    }

    fn add(&mut self, source: ChangeSource, topic: &Arc<str>, record: RawRecord) {
        let end = self.ends.entry(Arc::clone(topic)).or_default();
        let offset = *end;
        *end += 1;
        self.unfinished.insert((Arc::clone(topic), offset));
        self.batch.push(ChangeInput::Change(Box::new(TakenChange {
            source,
            key: record.key,
            value: record.value,
            headers: Vec::new(),
            place: Coordinates {
                topic: Arc::clone(topic),
                partition: 0,
                offset,
                timestamp: Timestamp(0),
            },
            topic_id: None,
            trace: TraceParent::fresh(),
            ticket: Ticket(Arc::clone(topic), offset),
        })));
    }

    fn flush(&mut self) {
        let step = self.core.take(self.batch.drain(..), self.now);
        self.carry_out(step);
    }

    fn advance(&mut self, by: Duration) {
        self.flush();
        let end = self.now.plus(by);
        while let Some(due) = self.core.next_due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let step = self.core.due(self.now);
            self.carry_out(step);
        }
        self.now = end;
    }

    fn respond(&mut self, has_schema: bool) {
        self.flush();
        let schema = if has_schema {
            self.schemas.learn_json(SCHEMA);
            Ok(())
        } else {
            Err(Reject::unknown_schema_id(SCHEMA))
        };
        self.responses.insert(SCHEMA, schema.clone());
        let step = self.core.learnt(SCHEMA, &schema, self.now);
        self.carry_out(step);
    }

    fn carry_out(&mut self, step: Step<Ticket>) {
        self.log
            .extend(step.append.into_iter().map(|(record, _)| record));
        for of in step.progress {
            let next = self.progress.entry(of.topic).or_default();
            *next = of.next.max(*next);
        }
        for settle in step.settle {
            let finished = match settle {
                Settle::Finish(ticket) => Some(ticket),
                Settle::DeadLetter { change, owed, .. } => {
                    self.core.dead_lettered(change.ticket, owed)
                }
            };
            if let Some(Ticket(topic, offset)) = finished {
                assert!(self.unfinished.remove(&(topic, offset)), "finished twice");
            }
        }
        for schema_id in step.learn {
            if let Some(schema) = self.responses.get(&schema_id).cloned() {
                let step = self.core.learnt(schema_id, &schema, self.now);
                self.carry_out(step);
            }
        }
    }
}

fn check_judged_alike(events: Vec<Event>) {
    play_on(TOPOLOGY.clone(), async |stage| {
        stage.driver.configure_registry();
        let topics = [
            &TOPOLOGY.deployment.topics.vendor_changes,
            &TOPOLOGY.deployment.topics.wedding_updates,
        ];
        let topics = topics.map(|topic| Arc::clone(&topic.name));
        let mut batches = Batches::new(&TOPOLOGY, stage.driver.now());
        for event in events {
            let (source, topic, number, what) = match event {
                Event::Vendor { vendor, what } => (ChangeSource::Vendor, 0, vendor, what),
                Event::Wedding { wedding, what } => (ChangeSource::Wedding, 1, wedding, what),
                Event::Advance(millis) => {
                    batches.advance(Duration::from_millis(millis));
                    stage.advance(Duration::from_millis(millis)).await;
                    continue;
                }
                Event::Respond(has_schema) => {
                    batches.respond(has_schema);
                    let response = if has_schema {
                        Response::Json
                    } else {
                        Response::Unknown
                    };
                    stage.driver.registry_responds(SCHEMA, response);
                    continue;
                }
            };
            let record = record((source, number, what));
            batches.add(source, &topics[topic], record.clone());
            if matches!(what, What::Framed) {
                // A response that is there already comes after the batch.
                batches.flush();
            }
            stage.driver.record(record);
        }
        batches.flush();
        stage.collect().await;
        assert_eq!(stage.invalidations, batches.log);
        let metrics = stage.metrics.iter();
        let by_driver: Vec<_> = metrics
            .filter(|of| of.operation == Operation::Invalidation)
            .map(|of| of.metric_id.clone())
            .collect();
        let metric_id = |record| {
            let (offset, trace) = (0, TraceParent::fresh());
            Invalidated {
                record,
                offset,
                trace,
            }
            .metric_id()
        };
        let of_log = batches.log.iter().map(metric_id);
        let by_stage: Vec<_> = of_log.map(|id| id.to_string()).collect();
        assert_eq!(by_driver, by_stage);
        // Which of several changes stands for a refresh that is held back depends on when their dead
        // letters arrive; that one does, does not.
        let unfinished = topics.iter().map(|topic| stage.driver.unfinished(topic));
        let is_finished = unfinished.flatten().next().is_none();
        assert_eq!(is_finished, batches.unfinished.is_empty());
        for topic in &topics {
            let progress = batches.progress.get(&**topic).copied().unwrap_or(0);
            assert_eq!(stage.driver.judged(topic), progress, "{topic}");
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_driver_and_the_stage_write_the_same_records_progress_and_metric_ids(
        events in prop::collection::vec(event(), 1..40),
    ) {
        check_judged_alike(events);
    }
}
