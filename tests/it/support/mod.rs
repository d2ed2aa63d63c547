//! Starts what a test needs and uses it as an outside client would.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wedcache::app::{App, AppError};
use wedcache::broker::{Broker, BrokerOptions};
use wedcache::topology::settings::Role;
use wedcache::topology::{self, Topology, Variables};

/// The longest time that anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// The surroundings of a test: a broker (or topics of its own on the given one) and a data folder.
pub struct Place {
    broker: Option<Broker>,
    bootstrap: String,
    prefix: String,
    data: tempfile::TempDir,
    redis: Option<String>,
}

/// The key and value of a record to produce.
pub type Input<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// One record of an output topic.
pub struct Output {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: HashMap<String, String>,
}

impl Output {
    pub fn json(&self) -> Value {
        serde_json::from_slice(self.value.as_deref().unwrap()).unwrap()
    }
}

/// A running instance.
pub struct Instance {
    stop: CancellationToken,
    running: JoinHandle<Result<(), AppError>>,
    pub metrics_url: String,
}

impl Instance {
    /// Stops the instance after a drain.
    pub async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }

    pub async fn metrics(&self) -> String {
        reqwest::get(&self.metrics_url)
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }
}

impl Place {
    /// Returns a place on the embedded broker.
    pub async fn embedded() -> Self {
        let broker = Broker::start(BrokerOptions::default()).await.unwrap();
        let bootstrap = broker.bootstrap();
        Self::on(bootstrap, Some(broker), None).await
    }

    /// Returns a place on Apache Kafka and Redis; `None`, with a message, if they are not given.
    pub async fn real() -> Option<Self> {
        let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Some(bootstrap) = given("WEDCACHE_TEST_KAFKA") else {
            assert!(
                given("CI").is_none(),
                "WEDCACHE_TEST_KAFKA must be set in CI"
            );
            eprintln!("SKIPPED: WEDCACHE_TEST_KAFKA is not set; scripts/test starts Apache Kafka");
            return None;
        };
        Some(Self::on(bootstrap, None, given("WEDCACHE_TEST_REDIS")).await)
    }

    async fn on(bootstrap: String, broker: Option<Broker>, redis: Option<String>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("it-{}-{number}.", std::process::id());
        let data = tempfile::tempdir().unwrap();
        let place = Self {
            broker,
            bootstrap,
            prefix,
            data,
            redis,
        };
        place.create_topics().await;
        place
    }

    /// Returns the demo's topology with this place's topics, groups and folders; `change` edits its
    /// text.
    pub fn topology(&self, change: impl FnOnce(String) -> String) -> Topology {
        let text = change(self.text());
        let data = self.data.path().display().to_string();
        let environment = |name: &str| match name {
            "WEDCACHE_KAFKA" => Some(self.bootstrap.clone()),
            "WEDCACHE_DATA" => Some(data.clone()),
            "WEDCACHE_LISTEN" => Some("127.0.0.1:0".to_owned()),
            _ => None,
        };
        match topology::read("demo.yaml", &text, Variables::From(&environment)) {
            Ok(loaded) => loaded.topology,
            Err(problems) => panic!("{problems}"),
        }
    }

    fn text(&self) -> String {
        let text = include_str!("../../../topologies/demo.yaml");
        let text = text
            .replace("wedsync.", &format!("{}wedsync.", self.prefix))
            .replace("wedcache-queries", &format!("{}queries", self.prefix))
            .replace("wedcache-rules", &format!("{}rules", self.prefix));
        let Some(redis) = &self.redis else {
            return text;
        };
        let prefix = &self.prefix;
        text.replace(
            "\nlayers:\n",
            &format!(
                "\nlayers:\n  redis:\n    server: {{single: \"{redis}\"}}\n    key_prefix: \"{prefix}\"\n"
            ),
        )
    }

    /// Writes the topology file of [`Place::process`]; `change` edits its text.
    pub fn write_topology(&self, change: impl FnOnce(String) -> String) -> std::path::PathBuf {
        let file = self.data.path().join("topology.yaml");
        std::fs::write(&file, change(self.text())).unwrap();
        file
    }

    /// Starts `wedcache run` as a process and waits until it is ready.
    pub async fn process(&self) -> Process {
        wedcache::outbound::install_crypto();
        let file = self.write_topology(|text| text);
        // This port was free a moment ago; the next test takes another one.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let child = std::process::Command::new(env!("CARGO_BIN_EXE_wedcache"))
            .args(["run", "--topology"])
            .arg(&file)
            .env("WEDCACHE_KAFKA", &self.bootstrap)
            .env("WEDCACHE_DATA", self.data.path())
            .env("WEDCACHE_LISTEN", &address)
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("http://{address}");
        Process { child, url }.ready().await
    }

    pub async fn start(&self) -> Instance {
        self.start_with(|text| text).await
    }

    pub async fn start_with(&self, change: impl FnOnce(String) -> String) -> Instance {
        let stop = CancellationToken::new();
        let app = App::start(self.topology(change), &stop).await.unwrap();
        let metrics_url = format!("http://{}/metrics", app.address());
        let token = stop.clone();
        let running = tokio::spawn(async move { app.run(&token).await });
        Instance {
            stop,
            running,
            metrics_url,
        }
    }

