//! Invalidation rules: which change forbids which answers, as written and as checked.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::condition::{Condition, ConditionProblem, TextPosition};
use crate::model::event::{VendorChange, WeddingUpdate};
use crate::model::invalidation::UNREADABLE_RULE;
use crate::model::{Catalog, Mode};

/// The kinds of change events, each a topic of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Vendor changes; the record key is the vendor id.
    Vendor,
    /// Wedding updates; the record key is the wedding id.
    Wedding,
}

impl Source {
    pub const ALL: [Self; 2] = [Self::Vendor, Self::Wedding];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vendor => "vendor",
            Self::Wedding => "wedding",
        }
    }
}

/// A decoded change event.
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, and moved once: a box would cost more than it saves"
)]
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Vendor(VendorChange),
    Wedding(WeddingUpdate),
}

impl Change {
    pub fn source(&self) -> Source {
        match self {
            Self::Vendor(_) => Source::Vendor,
            Self::Wedding(_) => Source::Wedding,
        }
    }

    /// The changed thing: `price_changed`.
    pub fn change(&self) -> &str {
        match self {
            Self::Vendor(change) => &change.change,
            Self::Wedding(update) => &update.change,
        }
    }

    /// What rules are triggered by: `vendor.price_changed`.
    pub fn trigger(&self) -> String {
        format!("{}.{}", self.source().as_str(), self.change())
    }

    pub fn event_id(&self) -> &str {
        match self {
            Self::Vendor(change) => &change.event_id,
            Self::Wedding(update) => &update.event_id,
        }
    }
}

/// How far an invalidation reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every answer of the cache type.
    Global,
    /// What the wedding's couple is served.
    Wedding,
    /// What the user is served.
    User,
    /// Answers for the place.
    Location,
    /// Answers that name the vendor or refer to it.
    Vendor,
    /// Answers for the place that concern the vendor's type, or any type.
    VendorType,
}

impl Scope {
    pub const ALL: [Self; 6] = [
        Self::Global,
        Self::Wedding,
        Self::User,
        Self::Location,
        Self::Vendor,
        Self::VendorType,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Wedding => "wedding",
            Self::User => "user",
            Self::Location => "location",
            Self::Vendor => "vendor",
            Self::VendorType => "vendor_type",
        }
    }

    /// Whether events of `source` can say what the scope needs.
    pub fn suits(self, source: Source) -> bool {
        match self {
            Self::Global | Self::Location => true,
            Self::Wedding | Self::User => source == Source::Wedding,
            Self::Vendor | Self::VendorType => source == Source::Vendor,
        }
    }

    /// Whether the scope is what the record key of its source names.
    pub fn is_by_key(self) -> bool {
        matches!(self, Self::Wedding | Self::Vendor)
    }
}

/// Which cache types a rule affects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    All,
    Named(Vec<String>),
}

/// A rule as written.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleSpec {
    pub name: String,
    /// `vendor.price_changed`, or `vendor.*` for every vendor change.
    pub on: String,
    pub cache_types: Selection,
    pub scope: Scope,
    pub mode: Mode,
    /// CEL over `event`; without one the rule always fires.
    pub condition: Option<String>,
    pub active: bool,
}

/// A rule as checked.
#[derive(Debug)]
pub struct Rule {
    pub name: Arc<str>,
    pub source: Source,
    /// `None` for every change of the source.
    pub change: Option<Arc<str>>,
    /// In the catalogue's order, each once.
    pub cache_types: Vec<Arc<str>>,
    pub scope: Scope,
    pub mode: Mode,
    pub condition: Option<Condition>,
    pub active: bool,
}

impl Rule {
    /// The trigger as written.
    pub fn on(&self) -> String {
        let change = self.change.as_deref().unwrap_or("*");
        format!("{}.{change}", self.source.as_str())
    }

    pub fn is_triggered_by(&self, change: &Change) -> bool {
        self.source == change.source()
            && self
                .change
                .as_deref()
                .is_none_or(|name| name == change.change())
    }
}

/// The checked rules, in the order written.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
}

/// The part of a rule that an error is about, by its name in the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuleField {
    Name,
    On,
    Types,
    Scope,
    When,
}

impl RuleField {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::On => "on",
            Self::Types => "types",
            Self::Scope => "scope",
            Self::When => "when",
        }
    }
}

impl fmt::Display for RuleField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a rule is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule {index}, `{field}`: {message}")]
pub struct RuleError {
    /// Which rule, from 0.
    pub index: usize,
    pub field: RuleField,
    /// Which item of a list, from 0.
    pub item: Option<usize>,
    /// Where in the condition's text.
    pub at: Option<TextPosition>,
    pub message: String,
    pub expected: Option<String>,
    /// The known name that is nearest to an unknown one.
    pub nearest: Option<String>,
}

