//! Invalidation rules: which change forbids which answers, as written and as checked.

mod check;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::check::Check;
pub(super) use self::check::nearest;
use super::condition::{Condition, TextPosition};
use crate::model::event::{VendorChange, WeddingUpdate};
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

    /// Whether it only says that an integration lives.
    pub fn is_heartbeat(&self) -> bool {
        matches!(self, Self::Vendor(change) if change.is_heartbeat())
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
            && !change.is_heartbeat()
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
    /// What is legal in their conditions and may fail all the same.
    warnings: Vec<RuleError>,
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
            Self::On => "trigger",
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
    /// Legal, and may fail all the same.
    pub is_warning: bool,
}

impl Rules {
    /// Checks all rules and reports all that is wrong with them, warnings among it.
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
            let condition = check.condition(spec, trigger.map(|(source, _)| source), catalog);
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
        if errors.iter().all(|error| error.is_warning) {
            Ok(Self {
                rules,
                warnings: errors,
            })
        } else {
            Err(errors)
        }
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Rule> {
        self.rules.iter()
    }

    pub fn warnings(&self) -> &[RuleError] {
        &self.warnings
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
