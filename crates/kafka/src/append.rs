//! Appending small numbers of records and waiting for their offsets.

use std::time::Instant;

use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::oneshot;

use super::producer::{Appended, Delivery, DeliveryFailed, OutRecord, Output, Refusal};

/// The reason why records were not appended, or are not known to be.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("cannot append to {topic}: {reason}")]
    Refused { topic: String, reason: Refusal },
    #[error(transparent)]
    Failed(#[from] DeliveryFailed),
    /// No delivery report came by the deadline; the record may still arrive.
    #[error("no delivery report of an append to {topic} came in time")]
    TimedOut { topic: String },
    /// The producer was dropped meanwhile.
    #[error("the producer for {topic} is gone")]
    Closed { topic: String },
}

impl AppendError {
    /// Returns true if the record is larger than its topic, or the producer, takes.
    pub fn too_large(&self) -> bool {
        match self {
            Self::Refused { reason, .. } => *reason == Refusal::TooLarge,
            Self::Failed(failed) => failed.code == RDKafkaErrorCode::MessageSizeTooLarge,
            Self::TimedOut { .. } | Self::Closed { .. } => false,
        }
    }

    /// Returns true if appending again may help. The topic may then have the record twice.
    pub fn retry(&self) -> bool {
        match self {
            Self::Refused { reason, .. } => *reason == Refusal::QueueFull,
            Self::Failed(_) => !self.too_large(),
            Self::TimedOut { .. } => true,
            Self::Closed { .. } => false,
        }
    }
}

impl Output {
    /// Appends one record and waits for its offset until the deadline. Cancelled, the record may
    /// or may not arrive.
    pub async fn append(
        &self,
        record: &OutRecord<'_>,
        deadline: Instant,
    ) -> Result<Appended, AppendError> {
        let report = self.start_append(record, deadline).await?;
        wait_for(report, record.topic, deadline).await
    }

    /// Appends records in order and waits for all their offsets. The first error ends it; records
    /// after that one may have been appended.
    pub async fn append_all(
        &self,
        records: &[OutRecord<'_>],
        deadline: Instant,
    ) -> Result<Vec<Appended>, AppendError> {
        let mut reports = Vec::with_capacity(records.len());
        for record in records {
            reports.push(self.start_append(record, deadline).await?);
        }
        let mut appended = Vec::with_capacity(records.len());
        for (report, record) in reports.into_iter().zip(records) {
            appended.push(wait_for(report, record.topic, deadline).await?);
        }
        Ok(appended)
    }

    async fn start_append(
        &self,
        record: &OutRecord<'_>,
        deadline: Instant,
    ) -> Result<ReportReceiver, AppendError> {
        let (sender, report) = oneshot::channel();
        self.send_by(record, Delivery::Report(sender), deadline)
            .await
            .map_err(|refused| AppendError::Refused {
                topic: record.topic.to_owned(),
                reason: refused.reason,
            })?;
        Ok(report)
    }
}

type ReportReceiver = oneshot::Receiver<Result<Appended, DeliveryFailed>>;

async fn wait_for(
    report: ReportReceiver,
    topic: &str,
    deadline: Instant,
) -> Result<Appended, AppendError> {
    let topic = || topic.to_owned();
    match tokio::time::timeout_at(deadline.into(), report).await {
        Ok(Ok(outcome)) => Ok(outcome?),
        Ok(Err(_)) => Err(AppendError::Closed { topic: topic() }),
        Err(_) => Err(AppendError::TimedOut { topic: topic() }),
    }
}
