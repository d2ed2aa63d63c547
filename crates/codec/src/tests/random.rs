//! Random events: decoded alike from every format and every version of the schema. Apache's library
//! writes the Avro, so that reader and writer share no code.

use std::fmt;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use serde::Serialize;

use wedcache_model::event::{
    Attribute, Attributes, BudgetRange, Location, QueryOptions, Question, WeddingContext,
    WeddingFacts,
};
use wedcache_model::{AiQuery, Date, VendorChange, WeddingUpdate};

use super::*;
use crate::{Decoded, Decoder, Schemas};

const MAX_BYTES: usize = 1 << 20;
const ID: u32 = 77;

/// Generates text that is not blank.
fn text() -> impl Strategy<Value = String> {
    ".{0,12}".prop_map(|text| format!("{text}x"))
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(text(), 0..4)
}

fn maybe() -> impl Strategy<Value = Option<String>> {
    prop::option::of(text())
}

/// Generates instants that RFC 3339 can express.
fn instant() -> impl Strategy<Value = Option<Timestamp>> {
    prop::option::of((-62_135_596_800_000_i64..253_402_300_800_000).prop_map(Timestamp))
}

fn date() -> impl Strategy<Value = Option<Date>> {
    prop::option::of(
        (-719_162_i32..2_932_897).prop_map(|days| Date::from_epoch_days(days).unwrap()),
    )
}

fn budget() -> impl Strategy<Value = Option<BudgetRange>> {
    prop::option::of(prop::sample::select(&BudgetRange::ALL[..]))
}

fn guests() -> impl Strategy<Value = Option<u32>> {
    prop::option::of(0..i32::MAX.unsigned_abs())
}

fn location() -> impl Strategy<Value = Location> {
    (text(), text(), text()).prop_map(|(city, state, country)| Location {
        city,
        state,
        country,
    })
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let attribute = prop_oneof![
        text().prop_map(Attribute::Text),
        // Multiples of 1/64: JSON's decimals and Avro's doubles both hold them exactly.
        any::<i32>().prop_map(|number| Attribute::Number(f64::from(number) / 64.0)),
        any::<bool>().prop_map(Attribute::Flag),
    ];
    prop::collection::btree_map(text(), attribute, 0..4)
}

fn query() -> impl Strategy<Value = AiQuery> {
    let question = (text(), text(), texts(), texts(), maybe()).prop_map(
        |(cache_type, content, vendor_types, vendor_ids, user_id)| Question {
            cache_type,
            content,
            vendor_types,
            vendor_ids,
            user_id,
        },
    );
    let context = (
        maybe(),
        location(),
        date(),
        budget(),
        maybe(),
        guests(),
        texts(),
    )
        .prop_map(
            |(
                wedding_id,
                location,
                wedding_date,
                budget_range,
                wedding_style,
                guest_count,
                liked,
            )| {
                WeddingContext {
                    wedding_id,
                    location,
                    wedding_date,
                    budget_range,
                    wedding_style,
                    guest_count,
                    vendor_preferences: liked,
                }
            },
        );
    // Above this a double cannot hold single seconds.
    let age = prop::option::of(0..1_u64 << 53);
    let options = (any::<bool>(), any::<bool>(), age, instant()).prop_map(
        |(bypass_cache, no_store, max_age_secs, deadline)| QueryOptions {
            bypass_cache,
            no_store,
            max_age: max_age_secs.map(Duration::from_secs),
            deadline,
        },
    );
    (text(), question, context, options, instant()).prop_map(
        |(query_id, query, wedding_context, options, asked_at)| AiQuery {
            query_id,
            query,
            wedding_context,
            options,
            asked_at,
        },
    )
}

fn vendor_change() -> impl Strategy<Value = VendorChange> {
    let names = (text(), text(), maybe(), text(), maybe());
    (names, prop::option::of(location()), instant(), attributes()).prop_map(
        |(
            (event_id, vendor_id, vendor_type, change, source),
            location,
            occurred_at,
            attributes,
        )| {
            VendorChange {
                event_id,
                vendor_id,
                vendor_type,
                change,
                location,
                occurred_at,
                source,
                attributes,
            }
        },
    )
}

fn facts() -> impl Strategy<Value = WeddingFacts> {
    let place = prop::option::of(location());
    (maybe(), place, date(), budget(), maybe(), guests(), texts()).prop_map(
        |(wedding_id, location, wedding_date, budget_range, wedding_style, guest_count, liked)| {
            WeddingFacts {
                wedding_id,
                location,
                wedding_date,
                budget_range,
                wedding_style,
                guest_count,
                vendor_preferences: liked,
            }
        },
    )
}

