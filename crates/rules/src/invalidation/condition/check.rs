//! Checks a parsed condition: known names, comparisons that can be true, bounded work. The `cel`
//! crate itself checks none of these.

use std::collections::{BTreeSet, HashSet};

use cel::IdedExpr;
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SourceInfo, operators,
};

use wedcache_model::event::BudgetRange;
use wedcache_model::id::Ids;
use wedcache_model::place::{self, Places};
use wedcache_model::text::normalise;

use super::super::facts::{self, Kind};
use super::super::rule::ChangeSource;
use super::types::{FindingKind, Inference};
use super::{ConditionProblem, MAX_DEPTH, TextPosition};
use crate::nearest::nearest;

/// The name of the only variable.
pub(super) const EVENT: &str = "event";
/// The functions that conditions may call: CEL's standard ones.
const FUNCTIONS: [&str; 28] = [
    "contains",
    "endsWith",
    "matches",
    "size",
    "startsWith",
    "bool",
    "bytes",
    "double",
    "duration",
    "dyn",
    "int",
    "string",
    "timestamp",
    "type",
    "uint",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    // Only for the suggestion: macros are expanded before the check.
    "has",
    "exists",
    "all",
];
/// Names of types, as in `type(event.attributes.note) == string`.
pub(super) const TYPES: [&str; 9] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "uint",
];
/// The largest compiled pattern of `matches`, in bytes: it is compiled for every event.
const MAX_PATTERN_BYTES: usize = 32 << 10;

/// The result of checking a condition.
pub(super) struct Checked {
    pub(super) problems: Vec<ConditionProblem>,
    pub(super) warnings: Vec<ConditionProblem>,
    /// The event's fields that the condition reads.
    pub(super) fields: Vec<Vec<String>>,
}

pub(super) struct Check<'a> {
    source: Option<ChangeSource>,
    ids: &'a Ids,
    places: &'a SourceInfo,
    problems: Vec<ConditionProblem>,
    warnings: Vec<ConditionProblem>,
    /// The parts that have a problem.
    reported: HashSet<u64>,
    fields: BTreeSet<Vec<String>>,
    /// The variables of the enclosing macros.
    bound: Vec<&'a str>,
    depth: usize,
    too_deep: bool,
}

impl<'a> Check<'a> {
    pub(super) fn new(source: Option<ChangeSource>, ids: &'a Ids, places: &'a SourceInfo) -> Self {
        Self {
            source,
            ids,
            places,
            problems: Vec::new(),
            warnings: Vec::new(),
            reported: HashSet::new(),
            fields: BTreeSet::new(),
            bound: Vec::new(),
            depth: 0,
            too_deep: false,
        }
    }

    /// Checks a whole condition.
    pub(super) fn condition(mut self, root: &'a IdedExpr) -> Checked {
        self.expression(root);
        if !self.too_deep {
            self.types(root);
        }
        Checked {
            problems: self.problems,
            warnings: self.warnings,
            fields: self.fields.into_iter().collect(),
        }
    }

    fn types(&mut self, root: &'a IdedExpr) {
        let reported = std::mem::take(&mut self.reported);
        for finding in Inference::new(self.source, &reported).condition(root) {
            let problem = ConditionProblem {
                expected: finding.expected,
                ..ConditionProblem::new(position(self.places, finding.at), finding.message)
            };
            match finding.kind {
                FindingKind::MayFail => self.warnings.push(problem),
                FindingKind::Fails | FindingKind::NotBoolean | FindingKind::Always(_) => {
                    self.problems.push(problem);
                }
            }
        }
    }

    fn report(&mut self, at: &IdedExpr, message: impl Into<String>) -> &mut ConditionProblem {
        self.reported.insert(at.id);
        let at = position(self.places, at);
        self.problems.push(ConditionProblem::new(at, message));
        self.problems.last_mut().expect("it was just pushed")
    }

