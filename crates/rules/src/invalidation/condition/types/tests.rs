//! A table of rejected conditions, and the checker compared with the evaluator on generated
//! conditions.

use std::collections::HashSet;
use std::sync::Arc;

use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr};
use cel::common::value::Val;
use cel::parser::Parser;
use cel::{Context, ExecutionError, IdedExpr, Value};
use proptest::prelude::*;

use wedcache_model::catalog::sample;

use super::super::{Condition, LIBRARY, Truth};
use super::attempt::is_about_types;
use super::infer::{Finding, Inference, Kind};
use crate::invalidation::facts::Facts;
use crate::invalidation::rule::{Change, ChangeSource};

/// Returns a wedding update with all fields; `attributes` is JSON.
fn full(attributes: &str) -> Facts {
    let facts = r#"{"weddingId": "w-9", "location": {"city": "Austin", "state": "TX"},
        "weddingDate": "2026-12-01", "budgetRange": "premium", "weddingStyle": "rustic",
        "guestCount": 120, "vendorPreferences": ["florist", "caterer"]}"#;
    let update = format!(
        r#"{{"eventId": "e-2", "weddingId": "w-9", "userId": "u-5", "change": "date_changed",
            "occurredAt": "2026-11-22T10:00:00Z", "weddingContext": {facts}, "previous": {facts},
            "attributes": {attributes}}}"#
    );
    let change = Change::Wedding(serde_json::from_str(&update).unwrap());
    Facts::of(&change, &sample::catalog()).unwrap()
}

#[track_caller]
fn refused(text: &str) -> String {
    let mut lines = vec![text.to_owned()];
    let problems =
        match Condition::compile(text, Some(ChangeSource::Wedding), &sample::catalog().ids) {
            Err(problems) => problems,
            Ok(condition) => {
                assert!(!condition.warnings().is_empty(), "{text} is accepted");
                lines.push("  only warnings".to_owned());
                condition.warnings().to_vec()
            }
        };
    for problem in problems {
        let column = problem.at.map_or(0, |at| at.column);
        let line = format!("  {column}: {} | {}", problem.message, problem.expected);
        lines.push(line.trim_end_matches([' ', '|']).to_owned());
    }
    lines.join("\n")
}

#[test]
fn what_can_never_be_evaluated_is_refused_with_its_place_and_a_remedy() {
    let report = [
        "event.weddingContext.guestCount * 1.1 > event.previous.guestCount",
        "has(event.previous.guestCount) && event.weddingContext.guestCount * 1.1 > 5.0",
        "event.weddingContext.guestCount * 1.1 < 9.0 || event.change == 'x'",
        "event.attributes.priceChangePct * 2 > 3",
        "event.attributes.priceChangePct % 2.0 == 0.0",
        "event.weddingContext.guestCount + event.attributes.extra > 100",
        "event.weddingContext.guestCount / 0 > 1",
        "event.change + 1 == 'x1'",
        "event.change < 3 + 4",
        "size(event.weddingContext.guestCount) > 2",
        "event.weddingContext.guestCount.startsWith('1')",
        "startsWith(event.change, 'date')",
        "event.change.contains(3)",
        "event.change.size(1) == 2",
        "event.weddingContext.weddingDate + 3 > event.occurredAt",
        "event.weddingContext.weddingDate + event.occurredAt > event.occurredAt",
        "event.weddingContext.weddingDate - event.occurredAt < 30",
        "event.weddingContext.weddingDate - event.occurredAt == 30",
        "event.occurredAt < duration('24h')",
        "duration('1 day') < duration('2h')",
        "timestamp('2027-13-01') < event.occurredAt",
        "event.occurredAt.getHours('Nowhere/City') == 3",
        "getMonth(event.occurredAt) == 3",
        "event.change.getMonth() == 3",
        "!event.weddingContext.guestCount",
        "-event.change == 'x'",
        "event.weddingContext.guestCount && true",
        "event.change ? true : false",
        "(event.change == 'x' ? 1 : 2)",
        "(event.change == 'x' ? 1 : 'y') + 1 == 2",
        "(event.change == 'x' ? event.attributes.a : 1) + 1 == 2",
        "event.change == 'x' ? event.change : true",
        "event.weddingContext.guestCount in event.change",
        "event.weddingContext.guestCount in event.weddingContext.vendorPreferences",
        "event.weddingContext.guestCount in ['1', '2']",
        "event.weddingContext.guestCount == event.weddingId",
        "event.attributes.a == event.occurredAt",
        "size(event.attributes) == '4'",
        "event.weddingContext.vendorPreferences.exists(p, p > 3)",
        "event.weddingContext.vendorPreferences.all(p, size(p))",
        "event.change.exists(c, c == 'x')",
        "[1, 'a'].exists(x, x > 1)",
        "event.weddingContext.vendorPreferences.map(p, size(p)).exists_one(n, n == 'x')",
        "event.weddingContext.vendorPreferences[0].guestCount > 3",
        "event.weddingContext.vendorPreferences['a'] == 'x'",
        "event.weddingContext[3] == 1",
        "event.weddingContext.location",
        "'text'",
        "int('x') == 1",
        "type(event.change) == 'string'",
    ]
    .map(refused);
    insta::assert_snapshot!(report.join("\n"));
}

