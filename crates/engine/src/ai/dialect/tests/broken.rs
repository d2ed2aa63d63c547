//! Connections that break: which calls are retried, and which are recorded as charged.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::ai::error::{CallPhase, Unreached};

#[tokio::test]
async fn slow_headers_time_out_and_are_not_asked_again() {
    let reply = ok(&chat("yes", "stop")).set_delay(Duration::from_secs(30));
    let server = server(vec![reply]).await;
    let mut endpoint = endpoint(&server.uri());
    endpoint.timeouts.first_byte = Duration::from_millis(100);
    let provider = OpenAi::new(&endpoint, &OpenAiOptions::default()).unwrap();
    let ai = Ai::new(Arc::new(provider), options());
    let outcome = ai.complete(&prompt(), &Until::forever()).await;
    let after = Duration::from_millis(100);
    assert_eq!(
        outcome.result,
        Err(ProviderError::Timeout {
            phase: CallPhase::FirstByte,
            after
        })
    );
    assert_eq!((outcome.attempts, outcome.calls.len()), (1, 1));
}

/// The server's action on a connection after it has read a request.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    /// Sends good headers and half a body, then nothing more.
    HalfABody,
    /// Sends good headers and half a body, then closes.
    HalfABodyAndEnd,
    /// Closes without a reply.
    End,
    /// Resets the connection.
    Reset,
    /// Sends a whole reply that promises to keep the connection, then closes it.
    ReplyAndEnd,
}

/// Starts a server that treats every caller alike; returns its address and the count of requests
/// that it has read.
async fn rude(then: Then) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/v1", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            assert_ne!(stream.read(&mut request).await.unwrap(), 0);
            count.fetch_add(1, Ordering::SeqCst);
            let body = chat("yes", "stop").to_string();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
            let text = match then {
                Then::HalfABody | Then::HalfABodyAndEnd => {
                    format!("{head}900\r\n\r\n{{\"choices\": [")
                }
                Then::ReplyAndEnd => format!("{head}{}\r\n\r\n{body}", body.len()),
                Then::End | Then::Reset => String::new(),
            };
            stream.write_all(text.as_bytes()).await.unwrap();
            match then {
                Then::HalfABody => {}
                // Closing a socket with zero linger resets its connection.
                Then::Reset => {
                    stream.set_zero_linger().unwrap();
                    drop(stream);
                    continue;
                }
                _ => stream.shutdown().await.unwrap(),
            }
            // Kept open, because closing with unread bytes would reset the connection.
            open.push(stream);
        }
    });
    (uri, requests)
}

#[tokio::test]
async fn what_breaks_off_after_the_request_was_sent_is_not_repeated_and_stands_in_the_account() {
    let after = Duration::from_millis(200);
    let timeout = ProviderError::Timeout {
        phase: CallPhase::Total,
        after,
    };
    let cut_short = ProviderError::Unusable {
        problem: ReplyProblem::CutShort,
    };
    for (then, want) in [
        (Then::HalfABody, Some(timeout)),
        (Then::HalfABodyAndEnd, Some(cut_short)),
        (Then::End, None),
        (Then::Reset, None),
    ] {
        let (uri, requests) = rude(then).await;
        let mut endpoint = endpoint(&uri);
        if then == Then::HalfABody {
            endpoint.timeouts.total = after;
        }
        let provider = OpenAi::new(&endpoint, &OpenAiOptions::default()).unwrap();
        let ai = Ai::new(Arc::new(provider), options());
        let outcome = ai.complete(&prompt(), &Until::forever()).await;
        assert_eq!((outcome.attempts, requests.load(Ordering::SeqCst)), (1, 1));
        let error = outcome.result.unwrap_err();
        match want {
            Some(want) => assert_eq!(error, want),
            None => assert!(matches!(error, ProviderError::CutOff { .. }), "{error}"),
        }
        let [call] = outcome.calls.as_slice() else {
            panic!("{:?}", outcome.calls);
        };
        assert!(!call.usable && call.cost_usd.is_none());
    }
}

#[tokio::test]
async fn statuses_that_do_not_tell_what_the_provider_did_are_not_repeated() {
    let own = json!({"error": {"type": "server_error", "message": "try again"}});
    let page = "<html>Bad Gateway</html>";
    let reply = ResponseTemplate::new;
    for (reply, repeated) in [
        (reply(502).set_body_string(page), false),
        (reply(504).set_body_string(page), false),
        (reply(504).set_body_json(&own), false),
        (reply(500).set_body_string(page), false),
        (reply(500), false),
        (reply(408), false),
        (reply(524), false),
        (reply(500).set_body_json(&own), true),
        (reply(503).set_body_string(page), true),
        (reply(529), true),
        (reply(429), true),
    ] {
        let shown = format!("{reply:?}");
        let server = server(vec![reply, ok(&chat("yes", "stop"))]).await;
        let outcome = ask(&server).await;
        let sent = requests(&server).await;
        assert_eq!(sent, if repeated { 2 } else { 1 }, "{shown}");
        let want = if repeated {
            "answered"
        } else {
            "provider_unavailable"
        };
        assert_eq!(code(&outcome), want, "{shown}");
        assert_eq!(outcome.calls.len(), 1, "{shown}");
        assert_eq!(outcome.calls[0].cost_usd.is_some(), repeated, "{shown}");
    }
}

#[tokio::test]
async fn a_server_that_closes_each_connection_unannounced_loses_no_call() {
    let (uri, requests) = rude(Then::ReplyAndEnd).await;
    let provider = OpenAi::new(&endpoint(&uri), &OpenAiOptions::default()).unwrap();
    let options = AiOptions {
        max_retries: 0,
        max_concurrent: 4,
        ..options()
    };
    let ai = Arc::new(Ai::new(Arc::new(provider), options));
    // Each call gets its turn at the moment when another one's reply has come.
    let calls = (0..100).map(|_| {
        let ai = Arc::clone(&ai);
        async move { code(&ai.complete(&prompt(), &Until::forever()).await) }
    });
    let codes = futures_util::future::join_all(calls).await;
    assert_eq!(codes, ["answered"; 100]);
    assert_eq!(requests.load(Ordering::SeqCst), 100);
}

#[tokio::test]
async fn a_refused_connection_is_retried_and_costs_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    // https too: the TLS set-up comes first and must not be the step that fails.
    for scheme in ["http", "https"] {
        let provider = open_ai(&format!("{scheme}://{address}"));
        let ai = Ai::new(
            Arc::new(provider),
            AiOptions {
                max_retries: 2,
                ..options()
            },
        );
        let outcome = ai.complete(&prompt(), &Until::forever()).await;
        assert_eq!(
            (code(&outcome), outcome.attempts),
            ("provider_unavailable", 3)
        );
        assert_eq!(outcome.calls, []);
        let message = outcome.result.unwrap_err().to_string();
        assert!(
            message.to_lowercase().contains("connection refused"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_reached_says_why() {
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = plain.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _unsent = stream.write_all(b"HTTP/1.1 400 no TLS here\r\n\r\n").await;
        }
    });
    for (uri, want) in [
        (format!("https://127.0.0.1:{port}"), Unreached::Tls),
        ("http://no-such-host.invalid".to_owned(), Unreached::Name),
    ] {
        match open_ai(&uri).attempt(&prompt()).await.result {
            Err(ProviderError::Unreachable { why, .. }) => assert_eq!(why, want),
            other => panic!("{uri}: {other:?}"),
        }
    }
}
