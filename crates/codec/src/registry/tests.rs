use std::time::Duration;

use serde_json::json;
use wiremock::matchers::{body_partial_json, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use wedcache_model::AiQuery;
use wedcache_model::trouble::captured::Captured;

use super::*;
use crate::{Decoded, Decoder, Encoder, Framing, Framings, Reason};

fn registry_at(urls: &[String]) -> (Arc<Schemas>, Registry) {
    let schemas = Arc::new(Schemas::embedded());
    let options = RegistryOptions::new(urls.to_vec());
    let registry = Registry::new(options, Arc::clone(&schemas)).unwrap();
    (schemas, registry)
}

async fn serves(
    server: &MockServer,
    id: u32,
    answer: ResponseTemplate,
    times: impl Into<wiremock::Times>,
) {
    Mock::given(method("GET"))
        .and(path(format!("/schemas/ids/{id}")))
        .respond_with(answer)
        .expect(times)
        .mount(server)
        .await;
}

fn schema(body: &serde_json::Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

fn frame(id: u32, payload: &[u8]) -> Vec<u8> {
    [&[0], id.to_be_bytes().as_slice(), payload].concat()
}

fn decode(schemas: &Arc<Schemas>, value: &[u8]) -> Decoded<AiQuery> {
    Decoder::new(Arc::clone(schemas), 1 << 20).decode_query(Some(value))
}

const QUERY: &str = r#"{"queryId":"q","query":{"type":"t","content":"c"},
    "weddingContext":{"location":{"city":"Austin","state":"TX"}}}"#;

#[tokio::test]
async fn a_frame_of_an_unknown_id_is_read_once_the_registry_has_told() {
    let server = MockServer::start().await;
    let avro = json!({ "schema": crate::RecordKind::AiQuery.schema_text() });
    serves(&server, 7, schema(&avro), 1).await;
    let (schemas, registry) = registry_at(&[server.uri()]);
    let value = frame(7, &crate::avro::minimal_query());

    assert_eq!(
        decode(&schemas, &value),
        Decoded::Unresolved { schema_id: 7 }
    );
    assert!(matches!(registry.resolve(7).await, Resolved::Known));
    assert!(matches!(decode(&schemas, &value), Decoded::Event(_)));

    // Known forever: even while the registry is away.
    drop(server);
    assert!(matches!(registry.resolve(7).await, Resolved::Known));
    assert!(matches!(decode(&schemas, &value), Decoded::Event(_)));
}

#[tokio::test]
async fn a_frame_of_a_json_schema_carries_json() {
    let server = MockServer::start().await;
    let answer = json!({"schema": "{\"type\":\"object\"}", "schemaType": "JSON"});
    serves(&server, 8, schema(&answer), 1).await;
    let (schemas, registry) = registry_at(&[server.uri()]);
    assert!(matches!(registry.resolve(8).await, Resolved::Known));
    let value = frame(8, QUERY.as_bytes());
    assert!(matches!(decode(&schemas, &value), Decoded::Event(_)));
    match decode(&schemas, &frame(8, b"{")) {
        Decoded::Rejected(reject) => assert_eq!(reject.reason, Reason::UnreadableJson),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn schemas_of_no_use_here_are_rejected_with_their_reason() {
    let server = MockServer::start().await;
    for (id, answer, want) in [
        (
            1,
            json!({"schema": "syntax = \"proto3\";", "schemaType": "PROTOBUF"}),
            Reason::UnsupportedFormat,
        ),
        (
            2,
            json!({"schema": "\"string\"", "references": [{"name": "a"}]}),
            Reason::UnreadableAvro,
        ),
        (3, json!({"schema": "{]"}), Reason::UnreadableAvro),
        (4, json!({"schema": "\"string\""}), Reason::UnreadableAvro),
        (
            5,
            json!({"schema": crate::RecordKind::VendorChange.schema_text()}),
            Reason::UnreadableAvro,
        ),
    ] {
        serves(&server, id, schema(&answer), 1).await;
        let (schemas, registry) = registry_at(&[server.uri()]);
        assert!(matches!(registry.resolve(id).await, Resolved::Known));
        match decode(&schemas, &frame(id, b"\x02a")) {
            Decoded::Rejected(reject) => assert_eq!(reject.reason, want, "{reject}"),
            other => panic!("{id}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn an_id_that_does_not_exist_is_believed_for_a_while() {
    let server = MockServer::start().await;
    let answer = json!({"error_code": 40403, "message": "Schema 9 not found"});
    let answer = ResponseTemplate::new(404).set_body_json(answer);
    serves(&server, 9, answer, 2).await;
    let schemas = Arc::new(Schemas::embedded());
    let options = RegistryOptions {
        unknown_for: Duration::from_hours(1),
        ..RegistryOptions::new(vec![server.uri()])
    };
    let registry = Registry::new(options, schemas).unwrap();
    for _ in 0..3 {
        assert!(matches!(registry.resolve(9).await, Resolved::Unknown));
    }
    // Requested again after the hour, because it may have been registered meanwhile.
    lock(&registry.unknown).insert(9, Instant::now());
    assert!(matches!(registry.resolve(9).await, Resolved::Unknown));
}

#[tokio::test]
async fn a_registry_that_fails_or_cannot_be_reached_is_away() {
    let server = MockServer::start().await;
    serves(&server, 1, ResponseTemplate::new(500), 1).await;
    serves(&server, 2, ResponseTemplate::new(401), 1).await;
    serves(
        &server,
        3,
        ResponseTemplate::new(200).set_body_string("<html>"),
        1,
    )
    .await;
    let long = "x".repeat(MAX_ANSWER_BYTES + 1);
    serves(
        &server,
        4,
        ResponseTemplate::new(200).set_body_string(long),
        1,
    )
    .await;
    let (schemas, registry) = registry_at(&[server.uri()]);
    for id in 1..=4 {
        assert!(matches!(registry.resolve(id).await, Resolved::Away(_)));
        assert!(!schemas.knows_id(id));
    }
    let (_, registry) = registry_at(&["http://127.0.0.1:1".to_owned()]);
    match registry.resolve(1).await {
        Resolved::Away(error) => assert!(error.retry(), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_second_server_answers_for_one_that_is_down() {
    let (down, up) = (MockServer::start().await, MockServer::start().await);
    serves(&down, 1, ResponseTemplate::new(503), 1).await;
    serves(&up, 1, schema(&json!({"schema": "\"string\""})), 1).await;
    let urls = [
        "http://127.0.0.1:1".to_owned(),
        down.uri(),
        format!("{}/", up.uri()),
    ];
    let (_, registry) = registry_at(&urls);
    assert!(matches!(registry.resolve(1).await, Resolved::Known));
}

#[tokio::test]
async fn callers_of_one_id_share_one_request() {
    let server = MockServer::start().await;
    let slow = schema(&json!({"schema": "\"string\""})).set_delay(Duration::from_millis(50));
    serves(&server, 1, slow, 1).await;
    let (_, registry) = registry_at(&[server.uri()]);
    let calls = (0..50).map(|_| registry.resolve(1));
    let all = futures_util::future::join_all(calls).await;
    assert!(all.iter().all(|one| matches!(one, Resolved::Known)));
    assert!(lock(&registry.requests).is_empty());
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_request_to_the_others() {
    let server = MockServer::start().await;
    let slow = schema(&json!({"schema": "\"string\""})).set_delay(Duration::from_millis(200));
    serves(&server, 1, slow, 1..=2).await;
    let (_, registry) = registry_at(&[server.uri()]);
    let impatient = async {
        let call = tokio::time::timeout(Duration::from_millis(20), registry.resolve(1));
        call.await.is_err()
    };
    let (gave_up, other) = tokio::join!(impatient, registry.resolve(1));
    assert!(gave_up);
    assert!(matches!(other, Resolved::Known));
    assert!(lock(&registry.requests).is_empty());
}

#[tokio::test]
async fn ids_for_output_are_looked_up_and_else_registered() {
    let server = MockServer::start().await;
    let text = crate::RecordKind::AiAnswer.schema_text();
    Mock::given(method("POST"))
        .and(path("/subjects/known%2Dvalue"))
        .and(header("authorization", "Basic dTpw"))
        .and(body_partial_json(json!({ "schema": text })))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"id": 3, "version": 1})))
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(path("/subjects/new%2Dvalue/versions"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"id": 4})))
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(path("/subjects/old%2Dvalue/versions"))
        .respond_with(ResponseTemplate::new(409).set_body_json(
            json!({"error_code": 409, "message": "incompatible with an earlier schema"}),
        ))
        .mount(&server)
        .await;
    let options = RegistryOptions {
        auth: Some(RegistryAuth::Basic {
            user: "u".into(),
            password: "p".into(),
        }),
        ..RegistryOptions::new(vec![server.uri()])
    };
    let registry = Registry::new(options, Arc::new(Schemas::embedded())).unwrap();
    let kind = crate::RecordKind::AiAnswer;
    assert_eq!(registry.register("known-value", kind).await.unwrap(), 3);
    assert_eq!(registry.register("new-value", kind).await.unwrap(), 4);
    match registry.register("old-value", kind).await {
        Err(RegistryError::Refused { subject, message }) => {
            assert_eq!(subject, "old-value");
            assert!(message.contains("incompatible"));
        }
        other => panic!("{other:?}"),
    }
    let answers = framing(Format::Confluent, "known", kind, Some(&registry)).await;
    assert_eq!(
        answers.as_ref().ok(),
        Some(&Framing::Confluent { schema_id: 3 })
    );
    let encoder = Encoder::new(Framings {
        answers: answers.unwrap(),
        ..Framings::default()
    });
    let mut out = b"earlier".to_vec();
    encoder.encode_answer(&crate::tests::answer(), None, &mut out);
    assert!(out.starts_with(&[0, 0, 0, 0, 3]));
}

#[tokio::test]
async fn only_confluent_frames_need_a_registry() {
    let kind = crate::RecordKind::CacheMetric;
    for (format, want) in [
        (Format::Json, Some(Framing::Json)),
        (Format::AvroSingleObject, Some(Framing::SingleObject)),
        (Format::Confluent, None),
    ] {
        assert_eq!(framing(format, "metrics", kind, None).await.ok(), want);
    }
    let (_, away) = registry_at(&["http://127.0.0.1:1".to_owned()]);
    match framing(Format::Confluent, "metrics", kind, Some(&away)).await {
        Err(error) => assert!(error.retry(), "{error}"),
        Ok(framing) => panic!("{framing:?}"),
    }
}

#[test]
fn an_address_that_is_none_is_named_and_secrets_are_not_shown() {
    let schemas = Arc::new(Schemas::embedded());
    let new = |urls: &[&str]| {
        let urls = urls.iter().map(|&url| url.to_owned()).collect();
        Registry::new(RegistryOptions::new(urls), Arc::clone(&schemas))
    };
    assert!(matches!(new(&[]), Err(RegistryError::NoUrl)));
    for (url, shown) in [
        ("registry:8081", "registry:8081"),
        ("http//u:se@cret@registry", "registry"),
        ("ftp://u:secret@registry", "registry"),
    ] {
        match new(&[url]) {
            Err(RegistryError::Url { url }) => assert_eq!(url, shown),
            other => panic!("{other:?}"),
        }
    }
    let server = Server::parse("http://u:secret@127.0.0.1:1/base/").unwrap();
    assert_eq!(server.shown, "http://127.0.0.1:1/base");
    assert!(!format!("{server:?}").contains("secret"));
}

#[tokio::test]
async fn a_404_that_does_not_name_the_schema_says_nothing_about_it() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .respond_with(ResponseTemplate::new(404).set_body_string("no such page"))
        .mount(&server)
        .await;
    let options = RegistryOptions::new(vec![server.uri()]);
    let registry = Registry::new(options, Arc::new(Schemas::embedded())).unwrap();
    assert!(matches!(registry.resolve(9).await, Resolved::Away(_)));
}

#[tokio::test]
async fn a_token_goes_as_a_bearer() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(wiremock::matchers::header("authorization", "Bearer t-1"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"id": 3})))
        .expect(1)
        .mount(&server)
        .await;
    let options = RegistryOptions {
        auth: Some(RegistryAuth::Bearer("t-1".into())),
        ..RegistryOptions::new(vec![server.uri()])
    };
    let registry = Registry::new(options, Arc::new(Schemas::embedded())).unwrap();
    let kind = crate::RecordKind::AiAnswer;
    assert_eq!(registry.register("known-value", kind).await.unwrap(), 3);
}

