//! Invalidation rules: which change invalidates which answers, as written and as checked.

mod check;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::check::Check;
use wedcache_model::event::{VendorChange, WeddingUpdate};
use wedcache_model::{Catalog, Mode};

use super::condition::{Condition, TextPosition};

/// The kinds of change events, each in a separate topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeSource {
    /// Vendor changes; the record key is the vendor id.
    Vendor,
    /// Wedding updates; the record key is the wedding id.
    Wedding,
}

impl ChangeSource {
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
    pub fn source(&self) -> ChangeSource {
        match self {
            Self::Vendor(_) => ChangeSource::Vendor,
            Self::Wedding(_) => ChangeSource::Wedding,
        }
    }

    /// Returns the kind of change, such as `price_changed`.
    pub fn change(&self) -> &str {
        match self {
            Self::Vendor(change) => &change.change,
            Self::Wedding(update) => &update.change,
        }
    }

    /// Returns the trigger for rules, such as `vendor.price_changed`.
    pub fn trigger(&self) -> String {
        format!("{}.{}", self.source().as_str(), self.change())
    }

    /// Returns true if the event only shows that an integration is alive.
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

/// The reach of an invalidation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every answer of the cache type.
    Global,
    /// Answers served to the wedding's couple.
    Wedding,
    /// Answers served to the user.
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

    /// Returns true if events of `source` can have the values that the scope needs.
    pub fn suits(self, source: ChangeSource) -> bool {
        match self {
            Self::Global | Self::Location => true,
            Self::Wedding | Self::User => source == ChangeSource::Wedding,
            Self::Vendor | Self::VendorType => source == ChangeSource::Vendor,
        }
    }

    /// Returns true if the record key of the source identifies the scope.
    pub fn is_by_key(self) -> bool {
        matches!(self, Self::Wedding | Self::Vendor)
    }
}

/// The cache types that a rule affects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    All,
    Named(Vec<String>),
}

/// A rule as written.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleSpec {
    pub name: String,
    /// The trigger: `vendor.price_changed`, or `vendor.*` for every vendor change.
    pub on: String,
    pub cache_types: Selection,
    pub scope: Scope,
    pub mode: Mode,
    /// A CEL condition over `event`; `None` if the rule always fires.
    pub condition: Option<String>,
    pub active: bool,
}

/// A checked rule.
#[derive(Debug)]
pub struct Rule {
    pub name: Arc<str>,
    pub source: ChangeSource,
    /// The change that triggers the rule; `None` for every change of the source.
    pub change: Option<Arc<str>>,
    /// The affected cache types in the catalogue's order, each once.
    pub cache_types: Vec<Arc<str>>,
    pub scope: Scope,
    pub mode: Mode,
    pub condition: Option<Condition>,
    pub active: bool,
}

impl Rule {
    /// Returns the trigger as written.
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
    /// Problems of legal conditions that may fail on some events.
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

/// The reason why a rule is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule {index}, `{field}`: {message}")]
pub struct RuleError {
    /// The index of the rule, from 0.
    pub index: usize,
    pub field: RuleField,
    /// The index of the item in a list, from 0.
    pub item: Option<usize>,
    /// The position in the condition's text.
    pub at: Option<TextPosition>,
    pub message: String,
    pub expected: Option<String>,
    /// The known name that is nearest to an unknown one.
    pub nearest: Option<String>,
    /// True if the rule is legal but its condition may fail on some events.
    pub is_warning: bool,
}

impl Rules {
    /// Checks all rules and reports all their problems, including warnings.
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
