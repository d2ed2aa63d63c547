//! The stream end to end: records in through a Kafka client, answers and metrics out.

use serde_json::{Value, json};
use wedcache::topology::settings::Role;

use super::support::{Output, Place};

fn query(id: &str, content: &str, wedding: &str) -> Value {
    json!({
        "queryId": id,
        "query": {"type": "vendor_matching", "content": content, "vendorTypes": ["florist"],
                  "vendorIds": ["v-17"], "userId": format!("u-{wedding}")},
        "weddingContext": {"weddingId": wedding,
            "location": {"city": "Austin", "state": "TX", "country": "US"},
            "weddingDate": "2027-06-12", "budgetRange": "moderate", "weddingStyle": "rustic",
            "guestCount": 120}
    })
}

fn closed(vendor: &str) -> Value {
    json!({"eventId": "e-1", "vendorId": vendor, "vendorType": "florist", "change": "closed",
           "location": {"city": "Austin", "state": "TX", "country": "US"},
           "occurredAt": "2026-11-22T10:00:00Z"})
}

async fn miss_hit_purge_restart(place: Place) {
    let instance = place.start().await;
    let first = place.ask(&query("q-1", "Which florist fits?", "w-1")).await;
    assert_eq!(
        (&first["status"], &first["source"]),
        (&json!("answered"), &json!("ai")),
        "{first}"
    );
    assert_eq!(first["simulated"], true);
    let second = place
        .ask(&query("q-2", "  which FLORIST fits? ", "w-2"))
        .await;
    assert_eq!(
        (&second["source"], &second["layer"]),
        (&json!("cache"), &json!("memory"))
    );
    assert_eq!(
        second["data"], first["data"],
        "couples share a shared type's answer"
    );
    assert_eq!(second["freshness"], "fresh");

    place
        .change(Role::VendorChanges, "v-17", &closed("v-17"))
        .await;
    let third = place.ask(&query("q-3", "Which florist fits?", "w-1")).await;
    assert_eq!(third["source"], "ai", "the purged answer is gone: {third}");
    assert!(third["stamp"].as_i64() > first["stamp"].as_i64());

    let metrics = instance.metrics().await;
    assert!(
        metrics
            .contains("wedcache_queries_total{cache_type=\"vendor_matching\",outcome=\"hit\"} 1")
    );
    instance.stop().await;

    let instance = place.start().await;
    let after = place.ask(&query("q-4", "Which florist fits?", "w-3")).await;
    assert_eq!(after["source"], "cache", "kept over the restart: {after}");
    assert_ne!(after["layer"], "memory");
    assert_eq!(after["data"], third["data"], "and it is the newer one");
    instance.stop().await;

    // A purge during downtime: the next start judges by it before its first answer.
    place.produce(
        Role::VendorChanges,
        &[(Some(b"v-17"), Some(closed("v-17").to_string().as_bytes()))],
    );
    place.produce(
        Role::Queries,
        &[(
            None,
            Some(
                query("q-5", "Which florist fits?", "w-1")
                    .to_string()
                    .as_bytes(),
            ),
        )],
    );
    let instance = place.start().await;
    let fresh = place.answer("q-5").await;
    assert_eq!(fresh["source"], "ai", "{fresh}");
    instance.stop().await;

    let outcomes = place
        .read_until(Role::Metrics, |found| {
            found
                .iter()
                .filter(|m| m.json()["operation"] == "miss")
                .count()
                >= 3
        })
        .await;
    assert!(outcomes.iter().all(|metric| {
        !metric
            .value
            .as_deref()
            .is_some_and(|value| String::from_utf8_lossy(value).contains("w-1"))
    }));
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_bought_shared_purged_and_survives_a_restart() {
    miss_hit_purge_restart(Place::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_holds_on_apache_kafka_with_redis() {
    if let Some(place) = Place::real().await {
        miss_hit_purge_restart(place).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_records_are_dead_lettered_whole_and_null_ones_ignored() {
    let place = Place::embedded().await;
    let instance = place.start().await;
    let unknown_type = query("q", "x", "w")
        .to_string()
        .replace("vendor_matching", "nonsense");
    let large = vec![b' '; 2_000_000];
    let bad: [(&[u8], &str); 7] = [
        (b"{\"queryId\": ", "unreadable_json"),
        (b"[]", "unsupported_format"),
        (b"", "empty_value"),
        (b"{}", "missing_field"),
        (b"\xc3\x01\x00", "unreadable_avro"),
        (unknown_type.as_bytes(), "unknown_cache_type"),
        (&large, "too_large"),
    ];
    let records: Vec<_> = bad
        .iter()
        .map(|(value, _)| (Some(&b"key"[..]), Some(*value)))
        .collect();
    place.produce(Role::Queries, &records);
    place.produce(Role::Queries, &[(Some(b"key"), None)]);
    let good = place.ask(&query("q-1", "Still there?", "w-1")).await;
    assert_eq!(good["status"], "answered");
    let letters = place
        .read_until(Role::DeadLetters, |found| found.len() >= 7)
        .await;
    for (value, reason) in bad {
        let letter = letters
            .iter()
            .find(|letter| letter.value.as_deref() == Some(value))
            .unwrap_or_else(|| panic!("no letter for {reason}"));
        assert_eq!(letter.headers["wedcache.reason"], reason);
        assert_eq!(letter.key.as_deref(), Some(&b"key"[..]));
        assert!(letter.headers["wedcache.topic"].ends_with("wedsync.ai.queries"));
        assert!(letter.headers.contains_key("traceparent"));
    }
    let metrics = instance.metrics().await;
    assert!(metrics.contains("wedcache_records_total{input=\"queries\",result=\"null\"} 1"));
    instance.stop().await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_change_purges_by_its_key() {
    let place = Place::embedded().await;
    let instance = place.start().await;
    let first = place.ask(&query("q-1", "Which florist fits?", "w-1")).await;
    assert_eq!(first["source"], "ai");
    place.produce(Role::VendorChanges, &[(Some(b"v-17"), Some(b"{broken"))]);
    place
        .read_until(Role::DeadLetters, |found| !found.is_empty())
        .await;
    let second = place.ask(&query("q-2", "Which florist fits?", "w-1")).await;
    assert_eq!(second["source"], "ai", "{second}");
    instance.stop().await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn identical_misses_at_once_make_one_call() {
    let place = Place::embedded().await;
    let instance = place.start().await;
    let queries: Vec<String> = (0..200)
        .map(|n| query(&format!("q-{n}"), "One call?", &format!("w-{n}")).to_string())
        .collect();
    let records: Vec<_> = queries
        .iter()
        .map(|query| (None, Some(query.as_bytes())))
        .collect();
    place.produce(Role::Queries, &records);
    let answers = place
        .read_until(Role::Answers, |found| found.len() >= 200)
        .await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.json()["status"] == "answered")
    );
    let metrics = instance.metrics().await;
    assert!(
        metrics.contains("wedcache_provider_requests_total{provider=\"simulator\"} 1"),
        "{metrics}"
    );
    instance.stop().await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_is_held_back_survives_a_restart() {
    let refreshes = |found: &[Output]| {
        found
            .iter()
            .filter(|record| {
                record
                    .key
                    .as_deref()
                    .is_some_and(|key| key.starts_with(b"refresh:"))
            })
            .count()
    };
    let place = Place::embedded().await;
    let instance = place.start_with(|text| hourly(&text)).await;
    // Without a key only whole types can be refreshed. The first refresh is written, the second one
    // is held back.
    place.produce(Role::VendorChanges, &[(None, Some(b"{broken"))]);
    place
        .read_until(Role::DeadLetters, |found| !found.is_empty())
        .await;
    let once = refreshes(
        &place
            .read_until(Role::Invalidations, move |f| refreshes(f) > 0)
            .await,
    );
    place.produce(Role::VendorChanges, &[(None, Some(b"{broken, too"))]);
    place
        .read_until(Role::DeadLetters, |found| found.len() >= 2)
        .await;
    instance.stop().await;
    let instance = place.start_with(|text| hourly(&text)).await;
    place
        .read_until(Role::Invalidations, move |found| {
            refreshes(found) >= 2 * once
        })
        .await;
    instance.stop().await;
    place.end().await;
}

fn hourly(topology: &str) -> String {
    let line = topology
        .lines()
        .find(|line| line.contains("widen_refresh_interval"))
        .unwrap();
    topology.replace(line, "  widen_refresh_interval: 1h")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_signal_that_asks_for_an_end_drains() {
    let place = Place::embedded().await;
    for signal in ["INT", "TERM"] {
        let process = place.process().await;
        process.signal(signal);
        assert_eq!(process.ended().await, Some(0), "SIG{signal}");
    }
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_replaced_by_sighup_and_by_no_file_with_mistakes() {
    let place = Place::embedded().await;
    let process = place.process().await;
    let key =
        async |id: &str| place.ask(&query(id, "Which florist?", "w-1")).await["cacheKey"].clone();
    let old = key("before").await;
    place.write_topology(|text| {
        text.replacen(
            "instructions: >-\n",
            "instructions: >-\n        Be brief.\n",
            1,
        )
        .replace("version: 1\n", "version: 2\n")
    });
    process.signal("HUP");
    let replaced = async {
        let mut number = 0;
        loop {
            number += 1;
            let new = key(&format!("after-{number}")).await;
            if new != old {
                return new;
            }
        }
    };
    let new = tokio::time::timeout(std::time::Duration::from_mins(1), replaced)
        .await
        .unwrap();
    place.write_topology(|text| text.replace("version: 1\n", "version: one\n"));
    process.signal("HUP");
    assert_eq!(key("refused").await, new);
    process.signal("TERM");
    assert_eq!(process.ended().await, Some(0));
    place.end().await;
}
