//! A course that contestants run one after another: all queries of a topic, from its start, at full
//! speed. Only a window of each run is timed.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::contestants::{Bare, Samples, Tally, Wedcache, bare_name, per_million};
use super::figures::{Spread, float};
use super::stage::{Stage, bare_topic};
use super::streams::Streams;
use super::{BenchError, process};
use wedcache::topology::settings::Role;

/// The interval between two looks at how much has been delivered.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// A topic full of queries, and the counts of answers at which the clock starts and stops.
pub(super) struct Course<'a> {
    pub(super) stage: &'a Stage,
    /// The number of answers after which the window opens.
    pub(super) opens_at: u64,
    /// The number of answers after which the window closes.
    pub(super) closes_at: u64,
    /// The number of answers after which the contestant is stopped.
    pub(super) records: u64,
}

/// One contestant's timed window in one round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Window {
    /// Answers in the window, hits and others.
    pub answers: u64,
    pub secs: f64,
    /// Hits a second; for the bare loop, all records that it sent. `None` if the window opened and
    /// closed between two looks, because the run was too short.
    pub hits_per_sec: Option<f64>,
    /// Processor seconds of this process for a million answers; `None` if the system does not
    /// report processor time or no answer came.
    pub cpu_secs_per_million: Option<f64>,
    /// Hits in the window that were labelled stale.
    pub stale_hits: u64,
    /// Queries in the window that were no hits.
    pub not_hits: u64,
    /// Metric records of the round that did not reach Kafka.
    pub metrics_lost: u64,
}

impl Window {
    fn between(opened: &Mark, closed: &Mark, tally: Tally) -> Self {
        let answers = closed.delivered - opened.delivered;
        let secs = closed.at.duration_since(opened.at).as_secs_f64();
        let hits = float(answers.saturating_sub(tally.not_hits));
        Self {
            answers,
            secs,
            hits_per_sec: (answers > 0).then(|| hits / secs.max(f64::EPSILON)),
            cpu_secs_per_million: per_million(opened.cpu_secs, closed.cpu_secs, answers),
            stale_hits: tally.stale_hits,
            not_hits: tally.not_hits,
            metrics_lost: 0,
        }
    }
}

impl Course<'_> {
    /// Runs wedcache once; returns the window and the end offsets of the outputs when it opened.
    pub(super) async fn wedcache(
        &self,
        poll_threads: usize,
    ) -> Result<(Window, [Vec<i64>; 2]), BenchError> {
        let stage = self.stage;
        let (answers, metrics) = (stage.topic(Role::Answers), stage.topic(Role::Metrics));
        let metric_base = stage.count(metrics).await?;
        let watch = Watch::new("wedcache", stage, answers).await?;
        let running = Wedcache::start(stage, poll_threads).await?;
        let opened = watch.until(self.opens_at).await?;
        let before = Tally::of(&running.metrics);
        let from = Samples::offsets(stage).await?;
        let closed = watch.until(self.closes_at).await?;
        let tally = Tally::of(&running.metrics).since(before);
        watch.until(self.records).await?;
        running.stop().await?;
        let metric_records = stage.count(metrics).await? - metric_base;
        let window = Window {
            metrics_lost: self.records.saturating_sub(metric_records),
            ..Window::between(&opened, &closed, tally)
        };
        Ok((window, from))
    }

    /// Runs the bare loop once.
    pub(super) async fn bare(
        &self,
        samples: &Samples,
        threads: usize,
    ) -> Result<Window, BenchError> {
        self.loops("the bare loop", || {
            Bare::start(self.stage, samples, threads)
        })
        .await
    }

    /// Runs the Kafka Streams application once.
    pub(super) async fn streams(&self, jar: &Path, threads: usize) -> Result<Window, BenchError> {
        let answers = bare_topic(&self.stage.topology, Role::Answers);
        let watch = Watch::new("the Kafka Streams application", self.stage, &answers).await?;
        let running = Streams::start(self.stage, jar, threads).await?;
        let opened = watch.until_by(self.opens_at, || running.cpu_secs()).await?;
        let closed = watch
            .until_by(self.closes_at, || running.cpu_secs())
            .await?;
        watch.until(self.records).await?;
        running.stop().await?;
        Ok(Window::between(&opened, &closed, Tally::default()))
    }

    /// Runs the plain loop once.
    pub(super) async fn plain(
        &self,
        samples: &Samples,
        threads: usize,
    ) -> Result<Window, BenchError> {
        self.loops("the plain loop", || {
            Bare::start_plain(self.stage, samples, threads)
        })
        .await
    }

    async fn loops(
        &self,
        who: &'static str,
        start: impl FnOnce() -> Result<Bare, BenchError>,
    ) -> Result<Window, BenchError> {
        let answers = bare_topic(&self.stage.topology, Role::Answers);
        let watch = Watch::new(who, self.stage, &answers).await?;
        let running = start()?;
        let opened = watch.until(self.opens_at).await?;
        let closed = watch.until(self.closes_at).await?;
        watch.until(self.records).await?;
        running.stop().await?;
        Ok(Window::between(&opened, &closed, Tally::default()))
    }
}

/// A contestant's progress at a moment.
pub(super) struct Mark {
    pub(super) at: Instant,
    pub(super) delivered: u64,
    pub(super) cpu_secs: Option<f64>,
}

impl Mark {
    pub(super) fn now(delivered: u64) -> Self {
        Self::at(delivered, process::cpu_secs())
    }

    fn at(delivered: u64, cpu_secs: Option<f64>) -> Self {
        Self {
            at: Instant::now(),
            delivered,
            cpu_secs,
        }
    }
}

