//! Counters that are shown from the start: a rate over a counter that appears with its first event
//! misses that event.

use wedcache_model::{LayerName, Mode};

use super::declared::{
    ATTEMPTS, CONDITION_FAILURES, DEAD_LETTERS, FILLS, FILLS_OVERTAKEN, INTAKE_LATE,
    INTAKE_REBALANCES, INVALIDATIONS, LEASES, LOOKUPS, OUTPUT_DROPPED, OUTPUT_FAILURES,
    POLICY_READINGS, PRICED_CALLS, RECORDS, REQUESTS, TOKENS, TOPICS_RECREATED, WIDENED,
};
use super::{Declared, Metrics};

/// The label values that are known before anything has happened.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The inputs of changes; that of queries is added.
    pub changes: &'a [&'a str],
    /// The reasons for dead letters.
    pub reasons: &'a [&'a str],
    pub providers: &'a [&'a str],
    /// The codes of the providers' errors.
    pub codes: &'a [&'a str],
    pub rules: &'a [&'a str],
    pub outputs: &'a [&'a str],
}

impl Metrics {
    /// Shows every counter at 0 whose labels are known.
    pub fn show_known(&self, known: &Known<'_>) {
        let inputs: Vec<&str> = [&["queries"], known.changes].concat();
        let results: Vec<&str> = [&["ok"], known.codes].concat();
        let stages = ["queries", "rules"];
        self.show_layers();
        self.show(LEASES, &[&["held", "not_needed", "unavailable"]]);
        self.show(FILLS_OVERTAKEN, &[]);
        self.show(POLICY_READINGS, &[&["applied", "unchanged", "refused"]]);
        self.show(ATTEMPTS, &[known.providers, &results]);
        self.show(REQUESTS, &[known.providers]);
        self.show(TOKENS, &[known.providers, &["prompt", "completion"]]);
        self.show(PRICED_CALLS, &[known.providers, &["known", "unknown"]]);
        for provider in known.providers {
            self.cost.with_label_values(&[provider]);
        }
        self.show(
            RECORDS,
            &[&inputs, &["event", "null", "dead_letter", "parked"]],
        );
        self.show(RECORDS, &[known.changes, &["judged_late", "heartbeat"]]);
        self.show(DEAD_LETTERS, &[&inputs, known.reasons]);
        let modes = [Mode::Purge.as_str(), Mode::Refresh.as_str()];
        self.show(INVALIDATIONS, &[&["unreadable", "policy-replaced"], &modes]);
        self.show_rules(known.rules);
        self.show(WIDENED, &[known.changes, &["key", "type"]]);
        self.show(INTAKE_LATE, &[&stages]);
        self.show(TOPICS_RECREATED, &[&stages]);
        let events = ["assigned", "revoked", "handed_over", "lost"];
        self.show(INTAKE_REBALANCES, &[&stages, &events]);
        self.show(OUTPUT_FAILURES, &[known.outputs]);
        self.show(OUTPUT_DROPPED, &[known.outputs]);
    }

    /// Shows the counters of these rules of a policy.
    pub fn show_rules(&self, rules: &[&str]) {
        let modes = [Mode::Purge.as_str(), Mode::Refresh.as_str()];
        self.show(INVALIDATIONS, &[rules, &modes]);
        self.show(CONDITION_FAILURES, &[rules]);
    }

    fn show_layers(&self) {
        let layers = [LayerName::Memory, LayerName::Disk, LayerName::Redis];
        let layers = layers.map(LayerName::as_str);
        self.show(LOOKUPS, &[&layers[..1], &["hit", "miss"]]);
        let slow = ["hit", "miss", "refused", "unavailable"];
        self.show(LOOKUPS, &[&layers[1..], &slow]);
        self.show(FILLS, &[&layers[..1], &["stored", "kept_newer"]]);
        let fills = ["stored", "kept_newer", "unavailable", "pending"];
        self.show(FILLS, &[&layers[1..], &fills]);
    }

    /// Shows a counter with every combination of its labels' values.
    fn show(&self, declared: Declared, values: &[&[&str]]) {
        let mut combinations: Vec<Vec<&str>> = vec![Vec::new()];
        for &values in values {
            let mut longer = Vec::new();
            for combination in combinations {
                longer.extend(
                    values
                        .iter()
                        .map(|value| [&combination[..], &[value]].concat()),
                );
            }
            combinations = longer;
        }
        for labels in combinations {
            self.count(declared, &labels, 0);
        }
    }
}
