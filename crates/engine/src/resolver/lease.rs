//! One call a key among all instances: before a flight's leader calls, it takes the key's lease.
//!
//! Within a process [`super::flight`] ensures that. A leader that finds another instance's claim
//! waits for the answer which that instance stores, unless its own query must not have that answer.
//! If leases are not available nothing waits: the leader calls, and no other instance sees it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use wedcache_model::{CacheKey, Entry, TagHash};

use super::call::Flight;
use super::{Ask, Resolver};
use crate::cache::{Claim, Claimed, LayerError, Leases};
use crate::observe::{LeaseResult, Leased, Observer as _};

/// The first and the longest pause between two looks at another instance's claim. A model takes
/// seconds.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));
/// The number of times that a lease is renewed within its term.
const RENEWALS: u32 = 3;

/// The permission of a leader to call the provider, or the reason why no call is needed.
pub(super) enum Permission<'a> {
    /// The leader calls, and no other instance does.
    Leased(Lease<'a>),
    /// The leader calls, but no other instance sees it.
    Unleased,
    /// No call: another instance's call, which the leader waited for, has brought this answer.
    Elsewhere(Arc<Entry>),
    /// No call: the answer is stored, or nobody waits for it any more.
    NotNeeded,
}

/// A lease that this instance holds.
pub(super) struct Lease<'a> {
    leases: &'a dyn Leases,
    key: &'a CacheKey,
    claim: Claim,
}

impl Resolver {
    /// Returns true if queries that wait for calls of this instance may be handed over to another
    /// instance: that one sees every call in progress, and waits for the answer instead of paying
    /// for it again.
    pub fn may_hand_over(&self) -> bool {
        let leases = self.parts.layers.leases();
        leases.is_some_and(Leases::available) && self.unleased.is_empty()
    }

    /// Waits until the flight's leader may call or needs no call.
    pub(super) async fn permission<'a>(
        &'a self,
        flight: &Flight,
        ask: &'a Ask,
        known: &[TagHash],
    ) -> Permission<'a> {
        // A query that does not read must make a call, and an answer that is not stored serves no
        // other instance.
        let shares = ask.reads() && ask.stores();
        let Some(leases) = self.parts.layers.leases().filter(|_| shares) else {
            return Permission::Unleased;
        };
        let lease = Lease {
            leases,
            key: &ask.prepared.key,
            claim: self.claim_of(flight),
        };
        let observe = |result| self.parts.observer.leased(&Leased { result });
        let (mut instead_of, mut pause, mut waited) = (None, PAUSES.0, false);
        loop {
            let claimed = match lease.claim(instead_of.as_ref()).await {
                Ok(Claimed::HeldBy(other)) if self.is_of_no_use(ask, &other, known) => {
                    instead_of = Some(other);
                    continue;
                }
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::debug!(%error, "no lease");
                    observe(LeaseResult::Unavailable);
                    return Permission::Unleased;
                }
            };
            // Looked up only after the claim: another instance's call may have ended between this
            // query's look-up and its claim.
            let stored = self.settled_in_slower_layers(ask).await;
            match (claimed, stored) {
                (Claimed::Ours, None) => {
                    observe(LeaseResult::Held);
                    return Permission::Leased(lease);
                }
                (claimed, Some(entry)) => {
                    if claimed == Claimed::Ours {
                        lease.end().await;
                    }
                    observe(LeaseResult::NotNeeded);
                    // An answer that was not waited for is a hit of those who look up again.
                    return if waited {
                        Permission::Elsewhere(entry)
                    } else {
                        Permission::NotNeeded
                    };
                }
                (Claimed::HeldBy(_), None) => {
                    waited = true;
                    // Half of the pause is random, so that many waiters do not come in step.
                    let wait = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
                    pause = (pause * 2).min(PAUSES.1);
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = flight.until.passed() => return Permission::NotNeeded,
                    }
                }
            }
        }
    }

    fn claim_of(&self, flight: &Flight) -> Claim {
        Claim {
            holder: self.parts.holder,
            log_id: flight.stamp.log_id(),
            stamp: flight.stamp.position(),
            called_at: flight.called_at,
            number: self.claims.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Returns true if the answer of the call that `other` claims would not do for this query, or
    /// will never come.
    fn is_of_no_use(&self, ask: &Ask, other: &Claim, known: &[TagHash]) -> bool {
        let (table, holder) = (&self.parts.table, self.parts.holder);
        // A claim of this instance is left over: its flight was not joined since it would not do,
        // or Redis did not receive its release. A claim of an earlier run has lost its holder.
        holder == other.holder
            || holder.succeeds(&other.holder)
            || !ask.accepts_age_of(other.called_at)
            // Changes since the arrival count too: the answer would not be kept as fresh.
            || table.hit_between(
                other.log_id,
                known,
                other.stamp,
                table.position().max(ask.arrival),
            )
    }
}

impl Lease<'_> {
    /// Runs `work` and renews the lease until the work is done.
    pub(super) async fn kept_while<T>(&self, work: impl Future<Output = T>) -> T {
        let every = self.leases.term() / RENEWALS;
        let renewals = async {
            loop {
                tokio::time::sleep(every).await;
                match self.claim(None).await {
                    Ok(Claimed::Ours) => {}
                    // The work goes on: its answer will still be kept if it is the newer one.
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

    /// Ends the lease, so that other instances may call; if Redis does not receive it, the lease
    /// ends with its term.
    pub(super) async fn end(&self) {
        if let Err(error) = self.leases.release(self.key, &self.claim).await {
            tracing::debug!(%error, "a lease was left to its term");
        }
    }

    async fn claim(&self, instead_of: Option<&Claim>) -> Result<Claimed, LayerError> {
        self.leases.claim(self.key, &self.claim, instead_of).await
    }
}
