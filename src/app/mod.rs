//! Everything put together: how an instance starts, what it waits for, and how it ends.
//!
//! The order of the start is part of the promises. The invalidation log is read to its end before
//! anything is judged by it; the rules stage runs before the query group is joined, and what
//! stood unjudged at the start is judged (or the lag labels it) before the first answer.

mod clients;
mod drain;
mod error;
mod lag_watch;
mod layers;
mod patience;
mod probes;
mod providers;
mod registry;
mod revival;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::clients::client;
pub use self::error::AppError;
use self::lag_watch::LagWatch;
pub use self::lag_watch::bounds;
pub use self::patience::patiently;
pub use self::providers::{Providers, VENDORS, ai_options, models, prices, providers};
pub use self::registry::client as registry;
use self::revival::Revival;
use crate::ai::install_crypto;
use crate::ai::simulator::World;
use crate::api::{Served, Server};
use crate::cache::Holder;
use crate::clock::Clock;
use crate::codec::log::encode_identity;
use crate::codec::{Decoder, Encoder, Registry, Schemas};
use crate::health::{Health, Phase};
use crate::invalidation::{RulesProgress, TagTable, TagTableOptions};
use crate::kafka::{Admin, Intake, IntakeHandle, OutRecord, PartitionReader, ReaderOptions};
use crate::metrics::Metrics;
use crate::model::invalidation::LogIdentity;
use crate::model::{Form, LogId};
use crate::pipeline::change::ChangeJudge;
use crate::pipeline::follower::{LogFollower, LogStatus};
use crate::pipeline::outputs::{OutputTopics, Outputs};
use crate::pipeline::query::{AnswerWriter, QueryReader};
use crate::pipeline::query_stage::{QueryParts, QueryStage};
use crate::pipeline::rules_stage::{ChangeTopics, RulesParts, rules_stage};
use crate::resolver::{Lag, Parts, Resolver};
use crate::topology::Topology;
use crate::topology::settings::{Format, Role};

/// How long a request of the administration may take.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two tries at reaching Kafka.
const CONNECT_EVERY: Duration = Duration::from_secs(1);
const WATCHDOG_EVERY: Duration = Duration::from_secs(1);
/// The log's identity is appended again so often; retention is days.
const REPEAT_EVERY: Duration = Duration::from_hours(1);
/// Progress is appended again so often: a log that was made anew knows it by then.
const REPEAT_PROGRESS_EVERY: Duration = Duration::from_secs(30);

/// A running instance.
pub struct App {
    topology: Arc<Topology>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    resolver: Arc<Resolver>,
    outputs: Outputs,
    reader: PartitionReader,
    log_status: watch::Receiver<LogStatus>,
    queries: Vec<IntakeHandle>,
    query_tasks: TaskTracker,
    rules: IntakeHandle,
    rules_task: JoinHandle<()>,
    rules_stop: CancellationToken,
    letters: TaskTracker,
    port: Port,
    admin: Admin,
    revival: Revival,
}

/// The HTTP port, and what ends it and the other background tasks.
struct Port {
    address: std::net::SocketAddr,
    server: JoinHandle<Result<(), crate::api::ApiError>>,
    background: CancellationToken,
}

/// What an instance shares between its stages.
struct Shared {
    topology: Arc<Topology>,
    clock: Clock,
    metrics: Arc<Metrics>,
    table: Arc<TagTable>,
    progress: Arc<RulesProgress>,
    registry: Option<Arc<Registry>>,
    decoder: [Arc<Decoder>; 2],
    outputs: Outputs,
    admin: Admin,
}

impl App {
    /// Starts an instance and returns when it is ready. Ends early, with an error, when `stop` is
    /// cancelled meanwhile.
    pub async fn start(topology: Topology, stop: &CancellationToken) -> Result<Self, AppError> {
        Self::start_in(providers::still_world(), topology, stop).await
    }

    /// Like [`App::start`], with a world of its own for simulated providers.
    pub async fn start_in(
        world: Arc<dyn World>,
        topology: Topology,
        stop: &CancellationToken,
    ) -> Result<Self, AppError> {
        install_crypto();
        let topology = Arc::new(topology);
        let health = Arc::new(Health::new(topology.kafka.watchdog_age));
        let types = topology
            .catalog
            .types()
            .iter()
            .map(|of| Arc::clone(&of.name));
        let metrics = Arc::new(Metrics::new(types));
        let background = CancellationToken::new();
        let server = Server::bind(topology.server.listen).await?;
        let address = server.address();
        tracing::info!(%address, "/metrics, /livez and /readyz");
        let seen = Served { health, metrics };
        let answers_http = server.serve(seen.clone(), background.clone());
        let port = Port {
            address,
            server: tokio::spawn(answers_http),
            background,
        };
        tokio::select! {
            started = Self::start_stages(topology, world, seen, port) => started,
            () = stop.cancelled() => Err(AppError::StoppedEarly),
        }
    }

