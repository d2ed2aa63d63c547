use super::*;

fn prompt(user: &str) -> Prompt {
    Prompt {
        system: "Advise.".to_owned(),
        user: user.to_owned(),
        max_tokens: 500,
    }
}

fn pool() -> Vec<String> {
    (1..=20).map(|n| format!("v-{n}")).collect()
}

fn simulator(options: SimulatorOptions) -> Simulator {
    Simulator::new(SimulatorOptions {
        vendor_pool: pool(),
        log_limit: 3,
        ..options
    })
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
    let attempt = simulator.attempt(&prompt("Which venue?")).await;
    let (completion, call) = (attempt.result.unwrap(), attempt.call.unwrap());
    assert_eq!(call.elapsed, Duration::from_millis(350));
    assert!(call.usable && call.simulated && completion.simulated);
    assert_eq!(completion.completion_tokens, tokens(&completion.text));
    let want = Price {
        pattern: String::new(),
        input_usd_per_million: 2.5,
        output_usd_per_million: 10.0,
    };
    assert_eq!(
        call.cost_usd,
        Some(want.cost_usd(5, call.completion_tokens))
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
        let Attempt { result, call } = simulator.attempt(&prompt("Which venue?")).await;
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
async fn facts_are_those_of_the_calls_beginning() {
    let version = Arc::new(Mutex::new(1));
    let seen = Arc::clone(&version);
    let latency = Latency::Fixed(Duration::from_secs(2));
    let behaviour = Behaviour {
        latency,
        ..Behaviour::default()
    };
    let simulator = simulator(SimulatorOptions {
        behaviour,
        ..SimulatorOptions::default()
    })
    .with_facts(Arc::new(move |_, vendors| {
        format!(
            "{} is at version {}.",
            vendors.join(","),
            seen.lock().unwrap()
        )
    }));
    let change = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        *version.lock().unwrap() = 2;
    };
    let (answer, ()) = tokio::join!(text(&simulator, "Is v-17 free?"), change);
    assert!(answer.contains("v-17 is at version 1."), "{answer}");
    assert!(
        text(&simulator, "Is v-17 free?")
            .await
            .contains("v-17 is at version 2.")
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
