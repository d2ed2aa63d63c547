//! The results as values and as a table.

use std::fmt;

use serde::Serialize;

use crate::bench::Wire;
use crate::bench::drive::Driven;
use crate::bench::figures::{Latencies, Spread, float, shown, shown_to};
use crate::bench::table::Table;

/// The figures of a whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub hits_per_sec: u32,
    pub secs: u64,
    pub keys: usize,
    pub format: Wire,
    pub rounds: usize,
    pub embedded_broker: bool,
    /// The name of the contestant that the ratios refer to.
    pub baseline: String,
    pub contestants: Vec<Line>,
}

/// One contestant's figures; ratios are to the baseline, round by round.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    pub name: String,
    pub p50: Percentile,
    pub p99: Percentile,
    pub p999: Percentile,
    /// Processor seconds of this process for a million answers.
    pub cpu_secs_per_million: Option<Spread>,
    pub rounds: Vec<Round>,
}

/// A percentile of the latency of hits.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Percentile {
    pub ms: Option<Spread>,
    /// The ratio to the baseline's percentile: 1 is as long.
    pub ratio: Option<Spread>,
}

/// One contestant's measured time in one round.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Round {
    pub driven: Driven,
    pub cpu_secs_per_million: Option<f64>,
    /// Queries that were no hits, the intended misses included.
    pub not_hits: u64,
    /// Calls to the provider in flight when the last query had been sent.
    pub calls_in_flight: usize,
}

/// Compares one contestant's rounds with the baseline's.
pub(super) fn line(name: String, rounds: Vec<Round>, base: &[Round]) -> Line {
    let of = |figure: fn(&Latencies) -> f64| {
        let figure = move |round: &Round| round.driven.hits.as_ref().map(figure);
        let ratios = rounds.iter().zip(base);
        Percentile {
            ms: Spread::of(rounds.iter().filter_map(figure)),
            ratio: Spread::of(ratios.filter_map(|(a, b)| Some(figure(a)? / figure(b)?))),
        }
    };
    let cpu = rounds.iter().filter_map(|round| round.cpu_secs_per_million);
    Line {
        name,
        p50: of(|of| of.p50_ms),
        p99: of(|of| of.p99_ms),
        p999: of(|of| of.p999_ms),
        cpu_secs_per_million: Spread::of(cpu),
        rounds,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Latency of hits at {} a second: {} over {} keys, {} round(s) of {} s in turn; medians \
             of the\nrounds (least–most), ratios to: {}\n",
            self.hits_per_sec,
            self.format.as_str(),
            self.keys,
            self.rounds,
            self.secs,
            self.baseline
        )?;
        let mut table = Table::new(["", "p50 ms", "p99 ms", "p99.9 ms", "CPU s per million"]);
        let mut ratios = Table::new(["ratios", "p50", "p99", "p99.9", ""]);
        for line in &self.contestants {
            table.row([
                line.name.clone(),
                shown(line.p50.ms),
                shown(line.p99.ms),
                shown(line.p999.ms),
                shown_to(line.cpu_secs_per_million, 1),
            ]);
            if line.name != self.baseline {
                ratios.row([
                    line.name.clone(),
                    shown(line.p50.ratio),
                    shown(line.p99.ratio),
                    shown(line.p999.ratio),
                    String::new(),
                ]);
            }
        }
        writeln!(f, "{table}\n{ratios}")?;
        for line in &self.contestants {
            line.notes(f)?;
        }
        writeln!(
            f,
            "\nA latency counts from when a query was due until its answer was read, in a process \
             that\nasks and reads besides; it holds that process's linger of 1 ms and the \
             contestant's of 5 ms."
        )?;
        if self.embedded_broker {
            writeln!(
                f,
                "The broker is the embedded one, in a process of its own."
            )?;
        }
        Ok(())
    }
}

impl Line {
    fn notes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |of: fn(&Round) -> u64| self.rounds.iter().map(of).sum::<u64>();
        let late = self.rounds.iter().filter_map(|of| of.driven.late);
        let misses = self.rounds.iter().filter_map(|of| of.driven.misses);
        write!(
            f,
            "{}: {} asked, {} unanswered, {} no hits; asked late at p99 by {} ms",
            self.name,
            sum(|of| of.driven.asked),
            sum(|of| of.driven.unanswered),
            sum(|of| of.not_hits),
            shown(Spread::of(late.map(|of| of.p99_ms))),
        )?;
        if let Some(took) = Spread::of(misses.map(|of| of.p50_ms)) {
            let calls = self.rounds.iter().map(|of| of.calls_in_flight as u64);
            let calls = Spread::of(calls.map(float));
            write!(
                f,
                "; misses at p50 {took:.0} ms, {} in flight",
                shown_to(calls, 0)
            )?;
        }
        writeln!(f)
    }
}
