//! The disk layer alone: how fast it fills and reads, its space and memory, and its time to ready.
//!
//! The layer runs in child processes, so that the memory is the layer's alone, every start is the
//! start of a process, and one of them can be killed.

mod report;
mod space;
pub mod worker;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::child::{self, Child};
use super::{Bench, BenchError, positive};
pub use report::Report;
pub use worker::{Checked, Filled, Read, Word};

/// The size of the files as a multiple of what the entries take, for the check of free space (2
/// measured with 100 000 entries; more after larger fills). Another multiple is added for each half
/// that is overwritten (0.6 measured).
const FILES_BY_ENTRIES: u64 = 3;
/// The stored size of an entry besides its answer, in bytes.
const BESIDE_ANSWER: u64 = 400;
/// The stored size of an answer, in percent of its length.
const COMPRESSED_PER_CENT: u64 = 75;
/// The time for which the process that is to be killed writes.
const WRITES_BEFORE_KILL: Duration = Duration::from_secs(2);
const READ_FOR: Duration = Duration::from_secs(5);

/// The disk layer alone: filling, reading, memory, time to ready after a stop and a crash.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Entries that are stored; 10 000 000 take some 15 minutes.
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = positive)]
    pub entries: usize,
    /// Length of an answer, in bytes.
    #[arg(long, default_value_t = 1500, value_name = "BYTES", value_parser = positive)]
    pub answer_bytes: usize,
    /// sled's page cache, in MiB.
    #[arg(long, default_value_t = 512, value_name = "MIB")]
    pub page_cache_mib: u64,
    /// Rounds at the end that overwrite half of the entries.
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub churn: u64,
    /// The folder to work in; it must not exist, and is removed at the end. By default a new one in
    /// the system's folder for temporary files.
    #[arg(long, value_name = "PATH")]
    pub dir: Option<PathBuf>,
}

/// The work of a process on the folder, once the layer is open.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    pub path: PathBuf,
    pub page_cache: ByteCount,
    pub answer_bytes: usize,
    pub steps: Vec<Step>,
}

/// A number of bytes.
pub type ByteCount = u64;

/// One step of a job; the process reports when it is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// Stores the numbered entries as of this round; a later round replaces an earlier one.
    Fill { numbers: Range<u64>, round: i64 },
    /// Looks up random entries, on this many threads.
    Read {
        numbers: Range<u64>,
        threads: usize,
        time: Duration,
    },
    /// Looks up a sample and compares the entries' rounds with this one.
    Check { numbers: Range<u64>, round: i64 },
    /// Stores entries in order until the process is killed, and reports how many are acknowledged.
    FillUntilKilled { numbers: Range<u64>, round: i64 },
}

/// Runs the scenario; blocks until the scenario is done.
pub fn run(options: &Options, bench: &Bench) -> Result<Report, BenchError> {
    let path = match &options.dir {
        Some(path) => path.clone(),
        None => std::env::temp_dir().join(format!("wedcache-bench-{}", std::process::id())),
    };
    if path.exists() {
        return Err(BenchError::FolderExists { path });
    }
    std::fs::create_dir_all(&path)?;
    let run = Run {
        options,
        bench,
        folder: path.join("cache"),
    };
    let report = run.check_space(&path).and_then(|()| run.all());
    std::fs::remove_dir_all(&path)?;
    report
}

struct Run<'a> {
    options: &'a Options,
    bench: &'a Bench,
    folder: PathBuf,
}

