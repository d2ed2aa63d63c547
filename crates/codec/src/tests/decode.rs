//! Good input values in every format and version.

use std::sync::Arc;

use serde_json::json;

use wedcache_model::event::{Attribute, BudgetRange};
use wedcache_model::{Date, Timestamp};

use super::{
    avro_query, datum, decoder, query, rejected, single_object, vendor_change, wedding_update, with,
};
use crate::{Decoded, Decoder, Reason, RecordKind, Schemas};

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
const BEFORE_HEARTBEATS: &str = include_str!("../../../../schemas/older/VendorChange-1.avsc");

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
