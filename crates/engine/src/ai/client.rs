//! The client that the resolver holds: one provider, with retries under a budget, a circuit breaker
//! and a bounded number of concurrent calls; further calls wait in a queue, first in, first out.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use wedcache_model::backoff::{Backoff, Policy};

use super::breaker::{Admission, Breaker, BreakerOptions};
use super::budget::{BudgetOptions, RetryBudget};
use super::deadline::Until;
use super::error::{ProviderError, ProviderHealth};
use super::provider::{Attempt, Completion, PricedCall, Prompt, Provider};
use super::troubles::{Notice, Site, Troubles};
use crate::circuit::CircuitState;

/// The limits for calls to a provider.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AiOptions {
    /// The most calls in flight; at least 1.
    pub max_concurrent: usize,
    /// The most retries of one prompt; each also needs a token from the budget.
    pub max_retries: u32,
    pub backoff: Policy,
    /// The longest `Retry-After` that is waited for; a longer one fails the prompt at once, even if
    /// somebody waits.
    pub max_retry_wait: Duration,
    pub budget: BudgetOptions,
    pub breaker: BreakerOptions,
}

impl Default for AiOptions {
    fn default() -> Self {
        Self {
            max_concurrent: 64,
            max_retries: 3,
            backoff: Policy::new(Duration::from_millis(250), Duration::from_secs(8)),
            max_retry_wait: Duration::from_mins(1),
            budget: BudgetOptions::default(),
            breaker: BreakerOptions::default(),
        }
    }
}

/// The result of a prompt, with every priced call made for it: unusable replies cost money too.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct AiOutcome {
    pub result: Result<Completion, ProviderError>,
    /// The calls in the order in which they were made; the usable one, if any, is the last.
    pub calls: Vec<PricedCall>,
    /// The number of requests that were sent.
    pub attempts: u32,
}

/// The current activity of the client, for gauges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AiStatus {
    pub breaker: CircuitState,
    pub running: usize,
    pub waiting: usize,
    pub retries_left: u64,
}

/// One provider with its limits. Share it by `Arc`.
pub struct Ai {
    provider: Arc<dyn Provider>,
    options: AiOptions,
    permits: Semaphore,
    waiting: AtomicUsize,
    budget: Mutex<RetryBudget>,
    breaker: Mutex<Breaker>,
    troubles: Mutex<Troubles>,
}

impl Ai {
    pub fn new(provider: Arc<dyn Provider>, options: AiOptions) -> Self {
        let options = AiOptions {
            max_concurrent: options.max_concurrent.max(1),
            ..options
        };
        Self {
            provider,
            permits: Semaphore::new(options.max_concurrent.min(Semaphore::MAX_PERMITS)),
            waiting: AtomicUsize::new(0),
            budget: Mutex::new(RetryBudget::new(options.budget)),
            breaker: Mutex::new(Breaker::new(options.breaker, Instant::now())),
            troubles: Mutex::default(),
            options,
        }
    }

    /// Sets the site that [`Ai::notices`] name.
    pub fn at(self, site: Site) -> Self {
        Self {
            troubles: Mutex::new(Troubles::new(site)),
            ..self
        }
    }

    pub fn provider_name(&self) -> &str {
        self.provider.name()
    }

    /// Asks until there is an answer, an error that a retry cannot cure, or nobody waits any
    /// longer. `until` bounds the waiting for a turn and the retries; it never aborts a request
    /// that was sent, since its answer is paid for and will be stored. While the question waits for
    /// its turn, [`Until::in_line`] is true.
    ///
    /// Not cancel safe where money counts: dropping the future loses a reply that may have been
    /// charged for. Run it in a separate task.
    pub async fn complete(&self, prompt: &Prompt, until: &Until) -> AiOutcome {
        lock(&self.budget).call();
        let mut backoff = Backoff::new(self.options.backoff);
        let mut outcome = AiOutcome {
            result: Err(ProviderError::DeadlinePassed),
            calls: Vec::new(),
            attempts: 0,
        };
        loop {
            let turn = match self.turn(until).await {
                Ok(turn) => turn,
                Err(error) => {
                    if matches!(error, ProviderError::CircuitOpen { .. }) {
                        lock(&self.troubles).suspended(Instant::now());
                    }
                    // The provider's own error is more informative than our refusal to ask again.
                    if outcome.attempts == 0 {
                        outcome.result = Err(error);
                    }
                    return outcome;
                }
            };
            let Attempt { result, call } = self.provider.attempt(prompt).await;
            turn.finish(
                result
                    .as_ref()
                    .err()
                    .map_or(ProviderHealth::Good, ProviderError::health),
            );
            lock(&self.troubles).attempt(result.as_ref().err(), Instant::now());
            outcome.attempts += 1;
            outcome.calls.extend(call);
            let delay = result
                .as_ref()
                .err()
                .and_then(|error| self.retry_delay(error, outcome.attempts, until, &mut backoff));
            outcome.result = result;
            let Some(delay) = delay else { return outcome };
            tokio::time::sleep(delay).await;
        }
    }

