//! The AI client against an OpenAI-compatible server that is not ours: `llmock` from PyPI, which
//! needs no model weights, scripts faults, and judges how a client handled them.
//!
//! ```text
//! python3 -m venv target/llmock && target/llmock/bin/pip install llmock==0.2.2
//! target/llmock/bin/llmock serve --port 8811 &
//! WEDCACHE_TEST_OPENAI=http://127.0.0.1:8811/v1 cargo test --test it foreign_ai
//! ```
//!
//! Without `WEDCACHE_TEST_OPENAI` these tests report that they are skipped. The first one also
//! works against any other server of the dialect.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;
use wedcache::ai::http::DEFAULT_BODY_LIMIT;
use wedcache::ai::{
    Ai, AiOptions, AiOutcome, Anthropic, Endpoint, OpenAi, OpenAiOptions, Prompt, Provider,
    ProviderError, Timeouts, TokenLimit, Until,
};
use wedcache::clock::Clock;
use wedcache::model::{Date, Price, PriceTable};
use wedcache::outbound::install_crypto;

/// A lock for one test at a time: the server has one queue of faults and one journal.
static SERVER: Mutex<()> = Mutex::const_new(());

struct Server {
    /// The OpenAI dialect's base address, ending in `/v1`.
    base: String,
    http: reqwest::Client,
    _turn: MutexGuard<'static, ()>,
}

impl Server {
    /// Returns the configured server; `None` if there is none.
    async fn given() -> Option<Self> {
        #[expect(
            clippy::disallowed_methods,
            reason = "tests have no settings of their own"
        )]
        let Ok(base) = std::env::var("WEDCACHE_TEST_OPENAI") else {
            assert!(
                std::env::var_os("CI").is_none(),
                "WEDCACHE_TEST_OPENAI must be set in CI"
            );
            eprintln!(
                "SKIPPED: WEDCACHE_TEST_OPENAI is not set; scripts/test starts such a server"
            );
            return None;
        };
        install_crypto();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let base = base.trim_end_matches('/').to_owned();
        Some(Self {
            base,
            http,
            _turn: SERVER.lock().await,
        })
    }

    /// Returns the server with an empty queue and journal; `None` if it is not `llmock`, because no
    /// other server can be scripted.
    async fn scriptable() -> Option<Self> {
        let server = Self::given().await?;
        let reset = server
            .http
            .post(server.control("reset"))
            .send()
            .await
            .unwrap();
        if reset.status().is_success() {
            return Some(server);
        }
        eprintln!("skipped: the server at {} is not llmock", server.base);
        None
    }

    fn root(&self) -> &str {
        self.base.trim_end_matches("/v1")
    }

    fn control(&self, what: &str) -> String {
        format!("{}/_llmock/{what}", self.root())
    }

    async fn script(&self, behaviours: Value) {
        let body = json!({"behaviors": behaviours});
        let reply = self
            .http
            .post(self.control("scenario"))
            .json(&body)
            .send()
            .await
            .unwrap();
        assert!(
            reply.status().is_success(),
            "{}",
            reply.text().await.unwrap()
        );
    }

    /// Returns the server's judgement of its clients since the last reset.
    async fn verdict(&self) -> Value {
        self.http
            .get(self.control("verdict"))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    fn endpoint(base_url: String) -> Endpoint {
        Endpoint {
            name: "foreign".to_owned(),
            base_url,
            api_key: SecretString::from("sk-any"),
            model: "gpt-4o-mini".to_owned(),
            temperature: None,
            timeouts: Timeouts::default(),
            body_limit: DEFAULT_BODY_LIMIT,
            clock: Clock::System,
        }
    }

    fn open_ai(&self) -> Ai {
        let options = OpenAiOptions {
            organisation: None,
            token_limit: TokenLimit::MaxTokens,
        };
        let endpoint = Self::endpoint(self.base.clone());
        ai(OpenAi::new(&endpoint, &options).unwrap())
    }

    fn anthropic(&self) -> Ai {
        let endpoint = Self::endpoint(format!("{}/anthropic", self.root()));
        ai(Anthropic::new(&endpoint).unwrap())
    }
}

fn ai(provider: impl Provider + 'static) -> Ai {
    Ai::new(Arc::new(provider), AiOptions::default())
}

