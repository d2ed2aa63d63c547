//! Output records, and those of the invalidation log.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use serde_json::{Value, json};

use wedcache_model::invalidation::SkippedRange;

use wedcache_model::answer::AnswerError;
use wedcache_model::audit::AuditOutcome;
use wedcache_model::invalidation::{AlertState, CacheAlert, Cause, Severity};
use wedcache_model::{
    AiAnswer, AuditRecord, CacheMetric, LayerName, Mode, Operation, Progress, Source, StaleReason,
    Status, TagInvalidation, Timestamp, TopicId,
};

use super::{answer, single_object};
use crate::{Encoder, Framing, Framings, LogRecord, RecordKind, log};

/// Returns the value that Apache's library reads from the bytes by the schema of `kind`.
fn read_back(kind: RecordKind, bytes: &[u8]) -> Value {
    let schema = Schema::parse_str(kind.schema_text()).unwrap();
    let reader = GenericDatumReader::builder(&schema).build().unwrap();
    let mut rest = bytes;
    let value = reader.read_value(&mut rest).unwrap();
    assert!(rest.is_empty(), "{} bytes left", rest.len());
    Value::try_from(value).unwrap()
}

fn failure() -> AiAnswer<'static> {
    AiAnswer {
        status: Status::Failed,
        source: Source::None,
        data: None,
        layer: None,
        freshness: None,
        stale_reason: None,
        cached_at: None,
        age_secs: None,
        stamp: None,
        view: None,
        tags: Vec::new(),
        error: Some(AnswerError {
            code: "rate_limited".into(),
            message: "später".into(),
            retryable: true,
        }),
        ..answer()
    }
}

fn metric() -> CacheMetric<'static> {
    CacheMetric {
        metric_id: "m-1".into(),
        answer_id: None,
        operation: Operation::StaleHit,
        coalesced: true,
        cache_type: "vendor_matching".into(),
        layer: Some(LayerName::Redis),
        location: Some("Austin_TX".into()),
        season: None,
        budget: Some("moderate".into()),
        response_time_ms: Some(0.25),
        size_bytes: Some(u64::MAX),
        cost_usd: None,
        saved_usd: Some(-0.0),
        at: Timestamp(-1),
    }
}

#[test]
fn answers_say_in_json_what_the_contract_says() {
    let mut out = b"what was there".to_vec();
    Encoder::new(Framings::default()).encode_answer(&failure(), None, &mut out);
    let value: Value = serde_json::from_slice(&out).unwrap();
    let want = json!({"answerId": "a-1", "queryId": "q-81", "status": "failed", "data": null,
        "source": "none", "layer": null, "freshness": null, "staleReason": null,
        "coalesced": false, "cachedAt": null, "ageSecs": null, "cacheType": "vendor_matching",
        "cacheKey": "vendor_matching:Austin_TX:summer:moderate:00", "stamp": null, "view": null,
        "tags": [], "model": "m", "promptTokens": 0, "completionTokens": null, "costUsd": 0.0,
        "savedUsd": 0.0021, "simulated": true,
        "error": {"code": "rate_limited", "message": "später", "retryable": true},
        "answeredAt": "2026-11-22T10:00:00.000Z"});
    assert_eq!(value, want);
}

/// Checks that Apache's library reads the JSON form, with instants as numbers, from the Avro form.
#[track_caller]
fn same_in_avro(kind: RecordKind, encode: impl Fn(&Encoder, &mut Vec<u8>), instants: &[&str]) {
    let (mut json, mut single, mut frame) = (Vec::new(), Vec::new(), Vec::new());
    encode(&Encoder::new(Framings::default()), &mut json);
    let all = |framing| Framings {
        answers: framing,
        metrics: framing,
        alerts: framing,
        audit: framing,
    };
    encode(&Encoder::new(all(Framing::SingleObject)), &mut single);
    let confluent = all(Framing::Confluent {
        schema_id: 0x0102_0304,
    });
    encode(&Encoder::new(confluent), &mut frame);

    assert_eq!(single[..10], single_object(kind, b"")[..]);
    assert_eq!(frame[..5], [0, 1, 2, 3, 4]);
    assert_eq!(single[10..], frame[5..]);
    let mut want: Value = serde_json::from_slice(&json).unwrap();
    for name in instants {
        if let Some(text) = want[name].as_str() {
            want[name] = json!(Timestamp::parse(text).unwrap().0);
        }
    }
    assert_eq!(read_back(kind, &single[10..]), want);
}

