//! What came out, as values and as a table.

use std::fmt;

use serde::Serialize;

use super::Options;
use super::rounds::Mark;

/// One contestant's timed window in one round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Window {
    pub answers: u64,
    pub secs: f64,
    pub records_per_sec: f64,
    /// Processor time of this process, the embedded broker's left out; `None` where the system
    /// does not tell.
    pub cpu_secs_per_million: Option<f64>,
    /// Queries in the window that were hits, labelled stale.
    pub stale_hits: u64,
    /// Queries in the window that were no hits at all.
    pub not_hits: u64,
    /// Metric records of the round that did not reach Kafka.
    pub metrics_lost: u64,
}

impl Window {
    pub(super) fn between(opened: &Mark, closed: &Mark) -> Self {
        let answers = closed.delivered - opened.delivered;
        let secs = closed.at.duration_since(opened.at).as_secs_f64();
        let count = float(answers).max(1.0);
        let cpu = closed.cpu_secs.zip(opened.cpu_secs);
        Self {
            answers,
            secs,
            records_per_sec: count / secs.max(f64::EPSILON),
            cpu_secs_per_million: cpu.map(|(after, before)| (after - before) / count * 1e6),
            stale_hits: 0,
            not_hits: 0,
            metrics_lost: 0,
        }
    }
}

/// All rounds of one contestant, and their medians.
#[derive(Debug, Clone, Serialize)]
pub struct Contestant {
    pub records_per_sec: f64,
    pub cpu_secs_per_million: Option<f64>,
    pub rounds: Vec<Window>,
}

impl Contestant {
    fn of(rounds: Vec<Window>) -> Self {
        let rates = rounds.iter().map(|round| round.records_per_sec);
        let cpu = rounds.iter().filter_map(|round| round.cpu_secs_per_million);
        Self {
            records_per_sec: median(rates).unwrap_or(0.0),
            cpu_secs_per_million: median(cpu),
            rounds,
        }
    }
}

/// wedcache by the bare loop: the median of the rounds' ratios, and the rounds' least and most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Ratio {
    fn of(ratios: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        Some(Self {
            median: median(ratios.clone())?,
            least: ratios.clone().fold(f64::INFINITY, f64::min),
            most: ratios.fold(0.0, f64::max),
        })
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2}–{:.2})", self.median, self.least, self.most)
    }
}

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub records: usize,
    pub keys: usize,
    pub format: &'static str,
    pub poll_threads: usize,
    pub embedded_broker: bool,
    /// Means of the values, in bytes.
    pub query_bytes: u64,
    pub answer_bytes: u64,
    pub metric_bytes: u64,
    pub wedcache: Contestant,
    pub bare: Contestant,
    /// Of the rates: 1 is as fast as the bare loop.
    pub rate_ratio: Option<Ratio>,
    /// Of the processor time a record: 2 is twice as much as the bare loop.
    pub cpu_ratio: Option<Ratio>,
}