    async fn start_stages(
        topology: Arc<Topology>,
        world: Arc<dyn World>,
        Served { health, metrics }: Served,
        port: Port,
    ) -> Result<Self, AppError> {
        let background = port.background.clone();
        let shared = Shared::new(&topology, &metrics).await?;
        let form = match topology.topics.answers.format {
            Some(Format::Avro | Format::Confluent) => Form::Plain,
            Some(Format::Json) | None => Form::Json,
        };

        health.enter(Phase::ReadingLog);
        let (reader, mut log_status) = shared.follow_log()?;
        // A large folder takes seconds to open, as a long log does to read.
        let (layers, caught_up) = tokio::join!(
            layers::open(&topology.layers, form, &shared.clock),
            shared.caught_up(&mut log_status),
        );
        caught_up?;
        shared.identified(&mut log_status).await?;

        health.enter(Phase::AwaitingRules);
        let ends = shared.change_ends().await?;
        let (rules_stop, letters) = (CancellationToken::new(), TaskTracker::new());
        let (intake, task) =
            rules_stage(shared.rules_parts(), topology.kafka.max_in_flight_records);
        let rules = Intake::spawn(&clients::rules(&topology), intake.clone())?;
        let rules_task = tokio::spawn(task.run(rules_stop.clone(), letters.clone()));
        let judged = shared.judged(&ends).await;

        let lag = Arc::new(Lag::default());
        let watch = LagWatch::new(&shared, Arc::clone(&lag), log_status.clone(), judged);
        tokio::spawn(watch.run(background.clone()));
        let providers = providers(&topology, &shared.clock, &world)?;
        let resolver = Arc::new(Resolver::new(Parts {
            catalog: Arc::clone(&topology.catalog),
            layers,
            table: Arc::clone(&shared.table),
            lag,
            holder: Holder::new(topology.kafka.instance_id.as_deref()),
            models: models(&topology, &providers),
            clock: shared.clock.clone(),
            sink: Arc::new(shared.outputs.clone()),
            metrics: Arc::clone(&metrics),
            runtime: Handle::current(),
        }));
        let query_tasks = TaskTracker::new();
        let parts = shared.query_parts(&resolver, &query_tasks);
        let queries = (0..topology.kafka.poll_threads.max(1))
            .map(|number| {
                Intake::spawn(
                    &clients::queries(&topology, number, &resolver),
                    QueryStage::new(parts.clone()),
                )
            })
            .collect::<Result<Vec<_>, _>>()?;
        tokio::spawn(keep_identity(
            shared.outputs.clone(),
            log_status.clone(),
            background.clone(),
        ));
        probes::register(&metrics, &health, &resolver, &providers);
        health.enter(Phase::Ready);
        Ok(Self {
            topology,
            health,
            metrics,
            resolver,
            outputs: shared.outputs,
            reader,
            log_status,
            queries,
            query_tasks,
            rules,
            rules_task,
            rules_stop,
            letters,
            port,
            admin: shared.admin,
            revival: Revival::new(parts, intake),
        })
    }

    /// Where `/metrics` and the probes are.
    pub fn address(&self) -> std::net::SocketAddr {
        self.port.address
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }

    pub fn resolver(&self) -> &Arc<Resolver> {
        &self.resolver
    }

    /// Runs until `stop`, then drains; or until something broke that only a new start can mend.
    pub async fn run(mut self, stop: &CancellationToken) -> Result<(), AppError> {
        let broken = self.until_broken(stop).await;
        let drained = self.drain().await;
        match broken {
            Some(error) => Err(error),
            None if drained => Ok(()),
            None => Err(AppError::NotDrained),
        }
    }

