//! The conditions of rules: CEL over the change event, compiled once and bounded in their work.
//!
//! A condition sees one variable, `event`, with the event's fields by their names on the wire
//! (see [`super::facts`]); locations also say their `place`, as keys and tags do, and
//! `vendorType` is normalised. Numbers among the attributes are doubles.
//!
//! Bounds: a text of at most [`MAX_CHARS`] characters, at most [`MAX_DEPTH`] deep; macros over
//! lists (`all`, `exists`, …) neither nested nor chained, so that the work grows with the event
//! and no faster; patterns of `matches` written out, small, and outside such macros; events within
//! [`super::facts::MAX_ITEMS`] and [`super::facts::MAX_TEXT_BYTES`].
//!
//! A condition that cannot be evaluated on an event (a missing attribute, a wrong type, an event
//! beyond the bounds) counts as holding: it must not lose an invalidation. `has(…)` asks first. One
//! that can be evaluated on no event is refused ([`types`]).

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

use self::check::Check;
use super::facts::Facts;
use super::rule::Source;
use crate::model::id::Ids;

/// The longest condition, in characters.
pub const MAX_CHARS: usize = 1000;
/// The deepest nesting of a condition.
pub const MAX_DEPTH: usize = 40;

/// Reserved, not used up: a page is taken when it is first touched.
const PARSER_STACK_BYTES: usize = 64 << 20;

/// A place in a condition's text, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TextPosition {
    pub line: usize,
    pub column: usize,
}

impl TextPosition {
    /// Expressions are placed by bytes.
    fn at(text: &str, byte: usize) -> Option<Self> {
        let before = text.get(..byte)?;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Some(Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        })
    }
}

/// Why a text is not a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionProblem {
    pub at: Option<TextPosition>,
    pub message: String,
    /// Empty where nothing in particular is.
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

/// What a condition says of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Truth {
    Holds,
    DoesNotHold,
    /// Could not be evaluated, and why; counts as holding.
    Failed(String),
}

/// A compiled condition.
#[derive(Debug)]
pub struct Condition {
    text: Arc<str>,
    expression: IdedExpr,
    /// The event's fields that it reads, in order, each once.
    fields: Vec<Vec<String>>,
    warnings: Vec<ConditionProblem>,
}

/// The functions of CEL's standard library, without its macros. It is costly to build.
static LIBRARY: LazyLock<Arc<Env>> =
    LazyLock::new(|| Arc::new(Env::default().with_optional_support(false).with_stdlib()));

impl Condition {
    /// Compiles `text` for events of `source` whose ids are `ids`; without a source the fields are
    /// not checked.
    pub fn compile(
        text: &str,
        source: Option<Source>,
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

    /// What is legal and may fail all the same.
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

    /// The fields that it reads with their values in the event, as text; `None` where the event
    /// does not give one.
    pub fn read_fields(&self, facts: &Facts) -> Vec<(String, Option<String>)> {
        self.fields
            .iter()
            .map(|path| (format!("event.{}", path.join(".")), facts.show(path)))
            .collect()
    }
}

/// Where the brackets nest deeper than [`MAX_DEPTH`]. Brackets in texts count too: nobody needs
/// forty of them there.
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

/// Runs the parser, which is not ours: it needs more than a test's or a runtime's 2 MiB for what
/// nests within the bounds, and what it cannot bear is to be reported and not passed on.
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

/// Errors of the library quote values, and values can be long.
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

/// The parser's line and column, both from 1 and in characters. After characters that no token
/// begins with it counts too far.
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