#[test]
fn what_can_be_evaluated_is_accepted_without_a_word() {
    for text in [
        "event.weddingContext.guestCount * 11 > event.previous.guestCount * 10",
        "double(event.weddingContext.guestCount) * 1.1 > double(event.previous.guestCount)",
        "event.weddingContext.guestCount > 99.5",
        "event.attributes.priceChangePct > 5 || event.attributes.priceChangePct < -5.0",
        "event.attributes.priceChangePct * 2.0 > 3.0",
        "event.attributes.a + event.attributes.b == 'xy'",
        "event.attributes.note.startsWith('a') || event.attributes.note",
        "type(event.attributes.a) == string && event.attributes.a.matches('^a')",
        "int(event.attributes.code) > 5",
        "event.weddingContext.weddingDate - event.occurredAt < duration('720h')",
        "event.occurredAt + duration('24h') > event.weddingContext.weddingDate",
        "event.occurredAt.getHours('Europe/Berlin') < 12",
        "(event.weddingContext.weddingDate - event.occurredAt).getHours() < 48",
        "event.weddingContext.vendorPreferences[0] == 'florist'",
        "event.weddingContext.vendorPreferences[event.weddingContext.guestCount] == 'x'",
        "event.attributes[event.change] == 3",
        "event.weddingContext[event.change] == 3",
        "(event.weddingContext.vendorPreferences + ['dj']).exists(p, p.startsWith('d'))",
        "event.weddingContext.vendorPreferences.filter(p, size(p) > 3).size() > 1",
        "event.weddingContext.vendorPreferences.map(p, size(p)) == [7, 7]",
        "event.attributes.exists(name, event.attributes[name] == 'x')",
        "has(event.previous.location) ? event.previous.location.city == 'x' : false",
        "event.change in ['date_changed', event.weddingId]",
        "{'a': 1}.a == 1 && {'a': 1}['a'] + 1 == 2",
        "[].exists(x, x > 1)",
        "event.weddingContext == event.previous",
        "dyn(event.weddingContext.guestCount) == 3",
        "string(event.weddingContext.guestCount) + 'x' == '1x'",
        "event.change == 'x' ? event.attributes.a : true",
        "b'a' < b'b' && 1u < 2u && 7u % 4u == 3u",
    ] {
        let condition =
            Condition::compile(text, Some(ChangeSource::Wedding), &sample::catalog().ids);
        let condition = condition.unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
        assert_eq!(condition.warnings(), [], "{text}");
    }
}

