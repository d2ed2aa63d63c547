//! `wedcache-lab simulate`: a simulated year of the platform, in minutes.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{Days, Months, NaiveDate};
use wedcache::cli::screen::Screen;
use wedcache::cli::{Text, TopologyArgs};
use wedcache::topology::{self, ByteSize, Topology, Variables};

use super::Show;
use crate::simulate::report::{self, Report};
use crate::simulate::sensitivity;
use crate::simulate::{self, Assumptions, Options, Period};

/// Simulate a year of WedSync on stopped time: couples who ask, vendors who change, a model that
/// costs money.
///
/// The real code runs in this process, without services; the same seed gives the same figures.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wedcache-lab simulate --quick                       # some ten seconds
  wedcache-lab simulate --report season               # the year, with season.md and season.html
  wedcache-lab simulate --months 4-9 --seed 7 --json
  wedcache-lab simulate --memory 4MiB                 # little memory: what evictions do
  wedcache-lab simulate --sensitivity                 # what the results depend on

What is assumed about couples, vendors and the model: docs/season.md.")]
pub struct Args {
    #[command(flatten)]
    topology: TopologyArgs,
    /// The seed of the random choices.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Simulate about N queries, instead of those that follow from the platform's size; with fewer
    /// queries each cell has fewer and the hit rate is lower.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    queries: Option<u64>,
    /// Simulate a short time: April to June, one in 64 cells.
    #[arg(long)]
    quick: bool,
    /// The year to simulate.
    #[arg(long, default_value_t = 2027, value_name = "YEAR", value_parser = clap::value_parser!(i32).range(1971..9999))]
    year: i32,
    /// The months of the year to simulate, as in `6` or `4-9` [default: all].
    #[arg(long, value_name = "MONTHS", value_parser = months)]
    months: Option<(u32, u32)>,
    /// Simulate the couples of one in N cells of place, season and budget, which stand for a
    /// platform N times as large: 1, 2, 4 … 256 [default: 16].
    #[arg(long, value_name = "N", value_parser = sample)]
    sample: Option<usize>,
    /// The size limit of each instance's memory layer, as in `4MiB`, instead of the topology's.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<ByteSize>,
    /// Multiply all times to live, from 0.01 to 100; a large factor shows what changes alone
    /// forbid.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", value_parser = factor)]
    ttl_factor: f64,
    /// Also run short simulations with one assumption changed at a time; takes some minutes more.
    #[arg(long)]
    sensitivity: bool,
    /// Also write a report to FILE: `.md` is Markdown, `.html` a page with plots; without an
    /// extension both.
    #[arg(long, value_name = "FILE")]
    report: Vec<PathBuf>,
}

/// The months of a short run, from the first to the last.
const QUICK_MONTHS: (u32, u32) = (4, 6);
const QUICK_SAMPLE: usize = 64;

/// Runs the simulation; returns 0 when no forbidden answer was given. Missed goals are reported and
/// are no failure.
pub fn run(args: &Args, show: &mut Show<'_, '_>) -> anyhow::Result<u8> {
    let Some(topology) = load(&args.topology, show.screen)? else {
        return Ok(1);
    };
    let topology = Arc::new(topology);
    let options = args.options(args.quick, &topology);
    let figures = simulate::run(&topology, &options, |month| {
        progress(&format!("simulating month {month}"));
    })?;
    let sensitivity = if args.sensitivity {
        let options = args.options(true, &topology);
        let told = |what: &str| progress(&format!("sensitivity: {what}"));
        sensitivity::study(&topology, &options, told)?
    } else {
        Vec::new()
    };
    progress("");
    let command = args.command();
    let report = Report {
        command: &command,
        figures: &figures,
        sensitivity: &sensitivity,
    };
    for path in &args.report {
        write_report(path, &report)?;
    }
    show.report(&report)?;
    let forbidden = sensitivity.iter().map(|of| of.forbidden).sum::<u64>() + figures.forbidden;
    Ok(u8::from(forbidden > 0))
}

