//! DescribeConfigs, AlterConfigs and IncrementalAlterConfigs, for topics; the broker's own settings
//! are described and cannot be changed.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, alter_configs_response,
    incremental_alter_configs_request, incremental_alter_configs_response,
};

use super::{NODE_ID, text};
use crate::Shared;
use crate::configs::{ConfigType, TOPIC_CONFIGS, TopicConfig};
use crate::topics::{Topic, TopicError};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// The source of a value, as `DescribeConfigs` numbers it.
const SET_ON_TOPIC: i8 = 1;
const SET_STATICALLY: i8 = 4;
const DEFAULT: i8 = 5;

pub fn describe(shared: &Shared, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request.resources.into_iter().map(|asked| {
        let found = match asked.resource_type {
            TOPIC => shared
                .topics()
                .get(&asked.resource_name)
                .map(describe_topic),
            BROKER if *asked.resource_name == *NODE_ID.to_string() => Some(describe_broker(shared)),
            _ => None,
        };
        describe_result(asked, found)
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn describe_result(
    asked: DescribeConfigsResource,
    found: Option<Vec<DescribeConfigsResourceResult>>,
) -> DescribeConfigsResult {
    let answer = DescribeConfigsResult::default().with_resource_type(asked.resource_type);
    let answer = match found {
        None if asked.resource_type == TOPIC => {
            answer.with_error_code(ResponseError::UnknownTopicOrPartition.code())
        }
        None => answer.with_error_code(ResponseError::InvalidRequest.code()),
        Some(mut configs) => {
            if let Some(keys) = &asked.configuration_keys {
                configs.retain(|config| keys.contains(&config.name));
            }
            answer.with_configs(configs)
        }
    };
    answer.with_resource_name(asked.resource_name)
}

fn describe_topic(topic: &Topic) -> Vec<DescribeConfigsResourceResult> {
    let describe = |known| {
        let source = if topic.config.is_set(known) {
            SET_ON_TOPIC
        } else {
            DEFAULT
        };
        setting(known.name, topic.config.get(known), known.kind).with_config_source(source)
    };
    TOPIC_CONFIGS.iter().map(describe).collect()
}

fn describe_broker(shared: &Shared) -> Vec<DescribeConfigsResourceResult> {
    let options = &shared.options;
    let settings = [
        (
            "auto.create.topics.enable",
            options.auto_create_topics.to_string(),
            ConfigType::Boolean,
        ),
        (
            "num.partitions",
            options.default_partitions.to_string(),
            ConfigType::Int,
        ),
        (
            "default.replication.factor",
            "1".to_owned(),
            ConfigType::Int,
        ),
        (
            "group.initial.rebalance.delay.ms",
            "0".to_owned(),
            ConfigType::Int,
        ),
        (
            "group.min.session.timeout.ms",
            options.min_session_timeout.as_millis().to_string(),
            ConfigType::Int,
        ),
        (
            "log.retention.bytes",
            options.max_partition_bytes.to_string(),
            ConfigType::Long,
        ),
    ];
    let describe = |(name, value, kind): (&str, String, ConfigType)| {
        setting(name, &value, kind)
            .with_config_source(SET_STATICALLY)
            .with_read_only(true)
    };
    settings.into_iter().map(describe).collect()
}

fn setting(name: &str, value: &str, kind: ConfigType) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult::default()
        .with_name(text(name))
        .with_value(Some(text(value)))
        .with_config_type(kind as i8)
}

/// Replaces a topic's settings as a whole.
pub fn alter(shared: &Shared, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let results = request.resources.into_iter().map(|resource| {
        let change = |_: &TopicConfig| {
            let mut config = TopicConfig::default();
            for setting in &resource.configs {
                if let Some(value) = &setting.value {
                    config.set(&setting.name, value)?;
                }
            }
            Ok(config)
        };
        let who = (resource.resource_type, &*resource.resource_name);
        let (code, message) = change_topic(shared, who, request.validate_only, change);
        alter_configs_response::AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(message.map(|message| text(&message)))
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone())
    });
    AlterConfigsResponse::default().with_responses(results.collect())
}

/// Changes single settings of a topic.
pub fn alter_incrementally(
    shared: &Shared,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let results = request.resources.into_iter().map(|resource| {
        let change = |held: &TopicConfig| {
            let mut config = held.clone();
            for setting in &resource.configs {
                apply(&mut config, setting)?;
            }
            Ok(config)
        };
        let who = (resource.resource_type, &*resource.resource_name);
        let (code, message) = change_topic(shared, who, request.validate_only, change);
        incremental_alter_configs_response::AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(message.map(|message| text(&message)))
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone())
    });
    IncrementalAlterConfigsResponse::default().with_responses(results.collect())
}

fn apply(
    config: &mut TopicConfig,
    setting: &incremental_alter_configs_request::AlterableConfig,
) -> Result<(), TopicError> {
    let value = setting.value.as_deref().unwrap_or_default();
    match setting.config_operation {
        0 => config.set(&setting.name, value)?,
        1 => config.unset(&setting.name)?,
        operation => config.edit_list(&setting.name, value, operation == 2)?,
    }
    Ok(())
}

fn change_topic(
    shared: &Shared,
    (kind, name): (i8, &str),
    validate_only: bool,
    change: impl FnOnce(&TopicConfig) -> Result<TopicConfig, TopicError>,
) -> (i16, Option<String>) {
    if kind != TOPIC {
        let message = "only topics have settings that can be changed";
        return (
            ResponseError::InvalidRequest.code(),
            Some(message.to_owned()),
        );
    }
    let mut topics = shared.topics();
    let Some(topic) = topics.get_mut(name) else {
        let error = TopicError::Unknown {
            name: name.to_owned(),
        };
        return (error.code().code(), Some(error.to_string()));
    };
    match change(&topic.config) {
        Ok(config) => {
            if !validate_only {
                topic.config = config;
            }
            (0, None)
        }
        Err(error) => (error.code().code(), Some(error.to_string())),
    }
}
