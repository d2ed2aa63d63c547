//! The policy in force, which another replaces while the program runs.
//!
//! Every query, change and fill reads it once and keeps that one to its end, so that no answer is a
//! mixture of two.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use wedcache_rules::invalidation::TagTable;
use wedcache_rules::topology::Policy;

use crate::metrics::Metrics;

/// The time beyond the longest life of an entry for which the tag table keeps tags.
const KEEP_LONGER: Duration = Duration::from_hours(1);

/// One policy at a time, read without a lock.
#[derive(Debug)]
pub struct PolicyInForce {
    policy: ArcSwap<Policy>,
    replaced: watch::Sender<()>,
}

impl PolicyInForce {
    pub fn new(policy: Policy) -> Self {
        Self {
            policy: ArcSwap::from_pointee(policy),
            replaced: watch::Sender::new(()),
        }
    }

    /// Returns the policy for one query, change or fill.
    #[inline]
    pub fn get(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Returns a receiver that sees each replacement.
    pub fn replacements(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }

    /// Brings a policy into force for whatever begins from now on. [`Policies::replace`] prepares
    /// what depends on it.
    pub fn replace(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
        self.replaced.send_replace(());
    }
}

/// Returns the time for which a tag table must keep tags under a policy.
pub fn keep(policy: &Policy) -> Duration {
    policy.catalog.longest_life() + KEEP_LONGER
}

/// Replaces the policy of a running instance.
#[derive(Clone)]
pub struct Policies {
    pub in_force: Arc<PolicyInForce>,
    pub table: Arc<TagTable>,
    pub metrics: Arc<Metrics>,
}

impl Policies {
    /// Brings a policy into force for whatever begins from now on.
    pub fn replace(&self, policy: Policy) {
        // Before the first entry that lives longer, and the first answer of a new cache type.
        self.table.keep_for(keep(&policy));
        let types = policy.catalog.types().iter();
        self.metrics
            .follow_types(types.map(|of| Arc::clone(&of.name)));
        let rules: Vec<&str> = policy.rules.iter().map(|rule| &*rule.name).collect();
        self.metrics.show_rules(&rules);
        self.in_force.replace(policy);
    }
}

#[cfg(any(test, feature = "testing"))]
impl PolicyInForce {
    /// Returns a policy without rules and providers.
    pub fn sample(catalog: wedcache_model::Catalog) -> Self {
        Self::with_rules(catalog, &[])
    }

    /// Returns a policy whose one rule has a scope that no record key names, so that an unreadable
    /// change refreshes whole types.
    pub fn widening_types() -> Self {
        use wedcache_rules::invalidation::rule::{RuleSpec, Scope, Selection};
        let nearby = RuleSpec {
            name: "nearby".into(),
            on: "vendor.*".into(),
            cache_types: Selection::All,
            scope: Scope::Location,
            mode: wedcache_model::Mode::Purge,
            condition: None,
            active: true,
        };
        Self::with_rules(wedcache_model::catalog::sample::catalog(), &[nearby])
    }

    pub fn with_rules(
        catalog: wedcache_model::Catalog,
        rules: &[wedcache_rules::invalidation::rule::RuleSpec],
    ) -> Self {
        use wedcache_rules::invalidation::rule::Rules;
        use wedcache_rules::topology::settings::{Freshness, LagAction, LagBound};
        let lag = LagBound {
            bound: Duration::from_secs(10),
            then: LagAction::Stale,
        };
        Self::new(Policy {
            version: "1".to_owned(),
            rules: Arc::new(Rules::compile(rules, &catalog).expect("rules of tests are right")),
            catalog: Arc::new(catalog),
            generation: std::collections::BTreeMap::new(),
            vendors: std::collections::BTreeMap::new(),
            capacity_factors: [1.0; 12],
            prices: Arc::default(),
            freshness: Freshness {
                max_invalidation_lag: lag,
                max_rules_lag: lag,
                widen_refresh_interval: Duration::from_mins(5),
            },
        })
    }
}