    pub fn topic(&self, role: Role) -> String {
        self.topology(|text| text)
            .deployment
            .topics
            .get(role)
            .name
            .to_string()
    }

    async fn create_topics(&self) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let topology = self.topology(|text| text);
        let topics: Vec<_> = topology
            .deployment
            .topics
            .iter()
            .map(|topic| {
                let partitions = if topic.role == Role::Invalidations {
                    1
                } else {
                    2
                };
                let new = NewTopic::new(&topic.name, partitions, TopicReplication::Fixed(1));
                match topic.role {
                    Role::Invalidations => new
                        .set("cleanup.policy", "compact,delete")
                        .set("message.timestamp.type", "LogAppendTime"),
                    Role::Queries => new.set("max.message.bytes", "4000000"),
                    _ => new,
                }
            })
            .collect();
        let created = admin
            .create_topics(&topics, &AdminOptions::new())
            .await
            .unwrap();
        for result in created {
            result.unwrap();
        }
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    /// Produces records and waits until the broker has them.
    pub fn produce(&self, role: Role, records: &[Input<'_>]) {
        let mut config = self.client();
        config.set("message.max.bytes", "4000000");
        let producer: BaseProducer = config.create().unwrap();
        let topic = self.topic(role);
        for (key, value) in records {
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&topic);
            record.key = *key;
            record.payload = *value;
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Reads an output topic from its start until `enough` of its records are there.
    pub async fn read_until(
        &self,
        role: Role,
        enough: impl Fn(&[Output]) -> bool + Send + 'static,
    ) -> Vec<Output> {
        let (topic, mut config) = (self.topic(role), self.client());
        config.set("group.id", format!("{}{}", self.prefix, fastrand::u64(..)));
        config
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false");
        tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = config.create().unwrap();
            consumer.subscribe(&[&topic]).unwrap();
            let (mut found, begun) = (Vec::new(), Instant::now());
            while !enough(&found) {
                assert!(
                    begun.elapsed() < PATIENCE,
                    "{} records of {topic} in time",
                    found.len()
                );
                if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                    let headers = message.headers().map_or_else(HashMap::new, |headers| {
                        headers
                            .iter()
                            .map(|header| {
                                let value = header.value.unwrap_or_default();
                                (
                                    header.key.to_owned(),
                                    String::from_utf8_lossy(value).into_owned(),
                                )
                            })
                            .collect()
                    });
                    found.push(Output {
                        key: message.key().map(<[u8]>::to_vec),
                        value: message.payload().map(<[u8]>::to_vec),
                        headers,
                    });
                }
            }
            found
        })
        .await
        .unwrap()
    }

    /// Produces a query and waits for the answer to its id.
    pub async fn ask(&self, query: &Value) -> Value {
        let id = query["queryId"].as_str().unwrap().to_owned();
        self.produce(
            Role::Queries,
            &[(Some(id.as_bytes()), Some(query.to_string().as_bytes()))],
        );
        self.answer(&id).await
    }

    pub async fn answer(&self, id: &str) -> Value {
        let id = id.to_owned();
        let wanted = id.clone();
        let found = self
            .read_until(Role::Answers, move |found| {
                found
                    .iter()
                    .any(|answer| answer.json()["queryId"] == wanted.as_str())
            })
            .await;
        found
            .iter()
            .map(Output::json)
            .find(|answer| answer["queryId"] == id.as_str())
            .unwrap()
    }

    /// Produces a change and waits until the invalidation log has it.
    pub async fn change(&self, role: Role, key: &str, event: &Value) {
        let before = self.log_length();
        self.produce(
            role,
            &[(Some(key.as_bytes()), Some(event.to_string().as_bytes()))],
        );
        self.read_until(Role::Invalidations, move |found| {
            let invalidations = found.iter().filter(|record| {
                record.value.as_deref().is_some_and(|value| {
                    serde_json::from_slice::<Value>(value).is_ok_and(|v| v.get("tag").is_some())
                })
            });
            found.len() > before && invalidations.count() > 0
        })
        .await;
    }

    fn log_length(&self) -> usize {
        let consumer: BaseConsumer = self.client().create().unwrap();
        let topic = self.topic(Role::Invalidations);
        let (_, end) = consumer.fetch_watermarks(&topic, 0, PATIENCE).unwrap();
        usize::try_from(end).unwrap()
    }

    pub async fn end(self) {
        if let Some(broker) = self.broker {
            broker.shutdown().await;
        }
    }
}

/// A `wedcache` process; killed when it is dropped.
pub struct Process {
    child: std::process::Child,
    pub url: String,
}

impl Process {
    /// Sends the process a signal by `kill`, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let kill = std::process::Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .unwrap();
        assert!(kill.success());
    }

    /// Waits for the end of the process; returns its exit code.
    pub async fn ended(mut self) -> Option<i32> {
        let waiting = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status.code();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap()
    }

    /// Waits until the process reports that it is ready.
    async fn ready(self) -> Self {
        let asking = async {
            while !reqwest::get(format!("{}/readyz", self.url))
                .await
                .is_ok_and(|reply| reply.status().is_success())
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap();
        self
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process has usually ended already.
        let _gone = self.child.kill();
    }
}
