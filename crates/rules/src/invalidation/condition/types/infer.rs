//! The walk over a condition that finds the types of its parts.

use std::collections::HashSet;

use cel::IdedExpr;
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, MapExpr, SelectExpr, operators,
};

use super::super::check::{EVENT, TYPES, path};
use super::attempt::{self, Attempt};
use super::outcomes::outcomes;
use super::words;
use super::{Type, Types};
use crate::invalidation::facts;
use crate::invalidation::rule::ChangeSource;

/// The most walks over a macro's step until the types that it accumulates no longer grow.
const ROUNDS: usize = 3;

/// The kind of problem of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    /// The part has no value at any event.
    Fails,
    /// The part has a value that is never a boolean, where one is needed.
    NotBoolean,
    /// Whenever the part has a value, it is this one.
    Always(bool),
    /// The part fails for some of the types that its own parts can have: a warning.
    MayFail,
}

/// A part of a condition that has a problem.
#[derive(Debug, Clone)]
pub(in super::super) struct Finding<'a> {
    pub(in super::super) at: &'a IdedExpr,
    pub(in super::super) kind: Kind,
    pub(in super::super) message: String,
    pub(in super::super) expected: String,
}

/// A part with its inferred types.
pub(super) struct Operand<'a> {
    pub(super) of: &'a IdedExpr,
    pub(super) types: Types,
    /// True if the part names no variable and has a value.
    pub(super) is_constant: bool,
}

/// The walk over a condition.
pub(in super::super) struct Inference<'a> {
    source: Option<ChangeSource>,
    /// Parts whose other problems have been reported.
    reported: &'a HashSet<u64>,
    /// The variables of the enclosing macros.
    bound: Vec<(&'a str, Types)>,
    found: Vec<Finding<'a>>,
}