#[tokio::test]
async fn what_a_registry_refuses_is_told_once_and_is_over_when_it_answers() {
    for (status, reason) in [
        (401, "unauthorized"),
        (403, "unauthorized"),
        (404, "wrong_path"),
        (429, "status"),
        (503, "status"),
        (200, "unreadable"),
    ] {
        let (log, _guard) = Captured::begin(tracing::Level::TRACE);
        let server = MockServer::start().await;
        let answer = ResponseTemplate::new(status).set_body_string("<html>");
        let refusal = Mock::given(method("GET")).respond_with(answer);
        let refusal = refusal.mount_as_scoped(&server).await;
        let url = server.uri().replace("//", "//u:s3cret@");
        let (_, registry) = registry_at(&[url]);
        for id in 0..20 {
            assert!(matches!(registry.resolve(id).await, Resolved::Away(_)));
        }
        let trouble = registry.trouble().unwrap();
        assert_eq!((trouble.reason, trouble.down), (reason, true));
        assert_eq!(log.lines_with(&["WARN"]), 1, "{}", log.text());
        drop(refusal);
        let none = json!({"error_code": 40403, "message": "none"});
        let none = ResponseTemplate::new(404).set_body_json(none);
        serves(&server, 9, none, 1).await;
        assert!(matches!(registry.resolve(9).await, Resolved::Unknown));
        assert_eq!(registry.trouble(), None);
        assert_eq!(log.lines_with(&["INFO", "over:"]), 1, "{}", log.text());
        let shown = format!("{} {registry:?} {trouble:?}", log.text());
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_told_with_the_cause() {
    let (log, _guard) = Captured::begin(tracing::Level::INFO);
    let (_, registry) = registry_at(&["http://u:s3cret@127.0.0.1:1".to_owned()]);
    assert!(matches!(registry.resolve(1).await, Resolved::Away(_)));
    let told = ["WARN", "unreachable", "127.0.0.1:1", "refused"];
    assert_eq!(log.lines_with(&told), 1, "{}", log.text());
    assert!(!log.text().contains("s3cret"));
}
