//! Problems in the formats for people, editors and programs.

use std::borrow::Cow;
use std::io;

use serde::Serialize;

use crate::cli::screen::Screen;
use crate::cli::source::SourceError;
use crate::topology::Problems;

/// The format of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// Each problem with its excerpt of the file.
    #[default]
    Full,
    /// One line per problem: `file:line:column: error: message`.
    Short,
    /// One array of objects for all files.
    Json,
    /// Annotations of GitHub Actions.
    Github,
}

impl Format {
    /// Returns true if nothing but problems may be printed.
    pub fn is_for_programs(self) -> bool {
        matches!(self, Self::Json | Self::Github)
    }
}

/// One problem, or a file that cannot be read, for programs. Field names are stable.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    file: String,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    severity: &'static str,
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

impl Diagnostic {
    pub fn of_problems(problems: &Problems) -> impl Iterator<Item = Self> + '_ {
        problems.iter().map(|problem| {
            let (line, column) = problems.position(problem);
            let (end_line, end_column) = problems.end(problem);
            Self {
                file: problems.file().to_owned(),
                line,
                column,
                end_line,
                end_column,
                severity: problem.severity.as_str(),
                code: problem.code.as_str(),
                message: problem.to_string(),
                help: problem.help.clone(),
            }
        })
    }

    pub fn of_file(error: &SourceError) -> Self {
        let (line, column) = error.position();
        Self {
            file: error.file(),
            line,
            column,
            end_line: line,
            end_column: column,
            severity: "error",
            code: "file",
            message: error.message(),
            help: Some(error.help()),
        }
    }

    /// Returns `file:line:column: error: message (help)`.
    fn short(&self) -> String {
        let Self {
            file, line, column, ..
        } = self;
        let help = self.help.as_ref().map(|help| format!(" ({help})"));
        let help = help.unwrap_or_default();
        let (severity, message) = (self.severity, &self.message);
        format!("{file}:{line}:{column}: {severity}: {message}{help}")
    }

    /// Returns a workflow command, <https://docs.github.com/actions/reference/workflow-commands>.
    fn github(&self) -> String {
        let message = match &self.help {
            Some(help) => format!("{}\n{help}", self.message),
            None => self.message.clone(),
        };
        format!(
            "::{} file={},line={},endLine={},col={},endColumn={},title={}::{}",
            self.severity,
            property(&self.file),
            self.line,
            self.end_line,
            self.column,
            self.end_column,
            property(self.code),
            data(&message),
        )
    }
}

/// Escapes the characters that may not stand in the text of a workflow command.
fn data(text: &str) -> Cow<'_, str> {
    if text.contains(['%', '\r', '\n']) {
        let text = text.replace('%', "%25");
        return text.replace('\r', "%0D").replace('\n', "%0A").into();
    }
    text.into()
}

/// Escapes the characters that may not stand in a property of a workflow command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Shows the problems of one file, for the formats that show each file by itself.
pub fn show(format: Format, problems: &Problems, screen: &mut Screen<'_>) -> io::Result<()> {
    match format {
        Format::Full => {
            let text = problems.render(screen.look, screen.width);
            screen.out.write_all(text.as_bytes())
        }
        _ => Diagnostic::of_problems(problems).try_for_each(|of| show_one(format, &of, screen)),
    }
}

/// Shows one problem, for the formats that show each file by itself.
pub fn show_one(
    format: Format,
    diagnostic: &Diagnostic,
    screen: &mut Screen<'_>,
) -> io::Result<()> {
    match format {
        Format::Full | Format::Short => writeln!(screen.out, "{}", diagnostic.short()),
        Format::Github => writeln!(screen.out, "{}", diagnostic.github()),
        Format::Json => Ok(()),
    }
}

/// Prints the problems of all files as one JSON array.
pub fn json(diagnostics: &[Diagnostic], screen: &mut Screen<'_>) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *screen.out, diagnostics).map_err(io::Error::from)?;
    writeln!(screen.out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workflow_commands_are_escaped() {
        let diagnostic = Diagnostic {
            file: "a,b:c%.yaml".to_owned(),
            line: 3,
            column: 5,
            end_line: 3,
            end_column: 9,
            severity: "warning",
            code: "rules",
            message: "100 %\nof: it, all\r".to_owned(),
            help: Some("mend it".to_owned()),
        };
        assert_eq!(
            diagnostic.github(),
            "::warning file=a%2Cb%3Ac%25.yaml,line=3,endLine=3,col=5,endColumn=9,title=rules\
             ::100 %25%0Aof: it, all%0D%0Amend it"
        );
    }
}
