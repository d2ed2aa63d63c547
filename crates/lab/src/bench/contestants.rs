//! The contestants: wedcache itself and the bare loop, both in this process.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::plain::Plain;
use super::queries::HIT_TYPE;
use super::stage::{Stage, bare_topic};
use super::varied::Prose;
use super::{BenchError, figures};
use wedcache::ai;
use wedcache::app::{App, AppError};
use wedcache::clock::Clock;
use wedcache::kafka::bare::{self, BareLoop, BareOptions, BareOutput};
use wedcache::kafka::{KafkaError, OutputOptions};
use wedcache::metrics::Metrics;
use wedcache::resolver::Resolver;
use wedcache::topology::settings::Role;

const SAMPLES: usize = 1000;
const SAMPLE_WAIT: Duration = Duration::from_secs(10);
const QUERIES_TOTAL: &str = "wedcache_queries_total";

/// A running instance, in a query group of its own.
pub(super) struct Wedcache {
    pub(super) metrics: Arc<Metrics>,
    pub(super) resolver: Arc<Resolver>,
    stop: CancellationToken,
    running: JoinHandle<Result<(), AppError>>,
}

impl Wedcache {
    /// Starts an instance; returns when it is ready.
    pub(super) async fn start(stage: &Stage, poll_threads: usize) -> Result<Self, BenchError> {
        let mut topology = stage.topology.clone();
        topology.deployment.kafka.poll_threads = poll_threads;
        let group = stage.fresh_group();
        topology.deployment.kafka.rules_group = format!("{group}.rules");
        topology.deployment.kafka.queries_group = group;
        let stop = CancellationToken::new();
        let app = if stage.varied {
            let calls = topology.deployment.kafka.max_in_flight_records;
            let providers = ai::providers(&topology, &Clock::System, &ai::still_world());
            let providers = Prose::instead_of(providers.map_err(AppError::from)?, calls);
            App::start_with(providers, topology, &stop).await?
        } else {
            App::start(topology, &stop).await?
        };
        let (metrics, resolver) = (Arc::clone(app.metrics()), Arc::clone(app.resolver()));
        let told = stop.clone();
        Ok(Self {
            metrics,
            resolver,
            stop,
            running: tokio::spawn(async move { app.run(&told).await }),
        })
    }

    /// Stops the instance after a drain.
    pub(super) async fn stop(self) -> Result<(), BenchError> {
        self.stop.cancel();
        let ended = self.running.await.map_err(std::io::Error::other)?;
        Ok(ended?)
    }
}

/// Bare loops, each with its own clients and its own share of the partitions.
pub(super) struct Bare(Vec<BareLoop>);

impl Bare {
    pub(super) fn start(
        stage: &Stage,
        samples: &Samples,
        threads: usize,
    ) -> Result<Self, BenchError> {
        Self::start_each(stage, samples, threads, BareLoop::spawn)
    }

    /// Starts the same loops, but answering each query as [`Plain`] does.
    pub(super) fn start_plain(
        stage: &Stage,
        samples: &Samples,
        threads: usize,
    ) -> Result<Self, BenchError> {
        Self::start_each(stage, samples, threads, |options| {
            let mut plain = Plain::new(Clock::System);
            BareLoop::spawn_making(options, move |query, values| plain.answer(query, values))
        })
    }

    /// Starts a loop for each thread, which has its share of the partitions.
    fn start_each(
        stage: &Stage,
        samples: &Samples,
        threads: usize,
        spawn: impl Fn(BareOptions) -> Result<BareLoop, KafkaError>,
    ) -> Result<Self, BenchError> {
        let threads = i32::try_from(threads.max(1)).unwrap_or(i32::MAX);
        let loops = (0..threads).map(|thread| {
            let share = (0..stage.partitions(Role::Queries)).filter(|p| p % threads == thread);
            spawn(options(stage, samples, share.collect()))
        });
        Ok(Self(loops.collect::<Result<_, _>>()?))
    }

