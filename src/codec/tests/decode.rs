//! Input values: good ones in every format, and every kind of bad one.

use crate::codec::{MaxBytes, Reject};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{avro_query, datum, query, single_object};
use crate::codec::{Decoded, Decoder, LogRecord, Reason, RecordKind, Schemas};
use crate::model::event::{Attribute, BudgetRange};
use crate::model::{Date, Timestamp};

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

#[test]
fn a_query_is_the_same_in_all_formats() {
    let text = query().to_string();
    let bom = [b"\xef\xbb\xbf \r\n\t", text.as_bytes()].concat();
    let avro = datum(RecordKind::AiQuery.schema_text(), &avro_query());
    let schemas = Arc::new(Schemas::embedded());
    let text_of = RecordKind::AiQuery.schema_text();
    schemas.learn(258, Schemas::registered(258, None, text_of, false));
    schemas.learn(5, Schemas::registered(5, Some("JSON"), "{}", false));
    let decoder = Decoder::new(schemas, 64 * 1024);
    let mut events = Vec::new();
    for value in [
        text.as_bytes(),
        &bom,
        &single_object(RecordKind::AiQuery, &avro),
        &[b"\x00\x00\x00\x01\x02", avro.as_slice()].concat(),
        &[b"\x00\x00\x00\x00\x05", text.as_bytes()].concat(),
    ] {
        match decoder.decode_query(Some(value)) {
            Decoded::Event(event) => events.push(event),
            other => panic!("{other:?}"),
        }
    }
    let first = &events[0];
    assert_eq!(
        serde_json::to_value(first).unwrap()["query"],
        query()["query"]
    );
    assert_eq!(first.asked_at, Some(Timestamp(1_795_341_600_000)));
    assert_eq!(
        first.wedding_context.wedding_date,
        Date::from_epoch_days(20_981)
    );
    assert_eq!(
        first.wedding_context.budget_range,
        Some(BudgetRange::Moderate)
    );
    assert!(events.iter().all(|event| event == first), "{events:?}");
}

/// An older and a newer producer without a registry: their schemas are in a folder.
#[test]
fn a_folder_of_schemas_makes_other_versions_readable() {
    let text = RecordKind::AiQuery.schema_text();
    let older = text.replace("\"askedAt\"", "\"formerName\"");
    let newer = text.replacen(
        "\"fields\": [",
        r#""fields": [{"name": "priority", "type": "int"},"#,
        1,
    );
    let folder = tempfile::tempdir().unwrap();
    for (name, schema) in [("older", &older), ("newer", &newer)] {
        std::fs::write(folder.path().join(name).with_extension("avsc"), schema).unwrap();
    }
    let schemas = Schemas::embedded().with_folder(folder.path()).unwrap();
    let informed = Decoder::new(Arc::new(schemas), 64 * 1024);

    let Decoded::Event(mut want) = decoder().decode_query(Some(query().to_string().as_bytes()))
    else {
        panic!("the example is readable");
    };
    let mut value = avro_query();
    value["priority"] = json!(1);
    let newer = single_object_of(&newer, &datum(&newer, &value));
    assert_eq!(
        informed.decode_query(Some(&newer)),
        Decoded::Event(want.clone())
    );
    rejected(&newer, Reason::UnknownSchema, "fingerprint");
    want.asked_at = None;
    let older = single_object_of(&older, &datum(&older, &avro_query()));
    assert_eq!(informed.decode_query(Some(&older)), Decoded::Event(want));
}

