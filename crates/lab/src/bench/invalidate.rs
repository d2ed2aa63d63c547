//! Invalidates a thousand and a million answers in memory by one change of one vendor, through the
//! real stages on a broker: the time must not depend on the number.
//!
//! The entries are put into the instance's memory as fills would put them. Then a change event is
//! produced, and two things are watched: one entry that is judged repeatedly, and a steady stream
//! of queries over all keys, whose answers show whether they were made before the change.

mod asking;

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use self::asking::Asking;
use super::contestants::Wedcache;
use super::entries::{self, Made};
use super::figures::{Spread, float, mebibytes, shown, shown_to};
use super::kafka::{Against, Kafka};
use super::queries::{HIT_TYPE, Queries};
use super::stage::{Setup, Stage};
use super::table::Table;
use super::{Bench, BenchError, Wire, on_runtime, positive, process};
use wedcache::invalidation::tag_table::Applied;
use wedcache::invalidation::{TagTable, TagTableOptions, Validity};
use wedcache::kafka::{OutRecord, Output, OutputOptions};
use wedcache::model::entry::Header;
use wedcache::model::event::{Attribute, VendorChange};
use wedcache::model::{Mode, Position, Tag, TagHash, Timestamp};
use wedcache::topology::ByteSize;
use wedcache::topology::settings::Role;

/// The vendor that every answer names.
const VENDOR: &str = "v-17";
/// A size that a million entries fit into.
const MEMORY: ByteSize = ByteSize(16 << 30);
const JUDGE_EVERY: Duration = Duration::from_micros(50);
const JUDGED_WAIT: Duration = Duration::from_secs(10);
const APPEND_WAIT: Duration = Duration::from_secs(10);
/// The time for which queries go on after the change, to see whether old answers still come.
const LISTEN: Duration = Duration::from_millis(500);

/// Invalidating many answers by one change: it must not depend on how many.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Answers in memory that name the vendor; several counts separated by commas.
    #[arg(long, default_value = "1000,1000000", value_name = "N", value_delimiter = ',', value_parser = positive)]
    pub answers: Vec<usize>,
    /// Length of an answer, in bytes.
    #[arg(long, default_value_t = 300, value_name = "BYTES", value_parser = positive)]
    pub answer_bytes: usize,
    /// Queries a second over these answers.
    #[arg(long, default_value_t = 2000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// Changes of the vendor for each number of answers.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = positive)]
    pub changes: usize,
    #[command(flatten)]
    pub against: Against,
}

/// The figures of a whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub answer_bytes: usize,
    pub rate: u32,
    pub embedded_broker: bool,
    pub runs: Vec<Run>,
    /// Microseconds for applying one record of the log to a tag table.
    pub apply_micros: f64,
}

/// The figures measured with one number of answers.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    pub answers: usize,
    pub resident_bytes: Option<u64>,
    /// Time from before the change was produced until the instance refused the answers.
    pub refused_after_ms: Option<Spread>,
    /// Time from before the change was produced until the last answer made before it was read.
    pub last_old_answer_after_ms: Option<Spread>,
    /// Answers made before the change that were read after it was produced.
    pub old_answers: Option<Spread>,
    /// Answers in memory that were still valid after the change; 0 is expected.
    pub still_good: u64,
    /// Nanoseconds for judging one answer in memory, before and after the change.
    pub judge_valid_nanos: Option<Spread>,
    pub judge_refused_nanos: Option<Spread>,
}

/// Runs the scenario; blocks until the scenario is done.
pub fn run(options: &Options, bench: &Bench) -> Result<Report, BenchError> {
    on_runtime(async {
        let kafka = Kafka::start(&options.against, bench)?;
        let setup = Setup {
            memory: MEMORY,
            ..Setup::default()
        };
        let mut runs = Vec::new();
        for answers in &options.answers {
            let name = answers.to_string();
            let stage = Stage::new(bench, &kafka.bootstrap, &setup, &name).await?;
            runs.push(of_many(options, *answers, &stage, bench).await?);
        }
        Ok(Report {
            answer_bytes: options.answer_bytes,
            rate: options.rate,
            embedded_broker: kafka.is_embedded,
            runs,
            apply_micros: apply_micros(),
        })
    })
}

