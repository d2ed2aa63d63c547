//! Clearance: of all instances one calls the provider for a key.
//!
//! Within a process flights see to that; between processes a lease does. A flight that finds
//! another instance's claim waits for what that one stores, unless a change that this query came
//! after forbids it that answer. Where leases cannot be had nothing waits: the flight goes on,
//! unseen by the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::flight::Flight;
use super::{Ask, Landing, Resolver};
use crate::cache::{Claim, Claimed, Leases};
use crate::model::{CacheKey, Entry, TagHash};
use crate::observe::{LeaseResult, Leased, Observer as _};

/// Between two looks at what another instance calls for: the first pause, and the longest. A model
/// takes seconds.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));
/// So often a lease is renewed within its term.
const RENEWALS: u32 = 3;

/// How a flight goes on.
pub(super) enum Clearance<'a> {
    /// It is the only one for its key.
    Leased(Lease<'a>),
    /// It may fly, but no other instance knows.
    Unseen,
    /// Another instance's call, which this flight waited for, has brought this answer.
    Elsewhere(Arc<Entry>),
    /// The answer is stored, or nobody waits any more.
    NotNeeded,
}

/// A lease that is ours.
pub(super) struct Lease<'a> {
    leases: &'a dyn Leases,
    key: &'a CacheKey,
    claim: Claim,
}

impl Clearance<'_> {
    /// An answer that the flight waited for is its own; one that was there is the cache's.
    fn stored(entry: Arc<Entry>, waited: bool) -> Self {
        if waited {
            Self::Elsewhere(entry)
        } else {
            Self::NotNeeded
        }
    }
}

/// Counts claims and the calls that no other instance knows of.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    claims: AtomicU64,
    unseen: AtomicUsize,
}

/// One call that no other instance knows of.
pub(super) struct UnseenCall<'a>(&'a AtomicUsize);

impl Traffic {
    pub(super) fn begin_unseen(&self) -> UnseenCall<'_> {
        self.unseen.fetch_add(1, Ordering::AcqRel);
        UnseenCall(&self.unseen)
    }
}

impl Drop for UnseenCall<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Resolver {
    /// Whether queries that wait for calls of this instance may be given to another one: it knows
    /// of every call on its way, and waits for the answer rather than buy it too.
    pub fn may_hand_over(&self) -> bool {
        let leases = self.parts.layers.leases();
        leases.is_some_and(Leases::available) && self.traffic.unseen.load(Ordering::Acquire) == 0
    }

    pub(super) async fn clear<'a>(
        &'a self,
        flight: &Flight<Landing>,
        ask: &'a Ask,
    ) -> Clearance<'a> {
        // What is not looked up is to be called for, and what is not stored serves nobody else.
        let shares = ask.reads() && ask.stores();
        let Some(leases) = self.parts.layers.leases().filter(|_| shares) else {
            return Clearance::Unseen;
        };
        let lease = Lease {
            leases,
            key: &ask.prepared.key,
            claim: Claim {
                holder: self.parts.holder,
                log_id: flight.stamp.log_id(),
                stamp: flight.stamp.position(),
                called_at: flight.called_at,
                number: self.traffic.claims.fetch_add(1, Ordering::Relaxed),
            },
        };
        let known = self.known_tags(ask);
        let tell = |result| self.parts.observer.leased(&Leased { result });
        let (mut instead_of, mut pause, mut waited) = (None, PAUSES.0, false);
        loop {
            match leases
                .claim(lease.key, &lease.claim, instead_of.as_ref())
                .await
            {
                Err(error) => {
                    tracing::debug!(%error, "no lease");
                    tell(LeaseResult::Unavailable);
                    return Clearance::Unseen;
                }
                Ok(Claimed::Ours) => {
                    // Between this query's look-up and its claim another one may have ended.
                    let Some(entry) = self.stored(ask).await else {
                        tell(LeaseResult::Held);
                        return Clearance::Leased(lease);
                    };
                    lease.end().await;
                    tell(LeaseResult::NotNeeded);
                    return Clearance::stored(entry, waited);
                }
                Ok(Claimed::HeldBy(other)) if self.is_of_no_use(ask, &other, &known) => {
                    instead_of = Some(other);
                }
                Ok(Claimed::HeldBy(_)) => {
                    if let Some(entry) = self.stored(ask).await {
                        tell(LeaseResult::NotNeeded);
                        return Clearance::stored(entry, waited);
                    }
                    waited = true;
                    // Half of it by chance, so that many who wait do not come in step.
                    let wait = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = flight.until.passed() => return Clearance::NotNeeded,
                    }
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }

    /// What a slower layer has that serves this query without a call.
    async fn stored(&self, ask: &Ask) -> Option<Arc<Entry>> {
        let now = self.parts.clock.now();
        let good = |header: &_| self.judged(header, ask, now).needs_no_call();
        let layers = &self.parts.layers;
        let found = layers.get_slow(&ask.prepared.key, &good).await;
        found.hit.map(|hit| hit.entry)
    }

    /// Whether the answer that `other` stands for would not do for this query, or will never come.
    fn is_of_no_use(&self, ask: &Ask, other: &Claim, known: &[TagHash]) -> bool {
        let (table, holder) = (&self.parts.table, self.parts.holder);
        // Of our own flights none was good enough to be joined, or its release was not heard.
        holder == other.holder
            || holder.succeeds(&other.holder)
            || ask
                .oldest_call()
                .is_some_and(|oldest| other.called_at < oldest)
            // Also by changes since the arrival: such an answer would not be kept as fresh.
            || table.hit_between(
                other.log_id,
                known,
                other.stamp,
                table.position().max(ask.arrival),
            )
    }
}

impl Lease<'_> {
    /// Does the work, and renews the lease until it is done.
    pub(super) async fn kept_while<T>(&self, work: impl Future<Output = T>) -> T {
        let every = self.leases.term() / RENEWALS;
        let renewals = async {
            loop {
                tokio::time::sleep(every).await;
                match self.leases.claim(self.key, &self.claim, None).await {
                    Ok(Claimed::Ours) => {}
                    // Our answer will be kept all the same, if it is the newer one.
                    Ok(Claimed::HeldBy(_)) => return,
                    Err(error) => tracing::debug!(%error, "a lease could not be renewed"),
                }
            }
        };
        let mut work = std::pin::pin!(work);
        tokio::select! {
            done = &mut work => done,
            () = renewals => work.await,
        }
    }

    /// Others may call now. Where Redis does not hear it the term ends it.
    pub(super) async fn end(&self) {
        if let Err(error) = self.leases.release(self.key, &self.claim).await {
            tracing::debug!(%error, "a lease was left to its term");
        }
    }
}