#[test]
fn a_number_is_one_whatever_type_the_writer_gave_it() {
    let text = RecordKind::AiQuery.schema_text();
    let age = r#""maxAgeSecs", "type": ["null", "double"]"#;
    let guests = r#""guestCount", "type": ["null", "int"]"#;
    let (mut value, mut json) = (avro_query(), query());
    for (guest_count, max_age) in [(120, 3600), (0, 0)] {
        for value in [&mut value, &mut json] {
            value["weddingContext"]["guestCount"] = json!(guest_count);
            value["options"]["maxAgeSecs"] = json!(max_age);
        }
        let want = decoder().decode_query(Some(json.to_string().as_bytes()));
        assert!(matches!(want, Decoded::Event(_)), "{want:?}");
        for of_age in ["int", "long", "float", "double"] {
            for of_guests in ["int", "long", "float", "double"] {
                let schema = text
                    .replace(age, &age.replace("double", of_age))
                    .replace(guests, &guests.replace("int", of_guests));
                let folder = tempfile::tempdir().unwrap();
                std::fs::write(folder.path().join("of-others.avsc"), &schema).unwrap();
                let schemas = Schemas::embedded().with_folder(folder.path()).unwrap();
                let record = single_object_of(&schema, &datum(&schema, &value));
                let read = Decoder::new(Arc::new(schemas), 64 * 1024).decode_query(Some(&record));
                assert_eq!(read, want, "{of_guests} and {of_age}");
            }
        }
    }
}

/// Returns a single object with the fingerprint that Apache's library for Rust computes. With
/// logical types it differs from the specification's, but it is read all the same.
fn single_object_of(schema: &str, datum: &[u8]) -> Vec<u8> {
    let schema = apache_avro::Schema::parse_str(schema).unwrap();
    let fingerprint = schema.fingerprint::<apache_avro::rabin::Rabin>().bytes;
    [b"\xc3\x01", fingerprint.as_slice(), datum].concat()
}

/// The schema of `VendorChange` before the vendor became optional.
const BEFORE_HEARTBEATS: &str = include_str!("../../../schemas/older/VendorChange-1.avsc");

#[test]
fn changes_by_the_schema_of_before_are_read_without_its_file() {
    let mut value = vendor_change();
    value["occurredAt"] = json!(1_795_341_600_000_i64);
    let want = decoder().decode_vendor_change(Some(vendor_change().to_string().as_bytes()));
    let header = 0x24d2_86cf_2e33_fc96_u64.to_be_bytes();
    let bytes = datum(BEFORE_HEARTBEATS, &value);
    let record = [&b"\xc3\x01"[..], header.as_slice(), bytes.as_slice()].concat();
    assert_eq!(decoder().decode_vendor_change(Some(&record)), want);
}

/// Other readers with the earlier schema can still read all changes that name a vendor.
#[test]
fn readers_by_the_schema_of_before_read_changes_of_vendors() {
    let parse = |text| apache_avro::Schema::parse_str(text).unwrap();
    let (new, before) = (
        parse(RecordKind::VendorChange.schema_text()),
        parse(BEFORE_HEARTBEATS),
    );
    let mut value = vendor_change();
    value["occurredAt"] = json!(1_795_341_600_000_i64);
    let bytes = datum(RecordKind::VendorChange.schema_text(), &value);
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(&new)
        .reader_schema(&before)
        .build()
        .unwrap();
    let read = reader.read_value(&mut bytes.as_slice()).unwrap();
    let apache_avro::types::Value::Record(fields) = read else {
        panic!("{read:?}");
    };
    let vendor = fields.iter().find(|(name, _)| name == "vendorId").unwrap();
    assert_eq!(
        vendor.1,
        apache_avro::types::Value::String("v-17".to_owned())
    );
}

