//! Everything that an instance builds, finds and reads before it takes anything in, and the parts
//! that its stages share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::log_identity::{append_identity, identity};
use super::{AppError, client, clients, lag_watch, layers, patiently, registry};
use crate::ai::Providers;
use crate::ai::configured::keyless;
use crate::api::Served;
use crate::cache::Layers;
use crate::clock::Clock;
use crate::codec::{Decoder, Encoder, Registry, Schemas};
use crate::health::Phase;
use crate::invalidation::{ChangeEnds, RulesProgress, TagTable, TagTableOptions};
use crate::kafka::{Admin, PartitionReader, ReaderOptions, Skips};
use crate::metrics::Metrics;
use crate::model::Form;
use crate::observe::{Observer, Observers};
use crate::pipeline::outputs::{OutputTopics, Outputs};
use crate::pipeline::publisher::Publisher;
use crate::pipeline::query_stage::QueryParts;
use crate::pipeline::redelivery::Redelivery;
use crate::pipeline::rules_stage::{ChangeTopics, RulesParts, Stall};
use crate::policy::{self, Policies, PolicyInForce};
use crate::resolver::Resolver;
use crate::stages::alerting::Alerting;
use crate::stages::follower::{LogFollower, LogStatus, SkipChange};
use crate::stages::judge::ChangeJudge;
use crate::stages::max_bytes;
use crate::stages::query::{AnswerWriter, Queries, QueryReader};
use crate::topology::Topology;
use crate::topology::settings::{Format, Role};

/// The longest that an administration request may take.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);
/// The interval at which progress is appended again, and so the longest that a recreated log lacks
/// it.
const REPEAT_PROGRESS_EVERY: Duration = Duration::from_secs(30);

/// The parts that an instance has before it takes anything in.
pub(super) struct Prepared {
    pub(super) shared: Shared,
    pub(super) reader: PartitionReader,
    pub(super) log_status: watch::Receiver<LogStatus>,
    pub(super) layers: Layers,
    pub(super) providers: Providers,
}

impl Prepared {
    /// Finds Kafka and its topics, and reads the log to its end.
    pub(super) async fn new(
        topology: &Arc<Topology>,
        providers: Providers,
        Served { health, metrics }: &Served,
    ) -> Result<Self, AppError> {
        for line in keyless(topology) {
            tracing::warn!("{line}");
        }
        let shared = Shared::new(topology, metrics).await?;
        let form = match topology.deployment.topics.answers.format {
            Some(Format::Avro | Format::Confluent) => Form::Plain,
            Some(Format::Json) | None => Form::Json,
        };
        health.enter(Phase::ReadingLog);
        let (reader, mut log_status) = shared.follow_log()?;
        // At once: a large folder takes seconds to open, and a long log takes seconds to read.
        let (layers, caught_up) = tokio::join!(
            layers::open(&topology.deployment.layers, form, &shared.clock, health),
            shared.caught_up(&mut log_status),
        );
        caught_up?;
        shared.identified(&mut log_status).await?;
        Ok(Self {
            shared,
            reader,
            log_status,
            layers,
            providers,
        })
    }
}

/// The parts that the stages of an instance share.
pub(super) struct Shared {
    pub(super) topology: Arc<Topology>,
    pub(super) policies: Policies,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) table: Arc<TagTable>,
    pub(super) progress: Arc<RulesProgress>,
    /// The ranges of the inputs that are given up.
    pub(super) skips: Arc<Skips>,
    pub(super) registry: Option<Arc<Registry>>,
    pub(super) decoder: Arc<Decoder>,
    pub(super) outputs: Outputs,
    pub(super) admin: Admin,
    /// The state that the rules stage sets while the log refuses its appends.
    pub(super) stall: Arc<Stall>,
    pub(super) alerting: Arc<Alerting>,
    /// Prometheus, and the topics of metrics and alerts.
    pub(super) observer: Observers,
}

impl Shared {
    pub(super) async fn new(
        topology: &Arc<Topology>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, AppError> {
        let clock = Clock::System;
        let admin = Admin::new(
            &client(&topology.deployment.kafka).named("admin"),
            ADMIN_TIMEOUT,
        )?;
        wait_for_topics(&admin, topology).await?;
        let schemas = Arc::new(Schemas::embedded());
        let registry =
            registry::client(topology.deployment.registry.as_ref(), &schemas)?.map(Arc::new);
        let framings = registry::framings(&topology.deployment.topics, registry.as_deref()).await?;
        let producers = clients::producers(topology)?;
        let name = |role| Arc::clone(&topology.deployment.topics.get(role).name);
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
            single: producers.single,
            dead_letter_log: Arc::default(),
            log: producers.log,
            metrics: producers.metrics,
        };
        let publisher = Publisher::new(outputs.clone());
        let observer = Observers::new([
            Arc::clone(metrics) as Arc<dyn Observer>,
            Arc::new(publisher),
        ]);
        let alerting = Arc::new(Alerting::new(
            observer.clone(),
            clock.clone(),
            topology.deployment.kafka.instance_id.clone(),
        ));
        let table = TagTable::new(TagTableOptions {
            keep: policy::keep(&topology.policy),
            ..TagTableOptions::default()
        });
        let table = Arc::new(table);
        let policies = Policies {
            in_force: Arc::new(PolicyInForce::new(topology.policy.clone())),
            table: Arc::clone(&table),
            metrics: Arc::clone(metrics),
        };
        Ok(Self {
            topology: Arc::clone(topology),
            clock,
            metrics: Arc::clone(metrics),
            table,
            policies,
            progress: Arc::default(),
            skips: Arc::default(),
            registry,
            decoder: Arc::new(Decoder::new(
                schemas,
                max_bytes(&topology.deployment.topics),
            )),
            outputs,
            admin,
            stall: Arc::default(),
            alerting,
            observer,
        })
    }

