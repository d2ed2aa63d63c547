//! What an intake tells about itself: for metrics, readiness and the watchdog.

use std::sync::Arc;
use std::time::Duration;

use super::standing::Standstill;

/// A snapshot of one intake.
#[derive(Debug, Clone, Default)]
pub struct IntakeStats {
    pub partitions: Vec<PartitionStats>,
    pub in_flight_records: usize,
    pub in_flight_bytes: u64,
    /// Of all partitions: for how long the oldest unfinished record has been waiting.
    pub oldest_unfinished: Option<Duration>,
    /// Back-pressure holds the whole intake.
    pub paused: bool,
    /// Intake was told to stop, and takes nothing in any more.
    pub stopped: bool,
    /// How often partitions were assigned.
    pub generation: u64,
    pub counters: IntakeCounters,
    /// The last trouble that librdkafka reported.
    pub last_error: Option<String>,
    /// The client cannot go on; the poll thread has ended.
    pub fatal: Option<String>,
}

/// A snapshot of one assigned partition.
#[derive(Debug, Clone)]
pub struct PartitionStats {
    pub topic: Arc<str>,
    pub partition: i32,
    pub generation: u64,
    /// The lowest unfinished offset: what is, or will be, committed.
    pub next_offset: i64,
    /// The next offset to be taken in.
    pub next_intake: i64,
    /// Records from `next_offset` to the partition's end; `None` until the end is known.
    pub lag: Option<u64>,
    pub unfinished: usize,
    pub unfinished_bytes: u64,
    pub oldest_unfinished: Option<(i64, Duration)>,
    /// Tickets that were dropped without being finished: they hold the commits back.
    pub abandoned: u64,
    pub paused: bool,
    /// For how long it has been standing still though there is more, and why.
    pub standstill: Option<(Duration, Standstill)>,
}

/// Counts since the intake's start.
#[derive(Debug, Clone, Copy, Default)]
pub struct IntakeCounters {
    pub records: u64,
    /// Records that an earlier assignment had finished already.
    pub skipped: u64,
    pub finished: u64,
    /// Finished after their partition was taken away.
    pub finished_late: u64,
    pub abandoned: u64,
    pub commits: u64,
    pub commit_failures: u64,
    /// Commits whose metadata could not hold all finished offsets.
    pub commits_truncated: u64,
    /// Commit metadata of others, or damaged.
    pub metadata_unreadable: u64,
    /// Assignments whose committed offsets could not be read in time.
    pub restore_failures: u64,
    pub assigned: u64,
    pub revoked: u64,
    /// Of those revoked, the ones that went with work in flight for their next owner.
    pub handed_over: u64,
    /// Taken away without warning: nothing could be committed.
    pub lost: u64,
    /// Revocations whose work in flight did not end in time.
    pub drain_timeouts: u64,
    pub pauses: u64,
    /// Partitions that were cut or made anew while we read them.
    pub rewinds: u64,
    /// Partitions of a topic that was deleted and made again, noticed by the topic's id.
    pub topics_recreated: u64,
    pub offset_resets: u64,
    pub unknown_topic_errors: u64,
    pub errors: u64,
    pub all_brokers_down: u64,
}