#[test]
fn what_was_accepted_is_evaluated() {
    let facts = full(r#"{"priceChangePct": 12.5, "note": "a", "code": "7", "a": "x", "b": "y"}"#);
    for (text, want) in [
        ("event.attributes.a + event.attributes.b == 'xy'", true),
        ("int(event.attributes.code) > 5", true),
        ("event.occurredAt.getHours('Europe/Berlin') == 11", true),
        (
            "event.weddingContext.vendorPreferences.map(p, size(p)) == [7, 7]",
            true,
        ),
    ] {
        let condition =
            Condition::compile(text, Some(ChangeSource::Wedding), &sample::catalog().ids)
                .expect(text);
        let want = if want {
            Truth::Holds
        } else {
            Truth::DoesNotHold
        };
        assert_eq!(condition.evaluate(&facts), want, "{text}");
    }
}

/// Generates conditions from all parts of CEL that conditions may use, right and wrong ones. `@` is
/// replaced by an attribute that no other part reads, `x` is the variable of the enclosing macro.
fn conditions() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "event.weddingContext.guestCount",
        "event.previous.guestCount",
        "event.weddingId",
        "event.change",
        "event.weddingContext.weddingDate",
        "event.occurredAt",
        "event.weddingContext.vendorPreferences",
        "event.weddingContext.location",
        "event.weddingContext",
        "event.attributes",
        "@",
        "@",
        "@",
        "1",
        "-3",
        "2u",
        "1.5",
        "'x'",
        "'7'",
        "true",
        "null",
        "b'x'",
        "[1, 2]",
        "['florist', 'x']",
        "[1, 'a']",
        "[]",
        "{'a': 1}",
        "{'a': 1, 'b': 'x'}",
        "timestamp('2027-06-12T00:00:00Z')",
        "duration('24h')",
        "string",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let binary = prop::sample::select(vec![
            "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||",
        ]);
        let unary = prop::sample::select(vec![
            "!({})",
            "-({})",
            "size({})",
            "({}).size()",
            "string({})",
            "int({})",
            "double({})",
            "bool({})",
            "timestamp({})",
            "duration({})",
            "type({})",
            "dyn({})",
            "({}).getMonth()",
            "({}).getHours()",
            "({}).getHours('Europe/Berlin')",
            "({}).a",
            "has(({}).a)",
            "[{}]",
            "{'a': {}}",
        ]);
        let pair = prop::sample::select(vec![
            "({0}).startsWith({1})",
            "({0}).contains({1})",
            "({0})[{1}]",
            "[{0}, {1}]",
            "({0}).exists(x, {1})",
            "({0}).all(x, x == {1})",
            "({0}).exists(x, x > {1})",
            "({0}).map(x, {1})",
            "({0}).map(x, x + {1})",
            "({0}).filter(x, x in {1})",
            "({0}).exists_one(x, size(x) == {1})",
        ]);
        prop_oneof![
            4 => (inner.clone(), binary, inner.clone())
                .prop_map(|(left, of, right)| format!("({left}) {of} ({right})")),
            3 => (unary, inner.clone()).prop_map(|(of, one)| of.replace("{}", &one)),
            2 => (pair, inner.clone(), inner.clone())
                .prop_map(|(of, one, two)| of.replace("{0}", &one).replace("{1}", &two)),
            1 => (inner.clone(), inner.clone(), inner)
                .prop_map(|(of, yes, no)| format!("({of}) ? ({yes}) : ({no})")),
        ]
    })
    .prop_map(|text| {
        let mut count = 0;
        text.split_inclusive('@')
            .map(|piece| match piece.strip_suffix('@') {
                Some(before) => {
                    count += 1;
                    format!("{before}event.attributes.a{count}")
                }
                None => piece.to_owned(),
            })
            .collect()
    })
}

/// Returns events with all fields and with every choice of types for the attributes of a condition,
/// if there are few of these.
fn events(condition: &str) -> Vec<Facts> {
    let count = condition.matches("event.attributes.a").count();
    let values = ["\"7\"", "1.5", "true"];
    let choices = 3_usize.pow(u32::try_from(count.min(4)).unwrap());
    (0..choices)
        .map(|choice| {
            let attributes: Vec<_> = (0..count)
                .map(|at| {
                    let digit = choice / 3_usize.pow(u32::try_from(at.min(4)).unwrap()) % 3;
                    format!("\"a{}\": {}", at + 1, values[digit])
                })
                .collect();
            full(&format!("{{{}}}", attributes.join(", ")))
        })
        .collect()
}

