//! The rounds of a run: wedcache, then the bare loop, each over the whole topic.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::queries::Queries;
use super::report::{Report, Window};
use super::setup::{self, Stage};
use super::{BenchError, Options, cpu};
use crate::app::App;
use crate::broker::{Broker, BrokerOptions};
use crate::clock::Clock;
use crate::kafka::bare::{self, BareLoop, BareOptions, BareOutput};
use crate::kafka::{IntakeOptions, OutputOptions};
use crate::metrics::Metrics;
use crate::topology::settings::Role;

/// The name of the embedded broker's threads, whose time is not counted.
const BROKER_THREADS: &str = "bench-broker";
/// The embedded broker must not drop queries before the last round.
const PARTITION_BYTES: usize = 512 << 20;
/// Between two looks at how much has been delivered.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const STALLED_AFTER: Duration = Duration::from_secs(30);
const SAMPLES: usize = 1000;
const SAMPLE_WAIT: Duration = Duration::from_secs(10);
const QUERIES_TOTAL: &str = "wedcache_queries_total";

/// Runs the benchmark; blocks until it is done.
pub fn run(options: &Options, clock: &Clock) -> Result<Report, BenchError> {
    let opens_at = opens_at(options);
    let least = opens_at * 2;
    if options.records < least {
        return Err(BenchError::TooFew {
            records: options.records,
            keys: options.keys,
            least,
        });
    }
    let embedded = Embedded::start_unless(options.kafka.as_deref())?;
    let bootstrap = match (&embedded, &options.kafka) {
        (Some(embedded), _) => embedded.broker.bootstrap(),
        (None, address) => address.clone().unwrap_or_default(),
    };
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let name = format!("bench-{}", clock.now().0);
    let topology = setup::topology(options, &bootstrap, &name)?;
    let report = runtime.block_on(async {
        let stage = Stage::new(topology).await?;
        Bench { options, stage }.rounds(clock).await
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
    report
}

/// After so many answers every key was asked for several times, in every partition.
fn opens_at(options: &Options) -> usize {
    options.keys * 5 + options.records / 20
}

/// The embedded broker on threads of its own.
struct Embedded {
    broker: Broker,
    /// Ends the broker's threads when it is dropped.
    _runtime: Runtime,
}

impl Embedded {
    fn start_unless(kafka: Option<&str>) -> Result<Option<Self>, BenchError> {
        if kafka.is_some() {
            return Ok(None);
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(BROKER_THREADS)
            .enable_all()
            .build()?;
        let options = BrokerOptions {
            max_partition_bytes: PARTITION_BYTES,
            ..BrokerOptions::default()
        };
        let broker = runtime.block_on(Broker::start(options))?;
        Ok(Some(Self {
            broker,
            _runtime: runtime,
        }))
    }
}

struct Bench<'a> {
    options: &'a Options,
    stage: Stage,
}

/// Values as wedcache made them.
#[derive(Clone)]
struct Samples {
    answers: Vec<Vec<u8>>,
    metrics: Vec<Vec<u8>>,
}

impl Bench<'_> {
    async fn rounds(&self, clock: &Clock) -> Result<Report, BenchError> {
        let options = self.options;
        let queries = Queries::new(options.keys, options.format, clock);
        let query_bytes = self.stage.load(&queries, options.records).await?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let mut samples = None;
        for round in 0..options.rounds.max(1) {
            let (window, from) = self.wedcache(round).await?;
            ours.push(window);
            if samples.is_none() {
                samples = Some(self.sample(from).await?);
            }
            if let Some(samples) = &samples {
                theirs.push(self.bare(samples.clone()).await?);
            }
        }
        let mean = |values: &[Vec<u8>]| {
            let bytes: usize = values.iter().map(Vec::len).sum();
            (bytes / values.len().max(1)) as u64
        };
        let samples = samples.ok_or(BenchError::NoSamples)?;
        let sizes = [query_bytes, mean(&samples.answers), mean(&samples.metrics)];
        Ok(Report::new(options, sizes, ours, theirs))
    }

    /// One round of wedcache, and where its outputs stood when the window opened.
    async fn wedcache(&self, round: usize) -> Result<(Window, [Vec<i64>; 2]), BenchError> {
        let (answers, metrics) = self.outputs();
        let metric_base = self.stage.count(&metrics).await?;
        let mut topology = self.stage.topology.clone();
        topology.kafka.queries_group = format!("{}.{round}", self.stage.topic(Role::Queries));
        topology.kafka.rules_group = format!("{}.{round}", self.stage.topic(Role::VendorChanges));
        let base = self.stage.count(&answers).await?;
        let stop = CancellationToken::new();
        let app = App::start(topology, &stop).await?;
        let counted = Arc::clone(app.metrics());
        let told = stop.clone();
        let running = tokio::spawn(async move { app.run(&told).await });

        let mut watch = Watch::new("wedcache", &self.stage, &answers, base);
        let opened = watch.until(opens_at(self.options) as u64).await?;
        let before = Tally::of(&counted);
        let from = [
            self.stage.ends(&answers).await?,
            self.stage.ends(&metrics).await?,
        ];
        let closed = watch.until(self.options.records as u64).await?;
        let after = Tally::of(&counted);
        stop.cancel();
        if let Ok(Err(error)) = running.await {
            return Err(error.into());
        }
        let metric_records = self.stage.count(&metrics).await? - metric_base;
        let window = Window::between(&opened, &closed);
        Ok((
            Window {
                stale_hits: since(after.stale_hits, before.stale_hits),
                not_hits: since(after.not_hits, before.not_hits),
                metrics_lost: (self.options.records as u64).saturating_sub(metric_records),
                ..window
            },
            from,
        ))
    }

    async fn bare(&self, samples: Samples) -> Result<Window, BenchError> {
        let stage = &self.stage;
        let client = stage.client.named("bare");
        let answers = setup::bare_topic(&stage.topology, Role::Answers);
        let options = BareOptions {
            input: self.input(stage.topic(Role::Queries)),
            partitions: stage.topology.topics.queries.partitions.into(),
            outputs: [
                BareOutput {
                    options: OutputOptions::new(client.named("answers")),
                    topic: answers.clone(),
                    values: samples.answers,
                    key: None,
                },
                BareOutput {
                    options: OutputOptions::lossy(client.named("metrics")),
                    topic: setup::bare_topic(&stage.topology, Role::Metrics),
                    values: samples.metrics,
                    key: Some(b"vendor_matching".to_vec()),
                },
            ],
        };
        let base = stage.count(&answers).await?;
        let running = BareLoop::spawn(options)?;
        let mut watch = Watch::new("the bare loop", stage, &answers, base);
        let opened = watch.until(opens_at(self.options) as u64).await?;
        let closed = watch.until(self.options.records as u64).await?;
        blocking(move || running.stop()).await??;
        Ok(Window::between(&opened, &closed))
    }

    async fn sample(&self, from: [Vec<i64>; 2]) -> Result<Samples, BenchError> {
        let [answers_from, metrics_from] = from;
        let (answers, metrics) = self.outputs();
        let inputs = [self.input(&answers), self.input(&metrics)];
        let samples = blocking(move || {
            Ok::<_, BenchError>(Samples {
                answers: bare::sample(&inputs[0], &answers_from, SAMPLES, SAMPLE_WAIT)?,
                metrics: bare::sample(&inputs[1], &metrics_from, SAMPLES, SAMPLE_WAIT)?,
            })
        })
        .await??;
        if samples.answers.is_empty() || samples.metrics.is_empty() {
            return Err(BenchError::NoSamples);
        }
        Ok(samples)
    }

    /// The topics of answers and metrics.
    fn outputs(&self) -> (Arc<str>, Arc<str>) {
        let topic = |role| Arc::clone(self.stage.topic(role));
        (topic(Role::Answers), topic(Role::Metrics))
    }

    fn input(&self, topic: &str) -> IntakeOptions {
        let client = self.stage.client.named("bare");
        IntakeOptions::new(client, format!("{topic}.bare"), vec![topic.to_owned()])
    }
}

/// What became of the queries, counted when they were answered.
struct Tally {
    stale_hits: f64,
    not_hits: f64,
}

impl Tally {
    fn of(metrics: &Metrics) -> Self {
        let outcome = |name| metrics.total(QUERIES_TOTAL, Some(("outcome", name)));
        // Not all but the hits: these go on being counted while one looks.
        let others = ["miss", "bypass", "expired", "failure"];
        Self {
            stale_hits: outcome("stale_hit"),
            not_hits: others.into_iter().map(outcome).sum(),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of records that was a double"
)]
fn since(after: f64, before: f64) -> u64 {
    (after - before).max(0.0).round() as u64
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, std::io::Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(std::io::Error::other)
}

/// How far a contestant was at a moment.
pub(super) struct Mark {
    pub(super) at: Instant,
    pub(super) delivered: u64,
    pub(super) cpu_secs: Option<f64>,
}

/// Looks at how many answers stand in Kafka.
struct Watch<'a> {
    who: &'static str,
    stage: &'a Stage,
    topic: &'a str,
    base: u64,
}

impl<'a> Watch<'a> {
    fn new(who: &'static str, stage: &'a Stage, topic: &'a str, base: u64) -> Self {
        Self {
            who,
            stage,
            topic,
            base,
        }
    }

    async fn until(&mut self, wanted: u64) -> Result<Mark, BenchError> {
        let (mut last, mut moved_at) = (0, Instant::now());
        loop {
            let delivered = self
                .stage
                .count(self.topic)
                .await?
                .saturating_sub(self.base);
            let at = Instant::now();
            if delivered >= wanted {
                return Ok(Mark {
                    at,
                    delivered,
                    cpu_secs: cpu::seconds(BROKER_THREADS),
                });
            }
            if delivered > last {
                (last, moved_at) = (delivered, at);
            }
            if at.duration_since(moved_at) > STALLED_AFTER {
                return Err(BenchError::Stalled {
                    who: self.who,
                    delivered,
                    wanted,
                    idle_secs: STALLED_AFTER.as_secs(),
                });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
