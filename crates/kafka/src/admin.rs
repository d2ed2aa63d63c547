//! Topics: their present and their desired state, and the changes between the two; also topic ids,
//! ends, committed offsets and members of groups.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use wedcache_model::TopicId;

use super::KafkaError;
use super::access::{self, Permission, Wants};
use super::client::{ClientLog, ClientOptions};
use super::topic_ids;

/// The desired state of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: String,
    pub partitions: i32,
    /// The number of replicas; -1 for the broker's default.
    pub replication: i32,
    /// The settings that matter; others are left as they are.
    pub configs: BTreeMap<String, String>,
}

/// The present state of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicState {
    pub partitions: i32,
    pub configs: BTreeMap<String, ConfigState>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigState {
    pub value: Option<String>,
    /// True if the setting is the topic's own, so that an alteration must repeat it.
    pub is_own: bool,
}

/// A difference between the present and the desired state of a topic, or none. One topic may have
/// several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicAction {
    Create(TopicSpec),
    Ok {
        topic: String,
    },
    Differs {
        topic: String,
        config: String,
        is: Option<String>,
        wanted: String,
    },
    TooFewPartitions {
        topic: String,
        is: i32,
        wanted: i32,
    },
}

/// The changes that [`Admin::apply`] makes. Missing topics are always created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Apply {
    /// Sets configs that differ.
    pub alter_configs: bool,
    /// Adds partitions: keys then fall into other partitions than before.
    pub add_partitions: bool,
}

/// A topic's limit of a record batch, in bytes.
pub const MAX_BYTES: &str = "max.message.bytes";

/// Compares the states and returns the differences in the order of `desired`.
pub fn plan(desired: &[TopicSpec], found: &BTreeMap<String, TopicState>) -> Vec<TopicAction> {
    let mut actions = Vec::new();
    for spec in desired {
        let Some(state) = found.get(&spec.name) else {
            actions.push(TopicAction::Create(spec.clone()));
            continue;
        };
        let before = actions.len();
        if state.partitions < spec.partitions {
            actions.push(TopicAction::TooFewPartitions {
                topic: spec.name.clone(),
                is: state.partitions,
                wanted: spec.partitions,
            });
        }
        for (config, wanted) in &spec.configs {
            let is = state
                .configs
                .get(config)
                .and_then(|config| config.value.clone());
            if !is_as_wanted(config, is.as_deref(), wanted) {
                actions.push(TopicAction::Differs {
                    topic: spec.name.clone(),
                    config: config.clone(),
                    is,
                    wanted: wanted.clone(),
                });
            }
        }
        if actions.len() == before {
            actions.push(TopicAction::Ok {
                topic: spec.name.clone(),
            });
        }
    }
    actions
}

/// Returns the names of missing topics, in the order of `wanted`.
pub fn missing<'a>(wanted: &[&'a str], found: &BTreeMap<String, i32>) -> Vec<&'a str> {
    let missing = wanted.iter().filter(|topic| !found.contains_key(**topic));
    missing.copied().collect()
}

/// Compares a setting. A topic that takes larger records than wanted is as good.
fn is_as_wanted(config: &str, is: Option<&str>, wanted: &str) -> bool {
    if config != MAX_BYTES {
        return same_value(is, wanted);
    }
    let number = |text: &str| text.trim().parse::<u64>().ok();
    match (is.and_then(number), number(wanted)) {
        (Some(is), Some(wanted)) => is >= wanted,
        _ => same_value(is, wanted),
    }
}

/// Compares values as lists: those such as `cleanup.policy` have no order.
fn same_value(is: Option<&str>, wanted: &str) -> bool {
    let parts = |text: &str| {
        let mut parts: Vec<String> = text.split(',').map(|part| part.trim().to_owned()).collect();
        parts.sort();
        parts
    };
    is.is_some_and(|is| parts(is) == parts(wanted))
}

/// A client that asks and changes the cluster. All its futures are cancel safe, though a change
/// that was sent goes on.
#[derive(Clone)]
pub struct Admin {
    client: Arc<AdminClient<ClientLog>>,
    options: ClientOptions,
    timeout: Duration,
}

impl Admin {
    pub fn new(options: &ClientOptions, timeout: Duration) -> Result<Self, KafkaError> {
        let config = options.config(&[])?;
        let log = ClientLog::new(options, Wants::describe());
        let client = AdminClient::from_config_and_context(&config, log)
            .map_err(|source| options.refused(source))?;
        Ok(Self {
            client: Arc::new(client),
            options: options.clone(),
            timeout,
        })
    }

