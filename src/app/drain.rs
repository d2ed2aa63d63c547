//! How an instance ends: it takes nothing in any more, finishes or hands over what it took,
//! commits, flushes; all within the drain deadline.

use std::time::{Duration, Instant};

use super::App;
use crate::health::Phase;
use crate::kafka::IntakeHandle;

/// What is finished within so long is finished here, whoever could take it over.
const BEFORE_HAND_OVER: Duration = Duration::from_millis(100);
/// So often it is looked again whether everything may be handed over.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How long Kafka is asked who else is in the group.
const MEMBERS_TIMEOUT: Duration = Duration::from_secs(1);
/// For the last commits.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

impl App {
    /// Whether all that was taken in is finished, or another instance's by now.
    pub(super) async fn drain(mut self) -> bool {
        self.health.enter(Phase::Draining);
        let deadline = Instant::now() + self.topology.kafka.drain_deadline;
        for intake in self.queries.iter().chain([&self.rules]) {
            intake.stop_intake();
        }
        let mut whole = self.finish_queries(deadline).await;
        self.query_tasks.close();
        // The answers of calls under way are kept, also where nobody here waits for them any more.
        whole &= tokio::time::timeout_at(deadline.into(), self.resolver.drained())
            .await
            .is_ok();
        self.rules_stop.cancel();
        let rules = tokio::time::timeout_at(deadline.into(), self.rules_task);
        whole &= matches!(rules.await, Ok(Ok(())));
        self.letters.close();
        whole &= tokio::time::timeout_at(deadline.into(), self.letters.wait())
            .await
            .is_ok();
        let left = deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_secs(1));
        whole &= self.outputs.flush(left).await;
        let commit_by = Instant::now() + LEAVE_TIMEOUT;
        whole &= leave(self.queries, commit_by).await;
        whole &= self.rules.shutdown(commit_by).await;
        whole &= self.reader.shutdown(commit_by).await;
        let close = self.resolver.parts().layers.close();
        whole &= tokio::time::timeout(Duration::from_secs(2), close)
            .await
            .is_ok();
        self.port.background.cancel();
        if let Ok(Ok(Err(error))) =
            tokio::time::timeout(Duration::from_secs(1), self.port.server).await
        {
            tracing::warn!(%error, "the HTTP server did not end well");
        }
        tracing::info!(whole, "drained");
        whole
    }

    /// Waits for the queries in flight. Where another instance can take them over, waiting for our
    /// calls would only hold up the partitions: then the group is left at once, while the calls
    /// go on to their ends.
    async fn finish_queries(&mut self, deadline: Instant) -> bool {
        let soon = deadline.min(Instant::now() + BEFORE_HAND_OVER);
        if drained(&self.queries, soon).await {
            return true;
        }
        if !self.has_successors().await {
            return drained(&self.queries, deadline).await;
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
        false
    }

    /// Whether the partitions go to other instances at once. Those of a static member are kept
    /// for its return.
    async fn has_successors(&self) -> bool {
        let kafka = &self.topology.kafka;
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

/// Commits what is finished and leaves the group.
async fn leave(intakes: Vec<IntakeHandle>, deadline: Instant) -> bool {
    let leaving = intakes.into_iter().map(|intake| intake.shutdown(deadline));
    let left = futures_util::future::join_all(leaving).await;
    left.into_iter().all(|whole| whole)
}