impl Args {
    fn options(&self, is_quick: bool, topology: &Topology) -> Options {
        let usual = if is_quick { QUICK_MONTHS } else { (1, 12) };
        let (first, last) = self.months.unwrap_or(usual);
        let day = |month| NaiveDate::from_ymd_opt(self.year, month, 1).expect("years were checked");
        let period = Period {
            first_day: day(first),
            last_day: day(last) + Months::new(1) - Days::new(1),
        };
        let defaults = Assumptions::default();
        let usual = if is_quick {
            QUICK_SAMPLE
        } else {
            defaults.sample
        };
        let assumptions = Assumptions {
            sample: self.sample.unwrap_or(usual),
            ..defaults
        };
        let share = || period.queries(topology, &assumptions);
        Options {
            seed: self.seed,
            period,
            queries: self.queries.unwrap_or_else(share),
            memory_bytes: self.memory.map(|size| size.0),
            ttl_factor: self.ttl_factor,
            assumptions,
        }
    }

    /// Returns the command that gives the same figures again.
    fn command(&self) -> String {
        let mut command = format!(
            "wedcache-lab simulate --topology {} --seed {} --year {}",
            self.topology.source().path().display(),
            self.seed,
            self.year
        );
        let mut add = |text: String| {
            command.push(' ');
            command.push_str(&text);
        };
        if self.quick {
            add("--quick".to_owned());
        }
        if let Some((first, last)) = self.months {
            add(format!("--months {first}-{last}"));
        }
        if let Some(sample) = self.sample {
            add(format!("--sample {sample}"));
        }
        if let Some(queries) = self.queries {
            add(format!("--queries {queries}"));
        }
        if let Some(memory) = self.memory {
            add(format!("--memory {memory}"));
        }
        if (self.ttl_factor - 1.0).abs() > f64::EPSILON {
            add(format!("--ttl-factor {}", self.ttl_factor));
        }
        if self.sensitivity {
            add("--sensitivity".to_owned());
        }
        command
    }
}

/// Reads the topology without the environment, so that a season ends the same on every machine.
/// Variables of Redis get an address, so that Redis is simulated as if it were set.
fn load(args: &TopologyArgs, screen: &mut Screen<'_>) -> anyhow::Result<Option<Topology>> {
    let Text { file, text } = args.source().read()?;
    let redis = |name: &str| {
        name.contains("REDIS")
            .then(|| "redis://simulated".to_owned())
    };
    let given = topology::read(&file, &text, Variables::From(&redis));
    // Where other variables must be set, all of them are left as they are written.
    match given.or_else(|_| topology::read(&file, &text, Variables::Unresolved)) {
        Ok(loaded) => Ok(Some(loaded.topology)),
        Err(problems) => {
            let shown = problems.render(screen.look, screen.width);
            screen.out.write_all(shown.as_bytes())?;
            Ok(None)
        }
    }
}

fn write_report(path: &Path, report: &Report<'_>) -> anyhow::Result<()> {
    let write = |path: &Path, text: String| {
        std::fs::write(path, text)
            .map_err(|error| anyhow::anyhow!("{} cannot be written: {error}", path.display()))
    };
    match path.extension().and_then(|of| of.to_str()) {
        Some("md") => write(path, report::markdown(report)),
        Some("html") => write(path, report::html(report)),
        None => {
            write(&path.with_extension("md"), report::markdown(report))?;
            write(&path.with_extension("html"), report::html(report))
        }
        Some(other) => anyhow::bail!(
            "{}: a report is `.md` or `.html`, not `.{other}`; without an extension it is both",
            path.display()
        ),
    }
}

/// Writes a line to standard error, if that is a terminal; the next line replaces it, and empty
/// text removes it. Errors are ignored: a run must not fail because of its progress line.
fn progress(text: &str) {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        write!(err, "\r\x1b[2K{text}")
            .and_then(|()| err.flush())
            .ok();
    }
}

fn months(text: &str) -> Result<(u32, u32), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first), Ok(last)) if (1..=12).contains(&first) && (first..=12).contains(&last) => {
            Ok((first, last))
        }
        _ => Err("expected a month from 1 to 12, or two as in 4-9".to_owned()),
    }
}

fn sample(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(sample) if sample.is_power_of_two() && sample <= 256 => Ok(sample),
        _ => Err("expected a power of two from 1 to 256".to_owned()),
    }
}

fn factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if (0.01..=100.0).contains(&factor) => Ok(factor),
        _ => Err("expected a number from 0.01 to 100".to_owned()),
    }
}

fn size(text: &str) -> Result<ByteSize, String> {
    let size = ByteSize::parse(text).filter(|size| size.0 > 0);
    size.ok_or_else(|| "expected a size with its unit, such as 64KiB, 512MiB".to_owned())
}