    /// Flushes the loops' producers and ends the loops.
    pub(super) async fn stop(self) -> Result<(), BenchError> {
        for running in self.0 {
            blocking(move || running.stop()).await??;
        }
        Ok(())
    }
}

fn options(stage: &Stage, samples: &Samples, partitions: Vec<i32>) -> BareOptions {
    let client = stage.client.named("bare");
    BareOptions {
        input: stage.input(stage.topic(Role::Queries)),
        partitions,
        outputs: [
            BareOutput {
                options: OutputOptions::new(client.named("answers")),
                topic: bare_topic(&stage.topology, Role::Answers),
                values: samples.answers.clone(),
                key: None,
            },
            BareOutput {
                options: OutputOptions::lossy(client.named("metrics")),
                topic: bare_topic(&stage.topology, Role::Metrics),
                values: samples.metrics.clone(),
                key: Some(HIT_TYPE.as_bytes().to_vec()),
            },
        ],
    }
}

/// Values that wedcache made, for the bare loop to send.
#[derive(Debug, Clone)]
pub(super) struct Samples {
    answers: Vec<Vec<u8>>,
    metrics: Vec<Vec<u8>>,
}

impl Samples {
    /// Reads samples of what wedcache produced after these offsets of its answers and metrics.
    pub(super) async fn read(stage: &Stage, from: [Vec<i64>; 2]) -> Result<Self, BenchError> {
        let [answers_from, metrics_from] = from;
        let inputs = [Role::Answers, Role::Metrics].map(|role| stage.input(stage.topic(role)));
        let samples = blocking(move || {
            Ok::<_, BenchError>(Self {
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

    /// Returns the current end offsets of wedcache's answers and metrics.
    pub(super) async fn offsets(stage: &Stage) -> Result<[Vec<i64>; 2], BenchError> {
        Ok([
            stage.ends(stage.topic(Role::Answers)).await?,
            stage.ends(stage.topic(Role::Metrics)).await?,
        ])
    }

    /// Returns the mean sizes of an answer and a metric, in bytes.
    pub(super) fn mean_bytes(&self) -> [u64; 2] {
        [&self.answers, &self.metrics].map(|values| {
            let bytes: usize = values.iter().map(Vec::len).sum();
            (bytes / values.len().max(1)) as u64
        })
    }
}

/// Counts of the queries answered so far, by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Hits that were labelled stale.
    pub(super) stale_hits: u64,
    /// Queries with any outcome but a hit.
    pub(super) not_hits: u64,
}

impl Tally {
    pub(super) fn of(metrics: &Metrics) -> Self {
        let outcome = |name| count(metrics.total(QUERIES_TOTAL, Some(("outcome", name))));
        // Summed by outcome, not as "all minus hits": hits are counted while this reads.
        let others = ["miss", "bypass", "expired", "failure"];
        Self {
            stale_hits: outcome("stale_hit"),
            not_hits: others.into_iter().map(outcome).sum(),
        }
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self {
            stale_hits: self.stale_hits.saturating_sub(before.stale_hits),
            not_hits: self.not_hits.saturating_sub(before.not_hits),
        }
    }
}

/// Returns the name of the bare loops in tables.
pub(super) fn bare_name(threads: usize) -> String {
    format!("bare loop, {threads} poll thread(s)")
}

pub(super) fn plain_name(threads: usize) -> String {
    format!("plain loop, {threads} poll thread(s)")
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of records that was a double"
)]
fn count(value: f64) -> u64 {
    value.max(0.0).round() as u64
}

/// Returns the processor seconds between two marks for a million answers; `None` if there are no
/// answers.
pub(super) fn per_million(before: Option<f64>, after: Option<f64>, answers: u64) -> Option<f64> {
    let used = after? - before?;
    (answers > 0).then(|| used / figures::float(answers) * 1e6)
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, std::io::Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(std::io::Error::other)
}
