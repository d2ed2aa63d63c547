//! `wedcache test`: runs the test cases of topology files, in mocked time with a mocked provider.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::screen::Screen;
use super::{Text, TopologiesArgs, TopologyFile};
use crate::driver::case::{self, CaseResult};
use crate::topology::cases::Case;
use crate::topology::{self, Look, Topology, Variables};

/// Run the test cases of topology files: events in, answers and invalidations out.
///
/// Nothing is started and nothing waits: time and provider are mocked.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wedcache test                                        # of WEDCACHE_TOPOLOGY
  wedcache test topologies/*.yaml
  wedcache test --filter 'price' topologies/demo.yaml  # cases whose name contains `price`")]
pub struct Args {
    #[command(flatten)]
    topologies: TopologiesArgs,
    /// Run only the cases whose name contains this text; upper and lower case count as equal.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

/// Runs the cases; returns 0 when all pass, 1 when one fails, a file is not valid or no case was
/// run.
pub fn run(args: &Args, screen: &mut Screen<'_>) -> io::Result<u8> {
    let tally = run_cases(args, screen)?;
    Ok(u8::from(!tally.is_good()))
}

/// Colours the text with an ANSI colour code, where the screen has colours.
fn paint(look: Look, colour: u8, text: &str) -> String {
    if look.colour {
        format!("\x1b[{colour}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

fn good(look: Look, text: &str) -> String {
    paint(look, 32, text)
}

fn bad(look: Look, text: &str) -> String {
    paint(look, 31, text)
}

/// Returns the marks before the name of a case that passed and of one that failed.
fn marks(look: Look) -> (&'static str, &'static str) {
    if look.unicode {
        ("✓", "✗")
    } else {
        ("ok", "FAILED")
    }
}

#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    failed: usize,
    left_out: usize,
    unreadable: usize,
}

impl Tally {
    fn is_good(&self) -> bool {
        self.passed > 0 && self.failed + self.unreadable == 0
    }
}

fn run_cases(args: &Args, screen: &mut Screen<'_>) -> io::Result<Tally> {
    let began = Instant::now();
    let filter = args.filter.as_deref().map(str::to_lowercase);
    let mut tally = Tally::default();
    for source in args.topologies.sources() {
        let Some((file, topology)) = read(&source, screen)? else {
            tally.unreadable += 1;
            continue;
        };
        writeln!(screen.out, "{file}")?;
        for case in &topology.cases {
            let wanted = |text: &str| case.name.to_lowercase().contains(text);
            if !filter.as_deref().is_none_or(wanted) {
                tally.left_out += 1;
                continue;
            }
            let verdict = case::run(&topology, case)?;
            show(&file, case, &verdict, screen)?;
            match verdict {
                CaseResult::Passed => tally.passed += 1,
                CaseResult::Failed { .. } => tally.failed += 1,
            }
        }
    }
    summarise(&tally, began.elapsed(), screen)?;
    Ok(tally)
}

/// Reads a topology without the environment, so that its cases end alike on every machine.
fn read(
    source: &TopologyFile,
    screen: &mut Screen<'_>,
) -> io::Result<Option<(String, Arc<Topology>)>> {
    let Text { file, text } = match source.read() {
        Ok(text) => text,
        Err(error) => {
            writeln!(screen.out, "{error}")?;
            return Ok(None);
        }
    };
    match topology::read(&file, &text, Variables::Unresolved) {
        Ok(loaded) => Ok(Some((file, Arc::new(loaded.topology)))),
        Err(problems) => {
            let text = problems.render(screen.look, screen.width);
            screen.out.write_all(text.as_bytes())?;
            Ok(None)
        }
    }
}

fn show(file: &str, case: &Case, verdict: &CaseResult, screen: &mut Screen<'_>) -> io::Result<()> {
    let (look, out) = (screen.look, &mut screen.out);
    let (passed, failed) = marks(look);
    let CaseResult::Failed { line, differences } = verdict else {
        return writeln!(out, "  {} {}", good(look, passed), case.name);
    };
    writeln!(out, "  {} {}", bad(look, failed), case.name)?;
    writeln!(out, "    {file}:{line}: not as expected")?;
    for line in differences
        .iter()
        .map(ToString::to_string)
        .collect::<String>()
        .lines()
    {
        let line = match line.trim_start().as_bytes().first() {
            Some(b'-') => bad(look, line),
            Some(b'+') => good(look, line),
            _ => line.to_owned(),
        };
        writeln!(out, "      {line}")?;
    }
    Ok(())
}

fn summarise(tally: &Tally, took: Duration, screen: &mut Screen<'_>) -> io::Result<()> {
    let (look, out) = (screen.look, &mut screen.out);
    let mut counts = vec![format!("{} passed", tally.passed)];
    for (count, what) in [
        (tally.failed, "failed"),
        (tally.left_out, "left out"),
        (tally.unreadable, "not valid"),
    ] {
        if count > 0 {
            counts.push(format!("{count} {what}"));
        }
    }
    let counts = counts.join(", ");
    let counts = if tally.is_good() {
        good(look, &counts)
    } else {
        bad(look, &counts)
    };
    writeln!(out, "\n{counts} in {} ms", took.as_millis())?;
    if tally.passed + tally.failed + tally.unreadable == 0 {
        writeln!(out, "no case was run")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn run_with(args: &[&str]) -> (Tally, String) {
        let cli = Cli::parse_from(std::iter::once("test").chain(args.iter().copied()));
        let mut out = Vec::new();
        let look = Look {
            unicode: true,
            colour: false,
        };
        let mut screen = Screen {
            out: &mut out,
            look,
            width: 80,
        };
        let tally = run_cases(&cli.args, &mut screen).unwrap();
        (tally, String::from_utf8(out).unwrap())
    }

    const FILES: [&str; 2] = ["topologies/wedsync.yaml", "topologies/demo.yaml"];

    #[test]
    fn the_shipped_files_pass() {
        let (tally, text) = run_with(&FILES);
        assert!(tally.is_good(), "{text}");
    }

    #[test]
    fn a_filter_leaves_out_and_nothing_run_is_not_good() {
        let (tally, text) = run_with(&["--filter", "NULL VALUE", FILES[0]]);
        assert_eq!((tally.passed, tally.failed), (1, 0), "{text}");
        assert!(tally.left_out > 5 && text.contains("left out"), "{text}");
        let (tally, text) = run_with(&["--filter", "no such case", FILES[0]]);
        assert!(
            !tally.is_good() && text.contains("no case was run"),
            "{text}"
        );
    }

    #[test]
    fn a_failing_case_shows_its_place_and_a_diff() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken.yaml");
        let text = std::fs::read_to_string(FILES[1]).unwrap();
        let broken = text.replacen(
            r#"{queryId: q-2, source: cache, data: "Ask v-17"}"#,
            r#"{queryId: q-2, source: cache, data: "Ask v-18"}"#,
            1,
        );
        assert_ne!(text, broken);
        std::fs::write(&path, &broken).unwrap();
        let (tally, shown) = run_with(&[path.to_str().unwrap()]);
        assert_eq!(tally.failed, 1, "{shown}");
        let at = broken
            .lines()
            .position(|line| line.trim() == "- expect:")
            .unwrap()
            + 1;
        let place = format!("broken.yaml:{at}: not as expected");
        assert!(shown.contains(&place), "{place} in {shown}");
        let diff = "answer to q-2, data\n        - \"Ask v-18\"\n        + \"Ask v-17\"\n";
        assert!(shown.contains(diff), "{shown}");
    }

    #[test]
    fn a_file_that_is_not_there_or_not_valid_is_told_and_the_others_are_run() {
        let (tally, text) = run_with(&["no-such.yaml", "Cargo.toml", FILES[1]]);
        assert_eq!(tally.unreadable, 2);
        assert!(tally.passed > 0 && !tally.is_good());
        assert!(
            text.contains("there is no topology file no-such.yaml in "),
            "{text}"
        );
        assert!(text.contains("Cargo.toml:"), "{text}");
    }
}
