//! Settings of a group member.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::ClientConfig;

use super::super::KafkaError;
use super::super::client::ClientOptions;
use super::hand_over::HandOver;
use super::skips::Skips;
use super::totals::Totals;

/// The strategy by which a group's partitions are assigned; all members must have the same.
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
    /// The id of a static member, which keeps its partitions over a restart within the session
    /// timeout.
    pub instance_id: Option<String>,
    pub assignor: Assignor,
    /// The silence after which the group takes a member for dead.
    pub session_timeout: Duration,
    /// The longest time between two polls; after a longer one the member leaves the group.
    pub max_poll_interval: Duration,
    /// The longest time for which a revocation waits for work in flight.
    pub drain_timeout: Duration,
    /// The condition on which a revocation may skip that wait; by default it never holds.
    pub hand_over: HandOver,
    /// The longest time for which an assignment waits for the committed offsets.
    pub restore_timeout: Duration,
    pub limits: Limits,
    pub prefetch: Prefetch,
    /// Ranges of offsets that are not read; by default none.
    pub skips: Arc<Skips>,
}

/// The bounds of the work in flight, and the interval of commits.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub commit_interval: Duration,
    /// The number of unfinished records at which intake pauses; it resumes at half of it.
    pub in_flight_records: usize,
    /// The bytes of keys and values in unfinished records at which intake pauses; it resumes at
    /// half of them.
    pub in_flight_bytes: u64,
    /// The time after which a partition that is below its end and does not move is stuck.
    pub stuck_after: Duration,
}

impl Limits {
    /// Returns true if intake is to pause.
    pub(super) fn reached(&self, totals: &Totals) -> bool {
        totals.records.load(Ordering::Relaxed) >= self.in_flight_records
            || totals.bytes.load(Ordering::Relaxed) >= self.in_flight_bytes
    }

    /// Returns true if less than an eighth of a limit is left.
    pub(super) fn crowded(&self, totals: &Totals) -> bool {
        totals.records.load(Ordering::Relaxed) > self.in_flight_records / 8 * 7
            || totals.bytes.load(Ordering::Relaxed) > self.in_flight_bytes / 8 * 7
    }

    /// Returns true if intake may resume.
    pub(super) fn relaxed(&self, totals: &Totals) -> bool {
        totals.records.load(Ordering::Relaxed) <= self.in_flight_records / 2
            && totals.bytes.load(Ordering::Relaxed) <= self.in_flight_bytes / 2
    }
}

/// The bounds of what librdkafka fetches ahead.
#[derive(Debug, Clone, Copy)]
pub struct Prefetch {
    /// The records of each partition that are kept ready (`queued.min.messages`).
    pub min_records: u32,
    /// The most that the whole member keeps ready (`queued.max.messages.kbytes`).
    pub max_kbytes: u32,
    /// The most that one fetch takes from one partition (`max.partition.fetch.bytes`).
    pub fetch_bytes: u32,
    /// The longest time for which the broker waits for data (`fetch.wait.max.ms`).
    pub fetch_wait: Duration,
}

/// The heartbeats of one session: one every half a second by default.
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

    /// Returns the options with these ranges left out.
    #[must_use]
    pub fn skipping(self, skips: &Arc<Skips>) -> Self {
        let skips = Arc::clone(skips);
        Self { skips, ..self }
    }

    /// Returns librdkafka's settings.
    pub(crate) fn config(&self) -> Result<ClientConfig, KafkaError> {
        let millis = |duration: Duration| duration.as_millis().to_string();
        let session = millis(self.session_timeout);
        // A member learns of a rebalance by its heartbeat. Until the last one has, no member reads
        // the partitions that move.
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
            // A damaged batch is to be reported, not to be read as something else.
            ("check.crcs", "true"),
        ];
        if let Some(instance) = &self.instance_id {
            ours.push(("group.instance.id", instance));
        }
        self.client.config(&ours)
    }
}
