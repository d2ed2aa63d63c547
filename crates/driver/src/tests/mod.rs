//! What the promises of freshness and thrift come to, in one process and stopped time. Every
//! answer of every test is checked against the log, besides what the test itself says.

mod flight_model;
mod flights;
mod judging;
mod lag;
mod leases;
mod options;
mod policies;
mod random;
mod restarts;
mod sharing;
mod unreadable;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use wedcache_model::{
    AiAnswer, AiQuery, CacheMetric, Freshness, LayerName, Operation, Source, StaleReason, Status,
    TagInvalidation, Timestamp, VendorChange, WeddingUpdate,
};
use wedcache_rules::topology::cases::{InputRole, MockedCall, RawRecord};
use wedcache_rules::topology::{self, Topology, Variables};

use super::{Call, Collected, Driver, Fleet, Reply, Responder, Scripted, stopped};
use crate::checker::Checker;

const SHARED: &str = "vendor_matching";
const PRIVATE: &str = "guest_management";

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// The production topology, without the dice and without Redis.
fn production() -> Topology {
    let mut topology = fleet();
    topology.deployment.layers.redis = None;
    topology
}

/// Returns the same with Redis, for several instances. The file is read once for all tests: that
/// takes longer than most of them.
fn fleet() -> Topology {
    static FLEET: LazyLock<Topology> = LazyLock::new(|| {
        let text = include_str!("../../../../topologies/wedsync.yaml");
        // The driver stands in for it; what counts is that there is one.
        let text = text.replace("${WEDCACHE_REDIS:-}", "redis://127.0.0.1:6379");
        let loaded = topology::read("wedsync.yaml", &text, Variables::Unresolved).unwrap();
        let mut topology = loaded.topology;
        assert!(topology.deployment.layers.redis.is_some());
        Arc::make_mut(&mut topology.policy.catalog).ttl_jitter = 0.0;
        topology
    });
    FLEET.clone()
}

fn query(id: &str, cache_type: &str) -> AiQuery {
    serde_json::from_value(serde_json::json!({
        "queryId": id,
        "query": {"type": cache_type, "content": "Which florist fits a barn?"},
        "weddingContext": {"location": {"city": "Austin", "state": "TX"}},
    }))
    .unwrap()
}

/// A question about one vendor, by its id.
fn about(id: &str, vendor: &str) -> AiQuery {
    let mut query = query(id, SHARED);
    query.query.vendor_ids = vec![vendor.to_owned()];
    query
}

fn of_wedding(mut query: AiQuery, wedding: &str) -> AiQuery {
    query.wedding_context.wedding_id = Some(wedding.to_owned());
    query
}

/// `availability_changed` purges, `details_changed` refreshes.
fn change(vendor: &str, change: &str) -> VendorChange {
    serde_json::from_value(serde_json::json!({
        "eventId": "e", "vendorId": vendor, "vendorType": "florist", "change": change,
        "location": {"city": "Waco", "state": "TX"},
    }))
    .unwrap()
}

fn update(wedding: &str, change: &str) -> WeddingUpdate {
    let update = serde_json::json!({"eventId": "e", "weddingId": wedding, "change": change});
    serde_json::from_value(update).unwrap()
}

fn text(text: &str) -> Responder {
    let text = text.to_owned();
    Box::new(move |_| Scripted::text(text.clone()))
}

/// `text 1`, `text 2`, …, each after so long.
fn numbered(text: &'static str, takes: Duration) -> Responder {
    Box::new(move |call| Scripted::text(format!("{text} {}", call.number)).after(takes))
}

fn ends(outcome: MockedCall) -> Responder {
    Box::new(move |_| Scripted {
        takes: Duration::ZERO,
        outcome: outcome.clone(),
    })
}

/// A driver that remembers and checks all that came out.
struct Stage {
    driver: Driver,
    checkers: Vec<Checker>,
    answers: HashMap<String, Reply>,
    calls: Vec<Call>,
    metrics: Vec<CacheMetric<'static>>,
    invalidations: Vec<TagInvalidation>,
    /// The same with which log and where in it.
    log: Vec<(u32, i64, TagInvalidation)>,
    rest: Collected,
}

/// Plays on the production topology.
fn play(test: impl AsyncFnOnce(&mut Stage)) {
    play_on(production(), test);
}

fn play_on(topology: Topology, test: impl AsyncFnOnce(&mut Stage)) {
    play_fleet(1, topology, test);
}

fn play_fleet(instances: usize, topology: Topology, test: impl AsyncFnOnce(&mut Stage)) {
    stopped::run(async |idle| {
        let now = Timestamp::parse("2026-11-22T10:00:00Z").unwrap();
        let respond = numbered("answer", Duration::ZERO);
        let fleet = Fleet {
            instances,
            ..Fleet::default()
        };
        let mut stage = Stage {
            driver: Driver::of_fleet(fleet, Arc::new(topology), now, respond, idle),
            checkers: vec![Checker::default()],
            answers: HashMap::new(),
            calls: Vec::new(),
            metrics: Vec::new(),
            invalidations: Vec::new(),
            log: Vec::new(),
            rest: Collected::default(),
        };
        test(&mut stage).await;
        stage.collect().await;
    })
    .unwrap();
}

