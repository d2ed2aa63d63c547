use std::fmt::Write as _;

use super::*;

/// The list that operators read, as it must stand in `docs/metrics.md`.
fn listed() -> String {
    let mut list = String::from("| name | kind | labels | meaning |\n|---|---|---|---|\n");
    for of in DECLARED {
        let kind = match of.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<_> = of.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, help) = (of.name, of.help);
        let labels = labels.join(", ");
        writeln!(list, "| `{name}` | {kind} | {labels} | {help} |").unwrap();
    }
    list
}

#[test]
fn the_documented_list_is_the_declared_one() {
    let docs = include_str!("../../docs/metrics.md");
    assert!(
        docs.contains(&listed()),
        "docs/metrics.md must hold this:\n{}",
        listed()
    );
}

#[test]
fn what_is_shown_is_declared() {
    let metrics = Metrics::new(["vendor_matching".into()]);
    metrics.record("queries", "null");
    metrics.lag(LagState::Current, Duration::ZERO, Duration::ZERO);
    let text = metrics.render().unwrap();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        let known = DECLARED.iter().any(|of| of.name == name);
        assert!(known || name.starts_with("process_"), "{name}");
    }
    assert!(text.contains("wedcache_records_total{input=\"queries\",result=\"null\"} 1"));
}

#[test]
fn the_poll_threads_of_a_stage_are_counted_together() {
    let metrics = Metrics::new([]);
    let stats = |in_flight_records, paused, assigned| IntakeStats {
        in_flight_records,
        paused,
        counters: crate::kafka::stats::IntakeCounters {
            assigned,
            ..Default::default()
        },
        ..IntakeStats::default()
    };
    metrics.intakes("queries", &[stats(7, true, 3), stats(5, false, 1)]);
    metrics.intakes("rules", &[stats(1, false, 2)]);
    let of_queries = |name| metrics.total_of(name, &[("stage", "queries")]);
    for (name, wanted) in [
        ("wedcache_intake_in_flight_records", 12.0),
        ("wedcache_intake_paused", 1.0),
        ("wedcache_intake_rebalances_total", 4.0),
    ] {
        let found = of_queries(name);
        assert!((found - wanted).abs() < f64::EPSILON, "{name} is {found}");
    }
}

#[test]
fn a_call_whose_cost_nobody_knows_is_counted_and_costs_no_known_sum() {
    let metrics = Metrics::new([]);
    let call = |cost_usd| crate::ai::PricedCall {
        model: "m".to_owned(),
        prompt_tokens: 0,
        completion_tokens: 0,
        cost_usd,
        request_id: None,
        simulated: false,
        usable: cost_usd.is_some(),
        elapsed: Duration::ZERO,
    };
    let outcome = AiOutcome {
        result: Err(crate::ai::ProviderError::Empty),
        calls: vec![call(None), call(None), call(Some(0.25))],
        attempts: 3,
    };
    metrics.provider_attempts("main", &outcome);
    let calls = |cost| metrics.total("wedcache_provider_priced_calls_total", Some(("cost", cost)));
    let spent = metrics.total("wedcache_provider_cost_usd_total", None);
    let found = [calls("unknown"), calls("known"), spent];
    let wanted = [2.0, 1.0, 0.25];
    assert!(
        found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-9),
        "{found:?}"
    );
}

#[test]
fn a_query_is_counted_once_under_its_outcome() {
    let cache_type: Arc<str> = "vendor_matching".into();
    let metrics = Metrics::new([Arc::clone(&cache_type)]);
    let done = QueryDone {
        operation: Operation::Hit,
        coalesced: false,
        saved_usd: 0.5,
        seconds: 0.001,
    };
    metrics.query(&cache_type, &done);
    assert!((metrics.total("wedcache_queries_total", None) - 1.0).abs() < f64::EPSILON);
    assert!((metrics.total("wedcache_saved_usd_total", None) - 0.5).abs() < f64::EPSILON);
}

#[test]
fn counters_end_in_total_and_gauges_do_not() {
    for of in DECLARED {
        let total = of.name.ends_with("_total");
        assert_eq!(total, of.kind == Kind::Counter, "{}", of.name);
    }
}

