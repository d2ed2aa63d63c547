//! `${VAR}` and `${VAR:-default}` in connection fields.

use std::fmt;

use super::problem::{Code, Problem, Severity};
use super::units::Connection;

/// The source of variables.
#[derive(Clone, Copy)]
pub enum Variables<'a> {
    /// The environment. A variable that is not set is a problem, reported at its place in the file.
    From(&'a dyn Fn(&str) -> Option<String>),
    /// No environment: variables without a default remain as written, for checking a file on a
    /// machine that does not run it. The resulting topology must not be run.
    Unresolved,
}

/// A variable in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Variable {
    pub name: String,
    pub default: Option<String>,
}

/// Shows the variable as `${NAME}, by default …`.
impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.default.as_deref() {
            None => write!(f, "${{{}}} must be set", self.name),
            Some("") => write!(f, "${{{}}}, by default empty", self.name),
            Some(default) => write!(f, "${{{}}}, by default {default}", self.name),
        }
    }
}

/// Returns the variables in a field.
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

/// A connection field with its variables substituted.
pub(super) struct Resolved {
    pub(super) text: String,
    /// False if a variable was left as written, so that the text cannot be checked.
    pub(super) complete: bool,
}

/// The kind of text that a field may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One line: addresses, names, passwords.
    Line,
    /// Text for an HTTP header: keys and tokens.
    Header,
    /// Many lines: certificates in PEM.
    Lines,
}

/// Substitutes the variables in a field; missing ones are reported and left as written. Also
/// reports text that would otherwise be rejected only at its use, long after the start: most often
/// a secret that ends with the line end written by `echo`.
pub(super) fn resolve(
    field: &Connection,
    variables: Variables<'_>,
    form: Form,
    problems: &mut Vec<Problem>,
) -> Resolved {
    let mut resolved = Resolved {
        text: String::new(),
        complete: true,
    };
    let mut blemishes = Vec::new();
    let mut rest = field.0.value.as_str();
    while let Some(at) = rest.find("${") {
        resolved.text.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}').map(|end| at + end) else {
            problems.push(
                Problem::new(field.0.span, "`${` without its `}`")
                    .code(Code::Variable)
                    .expected("expected `${NAME}` or `${NAME:-default}`"),
            );
            resolved.complete = false;
            return resolved;
        };
        let inner = &rest[at + 2..end];
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        match look_up(name, default, variables) {
            Ok(value) => {
                if let Some(blemish) = Blemish::of(&value, form) {
                    let what = format!("the value of `{name}`");
                    blemishes.push(blemish.problem(field, &what, form));
                }
                resolved.text.push_str(&value);
            }
            Err(missing) => {
                resolved.complete = false;
                resolved.text.push_str(&rest[at..=end]);
                if let Some(problem) = missing {
                    problems.push(problem(field, name).code(Code::Variable));
                }
            }
        }
        rest = &rest[end + 1..];
    }
    resolved.text.push_str(rest);
    if blemishes.is_empty() {
        let blemish = Blemish::of(&resolved.text, form);
        blemishes.extend(blemish.map(|of| of.problem(field, "this text", form)));
    }
    let fatal = |problem: &Problem| problem.severity == Severity::Error;
    resolved.complete &= !blemishes.iter().any(fatal);
    problems.append(&mut blemishes);
    resolved
}

/// A defect that makes a text unfit for its use. Never contains the text, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blemish {
    /// A blank at the start or end.
    Blank {
        at_end: bool,
    },
    LineEnd {
        at_end: bool,
    },
    /// A forbidden character and its position, from 1.
    Character {
        is: char,
        at: usize,
    },
}