    fn expression(&mut self, of: &'a IdedExpr) {
        if self.depth >= MAX_DEPTH {
            if !self.too_deep {
                self.too_deep = true;
                self.report(of, "is nested too deeply").expected =
                    format!("at most {MAX_DEPTH} levels; long chains of `&&` and `+` count");
            }
            return;
        }
        self.depth += 1;
        match &of.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => self.variable(of, name),
            Expr::Select(select) => match path(of) {
                Some(path) if !self.bound.contains(&EVENT) => self.field(of, path),
                _ => self.expression(&select.operand),
            },
            Expr::Call(call) => self.call(of, call),
            Expr::Comprehension(over) => self.comprehension(of, over),
            Expr::List(list) => list.elements.iter().for_each(|of| self.expression(of)),
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.expression(&entry.key);
                        self.expression(&entry.value);
                    }
                }
            }
            Expr::Struct(of_type) => {
                let message = format!("there is no message type `{}`", of_type.type_name);
                self.report(of, message);
            }
        }
        self.depth -= 1;
    }

    fn variable(&mut self, of: &IdedExpr, name: &str) {
        if name == EVENT || self.bound.contains(&name) || TYPES.contains(&name) {
            return;
        }
        let kind = self.source.map(facts::shape);
        let is_field = kind.is_some_and(|kind| kind.at(&[name.to_owned()]).is_ok());
        let problem = self.report(of, format!("there is no variable `{name}`"));
        problem.expected = "`event`".into();
        if is_field {
            problem.nearest = Some(format!("event.{name}"));
        }
    }

    /// Records a field of the event that is read or tested with `has`.
    fn field(&mut self, of: &IdedExpr, path: Vec<String>) {
        if let Some(Err((found, known))) = self.source.map(|source| facts::shape(source).at(&path))
        {
            let within = ["event"]
                .into_iter()
                .chain(path[..found].iter().map(String::as_str))
                .collect::<Vec<_>>()
                .join(".");
            let problem = self.report(of, format!("`{within}` has no field `{}`", path[found]));
            problem.expected = known
                .iter()
                .map(|field| format!("`{field}`"))
                .collect::<Vec<_>>()
                .join(", ");
            problem.nearest = nearest(&path[found], known).map(str::to_owned);
        }
        self.fields.insert(path);
    }

    fn call(&mut self, of: &'a IdedExpr, call: &'a CallExpr) {
        if call.func_name == operators::INDEX
            && let Some(path) = path(of)
            && !self.bound.contains(&EVENT)
        {
            return self.field(of, path);
        }
        let name = call.func_name.as_str();
        let is_operator = name.starts_with(['_', '@', '!', '-']);
        if !is_operator && !FUNCTIONS.contains(&name) {
            let problem = self.report(of, format!("there is no function `{name}`"));
            problem.nearest = nearest(name, FUNCTIONS).map(str::to_owned);
            problem.expected = "a function or macro of CEL's standard library".into();
        }
        if name == "matches" {
            self.pattern(of, call);
        }
        self.comparison(call);
        for of in call.target.as_deref().into_iter().chain(&call.args) {
            self.expression(of);
        }
    }

    /// Checks the pattern of `matches`. A pattern is compiled for every call, and the sender of an
    /// event could make one from the event costly.
    fn pattern(&mut self, of: &IdedExpr, call: &CallExpr) {
        if !self.bound.is_empty() {
            self.report(of, "`matches` cannot be used in a macro over a list")
                .expected = "`contains`, `startsWith` or `endsWith`".into();
        }
        let Some(Expr::Literal(LiteralValue::String(text))) = call.args.last().map(|of| &of.expr)
        else {
            self.report(of, "`matches` with a pattern that is not written out")
                .expected = "a text in quotes as the pattern".into();
            return;
        };
        let compiled = regex::RegexBuilder::new(text.inner())
            .size_limit(MAX_PATTERN_BYTES)
            .build();
        if let Err(error) = compiled {
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default();
            let message = format!("`matches` with a pattern that cannot be used: {why}");
            self.report(of, message);
        }
    }

    fn comprehension(&mut self, of: &'a IdedExpr, over: &'a ComprehensionExpr) {
        if !self.bound.is_empty() {
            self.report(of, "macros over lists cannot be nested or chained");
            return;
        }
        let variables = std::iter::once(over.iter_var.as_str()).chain(over.iter_var2.as_deref());
        if variables.clone().any(|name| name == EVENT) {
            self.report(of, "a macro's variable cannot be called `event`");
        }
        // Bound before the range is checked, so that a macro in it counts as chained. A range that
        // names the variables fails at run time and counts as holding.
        self.bound.extend(variables);
        self.bound.push(&over.accu_var);
        for part in [
            &over.iter_range,
            &over.accu_init,
            &over.loop_cond,
            &over.loop_step,
            &over.result,
        ] {
            self.expression(part);
        }
        self.bound.clear();
    }

    /// Checks a comparison of a field with a literal. If the two can never be equal, invalidations
    /// would be lost silently: for different types CEL evaluates to "not equal".
    fn comparison(&mut self, call: &CallExpr) {
        let compares = [
            operators::EQUALS,
            operators::NOT_EQUALS,
            operators::LESS,
            operators::LESS_EQUALS,
            operators::GREATER,
            operators::GREATER_EQUALS,
            operators::IN,
        ];
        let ([left, right], true) = (
            call.args.as_slice(),
            compares.contains(&call.func_name.as_str()),
        ) else {
            return;
        };
        if call.func_name == operators::IN {
            return self.membership(left, right);
        }
        for (field, other) in [(left, right), (right, left)] {
            if let (Some(kind), Expr::Literal(literal)) = (self.kind(field), &other.expr) {
                self.literal(field, kind, other, literal);
            }
        }
    }

    /// Checks a membership such as `event.change in ["opened", "closed"]` or
    /// `"florist" in event.weddingContext.vendorPreferences`.
    fn membership(&mut self, left: &IdedExpr, right: &IdedExpr) {
        if let (Some(kind), Expr::List(list)) = (self.kind(left), &right.expr) {
            for element in &list.elements {
                if let Expr::Literal(literal) = &element.expr {
                    self.literal(left, kind, element, literal);
                }
            }
        }
        if let (Expr::Literal(literal), Some(kind)) = (&left.expr, self.kind(right)) {
            let has_members = matches!(kind, Kind::Texts | Kind::Attributes | Kind::Object(_));
            if !has_members || !matches!(literal, LiteralValue::String(_)) {
                self.never(left, right, "holds no such value");
            }
        }
    }

    fn kind(&self, of: &IdedExpr) -> Option<Kind> {
        if self.bound.contains(&EVENT) || matches!(&of.expr, Expr::Select(of) if of.test) {
            return None;
        }
        facts::shape(self.source?).at(&path(of)?).ok()
    }

    fn literal(&mut self, field: &IdedExpr, kind: Kind, at: &IdedExpr, literal: &LiteralValue) {
        use LiteralValue as L;
        match (kind, literal) {
            (_, L::Null) => {
                self.never(at, field, "is never null").expected =
                    "`has(…)` to ask whether it is given".into();
            }
            (Kind::Text, L::String(_))
            | (Kind::Number, L::Int(_) | L::UInt(_) | L::Double(_))
            | (
                Kind::Attribute,
                L::String(_) | L::Int(_) | L::UInt(_) | L::Double(_) | L::Boolean(_),
            ) => {}
            (Kind::Id, L::String(text)) => {
                let canonical = self.ids.canonical(text.inner());
                if let Some(canonical) = canonical.filter(|id| id != text.inner()) {
                    let canonical = canonical.into_owned();
                    self.never(at, field, "is never written so").nearest = Some(canonical);
                }
            }
            (Kind::VendorType, L::String(text)) => {
                let normal = normalise(text.inner());
                if normal != text.inner() {
                    self.never(at, field, "is normalised").nearest = Some(normal);
                }
            }
            (Kind::Place, L::String(text)) => {
                if let Some(canonical) = other_spelling(text.inner()) {
                    self.never(at, field, "is never written so").nearest = Some(canonical);
                }
            }
            (Kind::Budget, L::String(text)) => {
                let known = BudgetRange::ALL.map(BudgetRange::as_str);
                if !known.contains(&text.inner()) {
                    let problem = self.never(at, field, "is never that");
                    problem.expected = known.map(|name| format!("`{name}`")).join(", ");
                    problem.nearest = nearest(text.inner(), known).map(str::to_owned);
                }
            }
            (Kind::Text | Kind::Id | Kind::VendorType | Kind::Place | Kind::Budget, _) => {
                self.never(at, field, "is a text").expected = "a text in quotes".into();
            }
            (Kind::Number, _) => {
                self.never(at, field, "is a number").expected = "a number".into();
            }
            (Kind::Instant, _) => {
                self.never(at, field, "is an instant").expected =
                    "`timestamp(\"2027-06-12T00:00:00Z\")`, or a difference with `duration(\"24h\")`"
                        .into();
            }
            (Kind::Texts, _) => {
                self.never(at, field, "is a list").expected = "`\"…\" in` it, or `exists`".into();
            }
            (Kind::Attribute | Kind::Attributes | Kind::Object(_), _) => {
                self.never(at, field, "has no such value");
            }
        }
    }

    fn never(&mut self, at: &IdedExpr, field: &IdedExpr, why: &str) -> &mut ConditionProblem {
        let name = path(field).unwrap_or_default().join(".");
        self.report(at, format!("`event.{name}` {why}"))
    }
}