#[test]
fn only_a_heartbeat_names_no_vendor() {
    let heartbeat = json!({"eventId": "e-1", "change": "heartbeat", "source": "bloomdesk"});
    let json = decoder().decode_vendor_change(Some(heartbeat.to_string().as_bytes()));
    let avro = datum(RecordKind::VendorChange.schema_text(), &heartbeat);
    let avro = single_object(RecordKind::VendorChange, &avro);
    assert_eq!(decoder().decode_vendor_change(Some(&avro)), json);
    let Decoded::Event(event) = &json else {
        panic!("{json:?}");
    };
    assert!(event.is_heartbeat() && event.vendor_id.is_empty());
    for vendor in [json!(null), json!(""), json!(" "), json!("v-17")] {
        let value = with(heartbeat.clone(), "/vendorId", Some(vendor));
        let read = decoder().decode_vendor_change(Some(&value));
        assert!(
            matches!(&read, Decoded::Event(event) if event.is_heartbeat()),
            "{read:?}"
        );
    }
    let other = with(heartbeat, "/change", Some(json!("opened")));
    match decoder().decode_vendor_change(Some(&other)) {
        Decoded::Rejected(reject) => {
            assert_eq!(
                reject.to_string(),
                "missing_field: vendorId: required, but not there"
            );
        }
        other => panic!("{other:?}"),
    }
    let opened = json!({"eventId": "e-1", "vendorId": null, "change": "opened"});
    let opened = datum(RecordKind::VendorChange.schema_text(), &opened);
    let opened = single_object(RecordKind::VendorChange, &opened);
    match decoder().decode_vendor_change(Some(&opened)) {
        Decoded::Rejected(reject) => assert_eq!(reject.reason, Reason::MissingField),
        other => panic!("{other:?}"),
    }
}

#[test]
fn change_events_are_the_same_in_json_and_avro() {
    let mut avro = vendor_change();
    avro["occurredAt"] = json!(1_795_341_600_000_i64);
    let avro = datum(RecordKind::VendorChange.schema_text(), &avro);
    let avro = single_object(RecordKind::VendorChange, &avro);
    let json = decoder().decode_vendor_change(Some(vendor_change().to_string().as_bytes()));
    assert_eq!(decoder().decode_vendor_change(Some(&avro)), json);
    let Decoded::Event(event) = json else {
        panic!("{json:?}")
    };
    assert_eq!(event.attributes["rooms"], Attribute::Number(3.0));
    assert_eq!(event.attributes["open"], Attribute::Flag(true));
    assert_eq!(event.location.unwrap().country, "US");

    let mut avro = wedding_update();
    avro["previous"]["weddingDate"] = json!(20_981);
    let avro = datum(RecordKind::WeddingUpdate.schema_text(), &avro);
    let avro = single_object(RecordKind::WeddingUpdate, &avro);
    let json = decoder().decode_wedding_update(Some(wedding_update().to_string().as_bytes()));
    assert_eq!(decoder().decode_wedding_update(Some(&avro)), json);
    let Decoded::Event(event) = json else {
        panic!("{json:?}")
    };
    let previous = event.previous.unwrap();
    assert_eq!(previous.location.unwrap().city, "Waco");
    assert_eq!(previous.budget_range, Some(BudgetRange::Luxury));
}

#[test]
fn null_and_blank_are_as_good_as_left_out_where_a_field_is_optional() {
    let least = json!({"queryId": "q", "query": {"type": "t", "content": "c"},
        "weddingContext": {"location": {"city": "Austin", "state": "TX"}}});
    let nulls = json!({"queryId": "q", "query": {"type": "t", "content": "c",
            "vendorTypes": null, "vendorIds": null, "userId": null},
        "weddingContext": {"weddingId": null,
            "location": {"city": "Austin", "state": "TX", "country": null},
            "weddingDate": null, "budgetRange": null, "weddingStyle": null, "guestCount": null,
            "vendorPreferences": null},
        "options": null, "askedAt": null, "unknown": {"a": [1]}});
    let blanks = json!({"queryId": "q", "query": {"type": "t", "content": "c",
            "vendorTypes": [" "], "vendorIds": [""], "userId": ""},
        "weddingContext": {"weddingId": " ", "location": {"city": "Austin", "state": "TX"},
            "weddingStyle": "\t", "vendorPreferences": [""]},
        "options": {"bypassCache": null, "noStore": null}});
    let avro = single_object(
        RecordKind::AiQuery,
        &datum(RecordKind::AiQuery.schema_text(), &least),
    );
    let want = decoder().decode_query(Some(least.to_string().as_bytes()));
    assert!(matches!(want, Decoded::Event(_)), "{want:?}");
    for value in [
        nulls.to_string().into_bytes(),
        blanks.to_string().into_bytes(),
        avro,
    ] {
        assert_eq!(decoder().decode_query(Some(&value)), want);
    }
}

