//! Reads the gauges from the running parts into the metrics.

use std::sync::Arc;

use super::Providers;
use crate::ai::ProviderError;
use crate::codec::Reason;
use crate::health::Health;
use crate::invalidation::rule::Source;
use crate::kafka::IntakeStats;
use crate::metrics::{Known, Metrics};
use crate::pipeline::outputs::Outputs;
use crate::resolver::Resolver;
use crate::stages::follower::LogStatus;
use crate::topology::Topology;

/// Registers the gauges that are read each time the metrics are shown.
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
            metrics.layers(&parts.layers.stats());
        }
    });
    let providers = providers.clone();
    metrics.probe(move |metrics| {
        for (name, ai) in &providers {
            metrics.provider(name, &ai.status());
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
        changes: &Source::ALL.map(Source::as_str),
        reasons: &Reason::ALL.map(Reason::as_str),
        providers: &providers,
        codes: ProviderError::CODES,
        rules: &rules,
        outputs: &outputs.all().map(|(name, _)| name),
    });
}

/// Updates the metrics of a stage from all of its poll threads.
pub fn intakes(metrics: &Metrics, stage: &'static str, group: &str, stats: &[IntakeStats]) {
    metrics.intakes(stage, stats);
    metrics.consumer_lag(group, stats);
}

pub fn outputs(metrics: &Metrics, outputs: &Outputs) {
    for (name, output) in outputs.all() {
        metrics.output(name, output.counters(), output.in_flight());
    }
}

pub fn log(metrics: &Metrics, status: &LogStatus) {
    metrics.log_gone(status.gone);
}
