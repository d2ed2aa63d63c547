//! The problems of a topology file, with place, cause and probable intention: [`Problems`], shown
//! by miette.

use std::fmt;

use crate::nearest::nearest;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode,
    ThemeCharacters, ThemeStyles,
};

/// A range of bytes of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub start: usize,
    pub len: usize,
}

impl Span {
    /// The place of a value that is not in the file: it replaces one that is missing or wrong,
    /// which has been reported, so that the rest can be checked.
    pub(super) const STAND_IN: Self = Self {
        start: usize::MAX,
        len: 0,
    };
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub span: Span,
    /// The mistake.
    pub message: String,
    /// The expected value, shown beside the place itself.
    pub expected: Option<String>,
    /// Advice on how to fix it, including the nearest match.
    pub help: Option<String>,
    /// A second place that is related, with its label.
    pub other: Option<(Span, String)>,
    pub severity: Severity,
    pub code: Code,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    /// Legal, but probably a mistake.
    Warning,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// The kind of mistake, or the section whose rules it breaks: for programs, and never renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Syntax,
    UnknownField,
    MissingField,
    DuplicateField,
    InvalidValue,
    UnknownName,
    Variable,
    Kafka,
    KafkaProperty,
    Registry,
    Topics,
    CacheTypes,
    Catalog,
    Layers,
    Providers,
    Prices,
    Rules,
    Condition,
    Freshness,
    Server,
    Tests,
    /// Reported by `validate --connect`.
    Unreachable,
}

impl Code {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::UnknownField => "unknown-field",
            Self::MissingField => "missing-field",
            Self::DuplicateField => "duplicate-field",
            Self::InvalidValue => "invalid-value",
            Self::UnknownName => "unknown-name",
            Self::Variable => "variable",
            Self::Kafka => "kafka",
            Self::KafkaProperty => "kafka-property",
            Self::Registry => "registry",
            Self::Topics => "topics",
            Self::CacheTypes => "cache-types",
            Self::Catalog => "catalog",
            Self::Layers => "layers",
            Self::Providers => "providers",
            Self::Prices => "prices",
            Self::Rules => "rules",
            Self::Condition => "condition",
            Self::Freshness => "freshness",
            Self::Server => "server",
            Self::Tests => "tests",
            Self::Unreachable => "unreachable",
        }
    }
}

impl Problem {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            expected: None,
            help: None,
            other: None,
            severity: Severity::Error,
            code: Code::InvalidValue,
        }
    }

    pub(super) fn code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    pub(super) fn expected(mut self, what: impl Into<String>) -> Self {
        self.expected = Some(what.into());
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn also(mut self, span: Span, what: impl Into<String>) -> Self {
        self.other = Some((span, what.into()));
        self
    }

    pub(super) fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Lists the expected names and suggests the nearest one.
    pub(super) fn choices<'a>(self, given: &str, among: impl IntoIterator<Item = &'a str>) -> Self {
        let among: Vec<&str> = among.into_iter().collect();
        let near =
            nearest(given, among.iter().copied()).map(|name| format!("did you mean `{name}`?"));
        let mut problem = match among.as_slice() {
            [] => self,
            [only] => self.expected(format!("expected `{only}`")),
            many => self.expected(format!("expected one of {}", quoted(many))),
        };
        if near.is_some() {
            problem.help = near;
        }
        problem
    }
}

