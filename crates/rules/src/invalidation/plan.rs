//! From a change event to the tags that it invalidates: pure, so that tests, the stream and
//! `explain` have the same results.

#[cfg(test)]
mod meets;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;

use wedcache_model::event::{Location, WeddingFacts};
use wedcache_model::key::ANY;
use wedcache_model::text::normalise;
use wedcache_model::{Catalog, Cause, Mode, Tag, TagInvalidation, Timestamp};

use super::condition::Truth;
use super::facts::{Facts, TooLarge};
use super::rule::{Change, Rule, Rules, Scope};
use super::widen;

/// A tag to be invalidated, and the rule that invalidates it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    pub tag: Tag,
    pub mode: Mode,
    pub rule: Arc<str>,
}

/// The effects of a change event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Invalidations for the log: each tag once, a purge if any rule purges it.
    pub invalidations: Vec<Planned>,
    /// Rules that fired although the event lacks a value that their scope needs: to be alerted.
    /// Their replacement is in `invalidations` (by the record key) and in `refresh_types` (beyond
    /// the key).
    pub lacking: Vec<Lacking>,
    /// Whole types to be refreshed, through [`super::widen::WidenLimiter`].
    pub refresh_types: Vec<Planned>,
    /// Conditions that could not be evaluated and so counted as holding.
    pub condition_failures: Vec<ConditionFailure>,
}

/// A rule that fired on an event that lacks a value that its scope needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    pub rule: Arc<str>,
    pub scope: Scope,
}

/// A condition that could not be evaluated on an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionFailure {
    pub rule: Arc<str>,
    pub message: String,
}

/// The verdict of a rule on an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RuleVerdict {
    Inactive,
    OtherTrigger,
    ConditionFalse,
    Fires {
        tags: Vec<Tag>,
        /// The reason why its condition could not be evaluated.
        condition_failure: Option<String>,
    },
    /// Fires, but the event lacks a value that the scope needs.
    Lacks {
        condition_failure: Option<String>,
    },
}

/// Plans the effects of `change`; `record_key` is the key of its record if that is text.
pub fn plan(rules: &Rules, catalog: &Catalog, change: &Change, record_key: Option<&str>) -> Plan {
    let judge = Judge::new(catalog, change, record_key);
    let (mut plan, mut planned) = (Plan::default(), PlannedSet::default());
    let mut refresh_types = PlannedSet::default();
    for rule in rules {
        let condition_failure = match judge.judge(rule) {
            RuleVerdict::Inactive | RuleVerdict::OtherTrigger | RuleVerdict::ConditionFalse => None,
            RuleVerdict::Fires {
                tags,
                condition_failure,
            } => {
                for tag in tags {
                    planned.add(tag, rule.mode, &rule.name);
                }
                condition_failure
            }
            RuleVerdict::Lacks { condition_failure } => {
                plan.lacking.push(Lacking {
                    rule: Arc::clone(&rule.name),
                    scope: rule.scope,
                });
                let ids = judge.ids();
                widen::rule(rule, &ids, &mut planned, &mut refresh_types);
                condition_failure
            }
        };
        if let Some(message) = condition_failure {
            plan.condition_failures.push(ConditionFailure {
                rule: Arc::clone(&rule.name),
                message,
            });
        }
    }
    plan.invalidations = planned.into_vec();
    plan.refresh_types = refresh_types.into_vec();
    plan
}

/// Returns the log's records for the invalidations of one cause, numbered from 1.
pub fn into_records(planned: &[Planned], cause: &Cause, at: Timestamp) -> Vec<TagInvalidation> {
    let parts = u32::try_from(planned.len()).unwrap_or(u32::MAX);
    planned
        .iter()
        .zip(1..)
        .map(|(planned, part)| TagInvalidation {
            tag: planned.tag.as_str().to_owned(),
            mode: planned.mode,
            rule: planned.rule.to_string(),
            cause: cause.clone(),
            part,
            parts,
            at,
        })
        .collect()
}

/// Planned invalidations, each tag once, in the order in which they were first added.
#[derive(Debug, Default)]
pub(super) struct PlannedSet {
    planned: Vec<Planned>,
    by_tag: HashMap<Tag, usize>,
}

impl PlannedSet {
    /// Adds an invalidation. A purge absorbs a refresh of the same tag; otherwise the first rule's
    /// name stays.
    pub(super) fn add(&mut self, tag: Tag, mode: Mode, rule: &Arc<str>) {
        let planned = Planned {
            tag,
            mode,
            rule: Arc::clone(rule),
        };
        match self.by_tag.get(&planned.tag) {
            None => {
                self.by_tag.insert(planned.tag.clone(), self.planned.len());
                self.planned.push(planned);
            }
            Some(&at) => {
                if mode == Mode::Purge && self.planned[at].mode == Mode::Refresh {
                    self.planned[at] = planned;
                }
            }
        }
    }

    pub(super) fn into_vec(self) -> Vec<Planned> {
        self.planned
    }
}