/// The measurements of one change of the vendor.
struct Change {
    refused_after: Duration,
    last_old_after: Option<Duration>,
    old_answers: u64,
    still_good: u64,
    valid_nanos: f64,
    refused_nanos: f64,
}

async fn of_many(
    options: &Options,
    answers: usize,
    stage: &Stage,
    bench: &Bench,
) -> Result<Run, BenchError> {
    let instance = Wedcache::start(stage, 1).await?;
    let queries = Queries::new(answers, Wire::Json, &bench.clock);
    let mut asking = None;
    let mut changes = Vec::new();
    let mut resident_bytes = None;
    for number in 0..options.changes {
        let scene = Scene {
            stage,
            instance: &instance,
            marker: format!("before change {number}. "),
        };
        let headers = scene.fill(&queries, options.answer_bytes, bench);
        resident_bytes = resident_bytes.max(process::resident_bytes());
        let asking = match &mut asking {
            Some(asking) => asking,
            none => none.insert(Asking::start(stage, queries.clone(), options.rate)?),
        };
        changes.push(scene.change(number, &headers, asking).await?);
    }
    if let Some(asking) = asking {
        asking.stop().await?;
    }
    instance.stop().await?;
    let millis = |of: Duration| of.as_secs_f64() * 1e3;
    let last_old = changes.iter().filter_map(|of| of.last_old_after);
    Ok(Run {
        answers,
        resident_bytes,
        refused_after_ms: Spread::of(changes.iter().map(|of| millis(of.refused_after))),
        last_old_answer_after_ms: Spread::of(last_old.map(millis)),
        old_answers: Spread::of(changes.iter().map(|of| float(of.old_answers))),
        still_good: changes.iter().map(|of| of.still_good).sum(),
        judge_valid_nanos: Spread::of(changes.iter().map(|of| of.valid_nanos)),
        judge_refused_nanos: Spread::of(changes.iter().map(|of| of.refused_nanos)),
    })
}

/// An instance full of answers that the change is to invalidate.
struct Scene<'a> {
    stage: &'a Stage,
    instance: &'a Wedcache,
    /// The text that every answer starts with.
    marker: String,
}

impl Scene<'_> {
    /// Puts an answer under every key, as a fill would; returns their headers, for judging them.
    fn fill(&self, queries: &Queries, bytes: usize, bench: &Bench) -> Vec<Header> {
        let parts = self.instance.resolver.parts();
        let made = Made {
            log_id: parts.table.log_id(),
            stamp: parts.table.position(),
            at: bench.clock.now(),
        };
        let catalog = &self.stage.topology.policy.catalog;
        let entry = |number| {
            let text = entries::text(number as u64, bytes);
            let data = format!("{}Ask {VENDOR}. {text}", self.marker);
            entries::answering(catalog, &queries.query(number), &data, made)
        };
        (0..queries.keys)
            .filter_map(entry)
            .map(|entry| {
                let header = entry.header.clone();
                if let Some(memory) = parts.layers.memory() {
                    memory.put(&entry.into());
                }
                header
            })
            .collect()
    }

    async fn change(
        &self,
        number: usize,
        headers: &[Header],
        asking: &Asking,
    ) -> Result<Change, BenchError> {
        let table = &self.instance.resolver.parts().table;
        let producer = OutputOptions {
            linger: Duration::ZERO,
            ..OutputOptions::new(self.stage.client.named("changes"))
        };
        let output = Output::new(&producer)?;
        // Waits until old answers are being read, so that the last of them can be recognised.
        tokio::time::sleep(LISTEN).await;
        let (valid_nanos, _) = judge_all(table, headers);
        let began = Instant::now();
        asking.watch(&self.marker);
        let topic = self.stage.topic(Role::VendorChanges);
        let value = price_moved(number);
        let record = OutRecord::to(topic, Some(VENDOR.as_bytes()), Some(&value));
        let appended = output.append(&record, began + APPEND_WAIT);
        let (appended, refused) = tokio::join!(appended, refused(table, headers));
        if let Err(error) = appended {
            tracing::error!(%error, "the change was not produced");
        }
        let refused_after = refused?.duration_since(began);
        tokio::time::sleep(LISTEN).await;
        let (refused_nanos, still_good) = judge_all(table, headers);
        let heard = asking.heard();
        Ok(Change {
            refused_after,
            last_old_after: heard.last_old_at.map(|at| at.duration_since(began)),
            old_answers: heard.old_answers,
            still_good,
            valid_nanos,
            refused_nanos,
        })
    }
}