/// A watch on the number of answers in Kafka; watching costs the same for every contestant.
pub(super) struct Watch<'a> {
    who: &'static str,
    stage: &'a Stage,
    topic: &'a str,
    base: u64,
}

impl<'a> Watch<'a> {
    /// Starts counting from the topic's current end.
    pub(super) async fn new(
        who: &'static str,
        stage: &'a Stage,
        topic: &'a str,
    ) -> Result<Self, BenchError> {
        Ok(Self {
            who,
            stage,
            topic,
            base: stage.count(topic).await?,
        })
    }

    pub(super) async fn until(&self, wanted: u64) -> Result<Mark, BenchError> {
        self.until_by(wanted, process::cpu_secs).await
    }

    /// Waits likewise, for a contestant whose processor time is told by `cpu_secs`.
    async fn until_by(
        &self,
        wanted: u64,
        cpu_secs: impl Fn() -> Option<f64>,
    ) -> Result<Mark, BenchError> {
        let (mut last, mut moved_at) = (0, Instant::now());
        loop {
            let count = self.stage.count(self.topic).await?;
            let delivered = count.saturating_sub(self.base);
            if delivered >= wanted {
                return Ok(Mark::at(delivered, cpu_secs()));
            }
            if delivered > last {
                (last, moved_at) = (delivered, Instant::now());
            }
            if moved_at.elapsed() > STALLED_AFTER {
                return Err(BenchError::Stalled {
                    who: self.who,
                    delivered,
                    wanted,
                    idle_secs: STALLED_AFTER.as_secs(),
                });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// All rounds of one contestant, with ratios to the baseline.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    pub name: String,
    pub hits_per_sec: Option<Spread>,
    pub cpu_secs_per_million: Option<Spread>,
    /// Ratios of the rates, round by round: 1 is as fast as the baseline.
    pub rate_ratio: Option<Spread>,
    /// Ratios of the processor time for an answer: 2 is twice as much as the baseline.
    pub cpu_ratio: Option<Spread>,
    pub rounds: Vec<Window>,
}

/// Compares contestants, round by round, with the one named `baseline`.
pub(super) fn beside(baseline: &str, contestants: Vec<(String, Vec<Window>)>) -> Vec<Line> {
    let base = contestants.iter().find(|(name, _)| name == baseline);
    let base: Vec<Window> = base.map(|(_, rounds)| rounds.clone()).unwrap_or_default();
    let line = |(name, rounds): (String, Vec<Window>)| {
        let pairs = || rounds.iter().zip(&base);
        let rate = pairs().filter_map(|(a, b)| Some(a.hits_per_sec? / b.hits_per_sec?));
        let cpu =
            pairs().filter_map(|(a, b)| Some(a.cpu_secs_per_million? / b.cpu_secs_per_million?));
        Line {
            hits_per_sec: Spread::of(rounds.iter().filter_map(|round| round.hits_per_sec)),
            cpu_secs_per_million: Spread::of(
                rounds.iter().filter_map(|round| round.cpu_secs_per_million),
            ),
            rate_ratio: Spread::of(rate),
            // A baseline that used less than one tick of the kernel's clock makes the ratio
            // infinite.
            cpu_ratio: Spread::of(cpu.filter(|ratio| ratio.is_finite())),
            name,
            rounds: rounds.clone(),
        }
    };
    contestants.into_iter().map(line).collect()
}

/// Returns the name of wedcache in tables.
pub(super) fn wedcache_name(poll_threads: usize) -> String {
    format!("wedcache, {poll_threads} poll thread(s)")
}

/// Returns the name of the contestant that all others are compared with.
pub(super) fn baseline() -> String {
    bare_name(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(secs: u64, cpu: f64) -> Window {
        let at = Instant::now();
        let mark = |after, delivered, cpu| Mark {
            at: at + Duration::from_secs(after),
            delivered,
            cpu_secs: Some(cpu),
        };
        let (opened, closed) = (mark(0, 1000, 1.0), mark(secs, 101_000, 1.0 + cpu));
        Window::between(&opened, &closed, Tally::default())
    }

    #[test]
    fn rates_and_ratios_come_from_what_happened_between_the_marks() {
        let ours = vec![window(4, 2.0), window(10, 2.0), window(5, 4.0)];
        let theirs = vec![window(2, 1.0); 3];
        let lines = beside("b", vec![("a".into(), ours), ("b".into(), theirs)]);
        let [ours, theirs] = &lines[..] else {
            panic!("{lines:?}")
        };
        assert!((ours.hits_per_sec.unwrap().median - 20_000.0).abs() < 1e-6);
        assert!((theirs.cpu_secs_per_million.unwrap().median - 10.0).abs() < 1e-6);
        assert_eq!(ours.rate_ratio.unwrap().to_string(), "0.40 (0.20–0.50)");
        assert_eq!(ours.cpu_ratio.unwrap().to_string(), "2.00 (2.00–4.00)");
        assert_eq!(theirs.rate_ratio.unwrap().to_string(), "1.00");
    }

    #[test]
    fn what_was_no_hit_is_not_in_the_rate_of_hits() {
        let at = Instant::now();
        let mark = |after, delivered| Mark {
            at: at + Duration::from_secs(after),
            delivered,
            cpu_secs: None,
        };
        let tally = Tally {
            stale_hits: 0,
            not_hits: 100,
        };
        let window = Window::between(&mark(0, 0), &mark(10, 1100), tally);
        assert!((window.hits_per_sec.unwrap() - 100.0).abs() < 1e-9);
        assert_eq!(window.cpu_secs_per_million, None);
        let empty = Window::between(&mark(0, 7), &mark(1, 7), Tally::default());
        assert_eq!(empty.hits_per_sec, None);
    }
}
