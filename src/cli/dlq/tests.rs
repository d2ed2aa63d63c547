use super::*;
use crate::broker::{Broker, BrokerOptions};
use crate::kafka::dead_letters::{DeadLetter, headers};
use crate::kafka::producer::{OutRecord, Output, OutputOptions};
use crate::model::{Coordinates, TraceParent};
use crate::topology::{self, Look, Variables};
use std::time::{Duration, Instant};

const QUERIES: &str = "wedsync.ai.queries";
const VENDORS: &str = "wedsync.vendor.changes";
const DEAD: &str = "wedsync.cache.dead-letters";
const PATIENCE: Duration = Duration::from_secs(30);

fn topology(servers: &str) -> Topology {
    let text = include_str!("../../../topologies/wedsync.yaml");
    let variables = |name: &str| (name == "WEDCACHE_KAFKA").then(|| servers.to_owned());
    let loaded = topology::read("wedsync.yaml", text, Variables::From(&variables));
    loaded.unwrap().topology
}

/// A broker with topics, and a producer to it.
struct Cluster {
    broker: Broker,
    topology: Topology,
    output: Output,
}

/// A record as it came, and why it is a dead letter.
#[derive(Clone, Copy)]
struct Bad<'a> {
    reason: &'a str,
    topic: &'a str,
    partition: i32,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a [(&'a str, Option<&'a [u8]>)],
}

const BAD: Bad<'_> = Bad {
    reason: "unreadable_json",
    topic: QUERIES,
    partition: 2,
    key: Some(b"k"),
    value: Some(b"{oops"),
    headers: &[],
};

impl Cluster {
    async fn new() -> Self {
        let options = BrokerOptions {
            auto_create_topics: false,
            ..BrokerOptions::default()
        };
        let broker = Broker::start(options).await.unwrap();
        for (topic, partitions) in [(QUERIES, 4), (VENDORS, 2), (DEAD, 3), ("elsewhere", 1)] {
            broker.create_topic(topic, partitions, &[]).unwrap();
        }
        let client = ClientOptions::new(broker.bootstrap(), "test");
        Self {
            topology: topology(&broker.bootstrap()),
            output: Output::new(&OutputOptions::new(client)).unwrap(),
            broker,
        }
    }

    /// Dead-letters a record to a partition.
    async fn bury(&self, partition: i32, bad: &Bad<'_>) {
        let place = Coordinates {
            topic: bad.topic.into(),
            partition: bad.partition,
            offset: 41,
            timestamp: Timestamp(1),
        };
        let letter = DeadLetter {
            reason: bad.reason,
            detail: "as the test says",
            place: &place,
        };
        let owned = headers(bad.headers.iter().copied(), &letter, TraceParent::fresh());
        let headers: Vec<_> = owned
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
            .collect();
        self.append(DEAD, partition, bad, &headers).await;
    }

    async fn append(
        &self,
        topic: &str,
        partition: i32,
        bad: &Bad<'_>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        let record = OutRecord {
            partition: Some(partition),
            headers,
            ..OutRecord::to(topic, bad.key, bad.value)
        };
        let deadline = Instant::now() + PATIENCE;
        self.output.append(&record, deadline).await.unwrap();
    }

    async fn list(&self, filter: &Filter, show: Show) -> String {
        let (_, letters) = open(&self.topology, filter).await.unwrap();
        let (code, out) = on_screen(async |screen| list(&letters, show, screen).await).await;
        assert_eq!(code.unwrap(), 0);
        out
    }

    async fn replay(&self, filter: &Filter, wanted: &Wanted) -> (anyhow::Result<u8>, String) {
        self.replay_if(filter, wanted, &mut |_| Ok(true)).await
    }

    async fn replay_if(
        &self,
        filter: &Filter,
        wanted: &Wanted,
        confirm: &mut dyn FnMut(usize) -> anyhow::Result<bool>,
    ) -> (anyhow::Result<u8>, String) {
        let (admin, letters) = open(&self.topology, filter).await.unwrap();
        let partitions = admin.topics().await.unwrap();
        on_screen(async |screen| replay(&letters, &partitions, wanted, confirm, screen).await).await
    }

    /// All records of a topic, read as if it were the dead letters'.
    async fn records(&self, topic: &str) -> Vec<Letter> {
        let client = ClientOptions::new(self.broker.bootstrap(), "records");
        let admin = Admin::new(&client, PATIENCE).unwrap();
        let spans = Span::all(&admin.ends(topic).await.unwrap());
        let mut reading = Reading::new(client, topic, spans);
        let mut records = Vec::new();
        while let Some((partition, record)) = reading.next().await.unwrap() {
            records.push(Letter { partition, record });
        }
        records
    }
}

