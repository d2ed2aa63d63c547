//! The promises of the decoder and the encoder, tested from outside.

mod decode;
mod encode;
mod random;
mod reject;

use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::types::Value as AvroValue;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::{Value, json};

use wedcache_model::{
    AiAnswer, Freshness, LayerName, Position, Source, StaleReason, Status, Timestamp,
};

use super::{Decoded, Decoder, Reason, RecordKind, SINGLE_OBJECT_MAGIC, Schemas};

/// Writes `value` (dates and instants as numbers) with Apache's library by a schema.
pub(super) fn datum(schema: &str, value: &Value) -> Vec<u8> {
    let schema = Schema::parse_str(schema).unwrap();
    let value = AvroValue::try_from(value.clone()).unwrap();
    let value = value.resolve(&schema).unwrap();
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    writer.write_value_to_vec(value).unwrap()
}

pub(super) fn single_object(kind: RecordKind, datum: &[u8]) -> Vec<u8> {
    let fingerprint = kind.fingerprint().to_le_bytes();
    [&SINGLE_OBJECT_MAGIC, fingerprint.as_slice(), datum].concat()
}

/// Returns the contract's example.
pub(super) fn query() -> Value {
    json!({"queryId": "q-81",
        "query": {"type": "vendor_matching",
            "content": "Which florist fits a barn wedding? Is v-17 free?",
            "vendorTypes": ["florist"], "vendorIds": ["v-17"], "userId": "u-5"},
        "weddingContext": {"weddingId": "w-9",
            "location": {"city": "Austin", "state": "TX", "country": "US"},
            "weddingDate": "2027-06-12", "budgetRange": "moderate", "weddingStyle": "rustic",
            "guestCount": 120, "vendorPreferences": ["photographer"]},
        "options": {"bypassCache": false, "noStore": false, "maxAgeSecs": null,
            "deadline": "2026-11-22T10:00:05Z"},
        "askedAt": "2026-11-22T10:00:00Z"})
}

/// Returns the contract's example for Avro.
pub(super) fn avro_query() -> Value {
    let mut query = query();
    query["weddingContext"]["weddingDate"] = json!(20_981);
    query["options"]["deadline"] = json!(1_795_341_605_000_i64);
    query["askedAt"] = json!(1_795_341_600_000_i64);
    query
}

pub(super) fn answer() -> AiAnswer<'static> {
    AiAnswer {
        answer_id: "a-1".into(),
        query_id: "q-81".into(),
        status: Status::Answered,
        data: Some("Bloom & Twig, v-17".into()),
        source: Source::Cache,
        layer: Some(LayerName::Memory),
        freshness: Some(Freshness::Stale),
        stale_reason: Some(StaleReason::LogLag),
        coalesced: false,
        cached_at: Some(Timestamp(1_795_341_587_600)),
        age_secs: Some(12.4),
        cache_type: "vendor_matching".into(),
        cache_key: "vendor_matching:Austin_TX:summer:moderate:00".into(),
        stamp: Some(Position(4711)),
        view: Some(Position(4730)),
        tags: vec!["vendor_matching|vendor=v-17".into(), "x|global".into()],
        model: Some("m".into()),
        prompt_tokens: Some(0),
        completion_tokens: None,
        cost_usd: Some(0.0),
        saved_usd: Some(0.0021),
        simulated: true,
        error: None,
        answered_at: Timestamp(1_795_341_600_000),
    }
}

fn decoder() -> Decoder {
    Decoder::new(Arc::new(Schemas::embedded()), 64 * 1024)
}

fn vendor_change() -> Value {
    json!({"eventId": "e-1", "vendorId": "v-17", "vendorType": "florist",
        "change": "price_changed", "location": {"city": "Austin", "state": "TX"},
        "occurredAt": "2026-11-22T10:00:00Z", "source": "bloomdesk",
        "attributes": {"priceChangePct": 12.5, "rooms": 3, "open": true, "note": "up"}})
}

fn wedding_update() -> Value {
    json!({"eventId": "e-2", "weddingId": "w-9", "change": "location_changed",
        "weddingContext": {"location": {"city": "Austin", "state": "TX"}, "guestCount": 80},
        "previous": {"location": {"city": "Waco", "state": "TX"}, "budgetRange": "luxury",
            "weddingDate": "2027-06-12"}})
}

#[track_caller]
fn rejected(value: &[u8], reason: Reason, detail: &str) {
    match decoder().decode_query(Some(value)) {
        Decoded::Rejected(reject) => {
            assert_eq!(reject.reason, reason, "{reject}");
            assert!(reject.detail.contains(detail), "{reject}, not {detail:?}");
        }
        other => panic!("{other:?}"),
    }
}

/// Sets or removes (`None`) the field at a path.
fn with(mut event: Value, path: &str, value: Option<Value>) -> Vec<u8> {
    let (parents, name) = path.rsplit_once('/').unwrap();
    let parent = event.pointer_mut(parents).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => parent.insert(name.to_owned(), value),
        None => parent.remove(name),
    };
    event.to_string().into_bytes()
}
