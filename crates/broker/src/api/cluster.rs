//! ApiVersions, Metadata, DescribeCluster and FindCoordinator: one node with all roles.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, DescribeClusterResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, MetadataRequest, MetadataResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{APIS, LEADER_EPOCH, NODE_ID, text, topic_name};
use crate::Shared;
use crate::configs::TopicConfig;
use crate::topics::{Topic, TopicError, Topics};

/// The key type of consumer groups in `FindCoordinator`.
const GROUP: i8 = 0;

pub fn api_versions() -> ApiVersionsResponse {
    let keys = APIS.iter().map(|api| {
        // librdkafka before 2.6 treats a broker without Produce 0 as one without compression;
        // Apache Kafka 4 advertises version 0 for that reason, and no client sends it.
        let min = if api.key == ApiKey::Produce {
            0
        } else {
            api.min
        };
        ApiVersion::default()
            .with_api_key(api.key as i16)
            .with_min_version(min)
            .with_max_version(api.max)
    });
    ApiVersionsResponse::default().with_api_keys(keys.collect())
}

/// Returns the response to a client with a newer version: it asks again with a listed one.
pub fn api_versions_refused() -> ApiVersionsResponse {
    api_versions().with_error_code(ResponseError::UnsupportedVersion.code())
}

pub fn describe(shared: &Shared) -> DescribeClusterResponse {
    let broker = DescribeClusterBroker::default()
        .with_broker_id(NODE_ID.into())
        .with_host(host(shared))
        .with_port(port(shared));
    DescribeClusterResponse::default()
        .with_cluster_id(text(&shared.cluster_id))
        .with_controller_id(NODE_ID.into())
        .with_brokers(vec![broker])
}

pub fn find_coordinator(
    shared: &Shared,
    request: &FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    let refused = (request.key_type != GROUP).then_some(ResponseError::InvalidRequest.code());
    if version >= 4 {
        let coordinators = request.coordinator_keys.iter().map(|key| {
            Coordinator::default()
                .with_key(key.clone())
                .with_error_code(refused.unwrap_or(0))
                .with_node_id(NODE_ID.into())
                .with_host(host(shared))
                .with_port(port(shared))
        });
        return FindCoordinatorResponse::default().with_coordinators(coordinators.collect());
    }
    FindCoordinatorResponse::default()
        .with_error_code(refused.unwrap_or(0))
        .with_node_id(NODE_ID.into())
        .with_host(host(shared))
        .with_port(port(shared))
}

pub fn metadata(shared: &Shared, request: &MetadataRequest, version: i16) -> MetadataResponse {
    let mut topics = shared.topics();
    let asked = match &request.topics {
        // In version 0 an empty list means all topics.
        Some(asked) if !(version == 0 && asked.is_empty()) => asked
            .iter()
            .map(|topic| describe_asked(shared, &mut topics, request, topic))
            .collect(),
        _ => topics
            .iter()
            .map(|(name, topic)| describe_topic(name, topic))
            .collect(),
    };
    let broker = MetadataResponseBroker::default()
        .with_node_id(NODE_ID.into())
        .with_host(host(shared))
        .with_port(port(shared));
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(text(&shared.cluster_id)))
        .with_controller_id(NODE_ID.into())
        .with_topics(asked)
}

fn describe_asked(
    shared: &Shared,
    topics: &mut Topics,
    request: &MetadataRequest,
    asked: &MetadataRequestTopic,
) -> MetadataResponseTopic {
    let Some(name) = &asked.name else {
        let known = topics
            .name_of(asked.topic_id)
            .and_then(|name| Some((name, topics.get(name)?)));
        return known.map_or_else(
            || {
                MetadataResponseTopic::default()
                    .with_topic_id(asked.topic_id)
                    .with_error_code(ResponseError::UnknownTopicId.code())
            },
            |(name, topic)| describe_topic(name, topic),
        );
    };
    let create = shared.options.auto_create_topics && request.allow_auto_topic_creation;
    if topics.get(name).is_none() && create {
        let partitions = shared.options.default_partitions;
        if let Err(error) = topics.create(name, partitions, TopicConfig::default()) {
            return missing(name, &error);
        }
    }
    topics.get(name).map_or_else(
        || {
            missing(
                name,
                &TopicError::Unknown {
                    name: name.to_string(),
                },
            )
        },
        |topic| describe_topic(name, topic),
    )
}

fn missing(name: &str, error: &TopicError) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_name(Some(topic_name(name)))
        .with_error_code(error.code().code())
}

fn describe_topic(name: &str, topic: &Topic) -> MetadataResponseTopic {
    let partitions = (0_i32..).zip(&topic.partitions).map(|(index, _)| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(NODE_ID.into())
            .with_leader_epoch(LEADER_EPOCH)
            .with_replica_nodes(vec![NODE_ID.into()])
            .with_isr_nodes(vec![NODE_ID.into()])
    });
    MetadataResponseTopic::default()
        .with_name(Some(topic_name(name)))
        .with_topic_id(topic.id)
        .with_partitions(partitions.collect())
}

fn host(shared: &Shared) -> StrBytes {
    StrBytes::from_string(shared.address.ip().to_string())
}

fn port(shared: &Shared) -> i32 {
    i32::from(shared.address.port())
}
