//! OffsetCommit and OffsetFetch.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use tokio::time::Instant;

use super::{code, text, topic_name};
use crate::Shared;
use crate::groups::{Group, Groups, MemberRef};
use crate::offsets::{Committed, MAX_METADATA_BYTES, Offsets};
use crate::topics::Topics;

/// The first version in which one request may name any number of groups.
const GROUPS_SINCE: i16 = 8;
/// The first version in which positions carry their leader's epoch.
const EPOCHS_SINCE: i16 = 5;

pub fn commit(shared: &Shared, request: OffsetCommitRequest) -> OffsetCommitResponse {
    // Every caller that needs both locks takes `topics` first; see [`Shared`].
    let topics = shared.topics();
    let mut groups = shared.groups();
    let mut group = may_commit(&mut groups, &request);
    let results = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|position| {
            let index = position.partition_index;
            let result = match &mut group {
                Ok(group) => commit_one(&topics, &mut group.offsets, &topic.name, position),
                Err(code) => Err(*code),
            };
            OffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(code(result))
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    });
    OffsetCommitResponse::default().with_topics(results.collect())
}

fn may_commit<'a>(
    groups: &'a mut Groups,
    request: &OffsetCommitRequest,
) -> Result<&'a mut Group, ResponseError> {
    let generation = request.generation_id_or_member_epoch;
    let group = if generation < 0 {
        groups.get_or_create(&request.group_id)?
    } else {
        groups
            .get_mut(&request.group_id)
            .ok_or(ResponseError::IllegalGeneration)?
    };
    let who = MemberRef {
        id: &request.member_id,
        instance: request.group_instance_id.as_deref(),
    };
    group.check_commit(who, generation, Instant::now())?;
    Ok(group)
}

fn commit_one(
    topics: &Topics,
    offsets: &mut Offsets,
    topic: &TopicName,
    position: OffsetCommitRequestPartition,
) -> Result<(), ResponseError> {
    let metadata = position.committed_metadata.unwrap_or_default();
    if metadata.len() > MAX_METADATA_BYTES {
        return Err(ResponseError::OffsetMetadataTooLarge);
    }
    if topics.partition(topic, position.partition_index).is_none() {
        return Err(ResponseError::UnknownTopicOrPartition);
    }
    let committed = Committed {
        offset: position.committed_offset,
        leader_epoch: position.committed_leader_epoch,
        metadata: metadata.to_string(),
    };
    offsets.commit(topic, position.partition_index, committed);
    Ok(())
}

pub fn fetch(shared: &Shared, request: OffsetFetchRequest, version: i16) -> OffsetFetchResponse {
    let groups = shared.groups();
    if version >= GROUPS_SINCE {
        let answers = request.groups.into_iter().map(|asked| {
            let topics = asked.topics.map(|topics| {
                topics
                    .into_iter()
                    .map(|topic| (topic.name, topic.partition_indexes))
                    .collect()
            });
            let held = groups.get(&asked.group_id).map(|group| &group.offsets);
            let topics = positions(held, topics)
                .into_iter()
                .map(many_topic)
                .collect();
            OffsetFetchResponseGroup::default()
                .with_group_id(asked.group_id)
                .with_topics(topics)
        });
        return OffsetFetchResponse::default().with_groups(answers.collect());
    }
    let topics = request.topics.map(|topics| {
        topics
            .into_iter()
            .map(|topic| (topic.name, topic.partition_indexes))
            .collect()
    });
    let held = groups.get(&request.group_id).map(|group| &group.offsets);
    let one_topic = |topic| one_topic(topic, version);
    let topics = positions(held, topics).into_iter().map(one_topic).collect();
    OffsetFetchResponse::default().with_topics(topics)
}

/// A topic with the requested positions; `None` where nothing is committed.
type Positions = (TopicName, Vec<(i32, Option<Committed>)>);

fn positions(held: Option<&Offsets>, asked: Option<Vec<(TopicName, Vec<i32>)>>) -> Vec<Positions> {
    let Some(asked) = asked else {
        return held
            .into_iter()
            .flat_map(Offsets::iter)
            .map(|(topic, partitions)| {
                let all = partitions
                    .iter()
                    .map(|(index, held)| (*index, Some(held.clone())));
                (topic_name(topic), all.collect())
            })
            .collect();
    };
    let one = |(topic, partitions): (TopicName, Vec<i32>)| {
        let found = partitions
            .into_iter()
            .map(|index| {
                (
                    index,
                    held.and_then(|held| held.get(&topic, index)).cloned(),
                )
            })
            .collect();
        (topic, found)
    };
    asked.into_iter().map(one).collect()
}

fn one_topic((name, positions): Positions, version: i16) -> OffsetFetchResponseTopic {
    let partitions = positions.into_iter().map(|(index, held)| {
        let answer = OffsetFetchResponsePartition::default().with_partition_index(index);
        match held {
            Some(held) => answer
                .with_committed_offset(held.offset)
                .with_committed_leader_epoch(if version >= EPOCHS_SINCE {
                    held.leader_epoch
                } else {
                    -1
                })
                .with_metadata(Some(text(&held.metadata))),
            None => answer
                .with_committed_offset(-1)
                .with_metadata(Some(text(""))),
        }
    });
    OffsetFetchResponseTopic::default()
        .with_name(name)
        .with_partitions(partitions.collect())
}

fn many_topic((name, positions): Positions) -> OffsetFetchResponseTopics {
    let partitions = positions.into_iter().map(|(index, held)| {
        let answer = OffsetFetchResponsePartitions::default().with_partition_index(index);
        match held {
            Some(held) => answer
                .with_committed_offset(held.offset)
                .with_committed_leader_epoch(held.leader_epoch)
                .with_metadata(Some(text(&held.metadata))),
            None => answer
                .with_committed_offset(-1)
                .with_metadata(Some(text(""))),
        }
    });
    OffsetFetchResponseTopics::default()
        .with_name(name)
        .with_partitions(partitions.collect())
}
