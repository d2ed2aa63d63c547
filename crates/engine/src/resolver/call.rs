//! The work of a flight's leader: the lease, the call, the fill, the result for the waiters.

use std::sync::Arc;

use wedcache_model::catalog::TtlInput;
use wedcache_model::entry::{Extensions, Header};
use wedcache_model::failpoint;
use wedcache_model::{AnswerError, CacheType, Entry, Tag, TagHash};
use wedcache_rules::invalidation::Validity;

use super::flight;
use super::lease::Permission;
use super::prompt::prompt_of;
use super::{Ask, Resolver};
use crate::ai::{Ai, Completion};

/// The result of a flight: an answer, stored or not, or the reason why there is none.
pub(super) type FlightResult = Result<FlightAnswer, Arc<FlightError>>;

pub(super) type Flight = flight::Flight<FlightResult>;
pub(super) type Leader = flight::Leader<FlightResult>;

/// The answer that a flight has brought.
#[derive(Debug, Clone)]
pub(super) enum FlightAnswer {
    /// The answer of the flight's own call.
    Called {
        entry: Arc<Entry>,
        /// True if the entry's tags name every vendor that the answer refers to; if not, nobody but
        /// the leader may have the answer.
        tags_complete: bool,
    },
    /// The answer of another instance's call, which may be older than the flight.
    Elsewhere(Arc<Entry>),
}

/// The reason why a flight has brought no answer.
#[derive(Debug)]
pub(super) struct FlightError {
    pub(super) error: AnswerError,
    /// True if the provider is away or in trouble; false if it did reply, but with a refusal or
    /// with no usable answer to this question.
    pub(super) provider_away: bool,
}

impl Resolver {
    /// Calls the provider, unless another instance does, and gives the waiters the result. Runs to
    /// its end even if nobody waits any more.
    pub(super) async fn lead(&self, leader: Leader, ask: &Ask, known: &[TagHash]) {
        match self.permission(&leader.flight, ask, known).await {
            // Without a result the waiters look up again, and find what is stored.
            Permission::NotNeeded => drop(leader),
            Permission::Elsewhere(entry) => leader.finish(Ok(FlightAnswer::Elsewhere(entry))),
            Permission::Unleased => {
                let _counted = self.unleased.token();
                self.call_and_finish(leader, ask).await;
            }
            Permission::Leased(lease) => {
                let settled = lease.kept_while(self.call_and_finish(leader, ask)).await;
                // While a write of the answer is in progress the lease is left to its term: the
                // next instance to claim might not find the answer yet.
                if settled {
                    lease.end().await;
                }
            }
        }
    }

    /// Calls the provider, stores the answer and gives it to the waiters. Returns true if no write
    /// of the answer is still in progress.
    async fn call_and_finish(&self, leader: Leader, ask: &Ask) -> bool {
        failpoint::pass("before-call");
        let flight = &leader.flight;
        let mut settled = true;
        let result = match self.call(flight, ask).await {
            Ok(completion) => {
                failpoint::pass("replied");
                let (entry, tags_complete) = self.entry(flight, ask, &completion);
                if ask.stores() && tags_complete {
                    let _in_line = flight.until.stand_in_line();
                    settled = self.fill(ask, &entry).await;
                    failpoint::pass("fill-stored");
                }
                Ok(FlightAnswer::Called {
                    entry,
                    tags_complete,
                })
            }
            Err(failure) => Err(Arc::new(failure)),
        };
        // After the fill: nobody is answered from what a crash could still lose.
        leader.finish(result);
        settled
    }

    /// Returns the client that answers a query, and the longest answer in tokens.
    pub(super) fn model<S>(&self, ask: &Ask<S>) -> Option<(&Arc<Ai>, u32)> {
        let generation = ask.policy.generation.get(&ask.prepared.cache_type.name)?;
        let ai = self.parts.providers.get(&generation.provider)?;
        Some((ai, generation.max_tokens))
    }

    async fn call(&self, flight: &Flight, ask: &Ask) -> Result<Completion, FlightError> {
        let cache_type = &ask.prepared.cache_type.name;
        let Some((ai, max_tokens)) = self.model(ask) else {
            return Err(FlightError {
                error: AnswerError {
                    code: "no_provider".to_owned(),
                    message: format!("no provider answers {cache_type} on this instance"),
                    retryable: false,
                },
                provider_away: true,
            });
        };
        let outcome = ai
            .complete(&prompt_of(ask, max_tokens), &flight.until)
            .await;
        self.called(ask, flight.called_at, (ai.provider_name(), &outcome));
        outcome.result.map_err(|error| FlightError {
            error: error.to_answer_error(),
            provider_away: error.provider_away(),
        })
    }

    /// Makes the answer an entry; also returns true if the entry's tags name every vendor that the
    /// answer refers to.
    fn entry(&self, flight: &Flight, ask: &Ask, completion: &Completion) -> (Arc<Entry>, bool) {
        let prepared = &ask.prepared;
        let of = prepared.entry_tags(&ask.policy.catalog, &ask.query, &completion.text);
        let tags = of.tags;
        let now = self.parts.clock.now();
        let vendor_types = prepared.vendor_types(&ask.query);
        let vendor_types: Vec<&str> = vendor_types.iter().map(String::as_str).collect();
        let ttl = ask.policy.catalog.ttl(
            &TtlInput {
                cache_type: &prepared.cache_type,
                vendor_types: &vendor_types,
                wedding_date: ask.query.wedding_context.wedding_date,
                now,
            },
            fastrand::f64(),
        );
        let expires_at = now.plus(ttl);
        let keep = prepared
            .cache_type
            .stale_window
            .max(prepared.cache_type.stale_if_error);
        let entry = Entry {
            key: prepared.key.clone(),
            header: Header {
                log_id: flight.stamp.log_id(),
                stamp: flight.stamp.position(),
                called_at: flight.called_at,
                cached_at: now,
                expires_at,
                keep_until: expires_at.plus(keep),
                prompt_tokens: completion.prompt_tokens,
                completion_tokens: completion.completion_tokens,
                cost_usd: completion.cost_usd,
                simulated: completion.simulated,
                tag_hashes: tags.iter().map(Tag::hash).collect(),
                extensions: Extensions::default(),
            },
            tags: tags.into_iter().collect(),
            model: model_name(&prepared.cache_type, completion),
            data: completion.text.as_str().into(),
        };
        (Arc::new(entry), of.complete)
    }

    /// Stores the answer; returns when it is durable, or when no layer will make it durable. Returns
    /// true if no layer's write is still in progress.
    async fn fill(&self, ask: &Ask, entry: &Arc<Entry>) -> bool {
        let parts = &self.parts;
        // An answer that a purge has overtaken would never be served.
        if matches!(
            parts.table.judge(&entry.header, &[]),
            Validity::Purged | Validity::Void
        ) {
            self.fill_overtaken(ask, entry);
            return true;
        }
        let filled = parts.layers.fill(Arc::clone(entry)).await;
        if !filled.durable
            && parts.layers.has_durable()
            && let Some(more) = self.memory_only.pass()
        {
            tracing::warn!(
                cache_type = %ask.prepared.cache_type.name,
                more,
                "an answer is in memory only: no layer that survives a restart has taken it"
            );
        }
        self.filled(ask, entry, &filled);
        filled.pending.is_empty()
    }
}

/// Returns the name of the model that answered; the cache type's own text if it is that model, so that
/// all its entries share one.
fn model_name(of: &CacheType, completion: &Completion) -> Arc<str> {
    if *of.model == *completion.model {
        Arc::clone(&of.model)
    } else {
        completion.model.as_str().into()
    }
}