    /// Returns all topics with their number of partitions.
    pub async fn topics(&self) -> Result<BTreeMap<String, i32>, KafkaError> {
        const WHAT: &Permission = &Permission::new("list topics", "Describe");
        let this = self.clone();
        self.blocking(WHAT, move || {
            let metadata = this
                .client
                .inner()
                .fetch_metadata(None, this.timeout)
                .map_err(|source| request(WHAT, source))?;
            let exist = metadata
                .topics()
                .iter()
                .filter(|topic| topic.error().is_none());
            Ok(exist
                .map(|topic| {
                    let count = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
                    (topic.name().to_owned(), count)
                })
                .collect())
        })
        .await
    }

    /// Returns the number of a group's members; 0 if there is no such group.
    pub async fn members(&self, group: &str) -> Result<usize, KafkaError> {
        const WHAT: &Permission = &Permission::new("list a group's members", "Describe");
        let (this, group) = (self.clone(), group.to_owned());
        self.blocking(WHAT, move || {
            let groups = this
                .client
                .inner()
                .fetch_group_list(Some(&group), this.timeout)
                .map_err(|source| of_group(WHAT, &group, source))?;
            let found = groups.groups().iter().find(|found| found.name() == group);
            Ok(found.map_or(0, |found| found.members().len()))
        })
        .await
    }

    /// Returns the named topics that exist, with their settings.
    pub async fn describe(
        &self,
        names: &[&str],
    ) -> Result<BTreeMap<String, TopicState>, KafkaError> {
        const WHAT: &Permission = &Permission::new("describe topics", "DescribeConfigs");
        let all = self.topics().await?;
        let exist: Vec<&str> = names
            .iter()
            .copied()
            .filter(|n| all.contains_key(*n))
            .collect();
        if exist.is_empty() {
            return Ok(BTreeMap::new());
        }
        let wanted: Vec<_> = exist
            .iter()
            .map(|name| ResourceSpecifier::Topic(name))
            .collect();
        let answers = self
            .client
            .describe_configs(&wanted, &self.admin_options())
            .await
            .map_err(|source| request(WHAT, source));
        let answers = self.saw(WHAT, answers)?;
        let mut found = BTreeMap::new();
        for (name, answer) in exist.into_iter().zip(answers) {
            let entries = answer.map_err(|code| refused(WHAT, name, code))?.entries;
            let configs = entries
                .into_iter()
                .map(|entry| {
                    let is_own = entry.source == ConfigSource::DynamicTopic;
                    (
                        entry.name,
                        ConfigState {
                            value: entry.value,
                            is_own,
                        },
                    )
                })
                .collect();
            let partitions = all.get(name).copied().unwrap_or(0);
            found.insert(
                name.to_owned(),
                TopicState {
                    partitions,
                    configs,
                },
            );
        }
        Ok(found)
    }

    pub async fn plan(&self, desired: &[TopicSpec]) -> Result<Vec<TopicAction>, KafkaError> {
        let names: Vec<&str> = desired.iter().map(|spec| spec.name.as_str()).collect();
        Ok(plan(desired, &self.describe(&names).await?))
    }

    /// Makes the planned changes, as far as `how` allows. A topic that another client created
    /// meanwhile is no error.
    pub async fn apply(&self, actions: &[TopicAction], how: Apply) -> Result<(), KafkaError> {
        self.create(actions).await?;
        if how.alter_configs {
            self.alter(actions).await?;
        }
        if how.add_partitions {
            self.add_partitions(actions).await?;
        }
        Ok(())
    }