/// Returns the macros around a part, the outermost first.
fn around<'a>(of: &'a IdedExpr, part: &IdedExpr) -> Option<Vec<&'a ComprehensionExpr>> {
    if of.id == part.id {
        return Some(Vec::new());
    }
    match &of.expr {
        Expr::Select(select) => around(&select.operand, part),
        Expr::Call(call) => {
            let parts = call.target.as_deref().into_iter().chain(&call.args);
            parts.into_iter().find_map(|of| around(of, part))
        }
        Expr::List(list) => list.elements.iter().find_map(|of| around(of, part)),
        Expr::Map(map) => map.entries.iter().find_map(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                around(&entry.key, part).or_else(|| around(&entry.value, part))
            }
            EntryExpr::StructField(_) => None,
        }),
        Expr::Comprehension(over) => around(&over.iter_range, part).or_else(|| {
            let within = [&over.loop_cond, &over.loop_step, &over.result];
            let found = within.into_iter().find_map(|of| around(of, part))?;
            Some([vec![&**over], found].concat())
        }),
        _ => None,
    }
}

/// A macro's variable and its value.
type Bound<'a> = (&'a str, Box<dyn Val>);

/// Returns all values that a part has at an event: one for each item that the enclosing macros
/// iterate over.
fn values(root: &IdedExpr, part: &IdedExpr, facts: &Facts) -> Vec<Result<Value, ExecutionError>> {
    let mut contexts: Vec<Vec<Bound<'_>>> = vec![Vec::new()];
    for over in around(root, part).unwrap_or_default() {
        let mut inner = Vec::new();
        for bound in &contexts {
            let context = context(facts, bound);
            let Ok(range) = Value::resolve_val(&over.iter_range, &context) else {
                continue;
            };
            let accu = Value::resolve_val(&over.accu_init, &context).unwrap();
            let Some(items) = range.as_iterable() else {
                continue;
            };
            let mut items = items.iter();
            while let Some(item) = items.next() {
                let mut bound = again(bound);
                bound.push((&over.iter_var, item.clone_as_boxed()));
                bound.push((&over.accu_var, accu.clone_as_boxed()));
                inner.push(bound);
            }
        }
        contexts = inner;
    }
    let value = |bound: &Vec<_>| Value::resolve(part, &context(facts, bound));
    contexts.iter().map(value).collect()
}

fn again<'a>(bound: &[Bound<'a>]) -> Vec<Bound<'a>> {
    let one = |(name, value): &Bound<'a>| (*name, value.clone_as_boxed());
    bound.iter().map(one).collect()
}

fn context(facts: &Facts, bound: &[Bound<'_>]) -> Context<'static, 'static> {
    let mut context = Context::with_env(Arc::clone(&LIBRARY));
    context.add_variable_from_value("event", facts.value().clone());
    for (name, value) in again(bound) {
        context.add_variable_as_val(name, value);
    }
    context
}

fn contradicts(finding: &Finding<'_>, value: &Value) -> bool {
    match finding.kind {
        Kind::Fails => true,
        Kind::NotBoolean => matches!(value, Value::Bool(_)),
        Kind::Always(same) => *value != Value::Bool(same),
        Kind::MayFail => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Tests that a part which the checker rejects is never evaluated at any event; an accepted one
    /// is evaluated at an event with all fields and attributes of the right types, unless its
    /// values cause the failure.
    #[test]
    fn the_checker_and_the_evaluator_agree(text in conditions()) {
        let root = Parser::new().parse(&text).unwrap();
        let nothing = HashSet::new();
        let findings = Inference::new(Some(ChangeSource::Wedding), &nothing).condition(&root);
        let events = events(&text);
        for finding in &findings {
            for facts in &events {
                for value in values(&root, finding.at, facts).iter().flatten() {
                    prop_assert!(!contradicts(finding, value), "{finding:?} gives {value:?}");
                }
            }
        }
        if findings.is_empty() {
            let results: Vec<_> = events.iter().map(|facts| Value::resolve(&root, &context(facts, &[]))).collect();
            let is_fine = |result: &Result<Value, ExecutionError>| match result {
                Ok(value) => matches!(value, Value::Bool(_)),
                Err(error) => !is_about_types(error),
            };
            prop_assert!(results.iter().any(is_fine), "{results:?}");
        }
    }
}