async fn on_screen(
    run: impl AsyncFnOnce(&mut Screen<'_>) -> anyhow::Result<u8>,
) -> (anyhow::Result<u8>, String) {
    let mut out = Vec::new();
    let mut screen = Screen {
        out: &mut out,
        look: Look {
            unicode: true,
            colour: false,
        },
        width: 100,
    };
    let code = run(&mut screen).await;
    (code, String::from_utf8_lossy(&out).into_owned())
}

fn only(reason: &str) -> Filter {
    Filter {
        reason: vec![reason.to_owned()],
        ..Filter::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_of_all_partitions_are_listed_and_filtered() {
    let cluster = Cluster::new().await;
    assert_eq!(
        cluster.list(&Filter::default(), Show::Text).await,
        format!("0 dead letters in {DEAD}\n")
    );
    cluster.bury(0, &BAD).await;
    let large = Bad {
        reason: "too_large",
        topic: VENDORS,
        value: Some(b"\x00\x00\x01\xff"),
        ..BAD
    };
    cluster.bury(2, &large).await;
    cluster.bury(2, &BAD).await;
    let out = cluster.list(&Filter::default(), Show::Text).await;
    let heads: Vec<_> = out.lines().filter(|line| !line.starts_with(' ')).collect();
    assert!(heads[0].starts_with("0:0  unreadable_json  wedsync.ai.queries[2]@41  key k  5 bytes"));
    assert!(
        heads[1].starts_with("2:0  too_large  wedsync.vendor.changes[2]@41  "),
        "{out}"
    );
    assert!(heads[2].starts_with("2:1  unreadable_json  "), "{out}");
    let tally = "3 dead letters (2 unreadable_json, 1 too_large) in wedsync.cache.dead-letters";
    assert_eq!(heads[3..], [tally]);
    assert!(out.contains(r"    \0\0\u{1}\xff"), "{out}");

    let raw = cluster.list(&only("unreadable_json"), Show::Raw).await;
    assert_eq!(raw, "{oops\n{oops");
    let json = cluster.list(&only("too_large"), Show::Json).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["valueHex"], "000001ff");
    let newest = Filter {
        limit: Some(1),
        ..Filter::default()
    };
    let out = cluster.list(&newest, Show::Text).await;
    assert!(out.starts_with("2:1  unreadable_json"), "{out}");
    assert!(
        out.ends_with(" in wedsync.cache.dead-letters; the newest 1 are shown\n"),
        "{out}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_sends_the_record_as_it_came_to_where_it_came_from() {
    let cluster = Cluster::new().await;
    let trace: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let original: &[(&str, Option<&[u8]>)] = &[
        ("tenant", Some(b"\xffa")),
        ("traceparent", Some(trace)),
        ("none", None),
        ("empty", Some(b"")),
        ("tenant", Some(b"b")),
    ];
    let bads = [
        Bad {
            value: Some(b"\x00\xfe\x00"),
            headers: original,
            ..BAD
        },
        Bad {
            key: None,
            value: Some(b""),
            partition: 3,
            ..BAD
        },
    ];
    cluster.bury(1, &bads[0]).await;
    cluster.bury(0, &bads[1]).await;
    let (code, out) = cluster.replay(&Filter::default(), &Wanted::default()).await;
    assert_eq!(code.unwrap(), 0, "{out}");
    let want = "to wedsync.ai.queries: 2 dead letters (2 unreadable_json)\n\
                2 records sent and acknowledged\n";
    assert_eq!(out, want);
    let records = cluster.records(QUERIES).await;
    assert_eq!(records.len(), 2);
    for (record, bad) in records.iter().zip(bads) {
        assert_eq!(record.partition, bad.partition);
        assert_eq!(record.record.key.as_deref(), bad.key);
        assert_eq!(record.record.value.as_deref(), bad.value);
        assert!(
            record
                .record
                .headers
                .iter()
                .all(|(name, _)| !name.starts_with("wedcache."))
        );
    }
    assert_eq!(records[0].original_headers(), original);
    // The letters stay.
    assert_eq!(cluster.records(DEAD).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_and_a_no_send_nothing() {
    let cluster = Cluster::new().await;
    cluster.bury(0, &BAD).await;
    let dry = Wanted {
        dry_run: true,
        ..Wanted::default()
    };
    let (code, out) = cluster.replay(&Filter::default(), &dry).await;
    assert_eq!(code.unwrap(), 0);
    assert!(
        out.starts_with("to wedsync.ai.queries: 1 dead letter (1 "),
        "{out}"
    );
    let mut asked = Vec::new();
    let (code, _) = cluster
        .replay_if(&Filter::default(), &Wanted::default(), &mut |count| {
            asked.push(count);
            Ok(false)
        })
        .await;
    assert_eq!((code.unwrap(), asked), (1, vec![1]));
    assert_eq!(cluster.records(QUERIES).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_filter_and_the_limit_mean_is_sent() {
    let cluster = Cluster::new().await;
    for (partition, value) in [(0, b"a"), (1, b"b"), (2, b"c")] {
        let bad = Bad {
            value: Some(value),
            ..BAD
        };
        cluster.bury(partition, &bad).await;
        let other = Bad {
            reason: "too_large",
            ..bad
        };
        cluster.bury(partition, &other).await;
    }
    let newest = Filter {
        at: ["0:0", "1:0", "2:0"].map(|at| at.parse().unwrap()).into(),
        limit: Some(2),
        ..Filter::default()
    };
    let (code, out) = cluster.replay(&newest, &Wanted::default()).await;
    assert_eq!(code.unwrap(), 0, "{out}");
    let values: Vec<_> = cluster.records(QUERIES).await;
    let values: Vec<_> = values
        .iter()
        .filter_map(|r| r.record.value.as_deref())
        .collect();
    assert_eq!(values, [b"b", b"c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_from_nowhere_known_goes_nowhere_but_where_it_is_told_to() {
    let cluster = Cluster::new().await;
    let log = Bad {
        topic: "wedsync.cache.invalidations",
        ..BAD
    };
    cluster.bury(0, &log).await;
    let gone = Bad {
        topic: "wedsync.wedding.updates",
        ..BAD
    };
    cluster.bury(0, &gone).await;
    cluster.append(DEAD, 1, &BAD, &[]).await;
    let (code, out) = cluster.replay(&Filter::default(), &Wanted::default()).await;
    assert_eq!(code.unwrap(), 0, "{out}");
    for told in [
        "from wedsync.cache.invalidations, which is no input of this topology",
        "from wedsync.wedding.updates, which does not exist any more",
        "1 dead letter (1 unknown), without the name of the topic",
        "nothing to send\n",
    ] {
        assert!(out.contains(told), "{out}");
    }
    let to = |topic: &str| Wanted {
        to: Some(topic.to_owned()),
        ..Wanted::default()
    };
    for refused in ["nowhere", DEAD] {
        let (code, _) = cluster.replay(&Filter::default(), &to(refused)).await;
        assert!(code.is_err(), "{refused}");
    }
    let (code, out) = cluster.replay(&Filter::default(), &to("elsewhere")).await;
    assert_eq!(code.unwrap(), 0, "{out}");
    assert_eq!(cluster.records("elsewhere").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_its_topic_refuses_is_told_and_the_others_are_sent() {
    let cluster = Cluster::new().await;
    let large = vec![b'x'; 2 << 20];
    let dead = [("max.message.bytes", "8000000")];
    cluster.broker.delete_topic(DEAD).unwrap();
    cluster.broker.create_topic(DEAD, 1, &dead).unwrap();
    let client = ClientOptions::new(cluster.broker.bootstrap(), "large");
    let output = Output::new(&OutputOptions {
        max_record_bytes: 8_000_000,
        ..OutputOptions::new(client)
    });
    let cluster = Cluster {
        output: output.unwrap(),
        ..cluster
    };
    // Of one letter each that lz4 cannot make small.
    let noise: Vec<u8> = large.iter().map(|_| fastrand::u8(..)).collect();
    let bad = Bad {
        reason: "too_large",
        value: Some(&noise),
        ..BAD
    };
    cluster.bury(0, &bad).await;
    cluster.bury(0, &BAD).await;
    let (code, out) = cluster.replay(&Filter::default(), &Wanted::default()).await;
    assert_eq!(code.unwrap(), 1, "{out}");
    assert!(
        out.contains("1 record sent and acknowledged\n1 record failed:\n    0:0: "),
        "{out}"
    );
    assert_eq!(cluster.records(QUERIES).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_and_a_topic_that_are_away_are_named() {
    let cluster = Cluster::new().await;
    cluster.broker.delete_topic(DEAD).unwrap();
    let filter = Filter::default();
    let error = open(&cluster.topology, &filter)
        .await
        .map(drop)
        .unwrap_err();
    assert!(
        error.to_string().contains("wedcache topics apply"),
        "{error}"
    );
    let servers = cluster.broker.bootstrap();
    cluster.broker.shutdown().await;
    let error = open(&topology(&servers), &filter)
        .await
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains(&servers), "{error}");
}
