//! The command line: one file per command, each a function from its arguments to an exit code.

pub mod check;
pub mod completions;
pub mod demo;
pub mod dlq;
pub mod explain;
pub mod graph;
pub mod init;
pub mod man;
mod reading;
pub mod run;
pub mod sample;
pub mod schema;
pub mod screen;
mod source;
pub mod test;
pub mod topics;
pub mod validate;
pub mod version;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::screen::Screen;
use self::source::{SourceError, TopologiesArgs, TopologyFile};
pub use self::source::{Text, TopologyArgs};
use crate::telemetry::{self, LogFormat, TelemetryError};
use crate::topology::{self, Loaded, Topology, Variables};

/// Answers AI queries from Kafka out of a cache that forgets an answer the moment the facts under
/// it change.
#[derive(Debug, Parser)]
#[command(
    name = "wedcache",
    version,
    long_version = version::long(),
    propagate_version = true,
    after_help = "Examples:
  wedcache demo                           # see it live, nothing else needed
  wedcache init                           # the shipped topologies and examples, to start from
  wedcache validate                       # every mistake of a topology at once
  wedcache test                           # its test cases, in mocked time
  wedcache topics apply                   # create the topics that it names
  wedcache run                            # the stream, against a real Kafka
  wedcache sample                         # sample questions for a stream that runs
  wedcache check                          # was any answer one that a change forbids?

A command's topology is FILE or --topology FILE; without either WEDCACHE_TOPOLOGY names it; without
that it is topologies/wedsync.yaml. Each command's --help has its examples and exit codes."
)]
pub struct Cli {
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Command,
}

/// The arguments of a program that logs.
#[derive(Debug, clap::Args)]
pub struct LogArgs {
    /// The log filter, levels by module, as in `info,wedcache::kafka=debug`.
    #[arg(
        long,
        global = true,
        env = "WEDCACHE_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    log: String,
    /// The format of log lines.
    #[arg(
        long,
        global = true,
        env = "WEDCACHE_LOG_FORMAT",
        default_value = "auto",
        value_enum
    )]
    log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Init(init::Args),
    Run(run::Args),
    Validate(validate::Args),
    Test(test::Args),
    Explain(explain::Args),
    Graph(graph::Args),
    Schema(schema::Args),
    Topics(topics::Args),
    Dlq(dlq::Args),
    Check(check::Args),
    Sample(sample::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Man(man::Args),
}

/// Reads the command line and runs the command that it names.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    execute(|screen| cli.run(screen))
}

/// Runs a command with standard output as its screen; returns the program's exit code. An error is
/// printed on standard error and is exit code 1; a reader of the output that has gone is no error.
pub fn execute(command: impl FnOnce(&mut Screen<'_>) -> anyhow::Result<u8>) -> ExitCode {
    let mut stdout = io::stdout();
    let mut screen = Screen::stdout(&mut stdout, &environment);
    match command(&mut screen) {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

impl LogArgs {
    /// Sets up logging for a command whose output is its report: errors alone are logged.
    pub fn install_for_report(&self) -> Result<(), TelemetryError> {
        telemetry::install(self.log_format, "error")
    }
}

impl Cli {
    fn run(&self, screen: &mut Screen<'_>) -> anyhow::Result<u8> {
        let code = match &self.command {
            Command::Demo(args) => {
                // The panel owns the screen, and log lines would overwrite it.
                let filter = if args.has_panel() { "off" } else { "error" };
                telemetry::install(self.log.log_format, filter)?;
                demo::run(args, screen)?
            }
            Command::Run(args) => {
                telemetry::install(self.log.log_format, &self.log.log)?;
                run::run(args, screen)?
            }
            Command::Init(args) => init::run(args, screen)?,
            Command::Validate(args) => validate::run(args, &environment, screen)?,
            Command::Test(args) => test::run(args, screen)?,
            Command::Explain(args) => explain::run(args, screen)?,
            Command::Graph(args) => graph::run(args, screen)?,
            Command::Schema(args) => schema::run(args, screen)?,
            Command::Topics(args) => {
                self.log.install_for_report()?;
                topics::run(args, screen)?
            }
            Command::Dlq(args) => {
                self.log.install_for_report()?;
                dlq::run(args, screen)?
            }
            Command::Check(args) => {
                self.log.install_for_report()?;
                check::run(args, screen)?
            }
            Command::Sample(args) => {
                self.log.install_for_report()?;
                sample::run(args, screen)?
            }
            Command::Completions(args) => completions::run(args, screen)?,
            Command::Man(args) => man::run(args, screen)?,
        };
        Ok(code)
    }
}

/// Reads a variable of the process's environment; nothing else reads the environment.
#[expect(clippy::disallowed_methods, reason = "the one home of the environment")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads a topology file and resolves its variables; shows its mistakes and returns `None` if it
/// has any.
pub fn load(args: &TopologyArgs, screen: &mut Screen<'_>) -> anyhow::Result<Option<Topology>> {
    let Text { file, text } = args.source().read()?;
    load_text(&file, &text, &environment, screen)
}

/// Reads a topology from `text` as [`load`] does from a file; `file` is its name in diagnostics.
pub fn load_text(
    file: &str,
    text: &str,
    variables: &dyn Fn(&str) -> Option<String>,
    screen: &mut Screen<'_>,
) -> anyhow::Result<Option<Topology>> {
    let loaded = load_whole(file, text, variables, screen)?;
    Ok(loaded.map(|loaded| loaded.topology))
}

/// Reads a topology with what its file gives; `None` if it has mistakes, which are shown.
pub fn load_whole(
    file: &str,
    text: &str,
    variables: &dyn Fn(&str) -> Option<String>,
    screen: &mut Screen<'_>,
) -> anyhow::Result<Option<Loaded>> {
    match topology::read(file, text, Variables::From(variables)) {
        Ok(loaded) => {
            if !loaded.warnings.is_empty() {
                tracing::warn!("{}", loaded.warnings);
            }
            Ok(Some(loaded))
        }
        Err(problems) => {
            let shown = problems.render(screen.look, screen.width);
            screen.out.write_all(shown.as_bytes())?;
            Ok(None)
        }
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a failed command")]
fn complain(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

/// Returns true if the reader of our output has gone, as with `| head`.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn every_commands_arguments_can_be_told_apart() {
        super::Cli::command().debug_assert();
    }
}
