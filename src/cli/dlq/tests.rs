use super::*;
use crate::broker::{Broker, BrokerOptions, Damage};
use crate::codec::LogRecord;
use crate::kafka::dead_letters::{DeadLetterOrigin, Field, headers};
use crate::kafka::producer::{OutRecord, Output, OutputOptions};
use crate::model::{Coordinates, Mode, TraceParent};
use crate::topology::{self, Look, Variables};
use std::time::{Duration, Instant};

const QUERIES: &str = "wedsync.ai.queries";
const VENDORS: &str = "wedsync.vendor.changes";
const LOG: &str = "wedsync.cache.invalidations";
const DEAD: &str = "wedsync.cache.dead-letters";
const PATIENCE: Duration = Duration::from_secs(30);

fn topology(servers: &str) -> Topology {
    let text = include_str!("../../../topologies/wedsync.yaml");
    let variables = |name: &str| (name == "WEDCACHE_KAFKA").then(|| servers.to_owned());
    let loaded = topology::read("wedsync.yaml", text, Variables::From(&variables));
    loaded.unwrap().topology
}

/// A broker with topics, and a producer for it.
struct Cluster {
    broker: Broker,
    topology: Topology,
    output: Output,
}

/// An original record, and the reason of its dead letter.
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
        for (topic, partitions) in [
            (QUERIES, 4),
            (VENDORS, 2),
            (DEAD, 3),
            (LOG, 1),
            ("elsewhere", 1),
        ] {
            broker.create_topic(topic, partitions, &[]).unwrap();
        }
        let client = ClientOptions::new(broker.bootstrap(), "test");
        Self {
            topology: topology(&broker.bootstrap()),
            output: Output::new(&OutputOptions::new(client)).unwrap(),
            broker,
        }
    }

    /// Writes the dead letter of a record to a partition of the dead-letter topic.
    async fn bury(&self, partition: i32, bad: &Bad<'_>) {
        let place = Coordinates {
            topic: bad.topic.into(),
            partition: bad.partition,
            offset: 41,
            timestamp: Timestamp(1),
        };
        let origin = DeadLetterOrigin {
            reason: bad.reason,
            detail: "as the test says",
            place: &place,
            offset_end: None,
        };
        let owned = headers(bad.headers.iter().copied(), &origin, TraceParent::fresh());
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
        confirm: Confirm<'_>,
    ) -> (anyhow::Result<u8>, String) {
        let (admin, letters) = open(&self.topology, filter).await.unwrap();
        let partitions = admin.topics().await.unwrap();
        on_screen(async |screen| replay(&letters, &partitions, wanted, confirm, screen).await).await
    }

    /// Returns all records of a topic, read like dead letters.
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
    // A replay does not remove the letters.
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
        .replay_if(&Filter::default(), &Wanted::default(), &mut |question| {
            asked.push(question.to_owned());
            Ok(false)
        })
        .await;
    assert_eq!((code.unwrap(), asked), (1, vec!["send 1?".to_owned()]));
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
    // Random bytes, since lz4 would make others small enough for the topic.
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

async fn skip(cluster: &Cluster, wanted: &super::skip::Wanted) -> (anyhow::Result<u8>, String) {
    on_screen(async |screen| {
        super::skip::skip(&cluster.topology, wanted, &mut |_| Ok(true), screen).await
    })
    .await
}

fn from(topic: &str, from: i64, to: Option<i64>) -> super::skip::Wanted {
    super::skip::Wanted {
        topic: topic.to_owned(),
        partition: 1,
        from,
        to,
        force: false,
        dry_run: false,
    }
}

