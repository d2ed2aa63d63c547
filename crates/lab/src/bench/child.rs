//! Child processes of this program, for work whose processor time and memory must not count as
//! wedcache's, or that is to be killed.
//!
//! The parent writes the job as one line of JSON to the child's standard input; the child answers
//! in lines of JSON on its standard output. When the parent ends, or closes the child's input, the
//! child ends too.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{BenchError, disk, drive, kafka};

/// The work of a child process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Job {
    /// Runs the embedded broker.
    Broker,
    /// Asks queries at a fixed rate and reads their answers.
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
            .arg("worker")
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

    /// Returns the child's next message. Blocks until one comes; fails if the child has ended.
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

    /// Ends the child as a crash would, with SIGKILL. Blocks until the process is gone.
    pub fn kill(mut self) -> Result<(), BenchError> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The child may have ended already; then there is nothing to kill.
        if let Ok(None) = self.process.try_wait()
            && let Err(error) = self.process.kill().and_then(|()| self.process.wait())
        {
            tracing::warn!(%error, "a child process could not be ended");
        }
    }
}

/// Runs the child's side: does the job that the parent writes. Blocks until the job is done.
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

/// Writes a message to the parent.
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