    pub(super) fn follow_log(
        &self,
    ) -> Result<(PartitionReader, watch::Receiver<LogStatus>), AppError> {
        let (follower, status) = LogFollower::new(
            Arc::clone(&self.table),
            Arc::clone(&self.progress),
            Arc::clone(&self.policies.in_force),
            self.clock.clone(),
        );
        let client = client(&self.topology.deployment.kafka).named("log-reader");
        let topic = self
            .topology
            .deployment
            .topics
            .get(Role::Invalidations)
            .name
            .to_string();
        let options = ReaderOptions {
            ends_interval: Duration::from_millis(500),
            ..ReaderOptions::new(client, topic)
        };
        let skips = Arc::clone(&self.skips);
        let follower = follower.with_skips(move |change| match change {
            SkipChange::Added(range) => skips.add(range),
            SkipChange::Reset => skips.reset(),
        });
        Ok((PartitionReader::spawn(options, follower)?, status))
    }

    pub(super) async fn caught_up(
        &self,
        status: &mut watch::Receiver<LogStatus>,
    ) -> Result<(), AppError> {
        let reached = status.wait_for(|status| status.caught_up).await;
        reached.map(|_| ()).map_err(|_| AppError::Fatal {
            what: "log reader",
            why: "its thread ended before the log's end".to_owned(),
        })
    }

    /// Waits for the log's identity record; appends one if there is none.
    pub(super) async fn identified(
        &self,
        status: &mut watch::Receiver<LogStatus>,
    ) -> Result<(), AppError> {
        let said = *status.borrow();
        if said.identity.is_none() {
            append_identity(&self.outputs, &identity(&said, &self.clock)).await;
        }
        let told = status.wait_for(|status| status.identity.is_some()).await;
        told.map(|_| ()).map_err(|_| AppError::Fatal {
            what: "log reader",
            why: "its thread ended before the log's identity was read".to_owned(),
        })
    }

    pub(super) async fn change_ends(&self) -> Result<ChangeEnds, AppError> {
        let topics = [Role::VendorChanges, Role::WeddingUpdates]
            .map(|role| Arc::clone(&self.topology.deployment.topics.get(role).name));
        Ok(patiently(async || lag_watch::change_ends(&self.admin, &topics).await).await?)
    }

    /// Waits until the changes that stood in their topics at the start are judged; returns false if
    /// `start_barrier_timeout` passed first.
    pub(super) async fn judged(&self, ends: &ChangeEnds) -> bool {
        let deadline = Instant::now() + self.topology.deployment.start_barrier_timeout;
        loop {
            let behind = self.progress.behind(ends);
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

    pub(super) fn rules_parts(&self) -> RulesParts {
        let topics = &self.topology.deployment.topics;
        RulesParts {
            judge: ChangeJudge::new(
                Arc::clone(&self.decoder),
                Arc::clone(&self.policies.in_force),
                self.observer.clone(),
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
            stall: Arc::clone(&self.stall),
            alerting: Arc::clone(&self.alerting),
            observer: self.observer.clone(),
        }
    }

    pub(super) fn redelivery(&self) -> Redelivery {
        Redelivery {
            outputs: self.outputs.clone(),
            decoder: Decoder::new(Arc::new(Schemas::embedded()), usize::MAX),
            registry: self.registry.clone(),
        }
    }

    pub(super) fn query_parts(
        &self,
        resolver: &Arc<Resolver>,
        waiting: &TaskTracker,
    ) -> QueryParts {
        QueryParts {
            queries: Queries {
                reader: QueryReader {
                    decoder: Arc::clone(&self.decoder),
                    policies: Arc::clone(&self.policies.in_force),
                    table: Arc::clone(&self.table),
                    clock: self.clock.clone(),
                },
                resolver: Arc::clone(resolver),
            },
            writer: AnswerWriter {
                encoder: Arc::clone(&self.outputs.encoder),
                observer: self.observer.clone(),
                clock: self.clock.clone(),
            },
            outputs: self.outputs.clone(),
            registry: self.registry.clone(),
            runtime: Handle::current(),
            waiting: waiting.clone(),
        }
    }
}

/// Waits for Kafka as long as it takes; missing topics are an error at once.
pub(super) async fn wait_for_topics(admin: &Admin, topology: &Topology) -> Result<(), AppError> {
    let found = patiently(async || admin.topics().await).await?;
    let missing: Vec<String> = topology
        .deployment
        .topics
        .iter()
        .filter(|topic| !found.contains_key(&*topic.name))
        .map(|topic| topic.name.to_string())
        .collect();
    if !missing.is_empty() {
        // A topic that may not be described is missing in the list, too; a request by name is
        // refused.
        let names: Vec<Arc<str>> = missing.iter().map(|name| name.as_str().into()).collect();
        match admin.topic_ids(&names).await {
            Err(error) if error.denies_access() => return Err(error.into()),
            _ => return Err(AppError::MissingTopics { missing }),
        }
    }
    let log = &topology.deployment.topics.get(Role::Invalidations).name;
    match found.get(&**log) {
        Some(1) | None => Ok(()),
        Some(&partitions) => Err(AppError::LogPartitions {
            topic: log.to_string(),
            partitions,
        }),
    }
}