#[test]
fn every_counter_whose_labels_are_known_is_shown_from_the_start() {
    let metrics = Metrics::new(["vendor_matching".into()]);
    metrics.show_known(&Known {
        changes: &["vendor"],
        reasons: &["empty_value"],
        providers: &["main"],
        codes: &["timeout"],
        rules: &["vendor-closed"],
        outputs: &["answers"],
    });
    let text = metrics.render().unwrap();
    // The reasons of a layer come with its own counts.
    let of_layers = |of: &&Declared| of.name == LAYER_FAILURES.name;
    let counters = DECLARED.iter().filter(|of| of.kind == Kind::Counter);
    for of in counters.filter(|of| !of_layers(of)) {
        let shown = |line: &&str| {
            line.strip_prefix(of.name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.ends_with(" 0"))
        };
        assert!(text.lines().any(|line| shown(&line)), "{}", of.name);
    }
    for line in [
        "wedcache_dead_letters_total{input=\"queries\",reason=\"empty_value\"} 0",
        "wedcache_invalidations_total{mode=\"refresh\",rule=\"unreadable\"} 0",
        "wedcache_intake_rebalances_total{event=\"lost\",stage=\"rules\"} 0",
    ] {
        assert!(text.contains(line), "{line}");
    }
}

#[test]
fn a_member_that_takes_anothers_place_counts_on() {
    let metrics = Metrics::new([]);
    let stats = |assigned, topics_recreated| IntakeStats {
        counters: crate::kafka::stats::IntakeCounters {
            assigned,
            topics_recreated,
            ..Default::default()
        },
        ..IntakeStats::default()
    };
    metrics.intakes("queries", &[stats(5, 1), stats(6, 0)]);
    metrics.intakes("queries", &[stats(5, 1), stats(7, 0)]);
    // The first one begins again.
    metrics.intakes("queries", &[stats(2, 0), stats(7, 0)]);
    metrics.intakes("queries", &[stats(6, 1), stats(7, 0)]);
    for (name, wanted) in [
        ("wedcache_intake_rebalances_total", 18.0),
        ("wedcache_intake_topics_recreated_total", 2.0),
    ] {
        let found = metrics.total(name, None);
        assert!((found - wanted).abs() < f64::EPSILON, "{name} is {found}");
    }
}

#[test]
fn lag_is_the_sum_and_the_worst_of_the_partitions_that_are_held() {
    let metrics = Metrics::new([]);
    let stats = |partitions: &[(&str, Option<u64>)]| {
        let stats = |&(topic, lag): &(&str, Option<u64>)| crate::kafka::stats::PartitionStats {
            topic: topic.into(),
            partition: 0,
            generation: 1,
            next_offset: 0,
            next_intake: 0,
            lag,
            unfinished: 0,
            unfinished_bytes: 0,
            oldest_unfinished: None,
            abandoned: 0,
            paused: false,
            standstill: None,
        };
        IntakeStats {
            partitions: partitions.iter().map(stats).collect(),
            ..IntakeStats::default()
        }
    };
    let shown = |what: &str| {
        let text = metrics.render().unwrap();
        let lines = text
            .lines()
            .filter(|line| line.starts_with("wedcache_consumer_lag_"));
        lines
            .filter(|line| line.contains(what))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let held = [
        stats(&[("a", Some(3)), ("b", None)]),
        stats(&[("a", Some(4))]),
    ];
    metrics.consumer_lag("g", &held);
    metrics.consumer_lag("h", &[stats(&[("a", Some(9))])]);
    let wanted = [
        "wedcache_consumer_lag_max_records{group=\"g\",topic=\"a\"} 4",
        "wedcache_consumer_lag_records{group=\"g\",topic=\"a\"} 7",
    ];
    assert_eq!(shown("group=\"g\""), wanted, "unknown ends are no lag of 0");
    metrics.consumer_lag("g", &[stats(&[])]);
    assert!(shown("group=\"g\"").is_empty() && shown("group=\"h\"").len() == 2);
}
