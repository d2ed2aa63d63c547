//! Layers, AI providers and prices, as written in the file.

use schemars::JsonSchema;
use serde::Deserialize;

use super::at;
use crate::topology::units::{At, ByteSize, Connection, Lasting, Named};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::topology) struct LayersShape {
    /// The memory layer of this instance.
    pub(in crate::topology) memory: Option<MemoryShape>,
    /// The disk layer of this instance, which survives a restart.
    pub(in crate::topology) disk: Option<DiskShape>,
    /// The Redis layer, shared between instances.
    pub(in crate::topology) redis: Option<RedisShape>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct MemoryShape {
    /// The most bytes that entries may take, such as `512MiB`; at least 64KiB.
    pub(in crate::topology) size: At<ByteSize>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct DiskShape {
    /// A folder that only this instance uses; created if missing.
    pub(in crate::topology) path: Connection,
    /// The size of the store's page cache in memory; at least 64KiB. By default 128MiB.
    #[serde(default = "disk_cache")]
    pub(in crate::topology) cache_size: At<ByteSize>,
    /// The most bytes that entries may take, such as `50GiB`; the files take more. By default 2GiB.
    pub(in crate::topology) max_size: Option<At<ByteSize>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct RedisShape {
    /// The server or the cluster. If all addresses are empty, there is no Redis layer.
    pub(in crate::topology) server: RedisServerShape,
    /// The longest time to connect, with the handshake. By default 500ms.
    #[serde(default = "redis_connect")]
    pub(in crate::topology) connect_timeout: At<Lasting>,
    /// The longest time for one call; a look-up that takes longer counts as a miss. By default
    /// 20ms.
    #[serde(default = "redis_response")]
    pub(in crate::topology) response_timeout: At<Lasting>,
    /// The circuit breaker for calls to Redis.
    #[serde(default)]
    pub(in crate::topology) breaker: BreakerShape,
    /// The time after which others take over the calls of an instance that was killed. By default
    /// 6s.
    #[serde(default = "lease_term")]
    pub(in crate::topology) lease_term: At<Lasting>,
    /// The prefix of all keys. By default `wedcache:`.
    #[serde(default = "key_prefix")]
    pub(in crate::topology) key_prefix: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::topology) enum RedisServerShape {
    /// One server: `redis://host:6379` or `rediss://user:password@host:6379` (TLS).
    Single(Connection),
    /// A cluster, by some of its nodes; the others are found through these.
    Cluster(Vec<Connection>),
}

/// A circuit breaker: after some failures in a row, no calls are made for a while.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::topology) struct BreakerShape {
    /// Consecutive failures that open the breaker. By default 5.
    pub(in crate::topology) failures: At<u32>,
    /// Time for which the breaker stays open; then one call at a time probes. By default 10s.
    pub(in crate::topology) open_for: At<Lasting>,
}

impl Default for BreakerShape {
    fn default() -> Self {
        Self {
            failures: at(5),
            open_for: at(Lasting::secs(10)),
        }
    }
}

/// A provider's circuit breaker: after some failures within 30 s, if they are at least half of the
/// calls, no calls are made for a while.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::topology) struct ProviderBreakerShape {
    /// The least number of failed calls within 30 s that opens the breaker. By default 5.
    pub(in crate::topology) failures: At<u32>,
    /// Time for which the breaker stays open; then two calls at a time probe. By default 10s.
    pub(in crate::topology) open_for: At<Lasting>,
}

impl Default for ProviderBreakerShape {
    fn default() -> Self {
        Self {
            failures: at(5),
            open_for: at(Lasting::secs(10)),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::topology) enum ProviderShape {
    /// A provider with OpenAI-compatible chat completions.
    Openai(HttpProviderShape),
    /// A provider with Anthropic's messages API.
    Anthropic(HttpProviderShape),
    /// A built-in provider for demos and tests, which makes its answers up; each of them is marked
    /// `simulated`.
    Simulator(SimulatorShape),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct HttpProviderShape {
    /// The base address as the provider documents it: `https://api.openai.com/v1`,
    /// `https://api.anthropic.com`.
    pub(in crate::topology) base_url: Connection,
    /// The API key, usually a variable: `${WEDCACHE_AI_KEY}`. Left out or empty for servers without
    /// keys.
    pub(in crate::topology) api_key: Option<Connection>,
    /// The model to ask for, such as `gpt-4o-mini`.
    pub(in crate::topology) model: At<String>,
    /// The longest time to connect, TLS included. By default 3s.
    #[serde(default = "ai_connect")]
    pub(in crate::topology) connect_timeout: At<Lasting>,
    /// The longest time from sending the request to the reply's first byte; at most
    /// `total_timeout`. By default 30s.
    #[serde(default = "ai_first_byte")]
    pub(in crate::topology) first_byte_timeout: At<Lasting>,
    /// The longest time for one attempt as a whole. By default 60s.
    #[serde(default = "ai_total")]
    pub(in crate::topology) total_timeout: At<Lasting>,
    /// The retries of failed calls.
    #[serde(default)]
    pub(in crate::topology) retry: RetryShape,
    /// The most calls at one time from this instance; further ones wait. By default 64.
    #[serde(default = "concurrency")]
    pub(in crate::topology) concurrency: At<u32>,
    /// The circuit breaker for calls to this provider.
    #[serde(default)]
    pub(in crate::topology) breaker: ProviderBreakerShape,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::topology) struct RetryShape {
    /// The most attempts after the first, at most 10. By default 3.
    pub(in crate::topology) attempts: At<u32>,
    /// The upper bound of the first wait; it doubles with every attempt, and each wait is drawn at
    /// random below its bound. By default 250ms.
    pub(in crate::topology) base_delay: At<Lasting>,
    /// The largest upper bound of a wait. By default 10s.
    pub(in crate::topology) max_delay: Lasting,
    /// The largest share of all calls that may be retries, 0 to 1; beyond it failures are not
    /// retried. By default 0.2.
    pub(in crate::topology) budget: At<f64>,
}

impl Default for RetryShape {
    fn default() -> Self {
        Self {
            attempts: at(3),
            base_delay: at(Lasting::millis(250)),
            max_delay: Lasting::secs(10),
            budget: at(0.2),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::topology) struct SimulatorShape {
    /// The model's name in answers and prices. By default `simulated-planner`.
    pub(in crate::topology) model: String,
    /// The seed of answers, delays and errors; the same seed gives the same ones. By default 1.
    pub(in crate::topology) seed: u64,
    /// The durations of calls.
    pub(in crate::topology) latency: LatencyShape,
    /// The shares of calls that fail.
    pub(in crate::topology) errors: ErrorRatesShape,
    /// The most vendors that an answer names without being asked about them. By default 3.
    pub(in crate::topology) vendors_per_answer: u32,
    /// The most calls at one time; further ones wait. By default 64.
    pub(in crate::topology) concurrency: At<u32>,
}

impl Default for SimulatorShape {
    fn default() -> Self {
        Self {
            model: "simulated-planner".to_owned(),
            seed: 1,
            latency: LatencyShape::default(),
            errors: ErrorRatesShape::default(),
            vendors_per_answer: 3,
            concurrency: at(64),
        }
    }
}

/// The durations of simulated calls: half of them take less than the middle of `min` and `max`. If
/// the two are equal, all calls take that time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::topology) struct LatencyShape {
    /// The lower end of the usual durations. By default 300ms.
    pub(in crate::topology) min: At<Lasting>,
    /// The upper end; no call takes longer. By default 1500ms.
    pub(in crate::topology) max: At<Lasting>,
}

impl Default for LatencyShape {
    fn default() -> Self {
        Self {
            min: at(Lasting::millis(300)),
            max: at(Lasting::millis(1500)),
        }
    }
}

/// The shares of all calls that fail in each way, 0 to 1, together at most 1.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::topology) struct ErrorRatesShape {
    /// The provider refuses for now (429). By default 0.
    pub(in crate::topology) rate_limited: At<f64>,
    /// The provider fails (503). By default 0.
    pub(in crate::topology) server_error: At<f64>,
    /// The reply does not come in time. By default 0.
    pub(in crate::topology) timeout: At<f64>,
    /// The model refuses to answer. By default 0.
    pub(in crate::topology) refused: At<f64>,
}

impl Default for ErrorRatesShape {
    fn default() -> Self {
        Self {
            rate_limited: at(0.0),
            server_error: at(0.0),
            timeout: at(0.0),
            refused: at(0.0),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct PricesShape {
    /// The day on which these prices were looked up, such as `"2025-06-01"`.
    pub(in crate::topology) date: At<String>,
    /// The prices by model.
    pub(in crate::topology) models: Named<PriceShape>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct PriceShape {
    /// US dollars per million tokens of the prompt.
    pub(in crate::topology) input: At<f64>,
    /// US dollars per million tokens of the answer.
    pub(in crate::topology) output: At<f64>,
}

defaults! {
    disk_cache: At<ByteSize> = at(ByteSize::mib(128));
    redis_connect: At<Lasting> = at(Lasting::millis(500));
    redis_response: At<Lasting> = at(Lasting::millis(20));
    lease_term: At<Lasting> = at(Lasting::millis(6000));
    key_prefix: String = "wedcache:".to_owned();
    ai_connect: At<Lasting> = at(Lasting::secs(3));
    ai_first_byte: At<Lasting> = at(Lasting::secs(30));
    ai_total: At<Lasting> = at(Lasting::secs(60));
    concurrency: At<u32> = at(64);
}
