use std::future::Future;

use serde_json::Value;

use super::*;
use crate::app::client;
use crate::invalidation::log::ReaderEvent;
use crate::kafka::{Delivery, OutRecord, Output, OutputOptions, ReaderOptions};
use crate::topology::{self, Variables};

/// The longest that anything may take before a test fails.
const PATIENCE: Duration = Duration::from_mins(1);

async fn start(folder: &std::path::Path, rate: u32) -> (Demo, Topology) {
    let broker = broker("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (bootstrap, data) = (broker.bootstrap(), folder.display().to_string());
    let variables = |name: &str| match name {
        "WEDCACHE_KAFKA" => Some(bootstrap.clone()),
        "WEDCACHE_DATA" => Some(data.clone()),
        "WEDCACHE_LISTEN" => Some("127.0.0.1:0".to_owned()),
        _ => None,
    };
    let read = || {
        let text = include_str!("../../topologies/demo.yaml");
        let loaded = topology::read("demo.yaml", text, Variables::From(&variables));
        loaded.unwrap().topology
    };
    let script = Script {
        season: Season::new(1),
        rate,
    };
    let stop = CancellationToken::new();
    let demo = Demo::start(broker, read(), script, &stop).await.unwrap();
    (demo, read())
}

/// Waits until the condition holds, which is checked every 10 ms.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let waits: std::pin::Pin<Box<dyn Future<Output = ()>>> = Box::pin(async {
        let mut looks = tokio::time::interval(Duration::from_millis(10));
        while !holds() {
            looks.tick().await;
        }
    });
    let waited = tokio::time::timeout(PATIENCE, waits).await;
    assert!(waited.is_ok(), "{what}");
}

/// Closes a vendor with a client that is not the demo's; returns the client.
fn closes(topology: &Topology, vendor: &str) -> Output {
    let options = OutputOptions::new(client(&topology.deployment.kafka).named("stranger"));
    let output = Output::new(&options).unwrap();
    let event = format!(
        r#"{{"eventId":"e-1","vendorId":"{vendor}","vendorType":"florist","change":"closed",
        "location":{{"city":"Miami","state":"FL"}}}}"#
    );
    let topic = &topology.deployment.topics.vendor_changes.name;
    let record = OutRecord::to(topic, Some(vendor.as_bytes()), Some(event.as_bytes()));
    output
        .send(&record, Delivery::Forget)
        .map_err(|of| of.reason)
        .unwrap();
    output
}

/// Returns all answers in their topic, read by a client that shares nothing with the demo's.
fn answers(topology: &Topology) -> (Vec<PartitionReader>, Arc<parking_lot::Mutex<Vec<Value>>>) {
    let topic = &topology.deployment.topics.answers;
    let found = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let reader = |partition| {
        let found = Arc::clone(&found);
        let client = client(&topology.deployment.kafka).named("stranger-reads");
        let options = ReaderOptions {
            partition,
            ..ReaderOptions::new(client, topic.name.to_string())
        };
        let follow = move |events: Vec<ReaderEvent>| {
            for event in events {
                if let ReaderEvent::Record(record) = event {
                    let value = serde_json::from_slice(&record.value.unwrap()).unwrap();
                    found.lock().push(value);
                }
            }
        };
        PartitionReader::spawn(options, follow).unwrap()
    };
    (
        (0..i32::from(topic.partitions)).map(reader).collect(),
        found,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_somebody_closes_is_in_no_answer_that_is_judged_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let (demo, topology) = start(folder.path(), 300).await;
    let (readers, found) = answers(&topology);
    let names_florist = |of: &Value| {
        of["data"]
            .as_str()
            .is_some_and(|text| text.contains("v-3 "))
    };
    until("answers name the florist", || {
        found.lock().iter().filter(|of| names_florist(of)).count() >= 10
    })
    .await;
    let stranger = closes(&topology, "v-3");

    let closing = || {
        let seen = demo.watch().look();
        let told = |of: &&Effect| of.is_of_a_stranger() && of.sentence().is_some();
        seen.changes.effects().find(told).cloned()
    };
    until("answers were forbidden, and asked for again", || {
        closing().is_some_and(|of| of.asked_again >= 3)
    })
    .await;
    let effect = closing().unwrap();
    let sentence = effect.sentence().unwrap();
    assert!(sentence.starts_with("v-3 closed → "), "{sentence}");
    assert!(
        effect.forbidden >= effect.asked_again && effect.named_after == 0,
        "{sentence}"
    );

    // The same holds for another reader: no fresh answer that was judged after the closing names
    // the vendor.
    let last = effect.last_offset.unwrap();
    let is_after = |of: &Value| of["view"].as_i64().is_some_and(|view| view > last);
    until("many were judged after the closing", || {
        found.lock().iter().filter(|of| is_after(of)).count() >= 400
    })
    .await;
    let named: Vec<Value> = found
        .lock()
        .iter()
        .filter(|of| is_after(of) && of["freshness"] == "fresh" && names_florist(of))
        .cloned()
        .collect();
    assert!(named.is_empty(), "{named:#?}");
    assert_eq!(demo.watch().look().changes.wrong, 0);
    drop((stranger, readers));
    demo.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_can_be_closed_from_the_panel() {
    let folder = tempfile::tempdir().unwrap();
    let (demo, _) = start(folder.path(), 100).await;
    let most_named = || demo.watch().look().changes.most_named().map(str::to_owned);
    until("a vendor is named", || most_named().is_some()).await;
    demo.close_most_named();
    until("it closes", || {
        let seen = demo.watch().look();
        seen.changes
            .effects()
            .any(|of| of.is_closing() && of.sentence().is_some())
    })
    .await;
    assert!(!demo.is_over());
    demo.end().await.unwrap();
}
