//! The problems of a file that is not YAML, in terms that its author knows and at the place to
//! correct.

use serde_saphyr::{Error, Location};

use super::problem::{Code, Problem, Span};

/// Converts an error of the parser to a problem.
pub(super) fn problem(error: &Error, text: &str) -> Problem {
    let error = error.without_snippet();
    let span = error
        .location()
        .map_or(Span::default(), |at| location_span(at, text));
    let problem = match error {
        Error::MultipleDocuments { .. } => several_documents(span, text),
        Error::UnknownAnchor { .. } => unknown_anchor(span, text),
        error => told(&plain(error), span, text),
    };
    problem.code(Code::Syntax)
}

/// Returns the place where a second document begins, if there is one.
pub(super) fn second_document(text: &str) -> Option<Span> {
    let mut at = 0;
    let mut begun = false;
    for line in text.split_inclusive('\n') {
        let is_mark = line.trim_end() == "---" || line.starts_with("--- ");
        if is_mark && begun {
            return Some(Span { start: at, len: 3 });
        }
        let content = line.trim();
        begun |= is_mark || !(content.is_empty() || content.starts_with(['#', '%']));
        at += line.len();
    }
    None
}

fn several_documents(span: Span, text: &str) -> Problem {
    let span = second_document(text).unwrap_or(span);
    Problem::new(
        span,
        "a second YAML document begins here; a topology is one",
    )
    .help("take this `---` out, or keep each topology in a file of its own")
}

fn unknown_anchor(span: Span, text: &str) -> Problem {
    let rest = text.get(span.start..).unwrap_or_default();
    let is_name = |c: &char| !c.is_whitespace() && !matches!(c, ',' | ']' | '}');
    let name: String = rest.chars().skip(1).take_while(is_name).collect();
    let span = Span {
        start: span.start,
        len: name.len() + 1,
    };
    Problem::new(span, format!("no anchor `&{name}` stands before this"))
        .help("an alias `*name` repeats what was marked `&name`; a text that begins with `*` stands in quotes")
}

/// Returns the parser's own words without its line and column.
fn plain(error: &Error) -> String {
    let message = error.to_string();
    match message.find(" at line ") {
        Some(end) => message[..end].to_owned(),
        None => message,
    }
}

const VARIABLE: &str = "between `{}` and `[]`, a variable stands in quotes: `\"${NAME}\"`";

fn told(message: &str, span: Span, text: &str) -> Problem {
    let has = |part: &str| message.contains(part);
    let has_variable = line_at(text, span.start).contains("${");
    if message.to_lowercase().contains("tab") {
        return Problem::new(tab_near(text, span.start), "a tab, where YAML needs spaces")
            .help("indent by spaces; most editors can show tabs and replace them");
    }
    if has("BOM") {
        return Problem::new(span, "a byte order mark (U+FEFF) in the middle of the text")
            .help("take it out; it is not shown, and most often comes from joining two files");
    }
    if let Some(rest) = message.split("unexpected character: `").nth(1) {
        let character = character(rest.trim_end_matches('\''));
        return Problem::new(
            span,
            format!("the character {character} cannot stand in YAML"),
        )
        .help("take it out, or write it as an escape in double quotes");
    }
    if has("unclosed quote") {
        return Problem::new(span, "a quote that is not closed")
            .help("a text with an apostrophe stands in double quotes");
    }
    if has("trailing content after") {
        return Problem::new(span, "text behind a closing quote")
            .help("within single quotes a quote is written `''`, within double quotes `\\\"`");
    }
    if has("mismatched bracket") {
        return Problem::new(span, "a bracket that is closed by one of another kind")
            .help("a list stands between `[` and `]`, a mapping between `{` and `}`");
    }
    if has("recursive references") {
        return Problem::new(span, "an alias within what its own anchor marks")
            .help("what `&name` marks cannot contain `*name`");
    }
    if has("unclosed bracket") || has("expected ',' or ']'") || has("expected ',' or '}'") {
        let help = if has_variable {
            VARIABLE
        } else {
            "items are separated by `,`; the list ends with `]`, the mapping with `}`"
        };
        return Problem::new(span, "a list or mapping in brackets that does not end").help(help);
    }
    if has("mapping values are not allowed") {
        return Problem::new(span, "a second `:` that would begin another mapping").help(
            "a text with `: ` in it stands in quotes; fields of one mapping start in one column",
        );
    }
    if has("simple key expected ':'") {
        return name_alone(span);
    }
    if has("did not find expected key") || has("did not find expected '-'") {
        return Problem::new(span, "nothing can start in this column")
            .help("fields of one mapping, and items of one list, start in one column");
    }
    let help = if has_variable {
        VARIABLE
    } else {
        "most often a missing `:`, or a wrong indentation just before this place"
    };
    Problem::new(span, format!("this is not YAML: {message}")).help(help)
}

/// Returns the problem of a section or field name without its `:`.
pub(super) fn name_alone(span: Span) -> Problem {
    Problem::new(span, "a name without its `:`")
        .code(Code::Syntax)
        .expected("expected `name: value`")
}

/// Returns `U+0000` for the parser's `\u{0}`, or the character itself if it can be shown.
fn character(shown: &str) -> String {
    let code = shown
        .strip_prefix("\\u{")
        .and_then(|rest| u32::from_str_radix(rest.trim_end_matches('}'), 16).ok());
    match code {
        Some(code) => format!("U+{code:04X}"),
        None => format!("`{shown}`"),
    }
}

fn line_at(text: &str, at: usize) -> &str {
    let at = at.min(text.len());
    let start = text[..at].rfind('\n').map_or(0, |at| at + 1);
    text[start..].lines().next().unwrap_or_default()
}

/// Returns the tab that the parser complains about: in the indentation of this line, or further on
/// if the parser gives the end of the preceding text.
fn tab_near(text: &str, at: usize) -> Span {
    let at = at.min(text.len());
    let start = text[..at].rfind('\n').map_or(0, |at| at + 1);
    let line = line_at(text, at);
    let indentation = line.len() - line.trim_start().len();
    let tab = line[..indentation]
        .find('\t')
        .map(|found| start + found)
        .or_else(|| text[at..].find('\t').map(|found| at + found))
        .or_else(|| text[..at].rfind('\t'));
    Span {
        start: tab.unwrap_or(at),
        len: 1,
    }
}

fn location_span(location: Location, text: &str) -> Span {
    let span = location.span();
    let start = match span.byte_offset() {
        Some(start) => usize::try_from(start).unwrap_or(usize::MAX),
        None => byte_of(text, location.line(), location.column()),
    };
    let len = usize::try_from(span.byte_len().unwrap_or(0)).unwrap_or(0);
    let start = start.min(text.len());
    Span {
        start,
        len: len.min(text.len() - start),
    }
}

/// Returns the byte offset of a line and column, both from 1, columns in characters.
fn byte_of(text: &str, line: u64, column: u64) -> usize {
    let (line, column) = (
        usize::try_from(line).unwrap_or(1).max(1),
        usize::try_from(column).unwrap_or(1).max(1),
    );
    let start: usize = text
        .split_inclusive('\n')
        .take(line - 1)
        .map(str::len)
        .sum();
    let in_line = text[start..]
        .chars()
        .take(column - 1)
        .map(char::len_utf8)
        .sum::<usize>();
    start + in_line
}