impl<'a> Inference<'a> {
    pub(in super::super) fn new(source: Option<ChangeSource>, reported: &'a HashSet<u64>) -> Self {
        Self {
            source,
            reported,
            bound: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Returns all type problems of a condition, in the order of the walk.
    pub(in super::super) fn condition(mut self, root: &'a IdedExpr) -> Vec<Finding<'a>> {
        let whole = self.part(root);
        self.boolean(&whole);
        self.found
    }

    fn report(&mut self, of: &'a IdedExpr, kind: Kind, message: String, expected: String) {
        // Reported once only: the step of a macro is walked several times.
        let is_known = |found: &Finding<'_>| found.at.id == of.id && found.kind == kind;
        if !self.found.iter().any(is_known) {
            self.found.push(Finding {
                at: of,
                kind,
                message,
                expected,
            });
        }
    }

    fn part(&mut self, of: &'a IdedExpr) -> Operand<'a> {
        if self.reported.contains(&of.id) {
            return operand(of, Types::unknown(), false);
        }
        match &of.expr {
            Expr::Literal(literal) => operand(of, literal_types(literal), true),
            Expr::Ident(name) => self.variable(of, name),
            Expr::Select(select) => self.select(of, select),
            Expr::Call(call) => self.call(of, call),
            Expr::Comprehension(over) => self.comprehension(of, over),
            Expr::List(list) => {
                let (items, is_constant) = self.gathered(list.elements.iter());
                let types =
                    items.map_or_else(Types::none, |items| Types::one(Type::List(Box::new(items))));
                self.settled(of, types, is_constant)
            }
            Expr::Map(map) => self.mapping(of, map),
            Expr::Unspecified | Expr::Struct(_) => operand(of, Types::unknown(), false),
        }
    }

    fn variable(&mut self, of: &'a IdedExpr, name: &str) -> Operand<'a> {
        if let Some((_, types)) = self.bound.iter().rev().find(|(bound, _)| *bound == name) {
            return operand(of, types.clone(), false);
        }
        if TYPES.contains(&name) {
            return operand(of, Types::one(Type::Named), true);
        }
        let types = match self.source.filter(|_| name == EVENT) {
            Some(source) => Types::of_kind(facts::shape(source)),
            None => Types::unknown(),
        };
        operand(of, types, false)
    }

    /// Returns the types of the event's field that `of` names; `None` if it names none.
    fn field(&self, of: &IdedExpr) -> Option<Types> {
        let path = path(of).filter(|_| !self.bound.iter().any(|(name, _)| *name == EVENT))?;
        match self.source {
            Some(source) => facts::shape(source).at(&path).ok().map(Types::of_kind),
            None => Some(Types::unknown()),
        }
    }

    fn select(&mut self, of: &'a IdedExpr, select: &'a SelectExpr) -> Operand<'a> {
        if let Some(types) = self.field(of) {
            let asked = Types::one(Type::Bool);
            return operand(of, if select.test { asked } else { types }, false);
        }
        let whole = self.part(&select.operand);
        let types = self.fields(of, &whole, select);
        self.settled(of, types, whole.is_constant)
    }

    fn fields(&mut self, of: &'a IdedExpr, whole: &Operand<'_>, select: &SelectExpr) -> Types {
        if whole.types.is_unknown || whole.types.is_none() {
            return whole.types.clone();
        }
        let field = |holder: &Type| match holder {
            Type::Object(fields) => {
                let known = fields.iter().find(|(name, _)| *name == select.field);
                known.map(|(_, kind)| Types::of_kind(*kind))
            }
            Type::Attributes => Some(Types::of_kind(facts::Kind::Attribute)),
            Type::Map(keys, values) if keys.is_open() || keys.can_be(&Type::Text) => {
                Some(known(values))
            }
            _ => None,
        };
        let (types, some_fail) = each(&whole.types, field);
        let why = || {
            let holder = words::types(&whole.types);
            format!("{holder} has no field `{}`", select.field)
        };
        let can_lack =
            |holder: &Type| matches!(holder, Type::Object(_) | Type::Map(..) | Type::Attributes);
        if types.is_none() && select.test && whole.types.all().any(can_lack) {
            let message = format!("is never true: {}", why());
            self.report(of, Kind::Always(false), message, String::new());
            return Types::one(Type::Bool);
        }
        if types.is_none() {
            let message = format!("can never be evaluated: {}", why());
            self.report(of, Kind::Fails, message, String::new());
        } else if some_fail {
            self.report(
                of,
                Kind::MayFail,
                format!("may fail: {}", why()),
                String::new(),
            );
        }
        if select.test && !types.is_none() {
            return Types::one(Type::Bool);
        }
        types
    }

    fn call(&mut self, of: &'a IdedExpr, call: &'a CallExpr) -> Operand<'a> {
        if call.func_name == operators::INDEX
            && let Some(types) = self.field(of)
        {
            return operand(of, types, false);
        }
        let parts = call.target.as_deref().into_iter().chain(&call.args);
        let parts: Vec<_> = parts.map(|of| self.part(of)).collect();
        let is_constant = parts.iter().all(|part| part.is_constant);
        let types = match (call.func_name.as_str(), parts.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [left, right]) => {
                // Either side can decide the result alone; then the other may fail.
                if self.boolean(left) | self.boolean(right) {
                    Types::one(Type::Bool)
                } else {
                    Types::none()
                }
            }
            (operators::CONDITIONAL, [condition, yes, no]) => {
                let mut types = Types::none();
                if self.boolean(condition) {
                    types.join(yes.types.clone());
                    types.join(no.types.clone());
                }
                types
            }
            (operators::NOT_STRICTLY_FALSE, _) => Types::one(Type::Bool),
            ("dyn", [inner]) => inner.types.clone(),
            (operators::EQUALS | operators::NOT_EQUALS, [left, right]) => {
                let differ = call.func_name == operators::NOT_EQUALS;
                self.equality(of, (left, right), differ);
                self.strict(of, call, &parts)
            }
            (operators::IN, [item, holder]) => {
                let types = self.strict(of, call, &parts);
                if !types.is_none() {
                    self.membership(of, item, holder);
                }
                types
            }
            (operators::INDEX, [holder, index]) => {
                let types = self.strict(of, call, &parts);
                if types.is_none() {
                    types
                } else {
                    self.held(of, holder, index)
                }
            }
            _ => self.strict(of, call, &parts),
        };
        self.settled(of, types, is_constant)
    }

    /// Returns the operand of a part; a part without variables is evaluated once to get its exact
    /// type.
    fn settled(&mut self, of: &'a IdedExpr, types: Types, is_constant: bool) -> Operand<'a> {
        if !is_constant || types.is_none() {
            return operand(of, types, false);
        }
        let why = match attempt::evaluate(of) {
            Attempt::Gives(exactly) => return operand(of, Types::one(exactly), true),
            Attempt::WrongTypes => None,
            Attempt::WrongConstant(why) | Attempt::WrongValues(why) => Some(why),
        };
        let unreadable = match &of.expr {
            Expr::Call(call) => words::unreadable(&call.func_name),
            _ => None,
        };
        let (why, expected) = match (unreadable, why) {
            (Some((why, expected)), Some(_)) => (why.to_owned(), expected.to_owned()),
            (_, why) => (why.unwrap_or_default(), String::new()),
        };
        let message = format!("can never be evaluated: {why}");
        let message = message.trim_end_matches([':', ' ']).to_owned();
        self.report(of, Kind::Fails, message, expected);
        operand(of, Types::none(), false)
    }

    fn mapping(&mut self, of: &'a IdedExpr, map: &'a MapExpr) -> Operand<'a> {
        let entries = map.entries.iter().filter_map(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => Some(entry),
            EntryExpr::StructField(_) => None,
        });
        let (keys, constant_keys) = self.gathered(entries.clone().map(|entry| &entry.key));
        let (values, constant_values) = self.gathered(entries.map(|entry| &entry.value));
        let types = match (keys, values) {
            (Some(keys), Some(values)) => Types::one(Type::Map(Box::new(keys), Box::new(values))),
            _ => Types::none(),
        };
        self.settled(of, types, constant_keys && constant_values)
    }

    /// Returns the types of all parts together, `None` if a part has no value; and true if all
    /// parts are constants.
    fn gathered(&mut self, parts: impl Iterator<Item = &'a IdedExpr>) -> (Option<Types>, bool) {
        let (mut all, mut is_constant, mut fails) = (Types::none(), true, false);
        for part in parts {
            let part = self.part(part);
            is_constant &= part.is_constant;
            fails |= part.types.is_none();
            all.join(part.types);
        }
        ((!fails).then_some(all), is_constant)
    }

    /// Reports a part that is never true or false; returns true if it can be one of them.
    fn boolean(&mut self, part: &Operand<'a>) -> bool {
        let types = &part.types;
        if types.is_none() {
            return false;
        }
        let expected = "a comparison, or another expression that gives a boolean".to_owned();
        if !types.can_be(&Type::Bool) {
            let message = format!("is never true or false: it is {}", words::types(types));
            self.report(part.of, Kind::NotBoolean, message, expected);
            return false;
        }
        if !types.can_always_be(&Type::Bool) {
            let message = format!(
                "may be neither true nor false: it is {}",
                words::types(types)
            );
            self.report(part.of, Kind::MayFail, message, expected);
        }
        true
    }

    fn equality(
        &mut self,
        of: &'a IdedExpr,
        (left, right): (&Operand<'a>, &Operand<'a>),
        differ: bool,
    ) {
        if left.types.is_none() || right.types.is_none() || left.types.can_equal(&right.types) {
            return;
        }
        let (left, right) = (words::types(&left.types), words::types(&right.types));
        let message = format!("is always {differ}: {left} never equals {right}");
        self.report(
            of,
            Kind::Always(differ),
            message,
            "two of one type".to_owned(),
        );
    }

    fn membership(&mut self, of: &'a IdedExpr, item: &Operand<'a>, holder: &Operand<'a>) {
        if item.types.is_unknown || holder.types.is_unknown {
            return;
        }
        let can_hold = |of: &Type| match of {
            Type::List(items) => items.is_open() || item.types.can_equal(items),
            Type::Map(keys, _) => keys.is_open() || item.types.can_equal(keys),
            Type::Object(_) | Type::Attributes => item.types.can_be(&Type::Text),
            _ => false,
        };
        if !holder.types.all().any(can_hold) {
            let (item, holder) = (words::types(&item.types), words::types(&holder.types));
            let message = format!("is never true: {holder} holds no value that is {item}");
            self.report(of, Kind::Always(false), message, String::new());
        }
    }

    /// Returns the types of the item at an index of a list or mapping, where the index is not a
    /// field's name.
    fn held(&mut self, of: &'a IdedExpr, holder: &Operand<'a>, index: &Operand<'a>) -> Types {
        if holder.types.is_unknown {
            return Types::unknown();
        }
        let (types, _) = each(&holder.types, |of| match of {
            Type::List(items) => Some(known(items)),
            Type::Map(keys, values) => {
                (keys.is_open() || index.types.can_equal(keys)).then(|| known(values))
            }
            Type::Attributes if index.types.can_be(&Type::Text) => {
                Some(Types::of_kind(facts::Kind::Attribute))
            }
            Type::Object(_) if index.types.can_be(&Type::Text) => Some(Types::unknown()),
            _ => None,
        });
        if types.is_none() {
            let (holder, index) = (words::types(&holder.types), words::types(&index.types));
            let message = format!("can never be evaluated: {holder} has no key that is {index}");
            self.report(of, Kind::Fails, message, String::new());
        }
        types
    }

    /// Returns the types of a call that needs the values of all its operands.
    fn strict(&mut self, of: &'a IdedExpr, call: &'a CallExpr, parts: &[Operand<'a>]) -> Types {
        if parts.iter().any(|part| part.types.is_none()) {
            return Types::none();
        }
        if parts.iter().any(|part| part.types.is_unknown) {
            return Types::unknown();
        }
        let outcomes = outcomes(call, parts);
        if outcomes.types.is_none() {
            let (why, expected) = match outcomes.why {
                Some(why) => (why, String::new()),
                None => (words::call(call, parts), words::remedy(call, parts)),
            };
            let message = format!("can never be evaluated: {why}");
            self.report(of, Kind::Fails, message, expected);
        } else if outcomes.some_fail {
            let message = format!("may fail: {}", words::call(call, parts));
            self.report(of, Kind::MayFail, message, words::remedy(call, parts));
        }
        outcomes.types
    }

    fn comprehension(&mut self, of: &'a IdedExpr, over: &'a ComprehensionExpr) -> Operand<'a> {
        let range = self.part(&over.iter_range);
        let Some(item) = self.item(of, &range) else {
            return operand(of, Types::none(), false);
        };
        let start = self.part(&over.accu_init);
        let (depth, mut gathered) = (self.bound.len(), start.types);
        for _ in 0..ROUNDS {
            self.bound.truncate(depth);
            self.bound.push((&over.iter_var, item.clone()));
            if let Some(second) = &over.iter_var2 {
                self.bound.push((second, Types::unknown()));
            }
            self.bound.push((&over.accu_var, gathered.clone()));
            self.part(&over.loop_cond);
            let step = self.part(&over.loop_step);
            let before = gathered.clone();
            gathered.join(step.types);
            if gathered == before {
                break;
            }
        }
        // The result sees the types accumulated at last.
        if let Some(last) = self.bound.last_mut() {
            last.1 = gathered;
        }
        let result = self.part(&over.result);
        self.bound.truncate(depth);
        operand(of, result.types, false)
    }

    /// Returns the types of a macro's variable; `None` if its range can never be iterated.
    fn item(&mut self, of: &'a IdedExpr, range: &Operand<'a>) -> Option<Types> {
        if range.types.is_unknown || range.types.is_none() {
            return (!range.types.is_none()).then(Types::unknown);
        }
        // The variable takes no value from an empty range.
        let is_empty =
            |of: &Type| matches!(of, Type::List(items) | Type::Map(items, _) if items.is_none());
        let mut filled = range.types.clone();
        filled
            .alternatives
            .retain(|types| !types.iter().any(is_empty));
        if filled.is_none() {
            return Some(Types::unknown());
        }
        let (item, some_fail) = each(&filled, |of| match of {
            Type::List(items) | Type::Map(items, _) => Some(known(items)),
            Type::Object(_) | Type::Attributes => Some(Types::one(Type::Text)),
            _ => None,
        });
        let told = words::types(&range.types);
        let expected = "a list or a mapping".to_owned();
        if item.is_none() {
            let message = format!("can never be evaluated: a macro over {told}");
            self.report(of, Kind::Fails, message, expected);
            return None;
        }
        if some_fail {
            let message = format!("may fail: a macro over {told}");
            self.report(of, Kind::MayFail, message, expected);
        }
        Some(item)
    }
}

fn operand(of: &IdedExpr, types: Types, is_constant: bool) -> Operand<'_> {
    Operand {
        of,
        types,
        is_constant,
    }
}

fn literal_types(literal: &LiteralValue) -> Types {
    Types::one(match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(_) => Type::Text,
        LiteralValue::UInt(_) => Type::UInt,
    })
}

/// Returns the types of items; unknown if none was written out.
fn known(items: &Types) -> Types {
    if items.is_open() {
        return Types::unknown();
    }
    items.clone()
}

/// Returns the types that `result` gives for each alternative, and true if it gives none for some
/// alternative.
fn each(of: &Types, result: impl Fn(&Type) -> Option<Types>) -> (Types, bool) {
    let (mut types, mut some_fail) = (Types::none(), false);
    for alternative in &of.alternatives {
        let mut found = Types::none();
        for result in alternative.iter().filter_map(&result) {
            found.join(result);
        }
        some_fail |= found.is_none();
        // If the alternative has several types, its sender decides which result it is.
        types.join(match (alternative.len(), found.is_unknown) {
            (1, _) | (_, true) => found,
            _ if found.is_none() => found,
            _ => Types::either(found.all().cloned().collect()),
        });
    }
    (types, some_fail)
}