impl Run<'_> {
    fn check_space(&self, path: &Path) -> Result<(), BenchError> {
        let answer = self.options.answer_bytes as u64 * COMPRESSED_PER_CENT / 100;
        let stored = (answer + BESIDE_ANSWER) * self.options.entries as u64;
        let needed = stored * (FILES_BY_ENTRIES + self.options.churn);
        match space::free(path) {
            Some(free) if free < needed => Err(BenchError::NoSpace {
                path: path.to_owned(),
                free_mib: free >> 20,
                needed_mib: needed >> 20,
            }),
            Some(_) => Ok(()),
            None => {
                tracing::warn!("nobody knows how much space is free; going on");
                Ok(())
            }
        }
    }

    fn all(&self) -> Result<Report, BenchError> {
        let all = 0..self.options.entries as u64;
        let read = |threads| Step::Read {
            numbers: all.clone(),
            threads,
            time: READ_FOR,
        };
        let check = |numbers: &Range<u64>, round| Step::Check {
            numbers: numbers.clone(),
            round,
        };
        let fill = |numbers: &Range<u64>, round| Step::Fill {
            numbers: numbers.clone(),
            round,
        };
        let (mut first, _) = self.open(vec![fill(&all, 0), read(1), read(2)])?;
        let filled = first.filled()?;
        let (read, read_by_two) = (first.read()?, first.read()?);
        let resident_peak_bytes = first.close()?;
        let mut folder_bytes = vec![space::taken(&self.folder)?];

        let until_killed = Step::FillUntilKilled {
            numbers: all.clone(),
            round: 1,
        };
        let (mut second, ready_after_stop) = self.open(vec![check(&all, 0), until_killed])?;
        let after_stop = second.checked()?;
        let acknowledged = second.acknowledged_when_killed()?;

        let half = 0..all.end / 2;
        let sure = 0..acknowledged;
        let (mut third, ready_after_kill) = self.open(vec![check(&sure, 1)])?;
        let after_kill = third.checked()?;
        third.close()?;
        for round in 0..self.options.churn {
            let round = i64::try_from(round).unwrap_or(i64::MAX) + 2;
            let (mut churn, _) = self.open(vec![fill(&half, round)])?;
            churn.filled()?;
            churn.close()?;
            folder_bytes.push(space::taken(&self.folder)?);
        }
        let untouched = half.end.max(acknowledged)..all.end;
        let (mut last, ready_after_churn) = self.open(vec![check(&untouched, 0)])?;
        let after_churn = last.checked()?;
        last.close()?;
        Ok(Report {
            entries: self.options.entries,
            answer_bytes: self.options.answer_bytes,
            page_cache_mib: self.options.page_cache_mib,
            filled,
            read,
            read_by_two,
            resident_peak_bytes,
            ready_after_stop_secs: ready_after_stop.as_secs_f64(),
            after_stop,
            ready_after_kill_secs: ready_after_kill.as_secs_f64(),
            after_kill,
            acknowledged_before_kill: acknowledged,
            folder_bytes,
            ready_after_churn_secs: ready_after_churn.as_secs_f64(),
            after_churn,
        })
    }

    /// Starts a process on the folder; returns when the layer is open, with the time that took.
    fn open(&self, steps: Vec<Step>) -> Result<(Worker, Duration), BenchError> {
        let job = child::Job::Disk(Job {
            path: self.folder.clone(),
            page_cache: self.options.page_cache_mib << 20,
            answer_bytes: self.options.answer_bytes,
            steps,
        });
        let began = Instant::now();
        let mut worker = Worker(Child::start(&self.bench.program, &job)?);
        worker.expect(|word| matches!(word, Word::Ready).then_some(()))?;
        Ok((worker, began.elapsed()))
    }
}

/// A child process that works on the folder.
struct Worker(Child);

impl Worker {
    fn expect<T>(&mut self, of: impl Fn(Word) -> Option<T>) -> Result<T, BenchError> {
        of(self.0.hear()?).ok_or(BenchError::ChildEnded)
    }

    fn filled(&mut self) -> Result<Filled, BenchError> {
        self.expect(|word| match word {
            Word::Filled(filled) => Some(filled),
            _ => None,
        })
    }

    fn read(&mut self) -> Result<Read, BenchError> {
        self.expect(|word| match word {
            Word::Read(read) => Some(read),
            _ => None,
        })
    }

    fn checked(&mut self) -> Result<Checked, BenchError> {
        self.expect(|word| match word {
            Word::Checked(checked) => Some(checked),
            _ => None,
        })
    }

    /// Lets the process write for a while, then kills it; returns how many entries it had reported
    /// as acknowledged.
    fn acknowledged_when_killed(mut self) -> Result<u64, BenchError> {
        let until = Instant::now() + WRITES_BEFORE_KILL;
        let mut acknowledged = 0;
        while Instant::now() < until {
            acknowledged = match self.0.hear()? {
                Word::Acknowledged { entries } => entries,
                _ => return Err(BenchError::ChildEnded),
            };
        }
        self.0.kill()?;
        Ok(acknowledged)
    }

    /// Waits for an orderly stop; returns the most resident memory of the process.
    fn close(mut self) -> Result<Option<u64>, BenchError> {
        let peak = self.expect(|word| match word {
            Word::Closed { peak_bytes } => Some(peak_bytes),
            _ => None,
        })?;
        self.0.finish()?;
        Ok(peak)
    }
}
