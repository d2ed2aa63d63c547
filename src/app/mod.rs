//! All parts put together: how an instance starts, what it waits for, and how it ends.
//!
//! The order of the start is part of the promises. The invalidation log is read to its end before
//! anything is judged by it. The rules stage runs before the query group is joined, and the changes
//! that were unjudged at the start are judged (or the lag labels answers) before the first answer.

mod clients;
mod components;
mod drain;
mod error;
mod kafka_faults;
mod lag_watch;
mod layers;
mod log_identity;
mod patience;
mod probes;
mod reach;
mod registry;
mod revival;
mod rules;
mod shared;
mod standstills;
mod troubles;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::clients::client;
use self::components::KafkaWatch;
use self::drain::Left;
pub use self::error::AppError;
pub use self::kafka_faults::kafka_faults;
use self::lag_watch::LagWatch;
use self::log_identity::keep_identity;
pub use self::patience::patiently;
pub use self::reach::{Finding, reach};
pub use self::registry::client as registry;
use self::revival::Revival;
use self::rules::RulesStage;
use self::shared::{Prepared, Shared};
use self::standstills::{Standing, Stands, Standstills};
use self::troubles::TroubleWatch;
use crate::ai::{Providers, providers, still_world};
use crate::api::{Served, Server};
use crate::cache::Holder;
use crate::clock::Clock;
use crate::health::{Component, Health, Phase};
use crate::kafka::{Admin, Intake, IntakeHandle, PartitionReader};
use crate::metrics::Metrics;
use crate::outbound::install_crypto;
use crate::pipeline::outputs::Outputs;
use crate::pipeline::query_stage::QueryStage;
use crate::policy::Policies;
use crate::resolver::{Lag, Parts, Resolver};
use crate::stages::alerting::Alerting;
use crate::stages::follower::LogStatus;
use crate::topology::Topology;
use crate::topology::settings::Role;

const WATCHDOG_EVERY: Duration = Duration::from_secs(1);

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
    rules: RulesStage,
    redelivery_stop: CancellationToken,
    port: Port,
    admin: Admin,
    alerting: Arc<Alerting>,
    clock: Clock,
    revival: Revival,
    standstills: Standstills,
    policies: Policies,
}

/// The HTTP port, and the token that ends it and the other background tasks.
struct Port {
    address: std::net::SocketAddr,
    server: JoinHandle<Result<(), crate::api::ApiError>>,
    background: CancellationToken,
    /// The standstills of partitions that `/readyz` shows.
    standing: Arc<Standing>,
}

impl App {
    /// Starts an instance and returns when it is ready. Returns an error if `stop` is cancelled
    /// meanwhile.
    pub async fn start(topology: Topology, stop: &CancellationToken) -> Result<Self, AppError> {
        // Before any group is joined: an instance that cannot ask its providers must not take
        // partitions from instances that can.
        let providers = providers(&topology, &Clock::System, &still_world())?;
        Self::start_with(providers, topology, stop).await
    }

    /// Starts an instance as [`App::start`] does, with these providers instead of the topology's.
    pub async fn start_with(
        providers: Providers,
        topology: Topology,
        stop: &CancellationToken,
    ) -> Result<Self, AppError> {
        install_crypto();
        let topology = Arc::new(topology);
        let health = Arc::new(Health::new(topology.deployment.kafka.watchdog_age));
        let types = topology
            .policy
            .catalog
            .types()
            .iter()
            .map(|of| Arc::clone(&of.name));
        let metrics = Arc::new(Metrics::new(types));
        let background = CancellationToken::new();
        let server = Server::bind(topology.deployment.server.listen).await?;
        let address = server.address();
        tracing::info!(%address, "/metrics, /livez, /readyz and /readyz/stream");
        let seen = Served { health, metrics };
        let standing = Arc::new(Standing::default());
        let watch = KafkaWatch::new(&topology.deployment.kafka, &seen.health, &standing);
        tokio::spawn(watch.run(background.clone()));
        let answers_http = server.serve(seen.clone(), background.clone());
        let port = Port {
            address,
            server: tokio::spawn(answers_http),
            background,
            standing,
        };
        let prepared = tokio::select! {
            prepared = Prepared::new(&topology, providers, &seen) => prepared?,
            // Nothing has been taken in yet.
            () = stop.cancelled() => return Err(AppError::StoppedEarly),
        };
        Self::start_stages(prepared, topology, seen, port, stop).await
    }

