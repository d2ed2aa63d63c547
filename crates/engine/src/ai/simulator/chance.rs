//! The randomness of the simulator: the duration of a call and whether it fails.

use std::time::Duration;

use crate::ai::error::{CallPhase, ProviderError};

/// The behaviour of the simulated provider; may be changed while it runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Behaviour {
    pub latency: Latency,
    pub faults: Faults,
}

/// The duration of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Latency {
    Fixed(Duration),
    /// Log-normal, as response times of real models are: half of the calls are faster than
    /// `median`; `sigma` 0.4 gives a p99 of about 2.5 medians. No call takes longer than `max`.
    LogNormal {
        median: Duration,
        sigma: f64,
        max: Duration,
    },
}

impl Default for Latency {
    fn default() -> Self {
        Self::Fixed(Duration::ZERO)
    }
}

/// The share of calls that fail in each way, each 0 to 1. If they add up to more than 1, the later
/// ones get less than their share.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    /// The share of replies 503.
    pub unavailable: f64,
    /// The share without a reply in time; such a call may have been charged for.
    pub timed_out: f64,
    /// The share of replies 429 with a `Retry-After` of a second.
    pub rate_limited: f64,
    /// The share of replies 429 for an empty account.
    pub out_of_funds: f64,
    pub refused: f64,
    pub truncated: f64,
    pub empty: f64,
}

impl Faults {
    /// Returns the faults of a provider that is away: each call fails.
    pub fn down() -> Self {
        Self {
            unavailable: 1.0,
            ..Self::default()
        }
    }

    /// Draws the failure of a call that takes so long, if it fails.
    pub(super) fn draw(&self, latency: Duration, rng: &mut fastrand::Rng) -> Option<ProviderError> {
        let mut rest = rng.f64();
        let mut falls = |rate: f64| {
            let hit = rest < rate;
            rest -= rate;
            hit
        };
        let message = || "simulated".to_owned();
        if falls(self.unavailable) {
            let message = message();
            return Some(ProviderError::Unavailable {
                status: 503,
                message,
                retry_after: None,
            });
        }
        if falls(self.timed_out) {
            return Some(ProviderError::Timeout {
                phase: CallPhase::Total,
                after: latency,
            });
        }
        if falls(self.rate_limited) {
            let retry_after = Some(Duration::from_secs(1));
            return Some(ProviderError::RateLimited {
                message: message(),
                retry_after,
            });
        }
        if falls(self.out_of_funds) {
            return Some(ProviderError::OutOfFunds {
                status: 429,
                message: message(),
            });
        }
        if falls(self.refused) {
            return Some(ProviderError::Refused { message: message() });
        }
        if falls(self.truncated) {
            return Some(ProviderError::Truncated {
                completion_tokens: 0,
                why: message(),
            });
        }
        falls(self.empty).then_some(ProviderError::Empty)
    }
}

impl Latency {
    pub(super) fn draw(&self, rng: &mut fastrand::Rng) -> Duration {
        match self {
            Self::Fixed(latency) => *latency,
            Self::LogNormal { median, sigma, max } => {
                let secs = median.as_secs_f64() * (sigma * normal(rng)).exp();
                Duration::try_from_secs_f64(secs).unwrap_or(*max).min(*max)
            }
        }
    }
}

/// Draws from the standard normal distribution, by Box and Muller.
fn normal(rng: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// Returns true for failures that a real provider charges for: it did write something.
pub(super) fn is_charged(error: &ProviderError) -> bool {
    matches!(
        error,
        ProviderError::Refused { .. } | ProviderError::Truncated { .. } | ProviderError::Empty
    )
}

/// Returns a generator that draws the same numbers for the same seed, prompt and call number.
pub(super) fn rng(seed: u64, digest: u64, call: Option<u64>) -> fastrand::Rng {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&seed.to_le_bytes())
        .update(&digest.to_le_bytes());
    if let Some(call) = call {
        hasher.update(&call.to_le_bytes());
    }
    let hash = hasher.finalize();
    let seed = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
    fastrand::Rng::with_seed(u64::from_le_bytes(*seed))
}
