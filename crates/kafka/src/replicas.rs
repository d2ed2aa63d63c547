//! The numbers of replicas of a cluster's topics, and the refusal of too many.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::AdminClient;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::types::RDKafkaErrorCode;

use super::KafkaError;
use super::access::{Permission, Wants};
use super::client::{ClientLog, ClientOptions};

/// Returns all topics with the number of their replicas, that of the partition with the fewest.
/// Blocks until the timeout at most.
pub fn replication(
    options: &ClientOptions,
    timeout: Duration,
) -> Result<BTreeMap<String, i32>, KafkaError> {
    const WHAT: &Permission = &Permission::new("ask for the copies of topics", "Describe");
    let log = ClientLog::new(options, Wants::describe());
    let client: AdminClient<ClientLog> =
        AdminClient::from_config_and_context(&options.config(&[])?, log)
            .map_err(|source| options.refused(source))?;
    let metadata = client
        .inner()
        .fetch_metadata(None, timeout)
        .map_err(|source| KafkaError::Request {
            request: WHAT,
            source,
        })?;
    let copies = metadata.topics().iter().filter_map(|topic| {
        let partitions = topic.partitions().iter();
        let least = partitions
            .map(|partition| partition.replicas().len())
            .min()?;
        Some((topic.name().to_owned(), i32::try_from(least).ok()?))
    });
    Ok(copies.collect())
}

impl KafkaError {
    /// Returns true if the cluster has fewer brokers than a topic was to have replicas.
    pub fn wants_fewer_copies(&self) -> bool {
        let too_many = RDKafkaErrorCode::InvalidReplicationFactor;
        matches!(self, Self::Topic { code, .. } if *code == too_many)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, PATIENCE};
    use super::super::{Admin, TopicSpec};
    use super::*;
    use crate::admin::{Apply, TopicAction};

    #[tokio::test(flavor = "multi_thread")]
    async fn copies_are_counted_and_too_many_are_told_apart() {
        let cluster = Cluster::new(&[("a", 2)]).await;
        let client = cluster.client("c");
        let found = replication(&client, PATIENCE).unwrap();
        assert_eq!(found, BTreeMap::from([("a".to_owned(), 1)]));
        let action = |partitions, replication| {
            [TopicAction::Create(TopicSpec {
                name: "b".to_owned(),
                partitions,
                replication,
                configs: BTreeMap::new(),
            })]
        };
        let admin = Admin::new(&client, PATIENCE).unwrap();
        let refused = admin
            .apply(&action(1, 3), Apply::default())
            .await
            .unwrap_err();
        assert!(refused.wants_fewer_copies(), "{refused}");
        let refused = admin
            .apply(&action(0, 1), Apply::default())
            .await
            .unwrap_err();
        assert!(!refused.wants_fewer_copies(), "{refused}");
    }
}
