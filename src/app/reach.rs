//! Tries to reach everything that a topology needs. Changes nothing and buys nothing.

use std::sync::Arc;
use std::time::Duration;

use super::{clients, layers, registry};
use crate::ai::reach::{Dialect, Reached};
use crate::ai::{self, shown_address};
use crate::cache::Redis;
use crate::clock::Clock;
use crate::codec::Schemas;
use crate::kafka::contact as kafka;
use crate::topology::settings::{HttpProvider, Provider, RedisServer, Role};
use crate::topology::{Code, Refusal, Topology};

/// The longest wait for a cluster that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// One thing that the topology needs, with the outcome: what was found, or what is wrong and what
/// to do, at the field of the topology that it concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub what: String,
    pub outcome: Result<String, Refusal>,
}

/// Tries everything at once; returns Kafka, the registry, Redis and the providers, in that order.
pub async fn reach(topology: &Topology) -> Vec<Finding> {
    let (kafka, registry, redis, providers) = tokio::join!(
        reach_kafka(topology),
        reach_registry(topology),
        reach_redis(topology),
        reach_providers(topology),
    );
    let singles = registry.into_iter().chain(redis);
    kafka.into_iter().chain(singles).chain(providers).collect()
}

fn found(what: impl Into<String>, outcome: Result<String, Refusal>) -> Finding {
    let what = what.into();
    Finding { what, outcome }
}

fn refusal(path: &[&str], why: &str, advice: &str) -> Refusal {
    Refusal::at(Code::Unreachable, path, format!("{why}; {advice}"))
}

async fn reach_kafka(topology: &Topology) -> Vec<Finding> {
    let options = clients::client(&topology.deployment.kafka).named("validate");
    let asked = tokio::task::spawn_blocking(move || kafka::reach(&options, PATIENCE)).await;
    let servers = &topology.deployment.kafka.bootstrap_servers;
    let what = format!("Kafka at {servers}");
    let path = ["kafka", "bootstrap_servers"];
    match asked {
        Ok(Ok(cluster)) => {
            let many = if cluster.brokers == 1 { "" } else { "s" };
            let there = format!("{} broker{many}", cluster.brokers);
            vec![found(what, Ok(there)), topics(topology, &cluster)]
        }
        Ok(Err(error)) => {
            let why = error.to_string();
            vec![found(what, Err(refusal(&path, &why, error.advice())))]
        }
        Err(error) => vec![found(
            what,
            Err(refusal(&path, &error.to_string(), "try again")),
        )],
    }
}

fn topics(topology: &Topology, cluster: &kafka::Reached) -> Finding {
    let all: Vec<_> = topology.deployment.topics.iter().collect();
    let missing = all
        .iter()
        .filter(|of| !cluster.topics.contains_key(&*of.name));
    let missing: Vec<_> = missing.map(|of| &*of.name).collect();
    if !missing.is_empty() {
        let why = format!(
            "missing, or not to be seen by this user: {}",
            missing.join(", ")
        );
        let advice = "`wedcache topics apply` creates what is missing";
        return found("topics", Err(refusal(&["topics"], &why, advice)));
    }
    let log = topology.deployment.topics.get(Role::Invalidations);
    match cluster.topics.get(&*log.name) {
        Some(1) => found("topics", Ok(format!("all {} are there", all.len()))),
        partitions => {
            let count = partitions.copied().unwrap_or_default();
            let why = format!("{} has {count} partitions, where it needs one", log.name);
            let path = ["topics", "invalidations"];
            let advice = "delete it and run `wedcache topics apply`";
            found("topics", Err(refusal(&path, &why, advice)))
        }
    }
}

async fn reach_registry(topology: &Topology) -> Option<Finding> {
    let settings = topology.deployment.registry.as_ref()?;
    let path = ["registry", "urls"];
    let outcome = match registry::client(Some(settings), &Arc::new(Schemas::embedded())) {
        Ok(Some(client)) => client.reach().await,
        Ok(None) => return None,
        Err(error) => Err(error),
    };
    let advice = "check `registry.urls`, `registry.auth` and that a server answers there";
    let outcome = outcome
        .map(|address| format!("{address} answers"))
        .map_err(|error| refusal(&path, &with_causes(&error), advice));
    Some(found("schema registry", outcome))
}

/// Returns an error's text, with that of its root cause where it adds something.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if cause.source().is_none() && !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

async fn reach_redis(topology: &Topology) -> Option<Finding> {
    let settings = topology.deployment.layers.redis.as_ref()?;
    let path = match settings.server {
        RedisServer::Single(_) => ["layers", "redis", "server", "single"],
        RedisServer::Cluster(_) => ["layers", "redis", "server", "cluster"],
    };
    // A Redis that is slow to connect is no reason not to start, so it gets at least 2 s here.
    let mut options = layers::redis_options(settings);
    options.connect_timeout = options.connect_timeout.max(Duration::from_secs(2));
    Some(match Redis::reach(&options).await {
        Ok(address) => found("Redis", Ok(format!("{address} answers"))),
        Err(error) => {
            let why = format!("{}: {error}", error.address);
            let why = why.trim_start_matches(": ");
            found("Redis", Err(refusal(&path, why, error.advice)))
        }
    })
}

async fn reach_providers(topology: &Topology) -> Vec<Finding> {
    let used = |name: &Arc<str>| {
        topology
            .policy
            .generation
            .values()
            .any(|of| of.provider == *name)
    };
    let mut findings = Vec::new();
    for (name, settings) in topology
        .deployment
        .providers
        .iter()
        .filter(|(name, _)| used(name))
    {
        let (http, dialect) = match settings {
            Provider::OpenAi(http) => (http, Dialect::OpenAi),
            Provider::Anthropic(http) => (http, Dialect::Anthropic),
            Provider::Simulator(_) => {
                let text = "answers by itself, without a model".to_owned();
                findings.push(found(format!("provider {name}"), Ok(text)));
                continue;
            }
        };
        let outcome = reach_provider((name, settings.kind()), http, dialect).await;
        let what = format!("provider {name} at {}", shown_address(&http.base_url));
        findings.push(found(what, outcome));
    }
    findings
}

async fn reach_provider(
    (name, kind): (&str, &str),
    http: &HttpProvider,
    dialect: Dialect,
) -> Result<String, Refusal> {
    let path = ["providers", name, kind, "base_url"];
    let endpoint = ai::configured::endpoint(name, http, &Clock::System);
    let site = ai::configured::site(name, kind, http);
    let model = &http.model;
    match ai::reach::reach(dialect, &endpoint).await {
        Ok(Ok(Reached::Listed)) => Ok(format!("takes the key and has {model}")),
        Ok(Ok(Reached::NotListed { models })) => Ok(format!(
            "takes the key; {model} is not among the {models} models that it lists"
        )),
        Ok(Ok(Reached::NoList)) => Ok(format!(
            "answers; it has no list of models, so neither the key nor {model} is proved"
        )),
        Ok(Err(error)) => Err(refusal(&path, &error.to_string(), &site.advice(&error))),
        Err(error) => Err(refusal(&path, &error.to_string(), "correct the provider")),
    }
}
