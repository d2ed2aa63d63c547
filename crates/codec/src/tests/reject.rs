//! What a decoder rejects, with its reason and place.

use crate::{MaxBytes, Reject};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    avro_query, datum, decoder, query, rejected, single_object, vendor_change, wedding_update, with,
};
use crate::{Decoded, Decoder, LogRecord, Reason, RecordKind, Schemas};

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