async fn ask(ai: &Ai, question: &str) -> AiOutcome {
    let price = Price {
        pattern: "*".to_owned(),
        input_usd_per_million: 1.0,
        output_usd_per_million: 4.0,
    };
    let as_of = Date::parse("2026-11-01").unwrap();
    let prompt = Prompt {
        system: "Advise on weddings.".to_owned(),
        user: question.to_owned(),
        max_tokens: 200,
        prices: Arc::new(PriceTable::new(Some(as_of), vec![price]).unwrap()),
    };
    ai.complete(&prompt, &Until::forever()).await
}

fn code(outcome: &AiOutcome) -> &'static str {
    outcome
        .result
        .as_ref()
        .err()
        .map_or("answered", ProviderError::code)
}

#[tokio::test]
async fn a_foreign_server_answers_and_its_tokens_are_priced() {
    let Some(server) = Server::given().await else {
        return;
    };
    let outcome = ask(&server.open_ai(), "Which florist fits a barn wedding?").await;
    let completion = outcome.result.unwrap();
    assert!(!completion.text.trim().is_empty() && !completion.simulated);
    assert!(completion.completion_tokens > 0 && completion.cost_usd > Some(0.0));
    assert_eq!((outcome.attempts, outcome.calls.len()), (1, 1));
}

#[tokio::test]
async fn a_foreign_anthropic_server_answers() {
    let Some(server) = Server::scriptable().await else {
        return;
    };
    let outcome = ask(&server.anthropic(), "Which florist fits a barn wedding?").await;
    let completion = outcome.result.unwrap();
    assert!(!completion.text.trim().is_empty() && completion.completion_tokens > 0);
}

#[tokio::test]
async fn the_server_finds_no_fault_with_how_its_own_faults_are_taken() {
    let Some(server) = Server::scriptable().await else {
        return;
    };
    for ai in [server.open_ai(), server.anthropic()] {
        server
            .script(json!([
                {"type": "fail", "status": 429, "retry_after": 1.0},
                {"type": "fail", "status": 503, "times": 2},
            ]))
            .await;
        let started = Instant::now();
        let outcome = ask(&ai, "Is v-17 free in June?").await;
        assert_eq!((code(&outcome), outcome.attempts), ("answered", 4));
        assert!(started.elapsed() >= Duration::from_secs(1));
        for (status, want) in [
            (400, "bad_request"),
            (401, "unauthorised"),
            (422, "bad_request"),
        ] {
            server
                .script(json!([{"type": "fail", "status": status}]))
                .await;
            let outcome = ask(&ai, &format!("A question refused with {status}?")).await;
            assert_eq!((code(&outcome), outcome.attempts), (want, 1));
        }
    }
    let verdict = server.verdict().await;
    assert_eq!(verdict["passed"], json!(true), "{verdict:#}");
    assert_eq!(
        (&verdict["calls"], &verdict["attempts"]),
        (&json!(8), &json!(14)),
        "{verdict:#}"
    );
}

#[tokio::test]
async fn an_empty_account_is_not_asked_again() {
    let Some(server) = Server::scriptable().await else {
        return;
    };
    let quota = json!([{"type": "fail", "status": 429, "code": "insufficient_quota", "times": 5}]);
    server.script(quota).await;
    let outcome = ask(&server.open_ai(), "Which venue?").await;
    assert_eq!((code(&outcome), outcome.attempts), ("out_of_funds", 1));
    assert_eq!(server.verdict().await["attempts"], json!(1));
}

#[tokio::test]
async fn cut_off_filtered_and_empty_replies_are_no_answers() {
    let Some(server) = Server::scriptable().await else {
        return;
    };
    for (reply, want) in [
        (
            json!({"type": "reply", "text": "half a sen", "finish_reason": "length"}),
            "truncated",
        ),
        (
            json!({"type": "reply", "text": "x", "finish_reason": "content_filter"}),
            "filtered",
        ),
        (json!({"type": "reply", "text": "  \n"}), "empty"),
    ] {
        server.script(json!([reply])).await;
        let outcome = ask(&server.open_ai(), &format!("A question that ends {want}?")).await;
        assert_eq!((code(&outcome), outcome.calls.len()), (want, 1));
    }
}

#[tokio::test]
async fn a_slow_foreign_server_times_out() {
    let Some(server) = Server::scriptable().await else {
        return;
    };
    server
        .script(json!([{"type": "delay", "seconds": 2.0}]))
        .await;
    let mut endpoint = Server::endpoint(server.base.clone());
    endpoint.timeouts.first_byte = Duration::from_millis(200);
    let ai = ai(OpenAi::new(&endpoint, &OpenAiOptions::default()).unwrap());
    let outcome = ask(&ai, "Which venue?").await;
    assert_eq!((code(&outcome), outcome.attempts), ("timeout", 1));
}
