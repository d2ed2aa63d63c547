//! ListOffsets, DeleteRecords and OffsetForLeaderEpoch: the ends of a log, and offsets by time.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};

use super::LEADER_EPOCH;
use crate::Shared;
use crate::log::{Found, PartitionLog};
use crate::topics::Topics;

/// Special values in place of a timestamp.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
/// Special value of `DeleteRecords` for the end of the log.
const HIGH_WATERMARK: i64 = -1;
/// The first version in which a position has its leader's epoch.
const EPOCHS_SINCE: i16 = 4;

pub fn list(shared: &Shared, request: &ListOffsetsRequest, version: i16) -> ListOffsetsResponse {
    let topics = shared.topics();
    let found = request.topics.iter().map(|topic| {
        let partitions = topic
            .partitions
            .iter()
            .map(|asked| list_one(&topics, &topic.name, asked, version));
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(found.collect())
}

fn list_one(
    topics: &Topics,
    topic: &str,
    asked: &ListOffsetsPartition,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let answer =
        ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
    let Some(partition) = topics.partition(topic, asked.partition_index) else {
        return answer.with_error_code(ResponseError::UnknownTopicOrPartition.code());
    };
    match look_up(&partition.log, asked.timestamp) {
        Some(found) => answer
            .with_offset(found.offset)
            .with_timestamp(found.timestamp)
            .with_leader_epoch(if version >= EPOCHS_SINCE {
                LEADER_EPOCH
            } else {
                -1
            }),
        None => answer,
    }
}

fn look_up(log: &PartitionLog, timestamp: i64) -> Option<Found> {
    match timestamp {
        LATEST => Some(Found {
            offset: log.end(),
            timestamp: -1,
        }),
        EARLIEST => Some(Found {
            offset: log.start(),
            timestamp: -1,
        }),
        MAX_TIMESTAMP => log.find_max_time(),
        _ => log.find_by_time(timestamp),
    }
}

pub fn delete_records(shared: &Shared, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut topics = shared.topics();
    let results = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let answer = DeleteRecordsPartitionResult::default()
                .with_partition_index(asked.partition_index)
                .with_low_watermark(-1);
            let Some(partition) = topics.partition_mut(&topic.name, asked.partition_index) else {
                return answer.with_error_code(ResponseError::UnknownTopicOrPartition.code());
            };
            let before = if asked.offset == HIGH_WATERMARK {
                partition.log.end()
            } else {
                asked.offset
            };
            match partition.log.delete_before(before) {
                Ok(low) => answer.with_low_watermark(low),
                Err(_out_of_range) => {
                    answer.with_error_code(ResponseError::OffsetOutOfRange.code())
                }
            }
        });
        let partitions = partitions.collect();
        DeleteRecordsTopicResult::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    });
    DeleteRecordsResponse::default().with_topics(results.collect())
}

/// Returns the end of the only epoch, which is the log's end.
pub fn for_leader_epoch(
    shared: &Shared,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = shared.topics();
    let results = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let answer = EpochEndOffset::default().with_partition(asked.partition);
            match topics.partition(&topic.topic, asked.partition) {
                Some(partition) => answer
                    .with_leader_epoch(LEADER_EPOCH)
                    .with_end_offset(partition.log.end()),
                None => answer.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
            }
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult::default()
            .with_topic(topic.topic)
            .with_partitions(partitions)
    });
    OffsetForLeaderEpochResponse::default().with_topics(results.collect())
}
