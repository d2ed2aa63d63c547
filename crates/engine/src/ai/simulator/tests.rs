use wedcache_model::{Price, PriceTable};

use super::*;

fn prompt(user: &str) -> Prompt {
    Prompt {
        system: "Advise.".to_owned(),
        user: user.to_owned(),
        max_tokens: 500,
        prices: Arc::default(),
    }
}

fn price() -> Price {
    Price {
        pattern: "sim*".to_owned(),
        input_usd_per_million: 2.5,
        output_usd_per_million: 10.0,
    }
}

fn priced(user: &str) -> Prompt {
    Prompt {
        prices: PriceTable::new(None, vec![price()]).unwrap().into(),
        ..prompt(user)
    }
}

fn pool() -> Vec<String> {
    (1..=20).map(|n| format!("v-{n}")).collect()
}

fn simulator(options: SimulatorOptions) -> Simulator {
    Simulator::new(SimulatorOptions {
        log_limit: 3,
        ..options
    })
    .in_world(Arc::new(Arc::new(Vendors::numbered(20))))
}

/// A world that tests change; `None` cannot be read.
struct Changing(Mutex<Option<Arc<Vendors>>>);

impl Changing {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(Arc::new(Vendors::numbered(20))))))
    }

    fn change(&self, vendor: &str, change: &str) {
        let mut vendors = self.0.lock();
        let event = format!(
            r#"{{"eventId":"e","vendorId":"{vendor}","change":"{change}","attributes":{{"priceChangePct":10}}}}"#
        );
        Arc::make_mut(vendors.as_mut().unwrap()).apply(&serde_json::from_str(&event).unwrap());
    }
}

impl World for Changing {
    fn vendors(&self) -> BoxFuture<'_, Option<Arc<Vendors>>> {
        Box::pin(std::future::ready(self.0.lock().clone()))
    }
}

fn always_mentions(world: &Arc<Changing>) -> Simulator {
    let world: Arc<Changing> = Arc::clone(world);
    simulator(SimulatorOptions {
        mention_rate: 1.0,
        ..SimulatorOptions::default()
    })
    .in_world(world)
}

async fn text(simulator: &Simulator, user: &str) -> String {
    simulator.attempt(&prompt(user)).await.result.unwrap().text
}

#[tokio::test]
async fn the_same_seed_and_prompt_give_the_same_answer_whenever_they_are_asked() {
    let first = simulator(SimulatorOptions::default());
    let second = simulator(SimulatorOptions::default());
    text(&second, "Something else first?").await;
    let answer = text(&first, "Which venue?").await;
    assert_eq!(answer, text(&second, "Which venue?").await);
    let other_seed = simulator(SimulatorOptions {
        seed: 1,
        ..SimulatorOptions::default()
    });
    assert_ne!(answer, text(&other_seed, "Which venue?").await);
    assert_ne!(answer, text(&first, "Which florist?").await);
}

#[tokio::test]
async fn answers_are_of_600_to_1500_bytes_with_or_without_vendors() {
    let plain = Simulator::new(SimulatorOptions::default());
    let with_vendors = simulator(SimulatorOptions::default());
    for n in 0..300 {
        for (simulator, question) in [
            (&plain, format!("Question {n}?")),
            (
                &with_vendors,
                format!("Which venue, florist and menu, number {n}?"),
            ),
            (
                &with_vendors,
                format!("Compare v-{n}, v-x{n}, v-y{n} and v-z{n}"),
            ),
        ] {
            let bytes = text(simulator, &question).await.len();
            assert!((600..=1500).contains(&bytes), "{bytes}: {question}");
        }
    }
}

#[tokio::test]
async fn vendors_of_the_prompt_are_preferred_to_those_of_the_pool() {
    let simulator = simulator(SimulatorOptions {
        mention_rate: 1.0,
        ..SimulatorOptions::default()
    });
    let answer = text(&simulator, "Is v-99 (or rev-7, v-) free? v-a_b-c?").await;
    assert!(
        answer.contains(" v-99 ") && answer.contains(" v-a_b-c "),
        "{answer}"
    );
    assert!(
        !pool().iter().any(|id| answer.contains(&format!(" {id} "))),
        "{answer}"
    );
    assert!(!answer.contains("v-7"), "{answer}");
    let answer = text(&simulator, "Who is free?").await;
    assert!(
        pool().iter().any(|id| answer.contains(&format!(" {id} "))),
        "{answer}"
    );
}

