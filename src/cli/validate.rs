//! `wedcache validate`: every problem of every file at once.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::screen::Screen;
use crate::app;
use crate::clock::Clock;
use crate::codec::Schemas;
use crate::topology::{self, Loaded, Problems, Variables, graph};

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
            Ok(loaded)
                if !args.no_env
                    && let Some(problem) = unusable(&loaded) =>
            {
                code = 1;
                show(&loaded.warnings, args.short, screen)?;
                show(&problem, args.short, screen)?;
                let also = also(loaded.warnings.warnings());
                writeln!(screen.out, "{file}: not valid: 1 problem{also}")?;
            }
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

/// What would end a start on this machine: a provider or a registry that no client can be built
/// for.
fn unusable(loaded: &Loaded) -> Option<Problems> {
    let topology = &loaded.topology;
    if let Err(error) = app::providers(topology, &Clock::System) {
        let kind = topology.providers.get(&error.name)?.kind();
        let path = ["providers", &error.name, kind, "base_url"];
        return Some(loaded.problem(&path, error.to_string()));
    }
    let schemas = Arc::new(Schemas::embedded());
    let registry = app::registry(topology.registry.as_ref(), &schemas);
    let error = registry.err()?;
    Some(loaded.problem(
        &["registry", "urls"],
        format!("the schema registry: {error}"),
    ))
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
    use super::*;
    use crate::topology::Look;

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
        let args = |files: &[&PathBuf]| Args {
            files: files.iter().map(|&file| file.clone()).collect(),
            no_env: false,
            short: true,
        };
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
            out.contains(want) && out.contains("none.yaml: cannot be read: "),
            "{out}"
        );
    }

    #[test]
    fn a_key_with_a_line_end_is_found_and_named_but_not_shown() {
        let environment = |name: &str| match name {
            "WEDCACHE_KAFKA" => Some("localhost:9092".to_owned()),
            "WEDCACHE_AI_KEY" => Some("sk-test\n".to_owned()),
            _ => None,
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wedsync.yaml");
        std::fs::write(&file, include_str!("../../topologies/wedsync.yaml")).unwrap();
        let args = Args {
            files: vec![file],
            no_env: false,
            short: true,
        };
        let mut out = Vec::new();
        let mut screen = Screen {
            out: &mut out,
            look: Look {
                unicode: false,
                colour: false,
            },
            width: 100,
        };
        let code = run(&args, &environment, &mut screen).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(code, 1);
        assert!(
            out.contains("the value of `WEDCACHE_AI_KEY` ends with a line end"),
            "{out}"
        );
        assert!(!out.contains("sk-test"), "{out}");
    }
}