fn wedding_update() -> impl Strategy<Value = WeddingUpdate> {
    let names = (text(), text(), maybe(), text());
    let both = (prop::option::of(facts()), prop::option::of(facts()));
    (names, instant(), both, attributes()).prop_map(
        |((event_id, wedding_id, user_id, change), occurred_at, (now, previous), attributes)| {
            WeddingUpdate {
                event_id,
                wedding_id,
                user_id,
                change,
                occurred_at,
                wedding_context: now,
                previous,
                attributes,
            }
        },
    )
}

/// Returns the JSON form with dates and instants as Avro's numbers.
fn avro_value(mut json: Value) -> Value {
    fn walk(value: &mut Value) {
        let Value::Object(fields) = value else { return };
        for (name, field) in fields {
            match (name.as_str(), &field) {
                ("attributes", _) => {}
                ("weddingDate", Value::String(text)) => {
                    *field = json!(Date::parse(text).unwrap().epoch_days());
                }
                ("deadline" | "askedAt" | "occurredAt", Value::String(text)) => {
                    *field = json!(Timestamp::parse(text).unwrap().0);
                }
                _ => walk(field),
            }
        }
    }
    walk(&mut json);
    json
}

/// A difference between a writer's schema and ours.
#[derive(Debug, Clone)]
enum Change {
    /// An older producer lacks an optional field.
    Drop(Index),
    /// A newer producer has an additional field, somewhere in a record.
    Add(Index, usize),
    /// The fields are in another order.
    Reverse(Index),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        3 => any::<Index>().prop_map(Change::Drop),
        2 => (any::<Index>(), 0..ADDED.len()).prop_map(|(place, what)| Change::Add(place, what)),
        1 => any::<Index>().prop_map(Change::Reverse),
    ];
    prop::collection::vec(change, 0..6)
}

