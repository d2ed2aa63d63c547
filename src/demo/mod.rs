//! A live stream on the embedded broker: the real program, a simulated season and provider.
//!
//! [`Demo::start`] starts broker, topics, instance, season and observer; whoever shows it reads
//! [`Demo::look`] as often as it likes.

mod season;
mod tally;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::season::Season;
pub use self::tally::{Tally, share};
use crate::app::{App, AppError, client};
use crate::broker::{Broker, BrokerError, BrokerOptions, TopicError};
use crate::kafka::producer::OutputOptions;
use crate::kafka::{
    Delivery, KafkaError, OutRecord, Output, PartitionReader, ReaderEvent, ReaderOptions,
};
use crate::metrics::Metrics;
use crate::topics;
use crate::topology::Topology;

/// The season's questions come in bursts of this length.
const TICK: Duration = Duration::from_millis(20);
/// A vendor changes so often, a wedding half as often.
const CHANGE_EVERY: Duration = Duration::from_millis(800);

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    App(#[from] AppError),
}

pub struct Demo {
    broker: Broker,
    tally: Arc<Mutex<Tally>>,
    metrics: Arc<Metrics>,
    metrics_url: String,
    running: JoinHandle<Result<(), AppError>>,
    season: JoinHandle<()>,
    observers: Vec<PartitionReader>,
    stop: CancellationToken,
}

/// A moment of the demo.
pub struct Look<'a> {
    pub tally: MutexGuard<'a, Tally>,
    pub invalidations: f64,
}

/// The embedded broker: started before the topology is read, which names its address.
pub async fn broker() -> Result<Broker, BrokerError> {
    Broker::start(BrokerOptions {
        max_partition_bytes: 32 << 20,
        ..BrokerOptions::default()
    })
    .await
}

/// The folder of the demo's disk layer; removed at the end.
pub fn data_folder() -> PathBuf {
    std::env::temp_dir().join(format!("wedcache-demo-{}", std::process::id()))
}

impl Demo {
    /// `rate`: questions a second.
    pub async fn start(
        broker: Broker,
        topology: Topology,
        season: Season,
        rate: u32,
        stop: &CancellationToken,
    ) -> Result<Self, DemoError> {
        let began = Instant::now();
        for spec in topics::specs(&topology, Some(1)) {
            let configs: Vec<(&str, &str)> = spec
                .configs
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            broker.create_topic(&spec.name, spec.partitions, &configs)?;
        }
        let tally = Arc::new(Mutex::new(Tally::default()));
        let observers = observe(&topology, &tally, began)?;
        let sender = Sender::new(&topology)?;
        let app = App::start(topology, stop).await?;
        let metrics_url = format!("http://{}/metrics", app.address());
        let metrics = Arc::clone(app.metrics());
        let season = tokio::spawn(play(season, sender, Arc::clone(&tally), rate, stop.clone()));
        let token = stop.clone();
        let running = tokio::spawn(async move { app.run(&token).await });
        let stop = stop.clone();
        Ok(Self {
            broker,
            tally,
            metrics,
            metrics_url,
            running,
            season,
            observers,
            stop,
        })
    }

    pub fn bootstrap(&self) -> String {
        self.broker.bootstrap()
    }

    pub fn metrics_url(&self) -> &str {
        &self.metrics_url
    }

    pub fn look(&self) -> Look<'_> {
        let invalidations = self.metrics.total("wedcache_invalidations_total", None);
        Look {
            tally: lock(&self.tally),
            invalidations,
        }
    }

    /// The instance ended by itself.
    pub fn is_over(&self) -> bool {
        self.running.is_finished()
    }

    /// Drains and stops everything; the last word is the instance's.
    pub async fn end(self) -> Result<Tally, DemoError> {
        self.stop.cancel();
        if let Err(error) = self.season.await {
            tracing::error!(%error, "the season ended badly");
        }
        let ended = match self.running.await {
            Ok(ended) => ended,
            Err(error) => Err(AppError::Fatal {
                what: "instance",
                why: error.to_string(),
            }),
        };
        let deadline = Instant::now() + Duration::from_secs(1);
        for observer in self.observers {
            observer.shutdown(deadline).await;
        }
        self.broker.shutdown().await;
        match ended {
            // Calls that were still under way: the demo's state goes with it anyway.
            Ok(()) | Err(AppError::NotDrained { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(std::mem::take(&mut lock(&self.tally)))
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads every partition of the answers' topic.
fn observe(
    topology: &Topology,
    tally: &Arc<Mutex<Tally>>,
    began: Instant,
) -> Result<Vec<PartitionReader>, KafkaError> {
    let answers = &topology.topics.answers;
    (0..i32::from(answers.partitions))
        .map(|partition| {
            let client = client(&topology.kafka).named(&format!("observer-{partition}"));
            let options = ReaderOptions {
                partition,
                ..ReaderOptions::new(client, answers.name.to_string())
            };
            let tally = Arc::clone(tally);
            PartitionReader::spawn(options, move |events: Vec<ReaderEvent>| {
                for event in events {
                    if let ReaderEvent::Record(record) = event {
                        let mut tally = lock(&tally);
                        tally.first_answer.get_or_insert_with(|| began.elapsed());
                        tally.answer(record.value.as_deref().unwrap_or_default());
                    }
                }
            })
        })
        .collect()
}

/// The season's producer and the topics it writes to.
struct Sender {
    output: Output,
    queries: Arc<str>,
    vendors: Arc<str>,
    weddings: Arc<str>,
}

impl Sender {
    fn new(topology: &Topology) -> Result<Self, KafkaError> {
        let options = OutputOptions {
            linger: Duration::ZERO,
            ..OutputOptions::new(client(&topology.kafka).named("season"))
        };
        Ok(Self {
            output: Output::new(&options)?,
            queries: Arc::clone(&topology.topics.queries.name),
            vendors: Arc::clone(&topology.topics.vendor_changes.name),
            weddings: Arc::clone(&topology.topics.wedding_updates.name),
        })
    }

    fn send(&self, topic: &str, key: &str, value: &serde_json::Value) {
        let value = value.to_string();
        let record = OutRecord::to(topic, Some(key.as_bytes()), Some(value.as_bytes()));
        if let Err(refused) = self.output.send(&record, Delivery::Forget) {
            tracing::warn!(topic, reason = %refused.reason, "the season lost an event");
        }
    }
}

async fn play(
    mut season: Season,
    sender: Sender,
    tally: Arc<Mutex<Tally>>,
    rate: u32,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(TICK);
    let mut changes = tokio::time::interval(CHANGE_EVERY);
    let per_tick = f64::from(rate) * TICK.as_secs_f64();
    let (mut owed, mut weddings) = (0.0, false);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {
                owed += per_tick;
                while owed >= 1.0 {
                    owed -= 1.0;
                    let (id, query) = season.query();
                    lock(&tally).asked(id.clone());
                    sender.send(&sender.queries, &id, &query);
                }
            }
            _ = changes.tick() => {
                let change = season.vendor_change();
                sender.send(&sender.vendors, &change.key, &change.event);
                weddings = !weddings;
                let mut count = 1;
                if weddings {
                    let update = season.wedding_update();
                    sender.send(&sender.weddings, &update.key, &update.event);
                    count += 1;
                }
                lock(&tally).changes += count;
            }
        }
    }
}