fn quoted(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// All problems of one file, in the order of the file.
#[derive(Debug)]
pub struct Problems {
    source: NamedSource<String>,
    list: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(file: &str, text: &str, mut list: Vec<Problem>) -> Self {
        // Problems of stand-ins are not mistakes in the file.
        list.retain(|problem| problem.span != Span::STAND_IN);
        for problem in &mut list {
            problem.other.take_if(|(span, _)| *span == Span::STAND_IN);
        }
        list.sort_by_key(|problem| problem.span.start);
        list.dedup();
        Self {
            source: NamedSource::new(file, text.to_owned()),
            list,
        }
    }

    pub(super) fn add(&mut self, problem: Problem) {
        self.list.push(problem);
        self.list.sort_by_key(|problem| problem.span.start);
    }

    pub fn file(&self) -> &str {
        self.source.name()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn errors(&self) -> usize {
        self.list
            .iter()
            .filter(|p| p.severity == Severity::Error)
            .count()
    }

    pub fn warnings(&self) -> usize {
        self.list.len() - self.errors()
    }

    /// Returns the line and column of a problem, both from 1, columns in characters.
    pub fn position(&self, problem: &Problem) -> (usize, usize) {
        self.place(problem.span.start)
    }

    /// Returns the line and column after the end of a problem's text.
    pub fn end(&self, problem: &Problem) -> (usize, usize) {
        self.place(problem.span.start.saturating_add(problem.span.len))
    }

    fn place(&self, at: usize) -> (usize, usize) {
        let text = self.source.inner();
        let before = &text[..at.min(text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .map_or(0, |line| line.chars().count())
            + 1;
        (line, column)
    }

    /// Renders every problem with its piece of the file.
    pub fn render(&self, look: Look, width: usize) -> String {
        let theme = GraphicalTheme {
            characters: if look.unicode {
                ThemeCharacters::unicode()
            } else {
                ThemeCharacters::ascii()
            },
            styles: if look.colour {
                ThemeStyles::ansi()
            } else {
                ThemeStyles::none()
            },
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(width)
            .with_context_lines(1)
            .without_cause_chain();
        let mut out = String::new();
        for problem in &self.list {
            let (_, column) = self.position(problem);
            let report = Report {
                problem,
                source: &self.source,
                // Subtracts the frame, the line number, half of the place and the label's own hook.
                room: width.saturating_sub(column + problem.span.len / 2 + 13),
            };
            handler
                .render_report(&mut out, &report)
                .expect("writing to a string cannot fail");
            out.push('\n');
        }
        out
    }
}

/// Writes one line for each problem: `file:line:column: error: message`.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.list.iter().enumerate() {
            let (line, column) = self.position(problem);
            if at > 0 {
                f.write_str("\n")?;
            }
            let severity = problem.severity.as_str();
            write!(f, "{}:{line}:{column}: {severity}: {problem}", self.file())?;
            if let Some(help) = &problem.help {
                write!(f, " ({help})")?;
            }
        }
        Ok(())
    }
}

/// Writes the mistake and the expectation on one line.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(expected) = &self.expected {
            write!(f, "; {expected}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The drawing capabilities of this terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    pub unicode: bool,
    pub colour: bool,
}

#[derive(Debug)]
struct Report<'a> {
    problem: &'a Problem,
    source: &'a NamedSource<String>,
    /// The number of columns left for text beside the place.
    room: usize,
}

impl Report<'_> {
    /// Returns true if the label fits beside the place. Labels are not wrapped, so long ones go
    /// below.
    fn label_fits(&self) -> bool {
        let expected = self.problem.expected.as_deref().unwrap_or_default();
        expected.chars().count() <= self.room
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Report<'_> {}

impl Diagnostic for Report<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.problem.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let problem = self.problem;
        let expected = problem.expected.as_deref().filter(|_| !self.label_fits());
        match (expected, problem.help.as_deref()) {
            (None, None) => None,
            (None, Some(one)) | (Some(one), None) => Some(Box::new(one)),
            (Some(expected), Some(help)) => Some(Box::new(format!("{expected}; {help}"))),
        }
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let problem = self.problem;
        let expected = problem.expected.clone().filter(|_| self.label_fits());
        let here = expected.unwrap_or_else(|| "here".to_owned());
        let main =
            LabeledSpan::new_primary_with_span(Some(here), (problem.span.start, problem.span.len));
        let other = problem.other.as_ref().map(|(span, what)| {
            LabeledSpan::new_with_span(Some(what.clone()), (span.start, span.len))
        });
        Some(Box::new(std::iter::once(main).chain(other)))
    }
}
