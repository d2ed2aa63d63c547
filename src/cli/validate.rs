//! `wedcache validate`: every problem of every file at once.

use std::io;
use std::path::PathBuf;

use super::screen::Screen;
use crate::topology::{self, Problems, Variables, graph};

/// Check topology files: every problem at once, with its place and what was expected.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wedcache validate topologies/wedsync.yaml
  wedcache validate --no-env topologies/*.yaml     # on a machine without the production variables
  wedcache validate --short broken.yaml            # one line a problem, for editors and CI")]
pub struct Args {
    /// Topology files.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Check without the environment: variables without a default are left as they are written.
    #[arg(long)]
    pub no_env: bool,
    /// One line a problem: `file:line:column: message`.
    #[arg(long)]
    pub short: bool,
}

/// 0 when all files are valid, 1 when one is not.
pub fn run(
    args: &Args,
    environment: &dyn Fn(&str) -> Option<String>,
    screen: &mut Screen<'_>,
) -> io::Result<u8> {
    let mut code = 0;
    for path in &args.files {
        let file = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                writeln!(screen.out, "{file}: cannot be read: {error}")?;
                code = 1;
                continue;
            }
        };
        let variables = if args.no_env {
            Variables::Unresolved
        } else {
            Variables::From(environment)
        };
        match topology::read(&file, &text, variables) {
            Ok(loaded) => {
                show(&loaded.warnings, args.short, screen)?;
                let counts = graph::counts(&loaded.topology);
                writeln!(
                    screen.out,
                    "{file}: valid: {counts}{}",
                    also(loaded.warnings.warnings())
                )?;
                if args.no_env {
                    for variable in &loaded.variables {
                        writeln!(screen.out, "  {variable}")?;
                    }
                }
            }
            Err(problems) => {
                code = 1;
                show(&problems, args.short, screen)?;
                let errors = count(problems.errors(), "problem");
                writeln!(
                    screen.out,
                    "{file}: not valid: {errors}{}",
                    also(problems.warnings())
                )?;
            }
        }
    }
    Ok(code)
}

fn show(problems: &Problems, short: bool, screen: &mut Screen<'_>) -> io::Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    if short {
        return writeln!(screen.out, "{problems}");
    }
    let text = problems.render(screen.look, screen.width);
    screen.out.write_all(text.as_bytes())
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