#[tokio::test]
async fn the_mention_rate_is_kept() {
    let simulator = simulator(SimulatorOptions {
        mention_rate: 0.3,
        ..SimulatorOptions::default()
    });
    let mut mentions = 0;
    for n in 0..500 {
        mentions += u32::from(
            text(&simulator, &format!("Question {n}?"))
                .await
                .contains(" v-"),
        );
    }
    assert!((100..200).contains(&mentions), "{mentions}");
}

#[tokio::test(start_paused = true)]
async fn a_call_costs_its_tokens_takes_its_time_and_says_that_it_is_simulated() {
    let latency = Latency::Fixed(Duration::from_millis(350));
    let behaviour = Behaviour {
        latency,
        ..Behaviour::default()
    };
    let simulator = simulator(SimulatorOptions {
        behaviour,
        ..SimulatorOptions::default()
    });
    let price = price();
    let free = simulator.attempt(&prompt("Which venue?")).await;
    assert_eq!(free.call.unwrap().cost_usd, Some(0.0));
    let attempt = simulator.attempt(&priced("Which venue?")).await;
    let (completion, call) = (attempt.result.unwrap(), attempt.call.unwrap());
    assert_eq!(call.elapsed, Duration::from_millis(350));
    assert!(call.usable && call.simulated && completion.simulated);
    assert_eq!(completion.completion_tokens, tokens(&completion.text));
    assert_eq!(
        call.cost_usd,
        Some(price.cost_usd(5, call.completion_tokens))
    );
}

#[tokio::test]
async fn faults_come_at_their_rates_and_only_those_that_were_written_are_charged() {
    let faults = Faults {
        unavailable: 0.2,
        truncated: 0.2,
        ..Faults::default()
    };
    let behaviour = Behaviour {
        faults,
        ..Behaviour::default()
    };
    let simulator = simulator(SimulatorOptions {
        behaviour,
        ..SimulatorOptions::default()
    });
    let (mut away, mut cut) = (0, 0);
    for _ in 0..1000 {
        let Attempt { result, call } = simulator.attempt(&priced("Which venue?")).await;
        match result.as_ref().err().map(ProviderError::code) {
            Some("provider_unavailable") => {
                away += 1;
                assert_eq!(call, None);
            }
            Some("truncated") => {
                cut += 1;
                assert!(call.is_some_and(|call| !call.usable && call.cost_usd > Some(0.0)));
            }
            other => assert_eq!(other, None),
        }
    }
    assert!(
        (150..250).contains(&away) && (150..250).contains(&cut),
        "{away} {cut}"
    );
}

