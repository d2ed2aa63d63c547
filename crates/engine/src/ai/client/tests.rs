use std::collections::VecDeque;

use futures_util::future::BoxFuture;

use super::*;
use crate::ai::error::{CallPhase, ReplyProblem};

/// A provider that returns errors from a list, each after its latency, and succeeds after the last.
#[derive(Default)]
struct Scripted {
    script: Mutex<VecDeque<ProviderError>>,
    latency: Duration,
    sent: Mutex<Vec<Instant>>,
}

impl Provider for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn attempt<'a>(&'a self, _prompt: &'a Prompt) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            self.sent.lock().push(Instant::now());
            let error = self.script.lock().pop_front();
            tokio::time::sleep(self.latency).await;
            let call = PricedCall {
                model: "m".to_owned(),
                prompt_tokens: 1,
                completion_tokens: 1,
                cost_usd: Some(0.5),
                request_id: None,
                simulated: true,
                usable: true,
                elapsed: self.latency,
            };
            match error {
                None => Attempt::replied(call, Ok("yes".to_owned())),
                Some(error @ ProviderError::Empty) => Attempt::replied(call, Err(error)),
                Some(error) => Attempt::failed(error),
            }
        })
    }
}

fn scripted(script: impl IntoIterator<Item = ProviderError>) -> Arc<Scripted> {
    Arc::new(Scripted {
        script: Mutex::new(script.into_iter().collect()),
        ..Scripted::default()
    })
}

fn slow(latency: Duration) -> Arc<Scripted> {
    Arc::new(Scripted {
        latency,
        ..Scripted::default()
    })
}

fn ai(provider: &Arc<Scripted>, options: AiOptions) -> Ai {
    let provider: Arc<dyn Provider> = Arc::<Scripted>::clone(provider);
    Ai::new(provider, options)
}

fn prompt() -> Prompt {
    Prompt {
        system: String::new(),
        user: "q".to_owned(),
        max_tokens: 10,
        prices: Arc::default(),
    }
}

fn away() -> ProviderError {
    ProviderError::Unavailable {
        status: 503,
        message: String::new(),
        retry_after: None,
    }
}