    /// Returns true if the circuit would refuse a call now.
    pub fn refuses(&self) -> bool {
        lock(&self.breaker).refuses(Instant::now()).is_some()
    }

    /// Returns the notices that are due about a provider that does not answer; each is returned
    /// once.
    pub fn notices(&self) -> Vec<Notice> {
        lock(&self.troubles).notices(Instant::now())
    }

    pub fn status(&self) -> AiStatus {
        AiStatus {
            breaker: lock(&self.breaker).state(Instant::now()),
            running: self
                .options
                .max_concurrent
                .saturating_sub(self.permits.available_permits()),
            waiting: self.waiting.load(Ordering::Relaxed),
            retries_left: lock(&self.budget).left(),
        }
    }

    /// Returns the time to wait before asking again; `None` if a retry is useless, nobody would
    /// still wait for its answer, or the budget is spent.
    fn retry_delay(
        &self,
        error: &ProviderError,
        attempts: u32,
        until: &Until,
        backoff: &mut Backoff,
    ) -> Option<Duration> {
        if !error.asked_again() || attempts > self.options.max_retries {
            return None;
        }
        let least = error.retry_after().unwrap_or_default();
        // Added to the least wait, so that callers with the same `Retry-After` do not return
        // together.
        let delay = least.saturating_add(backoff.next_delay());
        if least > self.options.max_retry_wait || until.reached(Instant::now() + delay) {
            return None;
        }
        lock(&self.budget).retry().then_some(delay)
    }

    /// Waits for the right to send one request. Cancel safe.
    async fn turn(&self, until: &Until) -> Result<Turn<'_>, ProviderError> {
        if until.reached(Instant::now()) {
            return Err(ProviderError::DeadlinePassed);
        }
        // Checked before queueing, so that nobody waits only to be refused by an open circuit.
        if let Some(retry_after) = lock(&self.breaker).refuses(Instant::now()) {
            return Err(ProviderError::CircuitOpen { retry_after });
        }
        let permit = match self.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => self.wait_in_line(until).await?,
        };
        match lock(&self.breaker).admit(Instant::now()) {
            Ok(admission) => Ok(Turn {
                ai: self,
                admission,
                learnt: ProviderHealth::Unknown,
                permit,
            }),
            Err(retry_after) => Err(ProviderError::CircuitOpen { retry_after }),
        }
    }

    /// Waits in the queue for a permit. The queue has no bound of its own: the caller that admits
    /// questions bounds how many wait.
    async fn wait_in_line(&self, until: &Until) -> Result<SemaphorePermit<'_>, ProviderError> {
        let _place = Place::take(&self.waiting);
        let _in_line = until.stand_in_line();
        tokio::select! {
            permit = self.permits.acquire() => Ok(permit.expect("the semaphore is never closed")),
            () = until.passed() => Err(ProviderError::DeadlinePassed),
        }
    }

    fn learn(&self, admission: &Admission, health: ProviderHealth) {
        let now = Instant::now();
        let mut breaker = lock(&self.breaker);
        let before = breaker.state(now);
        breaker.finish(admission, health, now);
        let after = breaker.state(now);
        // Unlocked before logging: all callers need this lock.
        drop(breaker);
        if after == before {
            return;
        }
        let (provider, state) = (self.provider.name(), after.as_str());
        // The troubles report the reason, the duration and the end of the failures.
        if (before, after) == (CircuitState::Closed, CircuitState::Open) {
            tracing::warn!(
                provider,
                state,
                "too many failures: calls to the AI provider suspended"
            );
        } else {
            tracing::debug!(provider, state, "the AI provider's circuit");
        }
    }
}

/// The right to send one request. Dropped without `finish`, it counts neither as good nor as bad.
struct Turn<'a> {
    ai: &'a Ai,
    admission: Admission,
    learnt: ProviderHealth,
    #[expect(dead_code, reason = "held until the request is over")]
    permit: SemaphorePermit<'a>,
}

impl Turn<'_> {
    fn finish(mut self, health: ProviderHealth) {
        self.learnt = health;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.ai.learn(&self.admission, self.learnt);
    }
}

/// A place in the queue, released when dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(line: &'a AtomicUsize) -> Self {
        line.fetch_add(1, Ordering::Relaxed);
        Self(line)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Locks a mutex. Nothing that can panic runs under these locks, so a poisoned one holds consistent
/// data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

#[cfg(test)]
mod tests;
