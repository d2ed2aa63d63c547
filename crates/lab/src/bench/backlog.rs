//! A start in front of many waiting queries: throughput and memory.

use std::fmt;

use serde::Serialize;

use super::contestants::{Bare, Samples, Tally, Wedcache, per_million};
use super::course::{Mark, Watch};
use super::figures::{float, mebibytes, shown_to};
use super::kafka::{Against, Kafka};
use super::queries::Queries;
use super::stage::{Setup, Stage, bare_topic};
use super::table::Table;
use super::{Bench, BenchError, Wire, on_runtime, positive, process};
use wedcache::metrics::Metrics;
use wedcache::topology::settings::Role;

const REBALANCES: &str = "wedcache_intake_rebalances_total";

/// A start in front of a million waiting queries, beside the bare loop.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Queries that wait in their topic before the start.
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = positive)]
    pub records: usize,
    /// Different cache keys among them.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = positive)]
    pub keys: usize,
    /// Poll threads of wedcache.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = positive)]
    pub poll_threads: usize,
    /// Unfinished queries at which wedcache pauses its intake.
    #[arg(long, default_value_t = 32_768, value_name = "N", value_parser = positive)]
    pub in_flight: usize,
    /// The format of queries, answers and metrics.
    #[arg(long, default_value = "json", value_enum)]
    pub format: Wire,
    #[command(flatten)]
    pub against: Against,
}

/// The figures of a whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub records: usize,
    pub keys: usize,
    pub format: Wire,
    pub poll_threads: usize,
    pub embedded_broker: bool,
    pub wedcache: Run,
    pub bare: Run,
    /// Answers a second of wedcache divided by those of the bare loop: 1 is as fast.
    pub rate_ratio: f64,
    /// Seconds from the start of the instance until it was ready.
    pub ready_secs: f64,
    /// Partitions that were assigned to the query group's member, revoked from it, and lost because
    /// the group had removed the member.
    pub assigned: u64,
    pub revoked: u64,
    pub lost: u64,
    /// Entries evicted from the memory layer.
    pub memory_evictions: u64,
    /// Queries that were no hits: at least the first query of each key.
    pub not_hits: u64,
}

/// The figures of one contestant.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Run {
    pub secs: f64,
    pub answers_per_sec: f64,
    pub cpu_secs_per_million: Option<f64>,
    pub resident_before_bytes: Option<u64>,
    pub resident_peak_bytes: Option<u64>,
}

/// Runs the scenario; blocks until the scenario is done.
pub fn run(options: &Options, bench: &Bench) -> Result<Report, BenchError> {
    on_runtime(backlog(options, bench))
}

async fn backlog(options: &Options, bench: &Bench) -> Result<Report, BenchError> {
    let kafka = Kafka::start(&options.against, bench)?;
    let setup = Setup {
        format: options.format,
        in_flight: options.in_flight,
        ..Setup::default()
    };
    let stage = Stage::new(bench, &kafka.bootstrap, &setup, "backlog").await?;
    let queries = Queries::new(options.keys, options.format, &bench.clock);
    stage.load(&queries, options.records).await?;

    let before = Before::now();
    let answers = stage.topic(Role::Answers);
    let watch = Watch::new("wedcache", &stage, answers).await?;
    let from = Samples::offsets(&stage).await?;
    let instance = Wedcache::start(&stage, options.poll_threads).await?;
    let ready = before.mark.at.elapsed();
    let done = watch.until(options.records as u64).await?;
    let wedcache = before.until(&done);
    let not_hits = Tally::of(&instance.metrics).not_hits;
    let rebalances = |event| rebalances(&instance.metrics, event);
    let [assigned, revoked, lost] = ["assigned", "revoked", "lost"].map(rebalances);
    let memory = instance.resolver.parts().layers.stats().memory;
    instance.stop().await?;

    let samples = Samples::read(&stage, from).await?;
    let before = Before::now();
    let answers = bare_topic(&stage.topology, Role::Answers);
    let watch = Watch::new("the bare loop", &stage, &answers).await?;
    let running = Bare::start(&stage, &samples, 1)?;
    let done = watch.until(options.records as u64).await?;
    let bare = before.until(&done);
    running.stop().await?;
    Ok(Report {
        records: options.records,
        keys: options.keys,
        format: options.format,
        poll_threads: options.poll_threads,
        embedded_broker: kafka.is_embedded,
        rate_ratio: wedcache.answers_per_sec / bare.answers_per_sec,
        wedcache,
        bare,
        ready_secs: ready.as_secs_f64(),
        assigned,
        revoked,
        lost,
        memory_evictions: memory.map_or(0, |memory| memory.evictions),
        not_hits,
    })
}

/// Returns how many partitions of the query stage saw this event. The watchdog counts once a
/// second, so events of the last second may be missing.
fn rebalances(metrics: &Metrics, event: &str) -> u64 {
    let of_queries = metrics.total_of(REBALANCES, &[("stage", "queries"), ("event", event)]);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of partitions that was a double"
    )]
    let count = of_queries.round() as u64;
    count
}

/// The state of the process before a contestant started.
struct Before {
    mark: Mark,
    resident: Option<u64>,
}

impl Before {
    fn now() -> Self {
        if !process::forget_peak() {
            tracing::warn!("the peak of memory includes what was before");
        }
        Self {
            mark: Mark::now(0),
            resident: process::resident_bytes(),
        }
    }

    fn until(&self, done: &Mark) -> Run {
        let secs = done.at.duration_since(self.mark.at).as_secs_f64();
        let (cpu, answers) = (self.mark.cpu_secs, done.delivered);
        Run {
            secs,
            answers_per_sec: float(answers) / secs.max(f64::EPSILON),
            cpu_secs_per_million: per_million(cpu, done.cpu_secs, answers),
            resident_before_bytes: self.resident,
            resident_peak_bytes: process::peak_bytes(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "A start in front of {} waiting {} queries over {} keys\n",
            self.records,
            self.format.as_str(),
            self.keys
        )?;
        let head = [
            "",
            "seconds",
            "answers/s",
            "CPU s per million",
            "MiB before",
            "MiB at most",
        ];
        let mut table = Table::new(head);
        let ours = format!("wedcache, {} poll thread(s)", self.poll_threads);
        for (name, run) in [(ours, &self.wedcache), ("bare loop".to_owned(), &self.bare)] {
            table.row([
                name,
                format!("{:.1}", run.secs),
                format!("{:.0}", run.answers_per_sec),
                shown_to(run.cpu_secs_per_million, 1),
                shown_to(run.resident_before_bytes.map(mebibytes), 0),
                shown_to(run.resident_peak_bytes.map(mebibytes), 0),
            ]);
        }
        writeln!(
            f,
            "{table}\nrate ratio {:.2}; ready after {:.1} s; partitions assigned {}, revoked {}, \
             lost {};\nevicted from memory {}; queries that were no hits {}\n\n\
             Timed from the start of the contestant until the last answer stood in Kafka, its\n\
             joining of the group and the filling of the keys included. Memory is that of this \
             process.",
            self.rate_ratio,
            self.ready_secs,
            self.assigned,
            self.revoked,
            self.lost,
            self.memory_evictions,
            self.not_hits
        )
    }
}
