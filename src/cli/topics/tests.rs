use super::*;
use crate::broker::{Broker, BrokerOptions};
use crate::topology::{self, Look, Variables};

fn topology(servers: &str) -> Topology {
    topology_of(servers, None)
}

fn topology_of(servers: &str, copies: Option<&str>) -> Topology {
    let text = include_str!("../../../topologies/wedsync.yaml");
    let variables = |name: &str| match name {
        "WEDCACHE_KAFKA" => Some(servers.to_owned()),
        "WEDCACHE_REPLICATION_FACTOR" => copies.map(str::to_owned),
        _ => None,
    };
    let loaded = topology::read("wedsync.yaml", text, Variables::From(&variables));
    loaded.unwrap().topology
}

async fn broker() -> Broker {
    let options = BrokerOptions {
        auto_create_topics: false,
        ..BrokerOptions::default()
    };
    Broker::start(options).await.unwrap()
}

/// Returns the exit code and the output.
async fn topics(broker: &Broker, how: Option<Apply>) -> (anyhow::Result<u8>, String) {
    topics_with(&broker.bootstrap(), Some(1), how).await
}

async fn topics_with(
    servers: &str,
    replication_factor: Option<u16>,
    how: Option<Apply>,
) -> (anyhow::Result<u8>, String) {
    topics_of(&topology(servers), replication_factor, how).await
}

async fn topics_of(
    topology: &Topology,
    replication_factor: Option<u16>,
    how: Option<Apply>,
) -> (anyhow::Result<u8>, String) {
    let mut out = Vec::new();
    let mut screen = Screen {
        out: &mut out,
        look: Look {
            unicode: false,
            colour: false,
        },
        width: 100,
    };
    let code = carry_out(topology, replication_factor, how, &mut screen).await;
    (code, String::from_utf8(out).unwrap())
}

const CREATE: Apply = Apply {
    alter_configs: false,
    add_partitions: false,
};
const ALL: Apply = Apply {
    alter_configs: true,
    add_partitions: true,
};

/// Returns the line of a topic without its columns' padding.
fn line(out: &str, topic: &str) -> String {
    let line = out.lines().find(|line| line.starts_with(topic)).unwrap();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_planned_then_created_then_left_alone() {
    let broker = broker().await;
    let (code, out) = topics(&broker, None).await;
    assert_eq!(code.unwrap(), 2, "{out}");
    assert!(out.contains("\n9 missing, 0 different\n"), "{out}");
    assert_eq!(
        line(&out, "wedsync.cache.invalidations"),
        "wedsync.cache.invalidations 1 1 14d missing"
    );
    assert_eq!(broker.watermarks("wedsync.ai.queries", 0), None);

    let (code, out) = topics(&broker, Some(CREATE)).await;
    assert_eq!(code.unwrap(), 0, "{out}");
    let queries = line(&out, "wedsync.ai.queries");
    assert_eq!(queries, "wedsync.ai.queries 12 1 3d created");
    assert_eq!(broker.watermarks("wedsync.ai.queries", 11), Some((0, 0)));
    let id = broker.topic_id("wedsync.ai.queries");

    let (code, out) = topics(&broker, Some(CREATE)).await;
    assert_eq!(code.unwrap(), 0, "{out}");
    assert!(line(&out, "wedsync.ai.queries").ends_with(" ok"), "{out}");
    assert_eq!(broker.topic_id("wedsync.ai.queries"), id);
    let (code, out) = topics(&broker, None).await;
    assert_eq!(code.unwrap(), 0, "{out}");
    assert!(out.ends_with("\nnothing to do\n"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_changed_only_where_told_to() {
    let broker = broker().await;
    let own = [("retention.ms", "3600000"), ("segment.ms", "7200000")];
    broker.create_topic("wedsync.ai.queries", 2, &own).unwrap();
    let (code, out) = topics(&broker, Some(CREATE)).await;
    assert_eq!(code.unwrap(), 0, "{out}");
    assert!(
        line(&out, "wedsync.ai.queries").ends_with(" differs"),
        "{out}"
    );
    let open = "    retention.ms: 1h, wanted 3d (`topics apply --alter` sets it)\n";
    assert!(out.contains(open), "{out}");
    assert!(out.contains("    partitions: 2, wanted 12 ("), "{out}");
    assert!(
        out.ends_with("all 9 topics are there; 1 left different\n"),
        "{out}"
    );
    assert_eq!(topics(&broker, None).await.0.unwrap(), 2);

    let (code, out) = topics(&broker, Some(ALL)).await;
    assert_eq!(code.unwrap(), 0, "{out}");
    assert!(
        line(&out, "wedsync.ai.queries").ends_with(" changed"),
        "{out}"
    );
    assert!(out.contains("    retention.ms: 3d, was 1h\n"), "{out}");
    assert_eq!(topics(&broker, None).await.0.unwrap(), 0);
    let client = ClientOptions::new(broker.bootstrap(), "t");
    let admin = Admin::new(&client, REACH).unwrap();
    let found = admin.describe(&["wedsync.ai.queries"]).await.unwrap();
    let segment = &found["wedsync.ai.queries"].configs["segment.ms"];
    assert_eq!(
        segment.value.as_deref(),
        Some("7200000"),
        "not ours to change"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_several_partitions_fails_whatever_is_told() {
    let broker = broker().await;
    let log = "wedsync.cache.invalidations";
    broker.create_topic(log, 3, &[]).unwrap();
    let (code, out) = topics(&broker, Some(ALL)).await;
    assert_eq!(code.unwrap(), 1, "{out}");
    let told = "    partitions: 3, wanted 1 (its offsets are the clock: delete the topic";
    assert!(out.contains(told), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_agrees_with_what_the_topologys_own_factor_applied() {
    let broker = broker().await;
    let topology = topology_of(&broker.bootstrap(), Some("1"));
    let (code, out) = topics_of(&topology, None, Some(CREATE)).await;
    assert_eq!(code.unwrap(), 0, "{out}");
    let (code, out) = topics_of(&topology, None, None).await;
    assert_eq!(code.unwrap(), 0, "{out}");
    assert!(out.ends_with("\nnothing to do\n"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_copies_are_refused_with_what_to_do() {
    let broker = broker().await;
    let (code, _) = topics_with(&broker.bootstrap(), None, Some(CREATE)).await;
    let error = format!("{:#}", code.unwrap_err());
    assert!(error.contains("--replication-factor 1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_away_ends_it_with_the_address_and_the_variable() {
    let broker = broker().await;
    let servers = broker.bootstrap();
    broker.shutdown().await;
    let begun = Instant::now();
    let (code, out) = topics_with(&servers, None, None).await;
    let error = code.unwrap_err().to_string();
    assert!(
        error.contains(&servers) && error.contains("WEDCACHE_KAFKA"),
        "{error}"
    );
    assert_eq!(out, "");
    assert!(begun.elapsed() < REACH * 3, "{:?}", begun.elapsed());
}
