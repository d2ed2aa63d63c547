//! The bounds of the log, asked for beside the reading.

use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as LibraryError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode;

use wedcache_model::TopicId;

use super::super::client::ClientLog;
use super::super::{KafkaError, topic_ids};
use super::ReaderOptions;
use super::context::ReaderContext;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// The topic of the log, and its start and end.
pub(super) struct LogBounds {
    pub(super) topic: Option<TopicId>,
    pub(super) log_start: i64,
    pub(super) log_end: i64,
}

/// The client that asks for the bounds. It has a connection of its own: a broker answers one
/// connection in order, so the question would wait behind a fetch that waits for records, and
/// reading with it.
pub(super) struct BoundsAsker {
    client: BaseConsumer<ReaderContext>,
    topic: String,
    partition: i32,
}

impl BoundsAsker {
    pub(super) fn new(options: &ReaderOptions, context: ReaderContext) -> Result<Self, KafkaError> {
        let config = options.client.named("ends").config(&[])?;
        let client = BaseConsumer::from_config_and_context(&config, context)
            .map_err(|source| options.client.refused(source))?;
        Ok(Self {
            client,
            topic: options.topic.clone(),
            partition: options.partition,
        })
    }

    pub(super) fn log(&self) -> &ClientLog {
        &self.client.context().log
    }

    /// Asks for the bounds. Blocks for a few seconds at most.
    pub(super) fn ask(&self) -> KafkaResult<LogBounds> {
        let bounds = self.try_ask();
        if bounds.is_ok() {
            self.log().answered();
        }
        bounds
    }

    fn try_ask(&self) -> KafkaResult<LogBounds> {
        // Serves the client's log and errors, which go to the context.
        if let Some(Err(error)) = self.client.poll(Duration::ZERO) {
            tracing::debug!(%error, "an error of the client that asks for the log's bounds");
        }
        let (log_start, log_end) =
            self.client
                .fetch_watermarks(&self.topic, self.partition, REQUEST_TIMEOUT)?;
        // After the bounds: a topic that is recreated between the two is noticed by the next
        // answer.
        let ids = topic_ids::ask(self.client.client(), &[&self.topic], REQUEST_TIMEOUT)
            .map_err(|error| LibraryError::AdminOp(error.code()))?;
        Ok(LogBounds {
            topic: ids.answer(&self.topic).map_err(LibraryError::AdminOp)?,
            log_start,
            log_end,
        })
    }
}

/// Returns true if the code says that the topic or partition does not exist.
pub(super) fn is_unknown(code: Option<RDKafkaErrorCode>) -> bool {
    matches!(
        code,
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
        )
    )
}
