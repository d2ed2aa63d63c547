//! Compares a new reading of the topology file with the one that a program runs by.
//!
//! Policy can replace policy while the program runs; deployment cannot, and neither can a policy
//! that depends on a deployment that is not running.

use std::collections::{BTreeMap, BTreeSet};

use super::problem::Code;
use super::tree::{Node, Value};
use super::{Deployment, Loaded, Policy, Problems, Refusal};

/// All settings in a file with their values as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<Path, String>);

/// The names that lead to a setting: `cache_types`, `budget_breakdown`, `ttl`. The items of lists
/// have their own names: `rules`, `price-moved`, `when`.
type Path = Vec<String>;

/// The difference between two readings of a file: the names of settings, such as
/// `cache_types.budget_breakdown.ttl`. What exists in one reading alone is marked `(new)` or
/// `(removed)`, and is named once where it is a whole item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    pub policy: Vec<String>,
    /// The settings that need a restart.
    pub deployment: Vec<String>,
}

/// The sections and settings of the deployment. `freshness` has one of its own.
const DEPLOYMENT: [&str; 7] = [
    "name",
    "kafka",
    "registry",
    "topics",
    "layers",
    "providers",
    "server",
];
const BARRIER: [&str; 2] = ["freshness", "start_barrier_timeout"];
/// The test cases: nothing that runs reads them.
const CASES: &str = "tests";

impl Settings {
    pub(super) fn of(root: &Node) -> Self {
        let mut all = BTreeMap::new();
        collect(root, &[], &mut all);
        Self(all)
    }

    /// Returns the names of the settings in which `new` differs.
    pub fn changes(&self, new: &Self) -> Changes {
        let mut differing = BTreeSet::new();
        for (path, value) in &self.0 {
            match new.0.get(path) {
                Some(now) if now == value => {}
                Some(_) => _ = differing.insert((&path[..], "")),
                None => _ = differing.insert((new.unknown_part(path), " (removed)")),
            }
        }
        for path in new.0.keys().filter(|path| !self.0.contains_key(*path)) {
            differing.insert((self.unknown_part(path), " (new)"));
        }
        let mut changes = Changes::default();
        for (path, mark) in differing {
            if path[0] == CASES {
                continue;
            }
            let name = path.join(".") + mark;
            if is_deployment(path) {
                changes.deployment.push(name);
            } else {
                changes.policy.push(name);
            }
        }
        changes
    }

    /// Returns the settings that a program runs by once it has taken over the policy of `new`.
    #[must_use]
    pub fn with_policy_of(&self, new: &Self) -> Self {
        let kept = self.0.iter().filter(|(path, _)| is_deployment(path));
        let taken = new.0.iter().filter(|(path, _)| !is_deployment(path));
        let both = kept.chain(taken);
        Self(
            both.map(|(path, value)| (path.clone(), value.clone()))
                .collect(),
        )
    }

    /// Returns the shortest leading part of a path under which nothing is set here.
    fn unknown_part<'a>(&self, path: &'a [String]) -> &'a [String] {
        let is_known = |item: &[String]| {
            let next = self.0.range(item.to_vec()..).next();
            next.is_some_and(|(known, _)| known.starts_with(item))
        };
        let parts = (1..path.len()).map(|len| &path[..len]);
        parts
            .into_iter()
            .find(|part| !is_known(part))
            .unwrap_or(path)
    }
}

fn is_deployment(path: &[String]) -> bool {
    path.first()
        .is_some_and(|section| DEPLOYMENT.contains(&&**section))
        || path == BARRIER
}

fn collect(node: &Node, path: &[String], all: &mut BTreeMap<Path, String>) {
    let below = |name: &str| [path, &[name.to_owned()]].concat();
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                collect(&entry.value, &below(entry.name()), all);
            }
        }
        Value::List(items) if items.iter().all(|item| item.get("name").is_some()) => {
            for item in items {
                let name = item.get("name").map_or("", |name| name.raw.as_str());
                collect(item, &below(name), all);
            }
        }
        Value::List(items) => _ = all.insert(path.to_vec(), items.iter().map(written).collect()),
        _ => _ = all.insert(path.to_vec(), node.raw.clone()),
    }
}

/// Returns an unambiguous text of a node without its place.
fn written(node: &Node) -> String {
    match &node.value {
        Value::Map(entries) => {
            let all = entries
                .iter()
                .map(|entry| format!("{:?}:{},", entry.name(), written(&entry.value)));
            format!("{{{}}}", all.collect::<String>())
        }
        Value::List(items) => format!("[{}]", items.iter().map(written).collect::<String>()),
        _ => format!("{:?},", node.raw),
    }
}

/// Returns the policy of a new reading if the running deployment can honour it; the error has a
/// problem for each reason against it, at its place in the file.
pub fn policy_for(running: &Deployment, new: Loaded) -> Result<Policy, Box<Problems>> {
    let refusals = refusals(running, &new.topology.deployment, &new.topology.policy);
    if refusals.is_empty() {
        return Ok(new.topology.policy);
    }
    Err(new.refuse(refusals))
}

fn refusals(running: &Deployment, file: &Deployment, policy: &Policy) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let mut others = BTreeSet::new();
    for (cache_type, generation) in &policy.generation {
        let name = &generation.provider;
        let path = ["cache_types", cache_type, "provider"];
        let Some(runs) = running.providers.get(name) else {
            let message = format!("the provider `{name}` is not running: it needs a restart");
            refusals.push(Refusal::at(Code::Providers, &path, message));
            continue;
        };
        let asked = file.providers.get(name).map(|of| (of.kind(), of.model()));
        if asked != Some((runs.kind(), runs.model())) && others.insert(name) {
            let message = format!(
                "the provider `{name}` runs as {} with the model {}, which this policy is not written for: the other needs a restart",
                runs.kind(),
                runs.model()
            );
            refusals.push(Refusal::at(Code::Providers, &["providers", name], message));
        }
    }
    let (life, kept) = (
        policy.catalog.longest_life(),
        running.topics.invalidations.retention,
    );
    if life > kept {
        let message = format!(
            "an entry may be served for {}, the invalidation log runs with a retention of {}: more needs a restart, and the topic's setting",
            humantime::format_duration(life),
            humantime::format_duration(kept)
        );
        let path = ["topics", "invalidations", "retention"];
        refusals.push(Refusal::at(Code::Topics, &path, message));
    }
    refusals
}

#[cfg(test)]
mod tests;
