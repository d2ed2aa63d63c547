//! The stage on an embedded cluster, with a registry that tells its schemas late.

use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::codec::{Decoder, LogRecord, RegistryOptions, Schemas};
use crate::invalidation::log::ReaderEvent;
use crate::kafka::IntakeOptions;
use crate::kafka::testing::{Cluster, PATIENCE, eventually};
use crate::kafka::{Intake, IntakeHandle, PartitionReader, ReaderOptions};
use crate::observe::Observer;
use crate::pipeline::publisher::Publisher;
use crate::pipeline::testing::{LOG, outputs};
use crate::policy::PolicyInForce;

const CHANGES: &str = "changes";

/// A stage that runs.
struct Running {
    cluster: Cluster,
    intake: IntakeHandle,
    task: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
}

impl Running {
    async fn new(registry: &MockServer) -> Self {
        let topics = [
            (CHANGES, 1),
            (LOG, 1),
            ("alerts", 1),
            ("metrics", 1),
            ("letters", 1),
        ];
        let cluster = Cluster::new(&topics).await;
        let schemas = Arc::new(Schemas::embedded());
        let options = RegistryOptions::new(vec![registry.uri()]);
        let registry = Registry::new(options, Arc::clone(&schemas)).unwrap();
        let outputs = outputs(&cluster);
        let publisher: Arc<dyn Observer> = Arc::new(Publisher::new(outputs.clone()));
        let observer = Observers::new([publisher]);
        let parts = RulesParts {
            judge: ChangeJudge::new(
                Arc::new(Decoder::new(schemas, usize::MAX)),
                Arc::new(PolicyInForce::widening_types()),
                Observers::default(),
            ),
            progress: Arc::default(),
            registry: Some(Arc::new(registry)),
            clock: Clock::System,
            topics: ChangeTopics {
                vendor: CHANGES.into(),
                wedding: "weddings".into(),
            },
            repeat_progress: Duration::from_hours(1),
            alerting: Arc::new(Alerting::new(observer.clone(), Clock::System, None)),
            observer,
            stall: Arc::default(),
            outputs,
        };
        let (handler, task) = rules_stage(parts, 100);
        let stop = CancellationToken::new();
        let task = tokio::spawn(task.run(stop.clone(), TaskTracker::new()));
        let options = IntakeOptions::new(cluster.client("in"), "g", vec![CHANGES.to_owned()]);
        let intake = Intake::spawn(&options, handler).unwrap();
        Self {
            cluster,
            intake,
            task,
            stop,
        }
    }

    /// Appends changes at once: the schema that each is framed by, its vendor and its city.
    async fn changes(&self, changes: &[(Option<u32>, &str, &str)]) {
        let values: Vec<_> = changes.iter().map(|change| value(*change)).collect();
        let records = changes.iter().zip(&values);
        let records: Vec<_> = records
            .map(|((_, vendor, _), value)| {
                OutRecord::to(CHANGES, Some(vendor.as_bytes()), Some(value))
            })
            .collect();
        let deadline = Instant::now() + PATIENCE;
        let output = self.cluster.output();
        output.append_all(&records, deadline).await.unwrap();
    }

    /// The log so far: what is purged or refreshed of one cache type, and each progress.
    fn log(&self) -> Vec<String> {
        let (sender, events) = std::sync::mpsc::channel();
        let follow = move |events| {
            sender.send(events).ok();
        };
        let options = ReaderOptions::new(self.cluster.client("read"), LOG);
        let _reader = PartitionReader::spawn(options, follow).unwrap();
        let mut found = Vec::new();
        loop {
            for event in events.recv_timeout(PATIENCE).unwrap() {
                match event {
                    ReaderEvent::Record(record) => {
                        let key = record.key.as_deref();
                        match LogRecord::decode(key, record.value.as_deref()) {
                            LogRecord::Invalidation(of) => {
                                let Some(tag) = of.tag.strip_prefix("venue_recommendations|")
                                else {
                                    continue;
                                };
                                found.push(format!("{} {tag}", of.mode.as_str()));
                            }
                            LogRecord::Progress(progress) => found.push(progress.next.to_string()),
                            other => panic!("{other:?}"),
                        }
                    }
                    ReaderEvent::CaughtUp { .. } => return found,
                    _ => {}
                }
            }
        }
    }

