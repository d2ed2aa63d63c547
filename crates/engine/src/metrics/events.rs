//! The counters and the histogram: counted from events.

use std::sync::Arc;

use wedcache_model::LayerName;

use super::declared::{
    ATTEMPTS, CONDITION_FAILURES, DEAD_LETTERS, FILLS, FILLS_OVERTAKEN, INVALIDATIONS, LEASES,
    LOOKUPS, PRICED_CALLS, RECORDS, REQUESTS, TOKENS, WIDENED,
};
use super::{Metrics, OUTCOMES, TypeCounters};
use crate::observe::{
    Answered, Attempted, Called, ConditionFailed, DeadLettered, Filled, Input, Invalidated, Leased,
    LookedUp, LookupResult, Observer, Overtaken, Taken, TakenAs, Widened,
};

impl Observer for Metrics {
    #[inline]
    fn taken(&self, event: &Taken) {
        match event {
            // On the hit path: the counter is at hand.
            Taken {
                input: Input::Queries,
                result: TakenAs::Event,
            } => self.query_events.inc(),
            Taken { input, result } => {
                self.count(RECORDS, &[input.as_str(), result.as_str()], 1);
            }
        }
    }

    #[inline]
    fn looked_up(&self, event: &LookedUp) {
        match (event.layer, event.result) {
            (LayerName::Memory, LookupResult::Hit) => self.memory_hits.inc(),
            (LayerName::Memory, LookupResult::Miss) => self.memory_misses.inc(),
            (layer, result) => self.count(LOOKUPS, &[layer.as_str(), result.as_str()], 1),
        }
    }

    fn answered(&self, event: &Answered<'_>) {
        let Some(at) = OUTCOMES.iter().position(|of| *of == event.operation) else {
            return;
        };
        self.query_seconds[at].observe(event.took.as_secs_f64());
        let cache_type = event.asked.cache_type;
        // All names come from the one catalogue, so the pointers are usually the same.
        let is_it = |of: &&TypeCounters| Arc::ptr_eq(&of.name, cache_type);
        let types = self.types.load();
        let of = types.iter().find(is_it);
        if let Some(of) = of.or_else(|| types.iter().find(|of| of.name == *cache_type)) {
            of.outcomes[at].inc();
            if event.answer.coalesced {
                of.coalesced.inc();
            }
            if let Some(saved) = event.answer.saved_usd.filter(|saved| *saved > 0.0) {
                of.saved.inc_by(saved);
            }
        }
    }

    fn leased(&self, event: &Leased) {
        self.count(LEASES, &[event.result.as_str()], 1);
    }

    fn attempted(&self, event: &Attempted<'_>) {
        self.count(ATTEMPTS, &[event.provider, event.result], 1);
        self.count(REQUESTS, &[event.provider], u64::from(event.requests));
    }

    fn called(&self, event: &Called<'_>) {
        let provider = event.provider;
        self.count(TOKENS, &[provider, "prompt"], event.prompt_tokens);
        self.count(TOKENS, &[provider, "completion"], event.completion_tokens);
        let known = if event.cost_usd.is_some() {
            "known"
        } else {
            "unknown"
        };
        self.count(PRICED_CALLS, &[provider, known], 1);
        if let Some(cost) = event.cost_usd {
            self.cost.with_label_values(&[provider]).inc_by(cost);
        }
    }

    fn filled(&self, event: &Filled<'_>) {
        for (layer, stored) in event.layers {
            self.count(FILLS, &[layer.as_str(), stored.as_str()], 1);
        }
    }

    fn overtaken(&self, _: &Overtaken<'_>) {
        self.count(FILLS_OVERTAKEN, &[], 1);
    }

    fn condition_failed(&self, event: &ConditionFailed<'_>) {
        self.count(CONDITION_FAILURES, &[event.rule], 1);
    }

    fn widened(&self, event: &Widened) {
        let labels = [event.input.as_str(), event.reach.as_str()];
        self.count(WIDENED, &labels, 1);
    }

    fn invalidated(&self, event: &Invalidated<'_>) {
        let record = event.record;
        self.count(INVALIDATIONS, &[&record.rule, record.mode.as_str()], 1);
    }

    fn dead_lettered(&self, event: &DeadLettered<'_>) {
        self.count(DEAD_LETTERS, &[event.input.as_str(), event.reason], 1);
    }
}
