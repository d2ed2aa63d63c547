//! Consumer groups with librdkafka as the client.

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use super::*;

fn member(broker: &Broker, settings: &[(&str, &str)]) -> BaseConsumer {
    let mut all = vec![
        ("group.id", "g"),
        ("session.timeout.ms", "2000"),
        ("heartbeat.interval.ms", "200"),
        ("topic.metadata.refresh.interval.ms", "1000"),
    ];
    all.extend(settings);
    let consumer = consumer(broker, &all);
    consumer.subscribe(&["t"]).unwrap();
    consumer
}

/// Returns plain numbers: a partition list that outlives its consumer holds references into
/// librdkafka, and dropping the consumer would wait for them forever.
fn partitions(consumer: &BaseConsumer) -> Vec<i32> {
    let assignment = consumer.assignment().unwrap();
    let mut partitions: Vec<i32> = assignment
        .elements()
        .iter()
        .map(TopicPartitionListElem::partition)
        .collect();
    partitions.sort_unstable();
    partitions
}

async fn broker_with_topic() -> Broker {
    let broker = broker().await;
    broker.create_topic("t", 4, &[]).unwrap();
    broker
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_members_share_and_the_rest_is_taken_over() {
    for strategy in ["range", "roundrobin", "cooperative-sticky"] {
        let broker = broker_with_topic().await;
        let settings = [("partition.assignment.strategy", strategy)];
        let first = member(&broker, &settings);
        poll_until(&[&first], |_, _| assigned(&first) == 4);
        let second = member(&broker, &settings);
        poll_until(&[&first, &second], |_, _| {
            assigned(&first) == 2 && assigned(&second) == 2
        });
        assert_eq!(broker.group_members("g").unwrap().0, 2);
        // Dropping the member makes it leave the group.
        drop(second);
        poll_until(&[&first], |_, _| assigned(&first) == 4);
        assert_eq!(broker.group_members("g"), Some((1, true)), "{strategy}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_assignment_does_not_wait() {
    let broker = broker_with_topic().await;
    let began = Instant::now();
    let first = member(&broker, &[]);
    poll_until(&[&first], |_, _| assigned(&first) == 4);
    println!("first assignment after {:?}", began.elapsed());
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn static_member_comes_back_to_its_partitions_without_a_rebalance() {
    let broker = broker_with_topic().await;
    let first = member(&broker, &[("group.instance.id", "one")]);
    let second = member(
        &broker,
        &[
            ("group.instance.id", "two"),
            ("session.timeout.ms", "30000"),
        ],
    );
    poll_until(&[&first, &second], |_, _| {
        assigned(&first) == 2 && assigned(&second) == 2
    });
    let had = partitions(&second);
    // A static member does not leave when it is dropped.
    drop(second);
    let again = member(
        &broker,
        &[
            ("group.instance.id", "two"),
            ("session.timeout.ms", "30000"),
        ],
    );
    poll_until(&[&first, &again], |_, _| assigned(&again) == 2);
    assert_eq!(partitions(&again), had);
    assert_eq!(assigned(&first), 2);
    assert_eq!(broker.group_members("g"), Some((2, true)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_owner_of_an_instance_id_is_fenced() {
    let broker = broker_with_topic().await;
    let old = member(&broker, &[("group.instance.id", "one")]);
    poll_until(&[&old], |_, _| assigned(&old) == 4);
    let new = member(&broker, &[("group.instance.id", "one")]);
    poll_until(&[&new], |_, _| assigned(&new) == 4);
    let began = Instant::now();
    let fenced = loop {
        assert!(began.elapsed() < DEADLINE);
        if let Some(Err(error)) = old.poll(Duration::from_millis(20)) {
            break error;
        }
    };
    assert!(fenced.to_string().contains("Fatal"), "{fenced}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_carries_metadata_up_to_the_limit() {
    let broker = broker_with_topic().await;
    produce(&producer(&broker, &[]), "t", 10);
    let first = member(&broker, &[]);
    poll_until(&[&first], |_, _| assigned(&first) == 4);
    let commit = |metadata: &str| {
        let mut positions = TopicPartitionList::new();
        let mut position = positions.add_partition("t", 1);
        position.set_offset(Offset::Offset(2)).unwrap();
        position.set_metadata(metadata);
        first.commit(&positions, CommitMode::Sync)
    };
    let longest = "m".repeat(4096);
    commit(&longest).unwrap();
    let committed = first.committed(DEADLINE).unwrap();
    let position = committed.find_partition("t", 1).unwrap();
    assert_eq!(position.offset(), Offset::Offset(2));
    assert_eq!(position.metadata(), longest);
    assert_eq!(
        committed.find_partition("t", 0).unwrap().offset(),
        Offset::Invalid
    );
    let refused = commit(&"m".repeat(4097)).unwrap_err();
    assert!(
        refused.to_string().contains("OffsetMetadataTooLarge"),
        "{refused}"
    );
    assert_eq!(broker.committed("g", "t", 1).unwrap().offset, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_members_partitions_pass_on_after_its_session() {
    let broker = broker_with_topic().await;
    let first = member(&broker, &[]);
    // This member joins and never polls again; after this interval it is removed from the group.
    let silent = member(&broker, &[("max.poll.interval.ms", "2000")]);
    poll_until(&[&first, &silent], |_, _| {
        assigned(&first) == 2 && assigned(&silent) == 2
    });
    poll_until(&[&first], |_, _| assigned(&first) == 4);
    assert_eq!(broker.group_members("g").unwrap().0, 1);
}
