//! The gauges: figures of the running parts, as plain numbers for the metrics.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::ai::ProviderError;
use crate::ai::Providers;
use crate::cache::LayeredStats;
use crate::codec::Reason;
use crate::health::Health;
use crate::invalidation::rule::ChangeSource;
use crate::kafka::IntakeStats;
use crate::metrics::{Known, Metrics, OutputState, PollThread};
use crate::model::LayerName;
use crate::pipeline::outputs::Outputs;
use crate::resolver::Resolver;
use crate::stages::follower::LogStatus;
use crate::topology::Topology;

/// Registers the probes that are called each time the metrics are shown.
pub fn register(
    metrics: &Arc<Metrics>,
    health: &Arc<Health>,
    resolver: &Arc<Resolver>,
    providers: &Providers,
) {
    let health = Arc::clone(health);
    metrics.probe(move |metrics| metrics.ready(health.readiness().ready));
    let resolver = Arc::downgrade(resolver);
    metrics.probe(move |metrics| {
        if let Some(resolver) = resolver.upgrade() {
            let parts = resolver.parts();
            metrics.flights(resolver.open_flights());
            metrics.tag_table(parts.table.position(), parts.table.tags());
            layers(metrics, &parts.layers.stats());
        }
    });
    let providers = providers.clone();
    metrics.probe(move |metrics| {
        for (name, ai) in &providers {
            let status = ai.status();
            let calls = (status.running, status.waiting);
            metrics.provider(name, status.breaker.as_number(), calls);
        }
    });
}

/// Shows, at 0, the counters whose labels follow from the program and its topology.
pub fn known(metrics: &Metrics, topology: &Topology, outputs: &Outputs) {
    let providers: Vec<&str> = topology
        .deployment
        .providers
        .keys()
        .map(AsRef::as_ref)
        .collect();
    let rules: Vec<&str> = topology
        .policy
        .rules
        .iter()
        .map(|rule| &*rule.name)
        .collect();
    metrics.show_known(&Known {
        changes: &ChangeSource::ALL.map(ChangeSource::as_str),
        reasons: &Reason::ALL.map(Reason::as_str),
        providers: &providers,
        codes: ProviderError::CODES,
        rules: &rules,
        outputs: &outputs.all().map(|(name, _)| name),
    });
}

/// Sets the gauges of all poll threads of a stage.
pub fn intakes(metrics: &Metrics, stage: &'static str, group: &str, stats: &[IntakeStats]) {
    let threads: Vec<_> = stats.iter().map(poll_thread).collect();
    metrics.poll_threads(stage, &threads);
    let partitions = stats.iter().flat_map(|of| &of.partitions);
    let lags = partitions.filter_map(|of| Some((Arc::clone(&of.topic), of.lag?)));
    metrics.consumer_lag(group, lags);
}

pub fn outputs(metrics: &Metrics, outputs: &Outputs) {
    for (name, output) in outputs.all() {
        let counters = output.counters();
        let state = OutputState {
            failed: counters.failed.load(Ordering::Relaxed),
            dropped: counters.dropped.load(Ordering::Relaxed),
            in_flight: output.in_flight(),
        };
        metrics.output(name, state);
    }
}

pub fn log(metrics: &Metrics, status: &LogStatus) {
    metrics.log_gone(status.gone);
}

fn poll_thread(stats: &IntakeStats) -> PollThread {
    let counters = stats.counters;
    PollThread {
        in_flight_records: stats.in_flight_records as u64,
        in_flight_bytes: stats.in_flight_bytes,
        paused: stats.paused,
        partitions: stats.partitions.len() as u64,
        oldest_unfinished: stats.oldest_unfinished,
        finished_late: counters.finished_late,
        topics_recreated: counters.topics_recreated,
        assigned: counters.assigned,
        revoked: counters.revoked,
        handed_over: counters.handed_over,
        lost: counters.lost,
    }
}

fn layers(metrics: &Metrics, stats: &LayeredStats) {
    if let Some(memory) = &stats.memory {
        metrics.layer_size(LayerName::Memory, memory.entries, memory.bytes);
    }
    if let Some(disk) = &stats.disk {
        let entries = disk.entries.unwrap_or(0);
        metrics.layer_size(LayerName::Disk, entries, disk.file_bytes);
        metrics.layer_failures(LayerName::Disk, disk.breaker.as_number(), &disk.failures);
    }
    if let Some(redis) = &stats.redis {
        metrics.layer_failures(LayerName::Redis, redis.breaker.as_number(), &redis.failures);
    }
}
