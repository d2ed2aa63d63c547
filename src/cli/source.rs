//! The source of a command's topology: FILE, `--topology` or `WEDCACHE_TOPOLOGY`, with one meaning
//! for every command.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::environment;

/// The topology file that is read where none is named.
pub const USUAL: &str = "topologies/wedsync.yaml";
/// The environment variable that names the topology.
pub const VARIABLE: &str = "WEDCACHE_TOPOLOGY";

/// The arguments that name the topology of a command.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TopologyArgs {
    /// The topology file.
    #[arg(value_name = "FILE", conflicts_with = "topology")]
    file: Option<PathBuf>,
    /// The topology file, as FILE. Without either, WEDCACHE_TOPOLOGY names it; without that it is
    /// topologies/wedsync.yaml.
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
}

/// The arguments that name the topologies of a command that takes several.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TopologiesArgs {
    /// Topology files.
    #[arg(value_name = "FILE", conflicts_with = "topology")]
    files: Vec<PathBuf>,
    /// The topology file, as FILE. Without either, WEDCACHE_TOPOLOGY names it; without that it is
    /// topologies/wedsync.yaml.
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
}

impl TopologyArgs {
    /// Returns the file that these arguments and the environment name.
    pub fn source(&self) -> TopologyFile {
        choose(self.file.clone(), self.topology.clone(), &environment)
    }
}

impl TopologiesArgs {
    /// Returns the files that these arguments and the environment name; at least one.
    pub fn sources(&self) -> Vec<TopologyFile> {
        if self.files.is_empty() {
            return vec![choose(None, self.topology.clone(), &environment)];
        }
        let files = self.files.iter().cloned();
        files
            .map(|file| TopologyFile::new(file, Named::File))
            .collect()
    }
}

fn choose(
    file: Option<PathBuf>,
    option: Option<PathBuf>,
    variables: &dyn Fn(&str) -> Option<String>,
) -> TopologyFile {
    let variable = || variables(VARIABLE).filter(|name| !name.is_empty());
    match (file, option) {
        (Some(file), _) => TopologyFile::new(file, Named::File),
        (None, Some(file)) => TopologyFile::new(file, Named::Option),
        (None, None) => match variable() {
            Some(file) => TopologyFile::new(file.into(), Named::Variable),
            None => TopologyFile::new(USUAL.into(), Named::Nowhere),
        },
    }
}

/// The origin of a file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    File,
    Option,
    Variable,
    Nowhere,
}

/// A topology file that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopologyFile {
    path: PathBuf,
    named: Named,
}

/// A topology file's text, and its name in diagnostics.
#[derive(Debug)]
pub struct Text {
    pub file: String,
    pub text: String,
}

impl TopologyFile {
    fn new(path: PathBuf, named: Named) -> Self {
        Self { path, named }
    }

    /// Returns a file that was named as FILE.
    #[cfg(test)]
    pub(crate) fn of_file(path: &Path) -> Self {
        Self::new(path.to_owned(), Named::File)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn read(&self) -> Result<Text, SourceError> {
        let error = |problem| SourceError {
            source: self.clone(),
            problem,
        };
        let bytes = std::fs::read(&self.path).map_err(|cause| {
            error(match cause.kind() {
                io::ErrorKind::NotFound => Unreadable::Missing {
                    folder: std::env::current_dir().unwrap_or_default(),
                },
                _ => Unreadable::Io(cause),
            })
        })?;
        Ok(Text {
            file: self.path.display().to_string(),
            text: decode(bytes).map_err(error)?,
        })
    }
}

/// Returns the bytes as UTF-8 text, without a leading byte order mark.
fn decode(mut bytes: Vec<u8>) -> Result<String, Unreadable> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(Unreadable::Utf16);
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
        let line_start = good.rfind('\n').map_or(0, |at| at + 1);
        Unreadable::NotUtf8 {
            line: good.matches('\n').count() + 1,
            column: good[line_start..].chars().count() + 1,
        }
    })
}

/// The reason why a topology file cannot be read, with the origin of its name and the remedy.
#[derive(Debug)]
pub struct SourceError {
    source: TopologyFile,
    problem: Unreadable,
}