    async fn start_stages(
        prepared: Prepared,
        topology: Arc<Topology>,
        Served { health, metrics }: Served,
        port: Port,
        stop: &CancellationToken,
    ) -> Result<Self, AppError> {
        let background = port.background.clone();
        let Prepared {
            shared,
            reader,
            log_status,
            layers,
            providers,
        } = prepared;
        health.ok(Component::Log);
        health.enter(Phase::AwaitingRules);
        // Asked before the rules stage starts: changes up to these ends must be judged before the
        // first answer, later ones need not.
        let ends = tokio::select! {
            ends = shared.change_ends() => ends?,
            () = stop.cancelled() => return Err(AppError::StoppedEarly),
        };
        let rules = RulesStage::start(
            clients::rules(&topology).skipping(&shared.skips),
            shared.rules_parts(),
        )?;
        let judged = tokio::select! {
            judged = shared.judged(&ends) => judged,
            () = stop.cancelled() => {
                return Err(stopped_early(rules, &shared.outputs, topology.deployment.kafka.drain_deadline).await);
            }
        };
        let lag = Arc::new(Lag::default());
        let watch = LagWatch::new(&shared, Arc::clone(&lag), log_status.clone(), judged);
        tokio::spawn(watch.run(background.clone()));
        let resolver = Arc::new(Resolver::new(Parts {
            layers,
            table: Arc::clone(&shared.table),
            lag,
            holder: Holder::new(topology.deployment.kafka.instance_id.as_deref()),
            providers: providers.clone(),
            clock: shared.clock.clone(),
            observer: shared.observer.clone(),
            runtime: Handle::current(),
        }));
        let query_tasks = TaskTracker::new();
        let parts = shared.query_parts(&resolver, &query_tasks);
        // The query group is joined last: from here on, answers are given.
        let queries = (0..topology.deployment.kafka.poll_threads.max(1))
            .map(|number| {
                Intake::spawn(
                    &clients::queries(&topology, number, &resolver).skipping(&shared.skips),
                    QueryStage::new(parts.clone()),
                )
            })
            .collect::<Result<Vec<_>, _>>()?;
        tokio::spawn(keep_identity(
            shared.outputs.clone(),
            log_status.clone(),
            background.clone(),
        ));
        let redelivery_stop = CancellationToken::new();
        tokio::spawn(shared.redelivery().run(redelivery_stop.clone()));
        let troubles = TroubleWatch::new(&providers, &shared, &health);
        tokio::spawn(troubles.run(background.clone()));
        probes::known(&metrics, &topology, &shared.outputs);
        probes::register(&metrics, &health, &resolver, &providers);
        let standstills = Standstills::new(
            Arc::clone(&shared.alerting),
            shared.clock.clone(),
            Arc::clone(&port.standing),
        );
        let app = Self {
            clock: shared.clock,
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
            redelivery_stop,
            port,
            admin: shared.admin,
            alerting: shared.alerting,
            revival: Revival::new(parts, Arc::clone(&shared.skips)),
            standstills,
            policies: shared.policies,
        };
        app.observe();
        app.health.enter(Phase::Ready);
        Ok(app)
    }

