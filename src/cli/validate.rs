//! `wedcache validate`: every problem of every file at once.

use std::io;

use super::screen::Screen;
use super::{Text, TopologiesArgs};
use crate::topology::{self, Problems, Variables, graph};

/// Check topology files: every problem at once, with its place and what was expected.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wedcache validate                                # of WEDCACHE_TOPOLOGY
  wedcache validate topologies/wedsync.yaml
  wedcache validate --no-env topologies/*.yaml     # on a machine without the production variables
  wedcache validate --short broken.yaml            # one line a problem, for editors and CI")]
pub struct Args {
    #[command(flatten)]
    topologies: TopologiesArgs,
    /// Check without the environment: variables without a default are left as they are written.
    #[arg(long)]
    no_env: bool,
    /// One line a problem: `file:line:column: message`.
    #[arg(long)]
    short: bool,
}

/// 0 when all files are valid, 1 when one is not.
pub fn run(
    args: &Args,
    environment: &dyn Fn(&str) -> Option<String>,
    screen: &mut Screen<'_>,
) -> io::Result<u8> {
    let mut code = 0;
    for source in args.topologies.sources() {
        let Text { file, text } = match source.read() {
            Ok(text) => text,
            Err(error) => {
                writeln!(screen.out, "{error}")?;
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser as _;

    use super::*;
    use crate::topology::Look;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn args(options: &[&str], files: &[&Path]) -> Args {
        let files = files.iter().map(|file| file.to_str().unwrap());
        let words = ["validate"]
            .into_iter()
            .chain(options.iter().copied())
            .chain(files);
        Cli::parse_from(words).args
    }

    fn validate(args: &Args) -> (u8, String) {
        let mut out = Vec::new();
        let mut screen = Screen {
            out: &mut out,
            look: Look {
                unicode: false,
                colour: false,
            },
            width: 100,
        };
        let code = run(args, &|_| None, &mut screen).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_valid_file_is_one_line_and_a_wrong_one_fails_them_all() {
        let folder = tempfile::tempdir().unwrap();
        let (good, bad) = (
            folder.path().join("good.yaml"),
            folder.path().join("bad.yaml"),
        );
        std::fs::write(&good, include_str!("../../topologies/demo.yaml")).unwrap();
        std::fs::write(&bad, "name: x\nkafak: {}\n").unwrap();
        let args = |files: &[&Path]| args(&["--short"], files);
        let (code, out) = validate(&args(&[&good]));
        assert_eq!(code, 0);
        let want = "valid: 7 cache types, 25 rules, 9 topics, 2 test cases\n";
        assert_eq!(out, format!("{}: {want}", good.display()));
        let (code, out) = validate(&args(&[&bad, &good, &folder.path().join("none.yaml")]));
        assert_eq!(code, 1);
        assert!(
            out.contains("bad.yaml:2:1: there is no field `kafak` here"),
            "{out}"
        );
        assert!(out.contains("bad.yaml: not valid: 2 problems\n"), "{out}");
        assert!(
            out.contains(want) && out.contains("there is no topology file "),
            "{out}"
        );
    }
}