impl Blemish {
    fn of(text: &str, form: Form) -> Option<Self> {
        let is_end = |c: char| matches!(c, '\n' | '\r');
        if form == Form::Lines {
            return None;
        }
        if text.ends_with(is_end) || text.starts_with(is_end) {
            let at_end = text.ends_with(is_end);
            return Some(Self::LineEnd { at_end });
        }
        let is_bad = |c: char| c.is_control() || (form == Form::Header && !matches!(c, ' '..='~'));
        let bad = text.chars().enumerate().find(|(_, c)| is_bad(*c));
        if let Some((at, is)) = bad {
            return Some(Self::Character { is, at: at + 1 });
        }
        let blank = text.trim() != text;
        blank.then(|| Self::Blank {
            at_end: text.trim_end() != text,
        })
    }

    fn problem(self, field: &Connection, what: &str, form: Form) -> Problem {
        let end = |at_end| if at_end { "ends" } else { "begins" };
        let message = match self {
            Self::LineEnd { at_end } => format!("{what} {} with a line end", end(at_end)),
            Self::Blank { at_end } => format!("{what} {} with a blank", end(at_end)),
            Self::Character { is, at } => {
                let code = u32::from(is);
                format!("{what} holds the character U+{code:04X}, as its {at}.")
            }
        };
        let problem = Problem::new(field.0.span, message);
        match self {
            Self::LineEnd { .. } => problem
                .expected("expected text on one line")
                .help("`echo` writes a line end behind a secret; `printf %s` does not"),
            Self::Character { .. } if form == Form::Header => {
                problem.expected("expected letters, digits and signs of ASCII")
            }
            Self::Character { .. } => problem.expected("expected text on one line"),
            Self::Blank { .. } if form == Form::Header => {
                problem.expected("expected no blanks around it")
            }
            // Only a warning, because a password may begin or end with a blank.
            Self::Blank { .. } => problem.warning(),
        }
    }
}

type Complaint = fn(&Connection, &str) -> Problem;

/// Returns the value, or a problem to report; `Err(None)` if variables are not looked up at all.
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
    // As in a shell's `:-`, an empty variable counts as unset if there is a default.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, form: Form, want: Option<Blemish>) {
        assert_eq!(Blemish::of(text, form), want, "{text:?} as {form:?}");
    }

    #[test]
    fn what_a_secret_may_not_hold_is_found_before_it_is_used() {
        let (begins, ends) = (
            Blemish::LineEnd { at_end: false },
            Blemish::LineEnd { at_end: true },
        );
        for form in [Form::Line, Form::Header] {
            check("sk-test", form, None);
            check("", form, None);
            check("two words", form, None);
            check("sk-test\n", form, Some(ends));
            check("sk-test\r\n", form, Some(ends));
            check("\nsk-test", form, Some(begins));
            check("\n", form, Some(ends));
            check(
                "sk\ntest",
                form,
                Some(Blemish::Character { is: '\n', at: 3 }),
            );
            check(
                "sk\ttest",
                form,
                Some(Blemish::Character { is: '\t', at: 3 }),
            );
            check("\0", form, Some(Blemish::Character { is: '\0', at: 1 }));
            check("sk-test ", form, Some(Blemish::Blank { at_end: true }));
            check(" sk-test", form, Some(Blemish::Blank { at_end: false }));
        }
        check("pässword", Form::Line, None);
        check(
            "pässword",
            Form::Header,
            Some(Blemish::Character { is: 'ä', at: 2 }),
        );
        check(
            "sk\u{200b}",
            Form::Header,
            Some(Blemish::Character {
                is: '\u{200b}',
                at: 3,
            }),
        );
        check("-----BEGIN\nx\n-----END\n", Form::Lines, None);
    }

    proptest! {
        /// A header text without a blemish is accepted by the HTTP library.
        #[test]
        fn a_header_without_blemish_is_one(text in "\\PC{0,8}[\\x00-\\x7f]{0,8}") {
            if Blemish::of(&text, Form::Header).is_none() {
                let header = format!("Bearer {text}");
                prop_assert!(reqwest::header::HeaderValue::from_str(&header).is_ok());
            }
        }
    }
}