impl Stage {
    async fn collect(&mut self) {
        self.driver.settle().await;
        let mut collected = self.driver.take();
        for (offset, record) in std::mem::take(&mut collected.invalidations) {
            self.checkers.last_mut().unwrap().record(offset, &record);
            self.log.push((self.driver.logs, offset, record.clone()));
            self.invalidations.push(record);
        }
        for answered in std::mem::take(&mut collected.answers) {
            let answer = &answered.answer;
            if let Err(violation) = self.checkers[answered.log as usize].check(answer) {
                panic!("{violation}: {answer:#?}");
            }
            self.answers.insert(answer.query_id.to_string(), answered);
        }
        self.calls.append(&mut collected.calls);
        self.metrics.append(&mut collected.metrics);
        self.rest.alerts.append(&mut collected.alerts);
        self.rest.dead_letters.append(&mut collected.dead_letters);
    }

    /// Asks, and what can happen at this moment does.
    async fn begin(&mut self, query: &AiQuery) {
        self.begin_at(0, query).await;
    }

    /// The same on a partition of this instance.
    async fn begin_at(&mut self, instance: usize, query: &AiQuery) {
        self.driver.query_at(instance, query);
        self.collect().await;
    }

    /// Asks and has the answer at this moment.
    async fn ask(&mut self, query: &AiQuery) -> Seen {
        self.ask_at(0, query).await
    }

    async fn ask_at(&mut self, instance: usize, query: &AiQuery) -> Seen {
        self.begin_at(instance, query).await;
        self.seen(&query.query_id)
    }

    #[track_caller]
    fn seen(&self, id: &str) -> Seen {
        let answered = self
            .answers
            .get(id)
            .unwrap_or_else(|| panic!("no answer to {id} yet"));
        Seen(answered.answer.clone())
    }

    fn is_waiting(&self, id: &str) -> bool {
        !self.answers.contains_key(id)
    }

    async fn vendor_change(&mut self, change: &VendorChange) {
        self.driver.vendor_change(change);
        self.collect().await;
    }

    async fn wedding_update(&mut self, update: &WeddingUpdate) {
        self.driver.wedding_update(update);
        self.collect().await;
    }

    async fn advance(&mut self, by: Duration) {
        self.driver.advance(by).await;
        self.collect().await;
    }

    fn recreate_log(&mut self) {
        self.driver.recreate_log();
        self.checkers.push(Checker::default());
    }

    fn count(&self, operation: Operation) -> usize {
        self.metrics
            .iter()
            .filter(|metric| metric.operation == operation)
            .count()
    }
}

/// An answer, and what tests say about it.
#[derive(Debug, Clone)]
struct Seen(AiAnswer<'static>);

impl Seen {
    #[track_caller]
    fn is(&self, status: Status, data: Option<&str>) -> &Self {
        assert_eq!(
            (self.0.status, self.0.data.as_deref()),
            (status, data),
            "{:#?}",
            self.0
        );
        self
    }

    /// Made for this query.
    #[track_caller]
    fn is_called(&self, data: &str) -> &Self {
        self.is(Status::Answered, Some(data));
        assert_eq!(
            (self.0.source, self.0.coalesced, self.0.freshness),
            (Source::Ai, false, Some(Freshness::Fresh)),
            "{:#?}",
            self.0
        );
        self
    }

    #[track_caller]
    fn is_joined(&self, data: &str) -> &Self {
        self.is(Status::Answered, Some(data));
        assert_eq!(
            (self.0.source, self.0.coalesced),
            (Source::Ai, true),
            "{:#?}",
            self.0
        );
        self
    }

    #[track_caller]
    fn is_fresh_from(&self, layer: LayerName, data: &str) -> &Self {
        self.is(Status::Answered, Some(data));
        assert_eq!(
            (self.0.layer, self.0.freshness),
            (Some(layer), Some(Freshness::Fresh)),
            "{:#?}",
            self.0
        );
        self
    }

    #[track_caller]
    fn is_stale(&self, reason: StaleReason, data: &str) -> &Self {
        self.is(Status::Answered, Some(data));
        assert_eq!(
            (self.0.source, self.0.freshness, self.0.stale_reason),
            (Source::Cache, Some(Freshness::Stale), Some(reason)),
            "{:#?}",
            self.0
        );
        self
    }

    #[track_caller]
    fn failed(&self, code: &str) -> &Self {
        self.is(Status::Failed, None);
        assert_eq!(
            self.0.error.as_ref().map(|error| error.code.as_str()),
            Some(code)
        );
        self
    }
}