    /// The watchdog: nothing while all is well, an error when the instance cannot go on.
    async fn until_broken(&mut self, stop: &CancellationToken) -> Option<AppError> {
        let mut ticks = tokio::time::interval(WATCHDOG_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return None,
                _ = ticks.tick() => {}
            }
            if let Some(error) = self.revive_fenced().err().or_else(|| self.broken()) {
                return Some(error);
            }
        }
    }

    fn broken(&self) -> Option<AppError> {
        let mut oldest = Duration::ZERO;
        let stages = [
            ("queries", self.queries.as_slice()),
            ("rules", std::slice::from_ref(&self.rules)),
        ];
        for (stage, intakes) in stages {
            let stats: Vec<_> = intakes.iter().map(IntakeHandle::stats).collect();
            if let Some(why) = stats.iter().find_map(|of| of.fatal.clone()) {
                return Some(AppError::Fatal { what: stage, why });
            }
            if !intakes.iter().all(IntakeHandle::is_running) {
                let why = "its poll thread ended".to_owned();
                return Some(AppError::Fatal { what: stage, why });
            }
            let ages = stats.iter().filter_map(|of| of.oldest_unfinished);
            oldest = ages.fold(oldest, Duration::max);
            probes::intakes(&self.metrics, stage, &stats);
        }
        if self.rules_task.is_finished() {
            let why = "its task ended".to_owned();
            return Some(AppError::Fatal { what: "rules", why });
        }
        if !self.reader.is_running() {
            let why = "its thread ended".to_owned();
            return Some(AppError::Fatal {
                what: "log reader",
                why,
            });
        }
        if let Some(why) = self.outputs.fatal() {
            return Some(AppError::Fatal {
                what: "output",
                why,
            });
        }
        probes::outputs(&self.metrics, &self.outputs);
        probes::log(&self.metrics, &self.log_status.borrow());
        self.health.oldest_unfinished(oldest);
        (!self.health.is_live()).then_some(AppError::Stuck { oldest })
    }
}

impl Shared {
    async fn new(topology: &Arc<Topology>, metrics: &Arc<Metrics>) -> Result<Self, AppError> {
        let clock = Clock::System;
        let admin = Admin::new(&client(&topology.kafka).named("admin"), ADMIN_TIMEOUT)?;
        wait_for_topics(&admin, topology).await?;
        let schemas = Arc::new(Schemas::embedded());
        let registry = registry::client(topology.registry.as_ref(), &schemas)?.map(Arc::new);
        let framings = registry::framings(&topology.topics, registry.as_deref()).await?;
        let decoder = |role| {
            let max_bytes = topology
                .topics
                .get(role)
                .max_bytes
                .map_or(usize::MAX, |bytes| {
                    usize::try_from(bytes.0).unwrap_or(usize::MAX)
                });
            Arc::new(Decoder::new(Arc::clone(&schemas), max_bytes))
        };
        let producers = clients::producers(topology)?;
        let name = |role| Arc::clone(&topology.topics.get(role).name);
        let outputs = Outputs {
            topics: Arc::new(OutputTopics {
                answers: name(Role::Answers),
                metrics: name(Role::Metrics),
                invalidations: name(Role::Invalidations),
                alerts: name(Role::Alerts),
                dead_letters: name(Role::DeadLetters),
            }),
            encoder: Arc::new(Encoder::new(framings)),
            answers: producers.answers,
            log: producers.log,
            metrics: producers.metrics,
        };
        let table = TagTable::new(TagTableOptions {
            keep: topology.catalog.longest_life() + Duration::from_hours(1),
            ..TagTableOptions::default()
        });
        Ok(Self {
            topology: Arc::clone(topology),
            clock,
            metrics: Arc::clone(metrics),
            table: Arc::new(table),
            progress: Arc::default(),
            registry,
            decoder: [decoder(Role::Queries), decoder(Role::VendorChanges)],
            outputs,
            admin,
        })
    }

    fn follow_log(&self) -> Result<(PartitionReader, watch::Receiver<LogStatus>), AppError> {
        let (follower, status) = LogFollower::new(
            Arc::clone(&self.table),
            Arc::clone(&self.progress),
            self.clock.clone(),
        );
        let client = client(&self.topology.kafka).named("log-reader");
        let topic = self
            .topology
            .topics
            .get(Role::Invalidations)
            .name
            .to_string();
        let options = ReaderOptions {
            ends_interval: Duration::from_millis(500),
            ..ReaderOptions::new(client, topic)
        };
        Ok((PartitionReader::spawn(options, follower)?, status))
    }

    async fn caught_up(&self, status: &mut watch::Receiver<LogStatus>) -> Result<(), AppError> {
        let reached = status.wait_for(|status| status.caught_up).await;
        reached.map(|_| ()).map_err(|_| AppError::Fatal {
            what: "log reader",
            why: "its thread ended before the log's end".to_owned(),
        })
    }

    /// Waits until the log says who it is, and tells it where it does not.
    async fn identified(&self, status: &mut watch::Receiver<LogStatus>) -> Result<(), AppError> {
        if status.borrow().identity.is_none() {
            let identity = LogIdentity::fresh(self.clock.now());
            append_identity(&self.outputs, &identity).await;
        }
        let told = status.wait_for(|status| status.identity.is_some()).await;
        told.map(|_| ()).map_err(|_| AppError::Fatal {
            what: "log reader",
            why: "its thread ended before the log's identity was read".to_owned(),
        })
    }

    async fn change_ends(&self) -> Result<lag_watch::ChangeEnds, AppError> {
        let topics = [Role::VendorChanges, Role::WeddingUpdates]
            .map(|role| Arc::clone(&self.topology.topics.get(role).name));
        Ok(patiently(async || lag_watch::change_ends(&self.admin, &topics).await).await?)
    }