#[test]
fn values_that_are_no_records_are_told_apart() {
    assert_eq!(decoder().decode_query(None), Decoded::Tombstone);
    let frame = b"\x00\x00\x00\x01\x02rest";
    assert_eq!(
        decoder().decode_query(Some(frame)),
        Decoded::Unresolved { schema_id: 258 }
    );
    rejected(b"", Reason::EmptyValue, "");
    rejected(b" \r\n\t", Reason::EmptyValue, "");
    rejected(b"\xef\xbb\xbf  ", Reason::EmptyValue, "");
    rejected(b"[{}]", Reason::UnsupportedFormat, "array");
    rejected(b"  [1]", Reason::UnsupportedFormat, "array");
    rejected(b"\"text\"", Reason::UnsupportedFormat, "0x22");
    rejected(b"hello", Reason::UnsupportedFormat, "0x68");
    rejected(b"\xc3", Reason::UnsupportedFormat, "0xc3");
    rejected(b"\xc3\x02aaaaaaaaaa", Reason::UnsupportedFormat, "0xc3");
    rejected(b"\xff\xfe\x00", Reason::UnsupportedFormat, "0xff");
    rejected(b"\x00", Reason::UnreadableAvro, "5 bytes");
    rejected(b"\x00\x00\x00\x01", Reason::UnreadableAvro, "5 bytes");
    rejected(b"\xc3\x01\x01\x02\x03", Reason::UnreadableAvro, "10 bytes");
    rejected(
        b"\xc3\x01\x01\x02\x03\x04\x05\x06\x07\x08rest",
        Reason::UnknownSchema,
        "0102030405060708",
    );
    rejected(&vec![b' '; 65 * 1024], Reason::TooLarge, "66560 bytes");
}