/// Returns the canonical place of the text if places are never written as the text is. The markets
/// are unknown here, so of `City_ST` only the state is checked.
fn other_spelling(place: &str) -> Option<String> {
    let canonical = match place.rsplit_once('_') {
        Some((city, state)) => format!("{city}_{}", place::state_code(state)?),
        None => Places::default().canonical(place).into_owned(),
    };
    (canonical != place).then_some(canonical)
}

/// Returns the names below `event` in an expression such as `event.a.b` or `event["a"].b`.
pub(super) fn path(of: &IdedExpr) -> Option<Vec<String>> {
    let mut path = Vec::new();
    let mut at = of;
    loop {
        match &at.expr {
            Expr::Ident(name) if name == EVENT && !path.is_empty() => {
                path.reverse();
                return Some(path);
            }
            Expr::Select(select) => {
                path.push(select.field.clone());
                at = &select.operand;
            }
            Expr::Call(call) if call.func_name == operators::INDEX => {
                let [operand, index] = call.args.as_slice() else {
                    return None;
                };
                let Expr::Literal(LiteralValue::String(name)) = &index.expr else {
                    return None;
                };
                path.push(name.inner().to_owned());
                at = operand;
            }
            _ => return None,
        }
    }
}

/// Returns the start of an expression: the position of its leftmost part, because operators, calls
/// and macros are placed at their sign.
fn position(places: &SourceInfo, of: &IdedExpr) -> Option<TextPosition> {
    let mut leftmost = of;
    loop {
        leftmost = match &leftmost.expr {
            Expr::Select(select) => &select.operand,
            Expr::Comprehension(over) => &over.iter_range,
            Expr::Call(call) => match call.target.as_deref().or(call.args.first()) {
                Some(first) if places.offset_for(first.id) < places.offset_for(leftmost.id) => {
                    first
                }
                _ => break,
            },
            _ => break,
        };
    }
    let (start, _) = places.offset_for(leftmost.id)?;
    let mut start = start as usize;
    if let Expr::Call(call) = &leftmost.expr
        && let Some(before) = places.source.get(..start)
        && let Some(before) = before.trim_end().strip_suffix(&call.func_name)
    {
        start = before.len();
    }
    TextPosition::at(&places.source, start)
}
