//! A few weeks of a small platform: the figures add up and are reproducible, and no forbidden
//! answer is served.

use std::sync::LazyLock;

use super::figures::Counts;
use super::report::{self, Report};
use super::*;
use wedcache::driver::Scripted;
use wedcache::model::{AiQuery, Mode, TagInvalidation, TraceParent, VendorChange};
use wedcache::observe::{Invalidated, Observer as _};
use wedcache::topology::{self, Variables};

fn topology() -> Arc<Topology> {
    static TOPOLOGY: LazyLock<Arc<Topology>> = LazyLock::new(|| {
        let text = include_str!("../../../../topologies/wedsync.yaml");
        let redis = |name: &str| (name == "WEDCACHE_REDIS").then(|| "redis://simulated".to_owned());
        let loaded = topology::read("wedsync.yaml", text, Variables::From(&redis)).unwrap();
        Arc::new(loaded.topology)
    });
    Arc::clone(&TOPOLOGY)
}

fn day(text: &str) -> NaiveDate {
    Date::parse(text).unwrap().0
}

fn options(queries: u64) -> Options {
    Options {
        seed: 5,
        period: Period {
            first_day: day("2027-03-25"),
            last_day: day("2027-04-08"),
        },
        queries,
        memory_bytes: None,
        ttl_factor: 1.0,
        assumptions: Assumptions {
            sample: 64,
            ..Assumptions::default()
        },
    }
}

/// Options under which memory has no room for every answer.
fn little_memory() -> Options {
    Options {
        memory_bytes: Some(64 << 10),
        ..options(1500)
    }
}

fn simulate(options: &Options) -> Figures {
    run(&topology(), options, |_| {}).unwrap()
}

// Runs that several tests look at: each takes seconds.
static ROOMY: LazyLock<Figures> = LazyLock::new(|| simulate(&options(1500)));
static TIGHT: LazyLock<Figures> = LazyLock::new(|| simulate(&little_memory()));

#[test]
fn the_same_seed_gives_the_same_figures_and_another_seed_others() {
    let once = &*TIGHT;
    assert!(once.log.evictions > 0, "{:?}", once.log);
    assert_eq!(once, &simulate(&little_memory()));
    let other = Options {
        seed: 6,
        ..little_memory()
    };
    assert_ne!(once.total, simulate(&other).total);
}

#[test]
fn every_query_has_one_end_the_parts_add_up_and_no_answer_was_forbidden() {
    let figures = simulate(&options(4000));
    let total = &figures.total;
    assert!((3000..5000).contains(&total.queries), "{total:?}");
    assert_eq!(total.ends(), total.queries);
    let types = Counts::sum(figures.by_type.iter().map(|of| &of.value));
    let months = Counts::sum(figures.by_month.iter().map(|of| &of.total));
    for sum in [types, months] {
        let integers = |of: &Counts| (of.queries, of.hits(), of.stale, of.misses, of.calls);
        assert_eq!(integers(&sum), integers(total));
        assert!((sum.spent_usd - total.spent_usd).abs() < 1e-9);
    }
    let latencies: u64 = figures.latencies.iter().map(|of| of.value).sum();
    assert_eq!((latencies, figures.judged), (total.queries, total.queries));
    let paid: u64 = total.misses.iter().sum();
    assert!(total.calls >= paid && total.spent_usd > 0.0, "{total:?}");
    let repeats = &figures.repeats;
    assert!(repeats.within_an_hour.queries > 0);
    assert!(repeats.within_an_hour.queries <= repeats.within_a_day.queries);
    assert!(repeats.within_a_day.queries <= repeats.ever.queries);
    assert!(figures.log.purges > 0 && figures.log.refreshes > 0);
    assert_eq!(figures.forbidden, 0, "{:?}", figures.violations);
}

#[test]
fn what_memory_has_no_room_for_comes_from_the_layers_below() {
    let (roomy, tight) = (&*ROOMY, &*TIGHT);
    let below = |of: &Figures| of.total.disk + of.total.redis;
    assert!(
        below(tight) > 2 * below(roomy),
        "{:?} {:?}",
        tight.total,
        roomy.total
    );
    assert_eq!((roomy.log.evictions, tight.forbidden), (0, 0));
}

#[test]
fn longer_times_to_live_expire_less() {
    let long_lived = simulate(&Options {
        ttl_factor: 20.0,
        ..options(1500)
    });
    assert_eq!((ROOMY.forbidden, long_lived.forbidden), (0, 0));
    assert!(3 * long_lived.total.misses[1] < ROOMY.total.misses[1]);
}