/// Types of fields that newer producers may add, each with a value.
const ADDED: [(&str, &str); 6] = [
    (r#""long""#, "7"),
    (r#"["null", "double"]"#, "null"),
    (r#"{"type": "array", "items": "string"}"#, r#"["a", "b"]"#),
    (
        r#"{"type": "map", "values": ["null", "long"]}"#,
        r#"{"k": 1, "l": null}"#,
    ),
    (r#"{"type": "array", "items": "null"}"#, "[null, null]"),
    (r#""boolean""#, "true"),
];

type Path = Vec<String>;

/// Finds the records of a schema that are defined in place, by the fields that lead to them.
fn records(schema: &Value, path: &Path, found: &mut Vec<Path>) {
    let record = if schema.is_array() {
        &schema[1]
    } else {
        schema
    };
    let Some(fields) = record["fields"].as_array() else {
        return;
    };
    found.push(path.clone());
    for field in fields {
        let name = field["name"].as_str().unwrap().to_owned();
        records(&field["type"], &[path.as_slice(), &[name]].concat(), found);
    }
}

fn record_at<'a>(schema: &'a mut Value, path: &[String]) -> &'a mut Vec<Value> {
    let mut at = schema;
    for name in path {
        let fields = at["fields"].as_array_mut().unwrap();
        let field = fields.iter_mut().find(|field| field["name"] == **name);
        let of = &mut field.unwrap()["type"];
        at = if of.is_array() { &mut of[1] } else { of };
    }
    at["fields"].as_array_mut().unwrap()
}

/// Calls `change` for every value that has the record's schema: `previous` shares that of
/// `weddingContext`.
fn for_each_value(event: &mut Value, path: &[String], change: &impl Fn(&mut Value)) {
    let mut paths = vec![path.to_vec()];
    if path.first().is_some_and(|name| name == "weddingContext") {
        paths.push([&["previous".to_owned()], &path[1..]].concat());
    }
    for path in paths {
        let pointer = path.iter().fold(String::new(), |at, name| at + "/" + name);
        let found = event.pointer_mut(&pointer);
        if let Some(value) = found.filter(|value| value.is_object()) {
            change(value);
        }
    }
}

/// Changes the schema, the event written by it, and the expected event.
fn evolve(schema: &mut Value, written: &mut Value, expected: &mut Value, change: &Change) {
    let mut paths = Vec::new();
    records(schema, &Vec::new(), &mut paths);
    match change {
        Change::Drop(index) => {
            let path = index.get(&paths).clone();
            let fields = record_at(schema, &path);
            // A field that defines a type to which another field refers has to stay, and so does
            // the vendor, which every change but a heartbeat names.
            let optional = |field: &Value| {
                field.get("default").is_some()
                    && !field["type"][1]["fields"].is_array()
                    && field["name"] != "vendorId"
            };
            let Some(at) = (0..fields.len()).rev().find(|at| optional(&fields[*at])) else {
                return;
            };
            let name = fields.remove(at)["name"].as_str().unwrap().to_owned();
            for_each_value(expected, &path, &|value| {
                value.as_object_mut().unwrap().remove(&name);
            });
        }
        Change::Add(index, what) => {
            let path = index.get(&paths).clone();
            let fields = record_at(schema, &path);
            let taken = |name: &String| fields.iter().any(|field| field["name"] == **name);
            let mut names = (0..).map(|number| format!("new{number}"));
            let name = names.find(|name| !taken(name)).unwrap();
            let (of, value) = ADDED[*what];
            let of: Value = serde_json::from_str(of).unwrap();
            fields.insert(fields.len() / 2, json!({"name": name, "type": of}));
            let added: Value = serde_json::from_str(value).unwrap();
            for_each_value(written, &path, &|value| value[&name] = added.clone());
        }
        // The record that defines `WeddingFacts` must precede the one that refers to it.
        Change::Reverse(index) => {
            let path = index.get(&paths).clone();
            let fields = record_at(schema, &path);
            if !fields
                .iter()
                .any(|field| field["type"][1] == "WeddingFacts")
            {
                fields.reverse();
            }
        }
    }
}

fn decoder_with(schema: &str) -> Decoder {
    let schemas = Schemas::embedded();
    schemas.learn(ID, Schemas::registered(ID, None, schema, false));
    schemas.learn(
        ID + 1,
        Schemas::registered(ID + 1, Some("JSON"), "{}", false),
    );
    Decoder::new(schemas.into(), MAX_BYTES)
}

fn frame(id: u32, payload: &[u8]) -> Vec<u8> {
    [&[0], id.to_be_bytes().as_slice(), payload].concat()
}

fn same_in_all<T: Serialize + PartialEq + fmt::Debug + Clone>(
    kind: RecordKind,
    event: &T,
    changes: &[Change],
    decode: impl Fn(&Decoder, &[u8]) -> Decoded<T>,
) {
    let json = serde_json::to_value(event).unwrap();
    let ours = kind.schema_text();
    let avro = datum(ours, &avro_value(json.clone()));
    let mut schema: Value = serde_json::from_str(ours).unwrap();
    let (mut written, mut expected) = (avro_value(json.clone()), json.clone());
    for change in changes {
        evolve(&mut schema, &mut written, &mut expected, change);
    }
    let evolved = schema.to_string();
    let decoder = decoder_with(&evolved);
    let text = json.to_string();
    for (what, value) in [
        ("JSON", text.clone().into_bytes()),
        ("JSON in a frame", frame(ID + 1, text.as_bytes())),
        ("a single object", single_object(kind, &avro)),
    ] {
        assert_eq!(
            decode(&decoder, &value),
            Decoded::Event(event.clone()),
            "{what}"
        );
    }
    let by_another = frame(ID, &datum(&evolved, &written));
    let want = decode(&decoder, expected.to_string().as_bytes());
    assert!(matches!(want, Decoded::Event(_)), "{want:?}");
    assert_eq!(
        decode(&decoder, &by_another),
        want,
        "by the schema {evolved}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_query_is_one_event_in_every_format_and_version(event in query(), changes in changes()) {
        same_in_all(RecordKind::AiQuery, &event, &changes, |decoder, value| {
            decoder.decode_query(Some(value))
        });
    }

    #[test]
    fn a_vendor_change_is_one_event_in_every_format_and_version(
        event in vendor_change(),
        changes in changes(),
    ) {
        same_in_all(RecordKind::VendorChange, &event, &changes, |decoder, value| {
            decoder.decode_vendor_change(Some(value))
        });
    }

    #[test]
    fn a_wedding_update_is_one_event_in_every_format_and_version(
        event in wedding_update(),
        changes in changes(),
    ) {
        same_in_all(RecordKind::WeddingUpdate, &event, &changes, |decoder, value| {
            decoder.decode_wedding_update(Some(value))
        });
    }
}