    async fn create(&self, actions: &[TopicAction]) -> Result<(), KafkaError> {
        const WHAT: &Permission = &Permission::new("create topics", "Create");
        let specs = actions.iter().filter_map(|action| match action {
            TopicAction::Create(spec) => Some(spec),
            _ => None,
        });
        let topics: Vec<NewTopic<'_>> = specs
            .map(|spec| {
                let replication = TopicReplication::Fixed(spec.replication);
                let topic = NewTopic::new(&spec.name, spec.partitions, replication);
                spec.configs
                    .iter()
                    .fold(topic, |topic, (name, value)| topic.set(name, value))
            })
            .collect();
        if topics.is_empty() {
            return Ok(());
        }
        let results = self
            .client
            .create_topics(&topics, &self.admin_options())
            .await
            .map_err(|source| request(WHAT, source));
        let results = self.saw(WHAT, results)?;
        for result in results {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => return Err(refused(WHAT, &topic, code)),
            }
        }
        Ok(())
    }

    /// Alters settings. Kafka's AlterConfigs replaces all settings of a topic, so its other own
    /// ones are repeated.
    async fn alter(&self, actions: &[TopicAction]) -> Result<(), KafkaError> {
        const WHAT: &Permission = &Permission::new("alter topic configs", "AlterConfigs");
        let mut wanted: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
        for action in actions {
            if let TopicAction::Differs {
                topic,
                config,
                wanted: value,
                ..
            } = action
            {
                wanted
                    .entry(topic)
                    .or_default()
                    .insert(config.clone(), value.clone());
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = wanted.keys().copied().collect();
        for (topic, state) in self.describe(&names).await? {
            let own = state
                .configs
                .into_iter()
                .filter(|(_, config)| config.is_own);
            let Some(configs) = wanted.get_mut(topic.as_str()) else {
                continue;
            };
            for (name, config) in own {
                if let Some(value) = config.value {
                    configs.entry(name).or_insert(value);
                }
            }
        }
        let alter: Vec<_> = wanted
            .iter()
            .map(|(topic, configs)| {
                let alter = AlterConfig::new(ResourceSpecifier::Topic(topic));
                configs
                    .iter()
                    .fold(alter, |alter, (name, value)| alter.set(name, value))
            })
            .collect();
        let results = self
            .client
            .alter_configs(&alter, &self.admin_options())
            .await
            .map_err(|source| request(WHAT, source));
        let results = self.saw(WHAT, results)?;
        for (result, topic) in results.into_iter().zip(wanted.keys()) {
            result.map_err(|(_, code)| refused(WHAT, topic, code))?;
        }
        Ok(())
    }

    async fn add_partitions(&self, actions: &[TopicAction]) -> Result<(), KafkaError> {
        const WHAT: &Permission = &Permission::new("add partitions", "Alter");
        let more: Vec<_> = actions
            .iter()
            .filter_map(|action| match action {
                TopicAction::TooFewPartitions { topic, wanted, .. } => {
                    Some(NewPartitions::new(topic, usize::try_from(*wanted).ok()?))
                }
                _ => None,
            })
            .collect();
        if more.is_empty() {
            return Ok(());
        }
        let results = self
            .client
            .create_partitions(&more, &self.admin_options())
            .await
            .map_err(|source| request(WHAT, source));
        let results = self.saw(WHAT, results)?;
        for result in results {
            result.map_err(|(topic, code)| refused(WHAT, &topic, code))?;
        }
        Ok(())
    }

    /// Returns the ids of the topics; none if the brokers have no topic ids.
    pub async fn topic_ids(
        &self,
        topics: &[Arc<str>],
    ) -> Result<HashMap<Arc<str>, TopicId>, KafkaError> {
        const WHAT: &Permission = &Permission::new("ask for the ids of topics", "Describe");
        let (this, topics) = (self.clone(), topics.to_vec());
        self.blocking(WHAT, move || {
            let names: Vec<&str> = topics.iter().map(AsRef::as_ref).collect();
            let found = topic_ids::ask(this.client.inner(), &names, this.timeout);
            let found = found.map_err(|error| {
                request(WHAT, rdkafka::error::KafkaError::AdminOp(error.code()))
            })?;
            let mut ids = HashMap::new();
            for topic in topics {
                let id = found.answer(&topic);
                if let Some(id) = id.map_err(|code| refused(WHAT, &topic, code))? {
                    ids.insert(topic, id);
                }
            }
            Ok(ids)
        })
        .await
    }

    /// Returns the first readable and the next offset of each partition of a topic.
    pub async fn ends(&self, topic: &str) -> Result<Vec<(i64, i64)>, KafkaError> {
        const WHAT: &Permission = &Permission::new("ask for the ends of a topic", "Describe");
        let (this, topic) = (self.clone(), topic.to_owned());
        self.blocking(WHAT, move || {
            let client = this.client.inner();
            let metadata = client
                .fetch_metadata(Some(&topic), this.timeout)
                .map_err(|source| request(WHAT, source))?;
            let found = metadata.topics().first();
            let unknown = RDKafkaErrorCode::UnknownTopicOrPartition;
            let found = found.ok_or_else(|| refused(WHAT, &topic, unknown))?;
            if let Some(error) = found.error() {
                return Err(refused(WHAT, &topic, code_of(error)));
            }
            let count = i32::try_from(found.partitions().len()).unwrap_or(i32::MAX);
            (0..count)
                .map(|partition| client.fetch_watermarks(&topic, partition, this.timeout))
                .collect::<Result<_, _>>()
                .map_err(|source| request(WHAT, source))
        })
        .await
    }

    /// Returns the offsets that a group has committed, by partition of the topic; `None` for a
    /// partition without one.
    pub async fn committed(
        &self,
        group: &str,
        topic: &str,
        partitions: i32,
    ) -> Result<Vec<Option<i64>>, KafkaError> {
        const WHAT: &Permission = &Permission::new("ask for committed offsets", "Describe");
        let (this, topic, of) = (self.clone(), topic.to_owned(), group.to_owned());
        let ours = [("group.id", group), ("enable.auto.commit", "false")];
        let config = self.options.config(&ours)?;
        self.blocking(WHAT, move || {
            let wants = Wants::describe().in_group(&of);
            let log = ReadOnly(ClientLog::new(&this.options, wants));
            // It never subscribes, so it never becomes a member.
            let consumer = BaseConsumer::from_config_and_context(&config, log)
                .map_err(|source| this.options.refused(source))?;
            let mut list = TopicPartitionList::new();
            for partition in 0..partitions {
                list.add_partition(&topic, partition);
            }
            let found = consumer
                .committed_offsets(list, this.timeout)
                .map_err(|source| of_group(WHAT, &of, source))?;
            Ok((0..partitions)
                .map(
                    |partition| match found.find_partition(&topic, partition)?.offset() {
                        Offset::Offset(offset) => Some(offset),
                        _ => None,
                    },
                )
                .collect())
        })
        .await
    }

    /// Runs a blocking call of librdkafka on one of tokio's blocking threads.
    async fn blocking<T: Send + 'static>(
        &self,
        ask: &'static Permission,
        call: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, KafkaError> {
        match tokio::task::spawn_blocking(call).await {
            Ok(result) => self.saw(ask, result),
            // The runtime is shutting down, or the call panicked.
            Err(error) => Err(KafkaError::Thread {
                name: ask.what.to_owned(),
                source: std::io::Error::other(error),
            }),
        }
    }

    /// Notes the result of a request. The reason of a failed connection is in the client's queue,
    /// which only this serves.
    fn saw<T>(
        &self,
        ask: &'static Permission,
        result: Result<T, KafkaError>,
    ) -> Result<T, KafkaError> {
        let client = self.client.inner();
        rdkafka_ext::serve(client);
        let log = client.context();
        match &result {
            Ok(_) => log.answered(),
            Err(KafkaError::Topic { topic, code, .. }) => {
                log.answered();
                log.refused(*code, &access::on_topic(ask.needs, topic));
            }
            Err(KafkaError::Group { group, source, .. }) => {
                if let Some(code) = source.rdkafka_error_code() {
                    log.refused(code, &access::on_group(ask.needs, group));
                }
                log.explains(source, ask.what);
            }
            Err(KafkaError::Request { source, .. }) => {
                log.explains(source, ask.what);
            }
            Err(_) => {}
        }
        result
    }

    fn admin_options(&self) -> AdminOptions {
        AdminOptions::new()
            .request_timeout(Some(self.timeout))
            .operation_timeout(Some(self.timeout))
    }
}

struct ReadOnly(ClientLog);

impl rdkafka::client::ClientContext for ReadOnly {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, text: &str) {
        self.0.log(level, facility, text);
    }

    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl rdkafka::consumer::ConsumerContext for ReadOnly {}

fn of_group(
    request: &'static Permission,
    group: &str,
    source: rdkafka::error::KafkaError,
) -> KafkaError {
    KafkaError::Group {
        request,
        group: group.to_owned(),
        source,
    }
}

fn request(request: &'static Permission, source: rdkafka::error::KafkaError) -> KafkaError {
    KafkaError::Request { request, source }
}

fn refused(request: &'static Permission, topic: &str, code: RDKafkaErrorCode) -> KafkaError {
    KafkaError::Topic {
        request,
        topic: topic.to_owned(),
        code,
    }
}

fn code_of(error: RDKafkaRespErr) -> RDKafkaErrorCode {
    error.into()
}

#[cfg(test)]
mod tests;
