//! Invalidation rules: compiled by [`Rules::compile`], whose errors get their places in the file.

use std::sync::Arc;

use wedcache_model::Catalog;

use super::Build;
use crate::invalidation::condition::TextPosition;
use crate::invalidation::rule::{RuleError, RuleField, RuleSpec, Rules, Scope, Selection};
use crate::nearest::nearest;
use crate::topology::problem::{Code, Problem, Span};
use crate::topology::shape::{RuleShape, ScopeShape, TypesShape};
use crate::topology::units::At;

/// The changes of the wire contract. Others are legal, but one that nearly equals one of these is
/// probably a typo.
pub(in crate::topology) const KNOWN_CHANGES: [&str; 16] = [
    "vendor.price_changed",
    "vendor.availability_changed",
    "vendor.menu_changed",
    "vendor.portfolio_changed",
    "vendor.details_changed",
    "vendor.opened",
    "vendor.closed",
    "wedding.date_changed",
    "wedding.location_changed",
    "wedding.budget_changed",
    "wedding.style_changed",
    "wedding.guest_count_changed",
    "wedding.preferences_changed",
    "wedding.guest_list_changed",
    "wedding.cancelled",
    "wedding.deleted",
];

impl Build<'_> {
    pub(super) fn rules(&mut self, shapes: &[RuleShape], catalog: &Catalog) -> Arc<Rules> {
        let specs: Vec<_> = shapes.iter().map(spec).collect();
        for shape in shapes {
            self.check_trigger(shape);
        }
        let rules = Rules::compile(&specs, catalog).unwrap_or_else(|errors| {
            // If the section cannot be read, its names are unknown and cannot be checked.
            let known = self.names("cache_types").is_some();
            for error in errors {
                if known || error.field != RuleField::Types {
                    let problem = self.rule_problem(shapes, error);
                    self.report(problem);
                }
            }
            Rules::default()
        });
        for warning in rules.warnings() {
            let problem = self.rule_problem(shapes, warning.clone());
            self.report(problem);
        }
        rules.into()
    }

    fn check_trigger(&mut self, shape: &RuleShape) {
        let on = match (&shape.trigger, &shape.on) {
            (Some(trigger), None) => trigger,
            (None, Some(on)) => on,
            (Some(trigger), Some(on)) => {
                let problem = Problem::new(on.span, "`on` beside `trigger`, which means the same");
                let problem = problem.also(trigger.span, "given here");
                self.report(problem.help("keep one of the two"));
                return;
            }
            (None, None) => {
                let problem = Problem::new(shape.name.span, "the field `trigger` must be given");
                self.report(problem.code(Code::MissingField));
                return;
            }
        };
        // Other sources are rejected when the rules are compiled.
        let known = on.starts_with("vendor.") || on.starts_with("wedding.");
        if !known || KNOWN_CHANGES.contains(&on.as_str()) || on.ends_with(".*") {
            return;
        }
        let near =
            nearest(on, KNOWN_CHANGES).filter(|near| strsim::damerau_levenshtein(near, on) <= 2);
        if let Some(near) = near {
            let message = format!("`{}` is no change that the contract names", on.value);
            self.report(
                Problem::new(on.span, message)
                    .help(format!(
                        "did you mean `{near}`? other names are legal, and match by name"
                    ))
                    .warning(),
            );
        }
    }

    fn rule_problem(&self, shapes: &[RuleShape], error: RuleError) -> Problem {
        let shape = &shapes[error.index];
        let mut also = None;
        let span = match error.field {
            RuleField::Name => {
                also = shapes[..error.index]
                    .iter()
                    .find(|other| *other.name == *shape.name)
                    .map(|other| other.name.span);
                shape.name.span
            }
            RuleField::On => trigger(shape).map_or(Span::STAND_IN, |of| of.span),
            RuleField::Scope => shape.scope.span,
            RuleField::Types => match (shape.types.as_ref(), error.item) {
                (
                    Some(At {
                        value: TypesShape::Named(names),
                        ..
                    }),
                    Some(item),
                ) => names[item].span,
                (Some(types), _) => types.span,
                (None, _) => shape.name.span,
            },
            RuleField::When => shape.when.as_ref().map_or(shape.name.span, |when| {
                condition_span(self.text, when, error.at)
            }),
        };
        let mut problem = match also {
            Some(first) => {
                Problem::new(span, format!("two rules are called `{}`", shape.name.value))
                    .also(first, "the other one")
            }
            None => Problem::new(span, plain(&error.message)),
        };
        problem.expected = error.expected.map(|what| format!("expected {what}"));
        problem.help = error.nearest.map(|near| format!("did you mean `{near}`?"));
        if error.is_warning {
            problem = problem.warning();
        }
        if error.field == RuleField::When {
            problem = problem.code(Code::Condition);
        }
        problem
    }
}

fn trigger(shape: &RuleShape) -> Option<&At<String>> {
    shape.trigger.as_ref().or(shape.on.as_ref())
}

fn spec(shape: &RuleShape) -> RuleSpec {
    RuleSpec {
        name: shape.name.value.clone(),
        // A missing trigger has been reported; the rest of the rule is still checked.
        on: trigger(shape).map_or_else(String::new, |of| of.value.clone()),
        cache_types: match shape.types.as_ref().map(|types| &types.value) {
            None | Some(TypesShape::All) => Selection::All,
            Some(TypesShape::Named(names)) => {
                Selection::Named(names.iter().map(|name| name.value.clone()).collect())
            }
        },
        scope: match shape.scope.value {
            ScopeShape::Global => Scope::Global,
            ScopeShape::Wedding => Scope::Wedding,
            ScopeShape::User => Scope::User,
            ScopeShape::Location => Scope::Location,
            ScopeShape::Vendor => Scope::Vendor,
            ScopeShape::VendorType => Scope::VendorType,
        },
        mode: shape.mode,
        condition: shape.when.as_ref().map(|when| when.value.clone()),
        active: shape.active,
    }
}

/// Returns a parser's message without the list of all tokens of its grammar.
fn plain(message: &str) -> String {
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    let message = message.split(" expecting {").next().unwrap_or(message);
    match message {
        "mismatched input '<EOF>'" => "the condition ends too early".to_owned(),
        other => other.to_owned(),
    }
}

/// Converts a place in a condition to a place in the file. YAML folds and quotes text, so this
/// searches the file for the word at the place, and skips as many matches as precede it in the
/// condition.
fn condition_span(text: &str, when: &At<String>, at: Option<TextPosition>) -> Span {
    let place = at.and_then(|at| {
        let (line, column) = (at.line.checked_sub(1)?, at.column.checked_sub(1)?);
        let start: usize = when.split_inclusive('\n').take(line).map(str::len).sum();
        let offset = start + when[start..].char_indices().nth(column)?.0;
        let word = |c: char| !c.is_alphanumeric() && c != '_';
        let len = when[offset..]
            .find(word)
            .filter(|len| *len > 0)
            .unwrap_or(1);
        let needle = when.get(offset..offset + len)?;
        let before = when[..offset].matches(needle).count();
        let source = text.get(when.span.start..)?;
        let (found, _) = source.match_indices(needle).nth(before)?;
        Some(Span {
            start: when.span.start + found,
            len,
        })
    });
    place.unwrap_or(when.span)
}
