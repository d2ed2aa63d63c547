//! Types, calls and suggested fixes as text.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, Expr, LiteralValue, operators};

use super::super::check::path;
use super::infer::Operand;
use super::{Type, Types};

/// Returns text such as `an int`, `a string or a bool`, `an attribute's value`.
pub(super) fn types(of: &Types) -> String {
    let mut names: Vec<String> = Vec::new();
    for alternative in &of.alternatives {
        let told = match alternative.as_slice() {
            [Type::Text, Type::Double, Type::Bool] => vec!["an attribute's value".to_owned()],
            types => types.iter().map(name).collect(),
        };
        for name in told {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    match names.as_slice() {
        [] => "anything".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

fn name(of: &Type) -> String {
    let plain = match of {
        Type::Bool => "a bool",
        Type::Int => "an int",
        Type::UInt => "a uint",
        Type::Double => "a double",
        Type::Text => "a string",
        Type::Bytes => "bytes",
        Type::Null => "null",
        Type::Instant => "a timestamp",
        Type::Span => "a duration",
        Type::Named => "a type",
        Type::Map(..) | Type::Object(_) | Type::Attributes => "a map",
        Type::List(items) => {
            let all: Vec<_> = items.all().collect();
            let many = match all.as_slice() {
                [Type::Text] => "strings",
                [Type::Int] => "ints",
                [Type::Double] => "doubles",
                _ => return "a list".to_owned(),
            };
            return format!("a list of {many}");
        }
    };
    plain.to_owned()
}

/// Returns text such as `` `*` of an int and a double ``.
pub(super) fn call(of: &CallExpr, parts: &[Operand<'_>]) -> String {
    let operands: Vec<_> = parts.iter().map(|part| types(&part.types)).collect();
    let operands = match operands.as_slice() {
        [] => return format!("`{}()`", symbol(&of.func_name)),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    };
    format!("`{}` of {operands}", symbol(&of.func_name))
}

fn symbol(function: &str) -> &str {
    match function {
        operators::INDEX => "[…]",
        operators::NEGATE => "-",
        operators::LOGICAL_NOT => "!",
        operators::IN => "in",
        name => name.trim_matches('_'),
    }
}

/// Returns a suggested fix; empty if there is no specific one.
pub(super) fn remedy(of: &CallExpr, parts: &[Operand<'_>]) -> String {
    let name = of.func_name.as_str();
    let is_arithmetic = matches!(
        name,
        operators::ADD
            | operators::SUBSTRACT
            | operators::MULTIPLY
            | operators::DIVIDE
            | operators::MODULO
    );
    let is_comparison = matches!(
        name,
        operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS
    );
    match parts {
        [left, right] if is_arithmetic => arithmetic(name, left, right),
        [left, right] if is_comparison => comparison(left, right),
        [_] if name == operators::LOGICAL_NOT => "true or false".to_owned(),
        [_] if name == operators::NEGATE => "an int or a double".to_owned(),
        _ => function(of),
    }
}

fn comparison(left: &Operand<'_>, right: &Operand<'_>) -> String {
    let either = |of| left.types.can_be(of) || right.types.can_be(of);
    if either(&Type::Span) {
        return "two durations: `duration(\"24h\")`".to_owned();
    }
    if either(&Type::Instant) {
        return "two timestamps: `timestamp(\"2027-06-12T00:00:00Z\")`".to_owned();
    }
    "two of one type, or two numbers".to_owned()
}

fn arithmetic(name: &str, left: &Operand<'_>, right: &Operand<'_>) -> String {
    let either = |of: &Type| left.types.can_be(of) || right.types.can_be(of);
    if name == operators::MODULO && either(&Type::Double) {
        return "two whole numbers: `int(…)`".to_owned();
    }
    if either(&Type::Instant) || either(&Type::Span) {
        return "a timestamp or a duration on each side: `duration(\"24h\")`".to_owned();
    }
    for (one, other) in [(left, right), (right, left)] {
        if one.types.can_be(&Type::Double) && other.types.can_be(&Type::Int) {
            // The operand that can be rewritten, preferably a literal, which can be replaced in
            // place.
            return match (literal(other.of), literal(one.of)) {
                (Some(whole), _) => {
                    let why = if one.types.can_be(&Type::Text) {
                        ", as the numbers among attributes are"
                    } else {
                        ""
                    };
                    format!("two doubles{why}: `{whole}.0` in place of `{whole}`")
                }
                (None, Some(fraction)) => format!(
                    "two of one type: `double({})`, or a whole number in place of `{fraction}`",
                    spelled(other.of)
                ),
                (None, None) => format!("two of one type: `double({})`", spelled(other.of)),
            };
        }
    }
    if name == operators::ADD && either(&Type::Text) {
        return "two strings: `string(…)` around what is none".to_owned();
    }
    "two numbers of one type".to_owned()
}

/// Returns the text of a number literal.
fn literal(of: &IdedExpr) -> Option<String> {
    match &of.expr {
        Expr::Literal(LiteralValue::Int(number)) => Some(number.inner().to_string()),
        Expr::Literal(LiteralValue::Double(number)) => Some(format!("{:?}", number.inner())),
        _ => None,
    }
}

/// Returns a field of the event as it is written; `…` for anything else.
fn spelled(of: &IdedExpr) -> String {
    path(of).map_or_else(
        || "…".to_owned(),
        |path| format!("event.{}", path.join(".")),
    )
}

fn function(of: &CallExpr) -> String {
    let name = of.func_name.as_str();
    let is_called = of.target.is_some();
    let of_texts = matches!(name, "contains" | "startsWith" | "endsWith" | "matches");
    let of_times = name.starts_with("get");
    if of_texts && (is_called || name == "matches") {
        return "strings: `string(…)` makes one of a number".to_owned();
    }
    if of_texts {
        return format!("to call it on the text: `text.{name}(…)`");
    }
    if of_times && !is_called {
        return format!("to call it on the time: `time.{name}()`");
    }
    if of_times {
        return "a timestamp, and for the hours and less also a duration".to_owned();
    }
    if name == "size" {
        return "a string, a list or a map".to_owned();
    }
    String::new()
}

/// Returns the reason why a conversion of a text literal fails, and the text that it would accept.
pub(super) fn unreadable(function: &str) -> Option<(&'static str, &'static str)> {
    Some(match function {
        "duration" => (
            "this is no duration",
            "a text such as `90s`, `1h30m` or `24h`",
        ),
        "timestamp" => (
            "this is no timestamp",
            "RFC 3339 with its offset, such as `2027-06-12T00:00:00Z`",
        ),
        "int" | "uint" => ("this is no whole number", "digits, such as `12`"),
        "double" => ("this is no number", "a number, such as `12.5`"),
        "bool" => ("this is neither true nor false", "`true` or `false`"),
        _ => return None,
    })
}
