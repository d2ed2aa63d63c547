//! `wedcache validate`: every problem of every file at once.

mod format;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use self::format::{Diagnostic, Format, json, show, show_one};
use super::screen::Screen;
use super::{Text, TopologiesArgs};
use crate::app;
use crate::clock::Clock;
use crate::codec::Schemas;
use crate::topology::{self, Code, Loaded, Problems, Variables, graph};

/// Check topology files: every problem at once, with its place and what was expected.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wedcache validate                                # of WEDCACHE_TOPOLOGY
  wedcache validate topologies/wedsync.yaml
  wedcache validate --no-env topologies/*.yaml     # on a machine without the production variables
  wedcache validate --format short broken.yaml     # one line a problem, for editors
  wedcache validate --format github --deny-warnings topologies/*.yaml     # in a workflow

`--format json` prints one array of {file, line, column, endLine, endColumn, severity, code, message,
help}; lines and columns count from 1, columns in characters.

Exit codes: 0 all files are valid · 1 one is not, or cannot be read, or has a warning with
--deny-warnings")]
pub struct Args {
    #[command(flatten)]
    topologies: TopologiesArgs,
    /// Check without the environment: variables without a default are left as they are written.
    #[arg(long)]
    no_env: bool,
    /// How problems are shown.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The same as `--format short`.
    #[arg(long, conflicts_with = "format")]
    short: bool,
    /// A file with warnings is not valid.
    #[arg(long)]
    deny_warnings: bool,
}

/// 0 when all files are valid, 1 when one is not.
pub fn run(
    args: &Args,
    environment: &dyn Fn(&str) -> Option<String>,
    screen: &mut Screen<'_>,
) -> io::Result<u8> {
    let variables = if args.no_env {
        Variables::Unresolved
    } else {
        Variables::From(environment)
    };
    let format = if args.short {
        Format::Short
    } else {
        args.format
    };
    let (mut code, mut diagnostics) = (0, Vec::new());
    for source in args.topologies.sources() {
        let Text { file, text } = match source.read() {
            Ok(text) => text,
            Err(error) => {
                code = 1;
                let diagnostic = Diagnostic::of_file(&error);
                if format == Format::Full {
                    writeln!(screen.out, "{error}")?;
                } else {
                    show_one(format, &diagnostic, screen)?;
                }
                diagnostics.push(diagnostic);
                continue;
            }
        };
        let mut read = topology::read(&file, &text, variables);
        if !args.no_env {
            read = read.and_then(usable);
        }
        let problems = match &read {
            Ok(loaded) => &loaded.warnings,
            Err(problems) => problems,
        };
        let is_denied = args.deny_warnings && problems.warnings() > 0;
        if read.is_err() || is_denied {
            code = 1;
        }
        diagnostics.extend(Diagnostic::of_problems(problems));
        if format != Format::Json {
            show(format, problems, screen)?;
            let read = read.as_ref().map_err(AsRef::as_ref);
            conclude(&file, read, is_denied, screen)?;
            if let (Ok(loaded), true) = (read, args.no_env) {
                list_variables(loaded, screen)?;
            }
        }
    }
    if format == Format::Json {
        json(&diagnostics, screen)?;
    }
    Ok(code)
}

/// Refuses what would end a start on this machine: a provider or a registry that no client can be
/// built for.
fn usable(loaded: Loaded) -> Result<Loaded, Box<Problems>> {
    let topology = &loaded.topology;
    if let Err(error) = app::providers(topology, &Clock::System, &app::still_world()) {
        let kind = topology
            .providers
            .get(&error.name)
            .map_or("", |provider| provider.kind());
        let path = ["providers", &error.name, kind, "base_url"];
        return Err(loaded.refuse(Code::Providers, &path, error.to_string()));
    }
    let schemas = Arc::new(Schemas::embedded());
    match app::registry(topology.registry.as_ref(), &schemas) {
        Ok(_) => Ok(loaded),
        Err(error) => {
            let message = format!("the schema registry: {error}");
            Err(loaded.refuse(Code::Registry, &["registry", "urls"], message))
        }
    }
}

/// The last word on a file.
fn conclude(
    file: &str,
    read: Result<&Loaded, &Problems>,
    is_denied: bool,
    screen: &mut Screen<'_>,
) -> io::Result<()> {
    match read {
        Ok(loaded) => {
            let counts = graph::counts(&loaded.topology);
            let warnings = also(loaded.warnings.warnings());
            if is_denied {
                let warnings = warnings.trim_start_matches(", ");
                return writeln!(
                    screen.out,
                    "{file}: not valid: {warnings}, denied by --deny-warnings"
                );
            }
            writeln!(screen.out, "{file}: valid: {counts}{warnings}")
        }
        Err(problems) => {
            let errors = count(problems.errors(), "problem");
            let warnings = also(problems.warnings());
            writeln!(screen.out, "{file}: not valid: {errors}{warnings}")
        }
    }
}

fn list_variables(loaded: &Loaded, screen: &mut Screen<'_>) -> io::Result<()> {
    let mut variables = loaded.variables.iter();
    variables.try_for_each(|variable| writeln!(screen.out, "  {variable}"))
}

fn count(number: usize, what: &str) -> String {
    let many = if number == 1 { "" } else { "s" };
    format!("{number} {what}{many}")
}

fn also(warnings: usize) -> String {
    match warnings {
        0 => String::new(),
        warnings => format!(", {}", count(warnings, "warning")),
    }
}
