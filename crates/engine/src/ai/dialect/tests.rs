//! Both dialects and the client over real connections.

mod broken;

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use wiremock::matchers::{body_json, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use wedcache_model::backoff::Policy;
use wedcache_model::clock::Clock;
use wedcache_model::{Date, Price, PriceTable, Timestamp};

use super::*;
use crate::ai::http::Timeouts;
use crate::ai::{
    Ai, AiOptions, AiOutcome, Anthropic, OpenAi, OpenAiOptions, Prompt, Provider, TokenLimit, Until,
};

const KEY: &str = "sk-secret";
const CHAT: &str = "/v1/chat/completions";

fn endpoint(uri: &str) -> Endpoint {
    let (clock, _) = Clock::mock(Timestamp::parse("2026-11-22T10:00:00Z").unwrap());
    Endpoint {
        name: "test".to_owned(),
        base_url: uri.to_owned(),
        api_key: SecretString::from(KEY),
        model: "gpt-test".to_owned(),
        temperature: None,
        timeouts: Timeouts {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(5),
            total: Duration::from_secs(10),
        },
        body_limit: 64 * 1024,
        clock,
    }
}

fn open_ai(uri: &str) -> OpenAi {
    OpenAi::new(&endpoint(&format!("{uri}/v1")), &OpenAiOptions::default()).unwrap()
}

fn prompt() -> Prompt {
    let price = Price {
        pattern: "gpt-test*".to_owned(),
        input_usd_per_million: 2.0,
        output_usd_per_million: 10.0,
    };
    let prices = PriceTable::new(Date::parse("2026-11-01").ok(), vec![price]).unwrap();
    Prompt {
        system: "Advise.".to_owned(),
        user: "Which florist?".to_owned(),
        max_tokens: 300,
        prices: Arc::new(prices),
    }
}

fn chat(content: &str, finish: &str) -> Value {
    json!({
        "id": "chatcmpl-1", "model": "gpt-test-2026-10-01",
        "choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20},
    })
}

fn ok(body: &Value) -> ResponseTemplate {
    ResponseTemplate::new(200)
        .set_body_json(body)
        .insert_header("x-request-id", "req-1")
}

/// Starts a server that sends these replies one after another, then repeats the last one.
async fn server(replies: Vec<ResponseTemplate>) -> MockServer {
    let server = MockServer::start().await;
    let last = replies.len() - 1;
    for (index, reply) in replies.into_iter().enumerate() {
        let mock = Mock::given(method("POST")).respond_with(reply);
        let mock = if index < last {
            mock.up_to_n_times(1)
        } else {
            mock
        };
        mock.mount(&server).await;
    }
    server
}

fn options() -> AiOptions {
    let backoff = Policy::new(Duration::from_millis(1), Duration::from_millis(5));
    AiOptions {
        backoff,
        ..AiOptions::default()
    }
}

async fn ask(server: &MockServer) -> AiOutcome {
    let ai = Ai::new(Arc::new(open_ai(&server.uri())), options());
    ai.complete(&prompt(), &Until::forever()).await
}

async fn requests(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

fn code(outcome: &AiOutcome) -> &'static str {
    outcome
        .result
        .as_ref()
        .err()
        .map_or("answered", ProviderError::code)
}

#[tokio::test]
async fn an_openai_request_carries_what_its_contract_asks_and_the_reply_is_accounted_for() {
    let server = MockServer::start().await;
    let want = json!({
        "model": "gpt-test", "max_completion_tokens": 300,
        "messages": [
            {"role": "system", "content": "Advise."},
            {"role": "user", "content": "Which florist?"},
        ],
    });
    Mock::given(method("POST"))
        .and(path(CHAT))
        .and(header("authorization", "Bearer sk-secret"))
        .and(body_json(want))
        .respond_with(ok(&chat("Ask v-17.", "stop")))
        .mount(&server)
        .await;
    let attempt = open_ai(&server.uri()).attempt(&prompt()).await;
    let completion = attempt.result.unwrap();
    assert_eq!(completion.text, "Ask v-17.");
    assert_eq!(completion.model, "gpt-test-2026-10-01");
    assert_eq!(
        (completion.prompt_tokens, completion.completion_tokens),
        (100, 20)
    );
    assert_eq!(completion.request_id.as_deref(), Some("req-1"));
    assert!((completion.cost_usd.unwrap() - 0.0004).abs() < 1e-12);
    assert!(attempt.call.unwrap().usable && !completion.simulated);
}

#[tokio::test]
async fn the_knobs_of_the_openai_dialect_reach_the_wire() {
    let server = server(vec![ok(&chat("yes", "stop"))]).await;
    let mut endpoint = endpoint(&server.uri());
    endpoint.temperature = Some(0.5);
    endpoint.api_key = SecretString::from("");
    let options = OpenAiOptions {
        organisation: Some("org-1".to_owned()),
        token_limit: TokenLimit::MaxTokens,
    };
    OpenAi::new(&endpoint, &options)
        .unwrap()
        .attempt(&prompt())
        .await
        .result
        .unwrap();
    let request = &server.received_requests().await.unwrap()[0];
    let body: Value = request.body_json().unwrap();
    assert_eq!(
        (&body["max_tokens"], &body["temperature"]),
        (&json!(300), &json!(0.5))
    );
    assert_eq!(body.get("max_completion_tokens"), None);
    assert_eq!(request.headers["openai-organization"], "org-1");
    assert!(!request.headers.contains_key("authorization"));
}

#[tokio::test]
async fn an_anthropic_request_carries_what_its_contract_asks() {
    let server = MockServer::start().await;
    let want = json!({
        "model": "gpt-test", "max_tokens": 300, "system": "Advise.",
        "messages": [{"role": "user", "content": "Which florist?"}],
    });
    let reply = json!({
        "id": "msg_1", "model": "claude-test", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Ask v-17."}],
        "usage": {"input_tokens": 100, "output_tokens": 20},
    });
    Mock::given(method("POST"))
        .and(path("/v1/messages"))
        .and(header("x-api-key", KEY))
        .and(header("anthropic-version", "2023-06-01"))
        .and(body_json(want))
        .respond_with(ResponseTemplate::new(200).set_body_json(reply))
        .mount(&server)
        .await;
    let attempt = Anthropic::new(&endpoint(&server.uri()))
        .unwrap()
        .attempt(&prompt())
        .await;
    let completion = attempt.result.unwrap();
    assert_eq!(
        (completion.text.as_str(), completion.model.as_str()),
        ("Ask v-17.", "claude-test")
    );
    assert_eq!(completion.request_id.as_deref(), Some("msg_1"));
    // Priced by the requested name, since the table has no price for the name in the reply.
    assert!((completion.cost_usd.unwrap() - 0.0004).abs() < 1e-12);
}

#[tokio::test]
async fn five_hundreds_are_retried_until_the_provider_is_back() {
    let down = || ResponseTemplate::new(503);
    let server = server(vec![
        down(),
        ResponseTemplate::new(529),
        ok(&chat("yes", "stop")),
    ])
    .await;
    let outcome = ask(&server).await;
    assert_eq!(
        (code(&outcome), outcome.attempts, outcome.calls.len()),
        ("answered", 3, 1)
    );
}

#[tokio::test]
async fn retry_after_is_read_from_seconds_and_from_a_date() {
    for (value, want) in [("7", 7), ("Sun, 22 Nov 2026 10:00:30 GMT", 30)] {
        let reply = ResponseTemplate::new(429)
            .insert_header("retry-after", value)
            .set_body_json(
                json!({"error": {"code": "rate_limit_exceeded", "message": "slow down"}}),
            );
        let server = server(vec![reply]).await;
        let want = ProviderError::RateLimited {
            message: "slow down".to_owned(),
            retry_after: Some(Duration::from_secs(want)),
        };
        let ai = Ai::new(Arc::new(open_ai(&server.uri())), options());
        let until = Until::at(Instant::now() + Duration::from_secs(5));
        let outcome = ai.complete(&prompt(), &until).await;
        assert_eq!(
            (outcome.result, outcome.attempts),
            (Err(want), 1),
            "{value}"
        );
    }
}

#[tokio::test]
async fn a_rate_limit_with_a_short_wait_is_waited_out() {
    let limited = ResponseTemplate::new(429).insert_header("retry-after-ms", "80");
    let server = server(vec![limited, ok(&chat("yes", "stop"))]).await;
    let started = Instant::now();
    let outcome = ask(&server).await;
    assert_eq!((code(&outcome), outcome.attempts), ("answered", 2));
    assert!(started.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn an_empty_account_and_refused_credentials_are_asked_once() {
    let quota = json!({"error": {"code": "insufficient_quota", "message": "check your plan"}});
    let wrong = json!({"error": {"message": format!("Incorrect API key provided: {KEY}")}});
    for (status, body, want) in [
        (429, quota, "out_of_funds"),
        (401, wrong.clone(), "unauthorised"),
        (400, wrong.clone(), "unauthorised"),
        (422, wrong.clone(), "bad_request"),
        (301, wrong, "bad_request"),
    ] {
        let reply = ResponseTemplate::new(status)
            .insert_header("location", "/elsewhere")
            .set_body_json(body);
        let server = server(vec![reply]).await;
        let outcome = ask(&server).await;
        assert_eq!((code(&outcome), requests(&server).await), (want, 1));
        assert_eq!(outcome.calls, []);
        let message = outcome.result.unwrap_err().to_string();
        assert!(!message.contains(KEY), "{message}");
    }
}

/// Gateways send such errors with the status 200.
#[tokio::test]
async fn who_is_turned_away_is_not_charged_whatever_the_status_says() {
    for (code, want) in [
        (json!("insufficient_quota"), "out_of_funds"),
        (json!(401), "unauthorised"),
    ] {
        let body = json!({"error": {"code": code, "message": "no"}});
        let outcome =
            ask(&server(vec![ResponseTemplate::new(200).set_body_json(body)]).await).await;
        assert_eq!(self::code(&outcome), want);
        assert_eq!(outcome.calls, []);
    }
}

#[tokio::test]
async fn replies_that_cannot_be_used_are_never_answers_and_never_bought_again() {
    let text = |body: &str| ResponseTemplate::new(200).set_body_string(body);
    let refusal = json!({"choices": [{"message": {"content": null, "refusal": "no"}}]});
    for (reply, want) in [
        (text("<html>502 Bad Gateway</html>"), "unusable_reply"),
        (text("{\"choices\": [{\"mess"), "unusable_reply"),
        (text(""), "unusable_reply"),
        (text(" \n"), "unusable_reply"),
        (text("{}"), "unusable_reply"),
        (text("null"), "unusable_reply"),
        (text("{\"choices\": []}"), "unusable_reply"),
        (
            text("{\"error\": {\"message\": \"upstream broke\"}}"),
            "unusable_reply",
        ),
        (
            text("{\"error\": {\"code\": 400, \"message\": \"no\"}}"),
            "bad_request",
        ),
        (text(&"x".repeat(70_000)), "unusable_reply"),
        (ok(&chat("half a sen", "length")), "truncated"),
        (ok(&chat("x", "content_filter")), "filtered"),
        (ok(&chat(" \n\t", "stop")), "empty"),
        (ok(&refusal), "refused"),
    ] {
        let server = server(vec![reply]).await;
        let outcome = ask(&server).await;
        assert_eq!((code(&outcome), requests(&server).await), (want, 1));
        assert_eq!(outcome.calls.len(), 1, "{want} may have been charged");
        assert!(!outcome.calls[0].usable);
    }
}

#[tokio::test]
async fn a_truncated_reply_is_paid_for() {
    let server = server(vec![ok(&chat("half a sen", "length"))]).await;
    let outcome = ask(&server).await;
    let call = &outcome.calls[0];
    assert_eq!((call.prompt_tokens, call.completion_tokens), (100, 20));
    assert!((call.cost_usd.unwrap() - 0.0004).abs() < 1e-12);
    assert_eq!(
        outcome.result,
        Err(ProviderError::Truncated {
            completion_tokens: 20,
            why: "it ended with `length`".to_owned(),
        })
    );
}

#[tokio::test]
async fn a_model_without_a_price_has_an_unknown_cost() {
    let mut reply = chat("yes", "stop");
    reply["model"] = json!("other");
    let server = server(vec![ok(&reply)]).await;
    let mut endpoint = endpoint(&format!("{}/v1", server.uri()));
    endpoint.model = "another".to_owned();
    let provider = OpenAi::new(&endpoint, &OpenAiOptions::default()).unwrap();
    assert_eq!(
        provider.attempt(&prompt()).await.result.unwrap().cost_usd,
        None
    );
}

#[tokio::test]
async fn a_reply_is_read_whatever_it_is_packed_in() {
    let body = chat("Ask v-17.", "stop").to_string();
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packer, body.as_bytes()).unwrap();
    let gzip = packer.finish().unwrap();
    let with = |bytes: Vec<u8>| ResponseTemplate::new(200).set_body_raw(bytes, "text/plain");
    let (half, rest) = ("Ask ", "v-17.");
    let event = |content: &str, finish: Value| {
        let choice = json!({"delta": {"content": content}, "finish_reason": finish});
        let usage = json!({"prompt_tokens": 100, "completion_tokens": 20});
        format!(
            "data: {}\n\n",
            json!({"model": "gpt-test", "choices": [choice], "usage": usage})
        )
    };
    let stream = event(half, Value::Null) + &event(rest, json!("stop")) + "data: [DONE]\n\n";
    for reply in [
        with(gzip.clone()).insert_header("content-encoding", "gzip"),
        with(gzip),
        with([b"\xef\xbb\xbf\r\n", body.as_bytes(), b"\n\n"].concat()),
        with(stream.into_bytes()),
    ] {
        let server = server(vec![reply]).await;
        let attempt = open_ai(&server.uri()).attempt(&prompt()).await;
        let completion = attempt.result.unwrap();
        assert_eq!(completion.text, "Ask v-17.");
        assert!((completion.cost_usd.unwrap() - 0.0004).abs() < 1e-12);
    }
}

#[tokio::test]
async fn an_answer_without_a_usage_that_makes_sense_has_an_unknown_cost() {
    for usage in [
        json!(null),
        json!({}),
        json!({"prompt_tokens": -1, "completion_tokens": 1e300}),
        json!("x"),
    ] {
        let mut reply = chat("yes", "stop");
        reply["usage"] = usage;
        let server = server(vec![ok(&reply)]).await;
        let attempt = open_ai(&server.uri()).attempt(&prompt()).await;
        let call = attempt.call.unwrap();
        assert_eq!((call.cost_usd, call.usable), (None, true));
        assert_eq!(attempt.result.unwrap().cost_usd, None);
    }
}

#[tokio::test]
async fn anthropics_faults_are_classified_alike() {
    let error = |kind: &str, message: &str| json!({"type": "error", "error": {"type": kind, "message": message}});
    let low = error(
        "invalid_request_error",
        "Your credit balance is too low to access the Anthropic API.",
    );
    for (status, body, want) in [
        (
            529,
            error("overloaded_error", "Overloaded"),
            "provider_unavailable",
        ),
        (429, error("rate_limit_error", "slow down"), "rate_limited"),
        (400, low, "out_of_funds"),
        (
            401,
            error("authentication_error", "invalid x-api-key"),
            "unauthorised",
        ),
        (
            200,
            json!({"content": [{"type": "text", "text": "no"}], "stop_reason": "refusal"}),
            "refused",
        ),
        (200, error("api_error", "broke"), "unusable_reply"),
    ] {
        let server = server(vec![ResponseTemplate::new(status).set_body_json(body)]).await;
        let provider = Anthropic::new(&endpoint(&server.uri())).unwrap();
        let result = provider.attempt(&prompt()).await.result;
        assert_eq!(result.unwrap_err().code(), want);
    }
}

#[test]
fn endpoints_that_cannot_work_are_refused_at_once() {
    let mut newline = endpoint("http://127.0.0.1:1");
    newline.api_key = SecretString::from("sk-1\n");
    let error = OpenAi::new(&newline, &OpenAiOptions::default())
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("API key") && !error.contains("sk-"),
        "{error}"
    );
    assert!(Anthropic::new(&endpoint("localhost:8080")).is_err());
}
