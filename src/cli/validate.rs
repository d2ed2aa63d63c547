//! `wedcache validate`: every problem of every file at once.

mod connect;
mod format;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use self::format::{Diagnostic, Format, json, show, show_one};
use super::screen::Screen;
use super::{SourceError, Text, TopologiesArgs};
use crate::ai;
use crate::app;
use crate::clock::Clock;
use crate::codec::Schemas;
use crate::kafka::KafkaError;
use crate::topology::{self, Code, Loaded, Problems, Refusal, Variables, graph};

/// Check topology files: every problem at once, with its place and what was expected.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wedcache validate                                # of WEDCACHE_TOPOLOGY
  wedcache validate topologies/wedsync.yaml
  wedcache validate --no-env topologies/*.yaml     # on a machine without the production variables
  wedcache validate --format short broken.yaml     # one line a problem, for editors
  wedcache validate --format github --deny-warnings topologies/*.yaml     # in a workflow
  wedcache validate --connect                      # are Kafka, Redis, registry and provider there?

`--format json` prints one array of {file, line, column, endLine, endColumn, severity, code, message,
help}; lines and columns count from 1, columns in characters.

--connect changes nothing and buys nothing: it asks Kafka for its topics, the registry for a schema,
Redis for a PING and the provider for its list of models, and prints a line for each.

Exit codes: 0 all files are valid, and with --connect all that they need is there · 1 one is not, or
cannot be read, or has a warning with --deny-warnings; or something cannot be reached")]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct Args {
    #[command(flatten)]
    topologies: TopologiesArgs,
    /// Check without the environment: variables without a default are left as they are written.
    #[arg(long)]
    no_env: bool,
    /// The format of the problems.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Short for `--format short`.
    #[arg(long, conflicts_with = "format")]
    short: bool,
    /// Treat a file with warnings as not valid.
    #[arg(long)]
    deny_warnings: bool,
    /// Also try to reach everything that a valid file needs, with its settings.
    #[arg(long, conflicts_with = "no_env")]
    connect: bool,
}

/// Validates every file; returns 0 when all are valid, 1 when one is not.
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
    let mut validation = Validation {
        args,
        format,
        variables,
        code: 0,
        diagnostics: Vec::new(),
    };
    for source in args.topologies.sources() {
        match source.read() {
            Ok(text) => validation.file(&text, screen)?,
            Err(error) => validation.unreadable(&error, screen)?,
        }
    }
    if format == Format::Json {
        json(&validation.diagnostics, screen)?;
    }
    Ok(validation.code)
}

/// The arguments, and the findings so far.
struct Validation<'a> {
    args: &'a Args,
    format: Format,
    variables: Variables<'a>,
    code: u8,
    diagnostics: Vec<Diagnostic>,
}

impl Validation<'_> {
    fn unreadable(&mut self, error: &SourceError, screen: &mut Screen<'_>) -> io::Result<()> {
        self.code = 1;
        let diagnostic = Diagnostic::of_file(error);
        if self.format == Format::Full {
            writeln!(screen.out, "{error}")?;
        } else {
            show_one(self.format, &diagnostic, screen)?;
        }
        self.diagnostics.push(diagnostic);
        Ok(())
    }

    fn file(&mut self, Text { file, text }: &Text, screen: &mut Screen<'_>) -> io::Result<()> {
        let mut read = topology::read(file, text, self.variables);
        if !self.args.no_env {
            read = read.and_then(usable);
        }
        let findings = match &read {
            Ok(loaded) if self.args.connect => connect::findings(&loaded.topology)?,
            _ => Vec::new(),
        };
        let unreached = connect::refusals(&findings);
        if !unreached.is_empty() {
            self.code = 1;
            if self.format.is_for_programs() {
                read = read.and_then(|loaded| Err(loaded.refuse(unreached)));
            }
        }
        let problems = match &read {
            Ok(loaded) => &loaded.warnings,
            Err(problems) => problems,
        };
        let is_denied = self.args.deny_warnings && problems.warnings() > 0;
        if read.is_err() || is_denied {
            self.code = 1;
        }
        self.diagnostics.extend(Diagnostic::of_problems(problems));
        if self.format == Format::Json {
            return Ok(());
        }
        show(self.format, problems, screen)?;
        let read = read.as_ref().map_err(AsRef::as_ref);
        conclude(file, read, is_denied, screen)?;
        if let (Ok(loaded), true) = (read, self.args.no_env) {
            list_variables(loaded, screen)?;
        }
        if self.format.is_for_programs() {
            return Ok(());
        }
        connect::show(&findings, screen)
    }
}

/// Refuses settings with which `run` could not start on this machine: a provider, a registry or a
/// Kafka for which no client can be built.
fn usable(loaded: Loaded) -> Result<Loaded, Box<Problems>> {
    let topology = &loaded.topology;
    let mut refusals: Vec<_> = app::kafka_faults(topology).iter().map(of_kafka).collect();
    if let Err(error) = ai::providers(topology, &Clock::System, &ai::still_world()) {
        let kind = topology
            .deployment
            .providers
            .get(&error.name)
            .map_or("", |provider| provider.kind());
        let path = ["providers", &error.name, kind, "base_url"];
        refusals.push(Refusal::at(Code::Providers, &path, error.to_string()));
    }
    let schemas = Arc::new(Schemas::embedded());
    if let Err(error) = app::registry(topology.deployment.registry.as_ref(), &schemas) {
        let message = format!("the schema registry: {error}");
        refusals.push(Refusal::at(Code::Registry, &["registry", "urls"], message));
    }
    if refusals.is_empty() {
        return Ok(loaded);
    }
    Err(loaded.refuse(refusals))
}

/// Returns a fault of the Kafka settings as a refusal at the property that has it.
fn of_kafka(error: &KafkaError) -> Refusal {
    let mut path = vec!["kafka", "properties"];
    match error {
        KafkaError::Property { property, .. } | KafkaError::Reserved { property } => {
            path.push(property);
        }
        _ => {}
    }
    Refusal::at(Code::KafkaProperty, &path, error.to_string())
}

/// Prints the verdict on a file.
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
