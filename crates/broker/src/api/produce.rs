//! Produce and InitProducerId.

use std::sync::atomic::Ordering;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse,
};

use super::text;
use crate::Shared;
use crate::topics::{AppendLimits, Topics};

/// Appends; returns `None` if the client wants no response (`acks=0`).
pub fn produce(shared: &Shared, request: &ProduceRequest) -> Option<ProduceResponse> {
    let limits = AppendLimits {
        max_log_bytes: shared.options.max_partition_bytes,
        now_ms: shared.options.clock.now().0,
    };
    let refused = if request.transactional_id.is_some() {
        Some(ResponseError::TransactionalIdAuthorizationFailed)
    } else if !(-1..=1).contains(&request.acks) {
        Some(ResponseError::InvalidRequiredAcks)
    } else {
        None
    };
    let responses = request.topic_data.iter().map(|topic| {
        let partitions = topic.partition_data.iter().map(|data| match refused {
            Some(code) => PartitionProduceResponse::default()
                .with_index(data.index)
                .with_error_code(code.code()),
            // The lock is taken for each partition separately, so that nobody waits for a whole
            // request.
            None => append(&mut shared.topics(), &topic.name, data, limits),
        });
        TopicProduceResponse::default()
            .with_name(topic.name.clone())
            .with_partition_responses(partitions.collect())
    });
    let response = ProduceResponse::default().with_responses(responses.collect());
    (request.acks != 0).then_some(response)
}

fn append(
    topics: &mut Topics,
    topic: &str,
    data: &PartitionProduceData,
    limits: AppendLimits,
) -> PartitionProduceResponse {
    let answer = PartitionProduceResponse::default()
        .with_index(data.index)
        .with_base_offset(-1);
    let Some(batch) = &data.records else {
        return answer.with_error_code(ResponseError::InvalidRecord.code());
    };
    let appended = topics
        .get_mut(topic)
        .and_then(|topic| topic.append(data.index, batch, limits));
    let start = topics
        .partition(topic, data.index)
        .map_or(-1, |partition| partition.log.start());
    match appended {
        None => answer.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
        Some(Err(error)) => {
            tracing::debug!(topic, partition = data.index, %error, "embedded broker refuses a batch");
            answer
                .with_error_code(error.code().code())
                .with_error_message(Some(text(&error.to_string())))
        }
        Some(Ok(appended)) => answer
            .with_base_offset(appended.base_offset)
            .with_log_append_time_ms(appended.log_append_time)
            .with_log_start_offset(start),
    }
}

/// Returns a new id for every idempotent producer; there are no transactions.
pub fn init_producer_id(
    shared: &Shared,
    request: &InitProducerIdRequest,
) -> InitProducerIdResponse {
    if request.transactional_id.is_some() {
        return InitProducerIdResponse::default()
            .with_error_code(ResponseError::TransactionalIdAuthorizationFailed.code());
    }
    let id = shared.next_producer_id.fetch_add(1, Ordering::Relaxed);
    InitProducerIdResponse::default()
        .with_producer_id(id.into())
        .with_producer_epoch(0)
}
