//! The Kafka Streams application of `contestants/streams`: a process beside this one.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::contestants::blocking;
use super::stage::{Stage, bare_topic};
use super::{BenchError, process};
use wedcache::topology::settings::Role;

/// The options of the Java machine: those with which the application was fastest.
const JAVA: [&str; 3] = ["-Xms2g", "-Xmx2g", "-XX:+UseParallelGC"];

/// The bounds of its answers' lengths, log-uniform between the two: the mean is that of
/// [`super::varied`].
const ANSWER_BYTES: &str = "300:4500";

/// The running application; dropping it kills it.
pub(super) struct Streams(Child);

impl Streams {
    /// Starts it with this many threads; returns when it has all partitions.
    pub(super) async fn start(
        stage: &Stage,
        jar: &Path,
        threads: usize,
    ) -> Result<Self, BenchError> {
        let mut command = Command::new("java");
        command.args(JAVA).arg("-jar").arg(jar);
        for (name, value) in [
            ("--bootstrap", stage.client.bootstrap.clone()),
            (
                "--application-id",
                format!("{}.streams", stage.fresh_group()),
            ),
            ("--queries", stage.topic(Role::Queries).to_string()),
            ("--answers", bare_topic(&stage.topology, Role::Answers)),
            ("--metrics", bare_topic(&stage.topology, Role::Metrics)),
            ("--threads", threads.to_string()),
            ("--answer-bytes", ANSWER_BYTES.to_owned()),
        ] {
            command.args([name, &value]);
        }
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut streams = Self(started.map_err(|source| BenchError::Program {
            program: "java".into(),
            source,
        })?);
        let output = streams.0.stdout.take().expect("the output was asked for");
        let ready = blocking(move || {
            let mut lines = BufReader::new(output).lines();
            lines.any(|line| line.is_ok_and(|line| line == "ready"))
        });
        if ready.await? {
            Ok(streams)
        } else {
            Err(BenchError::ChildEnded)
        }
    }

    /// Returns the processor seconds that it has used.
    pub(super) fn cpu_secs(&self) -> Option<f64> {
        process::cpu_secs_of(self.0.id())
    }

    /// Closes its input, which ends it, and waits for its end.
    pub(super) async fn stop(mut self) -> Result<(), BenchError> {
        drop(self.0.stdin.take());
        let ended = blocking(move || self.0.wait()).await??;
        if ended.success() {
            Ok(())
        } else {
            Err(BenchError::ChildEnded)
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        if let Ok(None) = self.0.try_wait()
            && let Err(error) = self.0.kill().and_then(|()| self.0.wait())
        {
            tracing::warn!(%error, "the Kafka Streams application could not be ended");
        }
    }
}

pub(super) fn streams_name(threads: usize) -> String {
    format!("Kafka Streams, {threads} thread(s)")
}
