use std::collections::BTreeMap;

use super::*;
use crate::codec::Schemas;
use crate::invalidation::log::ReaderEvent;
use crate::kafka::testing::{Cluster, PATIENCE, eventually};
use crate::kafka::{
    Delivery, Handler, InRecord, Intake, IntakeOptions, OutRecord, Output, PartitionReader,
    ReaderOptions, Ticket,
};
use crate::model::Timestamp;
use crate::pipeline::testing::{ANSWERS, outputs};

const QUERIES: &str = "queries";

/// An answer with so many bytes of data that do not compress.
fn answer(query_id: &str, bytes: usize) -> AiAnswer<'static> {
    let mut letters = fastrand::Rng::with_seed(7);
    let data: String = (0..bytes).map(|_| letters.alphanumeric()).collect();
    AiAnswer {
        answer_id: "a".into(),
        query_id: query_id.to_owned().into(),
        status: Status::Answered,
        data: Some(data.into()),
        source: Source::Ai,
        layer: None,
        freshness: None,
        stale_reason: None,
        coalesced: false,
        cached_at: None,
        age_secs: None,
        cache_type: "m".into(),
        cache_key: "m:TX".into(),
        stamp: None,
        view: None,
        tags: vec!["m|global".into()],
        model: None,
        prompt_tokens: Some(3),
        completion_tokens: Some(4),
        cost_usd: Some(0.5),
        saved_usd: Some(0.0),
        simulated: false,
        error: None,
        answered_at: Timestamp(0),
    }
}

/// Answers every query with as many bytes as its value says.
struct Answering(Outputs);

impl Handler for Answering {
    fn record(&mut self, record: &InRecord<'_>, ticket: Ticket) {
        let bytes = std::str::from_utf8(record.value().unwrap()).unwrap();
        let answer = answer(&record.offset().to_string(), bytes.parse().unwrap());
        let value = serde_json::to_vec(&answer).unwrap();
        let record = OutRecord::to(ANSWERS, Some(b"k"), Some(&value));
        self.0
            .answers
            .send(&record, Delivery::Finish(ticket))
            .unwrap();
    }
}

/// The status of each answer in the topic, by its query.
fn answers(cluster: &Cluster) -> BTreeMap<String, (Status, Option<f64>)> {
    let (sender, events) = std::sync::mpsc::channel();
    let options = ReaderOptions::new(cluster.client("read"), ANSWERS);
    let follow = move |events| {
        sender.send(events).ok();
    };
    let _reader = PartitionReader::spawn(options, follow).unwrap();
    let mut found = BTreeMap::new();
    loop {
        for event in events.recv_timeout(PATIENCE).unwrap() {
            match event {
                ReaderEvent::Record(record) => {
                    let value = record.value.unwrap();
                    let answer: AiAnswer = serde_json::from_slice(&value).unwrap();
                    found.insert(
                        answer.query_id.to_string(),
                        (answer.status, answer.cost_usd),
                    );
                }
                ReaderEvent::CaughtUp { .. } => return found,
                _ => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_its_batch_made_too_large_arrives_and_what_is_too_large_alone_fails() {
    let cluster = Cluster::new(&[(QUERIES, 1)]).await;
    let limit = [("max.message.bytes", "4000")];
    cluster.0.create_topic(ANSWERS, 1, &limit).unwrap();
    let outputs = outputs(&cluster);
    for bytes in ["2000", "2000", "2000", "9000", "2000"] {
        let record = OutRecord::to(QUERIES, None, Some(bytes.as_bytes()));
        let deadline = Instant::now() + PATIENCE;
        cluster.output().append(&record, deadline).await.unwrap();
    }
    let stop = CancellationToken::new();
    let redelivery = Redelivery {
        outputs: outputs.clone(),
        decoder: Decoder::new(Arc::new(Schemas::embedded()), usize::MAX),
        registry: None,
    };
    let running = tokio::spawn(redelivery.run(stop.clone()));
    let options = IntakeOptions::new(cluster.client("in"), "g", vec![QUERIES.to_owned()]);
    let intake = Intake::spawn(&options, Answering(outputs)).unwrap();
    eventually("all is committed", || {
        cluster.committed("g", QUERIES) == Some(5)
    });
    let found = answers(&cluster);
    let statuses: Vec<_> = found.values().map(|(status, _)| *status).collect();
    let good = Status::Answered;
    assert_eq!(statuses, [good, good, good, Status::Failed, good]);
    assert_eq!(found["3"].1, Some(0.5), "the call was paid for");
    assert!(intake.shutdown(Instant::now() + PATIENCE).await);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_topic_refuses_queries_wait_and_alarm_nobody() {
    let cluster = Cluster::new(&[(QUERIES, 1)]).await;
    // Not even a failed answer fits.
    let limit = [("max.message.bytes", "100")];
    cluster.0.create_topic(ANSWERS, 1, &limit).unwrap();
    let outputs = outputs(&cluster);
    let record = OutRecord::to(QUERIES, None, Some(b"10"));
    let deadline = Instant::now() + PATIENCE;
    cluster.output().append(&record, deadline).await.unwrap();
    let stop = CancellationToken::new();
    let redelivery = Redelivery {
        outputs: outputs.clone(),
        decoder: Decoder::new(Arc::new(Schemas::embedded()), usize::MAX),
        registry: None,
    };
    let running = tokio::spawn(redelivery.run(stop.clone()));
    let options = IntakeOptions::new(cluster.client("in"), "g", vec![QUERIES.to_owned()]);
    let intake = Intake::spawn(&options, Answering(outputs.clone())).unwrap();
    let failed = |output: &Output| {
        output
            .counters()
            .failed
            .load(std::sync::atomic::Ordering::Relaxed)
    };
    eventually("it was sent again", || failed(&outputs.single) >= 2);
    assert_eq!(intake.stats().oldest_unfinished, None);
    assert_eq!(intake.unfinished(), 1);
    // The topic is put right.
    cluster.0.delete_topic(ANSWERS).unwrap();
    cluster.0.create_topic(ANSWERS, 1, &[]).unwrap();
    eventually("it is committed", || {
        cluster.committed("g", QUERIES) == Some(1)
    });
    assert_eq!(intake.unfinished(), 0);
    stop.cancel();
    running.await.unwrap();
}
