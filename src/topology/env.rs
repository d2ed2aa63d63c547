//! `${VAR}` and `${VAR:-default}` in connection fields.

use std::fmt;

use super::problem::{Code, Problem};
use super::units::Connection;

/// Where variables come from.
#[derive(Clone, Copy)]
pub enum Variables<'a> {
    /// The environment; a variable that is not set is a problem, at its place.
    From(&'a dyn Fn(&str) -> Option<String>),
    /// No environment: variables without a default stay as they are written. For checking a file
    /// on a machine that does not run it; the topology that comes out is not for running.
    Unresolved,
}

/// A variable that a file names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Variable {
    pub name: String,
    pub default: Option<String>,
}

/// `${NAME}, by default …`.
impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.default.as_deref() {
            None => write!(f, "${{{}}} must be set", self.name),
            Some("") => write!(f, "${{{}}}, by default empty", self.name),
            Some(default) => write!(f, "${{{}}}, by default {default}", self.name),
        }
    }
}

/// The variables that a field names.
pub(super) fn variables_in(field: &Connection) -> impl Iterator<Item = Variable> {
    field.0.value.split("${").skip(1).filter_map(|rest| {
        let (inner, _) = rest.split_once('}')?;
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default.to_owned())),
            None => (inner, None),
        };
        Some(Variable {
            name: name.to_owned(),
            default,
        })
    })
}

/// A connection field with its variables put in.
pub(super) struct Resolved {
    pub(super) text: String,
    /// False where a variable was left as it is written, so that the text proves nothing.
    pub(super) complete: bool,
}

/// Puts the variables into a field; what is missing is reported and left as written.
pub(super) fn resolve(
    field: &Connection,
    variables: Variables<'_>,
    problems: &mut Vec<Problem>,
) -> Resolved {
    let mut text = String::new();
    let mut complete = true;
    let mut rest = field.0.value.as_str();
    while let Some(at) = rest.find("${") {
        text.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}').map(|end| at + end) else {
            problems.push(
                Problem::new(field.0.span, "`${` without its `}`")
                    .code(Code::Variable)
                    .expected("expected `${NAME}` or `${NAME:-default}`"),
            );
            return Resolved {
                text,
                complete: false,
            };
        };
        let inner = &rest[at + 2..end];
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        match look_up(name, default, variables) {
            Ok(value) => text.push_str(&value),
            Err(missing) => {
                complete = false;
                text.push_str(&rest[at..=end]);
                if let Some(problem) = missing {
                    problems.push(problem(field, name).code(Code::Variable));
                }
            }
        }
        rest = &rest[end + 1..];
    }
    text.push_str(rest);
    Resolved { text, complete }
}

type Complaint = fn(&Connection, &str) -> Problem;

/// The value, or what to complain of; nothing when variables are not looked up at all.
fn look_up(
    name: &str,
    default: Option<&str>,
    variables: Variables<'_>,
) -> Result<String, Option<Complaint>> {
    let legal = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !legal {
        return Err(Some(|field, name| {
            Problem::new(
                field.0.span,
                format!("`{name}` is not the name of a variable"),
            )
            .expected("expected letters, digits and `_`, such as `${WEDCACHE_KAFKA}`")
        }));
    }
    let value = match variables {
        Variables::From(environment) => environment(name),
        Variables::Unresolved if default.is_none() => return Err(None),
        Variables::Unresolved => None,
    };
    // As in a shell, an empty variable counts as none where there is a default.
    match (value, default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Some(|field, name| {
            Problem::new(field.0.span, format!("the environment variable `{name}` is not set"))
                .help(format!(
                    "set {name}, or write a default: `${{{name}:-…}}`; `wedcache validate --no-env` checks a file without its variables"
                ))
        })),
    }
}
