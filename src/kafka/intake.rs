//! A consumer group member on a thread of its own: hands records over, tracks them, commits.
//!
//! ```text
//! poll thread:  poll ─▶ Handler::record(&record, ticket) ─▶ … ─▶ any thread: ticket.finish()
//!                 │                                                    │
//!                 └── every commit interval: finished prefix ◀─────────┘
//! ```

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::watch;

use super::KafkaError;
use super::access::Wants;
use super::client::{ClientLog, ClientOptions};
use super::hand_over::HandOver;
use super::poll::{Phase, PollThread};
use super::rebalance::{Assigned, GroupContext, RebalanceRules, Revoked};
use super::record::InRecord;
use super::shared::Shared;
use super::skips::Skips;
use super::stats::{IntakeStats, PartitionStats};
use super::ticket::Ticket;

/// What is done with records. All methods run on the poll thread.
pub trait Handler: Send {
    /// A record that is to be finished through its ticket. Must not block: while it runs nothing
    /// is polled.
    fn record(&mut self, record: &InRecord<'_>, ticket: Ticket);

    /// Partitions came; called before the first of their records.
    fn assigned(&mut self, _partitions: &[Assigned]) {}

    /// Partitions went: drained or handed over, committed and fenced already.
    fn revoked(&mut self, _partitions: &[Revoked]) {}

    /// The owner goes on from `next_offset` of the partition: what is below and was not handed over is
    /// given up.
    fn skipped(&mut self, _partition: &Assigned) {}

    /// A poll brought nothing; at least every 50 ms while there is no input.
    fn idle(&mut self) {}
}

/// How partitions are shared out in the group; all members must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Assignor {
    /// Incremental: only partitions that move are interrupted.
    #[default]
    CooperativeSticky,
    Range,
    RoundRobin,
}

impl Assignor {
    fn as_str(self) -> &'static str {
        match self {
            Self::CooperativeSticky => "cooperative-sticky",
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
        }
    }
}

/// Settings of one group member.
#[derive(Debug, Clone)]
pub struct IntakeOptions {
    pub client: ClientOptions,
    pub group: String,
    pub topics: Vec<String>,
    /// Static membership: a restart within the session timeout keeps the partitions.
    pub instance_id: Option<String>,
    pub assignor: Assignor,
    /// A member that is silent for so long is dead.
    pub session_timeout: Duration,
    /// A member that does not poll for so long leaves the group.
    pub max_poll_interval: Duration,
    /// How long a revocation waits for work in flight.
    pub drain_timeout: Duration,
    /// When it does not. Default never.
    pub hand_over: HandOver,
    /// How long an assignment waits for the committed offsets.
    pub restore_timeout: Duration,
    pub limits: Limits,
    pub prefetch: Prefetch,
    /// Ranges that are not read. Default none.
    pub skips: Arc<Skips>,
}

/// When intake pauses and what is committed how often.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub commit_interval: Duration,
    /// Intake pauses at so many unfinished records, and goes on at half of them.
    pub in_flight_records: usize,
    /// The same in bytes of keys and values.
    pub in_flight_bytes: u64,
    /// A partition that is below its end and has not moved for so long is stuck.
    pub stuck_after: Duration,
}

impl Limits {
    pub(super) fn reached(&self, shared: &Shared) -> bool {
        shared.totals.records.load(Ordering::Relaxed) >= self.in_flight_records
            || shared.totals.bytes.load(Ordering::Relaxed) >= self.in_flight_bytes
    }

    /// Within an eighth of the limit.
    pub(super) fn crowded(&self, shared: &Shared) -> bool {
        shared.totals.records.load(Ordering::Relaxed) > self.in_flight_records / 8 * 7
            || shared.totals.bytes.load(Ordering::Relaxed) > self.in_flight_bytes / 8 * 7
    }

    pub(super) fn relaxed(&self, shared: &Shared) -> bool {
        shared.totals.records.load(Ordering::Relaxed) <= self.in_flight_records / 2
            && shared.totals.bytes.load(Ordering::Relaxed) <= self.in_flight_bytes / 2
    }
}

/// How much librdkafka keeps ready.
#[derive(Debug, Clone, Copy)]
pub struct Prefetch {
    /// Per partition (`queued.min.messages`).
    pub min_records: u32,
    /// Of the whole member (`queued.max.messages.kbytes`).
    pub max_kbytes: u32,
    /// The most of one fetch from one partition (`max.partition.fetch.bytes`).
    pub fetch_bytes: u32,
    /// How long the broker may wait for data (`fetch.wait.max.ms`).
    pub fetch_wait: Duration,
}

/// Within a session: every half a second of the default one.
const HEARTBEATS: u32 = 12;

