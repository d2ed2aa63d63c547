//! Hits from Kafka to Kafka, beside a loop that only consumes and produces.
//!
//! All queries are in their topic before anybody reads them. The window opens when every key has
//! been filled, so that only hits in memory are measured, and closes when all answers are in Kafka.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::contestants::{Samples, bare_name, plain_name};
use super::course::{Course, Line, Window, baseline, beside, wedcache_name};
use super::figures::{shown, shown_to};
use super::kafka::{Against, Kafka};
use super::queries::Queries;
use super::stage::{Setup, Stage};
use super::streams::streams_name;
use super::table::Table;
use super::{Bench, BenchError, Wire, on_runtime, positive};
use wedcache::topology::ByteSize;

/// Hits from Kafka to Kafka, beside a bare consume-and-produce loop.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Queries in a round; by default 200000, varied 1000000.
    #[arg(long, value_name = "N")]
    pub records: Option<usize>,
    /// The way in which the queries are drawn.
    #[arg(long, default_value = "plain", value_enum)]
    pub workload: Workload,
    /// Different cache keys among them; by default 1000, varied 100000.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub keys: Option<usize>,
    /// Partitions of queries, answers and metrics; by default those of the demo.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub partitions: Option<u16>,
    /// Poll threads of wedcache; several separated by commas, each of them a contestant.
    #[arg(long, default_value = "1", value_name = "N", value_delimiter = ',', value_parser = positive)]
    pub poll_threads: Vec<usize>,
    /// Unfinished queries at which wedcache pauses its intake.
    #[arg(long, default_value_t = 32_768, value_name = "N", value_parser = positive)]
    pub in_flight: usize,
    /// The formats of queries, answers and metrics, separated by commas.
    #[arg(long, default_value = "json", value_enum, value_delimiter = ',')]
    pub format: Vec<Wire>,
    /// The built jar of `crates/lab/contestants/streams`, to run Kafka Streams too; varied JSON only.
    #[arg(long, value_name = "JAR")]
    pub streams: Option<PathBuf>,
    /// Rounds; every contestant runs once in each.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = positive)]
    pub rounds: usize,
    #[command(flatten)]
    pub against: Against,
}

/// The way in which queries are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// One key after the other, always in the same words, from some couples: the best case.
    Plain,
    /// As couples ask: keys by Zipf's law, each time in other words and by another couple, with
    /// answers of 0.3 to 8 KB that name up to 12 vendors. Beside it runs a plain loop too: a table of
    /// answers without any promise.
    Varied,
}

impl Options {
    fn records(&self) -> usize {
        let of_workload = match self.workload {
            Workload::Plain => 200_000,
            Workload::Varied => 1_000_000,
        };
        self.records.unwrap_or(of_workload)
    }

    fn keys(&self) -> usize {
        let of_workload = match self.workload {
            Workload::Plain => 1000,
            Workload::Varied => 100_000,
        };
        self.keys.unwrap_or(of_workload)
    }

    /// Returns the number of answers after which every key was asked for in every partition: several
    /// times, or varied once in all, with a margin for partitions that are read ahead of others.
    fn opens_at(&self) -> usize {
        match self.workload {
            Workload::Plain => opens_at(self.records(), self.keys()),
            Workload::Varied => self.keys() + self.records() / 5,
        }
    }

    /// Returns room in memory for all answers.
    fn memory(&self) -> ByteSize {
        let each = match self.workload {
            Workload::Plain => 4 << 10,
            Workload::Varied => 6 << 10,
        };
        ByteSize((self.keys() as u64 * each).max(Setup::default().memory.0))
    }
}

/// The figures of a whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub workload: Workload,
    pub records: usize,
    pub keys: usize,
    pub in_flight: usize,
    pub rounds: usize,
    pub embedded_broker: bool,
    pub formats: Vec<OfFormat>,
}

/// The figures measured with one format.
#[derive(Debug, Clone, Serialize)]
pub struct OfFormat {
    pub format: Wire,
    /// Mean size of a query's value, in bytes.
    pub query_bytes: u64,
    pub answer_bytes: u64,
    pub metric_bytes: u64,
    /// The contestants; the baseline is the bare loop with one poll thread.
    pub contestants: Vec<Line>,
}

/// Runs the scenario; blocks until the scenario is done.
pub fn run(options: &Options, bench: &Bench) -> Result<Report, BenchError> {
    if options.records() < options.opens_at() * 2 {
        return Err(BenchError::TooFew {
            records: options.records(),
            keys: options.keys(),
            least: options.opens_at() * 2,
        });
    }
    on_runtime(async {
        let kafka = Kafka::start(&options.against, bench)?;
        let mut runs = Vec::new();
        for format in &options.format {
            runs.push(Run::new(options, *format, &kafka.bootstrap, bench).await?);
        }
        for _ in 0..options.rounds {
            for run in &mut runs {
                run.round(options).await?;
            }
        }
        let formats = runs.into_iter().map(Run::report);
        Ok(Report {
            workload: options.workload,
            records: options.records(),
            keys: options.keys(),
            in_flight: options.in_flight,
            rounds: options.rounds,
            embedded_broker: kafka.is_embedded,
            formats: formats.collect::<Result<_, _>>()?,
        })
    })
}

/// Returns the number of answers after which every key was asked for several times, in every
/// partition.
pub(super) fn opens_at(records: usize, keys: usize) -> usize {
    keys * 5 + records / 20
}

/// The threads of the loops that wedcache is compared with.
const THREADS: [usize; 2] = [1, 2];

/// Returns whether the plain loop and Kafka Streams run too: they read JSON alone.
fn runs_others(stage: &Stage) -> bool {
    stage.varied && stage.format == Wire::Json
}