#[tokio::test]
async fn the_log_counts_all_calls_and_keeps_the_last() {
    let simulator = simulator(SimulatorOptions::default());
    for n in 0..5 {
        text(&simulator, &format!("Question {n}?")).await;
    }
    simulator.behave(Behaviour {
        faults: Faults::down(),
        ..Behaviour::default()
    });
    simulator
        .attempt(&prompt("Question 5?"))
        .await
        .result
        .unwrap_err();
    assert_eq!(simulator.calls(), 6);
    let log = simulator.log();
    assert_eq!(
        log.iter().map(|call| call.number).collect::<Vec<_>>(),
        [3, 4, 5]
    );
    assert_eq!(log[2].prompt.user, "Question 5?");
    assert_eq!(log[2].fails_with, Some("provider_unavailable"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_made_from_the_world_as_it_was_when_its_call_began() {
    let world = Changing::new();
    let latency = Latency::Fixed(Duration::from_secs(2));
    let simulator = always_mentions(&world);
    simulator.behave(Behaviour {
        latency,
        ..Behaviour::default()
    });
    let before = world.vendors().await.unwrap();
    let change = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.change("v-17", "price_changed");
    };
    let (answer, ()) = tokio::join!(text(&simulator, "Is v-17 free?"), change);
    let asks = |of: &Vendors| format!("v-17 asks {} ", of.get("v-17").unwrap().price);
    assert!(answer.contains(&asks(&before)), "{answer}");
    let after = world.vendors().await.unwrap();
    assert_ne!(asks(&before), asks(&after));
    let answer = text(&simulator, "Is v-17 free?").await;
    assert!(answer.contains(&asks(&after)), "{answer}");
}

#[tokio::test]
async fn a_vendor_that_closed_is_in_no_later_answer_and_all_others_stay_as_they_were() {
    let world = Changing::new();
    let simulator = always_mentions(&world);
    let questions: Vec<_> = (0..200).map(|n| format!("Question {n}?")).collect();
    let mut before = Vec::new();
    for question in &questions {
        before.push(text(&simulator, question).await);
    }
    world.change("v-3", "closed");
    let mut named = 0;
    for (question, before) in questions.iter().zip(before) {
        let after = text(&simulator, question).await;
        assert!(!after.contains("v-3 "), "{after}");
        if before.contains("v-3 ") {
            named += 1;
        } else {
            assert_eq!(before, after);
        }
    }
    assert!(named > 10, "{named}");
    for question in ["Is v-3 free?", "Is v-3 or v-4 free?", "vendors: v-3,v-3"] {
        let answer = text(&simulator, question).await;
        assert!(
            answer.contains("has closed") && !answer.contains("v-3"),
            "{answer}"
        );
        assert!(answer.contains(" v-"), "others are named: {answer}");
    }
    world.change("v-3", "opened");
    assert!(text(&simulator, "Is v-3 free?").await.contains("v-3 asks "));
}

#[tokio::test]
async fn with_all_vendors_closed_none_is_named() {
    let world = Changing::new();
    let simulator = always_mentions(&world);
    for vendor in pool() {
        world.change(&vendor, "closed");
    }
    for question in ["Which venue?", "Is v-3 free?"] {
        assert!(!text(&simulator, question).await.contains("v-"));
    }
}

#[tokio::test]
async fn a_world_that_cannot_be_read_fails_the_call() {
    let world = Changing::new();
    *world.0.lock() = None;
    let attempt = always_mentions(&world)
        .attempt(&prompt("Which venue?"))
        .await;
    assert_eq!(attempt.call, None);
    let error = attempt.result.unwrap_err();
    assert_eq!(
        (error.code(), error.retryable()),
        ("provider_unavailable", true)
    );
}

#[test]
fn log_normal_latencies_have_their_median_and_never_exceed_their_bound() {
    let (median, max) = (Duration::from_millis(800), Duration::from_millis(2500));
    let latency = Latency::LogNormal {
        median,
        sigma: 0.5,
        max,
    };
    let mut rng = chance::rng(1, 2, None);
    let mut draws: Vec<Duration> = (0..2000).map(|_| latency.draw(&mut rng)).collect();
    draws.sort_unstable();
    let middle = draws[1000].as_millis();
    assert!((740..860).contains(&middle), "{middle}");
    assert!(draws[1999] <= max && draws[1900] > Duration::from_millis(1500));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_changes_no_answer_names_a_vendor_that_is_closed(
        changes in proptest::collection::vec((1..8_u32, 0..4_usize), 0..40),
        question in "(Which (venue|florist|caterer)|Is v-[1-9]|v-[1-4], v-[1-9]|Anything)[?.]",
    ) {
        let world = Changing::new();
        let simulator = always_mentions(&world);
        for (vendor, change) in changes {
            let change = ["closed", "opened", "price_changed", "menu_changed"][change];
            world.change(&format!("v-{vendor}"), change);
            let vendors = world.0.lock().clone().unwrap();
            let answer = simulator.answer(&prompt(&question), &vendors);
            let is_id = |c: char| c.is_alphanumeric() || c == '-';
            for word in answer.split(|c| !is_id(c)) {
                proptest::prop_assert!(!vendors.is_closed(word), "{word} in {answer}");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_mentions_at_most_as_many_vendors_as_is_said() {
    for most in [0, 1, 5] {
        let simulator = simulator(SimulatorOptions {
            mention_rate: 1.0,
            most_vendors: most,
            ..SimulatorOptions::default()
        });
        let mut highest = 0;
        for n in 0..300 {
            let text = text(&simulator, &format!("Question {n}?")).await;
            let words = text.split(|c: char| !(c.is_alphanumeric() || c == '-'));
            let vendors: std::collections::BTreeSet<_> =
                words.filter(|word| word.starts_with("v-")).collect();
            highest = highest.max(vendors.len());
        }
        assert_eq!(highest, most);
    }
}

#[tokio::test(start_paused = true)]
async fn a_simulated_time_out_is_one_that_may_have_been_charged_for() {
    let faults = Faults {
        timed_out: 1.0,
        ..Faults::default()
    };
    let latency = Latency::Fixed(Duration::from_secs(2));
    let simulator = simulator(SimulatorOptions {
        behaviour: Behaviour { latency, faults },
        ..SimulatorOptions::default()
    });
    let began = Instant::now();
    let attempt = simulator.attempt(&prompt("Which florist?")).await;
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    let error = attempt.result.unwrap_err();
    assert_eq!((error.code(), error.may_be_charged()), ("timeout", true));
}
