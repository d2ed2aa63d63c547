//! Builds the clients of a topology's providers, which the resolver asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use wedcache_model::backoff::Policy;
use wedcache_model::clock::Clock;
use wedcache_rules::topology::Topology;
use wedcache_rules::topology::settings::{self, HttpProvider};

use super::http::DEFAULT_BODY_LIMIT;
use super::simulator::{Behaviour, Faults, Latency, Vendors, World};
use super::{
    Ai, AiOptions, Anthropic, BreakerOptions, BudgetOptions, BuildError, Endpoint, OpenAi,
    OpenAiOptions, Provider, Simulator, SimulatorOptions, Site, Timeouts, is_loopback_address,
    shown_address,
};

/// The clients, by the provider's name in the topology.
pub type Providers = BTreeMap<Arc<str>, Arc<Ai>>;

/// Returns a world for simulated providers that nothing changes.
pub fn still_world() -> Arc<dyn World> {
    Arc::new(Arc::new(Vendors::numbered(VENDORS)))
}

/// A provider that no client can be built for.
#[derive(Debug, thiserror::Error)]
#[error("the provider `{name}` cannot be used: {why}")]
pub struct UnusableProvider {
    pub name: Arc<str>,
    pub why: BuildError,
}

/// Builds the client of every provider with all that it needs: its key's header, TLS and
/// certificates. Simulated providers answer from `world`. Nothing is sent.
pub fn providers(
    topology: &Topology,
    clock: &Clock,
    world: &Arc<dyn World>,
) -> Result<Providers, UnusableProvider> {
    let all = topology.deployment.providers.iter();
    all.map(|(name, settings)| {
        let ai = provider(name, settings, clock, world).map_err(|why| UnusableProvider {
            name: Arc::clone(name),
            why,
        })?;
        Ok((Arc::clone(name), Arc::new(ai)))
    })
    .collect()
}

fn provider(
    name: &str,
    settings: &settings::Provider,
    clock: &Clock,
    world: &Arc<dyn World>,
) -> Result<Ai, BuildError> {
    let (provider, http): (Arc<dyn Provider>, _) = match settings {
        settings::Provider::OpenAi(http) => {
            let endpoint = endpoint(name, http, clock);
            let provider = OpenAi::new(&endpoint, &OpenAiOptions::default())?;
            (Arc::new(provider), http)
        }
        settings::Provider::Anthropic(http) => {
            let endpoint = endpoint(name, http, clock);
            (Arc::new(Anthropic::new(&endpoint)?), http)
        }
        settings::Provider::Simulator(of) => return Ok(simulator(name, of, world)),
    };
    let site = site(name, settings.kind(), http);
    Ok(Ai::new(provider, http_options(http)).at(site))
}

/// Returns the names by which operators know a provider: its address, settings and variables.
pub fn site(name: &str, kind: &str, http: &HttpProvider) -> Site {
    Site {
        name: name.to_owned(),
        address: shown_address(&http.base_url),
        section: format!("providers.{name}.{kind}"),
        key_variables: http.key_variables.clone(),
        url_variables: http.url_variables.clone(),
        has_key: http.api_key.is_some(),
    }
}

/// Returns a warning for each provider in use that has no key, unless its server is on this
/// machine: other servers hardly ever want none.
pub fn keyless(topology: &Topology) -> Vec<String> {
    let asked = |name: &Arc<str>| {
        topology
            .policy
            .generation
            .values()
            .any(|of| of.provider == *name)
    };
    let all = topology
        .deployment
        .providers
        .iter()
        .filter(|(name, _)| asked(name));
    all.filter_map(|(name, settings)| {
        let (settings::Provider::OpenAi(http) | settings::Provider::Anthropic(http)) = settings
        else {
            return None;
        };
        if http.api_key.is_some() || is_loopback_address(&http.base_url) {
            return None;
        }
        let site = site(name, settings.kind(), http);
        let (address, key) = (&site.address, site.key_field());
        Some(format!(
            "no API key for {address} (provider {name}): set {key}, unless the server wants none"
        ))
    })
    .collect()
}

pub fn endpoint(name: &str, http: &HttpProvider, clock: &Clock) -> Endpoint {
    Endpoint {
        name: name.to_owned(),
        base_url: http.base_url.clone(),
        api_key: http.api_key.clone().unwrap_or_else(|| String::new().into()),
        model: http.model.clone(),
        temperature: None,
        timeouts: Timeouts {
            connect: http.connect_timeout,
            first_byte: http.first_byte_timeout,
            total: http.total_timeout,
        },
        body_limit: DEFAULT_BODY_LIMIT,
        clock: clock.clone(),
    }
}