fn limited(retry_after: Duration) -> ProviderError {
    ProviderError::RateLimited {
        message: String::new(),
        retry_after: Some(retry_after),
    }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn code(outcome: &AiOutcome) -> &'static str {
    outcome
        .result
        .as_ref()
        .err()
        .map_or("answered", ProviderError::code)
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_comes_back_is_asked_until_it_answers() {
    let provider = scripted([away(), away()]);
    let ai = ai(&provider, AiOptions::default());
    let started = Instant::now();
    let outcome = ai.complete(&prompt(), &Until::forever()).await;
    assert_eq!(outcome.result.unwrap().text, "yes");
    assert_eq!((outcome.attempts, outcome.calls.len()), (3, 1));
    assert!(started.elapsed() <= Duration::from_millis(250 + 500 + 10));
}

#[tokio::test(start_paused = true)]
async fn retries_end_at_their_number_with_the_providers_own_error() {
    let provider = scripted(std::iter::repeat_n(away(), 9));
    let ai = ai(
        &provider,
        AiOptions {
            max_retries: 2,
            ..AiOptions::default()
        },
    );
    let outcome = ai.complete(&prompt(), &Until::forever()).await;
    assert_eq!((outcome.result, outcome.attempts), (Err(away()), 3));
}

#[tokio::test(start_paused = true)]
async fn what_asking_again_does_not_heal_or_would_buy_twice_is_asked_once() {
    let message = || String::new();
    for error in [
        ProviderError::OutOfFunds {
            status: 429,
            message: message(),
        },
        ProviderError::Unauthorised {
            status: 401,
            message: message(),
        },
        ProviderError::BadRequest {
            status: 400,
            message: message(),
        },
        ProviderError::Refused { message: message() },
        ProviderError::Filtered { why: message() },
        ProviderError::Truncated {
            completion_tokens: 1,
            why: message(),
        },
        ProviderError::Empty,
        ProviderError::Unusable {
            problem: ReplyProblem::NotJson,
        },
        ProviderError::Timeout {
            phase: CallPhase::Total,
            after: secs(1),
        },
        ProviderError::Timeout {
            phase: CallPhase::FirstByte,
            after: secs(1),
        },
        ProviderError::Gateway {
            status: 504,
            message: message(),
        },
        ProviderError::CutOff { detail: message() },
    ] {
        let provider = scripted([error.clone()]);
        let outcome = ai(&provider, AiOptions::default())
            .complete(&prompt(), &Until::forever())
            .await;
        assert_eq!((outcome.result, outcome.attempts), (Err(error), 1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_unusable_reply_that_cost_money_is_accounted_for() {
    let provider = scripted([ProviderError::Empty]);
    let outcome = ai(&provider, AiOptions::default())
        .complete(&prompt(), &Until::forever())
        .await;
    assert_eq!(outcome.calls.len(), 1);
    assert!(!outcome.calls[0].usable && outcome.calls[0].cost_usd == Some(0.5));
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_the_least_wait() {
    let provider = scripted([limited(secs(7))]);
    let outcome = ai(&provider, AiOptions::default())
        .complete(&prompt(), &Until::forever())
        .await;
    assert_eq!(code(&outcome), "answered");
    let sent = provider.sent.lock();
    let waited = sent[1] - sent[0];
    assert!(
        (secs(7)..=secs(7) + Duration::from_millis(260)).contains(&waited),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn retry_after_beyond_the_last_waiters_deadline_or_the_bound_fails_at_once() {
    let started = Instant::now();
    for (after, until) in [(secs(7), Some(started + secs(5))), (secs(61), None)] {
        let provider = scripted([limited(after)]);
        let ai = ai(&provider, AiOptions::default());
        let outcome = ai.complete(&prompt(), &Until::new(until)).await;
        assert_eq!(
            (code(&outcome), outcome.attempts),
            ("rate_limited", 1),
            "{after:?}"
        );
        assert_eq!(
            ai.status().retries_left,
            10,
            "a retry not made takes nothing"
        );
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_joins_with_a_later_deadline_keeps_the_retries_going() {
    let provider = Arc::new(Scripted {
        script: Mutex::new([limited(secs(7))].into()),
        latency: secs(1),
        ..Scripted::default()
    });
    let ai = ai(&provider, AiOptions::default());
    let until = Until::at(Instant::now() + secs(3));
    let join = async { until.extend(Some(Instant::now() + secs(20))) };
    let prompt = prompt();
    let (outcome, ()) = tokio::join!(ai.complete(&prompt, &until), join);
    assert_eq!(code(&outcome), "answered");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passed_buys_nothing_and_one_that_passes_breaks_nothing_off() {
    let provider = slow(secs(10));
    let ai = ai(&provider, AiOptions::default());
    let late = ai.complete(&prompt(), &Until::at(Instant::now())).await;
    assert_eq!((code(&late), late.attempts), ("deadline_passed", 0));
    let outcome = ai
        .complete(&prompt(), &Until::at(Instant::now() + secs(1)))
        .await;
    assert_eq!((code(&outcome), outcome.attempts), ("answered", 1));
}

#[tokio::test(start_paused = true)]
async fn the_budget_bounds_the_retries_of_all_calls_together() {
    let provider = scripted(std::iter::repeat_n(away(), 1000));
    let budget = BudgetOptions {
        ratio: 0.1,
        burst: 5,
    };
    let breaker = BreakerOptions {
        min_failures: u32::MAX,
        ..BreakerOptions::default()
    };
    let ai = ai(
        &provider,
        AiOptions {
            budget,
            breaker,
            ..AiOptions::default()
        },
    );
    let mut attempts = 0;
    for _ in 0..100 {
        attempts += ai.complete(&prompt(), &Until::forever()).await.attempts;
    }
    // 100 calls, 5 saved retries, one more retry for every ten calls.
    assert!((110..=115).contains(&attempts), "{attempts}");
}

#[tokio::test(start_paused = true)]
async fn the_circuit_opens_refuses_without_a_call_and_closes_again() {
    let provider = scripted(std::iter::repeat_n(away(), 10));
    let breaker = BreakerOptions {
        min_failures: 10,
        probes: 1,
        ..BreakerOptions::default()
    };
    let ai = ai(
        &provider,
        AiOptions {
            max_retries: 0,
            breaker,
            ..AiOptions::default()
        },
    );
    for _ in 0..10 {
        assert_eq!(
            code(&ai.complete(&prompt(), &Until::forever()).await),
            "provider_unavailable"
        );
    }
    assert_eq!(ai.status().breaker.as_number(), 2);
    let refused = ai.complete(&prompt(), &Until::forever()).await;
    assert_eq!((code(&refused), refused.attempts), ("circuit_open", 0));
    assert_eq!(refused.result.unwrap_err().retry_after(), Some(secs(10)));
    tokio::time::sleep(secs(10)).await;
    assert_eq!(ai.status().breaker.as_number(), 1);
    assert_eq!(
        code(&ai.complete(&prompt(), &Until::forever()).await),
        "answered"
    );
    assert_eq!(ai.status().breaker.as_number(), 0);
}

#[tokio::test(start_paused = true)]
async fn refusals_and_bad_requests_do_not_open_the_circuit() {
    let bad = ProviderError::BadRequest {
        status: 400,
        message: String::new(),
    };
    let filtered = ProviderError::Filtered { why: String::new() };
    let script = (0..20).flat_map(|_| [filtered.clone(), bad.clone()]);
    let provider = scripted(script);
    let ai = ai(&provider, AiOptions::default());
    for _ in 0..40 {
        assert_ne!(
            code(&ai.complete(&prompt(), &Until::forever()).await),
            "circuit_open"
        );
    }
    assert_eq!(ai.status().breaker, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn calls_at_once_are_bounded_and_all_others_wait_in_line() {
    let provider = slow(secs(1));
    let options = AiOptions {
        max_concurrent: 2,
        ..AiOptions::default()
    };
    let ai = Arc::new(ai(&provider, options));
    let (calls, waiters): (Vec<_>, Vec<_>) = (0..5_000)
        .map(|_| {
            let (ai, until) = (Arc::clone(&ai), Until::forever());
            let in_line = until.in_line();
            let call = tokio::spawn(async move { ai.complete(&prompt(), &until).await });
            (call, in_line)
        })
        .unzip();
    let in_line = || waiters.iter().filter(|waiter| *waiter.borrow()).count();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((in_line(), ai.status().waiting), (4_998, 4_998));
    tokio::time::sleep(secs(1)).await;
    assert_eq!((in_line(), ai.status().waiting), (4_996, 4_996));
    for call in calls {
        assert_eq!(code(&call.await.unwrap()), "answered");
    }
    assert_eq!((in_line(), ai.status().waiting), (0, 0));
    let sent = provider.sent.lock();
    let second = |from: u64| {
        sent.iter()
            .filter(|at| **at - sent[0] == secs(from))
            .count()
    };
    assert_eq!((second(0), second(1), second(2_499)), (2, 2, 2));
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_line_leaves_it_at_the_deadline() {
    let provider = slow(secs(10));
    let ai = ai(
        &provider,
        AiOptions {
            max_concurrent: 1,
            ..AiOptions::default()
        },
    );
    let started = Instant::now();
    let prompt = prompt();
    let hasty = async {
        tokio::task::yield_now().await;
        let outcome = ai.complete(&prompt, &Until::at(started + secs(2))).await;
        (outcome, started.elapsed())
    };
    let forever = Until::forever();
    let (first, (second, after)) = tokio::join!(ai.complete(&prompt, &forever), hasty);
    assert_eq!(
        (code(&first), code(&second)),
        ("answered", "deadline_passed")
    );
    assert_eq!(after, secs(2));
    assert_eq!((ai.status().waiting, ai.status().running), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_frees_its_place_and_its_probe() {
    let provider = slow(secs(10));
    let breaker = BreakerOptions {
        min_failures: 1,
        probes: 1,
        ..BreakerOptions::default()
    };
    let ai = ai(
        &provider,
        AiOptions {
            max_concurrent: 1,
            max_retries: 0,
            breaker,
            ..AiOptions::default()
        },
    );
    provider.script.lock().push_back(away());
    assert_eq!(
        code(&ai.complete(&prompt(), &Until::forever()).await),
        "provider_unavailable"
    );
    tokio::time::sleep(secs(10)).await;
    let (prompt, forever) = (prompt(), Until::forever());
    let probe = tokio::time::timeout(secs(1), ai.complete(&prompt, &forever));
    probe.await.unwrap_err();
    assert_eq!(ai.status().running, 0);
    assert_eq!(code(&ai.complete(&prompt, &forever).await), "answered");
    assert_eq!(ai.status().breaker, CircuitState::Closed);
}
