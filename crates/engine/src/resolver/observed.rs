//! The resolver's events for observers.

use std::sync::Arc;

use wedcache_model::{Entry, LayerName, Timestamp, key};

use super::{Ask, Resolver};
use crate::ai::AiOutcome;
use crate::cache::{FillOutcome, LookupOutcome};
use crate::observe::{
    Asked, Attempted, Called, Filled, LookedUp, LookupResult, Observer as _, Overtaken, Querying,
    Stored,
};

impl<S> Ask<S> {
    /// Returns the query as events name it.
    pub fn asked(&self) -> Asked<'_> {
        Asked {
            answer_id: self.answer_id,
            cache_type: &self.prepared.cache_type.name,
            location: &self.prepared.place,
            season: key::season(&self.policy.catalog, &self.query),
            budget: key::budget(&self.query),
            trace: self.trace,
        }
    }
}

impl<S: AsRef<str>> Ask<S> {
    /// Returns the query with the ids of the couple.
    pub fn querying(&self) -> Querying<'_> {
        let wedding_id = self.query.wedding_context.wedding_id.as_ref();
        Querying {
            prepared: &self.prepared,
            options: &self.query.options,
            wedding_id: wedding_id.map(AsRef::as_ref),
            arrived_at: self.arrived_at,
            arrival: self.arrival,
        }
    }
}

impl Resolver {
    pub(super) fn looked_up(&self, outcomes: &[(LayerName, LookupOutcome)]) {
        for &(layer, ref outcome) in outcomes {
            let result = match outcome {
                LookupOutcome::Hit => LookupResult::Hit,
                LookupOutcome::Miss => LookupResult::Miss,
                LookupOutcome::Refused => LookupResult::Refused,
                LookupOutcome::Unavailable(_) => LookupResult::Unavailable,
            };
            self.parts.observer.looked_up(&LookedUp { layer, result });
        }
    }

    /// Tells the calls of a flight that began at `called_at`, and what came of them.
    pub(super) fn called(
        &self,
        ask: &Ask,
        called_at: Timestamp,
        (provider, outcome): (&str, &AiOutcome),
    ) {
        let observer = &self.parts.observer;
        for (number, call) in outcome.calls.iter().enumerate() {
            observer.called(&Called {
                asked: ask.asked(),
                provider,
                model: &call.model,
                flight: (called_at, number),
                prompt_tokens: call.prompt_tokens,
                completion_tokens: call.completion_tokens,
                cost_usd: call.cost_usd,
                simulated: call.simulated,
                took: call.elapsed,
                at: self.parts.clock.now(),
            });
        }
        observer.attempted(&Attempted {
            provider,
            result: match &outcome.result {
                Ok(_) => "ok",
                Err(error) => error.code(),
            },
            requests: outcome.attempts,
        });
    }

    pub(super) fn filled(&self, ask: &Ask, entry: &Arc<Entry>, filled: &FillOutcome) {
        let all = |layers: &[LayerName], stored| -> Vec<_> {
            layers.iter().map(|layer| (*layer, stored)).collect()
        };
        let failed = filled.errors.iter().map(|(layer, _)| *layer);
        let layers = [
            all(&filled.pending, Stored::Pending),
            all(&filled.stored_in, Stored::Stored),
            all(&filled.kept_newer_in, Stored::KeptNewer),
            all(&failed.collect::<Vec<_>>(), Stored::Unavailable),
        ]
        .concat();
        self.parts.observer.filled(&Filled {
            asked: ask.asked(),
            entry,
            layers: &layers,
            at: self.parts.clock.now(),
        });
    }

    pub(super) fn fill_overtaken(&self, ask: &Ask, entry: &Arc<Entry>) {
        self.parts.observer.overtaken(&Overtaken {
            asked: ask.asked(),
            entry,
        });
    }
}