/// Returns the options with which a provider is asked.
pub fn options(provider: &settings::Provider) -> AiOptions {
    match provider {
        settings::Provider::OpenAi(http) | settings::Provider::Anthropic(http) => {
            http_options(http)
        }
        settings::Provider::Simulator(of) => simulator_options(of),
    }
}

fn http_options(http: &HttpProvider) -> AiOptions {
    let defaults = AiOptions::default();
    AiOptions {
        max_concurrent: http.concurrency,
        max_retries: http.retry.attempts,
        backoff: Policy::new(http.retry.base_delay, http.retry.max_delay),
        budget: BudgetOptions {
            ratio: http.retry.budget,
            ..defaults.budget
        },
        breaker: BreakerOptions {
            min_failures: http.breaker.failures,
            open_for: http.breaker.open_for,
            ..defaults.breaker
        },
        ..defaults
    }
}

fn simulator_options(of: &settings::Simulator) -> AiOptions {
    AiOptions {
        max_concurrent: of.concurrency,
        ..AiOptions::default()
    }
}

fn simulator(name: &str, of: &settings::Simulator, world: &Arc<dyn World>) -> Ai {
    let spread = (of.min_latency + of.max_latency) / 2;
    let latency = if of.min_latency == of.max_latency {
        Latency::Fixed(of.min_latency)
    } else {
        Latency::LogNormal {
            median: spread,
            sigma: 0.35,
            max: of.max_latency.max(Duration::from_millis(1)),
        }
    };
    let simulator = Simulator::new(SimulatorOptions {
        name: name.to_owned(),
        model: of.model.clone(),
        seed: of.seed,
        behaviour: Behaviour {
            latency,
            faults: Faults {
                unavailable: of.server_error,
                timed_out: of.timeout,
                rate_limited: of.rate_limited,
                refused: of.refused,
                ..Faults::default()
            },
        },
        most_vendors: usize::try_from(of.vendors_per_answer).unwrap_or(usize::MAX),
        ..SimulatorOptions::default()
    })
    .in_world(Arc::clone(world));
    Ai::new(Arc::new(simulator), simulator_options(of))
}

/// The number of vendors that simulated answers name: as many as the platform has integrations.
pub const VENDORS: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use wedcache_rules::topology::{self, Variables};

    fn wedsync(set: &[(&str, &str)]) -> Topology {
        let of = |name: &str| {
            let found = set.iter().find(|(of, _)| *of == name);
            Some(found.map_or(String::new(), |(_, value)| (*value).to_owned()))
        };
        let environment = |name: &str| match name {
            "WEDCACHE_KAFKA" => Some("localhost:9092".to_owned()),
            name => of(name).filter(|value| !value.is_empty()),
        };
        let text = include_str!("../../../../topologies/wedsync.yaml");
        let loaded = topology::read("wedsync.yaml", text, Variables::From(&environment));
        loaded
            .unwrap_or_else(|problems| panic!("{problems}"))
            .topology
    }

    #[test]
    fn a_missing_key_is_told_but_for_a_server_of_this_machine() {
        let lines = keyless(&wedsync(&[]));
        assert_eq!(
            lines,
            [
                "no API key for https://api.openai.com/v1 (provider main): set providers.main.openai.api_key (WEDCACHE_AI_KEY), unless the server wants none"
            ]
        );
        assert_eq!(
            keyless(&wedsync(&[("WEDCACHE_AI_KEY", "sk-test")])),
            [""; 0]
        );
        let local = [("WEDCACHE_AI_URL", "http://127.0.0.1:11434/v1")];
        assert_eq!(keyless(&wedsync(&local)), [""; 0]);
        // No cache type uses the provider.
        let simulated = [("WEDCACHE_PROVIDER", "simulated")];
        assert_eq!(keyless(&wedsync(&simulated)), [""; 0]);
    }

    #[test]
    fn a_provider_that_cannot_be_used_is_named() {
        let mut topology = wedsync(&[]);
        let Some(settings::Provider::OpenAi(http)) = topology.deployment.providers.get_mut("main")
        else {
            panic!("main speaks OpenAI's dialect");
        };
        http.api_key = Some("sk\u{1}".to_owned().into());
        let error = providers(&topology, &Clock::System, &still_world())
            .err()
            .unwrap()
            .to_string();
        assert_eq!(
            error,
            "the provider `main` cannot be used: the API key holds characters that no HTTP header may hold"
        );
    }
}
