//! Reading by other schemas than ours: older and newer producers, and malicious bytes.

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use wedcache_model::event::QueryOptions;
use wedcache_model::{AiQuery, VendorChange};

use super::{Layout, read};
use crate::RecordKind;
use crate::tests::{avro_query, datum};

/// Returns a query with only the required fields, as Avro.
pub(crate) fn minimal_query() -> Vec<u8> {
    let query = json!({"queryId": "q", "query": {"type": "t", "content": "c"},
        "weddingContext": {"location": {"city": "Austin", "state": "TX"}}});
    datum(RecordKind::AiQuery.schema_text(), &query)
}

/// Returns our schema of a record with a change.
fn changed(kind: RecordKind, change: impl FnOnce(&mut Value)) -> String {
    let mut schema: Value = serde_json::from_str(kind.schema_text()).unwrap();
    change(&mut schema);
    schema.to_string()
}

/// Returns the field list of a record within a schema, by the names of the fields that lead to it.
fn fields<'a>(schema: &'a mut Value, path: &[&str]) -> &'a mut Vec<Value> {
    let mut record = schema;
    for name in path {
        let fields = record["fields"].as_array_mut().unwrap();
        let field = fields.iter_mut().find(|field| field["name"] == *name);
        let of = &mut field.unwrap()["type"];
        record = if of.is_array() { &mut of[1] } else { of };
    }
    record["fields"].as_array_mut().unwrap()
}

fn read_query(schema: &str, value: &Value) -> Result<AiQuery, String> {
    let layout = Layout::parse(schema).unwrap();
    read(&layout, &datum(schema, value)).map_err(|fault| fault.to_string())
}

#[test]
fn a_producer_that_is_older_lacks_optional_fields() {
    let old = changed(RecordKind::AiQuery, |schema| {
        fields(schema, &[])
            .retain(|field| field["name"] != "options" && field["name"] != "askedAt");
        fields(schema, &["query"]).retain(|field| {
            field["name"] == "type" || field["name"] == "content" //
        });
        fields(schema, &["weddingContext", "location"]).retain(|field| field["name"] != "country");
    });
    let query = read_query(&old, &avro_query()).unwrap();
    let ours = read_query(RecordKind::AiQuery.schema_text(), &avro_query()).unwrap();
    let mut want = ours;
    want.options = QueryOptions::default();
    want.asked_at = None;
    want.query.vendor_types.clear();
    want.query.vendor_ids.clear();
    want.query.user_id = None;
    assert_eq!(query, want);
    assert_eq!(query.wedding_context.location.country, "US");
}