#[test]
fn json_that_cannot_be_used_is_told_apart_by_field() {
    rejected(b"{", Reason::UnreadableJson, "EOF");
    rejected(br#"{"queryId": "q",}"#, Reason::UnreadableJson, "line 1");
    rejected(
        b"{\"queryId\": \"\xff\xfe\"}",
        Reason::UnreadableJson,
        "unicode",
    );
    let deep = format!("{{\"queryId\":{}", "[".repeat(5_000));
    rejected(deep.as_bytes(), Reason::UnreadableJson, "recursion");
    let twice = query()
        .to_string()
        .replacen('{', r#"{"queryId":"other","#, 1);
    rejected(
        twice.as_bytes(),
        Reason::UnreadableJson,
        "duplicate field `queryId`",
    );
    let two = format!("{}{}", query(), query());
    rejected(two.as_bytes(), Reason::UnreadableJson, "trailing");
    // The wrong field comes first, but the rest is not JSON at all.
    rejected(br#"{"queryId": 1, "query": {]"#, Reason::UnreadableJson, "");
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

#[test]
fn fields_of_a_query_that_are_missing_are_named() {
    for path in [
        "/queryId",
        "/query",
        "/query/type",
        "/query/content",
        "/weddingContext",
        "/weddingContext/location",
        "/weddingContext/location/city",
        "/weddingContext/location/state",
    ] {
        let name = path[1..].replace('/', ".");
        let detail = format!("{name}: required");
        rejected(&with(query(), path, None), Reason::MissingField, &detail);
        let null = with(query(), path, Some(Value::Null));
        rejected(&null, Reason::InvalidField, &format!("{name}: expected"));
    }
}

#[test]
fn fields_of_a_query_that_are_wrong_are_named() {
    for (path, value, detail) in [
        (
            "/queryId",
            json!(1),
            "queryId: expected a string, found an integer",
        ),
        ("/queryId", json!(" "), "queryId: must not be blank"),
        (
            "/query",
            json!("?"),
            "query: expected struct Question, found a string",
        ),
        ("/query", json!([]), "query"),
        ("/query/type", json!(""), "query.type: must not be blank"),
        (
            "/query/content",
            json!("\n\u{a0}"),
            "query.content: must not be blank",
        ),
        (
            "/query/vendorIds",
            json!(["v", 2]),
            "query.vendorIds.1: expected a string",
        ),
        (
            "/weddingContext/location/city",
            json!(""),
            "weddingContext.location.city: must",
        ),
        (
            "/weddingContext/location/state",
            json!(" "),
            "weddingContext.location.state: must",
        ),
        (
            "/weddingContext/weddingDate",
            json!("12.06.2027"),
            "found \"12.06.2027\"",
        ),
        (
            "/weddingContext/weddingDate",
            json!("2027-02-30"),
            "weddingContext.weddingDate",
        ),
        (
            "/weddingContext/budgetRange",
            json!("cheap"),
            "expected one of budget, moderate",
        ),
        (
            "/weddingContext/budgetRange",
            json!(3),
            "weddingContext.budgetRange",
        ),
        (
            "/weddingContext/guestCount",
            json!(-1),
            "weddingContext.guestCount",
        ),
        (
            "/weddingContext/guestCount",
            json!(1.5),
            "weddingContext.guestCount",
        ),
        (
            "/weddingContext/guestCount",
            json!(5_000_000_000_u64),
            "weddingContext.guestCount",
        ),
        (
            "/options/bypassCache",
            json!("yes"),
            "options.bypassCache: expected a boolean",
        ),
        ("/options/maxAgeSecs", json!(-1), "options.maxAgeSecs"),
        (
            "/options/deadline",
            json!("soon"),
            "options.deadline: expected an RFC 3339",
        ),
        ("/options/deadline", json!(5), "options.deadline"),
    ] {
        let value = with(query(), path, Some(value));
        rejected(&value, Reason::InvalidField, detail);
    }
}

#[test]
fn fields_of_changes_that_are_missing_or_wrong_are_named() {
    let vendor = |path: &str, value: Option<Value>| match decoder()
        .decode_vendor_change(Some(&with(vendor_change(), path, value)))
    {
        Decoded::Rejected(reject) => reject.to_string(),
        other => panic!("{other:?}"),
    };
    let wedding = |path: &str, value: Option<Value>| match decoder()
        .decode_wedding_update(Some(&with(wedding_update(), path, value)))
    {
        Decoded::Rejected(reject) => reject.to_string(),
        other => panic!("{other:?}"),
    };
    let blank = Some(json!("  "));
    for path in ["/eventId", "/vendorId", "/change"] {
        let name = &path[1..];
        assert_eq!(
            vendor(path, None),
            format!("missing_field: {name}: required, but not there")
        );
        let want = format!("invalid_field: {name}: must not be blank");
        assert_eq!(vendor(path, blank.clone()), want);
    }
    for path in ["/eventId", "/weddingId", "/change"] {
        let name = &path[1..];
        let want = format!("invalid_field: {name}: must not be blank");
        assert_eq!(wedding(path, blank.clone()), want);
    }
    assert_eq!(
        vendor("/location/state", None),
        "missing_field: location.state: required, but not there"
    );
    assert_eq!(
        wedding("/previous/location/city", blank),
        "invalid_field: previous.location.city: must not be blank"
    );
    assert_eq!(
        vendor("/attributes/open", Some(json!([1]))),
        "invalid_field: attributes.open: expected a string, a number or a boolean, found a list"
    );
}

#[test]
fn a_wrong_type_is_told_without_the_users_words() {
    let value = with(query(), "/query/vendorIds", Some(json!("a secret")));
    match decoder().decode_query(Some(&value)) {
        Decoded::Rejected(reject) => assert!(!reject.detail.contains("secret"), "{reject}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn avro_that_cannot_be_used_is_told_apart() {
    let kind = RecordKind::AiQuery;
    let good = datum(kind.schema_text(), &avro_query());
    for len in 0..good.len() {
        let cut = single_object(kind, &good[..len]);
        rejected(&cut, Reason::UnreadableAvro, "break off");
    }
    let longer = single_object(kind, &[good.as_slice(), b"x"].concat());
    rejected(&longer, Reason::UnreadableAvro, "1 bytes after the datum");
    let other = single_object(RecordKind::VendorChange, &good);
    rejected(&other, Reason::UnreadableAvro, "schema of VendorChange");
    for (path, value, detail) in [
        ("/queryId", json!(" "), "queryId: must not be blank"),
        (
            "/weddingContext/budgetRange",
            json!("cheap"),
            "weddingContext.budgetRange: expected",
        ),
        (
            "/weddingContext/guestCount",
            json!(-1),
            "weddingContext.guestCount",
        ),
        (
            "/weddingContext/weddingDate",
            json!(i32::MAX),
            "weddingContext.weddingDate",
        ),
        ("/options/maxAgeSecs", json!(-5), "options.maxAgeSecs"),
    ] {
        let value: Value = serde_json::from_slice(&with(avro_query(), path, Some(value))).unwrap();
        let value = single_object(kind, &datum(kind.schema_text(), &value));
        rejected(&value, Reason::InvalidField, detail);
    }
    let mut not_utf8 = good;
    not_utf8[1] = 0xff;
    let not_utf8 = single_object(kind, &not_utf8);
    rejected(
        &not_utf8,
        Reason::UnreadableAvro,
        "queryId: a string not in UTF-8",
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(value in prop::collection::vec(any::<u8>(), 0..300)) {
        let decoder = decoder();
        decoder.decode_query(Some(&value));
        let avro = single_object(RecordKind::WeddingUpdate, &value);
        prop_assert!(!matches!(decoder.decode_wedding_update(Some(&avro)), Decoded::Tombstone));
        LogRecord::decode(Some(&value), Some(&value));
    }

    /// One byte changed, anywhere: the result is an event or a reject, and an event that is read
    /// could have been written in this form.
    #[test]
    fn a_changed_byte_is_an_event_or_a_reject(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let avro = datum(RecordKind::AiQuery.schema_text(), &avro_query());
        for mut value in [query().to_string().into_bytes(), single_object(RecordKind::AiQuery, &avro)] {
            let at = at.index(value.len());
            value[at] = byte;
            match decoder().decode_query(Some(&value)) {
                Decoded::Event(event) => prop_assert!(!event.query_id.trim().is_empty()),
                Decoded::Rejected(_) => {}
                Decoded::Unresolved { .. } => prop_assert_eq!(value[0], 0),
                Decoded::Tombstone => prop_assert!(false, "{:?}", value),
            }
        }
    }
}

#[test]
fn each_input_has_a_bound_of_its_own() {
    let max_bytes = MaxBytes {
        queries: 1000,
        vendor_changes: 2000,
        wedding_updates: 3000,
    };
    let decoder = Decoder::new(Arc::new(Schemas::embedded()), max_bytes);
    let too_large =
        |decoded: Option<Reject>| decoded.is_some_and(|reject| reject.reason == Reason::TooLarge);
    for (len, want) in [
        (1000, [false; 3]),
        (1001, [true, false, false]),
        (2001, [true, true, false]),
        (3001, [true; 3]),
    ] {
        let value = vec![b'{'; len];
        let got = [
            reject(decoder.decode_query(Some(&value))),
            reject(decoder.decode_vendor_change(Some(&value))),
            reject(decoder.decode_wedding_update(Some(&value))),
        ];
        assert_eq!(got.map(too_large), want, "{len} bytes");
    }
}

fn reject<T>(decoded: Decoded<T>) -> Option<Reject> {
    match decoded {
        Decoded::Rejected(reject) => Some(reject),
        _ => None,
    }
}