#[test]
fn what_goes_out_is_the_same_in_all_formats() {
    for answer in [answer(), failure()] {
        same_in_avro(
            RecordKind::AiAnswer,
            |encoder, out| encoder.encode_answer(&answer, None, out),
            &["cachedAt", "answeredAt"],
        );
    }
    // A size above the largest Avro long becomes the largest long; JSON keeps it.
    let metric = CacheMetric {
        size_bytes: Some(i64::MAX.cast_unsigned()),
        ..metric()
    };
    same_in_avro(
        RecordKind::CacheMetric,
        |encoder, out| encoder.encode_metric(&metric, out),
        &["at"],
    );
    let alert = CacheAlert {
        alert: "hit_ratio_low".into(),
        state: AlertState::Firing,
        severity: Severity::Page,
        summary: "few hits".into(),
        value: Some(0.25),
        threshold: None,
        since: Timestamp(1_795_341_600_123),
        instance: Some("wedcache-0".into()),
        labels: [("partition".to_owned(), "3".to_owned())].into(),
    };
    same_in_avro(
        RecordKind::CacheAlert,
        |encoder, out| encoder.encode_alert(&alert, out),
        &["since"],
    );
    let audit = AuditRecord {
        actor: "ops".into(),
        action: "invalidate".into(),
        subject: "vendor_matching|global".into(),
        outcome: AuditOutcome::Denied,
        before: None,
        after: Some("{}".into()),
        request_id: Some("r-1".into()),
        at: Timestamp(1_795_341_600_123),
    };
    same_in_avro(
        RecordKind::AuditRecord,
        |encoder, out| encoder.encode_audit(&audit, out),
        &["at"],
    );
}

#[test]
fn the_names_on_the_wire_are_those_of_json_and_labels() {
    #[track_caller]
    fn check<T: serde::Serialize + Copy>(all: &[T], as_str: impl Fn(T) -> &'static str) {
        for of in all {
            assert_eq!(serde_json::to_value(of).unwrap(), as_str(*of));
        }
    }
    check(AlertState::ALL, AlertState::as_str);
    check(Severity::ALL, Severity::as_str);
    check(AuditOutcome::ALL, AuditOutcome::as_str);
    check(Operation::ALL, Operation::as_str);
    check(StaleReason::ALL, StaleReason::as_str);
}

fn invalidation() -> TagInvalidation {
    TagInvalidation {
        tag: "vendor_matching|vendor=v-17".into(),
        mode: Mode::Purge,
        rule: "vendor_price".into(),
        cause: Cause {
            topic: "wedsync.vendor.changes".into(),
            partition: 2,
            offset: 41,
            event_id: None,
        },
        part: 1,
        parts: 2,
        at: Timestamp(1_795_341_600_123),
    }
}

#[test]
fn the_logs_records_are_told_apart() {
    let progress = Progress {
        topic: "wedsync.vendor.changes".into(),
        topic_id: Some(TopicId(7)),
        partition: 2,
        next: 42,
        at: Timestamp(5),
    };
    let record = invalidation();
    let (key, value) = (record.record_key(), log::encode_invalidation(&record));
    let decode = |key: &str, value: &[u8]| LogRecord::decode(Some(key.as_bytes()), Some(value));
    assert_eq!(
        decode(&key, &value),
        LogRecord::Invalidation(record.clone())
    );
    // Applied under any key: at worst it costs a refill.
    assert_eq!(
        LogRecord::decode(None, Some(&value)),
        LogRecord::Invalidation(record)
    );
    assert_eq!(
        LogRecord::decode(Some(key.as_bytes()), None),
        LogRecord::Tombstone
    );
    assert!(matches!(
        decode(&key, b"{}"),
        LogRecord::Foreign(log::ForeignRecord::Value(_))
    ));
    assert_eq!(
        decode("identity", b"{}"),
        LogRecord::Foreign(log::ForeignRecord::Key)
    );

    let (key, value) = (progress.record_key(), log::encode_progress(&progress));
    assert_eq!(decode(&key, &value), LogRecord::Progress(progress));
    assert_eq!(
        decode("progress:wedsync.vendor.changes:3", &value),
        LogRecord::Foreign(log::ForeignRecord::OtherKey(key))
    );

    let skip = SkippedRange {
        topic: "wedsync.ai.queries".into(),
        topic_id: Some(TopicId(7)),
        partition: 3,
        from: 100,
        to: 110,
        forced: false,
        at: Timestamp(5),
    };
    let (key, value) = (skip.record_key(), log::encode_skip(&skip));
    assert_eq!(skip.record_key(), "skip:wedsync.ai.queries:3:100");
    assert_eq!(decode(&key, &value), LogRecord::Skip(skip));
    assert_eq!(
        decode("skip:wedsync.ai.queries:3:90", &value),
        LogRecord::Foreign(log::ForeignRecord::OtherKey(key))
    );
}