#[test]
fn a_producer_that_is_newer_has_more_fields_and_other_types() {
    let new = changed(RecordKind::AiQuery, |schema| {
        let tree = json!({"type": "record", "name": "Tree", "fields": [
            {"name": "children", "type": {"type": "array", "items": "Tree"}},
            {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
            {"name": "weights", "type": {"type": "map", "values": ["null", "float", "double"]}},
            {"name": "raw", "type": {"type": "fixed", "name": "Raw", "size": 2}},
            {"name": "price", "type": ["null", "bytes"], "default": null},
            {"name": "yes", "type": "boolean"}]});
        let top = fields(schema, &[]);
        top.insert(0, json!({"name": "tree", "type": tree}));
        top.last_mut().unwrap()["type"] =
            json!({"type": "long", "logicalType": "timestamp-micros"});
        top.last_mut()
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove("default");
        let context = fields(schema, &["weddingContext"]);
        context.reverse();
        for field in context {
            let name = field["name"].as_str().unwrap().to_owned();
            let of = match name.as_str() {
                "guestCount" => json!("int"),
                "weddingStyle" => json!("bytes"),
                "budgetRange" => json!({"type": "enum", "name": "Budget",
                    "symbols": ["luxury", "moderate"]}),
                "vendorPreferences" => json!({"type": "array", "items": ["null", "string"]}),
                _ => continue,
            };
            *field = json!({"name": name, "type": of});
        }
    });
    let leaf = json!({"children": [], "kind": "B", "weights": {"x": 1.5, "y": null},
        "raw": "ab", "price": null, "yes": true});
    let mut value = avro_query();
    value["tree"] = leaf.clone();
    value["tree"]["children"] = json!([leaf, leaf]);
    value["askedAt"] = json!(1_795_341_600_000_999_i64);
    value["weddingContext"]["weddingStyle"] = json!([114, 117]);
    let query = read_query(&new, &value).unwrap();
    let mut want = read_query(RecordKind::AiQuery.schema_text(), &avro_query()).unwrap();
    want.wedding_context.wedding_style = Some("ru".into());
    assert_eq!(query, want);
}

/// A schema on which the Avro library's own canonical form panics.
#[test]
fn custom_attributes_that_look_like_avros_own_are_no_trouble() {
    let schema = changed(RecordKind::AiQuery, |schema| {
        schema["values"] = json!(5);
        schema["owner"] = json!({"items": null});
    });
    assert!(read_query(&schema, &avro_query()).is_ok());
}

#[test]
fn numbers_promote_and_attributes_take_any_of_them() {
    let schema = changed(RecordKind::VendorChange, |schema| {
        for field in fields(schema, &[]) {
            if field["name"] == "attributes" {
                *field = json!({"name": "attributes", "type": {"type": "map", "values":
                    ["int", "float", "string"]}});
            }
        }
    });
    let value = json!({"eventId": "e", "vendorId": "v", "change": "opened",
        "attributes": {"i": 7, "s": "x"}});
    let layout = Layout::parse(&schema).unwrap();
    let event: VendorChange = read(&layout, &datum(&schema, &value)).unwrap();
    let attributes = serde_json::to_value(&event.attributes).unwrap();
    assert_eq!(attributes, json!({"i": 7.0, "s": "x"}));
}

#[test]
fn schemas_that_do_not_go_together_are_told_with_the_field() {
    let without = changed(RecordKind::AiQuery, |schema| {
        fields(schema, &["query"]).retain(|field| field["name"] != "content");
    });
    assert_eq!(
        read_query(&without, &avro_query()),
        Err("query.content: required, but not there".into())
    );
    let other = changed(RecordKind::AiQuery, |schema| {
        fields(schema, &["query"])[1]["type"] = json!("long");
    });
    let mut value = avro_query();
    value["query"]["content"] = json!(5);
    assert_eq!(
        read_query(&other, &value),
        Err("query.content: expected a string, found an integer".into())
    );
}

#[track_caller]
fn corrupt(schema: &str, bytes: &[u8], want: &str) {
    let layout = Layout::parse(schema).unwrap();
    let ignored = read::<IgnoredAny>(&layout, bytes).unwrap_err();
    assert!(ignored.to_string().contains(want), "{ignored}");
    let value = read::<Value>(&layout, bytes).unwrap_err();
    assert!(value.to_string().contains(want), "{value}");
}

#[test]
fn lengths_counts_and_nesting_of_hostile_bytes_are_bounded() {
    const LONG: &[u8] = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    const LEAST: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    corrupt(r#""string""#, LONG, "break off");
    corrupt(r#""string""#, LEAST, "negative length");
    corrupt(r#""bytes""#, LONG, "break off");
    corrupt(r#"{"type":"array","items":"string"}"#, LONG, "break off");
    let nulls = r#"{"type":"array","items":"null"}"#;
    corrupt(nulls, LONG, "more values");
    corrupt(nulls, &[LEAST, b"\x00"].concat(), "more values");
    corrupt(nulls, &[LEAST, LONG].concat(), "break off");
    corrupt(
        r#""long""#,
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
        "64 bits",
    );
    corrupt(
        r#""long""#,
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        "64 bits",
    );
    corrupt(r#"["null","long"]"#, b"\x04", "2 variants");
    corrupt(r#"["null","long"]"#, b"\x01", "2 variants");
    corrupt(r#""boolean""#, b"\x02", "no boolean");
    let list = r#"{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]}]}"#;
    corrupt(list, &[2; 5_000], "deeper than");
    let nested = r#"{"type":"record","name":"L","fields":
        [{"name":"n","type":{"type":"array","items":"L"}}]}"#;
    corrupt(nested, &[2; 5_000], "deeper than");
}

proptest! {
    #[test]
    fn longs_survive(value in any::<i64>()) {
        let layout = Layout::parse(r#""long""#).unwrap();
        prop_assert_eq!(read::<i64>(&layout, &datum(r#""long""#, &json!(value))).unwrap(), value);
    }

    /// Whatever the bytes, skipping and reading agree on the end of the value.
    #[test]
    fn skipping_and_reading_agree(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let layout = Layout::parse(RecordKind::VendorChange.schema_text()).unwrap();
        let skipped = read::<IgnoredAny>(&layout, &bytes);
        if read::<Value>(&layout, &bytes).is_ok() {
            prop_assert!(skipped.is_ok(), "{skipped:?}");
        }
    }
}