impl IntakeOptions {
    pub fn new(client: ClientOptions, group: impl Into<String>, topics: Vec<String>) -> Self {
        Self {
            client,
            group: group.into(),
            topics,
            instance_id: None,
            assignor: Assignor::default(),
            session_timeout: Duration::from_secs(6),
            max_poll_interval: Duration::from_mins(1),
            drain_timeout: Duration::from_secs(10),
            hand_over: HandOver::never(),
            restore_timeout: Duration::from_secs(10),
            limits: Limits {
                commit_interval: Duration::from_millis(500),
                in_flight_records: 32_768,
                in_flight_bytes: 64 << 20,
                stuck_after: Duration::from_mins(5),
            },
            prefetch: Prefetch {
                min_records: 2000,
                max_kbytes: 8192,
                fetch_bytes: 1 << 20,
                fetch_wait: Duration::from_millis(100),
            },
            skips: Arc::default(),
        }
    }

    /// Does not read these ranges.
    #[must_use]
    pub fn skipping(self, skips: &Arc<Skips>) -> Self {
        let skips = Arc::clone(skips);
        Self { skips, ..self }
    }

    pub(super) fn config(&self) -> Result<ClientConfig, KafkaError> {
        let millis = |duration: Duration| duration.as_millis().to_string();
        let session = millis(self.session_timeout);
        // Members learn of a rebalance by their heartbeats: until the last one has, the partitions
        // that move are nobody's.
        let heartbeat = millis(self.session_timeout / HEARTBEATS);
        let max_poll = millis(self.max_poll_interval.max(self.session_timeout));
        let wait = millis(self.prefetch.fetch_wait);
        let (min_records, max_kbytes) = (
            self.prefetch.min_records.to_string(),
            self.prefetch.max_kbytes.to_string(),
        );
        let fetch_bytes = self.prefetch.fetch_bytes.to_string();
        let mut ours = vec![
            ("group.id", self.group.as_str()),
            ("partition.assignment.strategy", self.assignor.as_str()),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "earliest"),
            ("session.timeout.ms", &session),
            ("heartbeat.interval.ms", &heartbeat),
            ("max.poll.interval.ms", &max_poll),
            ("queued.min.messages", &min_records),
            ("queued.max.messages.kbytes", &max_kbytes),
            ("max.partition.fetch.bytes", &fetch_bytes),
            ("fetch.wait.max.ms", &wait),
            // The default of a second starves a consumer whose prefetch is small.
            ("fetch.queue.backoff.ms", "5"),
            ("fetch.error.backoff.ms", "100"),
            ("statistics.interval.ms", "5000"),
            // A batch that was damaged is to be told, not to be read as something else.
            ("check.crcs", "true"),
        ];
        if let Some(instance) = &self.instance_id {
            ours.push(("group.instance.id", instance));
        }
        self.client.config(&ours)
    }
}

/// Starts intakes.
pub struct Intake;

impl Intake {
    /// Starts a member. A cluster that is away is waited for, with a warning now and then; only
    /// settings that librdkafka refuses are an error.
    pub fn spawn(
        options: &IntakeOptions,
        handler: impl Handler + 'static,
    ) -> Result<IntakeHandle, KafkaError> {
        let wants = Wants::read(&options.topics).in_group(&options.group);
        let log = ClientLog::new(&options.client, wants);
        let shared = Arc::new(Shared::new(log, options));
        let rules = RebalanceRules {
            drain: options.drain_timeout,
            restore: options.restore_timeout,
            hand_over: options.hand_over.clone(),
        };
        let context = GroupContext::new(Arc::clone(&shared), rules);
        let consumer = BaseConsumer::from_config_and_context(&options.config()?, context)
            .map_err(|source| options.client.refused(source))?;
        let topics: Vec<&str> = options.topics.iter().map(String::as_str).collect();
        consumer
            .subscribe(&topics)
            .map_err(|source| options.client.refused(source))?;
        let (phase, phases) = watch::channel(Phase::Running);
        let name = format!("poll {}", options.group);
        let thread = PollThread::new(
            consumer,
            handler,
            Arc::clone(&shared),
            options.limits,
            phase,
        )
        .map_err(|source| KafkaError::Thread {
            name: name.clone(),
            source,
        })?;
        std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || thread.run())
            .map_err(|source| KafkaError::Thread { name, source })?;
        Ok(IntakeHandle { shared, phases })
    }
}

/// Controls a running intake. Dropping it makes the intake commit and leave the group in the
/// background; [`IntakeHandle::shutdown`] waits for that.
#[derive(Debug)]
pub struct IntakeHandle {
    shared: Arc<Shared>,
    phases: watch::Receiver<Phase>,
}

