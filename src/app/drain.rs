//! The end of an instance: it takes nothing in any more, finishes or hands over what it took,
//! commits and flushes, all within the drain deadline.

use std::fmt;
use std::time::{Duration, Instant};

use super::App;
use crate::health::Phase;
use crate::kafka::IntakeHandle;

/// The time in which queries are finished here even where another instance could take them over.
const BEFORE_HAND_OVER: Duration = Duration::from_millis(100);
/// The interval at which to check whether everything may be handed over.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// The longest wait for the number of the group's members.
const MEMBERS_TIMEOUT: Duration = Duration::from_secs(1);
/// The least time for the last commits; also the longest wait for the log reader and the layers.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The work that a drain left undone.
#[derive(Debug, Default)]
pub struct Left {
    /// The number of queries that nobody has answered and nobody has taken over.
    pub queries: usize,
    /// The number of changes that are neither judged nor parked.
    pub changes: usize,
    /// The number of calls whose answers are not stored.
    pub calls: usize,
    /// True if something that is finished could not be delivered or committed.
    pub unsettled: bool,
}

impl Left {
    pub fn is_nothing(&self) -> bool {
        self.queries == 0 && self.changes == 0 && self.calls == 0 && !self.unsettled
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.queries, "queries"),
            (self.changes, "changes"),
            (self.calls, "calls"),
        ];
        let counted = counts.iter().filter(|(count, _)| *count > 0);
        let mut parts: Vec<_> = counted.map(|(n, what)| format!("{n} {what}")).collect();
        if self.unsettled {
            parts.push("deliveries or commits".to_owned());
        }
        if parts.is_empty() {
            return f.write_str("nothing");
        }
        f.write_str(&parts.join(", "))
    }
}

impl App {
    /// Finishes what was taken in, or hands it over to other instances; returns what is left.
    pub(super) async fn drain(mut self) -> Left {
        self.health.enter(Phase::Draining);
        let deadline = Instant::now() + self.topology.deployment.kafka.drain_deadline;
        for intake in &self.queries {
            intake.stop_intake();
        }
        self.rules.intake.stop_intake();
        let handed_over = self.finish_queries(deadline).await;
        self.query_tasks.close();
        // The answers of calls under way are stored, even where no query here waits for them any
        // more.
        if tokio::time::timeout_at(deadline.into(), self.resolver.drained())
            .await
            .is_err()
        {
            tracing::warn!(
                calls = self.resolver.open_flights(),
                "calls go on past the deadline"
            );
        }
        let mut left = Left {
            changes: self.rules.finish(deadline).await,
            calls: self.resolver.open_flights(),
            ..Left::default()
        };
        let patience = deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_secs(1));
        // Before the offsets are committed: an input is finished only when its output has arrived.
        let delivered = self.outputs.flush(patience).await;
        self.redelivery_stop.cancel();
        left.queries = self.queries.iter().map(IntakeHandle::unfinished).sum();
        let commit_by = deadline.max(Instant::now() + LEAVE_TIMEOUT);
        let committed = leave(self.queries, commit_by).await;
        let judged = self.rules.intake.shutdown(commit_by).await;
        left.unsettled = !(delivered && handed_over && committed && judged);
        let soon = Instant::now() + LEAVE_TIMEOUT;
        let ended = self.reader.shutdown(soon).await;
        let close = self.resolver.parts().layers.close();
        let closed = tokio::time::timeout_at(soon.into(), close).await.is_ok();
        self.port.background.cancel();
        if let Ok(Ok(Err(error))) =
            tokio::time::timeout(Duration::from_secs(1), self.port.server).await
        {
            tracing::warn!(%error, "the HTTP server did not end well");
        }
        tracing::info!(%left, log_reader_ended = ended, layers_closed = closed, "drained");
        left
    }

    /// Waits for the queries in flight. Where another instance can take them over, waiting for our
    /// calls would only hold up the partitions: then this instance leaves the group at once, while
    /// the calls go on to their ends. Returns false if offsets of finished queries were not
    /// committed.
    async fn finish_queries(&mut self, deadline: Instant) -> bool {
        let soon = deadline.min(Instant::now() + BEFORE_HAND_OVER);
        if drained(&self.queries, soon).await {
            return true;
        }
        if !self.has_successors().await {
            drained(&self.queries, deadline).await;
            return true;
        }
        while Instant::now() < deadline {
            if self.resolver.may_hand_over() {
                tracing::info!("other instances take over the queries that wait for our calls");
                return leave(std::mem::take(&mut self.queries), deadline).await;
            }
            if drained(&self.queries, Instant::now() + LOOK_AGAIN).await {
                return true;
            }
        }
        true
    }

    /// Returns true if the partitions go to other instances at once. Kafka keeps those of a static
    /// member for its return.
    async fn has_successors(&self) -> bool {
        let kafka = &self.topology.deployment.kafka;
        if kafka.instance_id.is_some() || !self.resolver.may_hand_over() {
            return false;
        }
        let members = self.admin.members(&kafka.queries_group);
        match tokio::time::timeout(MEMBERS_TIMEOUT, members).await {
            Ok(Ok(members)) => members > self.queries.len(),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the group's members are not known");
                false
            }
            Err(_) => false,
        }
    }
}

async fn drained(intakes: &[IntakeHandle], deadline: Instant) -> bool {
    let mut whole = true;
    for intake in intakes {
        whole &= intake.drained(deadline).await;
    }
    whole
}

/// Commits what is finished and leaves the group; returns false if something was not committed.
async fn leave(intakes: Vec<IntakeHandle>, deadline: Instant) -> bool {
    let leaving = intakes.into_iter().map(|intake| intake.shutdown(deadline));
    let left = futures_util::future::join_all(leaving).await;
    left.into_iter().all(|whole| whole)
}
