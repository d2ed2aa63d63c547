//! A member of a consumer group on a thread of its own: hands records over, tracks and commits
//! them.
//!
//! ```text
//! poll thread:  poll ─▶ Handler::record(&record, ticket) ─▶ … ─▶ any thread: ticket.finish()
//!                 │                                                    │
//!                 └── every commit interval: finished prefix ◀─────────┘
//! ```
//!
//! Reading order: [`offsets`] (pure: the finished offsets of a partition) · `partition` (one
//! assignment of a partition) · [`ticket`] (one unfinished record) · `lifecycle` (the member's
//! life) · `state` (what its threads share) · `poll` (the poll thread) and its parts `take_in`,
//! `regulate`, `standstills`, `recreated` · `context` (librdkafka's callbacks), `assign`, `revoke`
//! · `commit` (the committing thread) · `handle` (its control from outside).

mod assign;
mod commit;
mod context;
mod hand_over;
mod handle;
mod lifecycle;
pub mod offsets;
mod options;
mod partition;
mod poll;
mod rebalance;
mod recreated;
mod regulate;
mod resets;
mod revoke;
mod skips;
mod standstill_watch;
mod standstills;
mod state;
pub mod stats;
mod suspects;
mod take_in;
#[cfg(test)]
mod tests;
pub mod ticket;
mod totals;

use std::sync::Arc;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};

use self::context::GroupContext;
use self::poll::PollThread;
use self::rebalance::RebalanceRules;
use self::state::MemberState;
use super::KafkaError;
use super::access::Wants;
use super::client::ClientLog;
use super::record::InRecord;

pub use self::hand_over::HandOver;
pub use self::handle::IntakeHandle;
pub use self::options::{Assignor, IntakeOptions, Limits, Prefetch};
pub(super) use self::partition::PartitionState;
pub use self::rebalance::{Assigned, Revoked};
pub use self::skips::Skips;
pub use self::ticket::Ticket;
#[cfg(test)]
pub(super) use self::totals::Totals;

/// The receiver of a member's records. All methods run on the poll thread.
pub trait Handler: Send {
    /// Takes a record, which is to be finished through its ticket. Must not block: nothing is
    /// polled meanwhile.
    fn record(&mut self, record: &InRecord<'_>, ticket: Ticket);

    /// Sees partitions that were assigned, before the first of their records.
    fn assigned(&mut self, _partitions: &[Assigned]) {}

    /// Sees partitions that were revoked: drained or handed over, committed and fenced already.
    fn revoked(&mut self, _partitions: &[Revoked]) {}

    /// Sees a partition that resumes at `next_offset`: what is below and was not handed over is
    /// skipped.
    fn skipped(&mut self, _partition: &Assigned) {}

    /// Runs after a poll without a record; at least every 50 ms while there is no input.
    fn idle(&mut self) {}
}

/// Starts members of consumer groups.
pub struct Intake;

impl Intake {
    /// Starts a member. A cluster that is away is waited for, with a warning at intervals; only
    /// settings that librdkafka refuses are an error.
    pub fn spawn(
        options: &IntakeOptions,
        handler: impl Handler + 'static,
    ) -> Result<IntakeHandle, KafkaError> {
        let wants = Wants::read(&options.topics).in_group(&options.group);
        let log = ClientLog::new(&options.client, wants);
        let state = Arc::new(MemberState::new(log, options));
        let rules = RebalanceRules {
            drain: options.drain_timeout,
            restore: options.restore_timeout,
            hand_over: options.hand_over.clone(),
        };
        let context = GroupContext::new(Arc::clone(&state), rules);
        let consumer = BaseConsumer::from_config_and_context(&options.config()?, context)
            .map_err(|source| options.client.refused(source))?;
        let topics: Vec<&str> = options.topics.iter().map(String::as_str).collect();
        consumer
            .subscribe(&topics)
            .map_err(|source| options.client.refused(source))?;
        let name = format!("poll {}", options.group);
        let thread = PollThread::new(consumer, handler, Arc::clone(&state), options.limits)
            .map_err(|source| KafkaError::Thread {
                name: name.clone(),
                source,
            })?;
        std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || thread.run())
            .map_err(|source| KafkaError::Thread { name, source })?;
        Ok(IntakeHandle::new(state))
    }
}