impl IntakeHandle {
    /// Takes nothing in any more, for good. The member stays in the group and commits.
    pub fn stop_intake(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    /// After [`IntakeHandle::stop_intake`]: waits until every ticket is finished, left or dropped.
    /// `false` when tickets are still out at the deadline. Cancel safe.
    pub async fn drained(&self, deadline: Instant) -> bool {
        let wait = async {
            self.until_stopped().await;
            loop {
                let mut empty = std::pin::pin!(self.shared.totals.empty.notified());
                empty.as_mut().enable();
                if self.shared.totals.records.load(Ordering::Acquire) == 0 {
                    return;
                }
                empty.await;
            }
        };
        // A poll thread in the middle of a rebalance has not said that it has stopped; it takes in
        // nothing all the same.
        let waited = tokio::time::timeout_at(deadline.into(), wait).await;
        waited.is_ok() || self.shared.totals.records.load(Ordering::Acquire) == 0
    }

    /// After [`IntakeHandle::stop_intake`]: waits until the poll thread hands nothing over any more, or
    /// until the deadline. Cancel safe.
    pub async fn stopped(&self, deadline: Instant) {
        if tokio::time::timeout_at(deadline.into(), self.until_stopped())
            .await
            .is_err()
        {
            tracing::debug!("the poll thread has not said that it has stopped");
        }
    }

    async fn until_stopped(&self) {
        let mut phases = self.phases.clone();
        let stopped = phases.wait_for(|phase| *phase >= Phase::Stopped).await;
        // An error says that the poll thread is gone, so nothing is taken in either.
        drop(stopped);
    }

    /// How many records of the partitions held now are unfinished: neither finished, nor left to the
    /// next owner.
    pub fn unfinished(&self) -> usize {
        self.shared.lanes().iter().map(|lane| lane.owed()).sum()
    }

    /// Commits what is finished, leaves the group, ends the thread. `false` when the deadline came
    /// first (the thread then goes on with it in the background), or when something that is finished
    /// could not be committed. Cancel safe.
    pub async fn shutdown(self, deadline: Instant) -> bool {
        self.close();
        let mut phases = self.phases.clone();
        let closed = phases.wait_for(|phase| *phase == Phase::Closed);
        // An error says that the thread ended without closing: it panicked.
        let closed = tokio::time::timeout_at(deadline.into(), closed).await;
        matches!(closed, Ok(Ok(_))) && !self.shared.uncommitted.load(Ordering::Relaxed)
    }

    /// Waits until the poll thread has ended, for whatever reason. Cancel safe.
    pub async fn ended(&self) {
        let mut phases = self.phases.clone();
        while *phases.borrow_and_update() != Phase::Closed {
            if phases.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whether the poll thread runs; `false` after a shutdown, a fatal error or a panic.
    pub fn is_running(&self) -> bool {
        *self.phases.borrow() != Phase::Closed && self.phases.has_changed().is_ok()
    }

    /// Whether it has ended because Kafka takes another member for this one's successor. Where no
    /// other process has its instance id that was its own return, after its coordinator had died;
    /// a new member then goes on from what is committed.
    pub fn is_fenced(&self) -> bool {
        self.shared.fenced.load(Ordering::Relaxed)
    }

    pub fn stats(&self) -> IntakeStats {
        let now = Instant::now();
        let partitions: Vec<_> = self
            .shared
            .lanes()
            .iter()
            .map(|lane| {
                let view = lane.view(now);
                let end = lane.end_offset.load(Ordering::Relaxed);
                PartitionStats {
                    topic: Arc::clone(&lane.topic),
                    partition: lane.partition,
                    generation: lane.generation,
                    next_offset: view.next_offset,
                    next_intake: view.next_intake,
                    lag: (end >= 0).then(|| u64::try_from(end - view.next_offset).unwrap_or(0)),
                    unfinished: view.unfinished,
                    unfinished_bytes: view.unfinished_bytes,
                    oldest_unfinished: view.oldest,
                    abandoned: view.abandoned,
                    paused: lane.paused.load(Ordering::Relaxed),
                    standstill: lane.standstill().map(|(since, why)| (now - since, why)),
                }
            })
            .collect();
        let totals = &self.shared.totals;
        let log = &self.shared.log.counters;
        let counters = *self
            .shared
            .counters
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let fatal = self
            .shared
            .fatal
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        IntakeStats {
            oldest_unfinished: partitions
                .iter()
                .filter_map(|p| p.oldest_unfinished.map(|(_, age)| age))
                .max(),
            partitions,
            in_flight_records: totals.records.load(Ordering::Relaxed),
            in_flight_bytes: totals.bytes.load(Ordering::Relaxed),
            paused: self.shared.paused.load(Ordering::Relaxed),
            stopped: self.shared.stop.load(Ordering::Relaxed),
            generation: self.shared.generation(),
            counters: super::stats::IntakeCounters {
                finished: totals.finished.load(Ordering::Relaxed),
                finished_late: totals.finished_late.load(Ordering::Relaxed),
                abandoned: totals.abandoned.load(Ordering::Relaxed),
                offset_resets: log.offset_resets.load(Ordering::Relaxed),
                errors: log.errors.load(Ordering::Relaxed),
                all_brokers_down: log.all_brokers_down.load(Ordering::Relaxed),
                ..counters
            },
            last_error: log.last_error(),
            fatal: fatal.clone(),
        }
    }

    fn close(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.close.store(true, Ordering::Relaxed);
    }
}

impl Drop for IntakeHandle {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "churn_tests.rs"]
mod churn;

#[cfg(test)]
#[path = "stuck_tests.rs"]
mod stuck;

#[cfg(test)]
#[path = "standing_tests.rs"]
mod standing;
