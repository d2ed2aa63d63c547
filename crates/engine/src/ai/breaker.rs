//! A circuit breaker: stops calling a provider that fails, and probes carefully whether it works
//! again.
//!
//! It weighs the failures of a window, since providers fail one call in a few even when they work; a
//! cache layer's breaker counts failures in a row, and costs its callers two atomic operations.
//!
//! Pure: time comes in as a parameter, and [`super::Ai`] keeps the breaker behind a briefly held
//! lock.

use std::time::Duration;

use tokio::time::Instant;

use super::error::ProviderHealth;
use crate::circuit::CircuitState;

/// The conditions under which the circuit opens and closes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerOptions {
    /// Failures older than this are forgotten.
    pub window: Duration,
    /// The least number of failures within the window that opens the circuit.
    pub min_failures: u32,
    /// The share of failures within the window that opens the circuit; above 0, at most 1.
    pub failure_ratio: f64,
    /// Time for which an open circuit stays open.
    pub open_for: Duration,
    /// The number of calls that a half-open circuit admits at once, and of successes that close it.
    pub probes: u32,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            min_failures: 5,
            failure_ratio: 0.5,
            open_for: Duration::from_secs(10),
            probes: 2,
        }
    }
}

/// The right to make one call. It must be returned with [`Breaker::finish`], even if the call was
/// given up.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Admission {
    /// The number of the state that admitted the call; after a change of state the result is
    /// ignored.
    era: u64,
}

/// The number of slices that make up the window; a slice is forgotten as a whole.
const SLICES: u32 = 10;

#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    /// The number of this slice of time, counted from the creation of the breaker.
    number: u64,
    good: u32,
    bad: u32,
}

#[derive(Debug)]
enum State {
    Closed { slices: [Slice; SLICES as usize] },
    Open { until: Instant },
    HalfOpen { running: u32, good: u32 },
}

#[derive(Debug)]
pub struct Breaker {
    options: BreakerOptions,
    made: Instant,
    state: State,
    /// The number of changes of state so far.
    era: u64,
}

impl Breaker {
    /// Creates a closed breaker. Zeros in the options are raised to the least useful value.
    pub fn new(options: BreakerOptions, now: Instant) -> Self {
        let options = BreakerOptions {
            window: options.window.max(Duration::from_millis(u64::from(SLICES))),
            min_failures: options.min_failures.max(1),
            probes: options.probes.max(1),
            ..options
        };
        Self {
            options,
            made: now,
            state: closed(),
            era: 0,
        }
    }

    /// Admits a call, or returns the time for which the circuit stays open. Zero means that all
    /// probes are in flight.
    pub fn admit(&mut self, now: Instant) -> Result<Admission, Duration> {
        if let State::Open { until } = self.state {
            if now < until {
                return Err(until - now);
            }
            self.enter(State::HalfOpen {
                running: 0,
                good: 0,
            });
        }
        if let State::HalfOpen { running, .. } = &mut self.state {
            if *running >= self.options.probes {
                return Err(Duration::ZERO);
            }
            *running += 1;
        }
        Ok(Admission { era: self.era })
    }

    /// Returns the time that [`Breaker::admit`] would refuse with now; takes no admission.
    pub fn refuses(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Open { until } if now < until => Some(until - now),
            State::HalfOpen { running, .. } if running >= self.options.probes => {
                Some(Duration::ZERO)
            }
            _ => None,
        }
    }

    /// Takes back an admission and records what its call showed about the provider's health.
    pub fn finish(&mut self, admission: &Admission, health: ProviderHealth, now: Instant) {
        if admission.era != self.era {
            return;
        }
        let slice = self.slice(now);
        match (&mut self.state, health) {
            (State::Closed { .. }, ProviderHealth::Unknown) | (State::Open { .. }, _) => {}
            (State::Closed { slices }, health) => {
                count(slices, slice, health);
                if self.too_many_failures(slice) {
                    self.open(now);
                }
            }
            (State::HalfOpen { .. }, ProviderHealth::Bad) => self.open(now),
            (State::HalfOpen { running, good }, health) => {
                *running -= 1;
                *good += u32::from(health == ProviderHealth::Good);
                if *good >= self.options.probes {
                    self.enter(closed());
                }
            }
        }
    }

    /// Returns the state. An open circuit whose time is up counts as half-open: the next call is a
    /// probe.
    pub fn state(&self, now: Instant) -> CircuitState {
        match self.state {
            State::Closed { .. } => CircuitState::Closed,
            State::Open { until } if now < until => CircuitState::Open,
            State::Open { .. } | State::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }

    fn too_many_failures(&self, now: u64) -> bool {
        let State::Closed { slices } = &self.state else {
            return false;
        };
        let recent = slices
            .iter()
            .filter(|slice| slice.number + u64::from(SLICES) > now);
        let (good, bad) = recent.fold((0, 0), |(good, bad), slice| {
            (good + slice.good, bad + slice.bad)
        });
        let calls = good + bad;
        bad >= self.options.min_failures
            && f64::from(bad) >= self.options.failure_ratio * f64::from(calls)
    }

    fn slice(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.made);
        let length = self.options.window / SLICES;
        u64::try_from(since.as_nanos() / length.as_nanos()).unwrap_or(u64::MAX)
    }

    fn open(&mut self, now: Instant) {
        self.enter(State::Open {
            until: now + self.options.open_for,
        });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.era += 1;
    }
}

fn closed() -> State {
    State::Closed {
        slices: [Slice::default(); SLICES as usize],
    }
}

fn count(slices: &mut [Slice; SLICES as usize], number: u64, health: ProviderHealth) {
    let index = usize::try_from(number % u64::from(SLICES)).expect("less than SLICES");
    let slice = &mut slices[index];
    if slice.number != number {
        *slice = Slice {
            number,
            ..Slice::default()
        };
    }
    match health {
        ProviderHealth::Good => slice.good = slice.good.saturating_add(1),
        ProviderHealth::Bad => slice.bad = slice.bad.saturating_add(1),
        ProviderHealth::Unknown => {}
    }
}

#[cfg(test)]
mod tests;