#[test]
fn months_have_the_load_of_the_topologys_factors() {
    let topology = topology();
    let period = Period {
        first_day: day("2027-02-01"),
        last_day: day("2027-04-30"),
    };
    let assumptions = Assumptions::default();
    let mut traffic = Traffic::new(3, &topology, assumptions, period, 60_000);
    let mut a_day = [0.0; 3];
    for today in period.days() {
        let asked = traffic.day(today);
        let asked = asked
            .iter()
            .filter(|of| matches!(of.what, What::Ask { .. }));
        a_day[today.month0() as usize - 1] += f64::from(u32::try_from(asked.count()).unwrap());
    }
    let [february, march, april] = [a_day[0] / 28.0, a_day[1] / 31.0, a_day[2] / 30.0];
    assert!((march / february - 1.8).abs() < 0.2, "{a_day:?}");
    assert!((april / february - 3.0).abs() < 0.3, "{a_day:?}");
    let all: f64 = a_day.iter().sum();
    assert!((all - 60_000.0).abs() < 3000.0, "{all}");
}

/// Without this test the checker might never count anything, and no run could fail for it.
#[test]
fn an_answer_that_the_log_forbids_is_counted() {
    stopped::run(async |idle| {
        let tally = Arc::new(Tally::default());
        let fleet = Fleet {
            observer: Some(Arc::clone(&tally) as _),
            ..Fleet::default()
        };
        let start = Timestamp::parse("2027-01-01T10:00:00Z").unwrap();
        let respond = Box::new(|_: &wedcache::driver::Call| Scripted::text("Ask v-17"));
        let mut driver = Driver::of_fleet(fleet, topology(), start, respond, idle);
        let query: AiQuery = serde_json::from_value(serde_json::json!({
            "queryId": "q-1",
            "query": {"type": "vendor_matching", "content": "Who?"},
            "weddingContext": {"location": {"city": "Austin", "state": "TX"}},
        }))
        .unwrap();
        driver.query(&query);
        driver.settle().await;
        let elsewhere: VendorChange = serde_json::from_value(serde_json::json!({
            "eventId": "e-1", "vendorId": "v-18", "change": "availability_changed",
        }))
        .unwrap();
        let before = driver.view();
        driver.vendor_change(&elsewhere);
        assert_eq!(tally.state().forbidden, 0);
        // The checker's log has a purge that the cache has not received.
        let record = TagInvalidation {
            tag: "vendor_matching|vendor=v-17".to_owned(),
            mode: Mode::Purge,
            rule: "forged".to_owned(),
            cause: wedcache::model::Cause {
                topic: "t".to_owned(),
                partition: 0,
                offset: 0,
                event_id: None,
            },
            part: 1,
            parts: 1,
            at: start,
        };
        let invalidated = Invalidated {
            record: &record,
            offset: before.0,
            trace: TraceParent::fresh(),
        };
        tally.invalidated(&invalidated);
        driver.query(&query);
        let state = tally.state();
        assert_eq!((state.judged, state.forbidden), (2, 1));
        assert_eq!(state.violations.len(), 1);
    })
    .unwrap();
}

#[test]
fn a_report_says_what_was_found_and_why_before_whose_goal_it_meets() {
    let mut figures = simulate(&options(300));
    for (misses, forbidden, want) in [
        ([9, 1, 1, 1, 1], 0, "how many couples share an answer"),
        ([1, 9, 1, 1, 1], 0, "times to live matter most"),
        ([1, 1, 9, 1, 1], 0, "changes matter most"),
        ([1, 1, 1, 9, 1], 0, "the age that queries ask for"),
        ([0; 5], 0, "one that a change had forbidden.\n"),
        ([9, 1, 1, 1, 1], 7, "7 of"),
    ] {
        figures.total.misses = misses;
        figures.forbidden = forbidden;
        let report = Report {
            figures: &figures,
            sensitivity: &[],
            command: "",
        };
        for text in [report.to_string(), report::markdown(&report)] {
            let found = text.find("What was found").unwrap();
            let goals = text.find("Goals of the brief").unwrap();
            assert!(found < goals && !text[..goals].contains("missed"), "{text}");
            let joined = text[found..goals].replace("\n  ", " ");
            assert!(joined.contains(want), "{misses:?}: {joined}");
        }
        let page = report::html(&report);
        assert!(page.find("What was found") < page.find("Goals of the brief"));
    }
}

#[test]
fn the_report_reads_like_this() {
    let report = Report {
        figures: &ROOMY,
        sensitivity: &[],
        command: "wedcache-lab simulate",
    };
    insta::assert_snapshot!(report);
    let page = report::html(&report);
    assert!(!page.contains("http"), "a page that loads something");
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    assert_eq!(page.matches("<svg").count(), 11);
    assert!(report::markdown(&report).contains("| guest_management |"));
}
