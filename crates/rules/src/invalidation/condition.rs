//! The conditions of rules: CEL over the change event, compiled once and bounded in their work. The
//! crate `cel` parses and evaluates; the checks are written here, because it has neither a type
//! checker nor bounds on the work of an evaluation.
//!
//! A condition has one variable, `event`, with the event's fields by their names on the wire (see
//! [`super::facts`]); locations also have their `place`, in the form of keys and tags, and
//! `vendorType` is normalised. Numbers among the attributes are doubles.
//!
//! Bounds: a text of at most [`MAX_CHARS`] characters, nested at most [`MAX_DEPTH`] deep; macros
//! over lists (`all`, `exists`, …) neither nested nor chained, so that the work grows only linearly
//! with the event; patterns of `matches` as literals, small, and outside such macros; events within
//! [`super::facts::MAX_ITEMS`] and [`super::facts::MAX_TEXT_BYTES`].
//!
//! A condition that cannot be evaluated on an event (a missing attribute, a wrong type, an event
//! beyond the bounds) counts as holding, so that no invalidation is lost. `has(…)` avoids that for
//! missing fields. A condition that cannot be evaluated on any event is rejected (`types`).

mod check;
#[cfg(test)]
mod tests;
mod types;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::parser::Parser;
use cel::{Context, Env, IdedExpr, ParseErrors, Value};
use serde::Serialize;

use wedcache_model::id::Ids;

use self::check::Check;
use super::facts::Facts;
use super::rule::ChangeSource;

/// The longest condition, in characters.
pub const MAX_CHARS: usize = 1000;
/// The deepest nesting of a condition.
pub const MAX_DEPTH: usize = 40;

/// The parser's stack. Only reserved: a page takes memory when it is first touched.
const PARSER_STACK_BYTES: usize = 64 << 20;

/// A position in a condition's text; line and column count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TextPosition {
    pub line: usize,
    pub column: usize,
}

impl TextPosition {
    /// Converts a byte offset, by which expressions are placed.
    fn at(text: &str, byte: usize) -> Option<Self> {
        let before = text.get(..byte)?;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Some(Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        })
    }
}

/// The reason why a text is not a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionProblem {
    pub at: Option<TextPosition>,
    pub message: String,
    /// The expected form; empty if there is no specific one.
    pub expected: String,
    pub nearest: Option<String>,
}

impl ConditionProblem {
    fn new(at: Option<TextPosition>, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
            expected: String::new(),
            nearest: None,
        }
    }
}

/// The result of a condition on an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Truth {
    Holds,
    DoesNotHold,
    /// The condition could not be evaluated, for this reason; counts as holding.
    Failed(String),
}

/// A compiled condition.
#[derive(Debug)]
pub struct Condition {
    text: Arc<str>,
    expression: IdedExpr,
    /// The event's fields that the condition reads, in order, each once.
    fields: Vec<Vec<String>>,
    warnings: Vec<ConditionProblem>,
}

/// The functions of CEL's standard library, without its macros. Shared because it is costly to
/// build.
static LIBRARY: LazyLock<Arc<Env>> =
    LazyLock::new(|| Arc::new(Env::default().with_optional_support(false).with_stdlib()));