#[derive(Debug)]
enum Unreadable {
    Missing { folder: PathBuf },
    NotUtf8 { line: usize, column: usize },
    Utf16,
    Io(io::Error),
}

impl SourceError {
    /// Returns the file's name in diagnostics.
    pub fn file(&self) -> String {
        self.source.path.display().to_string()
    }

    /// Returns the line and column that could not be read, both from 1; (1, 1) where there is none.
    pub fn position(&self) -> (usize, usize) {
        match self.problem {
            Unreadable::NotUtf8 { line, column } => (line, column),
            _ => (1, 1),
        }
    }

    /// Returns the fault, on one line.
    pub fn message(&self) -> String {
        let file = self.file();
        match &self.problem {
            Unreadable::Missing { folder } if self.source.named == Named::Nowhere => format!(
                "no topology was named, and there is no {USUAL} in {}",
                folder.display()
            ),
            Unreadable::Missing { folder } => {
                let relative = self.source.path.is_relative();
                let place = relative.then(|| format!(" in {}", folder.display()));
                let place = place.unwrap_or_default();
                format!("there is no topology file {file}{place}")
            }
            Unreadable::NotUtf8 { .. } => "this is not UTF-8 text".to_owned(),
            Unreadable::Utf16 => format!("{file} is UTF-16 text, where UTF-8 is needed"),
            Unreadable::Io(error) => format!("the topology file {file} cannot be read: {error}"),
        }
    }

    /// Returns the origin of the file's name, and the remedy.
    pub fn help(&self) -> String {
        let named = match self.source.named {
            Named::File => "it was named as FILE",
            Named::Option => "--topology named it",
            Named::Variable => "the environment variable WEDCACHE_TOPOLOGY named it",
            Named::Nowhere => {
                return "name one as FILE, by --topology or by WEDCACHE_TOPOLOGY; \
                        `wedcache init` writes that file to start from"
                    .to_owned();
            }
        };
        match self.problem {
            Unreadable::Missing { .. } => {
                format!("{named}; `wedcache init` writes {USUAL} to start from")
            }
            Unreadable::NotUtf8 { .. } | Unreadable::Utf16 => {
                format!("{named}; save it as UTF-8")
            }
            Unreadable::Io(_) => named.to_owned(),
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Unreadable::NotUtf8 { line, column } = self.problem {
            write!(f, "{}:{line}:{column}: ", self.file())?;
        }
        write!(f, "{}\n  {}", self.message(), self.help())
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The message has the cause already: with it here, the cause would be printed twice.
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_outranks_the_variable_and_nothing_named_is_the_usual_place() {
        let set = |_: &str| Some("by-variable.yaml".to_owned());
        let empty = |_: &str| Some(String::new());
        let unset = |_: &str| None;
        let path = |text: &str| Some(PathBuf::from(text));
        let source = |path: &str, named| TopologyFile::new(path.into(), named);
        for (file, option, variables, want) in [
            (
                path("f"),
                None,
                &set as &dyn Fn(&str) -> Option<String>,
                source("f", Named::File),
            ),
            (None, path("o"), &set, source("o", Named::Option)),
            (
                None,
                None,
                &set,
                source("by-variable.yaml", Named::Variable),
            ),
            (None, None, &empty, source(USUAL, Named::Nowhere)),
            (None, None, &unset, source(USUAL, Named::Nowhere)),
        ] {
            assert_eq!(choose(file, option, variables), want);
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_with_its_place() {
        for (bytes, want) in [
            (
                &b"name: x\nversion: \xe9"[..],
                "t.yaml:2:10: this is not UTF-8 text",
            ),
            (b"\xc3\xa9\xff", "t.yaml:1:2: this is not UTF-8 text"),
            (
                b"\xff\xfen\0",
                "t.yaml is UTF-16 text, where UTF-8 is needed",
            ),
        ] {
            let error = SourceError {
                source: TopologyFile::new("t.yaml".into(), Named::Option),
                problem: decode(bytes.to_vec()).unwrap_err(),
            };
            let told = format!("{want}\n  --topology named it; save it as UTF-8");
            assert_eq!(error.to_string(), told);
        }
    }
}
