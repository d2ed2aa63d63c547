//! Topics, settings and groups through librdkafka's admin client.

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::*;

fn admin(broker: &Broker) -> AdminClient<DefaultClientContext> {
    client(broker, &[]).create().unwrap()
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(DEADLINE))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topic_is_created_described_changed_grown_and_deleted() {
    let broker = broker().await;
    let admin = admin(&broker);
    let log = NewTopic::new("log", 1, TopicReplication::Fixed(1))
        .set("cleanup.policy", "compact,delete")
        .set("message.timestamp.type", "LogAppendTime");
    let wide = NewTopic::new("wide", 3, TopicReplication::Fixed(3));
    let odd = NewTopic::new("odd", 3, TopicReplication::Fixed(1)).set("retention.ms", "soon");
    let created = admin
        .create_topics([&log, &wide, &odd], &options())
        .await
        .unwrap();
    assert_eq!(created[0], Ok("log".to_owned()));
    assert_eq!(
        created[1],
        Err((
            "wide".to_owned(),
            RDKafkaErrorCode::InvalidReplicationFactor
        ))
    );
    assert_eq!(
        created[2],
        Err(("odd".to_owned(), RDKafkaErrorCode::InvalidConfig))
    );
    let again = admin.create_topics([&log], &options()).await.unwrap();
    assert_eq!(
        again[0],
        Err(("log".to_owned(), RDKafkaErrorCode::TopicAlreadyExists))
    );

    assert_eq!(setting(&admin, "cleanup.policy").await, "compact,delete");
    assert_eq!(setting(&admin, "retention.ms").await, "604800000");
    let change = AlterConfig::new(ResourceSpecifier::Topic("log")).set("retention.ms", "86400000");
    admin.alter_configs([&change], &options()).await.unwrap()[0]
        .as_ref()
        .unwrap();
    assert_eq!(setting(&admin, "retention.ms").await, "86400000");

    let grown = admin
        .create_partitions([&NewPartitions::new("log", 5)], &options())
        .await
        .unwrap();
    assert_eq!(grown[0], Ok("log".to_owned()));
    let metadata = admin.inner().fetch_metadata(Some("log"), DEADLINE).unwrap();
    assert_eq!(metadata.topics()[0].partitions().len(), 5);

    let first = broker.topic_id("log").unwrap();
    assert_eq!(
        admin.delete_topics(&["log"], &options()).await.unwrap()[0],
        Ok("log".to_owned())
    );
    assert_eq!(broker.topic_id("log"), None);
    admin.create_topics([&log], &options()).await.unwrap()[0]
        .as_ref()
        .unwrap();
    assert_ne!(broker.topic_id("log").unwrap(), first);
}

async fn setting(admin: &AdminClient<DefaultClientContext>, name: &str) -> String {
    let topic = [ResourceSpecifier::Topic("log")];
    let described = admin.describe_configs(&topic, &options()).await.unwrap();
    let resource = described[0].as_ref().unwrap();
    resource.get(name).unwrap().value.clone().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reader_of_a_recreated_topic_gets_its_records_from_the_start() {
    let broker = broker().await;
    broker.create_topic("t", 1, &[]).unwrap();
    produce(&producer(&broker, &[]), "t", 5);
    let settings = [("topic.metadata.refresh.interval.ms", "200")];
    let before = consumer(&broker, &settings);
    before.subscribe(&["t"]).unwrap();
    consume(&before, 5);
    broker.delete_topic("t").unwrap();
    broker.create_topic("t", 1, &[]).unwrap();
    produce(&producer(&broker, &[]), "t", 2);
    let after = consumer(&broker, &[("group.id", "another")]);
    after.subscribe(&["t"]).unwrap();
    let offsets: Vec<_> = consume(&after, 2).iter().map(Message::offset).collect();
    assert_eq!(offsets, [0, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_topic_is_created_only_where_the_broker_may() {
    let broker = Broker::start(BrokerOptions {
        auto_create_topics: false,
        ..BrokerOptions::default()
    })
    .await
    .unwrap();
    let admin = admin(&broker);
    let metadata = admin
        .inner()
        .fetch_metadata(Some("none"), DEADLINE)
        .unwrap();
    assert!(metadata.topics()[0].error().is_some());
    assert_eq!(broker.topic_id("none"), None);

    let broker = super::broker().await;
    produce(&producer(&broker, &[]), "new", 1);
    assert_eq!(broker.watermarks("new", 0), Some((0, 1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_are_listed_and_deleted() {
    let broker = broker().await;
    broker.create_topic("t", 1, &[]).unwrap();
    let member = consumer(&broker, &[("group.id", "listed"), ("client.id", "it")]);
    member.subscribe(&["t"]).unwrap();
    poll_until(&[&member], |_, _| assigned(&member) == 1);
    let mut positions = TopicPartitionList::new();
    positions
        .add_partition_offset("t", 0, Offset::Offset(0))
        .unwrap();
    member.commit(&positions, CommitMode::Sync).unwrap();

    let admin = admin(&broker);
    let groups = admin
        .inner()
        .fetch_group_list(Some("listed"), DEADLINE)
        .unwrap();
    let group = &groups.groups()[0];
    assert_eq!(
        (group.name(), group.state(), group.protocol()),
        ("listed", "Stable", "range")
    );
    assert_eq!(group.members()[0].client_id(), "it");
    let refused = admin.delete_groups(&["listed"], &options()).await.unwrap();
    assert_eq!(
        refused[0],
        Err(("listed".to_owned(), RDKafkaErrorCode::NonEmptyGroup))
    );
    drop(member);
    // The dropped member's LeaveGroup is on its way.
    let empty = async {
        while broker.group_members("listed") != Some((0, false)) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, empty).await.unwrap();
    assert!(admin.delete_groups(&["listed"], &options()).await.unwrap()[0].is_ok());
    assert_eq!(broker.committed("listed", "t", 0), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_records_are_gone() {
    let broker = broker().await;
    broker.create_topic("t", 1, &[]).unwrap();
    produce(&producer(&broker, &[]), "t", 10);
    let mut before = TopicPartitionList::new();
    before
        .add_partition_offset("t", 0, Offset::Offset(4))
        .unwrap();
    admin(&broker)
        .delete_records(&before, &options())
        .await
        .unwrap();
    assert_eq!(broker.watermarks("t", 0), Some((4, 10)));
    let consumer = consumer(&broker, &[]);
    consumer.subscribe(&["t"]).unwrap();
    assert_eq!(consume(&consumer, 6)[0].offset(), 4);
}