impl Report {
    pub(super) fn new(
        options: &Options,
        [query_bytes, answer_bytes, metric_bytes]: [u64; 3],
        ours: Vec<Window>,
        theirs: Vec<Window>,
    ) -> Self {
        let pairs = ours.iter().zip(&theirs);
        let rates = pairs
            .clone()
            .map(|(a, b)| a.records_per_sec / b.records_per_sec);
        let cpu =
            pairs.filter_map(|(a, b)| Some(a.cpu_secs_per_million? / b.cpu_secs_per_million?));
        Self {
            records: options.records,
            keys: options.keys,
            format: options.format.as_str(),
            poll_threads: options.poll_threads,
            embedded_broker: options.kafka.is_none(),
            query_bytes,
            answer_bytes,
            metric_bytes,
            rate_ratio: Ratio::of(rates),
            cpu_ratio: Ratio::of(cpu),
            wedcache: Contestant::of(ours),
            bare: Contestant::of(theirs),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.wedcache.rounds.len();
        writeln!(
            f,
            "Hits from Kafka to Kafka: {} {} queries over {} keys, {rounds} round(s)",
            self.records, self.format, self.keys
        )?;
        writeln!(
            f,
            "Mean bytes of a value: query {}, answer {}, metric {}\n",
            self.query_bytes, self.answer_bytes, self.metric_bytes
        )?;
        writeln!(
            f,
            "{:<28}{:>14}{:>24}",
            "median of the rounds", "records/s", "CPU s per million"
        )?;
        let threads = format!("wedcache, {} poll thread(s)", self.poll_threads);
        let of_both = [
            (threads.as_str(), &self.wedcache),
            ("bare loop, 1 poll thread", &self.bare),
        ];
        for (name, of) in of_both {
            let cpu = of.cpu_secs_per_million;
            let cpu = cpu.map_or_else(|| "not known".to_owned(), |secs| format!("{secs:.1}"));
            writeln!(f, "{name:<28}{:>14.0}{cpu:>24}", of.records_per_sec)?;
        }
        let shown = |ratio: Option<Ratio>| ratio.map_or_else(|| "–".to_owned(), |r| r.to_string());
        let (rate, cpu) = (shown(self.rate_ratio), shown(self.cpu_ratio));
        writeln!(f, "{:<24}{rate:>18}{cpu:>24}\n", "wedcache / bare")?;
        self.notes(f)
    }
}

impl Report {
    fn notes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |of: fn(&Window) -> u64| self.wedcache.rounds.iter().map(of).sum::<u64>();
        let lost = sum(|of| of.metrics_lost);
        let (stale, others) = (sum(|of| of.stale_hits), sum(|of| of.not_hits));
        writeln!(
            f,
            "Timed from when all keys were filled until the last answer stood in Kafka: hits in\n\
             memory, {stale} of them labelled stale, and {others} queries that were no hits.\n\
             {lost} metric records did not reach Kafka."
        )?;
        writeln!(
            f,
            "The bare loop reads the same queries and produces as many records, with values that\n\
             wedcache made, the same kind of headers and the same librdkafka settings; it decodes,\n\
             judges, tracks and commits nothing."
        )?;
        if self.embedded_broker {
            writeln!(
                f,
                "The broker is embedded in this process and keeps everything in memory. Its threads'\n\
                 time is left out of the CPU figures, but it takes cores from both contestants,\n\
                 most from the faster: the ratio of the rates flatters wedcache."
            )?;
        }
        Ok(())
    }
}

/// Of an even number the upper of the middle two; none of none.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a benchmark are small"
)]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::topology::settings::Format;

    fn window(secs: u64, cpu: f64) -> Window {
        let at = Instant::now();
        let mark = |after, delivered, cpu| Mark {
            at: at + Duration::from_secs(after),
            delivered,
            cpu_secs: Some(cpu),
        };
        Window::between(&mark(0, 1000, 1.0), &mark(secs, 101_000, 1.0 + cpu))
    }

    #[test]
    fn rates_and_ratios_come_from_what_happened_between_the_marks() {
        let options = Options {
            records: 101_000,
            keys: 10,
            poll_threads: 1,
            in_flight: 4096,
            format: Format::Json,
            kafka: Some("elsewhere".to_owned()),
            rounds: 3,
        };
        let ours = vec![window(4, 2.0), window(10, 2.0), window(5, 4.0)];
        let theirs = vec![window(2, 1.0); 3];
        let report = Report::new(&options, [600, 1500, 400], ours, theirs);
        assert!((report.wedcache.records_per_sec - 20_000.0).abs() < 1e-6);
        assert!((report.bare.cpu_secs_per_million.unwrap() - 10.0).abs() < 1e-6);
        let (rate, cpu) = (report.rate_ratio.unwrap(), report.cpu_ratio.unwrap());
        assert_eq!(rate.to_string(), "0.40 (0.20–0.50)");
        assert_eq!(cpu.to_string(), "2.00 (2.00–4.00)");
        assert!(!report.to_string().contains("embedded"));
    }
}
