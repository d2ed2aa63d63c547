use std::borrow::Cow;
use std::time::{Duration, Instant};

use super::*;
use crate::broker::{Broker, BrokerOptions};
use crate::codec::log::encode_invalidation;
use crate::codec::{Encoder, Framing, Framings};
use crate::kafka::ClientOptions;
use crate::kafka::producer::{Compression, OutRecord, Output, OutputOptions};
use crate::model::invalidation::Cause;
use crate::model::{Freshness, Mode, Source, Status, TagInvalidation};
use crate::topology::{self, Variables};

const ANSWERS: &str = "wedsync.ai.responses";
const LOG: &str = "wedsync.cache.invalidations";
const TAG: &str = "venue|vendor=v-1";

struct Cluster {
    broker: Broker,
    topology: Topology,
    output: Output,
}

impl Cluster {
    async fn new() -> Self {
        let broker = Broker::start(BrokerOptions::default()).await.unwrap();
        broker.create_topic(ANSWERS, 2, &[]).unwrap();
        let compacted = [("cleanup.policy", "compact")];
        broker.create_topic(LOG, 1, &compacted).unwrap();
        let servers = broker.bootstrap();
        let text = include_str!("../../../topologies/wedsync.yaml");
        let variables = |name: &str| (name == "WEDCACHE_KAFKA").then(|| servers.clone());
        let loaded = topology::read("wedsync.yaml", text, Variables::From(&variables));
        let client = ClientOptions::new(servers.clone(), "test");
        // The embedded broker compacts only batches that are not compressed.
        let options = OutputOptions {
            compression: Compression::None,
            ..OutputOptions::new(client)
        };
        Self {
            topology: loaded.unwrap().topology,
            output: Output::new(&options).unwrap(),
            broker,
        }
    }

    async fn append(&self, topic: &str, partition: i32, key: &str, value: Option<&[u8]>) {
        let record = OutRecord {
            partition: Some(partition),
            ..OutRecord::to(topic, Some(key.as_bytes()), value)
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        self.output.append(&record, deadline).await.unwrap();
    }

    async fn invalidate(&self, mode: Mode, tag: &str) {
        let record = TagInvalidation {
            tag: tag.to_owned(),
            mode,
            rule: "test".to_owned(),
            cause: Cause {
                topic: "t".to_owned(),
                partition: 0,
                offset: 0,
                event_id: None,
            },
            part: 1,
            parts: 1,
            at: Timestamp(0),
        };
        let value = encode_invalidation(&record);
        self.append(LOG, 0, &record.record_key(), Some(&value))
            .await;
    }

    /// Appends an answer with the tag, in the given format.
    async fn answer(&self, id: &str, framing: Framing, (stamp, view): (i64, i64)) {
        let answer = AiAnswer {
            answer_id: Cow::Borrowed(id),
            query_id: Cow::Borrowed(id),
            status: Status::Answered,
            data: Some(Cow::Borrowed("Ask v-1")),
            source: Source::Cache,
            layer: None,
            freshness: Some(Freshness::Fresh),
            stale_reason: None,
            coalesced: false,
            cached_at: None,
            age_secs: None,
            cache_type: Cow::Borrowed("venue"),
            cache_key: Cow::Borrowed("venue:…"),
            stamp: Some(Position(stamp)),
            view: Some(Position(view)),
            tags: vec![Cow::Borrowed(TAG)],
            model: None,
            prompt_tokens: None,
            completion_tokens: None,
            cost_usd: None,
            saved_usd: None,
            simulated: false,
            error: None,
            answered_at: Timestamp(0),
        };
        let framings = Framings {
            answers: framing,
            ..Framings::default()
        };
        let mut value = Vec::new();
        Encoder::new(framings).encode_answer(&answer, None, &mut value);
        self.append(ANSWERS, 1, id, Some(&value)).await;
    }

    async fn check(&self) -> (u8, String) {
        let report = check(&self.topology, None).await.unwrap();
        (report.exit_code(), report.to_string())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_answer_is_named_in_whichever_format_it_was_written() {
    let cluster = Cluster::new().await;
    cluster.invalidate(Mode::Purge, "venue|vendor=v-2").await;
    cluster.invalidate(Mode::Purge, TAG).await;
    for framing in [Framing::Json, Framing::SingleObject] {
        cluster.answer("before", framing, (0, 1)).await;
        cluster.answer("after", framing, (2, 2)).await;
    }
    let (code, out) = cluster.check().await;
    assert_eq!(code, 0, "{out}");
    assert!(out.starts_with("4 answers of"), "{out}");
    cluster.answer("old-json", Framing::Json, (1, 2)).await;
    cluster
        .answer("old-avro", Framing::SingleObject, (0, 2))
        .await;
    let (code, out) = cluster.check().await;
    assert_eq!(code, 1, "{out}");
    for line in [
        "FORBIDDEN: 2 of 6 answers:",
        "wedsync.ai.responses[1]@4 old-json: fresh as of 2 with stamp 1, but record 1 is a purge",
        "wedsync.ai.responses[1]@5 old-avro: fresh as of 2 with stamp 0, but record 1 is a purge",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    cluster.broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_compaction_may_have_hidden_and_what_cannot_be_read_is_said_aloud() {
    let cluster = Cluster::new().await;
    for _ in 0..2 {
        cluster.invalidate(Mode::Purge, TAG).await;
    }
    cluster.answer("old", Framing::Json, (0, 1)).await;
    assert_eq!(cluster.check().await.0, 1);
    assert_eq!(cluster.broker.compact(LOG).unwrap(), 1);
    cluster.append(ANSWERS, 0, "k", Some(b"{oops")).await;
    let framing = Framing::Confluent { schema_id: 7 };
    cluster.answer("framed", framing, (0, 0)).await;
    let (code, out) = cluster.check().await;
    assert_eq!(code, 2, "{out}");
    for line in [
        "NOT JUDGED: 3 of 3 answers; they may have been forbidden:",
        "old: offset 0 of [0, 1) was compacted away",
        "schema 7, and no registry is set",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    cluster.broker.shutdown().await;
}