/// The rounds with one format.
struct Run {
    stage: Stage,
    query_bytes: u64,
    samples: Option<Samples>,
    contestants: Vec<(String, Vec<Window>)>,
}

impl Run {
    async fn new(
        options: &Options,
        format: Wire,
        bootstrap: &str,
        bench: &Bench,
    ) -> Result<Self, BenchError> {
        let setup = Setup {
            format,
            in_flight: options.in_flight,
            memory: options.memory(),
            partitions: options.partitions,
            varied: options.workload == Workload::Varied,
            ..Setup::default()
        };
        let stage = Stage::new(bench, bootstrap, &setup, format.as_str()).await?;
        let mut queries = Queries::new(options.keys(), format, &bench.clock);
        if setup.varied {
            queries = queries.varied();
        }
        let query_bytes = stage.load(&queries, options.records()).await?;
        let ours = options.poll_threads.iter().map(|n| wedcache_name(*n));
        let names = ours.chain(THREADS.map(bare_name));
        let others = runs_others(&stage);
        let plain = others.then_some(THREADS.map(plain_name));
        let streams = options.streams.as_ref().filter(|_| others);
        let streams = streams.map(|_| THREADS.map(streams_name));
        let names = names.chain(plain.into_iter().chain(streams).flatten());
        Ok(Self {
            stage,
            query_bytes,
            samples: None,
            contestants: names.map(|name| (name, Vec::new())).collect(),
        })
    }

    async fn round(&mut self, options: &Options) -> Result<(), BenchError> {
        let course = Course {
            stage: &self.stage,
            opens_at: options.opens_at() as u64,
            closes_at: options.records() as u64,
            records: options.records() as u64,
        };
        let mut windows = Vec::new();
        for threads in &options.poll_threads {
            let (window, from) = course.wedcache(*threads).await?;
            windows.push(window);
            if self.samples.is_none() {
                self.samples = Some(Samples::read(&self.stage, from).await?);
            }
        }
        let samples = self.samples.as_ref().ok_or(BenchError::NoSamples)?;
        for threads in THREADS {
            windows.push(course.bare(samples, threads).await?);
        }
        if runs_others(&self.stage) {
            for threads in THREADS {
                windows.push(course.plain(samples, threads).await?);
            }
            if let Some(jar) = &options.streams {
                for threads in THREADS {
                    windows.push(course.streams(jar, threads).await?);
                }
            }
        }
        for ((_, rounds), window) in self.contestants.iter_mut().zip(windows) {
            rounds.push(window);
        }
        Ok(())
    }

    fn report(self) -> Result<OfFormat, BenchError> {
        let samples = self.samples.ok_or(BenchError::NoSamples)?;
        let [answer_bytes, metric_bytes] = samples.mean_bytes();
        Ok(OfFormat {
            format: self.stage.format,
            query_bytes: self.query_bytes,
            answer_bytes,
            metric_bytes,
            contestants: beside(&baseline(), self.contestants),
        })
    }
}

/// Returns the table of contestants for scenarios that run a [`Course`].
pub(super) fn table(lines: &[Line]) -> Table {
    let head = ["", "hits/s", "rate ratio", "CPU s per million", "CPU ratio"];
    let mut table = Table::new(head);
    for line in lines {
        table.row([
            line.name.clone(),
            shown_to(line.hits_per_sec.map(|of| of.median), 0),
            shown(line.rate_ratio),
            shown_to(line.cpu_secs_per_million.map(|of| of.median), 1),
            shown(line.cpu_ratio),
        ]);
    }
    table
}

/// Sums, over wedcache's windows, the stale hits, the queries that were no hits, and the lost
/// metrics.
pub(super) fn sums(lines: &[Line]) -> [u64; 3] {
    let windows = || lines.iter().flat_map(|line| &line.rounds);
    [
        windows().map(|of| of.stale_hits).sum(),
        windows().map(|of| of.not_hits).sum(),
        windows().map(|of| of.metrics_lost).sum(),
    ]
}

impl Report {
    fn drawn(&self) -> &'static str {
        match self.workload {
            Workload::Plain => "",
            Workload::Varied => ", varied as couples ask,",
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Hits from Kafka to Kafka: {} queries{} over {} keys, at most {} in flight; medians of\n\
             {} round(s) in turn, ratios to the bare loop with one poll thread (least–most)",
            self.records,
            self.drawn(),
            self.keys,
            self.in_flight,
            self.rounds
        )?;
        for of in &self.formats {
            writeln!(
                f,
                "\n{}: mean bytes of a query {}, an answer {}, a metric {}",
                of.format.as_str(),
                of.query_bytes,
                of.answer_bytes,
                of.metric_bytes
            )?;
            write!(f, "{}", table(&of.contestants))?;
            let [stale, others, lost] = sums(&of.contestants);
            writeln!(
                f,
                "of wedcache's: {stale} hits labelled stale, {others} queries that were no hits, \
                 {lost} metric records lost"
            )?;
        }
        writeln!(
            f,
            "\nTimed from when all keys were filled until the last answer stood in Kafka. The bare\n\
             loop reads the same queries and produces as many records, with values that wedcache\n\
             made, the same kind of headers and the same librdkafka settings; it decodes, judges,\n\
             tracks and commits nothing. With two poll threads it has the clients twice as well."
        )?;
        if self.embedded_broker {
            writeln!(
                f,
                "The broker is the embedded one, in a process of its own and in memory: it takes\n\
                 cores from all contestants, most from the fastest. Use --kafka for a real one."
            )?;
        }
        Ok(())
    }
}
