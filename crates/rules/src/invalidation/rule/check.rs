//! The check of one rule: each part separately, so that all problems are reported at once.

use std::sync::Arc;

use wedcache_model::Catalog;
use wedcache_model::event::HEARTBEAT;
use wedcache_model::invalidation::UNREADABLE_RULE;

use super::super::condition::{Condition, ConditionProblem};
use super::{ChangeSource, RuleError, RuleField, RuleSpec, Scope, Selection};
use crate::nearest::nearest;

/// The state of checking one rule.
pub(super) struct Check<'a> {
    pub(super) index: usize,
    pub(super) errors: &'a mut Vec<RuleError>,
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
            is_warning: false,
        });
        self.errors.last_mut().expect("an error was just pushed")
    }

    fn report_condition(&mut self, problem: &ConditionProblem) -> &mut RuleError {
        let error = self.report(RuleField::When, problem.message.clone(), &problem.expected);
        error.at = problem.at;
        error.nearest.clone_from(&problem.nearest);
        error
    }

    pub(super) fn name(&mut self, spec: &RuleSpec, before: &[RuleSpec]) {
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

    pub(super) fn cache_types(
        &mut self,
        selection: &Selection,
        catalog: &Catalog,
    ) -> Vec<Arc<str>> {
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
                error.nearest = nearest(name, known().map(AsRef::as_ref)).map(str::to_owned);
            }
        }
        known()
            .filter(|known| names.iter().any(|name| **name == ***known))
            .cloned()
            .collect()
    }

    pub(super) fn trigger<'t>(&mut self, on: &'t str) -> Option<(ChangeSource, Option<&'t str>)> {
        const EXPECTED: &str =
            "`vendor.<change>` or `wedding.<change>`, or `*` for every change, as in `vendor.*`";
        let Some((source, change)) = on.split_once('.') else {
            let message = format!("`{on}` names no change");
            self.report(RuleField::On, message, EXPECTED);
            return None;
        };
        let Some(source) = ChangeSource::ALL
            .into_iter()
            .find(|of| of.as_str() == source)
        else {
            let message = format!("there are no `{source}` events");
            let error = self.report(RuleField::On, message, EXPECTED);
            error.nearest =
                nearest(source, ChangeSource::ALL.map(ChangeSource::as_str)).map(str::to_owned);
            return None;
        };
        if change == "*" {
            return Some((source, None));
        }
        if source == ChangeSource::Vendor && change == HEARTBEAT {
            let message = "a heartbeat only says that its integration lives: no rule can name it";
            self.report(RuleField::On, message.to_owned(), "another change");
            return None;
        }
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        if change.is_empty() || !change.chars().all(is_name) {
            let message = format!("`{change}` cannot be the name of a change");
            self.report(RuleField::On, message, EXPECTED);
            return None;
        }
        Some((source, Some(change)))
    }

    pub(super) fn scope(&mut self, scope: Scope, source: ChangeSource) {
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
            ChangeSource::Vendor => "vendor changes",
            ChangeSource::Wedding => "wedding updates",
        };
        let message = format!("{events} name no {lacking}: scope `{}`", scope.as_str());
        self.report(RuleField::Scope, message, &suiting.join(", "));
    }

    pub(super) fn condition(
        &mut self,
        spec: &RuleSpec,
        source: Option<ChangeSource>,
        catalog: &Catalog,
    ) -> Option<Condition> {
        let text = spec.condition.as_deref()?;
        match Condition::compile(text, source, &catalog.ids) {
            Ok(condition) => {
                for warning in condition.warnings() {
                    self.report_condition(warning).is_warning = true;
                }
                Some(condition)
            }
            Err(problems) => {
                for problem in &problems {
                    self.report_condition(problem);
                }
                None
            }
        }
    }
}
