use super::super::testing::{Cluster, PATIENCE};
use super::*;

fn spec(name: &str, partitions: i32, configs: &[(&str, &str)]) -> TopicSpec {
    let configs = configs
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    TopicSpec {
        name: name.to_owned(),
        partitions,
        replication: 1,
        configs: configs.collect(),
    }
}

#[test]
fn a_plan_names_every_difference_and_nothing_else() {
    let config = |value: &str| ConfigState {
        value: Some(value.to_owned()),
        is_own: true,
    };
    let state = TopicState {
        partitions: 4,
        configs: [
            ("cleanup.policy".to_owned(), config("delete, compact")),
            ("retention.ms".to_owned(), config("1000")),
            (MAX_BYTES.to_owned(), config("2000")),
        ]
        .into(),
    };
    let found = BTreeMap::from([("t".to_owned(), state)]);
    let missing = spec("m", 1, &[]);
    let topic = || "t".to_owned();
    let cases = [
        (missing.clone(), vec![TopicAction::Create(missing)]),
        (
            spec("t", 3, &[("cleanup.policy", "compact,delete")]),
            vec![TopicAction::Ok { topic: topic() }],
        ),
        (
            spec("t", 4, &[(MAX_BYTES, "1000")]),
            vec![TopicAction::Ok { topic: topic() }],
        ),
        (
            spec("t", 4, &[(MAX_BYTES, "3000")]),
            vec![TopicAction::Differs {
                topic: topic(),
                config: MAX_BYTES.to_owned(),
                is: Some("2000".to_owned()),
                wanted: "3000".to_owned(),
            }],
        ),
        (
            spec("t", 6, &[("retention.ms", "2000"), ("segment.ms", "5")]),
            vec![
                TopicAction::TooFewPartitions {
                    topic: topic(),
                    is: 4,
                    wanted: 6,
                },
                TopicAction::Differs {
                    topic: topic(),
                    config: "retention.ms".to_owned(),
                    is: Some("1000".to_owned()),
                    wanted: "2000".to_owned(),
                },
                TopicAction::Differs {
                    topic: topic(),
                    config: "segment.ms".to_owned(),
                    is: None,
                    wanted: "5".to_owned(),
                },
            ],
        ),
    ];
    for (desired, want) in cases {
        assert_eq!(
            plan(std::slice::from_ref(&desired), &found),
            want,
            "{desired:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_created_and_what_differs_altered_only_when_told() {
    let cluster = Cluster::new(&[("old", 1)]).await;
    let admin = Admin::new(&cluster.client("admin"), PATIENCE).unwrap();
    let desired = [
        spec("old", 2, &[("retention.ms", "5000")]),
        spec(
            "new",
            3,
            &[
                ("cleanup.policy", "compact,delete"),
                ("retention.ms", "7000"),
            ],
        ),
    ];
    let known = admin.topics().await.unwrap();
    assert_eq!(missing(&["new", "old", "x"], &known), ["new", "x"]);

    let actions = admin.plan(&desired).await.unwrap();
    admin.apply(&actions, Apply::default()).await.unwrap();
    // A second one that lost the race.
    admin.apply(&actions, Apply::default()).await.unwrap();
    let after = admin.plan(&desired).await.unwrap();
    assert_eq!(after.len(), 3, "{after:?}");
    assert_eq!(
        after[2],
        TopicAction::Ok {
            topic: "new".to_owned()
        }
    );

    let everything = Apply {
        alter_configs: true,
        add_partitions: true,
    };
    admin.apply(&after, everything).await.unwrap();
    let settled = admin.plan(&desired).await.unwrap();
    assert!(
        settled.iter().all(|a| matches!(a, TopicAction::Ok { .. })),
        "{settled:?}"
    );

    // Altering one setting keeps the topic's others.
    let other = [spec("new", 3, &[("max.message.bytes", "2000000")])];
    let actions = admin.plan(&other).await.unwrap();
    admin.apply(&actions, everything).await.unwrap();
    let settled = admin.plan(&desired).await.unwrap();
    assert!(
        settled.iter().all(|a| matches!(a, TopicAction::Ok { .. })),
        "{settled:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_and_committed_offsets_are_told_by_partition() {
    let cluster = Cluster::new(&[("t", 2)]).await;
    cluster.fill("t", 1, 7).await;
    let admin = Admin::new(&cluster.client("admin"), PATIENCE).unwrap();
    assert_eq!(admin.ends("t").await.unwrap(), [(0, 0), (0, 7)]);
    assert_eq!(admin.committed("g", "t", 2).await.unwrap(), [None, None]);
    let error = admin.ends("nothing").await.unwrap_err();
    assert!(!error.retry(), "{error}");
}
