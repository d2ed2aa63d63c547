//! CreateTopics, DeleteTopics and CreatePartitions.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse,
};

use super::{text, topic_name};
use crate::configs::TopicConfig;
use crate::topics::TopicError;
use crate::{Shared, TopicId};

/// The number of partitions or replicas that stands for the broker's default.
const DEFAULT: i16 = -1;

pub fn create(shared: &Shared, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let results = request.topics.into_iter().map(|topic| {
        let created = create_one(shared, &topic, request.validate_only);
        let answer = CreatableTopicResult::default().with_name(topic.name);
        match created {
            Ok((id, partitions)) => answer
                .with_topic_id(id)
                .with_num_partitions(partitions)
                .with_replication_factor(1)
                .with_configs(Some(Vec::new())),
            Err(error) => answer
                .with_error_code(error.code().code())
                .with_error_message(Some(text(&error.to_string()))),
        }
    });
    CreateTopicsResponse::default().with_topics(results.collect())
}

fn create_one(
    shared: &Shared,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<(TopicId, i32), TopicError> {
    let assigned = i32::try_from(topic.assignments.len()).unwrap_or(i32::MAX);
    let partitions = match topic.num_partitions {
        _ if assigned > 0 => assigned,
        count if count == i32::from(DEFAULT) => shared.options.default_partitions,
        count => count,
    };
    if assigned == 0 && !matches!(topic.replication_factor, DEFAULT | 1) {
        return Err(TopicError::Replication {
            factor: topic.replication_factor,
        });
    }
    let mut config = TopicConfig::default();
    for setting in &topic.configs {
        match &setting.value {
            Some(value) => config.set(&setting.name, value)?,
            None => config.unset(&setting.name)?,
        }
    }
    let mut topics = shared.topics();
    if validate_only {
        topics.check_new(&topic.name, partitions)?;
        return Ok((TopicId::nil(), partitions));
    }
    Ok((topics.create(&topic.name, partitions, config)?, partitions))
}

pub fn delete(shared: &Shared, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    // Up to version 5 the topics are named in one list, from 6 on in another.
    let by_name = request
        .topic_names
        .into_iter()
        .map(|name| DeleteTopicState::default().with_name(Some(name)));
    let asked = by_name.chain(request.topics);
    let results = asked.map(|topic| delete_one(shared, &topic));
    DeleteTopicsResponse::default().with_responses(results.collect())
}

fn delete_one(shared: &Shared, asked: &DeleteTopicState) -> DeletableTopicResult {
    let answer = DeletableTopicResult::default().with_topic_id(asked.topic_id);
    let name = match &asked.name {
        Some(name) => Some(name.to_string()),
        None => shared.topics().name_of(asked.topic_id).map(str::to_owned),
    };
    let Some(name) = name else {
        return answer.with_error_code(ResponseError::UnknownTopicId.code());
    };
    let answer = answer.with_name(Some(topic_name(&name)));
    match shared.delete_topic(&name) {
        Ok(id) => answer.with_topic_id(id),
        Err(error) => answer
            .with_error_code(error.code().code())
            .with_error_message(Some(text(&error.to_string()))),
    }
}

pub fn grow(shared: &Shared, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let mut topics = shared.topics();
    let results = request.topics.into_iter().map(|topic| {
        let grown = topics.grow(&topic.name, topic.count, request.validate_only);
        let answer = CreatePartitionsTopicResult::default().with_name(topic.name);
        match grown {
            Ok(()) => answer,
            Err(error) => answer
                .with_error_code(error.code().code())
                .with_error_message(Some(text(&error.to_string()))),
        }
    });
    CreatePartitionsResponse::default().with_results(results.collect())
}