/// The judge of one event by the rules.
pub(super) struct Judge<'a> {
    catalog: &'a Catalog,
    change: &'a Change,
    record_key: Option<Cow<'a, str>>,
    facts: OnceCell<Result<Facts, TooLarge>>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        catalog: &'a Catalog,
        change: &'a Change,
        record_key: Option<&'a str>,
    ) -> Self {
        Self {
            catalog,
            change,
            record_key: record_key.and_then(|key| catalog.ids.canonical(key)),
            facts: OnceCell::new(),
        }
    }

    pub(super) fn facts(&self) -> &Result<Facts, TooLarge> {
        self.facts
            .get_or_init(|| Facts::of(self.change, self.catalog))
    }

    pub(super) fn judge(&self, rule: &Rule) -> RuleVerdict {
        if !rule.is_triggered_by(self.change) {
            return RuleVerdict::OtherTrigger;
        }
        if !rule.active {
            return RuleVerdict::Inactive;
        }
        let condition_failure = match self.truth(rule) {
            Truth::Holds => None,
            Truth::DoesNotHold => return RuleVerdict::ConditionFalse,
            Truth::Failed(message) => Some(message),
        };
        match self.tags(rule) {
            Some(tags) => RuleVerdict::Fires {
                tags,
                condition_failure,
            },
            None => RuleVerdict::Lacks { condition_failure },
        }
    }

    fn truth(&self, rule: &Rule) -> Truth {
        match (&rule.condition, || self.facts()) {
            (None, _) => Truth::Holds,
            (Some(condition), facts) => match facts() {
                Ok(facts) => condition.evaluate(facts),
                Err(too_large) => Truth::Failed(too_large.to_string()),
            },
        }
    }

    /// Returns the ids of the vendor or wedding that the event is about, in canonical form: from
    /// its body and from its record's key, which may differ.
    pub(super) fn ids(&self) -> Vec<Cow<'a, str>> {
        let canonical = |id: &'a str| self.catalog.ids.canonical(id);
        let mut ids = Vec::with_capacity(2);
        match self.change {
            Change::Vendor(change) => ids.extend(canonical(&change.vendor_id)),
            Change::Wedding(update) => {
                ids.extend(canonical(&update.wedding_id));
                for facts in [&update.wedding_context, &update.previous] {
                    let given = facts.as_ref().and_then(|facts| facts.wedding_id.as_deref());
                    ids.extend(given.and_then(canonical));
                }
            }
        }
        ids.extend(self.record_key.clone());
        let mut unique = Vec::with_capacity(ids.len());
        for id in ids {
            if !unique.contains(&id) {
                unique.push(id);
            }
        }
        unique
    }

    /// Returns the places that the event is about; for a moved wedding those before and after.
    fn places(&self) -> Vec<String> {
        let locations: [Option<&Location>; 2] = match self.change {
            Change::Vendor(change) => [change.location.as_ref(), None],
            Change::Wedding(update) => {
                let location = |facts: &'a Option<WeddingFacts>| {
                    facts.as_ref().and_then(|facts| facts.location.as_ref())
                };
                [
                    location(&update.wedding_context),
                    location(&update.previous),
                ]
            }
        };
        let mut places: Vec<_> = locations
            .into_iter()
            .flatten()
            .filter(|location| !location.state.trim().is_empty())
            .map(|location| self.catalog.places.place(location))
            .collect();
        places.dedup();
        places
    }

    /// Returns the tags of a rule that fires; `None` if the event lacks a value that its scope
    /// needs.
    fn tags(&self, rule: &Rule) -> Option<Vec<Tag>> {
        let each = |values: &[Cow<'_, str>], tag: fn(&str, &str) -> Tag| {
            let tags: Vec<_> = rule
                .cache_types
                .iter()
                .flat_map(|of| values.iter().map(move |value| tag(of, value)))
                .collect();
            (!values.is_empty()).then_some(tags)
        };
        match (rule.scope, self.change) {
            (Scope::Global, _) => Some(rule.cache_types.iter().map(|of| Tag::global(of)).collect()),
            (Scope::Location, _) => {
                let places: Vec<_> = self.places().into_iter().map(Cow::Owned).collect();
                each(&places, Tag::location)
            }
            (Scope::Vendor, Change::Vendor(_)) => each(&self.ids(), Tag::vendor),
            (Scope::Wedding, Change::Wedding(_)) => each(&self.ids(), Tag::wedding),
            (Scope::User, Change::Wedding(update)) => {
                let user = update.user_id.as_deref();
                let user = user.and_then(|id| self.catalog.ids.canonical(id));
                each(user.as_slice(), Tag::user)
            }
            (Scope::VendorType, Change::Vendor(change)) => {
                let vendor_type = change.vendor_type.as_deref().map(normalise);
                self.vendor_type_tags(rule, &vendor_type.filter(|name| !name.is_empty())?)
            }
            // Rejected when the rules are checked.
            (Scope::Vendor | Scope::VendorType, Change::Wedding(_))
            | (Scope::Wedding | Scope::User, Change::Vendor(_)) => None,
        }
    }

    /// Returns the tags of a vendor type. Entries of questions that name no vendor type carry
    /// [`ANY`], because they concern every type.
    fn vendor_type_tags(&self, rule: &Rule, vendor_type: &str) -> Option<Vec<Tag>> {
        let places = self.places();
        let mut tags = Vec::with_capacity(rule.cache_types.len() * places.len() * 2);
        for of in &rule.cache_types {
            for place in &places {
                tags.push(Tag::vendor_type(of, vendor_type, place));
                tags.push(Tag::vendor_type(of, ANY, place));
            }
        }
        (!places.is_empty()).then_some(tags)
    }
}
