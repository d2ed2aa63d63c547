//! Keeps the identity record in the invalidation log, by which instances recognise the log.

use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::codec::log::encode_identity;
use crate::kafka::OutRecord;
use crate::model::invalidation::LogIdentity;
use crate::pipeline::outputs::Outputs;
use crate::stages::follower::LogStatus;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The wait between two attempts to append.
const CONNECT_EVERY: Duration = Duration::from_secs(1);
/// The interval at which the log's identity is appended again; the topic keeps records for days.
const REPEAT_EVERY: Duration = Duration::from_hours(1);

/// Returns the identity to append to a log with this status: the one that it has, or else a new
/// one, with the log's id where that is known.
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

/// Appends the identity again before retention removes it, and a new one to a recreated log.
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
        // The earliest identity counts: another one, appended before this one is read, would be
        // ignored.
        let told = status.wait_for(|status| status.identity.is_some());
        if tokio::time::timeout(Duration::from_secs(10), told)
            .await
            .is_err()
        {
            tracing::warn!("the log's identity has not come back yet");
        }
    }
}
