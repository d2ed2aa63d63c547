//! The result type of an operator or function for operand types, determined by the evaluator
//! itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedEntryExpr, ListExpr, MapEntryExpr, MapExpr};
use cel::common::types::Kind;
use cel::common::value::Val;
use cel::parser::Parser;
use cel::{Context, ExecutionError, IdedExpr, Value};

use super::super::{LIBRARY, panic_text};
use super::{Type, Types};

/// The result of evaluating an expression without variables.
pub(super) enum Attempt {
    Gives(Type),
    /// The operation fails for any values of these operand types.
    WrongTypes,
    /// The operation fails because of a literal operand, for this reason; our samples never cause
    /// this, for example none divides by zero.
    WrongConstant(String),
    /// The operation fails with these values, for this reason; with others it may not.
    WrongValues(String),
}

/// Evaluates an expression without variables.
pub(super) fn evaluate(expression: &IdedExpr) -> Attempt {
    let result = catch_unwind(AssertUnwindSafe(|| {
        let context = Context::with_env(Arc::clone(&LIBRARY));
        Value::resolve_val(expression, &context).map(|value| type_of(&*value))
    }));
    match result {
        Ok(Ok(Some(of))) => Attempt::Gives(of),
        Ok(Ok(None)) => Attempt::WrongValues("it gives what no condition has use for".to_owned()),
        Ok(Err(error)) => failed(&error),
        Err(panic) => Attempt::WrongValues(panic_text(&*panic).to_owned()),
    }
}

fn failed(error: &ExecutionError) -> Attempt {
    use ExecutionError as E;
    match error {
        error if is_about_types(error) => Attempt::WrongTypes,
        E::DivisionByZero(_) | E::RemainderByZero(_) => {
            Attempt::WrongConstant("a division by zero".to_owned())
        }
        E::FunctionError { function, message } if function == "timezone" => {
            Attempt::WrongConstant(message.clone())
        }
        E::FunctionError { function, message } => {
            Attempt::WrongValues(format!("`{function}`: {message}"))
        }
        E::Overflow(..) => Attempt::WrongValues("a number that is too large".to_owned()),
        error => Attempt::WrongValues(error.to_string()),
    }
}

/// Returns true if an evaluation failed because of its operands' types, not their values.
pub(in super::super) fn is_about_types(error: &ExecutionError) -> bool {
    use ExecutionError as E;
    matches!(
        error,
        E::InvalidArgumentCount { .. }
            | E::UnsupportedTargetType { .. }
            | E::NotSupportedAsMethod { .. }
            | E::UnsupportedKeyType(_)
            | E::UnexpectedType { .. }
            | E::NoSuchOverload(_)
            | E::UndeclaredReference(_)
            | E::MissingArgumentOrTarget
            | E::ValuesNotComparable(..)
            | E::UnsupportedBinaryOperator(..)
    )
}

/// Returns the type of a value; `None` for types that conditions do not use.
fn type_of(value: &dyn Val) -> Option<Type> {
    Some(match value.get_type().kind() {
        Kind::Boolean => Type::Bool,
        Kind::Int => Type::Int,
        Kind::UInt => Type::UInt,
        Kind::Double => Type::Double,
        Kind::String => Type::Text,
        Kind::Bytes => Type::Bytes,
        Kind::NullType => Type::Null,
        Kind::Timestamp => Type::Instant,
        Kind::Duration => Type::Span,
        Kind::Type => Type::Named,
        Kind::List => Type::List(Box::new(items(value, |_| None).0)),
        Kind::Map => {
            let values = value.as_indexer()?;
            let (keys, values) = items(value, |key| {
                values.get(key).ok().and_then(|value| type_of(&*value))
            });
            Type::Map(Box::new(keys), Box::new(values))
        }
        _ => return None,
    })
}

/// Returns the types of the items that an iteration over a list or mapping gives, and the types
/// that `also` derives from each item.
fn items(holder: &dyn Val, also: impl Fn(&dyn Val) -> Option<Type>) -> (Types, Types) {
    let (mut all, mut others) = (Types::none(), Types::none());
    let Some(holder) = holder.as_iterable() else {
        return (Types::unknown(), Types::unknown());
    };
    let add = |to: &mut Types, of: Option<Type>| match of {
        Some(of) => to.add(vec![of]),
        None => to.is_unknown = true,
    };
    let mut left = holder.iter();
    while let Some(item) = left.next() {
        add(&mut all, type_of(item));
        add(&mut others, also(item));
    }
    (all, others)
}

/// Returns values of a type as expressions. For texts there are several, because functions often
/// accept only some texts.
pub(super) fn samples(of: &Type) -> Vec<IdedExpr> {
    let [
        bool,
        int,
        uint,
        double,
        bytes,
        null,
        instant,
        span,
        name,
        map,
    ] = &*SAMPLES;
    let one = match of {
        Type::Text => return TEXTS.to_vec(),
        Type::Bool => bool,
        Type::Int => int,
        Type::UInt => uint,
        Type::Double => double,
        Type::Bytes => bytes,
        Type::Null => null,
        Type::Instant => instant,
        Type::Span => span,
        Type::Named => name,
        Type::Object(_) | Type::Attributes => map,
        Type::List(items) => {
            let items = items.all().filter_map(|of| samples(of).into_iter().next());
            return vec![expression(Expr::List(ListExpr::new(items.collect())))];
        }
        Type::Map(keys, values) => {
            let first = |of: &Types| -> Vec<_> {
                let firsts = of.all().filter_map(|of| samples(of).into_iter().next());
                firsts.collect()
            };
            let (keys, values) = (first(keys), first(values));
            let entry = |(key, value)| IdedEntryExpr {
                id: 0,
                expr: EntryExpr::MapEntry(MapEntryExpr {
                    key,
                    value,
                    optional: false,
                }),
            };
            let entries = keys
                .into_iter()
                .zip(values.into_iter().cycle())
                .map(entry)
                .collect();
            return vec![expression(Expr::Map(MapExpr { entries }))];
        }
    };
    vec![one.clone()]
}

static SAMPLES: LazyLock<[IdedExpr; 10]> = LazyLock::new(|| {
    [
        "true",
        "1",
        "1u",
        "1.0",
        "b'1'",
        "null",
        "timestamp('2027-06-12T00:00:00Z')",
        "duration('1h')",
        "int",
        "{'a': 'b'}",
    ]
    .map(parsed)
});

static TEXTS: LazyLock<[IdedExpr; 5]> =
    LazyLock::new(|| ["'1'", "'true'", "'1h'", "'2027-06-12T00:00:00Z'", "'UTC'"].map(parsed));

fn parsed(text: &str) -> IdedExpr {
    Parser::new().parse(text).expect("the samples are CEL")
}

fn expression(expr: Expr) -> IdedExpr {
    IdedExpr { id: 0, expr }
}

/// Evaluates a call with operands; the first operand is the target if the call has one.
pub(super) fn call(of: &CallExpr, operands: &[IdedExpr]) -> Attempt {
    let mut operands = operands.iter().cloned();
    let target = of.target.as_ref().and_then(|_| operands.next());
    evaluate(&expression(Expr::Call(CallExpr {
        func_name: of.func_name.clone(),
        target: target.map(Box::new),
        args: operands.collect(),
    })))
}