impl Condition {
    /// Compiles `text` for events of `source` whose ids follow the rules `ids`; without a source
    /// the fields are not checked.
    pub fn compile(
        text: &str,
        source: Option<ChangeSource>,
        ids: &Ids,
    ) -> Result<Self, Vec<ConditionProblem>> {
        let chars = text.chars().count();
        if chars > MAX_CHARS {
            let mut problem = ConditionProblem::new(None, format!("{chars} characters"));
            problem.expected = format!("at most {MAX_CHARS}");
            return Err(vec![problem]);
        }
        if let Some(at) = brackets_too_deep(text) {
            let mut problem = ConditionProblem::new(Some(at), "is nested too deeply");
            problem.expected = format!("at most {MAX_DEPTH} brackets within one another");
            return Err(vec![problem]);
        }
        let parsed = on_a_large_stack(|| {
            let depth = u16::try_from(MAX_DEPTH).expect("a small number");
            Parser::new()
                .max_recursion_depth(depth)
                .parse_with_source_info(text)
        });
        let (expression, places) = match parsed {
            Ok(Ok(parsed)) => parsed,
            Ok(Err(errors)) => return Err(syntax_problems(text, &errors)),
            Err(panic) => {
                let message = format!("not a CEL expression: {}", panic_text(&*panic));
                return Err(vec![ConditionProblem::new(None, message)]);
            }
        };
        let checked = Check::new(source, ids, &places).condition(&expression);
        if !checked.problems.is_empty() {
            return Err(checked.problems);
        }
        Ok(Self {
            text: text.into(),
            expression,
            fields: checked.fields,
            warnings: checked.warnings,
        })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns problems of legal conditions that may fail on some events.
    pub fn warnings(&self) -> &[ConditionProblem] {
        &self.warnings
    }

    pub fn evaluate(&self, facts: &Facts) -> Truth {
        let result = catch_unwind(AssertUnwindSafe(|| {
            let mut context = Context::with_env(Arc::clone(&LIBRARY));
            context.add_variable_from_value("event", facts.value().clone());
            Value::resolve(&self.expression, &context)
        }));
        match result {
            Ok(Ok(Value::Bool(true))) => Truth::Holds,
            Ok(Ok(Value::Bool(false))) => Truth::DoesNotHold,
            Ok(Ok(other)) => Truth::Failed(format!("it gives a {}", other.type_of())),
            Ok(Err(error)) => Truth::Failed(bounded(&error.to_string())),
            Err(panic) => Truth::Failed(bounded(panic_text(&*panic))),
        }
    }

    /// Returns the fields that the condition reads with their values in the event, as text; `None`
    /// if the event does not have the field.
    pub fn read_fields(&self, facts: &Facts) -> Vec<(String, Option<String>)> {
        self.fields
            .iter()
            .map(|path| (format!("event.{}", path.join(".")), facts.show(path)))
            .collect()
    }
}

/// Returns the position where brackets nest deeper than [`MAX_DEPTH`]. Brackets in string literals
/// count too: no condition needs forty of them there.
fn brackets_too_deep(text: &str) -> Option<TextPosition> {
    let (mut depth, mut line, mut column) = (0_usize, 1, 0);
    for c in text.chars() {
        column += 1;
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '\n' => (line, column) = (line + 1, 0),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Some(TextPosition { line, column });
        }
    }
    None
}

/// Runs the third-party parser on a thread of its own. Nesting within the bounds can need more
/// stack than the 2 MiB of a test's or a runtime's thread, and a panic of the parser must be
/// reported, not propagated.
fn on_a_large_stack<T: Send>(parse: impl FnOnce() -> T + Send) -> std::thread::Result<T> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("cel-parser".into())
            .stack_size(PARSER_STACK_BYTES)
            .spawn_scoped(scope, parse)
            .expect("a thread can be started while the rules are read")
            .join()
    })
}

/// Bounds an error text: errors of the library quote values, which can be long.
fn bounded(text: &str) -> String {
    const LONGEST: usize = 300;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn syntax_problems(text: &str, errors: &ParseErrors) -> Vec<ConditionProblem> {
    errors
        .errors
        .iter()
        .map(|error| {
            let at = syntax_position(text, error.pos);
            let message = match &error.source {
                Some(cause) => format!("not a CEL expression: {}", bounded(&cause.to_string())),
                None => bounded(&error.msg),
            };
            ConditionProblem::new(at, message)
        })
        .collect()
}

/// Converts the parser's line and column, both from 1 and in characters. After characters that
/// begin no token the parser counts too far, so the column is bounded by the line's end.
fn syntax_position(text: &str, (line, column): (isize, isize)) -> Option<TextPosition> {
    let line = usize::try_from(line).ok().filter(|line| *line > 0)?;
    let column = usize::try_from(column).ok().filter(|column| *column > 0)?;
    let last = text.split('\n').nth(line - 1)?.chars().count() + 1;
    Some(TextPosition {
        line,
        column: column.min(last),
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("the library gave up")
}