    /// Returns the address of `/metrics` and the probes.
    pub fn address(&self) -> std::net::SocketAddr {
        self.port.address
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// What replaces the policy while the instance runs.
    pub fn policies(&self) -> Policies {
        self.policies.clone()
    }

    pub fn resolver(&self) -> &Arc<Resolver> {
        &self.resolver
    }

    /// Runs until `stop`, or until something breaks that only a restart can mend; then drains.
    pub async fn run(mut self, stop: &CancellationToken) -> Result<(), AppError> {
        let broken = self.until_broken(stop).await;
        let left = self.drain().await;
        match broken {
            Some(error) => Err(error),
            None if left.is_nothing() => Ok(()),
            None => Err(AppError::NotDrained { left }),
        }
    }

    /// Watches over the instance: returns `None` once `stop` is cancelled, or an error when the
    /// instance cannot go on.
    async fn until_broken(&mut self, stop: &CancellationToken) -> Option<AppError> {
        let mut ticks = tokio::time::interval(WATCHDOG_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return None,
                _ = ticks.tick() => {}
            }
            let mended = match self.revive_fenced() {
                Ok(()) => self.renew_outputs().await,
                Err(error) => Err(error),
            };
            self.observe();
            self.alerting.settle();
            self.outputs.dead_letter_log.settle();
            if let Some(error) = mended.err().or_else(|| self.broken()) {
                return Some(error);
            }
        }
    }

    fn broken(&mut self) -> Option<AppError> {
        let (mut oldest, mut all) = (Duration::ZERO, Vec::new());
        let kafka = &self.topology.deployment.kafka;
        let stages = [
            ("queries", &kafka.queries_group, self.queries.as_slice()),
            (
                "rules",
                &kafka.rules_group,
                std::slice::from_ref(&self.rules.intake),
            ),
        ];
        let stalled = self.rules.stalled().is_some();
        for (stage, group, intakes) in stages {
            let stats: Vec<_> = intakes.iter().map(IntakeHandle::stats).collect();
            if let Some(why) = stats.iter().find_map(|of| of.fatal.clone()) {
                return Some(AppError::Fatal { what: stage, why });
            }
            if !intakes.iter().all(IntakeHandle::is_running) {
                let why = "its poll thread ended".to_owned();
                return Some(AppError::Fatal { what: stage, why });
            }
            let ages = stats.iter().filter_map(|of| of.oldest_unfinished);
            // While the log refuses appends no change can be finished: their age is no sign of
            // being stuck.
            if stage != "rules" || !stalled {
                oldest = ages.fold(oldest, Duration::max);
            }
            if stage == "queries" {
                let held = stats.iter().map(|of| of.partitions.len()).sum();
                self.health.partitions(held);
            }
            probes::intakes(&self.metrics, stage, group, &stats);
            all.extend(stats.iter().flat_map(Stands::of));
        }
        let log = &self
            .topology
            .deployment
            .topics
            .get(Role::Invalidations)
            .name;
        all.extend(self.reader.standstill().map(|(lasts, why)| Stands {
            topic: Arc::clone(log),
            partition: 0,
            next: None,
            lasts,
            why,
        }));
        self.standstills.see(all);
        if let Some(error) = self.rules.broken() {
            return Some(error);
        }
        if !self.reader.is_running() {
            let why = "its thread ended".to_owned();
            return Some(AppError::Fatal {
                what: "log reader",
                why,
            });
        }
        probes::outputs(&self.metrics, &self.outputs);
        probes::log(&self.metrics, &self.log_status.borrow());
        self.health.oldest_unfinished(oldest);
        (!self.health.is_live()).then_some(AppError::Stuck { oldest })
    }
}

/// Ends a rules stage that was started, when the start itself is given up.
async fn stopped_early(mut rules: RulesStage, outputs: &Outputs, patience: Duration) -> AppError {
    let deadline = Instant::now() + patience;
    let changes = rules.finish(deadline).await;
    let delivered = outputs.flush(patience).await;
    let committed = rules.intake.shutdown(deadline).await;
    let left = Left {
        changes,
        unsettled: !(delivered && committed),
        ..Left::default()
    };
    if left.is_nothing() {
        AppError::StoppedEarly
    } else {
        AppError::NotDrained { left }
    }
}
