//! The statistics of a group member, for metrics, readiness and the watchdog.

use std::sync::Arc;
use std::time::Duration;

use super::super::standstill::Standstill;

/// A snapshot of one member.
#[derive(Debug, Clone, Default)]
pub struct IntakeStats {
    pub partitions: Vec<PartitionStats>,
    pub in_flight_records: usize,
    pub in_flight_bytes: u64,
    /// The age of the oldest unfinished record of all partitions.
    pub oldest_unfinished: Option<Duration>,
    /// True while back-pressure holds the whole intake.
    pub paused: bool,
    /// True once the intake was stopped.
    pub stopped: bool,
    /// The number of assignments so far.
    pub generation: u64,
    pub counters: IntakeCounters,
    /// The last error that librdkafka reported.
    pub last_error: Option<String>,
    /// The fatal error after which the client cannot go on; the poll thread ends with it.
    pub fatal: Option<String>,
}

/// A snapshot of one assigned partition.
#[derive(Debug, Clone)]
pub struct PartitionStats {
    pub topic: Arc<str>,
    pub partition: i32,
    pub generation: u64,
    /// The lowest unfinished offset, which is, or will be, committed.
    pub next_offset: i64,
    /// The next offset to be taken in.
    pub next_intake: i64,
    /// Records from `next_offset` to the partition's end; `None` until the end is known.
    pub lag: Option<u64>,
    pub unfinished: usize,
    pub unfinished_bytes: u64,
    pub oldest_unfinished: Option<(i64, Duration)>,
    /// The tickets that were dropped without being finished: they hold the commits back.
    pub abandoned: u64,
    pub paused: bool,
    /// The time for which the partition has been standing still below its end, and the reason.
    pub standstill: Option<(Duration, Standstill)>,
}

/// Counts since the member's start.
#[derive(Debug, Clone, Copy, Default)]
pub struct IntakeCounters {
    pub records: u64,
    /// Records that an earlier assignment had finished already.
    pub skipped: u64,
    pub finished: u64,
    /// Records that were finished after their partition was taken away.
    pub finished_late: u64,
    pub abandoned: u64,
    pub commits: u64,
    pub commit_failures: u64,
    /// Commits whose metadata could not hold all finished offsets.
    pub commits_truncated: u64,
    /// Committed offsets whose metadata is of another client, or damaged.
    pub metadata_unreadable: u64,
    /// Assignments whose committed offsets could not be read in time.
    pub restore_failures: u64,
    pub assigned: u64,
    pub revoked: u64,
    /// Revoked partitions that went with work in flight for their next owner.
    pub handed_over: u64,
    /// Partitions that were taken away without warning: nothing could be committed.
    pub lost: u64,
    /// Revocations whose work in flight did not end in time.
    pub drain_timeouts: u64,
    pub pauses: u64,
    /// Partitions that were truncated or recreated while they were read.
    pub rewinds: u64,
    /// Partitions of a topic that was deleted and recreated, noticed by the topic's id.
    pub topics_recreated: u64,
    pub offset_resets: u64,
    pub unknown_topic_errors: u64,
    pub errors: u64,
    pub all_brokers_down: u64,
}