    fn committed(&self) -> Option<i64> {
        self.cluster.committed("g", CHANGES)
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
        assert!(self.intake.shutdown(Instant::now() + PATIENCE).await);
    }
}

fn value((schema_id, vendor, city): (Option<u32>, &str, &str)) -> Vec<u8> {
    let json = serde_json::json!({
        "eventId": "e", "vendorId": vendor, "change": "closed", "vendorType": "venue",
        "location": {"city": city, "state": "TX"},
    });
    let json = json.to_string().into_bytes();
    match schema_id {
        Some(id) => [&[0], id.to_be_bytes().as_slice(), &json].concat(),
        None => json,
    }
}

async fn serves(registry: &MockServer, schema_id: u32, answer: ResponseTemplate) {
    Mock::given(method("GET"))
        .and(path(format!("/schemas/ids/{schema_id}")))
        .respond_with(answer)
        .mount(registry)
        .await;
}

fn json_schema() -> ResponseTemplate {
    let body = serde_json::json!({"schema": "{}", "schemaType": "JSON"});
    ResponseTemplate::new(200).set_body_json(body)
}

fn positions(log: &[String], what: &str) -> Vec<usize> {
    let found = log.iter().enumerate().filter(|(_, entry)| *entry == what);
    found.map(|(at, _)| at).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_the_registry_tells_in_time_widens_nothing() {
    let registry = MockServer::start().await;
    serves(
        &registry,
        7,
        json_schema().set_delay(Duration::from_millis(400)),
    )
    .await;
    let running = Running::new(&registry).await;
    running
        .changes(&[(Some(7), "v-1", "Austin"), (None, "v-2", "Waco")])
        .await;
    eventually("all is committed", || running.committed() == Some(2));
    let log = running.log();
    assert!(positions(&log, "refresh global").is_empty(), "{log:?}");
    // Purged by its key at once, and by its rule once it was read; the change behind it has not
    // waited, but progress has.
    let [by_key] = positions(&log, "purge vendor=v-1")[..] else {
        panic!("{log:?}");
    };
    let [late] = positions(&log, "purge location=Austin_TX")[..] else {
        panic!("{log:?}");
    };
    let [other] = positions(&log, "purge location=TX")[..] else {
        panic!("{log:?}");
    };
    assert!(by_key < other && other < late, "{log:?}");
    let passed = positions(&log, "2");
    assert!(passed.iter().all(|at| *at > late), "{log:?}");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_comes_late_is_widened_once_and_judged_when_it_comes() {
    let registry = MockServer::start().await;
    serves(
        &registry,
        7,
        json_schema().set_delay(Duration::from_millis(2500)),
    )
    .await;
    let running = Running::new(&registry).await;
    running.changes(&[(Some(7), "v-1", "Austin")]).await;
    eventually("whole types are refreshed", || {
        !positions(&running.log(), "refresh global").is_empty()
    });
    assert_eq!(running.committed().unwrap_or(0), 0);
    // Asked for long ago by now: widened at once.
    running.changes(&[(Some(7), "v-3", "Waco")]).await;
    eventually("all is committed", || running.committed() == Some(2));
    let log = running.log();
    for place in ["Austin_TX", "TX"] {
        let judged = positions(&log, &format!("purge location={place}"));
        assert_eq!(judged.len(), 1, "{log:?}");
    }
    assert_eq!(positions(&log, "refresh global").len(), 1, "{log:?}");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_does_not_exist_is_widened_and_its_change_is_a_dead_letter() {
    let registry = MockServer::start().await;
    let body = serde_json::json!({"error_code": 40403, "message": "Schema not found"});
    let answer = ResponseTemplate::new(404).set_body_json(body);
    serves(&registry, 9, answer).await;
    let running = Running::new(&registry).await;
    running.changes(&[(Some(9), "v-1", "Austin")]).await;
    eventually("it is committed", || running.committed() == Some(1));
    let log = running.log();
    assert_eq!(positions(&log, "purge vendor=v-1").len(), 1, "{log:?}");
    assert_eq!(positions(&log, "refresh global").len(), 1, "{log:?}");
    assert!(!positions(&log, "1").is_empty(), "{log:?}");
    running.end().await;
}