    /// Waits, bounded, until what stood in the change topics at the start is judged.
    async fn judged(&self, ends: &lag_watch::ChangeEnds) -> bool {
        let deadline = Instant::now() + self.topology.freshness.start_barrier_timeout;
        loop {
            let behind = self.progress.behind(&ends.starts, &ends.ends);
            if behind == 0 {
                return true;
            }
            if Instant::now() >= deadline {
                tracing::warn!(
                    behind,
                    "changes from before the start are not judged in time: starting all the same"
                );
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn rules_parts(&self) -> RulesParts {
        let topics = &self.topology.topics;
        RulesParts {
            judge: ChangeJudge::new(
                Arc::clone(&self.decoder[1]),
                Arc::clone(&self.topology.rules),
                Arc::clone(&self.topology.catalog),
                Arc::clone(&self.metrics),
                self.topology.freshness.widen_refresh_interval,
            ),
            progress: Arc::clone(&self.progress),
            outputs: self.outputs.clone(),
            registry: self.registry.clone(),
            clock: self.clock.clone(),
            topics: ChangeTopics {
                vendor: Arc::clone(&topics.get(Role::VendorChanges).name),
                wedding: Arc::clone(&topics.get(Role::WeddingUpdates).name),
            },
            repeat_progress: REPEAT_PROGRESS_EVERY,
        }
    }

    fn query_parts(&self, resolver: &Arc<Resolver>, waiting: &TaskTracker) -> QueryParts {
        QueryParts {
            reader: QueryReader {
                decoder: Arc::clone(&self.decoder[0]),
                catalog: Arc::clone(&self.topology.catalog),
                table: Arc::clone(&self.table),
                clock: self.clock.clone(),
            },
            writer: AnswerWriter {
                encoder: Arc::clone(&self.outputs.encoder),
                catalog: Arc::clone(&self.topology.catalog),
                metrics: Arc::clone(&self.metrics),
                clock: self.clock.clone(),
            },
            resolver: Arc::clone(resolver),
            outputs: self.outputs.clone(),
            registry: self.registry.clone(),
            runtime: Handle::current(),
            waiting: waiting.clone(),
        }
    }
}

/// Waits for Kafka as long as it takes; topics that are missing there are an error at once.
async fn wait_for_topics(admin: &Admin, topology: &Topology) -> Result<(), AppError> {
    let found = patiently(async || admin.topics().await).await?;
    let missing: Vec<String> = topology
        .topics
        .iter()
        .filter(|topic| !found.contains_key(&*topic.name))
        .map(|topic| topic.name.to_string())
        .collect();
    if !missing.is_empty() {
        return Err(AppError::MissingTopics { missing });
    }
    let log = &topology.topics.get(Role::Invalidations).name;
    match found.get(&**log) {
        Some(1) | None => Ok(()),
        Some(&partitions) => Err(AppError::LogPartitions {
            topic: log.to_string(),
            partitions,
        }),
    }
}

async fn append_identity(outputs: &Outputs, identity: &LogIdentity) {
    let (key, value) = (identity.record_key(), encode_identity(identity));
    let record = OutRecord {
        partition: Some(0),
        ..OutRecord::to(
            &outputs.topics.invalidations,
            Some(key.as_bytes()),
            Some(&value),
        )
    };
    loop {
        let deadline = Instant::now() + Duration::from_secs(10);
        match outputs.log.append(&record, deadline).await {
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(%error, "the log's identity could not be appended; trying on");
                tokio::time::sleep(CONNECT_EVERY).await;
            }
        }
    }
}

/// Appends the identity again before retention drops it, and a new one to a log made anew.
async fn keep_identity(
    outputs: Outputs,
    mut status: watch::Receiver<LogStatus>,
    stop: CancellationToken,
) {
    let mut repeat = tokio::time::interval(REPEAT_EVERY);
    repeat.tick().await;
    loop {
        let nameless = status.wait_for(|status| status.caught_up && status.identity.is_none());
        let identity = tokio::select! {
            () = stop.cancelled() => return,
            nameless = nameless => match nameless {
                Ok(_) => Some(LogIdentity::fresh(Clock::System.now())),
                Err(_) => return,
            },
            _ = repeat.tick() => None,
        };
        let known = status.borrow().identity;
        let Some(identity) = identity.or(known).filter(|of| of.id != LogId::UNKNOWN) else {
            continue;
        };
        append_identity(&outputs, &identity).await;
        // Until it has been read back, another one would only be a loser.
        let told = status.wait_for(|status| status.identity.is_some());
        if tokio::time::timeout(Duration::from_secs(10), told)
            .await
            .is_err()
        {
            tracing::warn!("the log's identity has not come back yet");
        }
    }
}