/// Judges one answer repeatedly until it is refused; returns when that was.
async fn refused(table: &TagTable, headers: &[Header]) -> Result<Instant, BenchError> {
    let deadline = Instant::now() + JUDGED_WAIT;
    let Some(header) = headers.last() else {
        return Ok(Instant::now());
    };
    let mut ticks = tokio::time::interval(JUDGE_EVERY);
    while table.judge(header, &[]) == Validity::Valid {
        if Instant::now() > deadline {
            return Err(BenchError::NotJudged { wait: JUDGED_WAIT });
        }
        ticks.tick().await;
    }
    Ok(Instant::now())
}

/// Judges all answers in a row; returns the nanoseconds for one and how many are valid.
fn judge_all(table: &TagTable, headers: &[Header]) -> (f64, u64) {
    let began = Instant::now();
    let good = headers
        .iter()
        .filter(|of| table.judge(of, &[]) == Validity::Valid);
    let good = good.count() as u64;
    let nanos = began.elapsed().as_secs_f64() * 1e9;
    (nanos / float(headers.len() as u64).max(1.0), good)
}

/// Returns a price change of 20 %: the topology's rules purge answers that name a vendor whose
/// price has moved by more than 5 %.
fn price_moved(number: usize) -> Vec<u8> {
    let change = VendorChange {
        event_id: format!("e-bench-{number}"),
        vendor_id: VENDOR.to_owned(),
        vendor_type: None,
        change: "price_changed".to_owned(),
        location: None,
        occurred_at: None,
        source: None,
        attributes: [("priceChangePct".to_owned(), Attribute::Number(20.0))].into(),
    };
    serde_json::to_vec(&change).expect("a change is plain data")
}

/// Returns the mean microseconds for applying one record to a tag table that holds many others.
fn apply_micros() -> f64 {
    const RECORDS: u32 = 20_000;
    let table = TagTable::new(TagTableOptions::default());
    let record = |offset: u32| Applied {
        offset: offset.into(),
        tag: TagHash::of(Tag::vendor(HIT_TYPE, &format!("v-{offset}")).as_str()),
        mode: Mode::Purge,
        at: Timestamp(0),
    };
    let records: Vec<Applied> = (0..RECORDS).map(record).collect();
    let began = Instant::now();
    for record in &records {
        table.apply(std::slice::from_ref(record), Position(record.offset + 1));
    }
    began.elapsed().as_secs_f64() * 1e6 / f64::from(RECORDS)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "One change of a vendor that all answers in memory name; {} queries a second meanwhile,\n\
             answers of {} bytes; medians of the changes (least–most)\n",
            self.rate, self.answer_bytes
        )?;
        let mut table = Table::new([
            "answers",
            "refused after ms",
            "last old answer after ms",
            "old answers",
        ]);
        let mut costs = Table::new([
            "answers",
            "still good",
            "judge valid ns",
            "judge refused ns",
            "MiB resident",
        ]);
        for run in &self.runs {
            table.row([
                run.answers.to_string(),
                shown_to(run.refused_after_ms, 1),
                shown_to(run.last_old_answer_after_ms, 1),
                shown_to(run.old_answers, 0),
            ]);
            costs.row([
                run.answers.to_string(),
                run.still_good.to_string(),
                shown_to(run.judge_valid_nanos, 0),
                shown_to(run.judge_refused_nanos, 0),
                shown(
                    run.resident_bytes
                        .map(|bytes| format!("{:.0}", mebibytes(bytes))),
                ),
            ]);
        }
        writeln!(f, "{table}\n{costs}")?;
        writeln!(
            f,
            "Applying one record of the log to the tag table: {:.2} µs. All times count from before \
             the\nchange was produced: through the rules stage, the invalidation log and back. An \
             old answer\nis read some milliseconds after it was given. Judging goes through all \
             answers in a row,\nso that of a million each comes from main memory.",
            self.apply_micros
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
