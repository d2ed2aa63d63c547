//! Other processes of this program: what must not count as wedcache's own processor time and
//! memory, or is to be killed, runs in them.
//!
//! The parent writes the job as a line of JSON; the child answers in lines of JSON on its standard
//! output. When the parent ends, or closes the child's input, the child ends too.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{BenchError, disk, drive, kafka};

/// What a child does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Job {
    /// Is the broker.
    Broker,
    /// Asks and waits for the answers.
    Drive(drive::Job),
    /// Works on a folder of the disk layer.
    Disk(disk::Job),
}

/// A running child; dropping it kills it.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Child {
    pub fn start(program: &Path, job: &Job) -> Result<Self, BenchError> {
        let mut process = Command::new(program)
            .args(["bench", "worker"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| BenchError::Program {
                program: program.to_owned(),
                source,
            })?;
        let mut input = process.stdin.take();
        let output = process.stdout.take();
        let output = BufReader::new(output.expect("the output was asked for")).lines();
        let mut line = serde_json::to_string(job).expect("a job is plain data");
        line.push('\n');
        if let Some(input) = &mut input {
            input.write_all(line.as_bytes())?;
        }
        Ok(Self {
            process,
            input,
            output,
        })
    }

    /// What the child says next. Blocks until it does; an error when it ended instead.
    pub fn hear<T: DeserializeOwned>(&mut self) -> Result<T, BenchError> {
        let line = self.output.next().ok_or(BenchError::ChildEnded)??;
        serde_json::from_str(&line).map_err(|source| BenchError::ChildSpoke { line, source })
    }

    /// Closes the child's input, which ends it, and waits for its end. Blocks.
    pub fn finish(mut self) -> Result<(), BenchError> {
        self.input = None;
        let status = self.process.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(BenchError::ChildEnded)
        }
    }

    /// Ends it as a crash would, with SIGKILL. Blocks until it is gone.
    pub fn kill(mut self) -> Result<(), BenchError> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        if let Ok(None) = self.process.try_wait()
            && let Err(error) = self.process.kill().and_then(|()| self.process.wait())
        {
            tracing::warn!(%error, "a child process could not be ended");
        }
    }
}

/// The child's side: does the job that its parent writes. Blocks until it is done.
pub fn work() -> Result<(), BenchError> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let job: Job =
        serde_json::from_str(&line).map_err(|source| BenchError::ChildSpoke { line, source })?;
    match job {
        Job::Broker => kafka::be_broker(),
        Job::Drive(job) => {
            end_with_parent()?;
            drive::run(&job)
        }
        Job::Disk(job) => {
            end_with_parent()?;
            disk::worker::run(&job)
        }
    }
}

/// Says something to the parent.
pub fn say(what: &impl Serialize) -> Result<(), BenchError> {
    let mut line = serde_json::to_string(what).expect("what children say is plain data");
    line.push('\n');
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Blocks until the parent has closed this child's input.
pub fn parent_gone() {
    let mut rest = String::new();
    while let Ok(1..) = std::io::stdin().read_line(&mut rest) {
        rest.clear();
    }
}

fn end_with_parent() -> Result<(), BenchError> {
    std::thread::Builder::new()
        .name("parent".to_owned())
        .spawn(|| {
            parent_gone();
            std::process::exit(0);
        })?;
    Ok(())
}