/// Appends five batches of one record to a partition, and damages the second and the third.
async fn damaged(cluster: &Cluster, topic: &str, damage: Damage) {
    for _ in 0..5 {
        cluster.append(topic, 1, &BAD, &[]).await;
    }
    for offset in [1, 2] {
        assert!(cluster.broker.damage(topic, 1, offset, damage));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_changes_that_cannot_be_read_is_skipped() {
    let cluster = Cluster::new().await;
    damaged(&cluster, VENDORS, Damage::Codec).await;
    let (code, out) = skip(&cluster, &from(VENDORS, 1, None)).await;
    assert_eq!(code.unwrap(), 0, "{out}");
    let skipped = "wedsync.vendor.changes[1]: 2 offsets, from 1 to before 3";
    assert!(out.contains(skipped), "{out}");
    assert!(out.contains("no instance runs"), "{out}");
    let letters = cluster.records(DEAD).await;
    let [letter] = letters.as_slice() else {
        panic!("{letters:?}")
    };
    let fields = [
        Field::Reason,
        Field::Topic,
        Field::Partition,
        Field::Offset,
        Field::OffsetEnd,
    ];
    let said = fields.map(|field| letter.field(field).unwrap().into_owned());
    assert_eq!(said, ["undecodable_batch", VENDORS, "1", "1", "3"]);
    assert_eq!((&letter.record.key, &letter.record.value), (&None, &None));
    // The refreshes come before the skip record.
    let log: Vec<_> = cluster
        .records(LOG)
        .await
        .into_iter()
        .map(|of| LogRecord::decode(of.record.key.as_deref(), of.record.value.as_deref()))
        .collect();
    let (last, refreshes) = log.split_last().unwrap();
    assert!(
        matches!(last, LogRecord::Skip(skip) if (skip.from, skip.to, skip.partition) == (1, 3, 1) && skip.topic_id.is_some()),
        "{last:?}"
    );
    assert!(refreshes.len() > 2, "{refreshes:?}");
    for refresh in refreshes {
        let LogRecord::Invalidation(of) = refresh else {
            panic!("{refresh:?}")
        };
        assert_eq!((of.mode, of.cause.offset), (Mode::Refresh, 1));
    }
    // The letter of a range holds nothing to send again.
    let (code, out) = cluster.replay(&Filter::default(), &Wanted::default()).await;
    assert_eq!(code.unwrap(), 0);
    assert!(out.contains("a range that was skipped"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_with_wrong_checksums_are_skipped_without_refreshes() {
    let cluster = Cluster::new().await;
    damaged(&cluster, QUERIES, Damage::Bytes).await;
    let (code, out) = skip(&cluster, &from(QUERIES, 1, Some(3))).await;
    assert_eq!(code.unwrap(), 0, "{out}");
    assert_eq!(cluster.records(LOG).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_to_be_skipped_is_refused_with_the_reason() {
    let cluster = Cluster::new().await;
    damaged(&cluster, QUERIES, Damage::Codec).await;
    for (wanted, want) in [
        (from(QUERIES, 0, None), "the record at offset 0 can be read"),
        (
            from(QUERIES, 1, Some(4)),
            "the record at offset 3 can be read",
        ),
        (
            from(QUERIES, 5, None),
            "wedsync.ai.queries[1] ends at offset 5",
        ),
        (
            from(QUERIES, 1, Some(6)),
            "wedsync.ai.queries[1] ends at offset 5",
        ),
        (
            from(QUERIES, 1, Some(1)),
            "the end of the range is one past its last offset, so above 1",
        ),
        (
            from(LOG, 0, None),
            "wedsync.cache.invalidations is the invalidation log",
        ),
        (
            from(DEAD, 0, None),
            "wedsync.cache.dead-letters is no input of this topology",
        ),
        (
            super::skip::Wanted {
                partition: 9,
                ..from(QUERIES, 1, None)
            },
            "wedsync.ai.queries has no partition 9: it has 4",
        ),
        (
            super::skip::Wanted {
                force: true,
                ..from(QUERIES, 1, None)
            },
            "--force needs the end of the range, not `auto`",
        ),
    ] {
        let (code, _) = skip(&cluster, &wanted).await;
        let why = code.unwrap_err().to_string();
        assert!(why.starts_with(want), "{why}");
    }
    let dry = super::skip::Wanted {
        dry_run: true,
        ..from(QUERIES, 1, None)
    };
    assert_eq!(skip(&cluster, &dry).await.0.unwrap(), 0);
    assert_eq!(
        (cluster.records(DEAD).await, cluster.records(LOG).await),
        (vec![], vec![])
    );
    let forced = super::skip::Wanted {
        force: true,
        ..from(QUERIES, 0, Some(4))
    };
    assert_eq!(skip(&cluster, &forced).await.0.unwrap(), 0);
    assert_eq!(cluster.records(LOG).await.len(), 1);
}
