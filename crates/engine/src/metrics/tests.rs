use std::fmt::Write as _;

use std::time::Duration;

use wedcache_model::Timestamp;

use super::declared::LAYER_FAILURES;
use super::*;
use crate::observe::sample::{AnsweredSample, asked};
use crate::observe::{Called, Input, Observer as _, Taken, TakenAs};

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
    let docs = include_str!("../../../../docs/metrics.md");
    assert!(
        docs.contains(&listed()),
        "docs/metrics.md must hold this:\n{}",
        listed()
    );
}

#[test]
fn what_is_shown_is_declared() {
    let metrics = Metrics::new(["vendor_matching".into()]);
    metrics.taken(&Taken {
        input: Input::Queries,
        result: TakenAs::Null,
    });
    metrics.lag("current", Duration::ZERO, Duration::ZERO);
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
    let thread = |in_flight_records, paused, assigned| PollThread {
        in_flight_records,
        paused,
        assigned,
        ..PollThread::default()
    };
    metrics.poll_threads("queries", &[thread(7, true, 3), thread(5, false, 1)]);
    metrics.poll_threads("rules", &[thread(1, false, 2)]);
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
    let cache_type: Arc<str> = "vendor_matching".into();
    for cost_usd in [None, None, Some(0.25)] {
        metrics.called(&Called {
            asked: asked(&cache_type),
            provider: "main",
            model: "m",
            flight: (Timestamp(0), 0),
            prompt_tokens: 0,
            completion_tokens: 0,
            cost_usd,
            simulated: false,
            took: Duration::ZERO,
            at: Timestamp(0),
        });
    }
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
    let metrics = Metrics::new(["vendor_matching".into()]);
    let mut sample = AnsweredSample::of("vendor_matching");
    sample.saves(0.5);
    metrics.answered(&sample.answered(Operation::Hit));
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
    let thread = |assigned, topics_recreated| PollThread {
        topics_recreated,
        assigned,
        ..PollThread::default()
    };
    metrics.poll_threads("queries", &[thread(5, 1), thread(6, 0)]);
    metrics.poll_threads("queries", &[thread(5, 1), thread(7, 0)]);
    // The first one begins again.
    metrics.poll_threads("queries", &[thread(2, 0), thread(7, 0)]);
    metrics.poll_threads("queries", &[thread(6, 1), thread(7, 0)]);
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
    let lags = |lags: &[(&str, u64)]| -> Vec<_> {
        lags.iter()
            .map(|(topic, lag)| (Arc::from(*topic), *lag))
            .collect()
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
    metrics.consumer_lag("g", lags(&[("a", 3), ("a", 4)]));
    metrics.consumer_lag("h", lags(&[("a", 9)]));
    let wanted = [
        "wedcache_consumer_lag_max_records{group=\"g\",topic=\"a\"} 4",
        "wedcache_consumer_lag_records{group=\"g\",topic=\"a\"} 7",
    ];
    assert_eq!(shown("group=\"g\""), wanted);
    metrics.consumer_lag("g", lags(&[]));
    assert!(shown("group=\"g\"").is_empty() && shown("group=\"h\"").len() == 2);
}

#[test]
fn the_cache_types_of_another_policy_are_counted_beside_the_old_ones() {
    let metrics = Metrics::new(["guest_management".into(), "vendor_matching".into()]);
    let answered = |name| metrics.answered(&AnsweredSample::of(name).answered(Operation::Hit));
    answered("vendor_matching");
    // The names of another catalogue are other allocations.
    metrics.follow_types(["vendor_matching".into(), "venue_recommendations".into()]);
    for name in [
        "guest_management",
        "vendor_matching",
        "venue_recommendations",
    ] {
        answered(name);
    }
    let count = |name| metrics.total(QUERIES.name, Some(("cache_type", name)));
    let counts = [
        "guest_management",
        "vendor_matching",
        "venue_recommendations",
    ]
    .map(count);
    assert_eq!(counts.map(|of| format!("{of}")), ["1", "2", "1"]);
    assert_eq!(
        &*metrics.types.load()[0].name,
        "vendor_matching",
        "the new come first"
    );
    assert_eq!(metrics.types.load().len(), 3);
}