impl Rules {
    /// Checks all rules and reports all that is wrong with them.
    pub fn compile(specs: &[RuleSpec], catalog: &Catalog) -> Result<Self, Vec<RuleError>> {
        let mut errors = Vec::new();
        let mut rules: Vec<Rule> = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            let mut check = Check {
                index,
                errors: &mut errors,
            };
            check.name(spec, &specs[..index]);
            let cache_types = check.cache_types(&spec.cache_types, catalog);
            let trigger = check.trigger(&spec.on);
            if let Some((source, _)) = trigger {
                check.scope(spec.scope, source);
            }
            let condition = check.condition(spec, trigger.map(|(source, _)| source));
            if let Some((source, change)) = trigger {
                rules.push(Rule {
                    name: spec.name.as_str().into(),
                    source,
                    change: change.map(Into::into),
                    cache_types,
                    scope: spec.scope,
                    mode: spec.mode,
                    condition,
                    active: spec.active,
                });
            }
        }
        if errors.is_empty() {
            Ok(Self { rules })
        } else {
            Err(errors)
        }
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Rule> {
        self.rules.iter()
    }

    pub fn len(&self) -> usize {
        self.rules.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

impl<'a> IntoIterator for &'a Rules {
    type Item = &'a Rule;
    type IntoIter = std::slice::Iter<'a, Rule>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The checking of one rule.
struct Check<'a> {
    index: usize,
    errors: &'a mut Vec<RuleError>,
}

impl Check<'_> {
    fn report(&mut self, field: RuleField, message: String, expected: &str) -> &mut RuleError {
        self.errors.push(RuleError {
            index: self.index,
            field,
            item: None,
            at: None,
            message,
            expected: (!expected.is_empty()).then(|| expected.to_owned()),
            nearest: None,
        });
        self.errors.last_mut().expect("an error was just pushed")
    }

    fn name(&mut self, spec: &RuleSpec, before: &[RuleSpec]) {
        let name = spec.name.as_str();
        if name.trim().is_empty() {
            self.report(RuleField::Name, "a rule without a name".into(), "a name");
        } else if name == UNREADABLE_RULE {
            let message = format!("`{name}` is the name of widened invalidations");
            self.report(RuleField::Name, message, "another name");
        } else if let Some(first) = before.iter().position(|other| other.name == name) {
            let message = format!("`{name}` is also the name of rule {first}");
            self.report(RuleField::Name, message, "a name of its own");
        }
    }

    fn cache_types(&mut self, selection: &Selection, catalog: &Catalog) -> Vec<Arc<str>> {
        let known = || catalog.types().iter().map(|of| &of.name);
        let Selection::Named(names) = selection else {
            return known().cloned().collect();
        };
        if names.is_empty() {
            let message = "a rule that affects no cache type".to_owned();
            self.report(
                RuleField::Types,
                message,
                "`all`, or at least one cache type",
            );
        }
        for (item, name) in names.iter().enumerate() {
            if catalog.get(name).is_none() {
                let expected = known().map(|name| format!("`{name}`")).collect::<Vec<_>>();
                let message = format!("there is no cache type `{name}`");
                let error = self.report(RuleField::Types, message, &expected.join(", "));
                error.item = Some(item);
                error.nearest = nearest(name, known().map(AsRef::as_ref));
            }
        }
        known()
            .filter(|known| names.iter().any(|name| **name == ***known))
            .cloned()
            .collect()
    }

    fn trigger<'t>(&mut self, on: &'t str) -> Option<(Source, Option<&'t str>)> {
        const EXPECTED: &str =
            "`vendor.<change>` or `wedding.<change>`, or `*` for every change, as in `vendor.*`";
        let Some((source, change)) = on.split_once('.') else {
            let message = format!("`{on}` names no change");
            self.report(RuleField::On, message, EXPECTED);
            return None;
        };
        let Some(source) = Source::ALL.into_iter().find(|of| of.as_str() == source) else {
            let message = format!("there are no `{source}` events");
            let error = self.report(RuleField::On, message, EXPECTED);
            error.nearest = nearest(source, Source::ALL.iter().map(|of| of.as_str()));
            return None;
        };
        if change == "*" {
            return Some((source, None));
        }
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        if change.is_empty() || !change.chars().all(is_name) {
            let message = format!("`{change}` cannot be the name of a change");
            self.report(RuleField::On, message, EXPECTED);
            return None;
        }
        Some((source, Some(change)))
    }

    fn scope(&mut self, scope: Scope, source: Source) {
        if scope.suits(source) {
            return;
        }
        let suiting: Vec<_> = Scope::ALL
            .into_iter()
            .filter(|scope| scope.suits(source))
            .map(|scope| format!("`{}`", scope.as_str()))
            .collect();
        let lacking = match scope {
            Scope::User => "user",
            Scope::Wedding => "wedding",
            _ => "vendor",
        };
        let events = match source {
            Source::Vendor => "vendor changes",
            Source::Wedding => "wedding updates",
        };
        let message = format!("{events} name no {lacking}: scope `{}`", scope.as_str());
        self.report(RuleField::Scope, message, &suiting.join(", "));
    }

    fn condition(&mut self, spec: &RuleSpec, source: Option<Source>) -> Option<Condition> {
        let text = spec.condition.as_deref()?;
        match Condition::compile(text, source) {
            Ok(condition) => Some(condition),
            Err(problems) => {
                for problem in problems {
                    let ConditionProblem {
                        at,
                        message,
                        expected,
                        nearest,
                    } = problem;
                    let error = self.report(RuleField::When, message, &expected);
                    (error.at, error.nearest) = (at, nearest);
                }
                None
            }
        }
    }
}

/// The known name that an unknown one was probably meant to be.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known.to_owned())
}
