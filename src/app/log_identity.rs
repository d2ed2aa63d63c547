//! The invalidation log's own record of which log it is, and that it stays there.

use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::codec::log::encode_identity;
use crate::kafka::OutRecord;
use crate::model::invalidation::LogIdentity;
use crate::pipeline::outputs::Outputs;
use crate::stages::follower::LogStatus;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Between two tries at reaching Kafka.
const CONNECT_EVERY: Duration = Duration::from_secs(1);
/// The log's identity is appended again so often; retention is days.
const REPEAT_EVERY: Duration = Duration::from_hours(1);

/// The identity to be recorded in the log that `said` this: again, or for the first time.
pub(super) fn identity(said: &LogStatus, clock: &Clock) -> LogIdentity {
    said.identity.unwrap_or_else(|| {
        let fresh = LogIdentity::fresh(clock.now());
        let id = said.log_id.unwrap_or(fresh.id);
        LogIdentity { id, ..fresh }
    })
}

pub(super) async fn append_identity(outputs: &Outputs, identity: &LogIdentity) {
    let (key, value) = (identity.record_key(), encode_identity(identity));
    let record = OutRecord {
        partition: Some(0),
        ..OutRecord::to(
            &outputs.topics.invalidations,
            Some(key.as_bytes()),
            Some(&value),
        )
    };
    loop {
        let deadline = Instant::now() + Duration::from_secs(10);
        match outputs.log.append(&record, deadline).await {
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(%error, "the log's identity could not be appended; trying on");
                tokio::time::sleep(CONNECT_EVERY).await;
            }
        }
    }
}

/// Appends the identity again before retention drops it, and a new one to a log made anew.
pub(super) async fn keep_identity(
    outputs: Outputs,
    mut status: watch::Receiver<LogStatus>,
    stop: CancellationToken,
) {
    let mut repeat = tokio::time::interval(REPEAT_EVERY);
    repeat.tick().await;
    loop {
        let nameless = status.wait_for(|status| status.caught_up && status.identity.is_none());
        tokio::select! {
            () = stop.cancelled() => return,
            nameless = nameless => if nameless.is_err() {
                return;
            },
            _ = repeat.tick() => {}
        }
        let said = *status.borrow();
        if !said.caught_up {
            continue;
        }
        append_identity(&outputs, &identity(&said, &Clock::System)).await;
        // Until it has been read back, another one would only be a loser.
        let told = status.wait_for(|status| status.identity.is_some());
        if tokio::time::timeout(Duration::from_secs(10), told)
            .await
            .is_err()
        {
            tracing::warn!("the log's identity has not come back yet");
        }
    }
}
