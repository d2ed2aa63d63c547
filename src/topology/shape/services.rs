//! Layers, AI providers and prices, as written in the file.

use schemars::JsonSchema;
use serde::Deserialize;

use super::at;
use crate::topology::units::{At, ByteSize, Connection, Lasting, Named};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::topology) struct LayersShape {
    pub(in crate::topology) memory: Option<MemoryShape>,
    pub(in crate::topology) disk: Option<DiskShape>,
    pub(in crate::topology) redis: Option<RedisShape>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct MemoryShape {
    /// The most that entries may take.
    pub(in crate::topology) size: At<ByteSize>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct DiskShape {
    /// A folder of this instance's own.
    pub(in crate::topology) path: Connection,
    /// The store's page cache in memory.
    #[serde(default = "disk_cache")]
    pub(in crate::topology) cache_size: At<ByteSize>,
    /// The most that entries may take on disk; without it, the sweep of expired entries is the
    /// only bound.
    pub(in crate::topology) max_size: Option<At<ByteSize>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct RedisShape {
    /// An empty address means no Redis layer.
    pub(in crate::topology) server: RedisServerShape,
    #[serde(default = "redis_connect")]
    pub(in crate::topology) connect_timeout: At<Lasting>,
    /// What is not answered by then is a miss.
    #[serde(default = "redis_response")]
    pub(in crate::topology) response_timeout: At<Lasting>,
    #[serde(default)]
    pub(in crate::topology) breaker: BreakerShape,
    /// For so long after an instance was killed the others wait for its calls.
    #[serde(default = "lease_term")]
    pub(in crate::topology) lease_term: At<Lasting>,
    /// What every key of ours starts with.
    #[serde(default = "key_prefix")]
    pub(in crate::topology) key_prefix: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::topology) enum RedisServerShape {
    /// `redis://host:6379` or `rediss://user:password@host:6379`.
    Single(Connection),
    /// Some nodes of the cluster; the others are found through them.
    Cluster(Vec<Connection>),
}

/// A circuit breaker: after so many failures in a row, nothing is tried for a while.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::topology) struct BreakerShape {
    pub(in crate::topology) failures: At<u32>,
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

/// A provider's circuit breaker: after so many failures within 30 s, where they are at least half of the
/// calls, nothing is asked for a while.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::topology) struct ProviderBreakerShape {
    /// The least number of failed calls within 30 s that opens it.
    pub(in crate::topology) failures: At<u32>,
    /// How long nothing is asked; two calls at a time then find out whether the provider is back.
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
    /// OpenAI-compatible chat completions.
    Openai(HttpProviderShape),
    /// Anthropic messages.
    Anthropic(HttpProviderShape),
    /// Built in, for demos and tests; its answers say `simulated`.
    Simulator(SimulatorShape),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct HttpProviderShape {
    /// Up to and with the version: `https://api.openai.com/v1`.
    pub(in crate::topology) base_url: Connection,
    pub(in crate::topology) api_key: Option<Connection>,
    pub(in crate::topology) model: At<String>,
    #[serde(default = "ai_connect")]
    pub(in crate::topology) connect_timeout: At<Lasting>,
    /// Until the reply's first byte.
    #[serde(default = "ai_first_byte")]
    pub(in crate::topology) first_byte_timeout: At<Lasting>,
    /// For one attempt as a whole.
    #[serde(default = "ai_total")]
    pub(in crate::topology) total_timeout: At<Lasting>,
    #[serde(default)]
    pub(in crate::topology) retry: RetryShape,
    /// Calls at one time, from this instance.
    #[serde(default = "concurrency")]
    pub(in crate::topology) concurrency: At<u32>,
    #[serde(default)]
    pub(in crate::topology) breaker: ProviderBreakerShape,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::topology) struct RetryShape {
    /// Attempts after the first.
    pub(in crate::topology) attempts: At<u32>,
    /// The longest first wait; it doubles with every attempt, and the wait is drawn at random
    /// below it.
    pub(in crate::topology) base_delay: At<Lasting>,
    pub(in crate::topology) max_delay: Lasting,
    /// Retries as a share of all calls: beyond it, failures are not retried.
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
    pub(in crate::topology) model: String,
    /// The same seed gives the same answers, delays and errors.
    pub(in crate::topology) seed: u64,
    pub(in crate::topology) latency: LatencyShape,
    pub(in crate::topology) errors: ErrorRatesShape,
    /// How many vendors an answer refers to, at most.
    pub(in crate::topology) vendors_per_answer: u32,
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

/// Delays are drawn between the two.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::topology) struct LatencyShape {
    pub(in crate::topology) min: At<Lasting>,
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

/// Shares of all calls, from 0 to 1.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::topology) struct ErrorRatesShape {
    /// Told to wait (429).
    pub(in crate::topology) rate_limited: At<f64>,
    /// The provider fails (500).
    pub(in crate::topology) server_error: At<f64>,
    /// No reply in time.
    pub(in crate::topology) timeout: At<f64>,
    /// The model refuses to answer.
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
    /// The day on which these prices were looked up.
    pub(in crate::topology) date: At<String>,
    /// US dollars per million tokens, by model.
    pub(in crate::topology) models: Named<PriceShape>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct PriceShape {
    pub(in crate::topology) input: At<f64>,
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
