use std::time::Duration;

use wedcache_model::{Dimension, Sharing};

use super::settings::{Format, Role};
use super::units::{At, Lasting};
use super::*;

const WEDSYNC: &str = include_str!("../../../../topologies/wedsync.yaml");
const DEMO: &str = include_str!("../../../../topologies/demo.yaml");

fn empty(_: &str) -> Option<String> {
    None
}

#[track_caller]
fn load(file: &str, text: &str) -> Topology {
    match read(file, text, Variables::From(&empty)) {
        Ok(loaded) => {
            assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
            loaded.topology
        }
        Err(problems) => panic!("{problems}"),
    }
}

/// Returns the demo topology with pieces of its text changed; each piece must exist.
#[track_caller]
fn demo_with(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(DEMO.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "no `{from}` in the demo topology");
        text.replacen(from, to, 1)
    })
}

#[track_caller]
fn problems(text: &str) -> Problems {
    match read("topology.yaml", text, Variables::From(&empty)) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => *problems,
    }
}

/// Returns all problems, one line each.
#[track_caller]
fn told(text: &str) -> String {
    problems(text).to_string()
}

#[test]
fn the_production_topology_is_what_the_brief_asks_for() {
    let topology = load("wedsync.yaml", WEDSYNC);
    let catalog = &topology.policy.catalog;
    let hours = Duration::from_hours;
    let of = |name: &str| catalog.get(name).unwrap();
    assert_eq!(catalog.types().len(), 7);
    for name in ["guest_management", "timeline_generation"] {
        assert_eq!(of(name).sharing, Sharing::Private);
    }
    for (name, ttl) in [
        ("venue", 24),
        ("photographer", 12),
        ("caterer", 6),
        ("florist", 4),
    ] {
        assert_eq!(catalog.vendor_ttls[name], hours(ttl), "{name}");
    }
    let with = |dimension| {
        let has = |of: &&Arc<wedcache_model::CacheType>| of.dimensions.contains(&dimension);
        catalog.types().iter().filter(has).count()
    };
    let counts = Dimension::ALL.map(|dimension| (dimension.as_str(), with(dimension)));
    let want = [
        ("vendors", 7),
        ("vendor_types", 2),
        ("style", 4),
        ("guests", 3),
        ("wedding", 2),
        ("prompt", 7),
    ];
    assert_eq!(counts, want);
    let names: Vec<_> = topology
        .deployment
        .topics
        .iter()
        .map(|topic| &*topic.name)
        .collect();
    insta::assert_snapshot!(names.join("\n"), @"
    wedsync.ai.queries
    wedsync.vendor.changes
    wedsync.wedding.updates
    wedsync.ai.responses
    wedsync.cache.metrics
    wedsync.cache.invalidations
    wedsync.cache.alerts
    wedsync.cache.audit
    wedsync.cache.dead-letters
    ");
    let capacity: Vec<_> = topology
        .policy
        .capacity_factors
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(capacity.join(" "), "1 1 1.8 3 3 3 3 3 3 1.8 1 1");
    assert!(topology.deployment.topics.invalidations.retention >= catalog.longest_life());
    assert_eq!(
        topology.deployment.topics.get(Role::Metrics).format,
        Some(Format::Avro)
    );
}

#[test]
fn every_change_of_the_contract_has_a_rule_in_production() {
    let topology = load("wedsync.yaml", WEDSYNC);
    let rules: Vec<_> = topology
        .policy
        .rules
        .iter()
        .map(crate::invalidation::rule::Rule::on)
        .collect();
    for change in build::KNOWN_CHANGES {
        assert!(rules.iter().any(|on| on == change), "{change}");
    }
}

/// Checks only the pure part; the runner checks whole cases.
#[test]
fn the_expected_invalidations_are_what_the_rules_plan() {
    use crate::invalidation::{plan::plan, rule::Change};
    let topology = load("wedsync.yaml", WEDSYNC);
    let mut compared = 0;
    for case in &topology.cases {
        let mut planned = Vec::new();
        for step in &case.steps {
            let change = match &step.action {
                cases::Action::VendorChange(change) => Change::Vendor(change.clone()),
                cases::Action::WeddingUpdate(update) => Change::Wedding(update.clone()),
                cases::Action::Expect(expected) => {
                    let Some(expected) = &expected.invalidations else {
                        continue;
                    };
                    let mut expected: Vec<_> = expected
                        .iter()
                        .map(|of| format!("{} {:?} {:?}", of.tag, of.mode, of.rule.as_deref()))
                        .collect();
                    expected.sort();
                    planned.sort();
                    assert_eq!(planned, expected, "{}", case.name);
                    planned.clear();
                    compared += 1;
                    continue;
                }
                _ => continue,
            };
            let plan = plan(
                &topology.policy.rules,
                &topology.policy.catalog,
                &change,
                None,
            );
            let record = |of: &crate::invalidation::plan::Planned| {
                format!("{} {:?} {:?}", of.tag, of.mode, Some(&*of.rule))
            };
            planned.extend(plan.invalidations.iter().map(record));
        }
    }
    assert!(compared >= 3, "{compared}");
}

#[test]
fn without_addresses_there_is_no_redis_and_no_registry() {
    let topology = load("wedsync.yaml", WEDSYNC);
    assert!(topology.deployment.layers.redis.is_none() && topology.deployment.registry.is_none());
    let environment = |name: &str| match name {
        "WEDCACHE_REDIS" => Some("redis://cache:6379".to_owned()),
        "WEDCACHE_REGISTRY" => Some("http://registry:8081/".to_owned()),
        "WEDCACHE_AI_KEY" => Some("sk-secret-42".to_owned()),
        _ => None,
    };
    let loaded = read("wedsync.yaml", WEDSYNC, Variables::From(&environment)).unwrap();
    assert!(loaded.topology.deployment.layers.redis.is_some());
    assert_eq!(
        loaded.topology.deployment.registry.as_ref().unwrap().urls,
        ["http://registry:8081"]
    );
    assert!(!format!("{:?}", loaded.topology).contains("sk-secret-42"));
}

#[test]
fn topics_have_the_copies_of_all_or_their_own() {
    let text = WEDSYNC.replace(
        "partitions: 12, retention: 3d, max_bytes",
        "replication_factor: 2, max_bytes",
    );
    assert_ne!(text, WEDSYNC);
    let five = |name: &str| (name == "WEDCACHE_REPLICATION_FACTOR").then(|| "5".to_owned());
    let topics = read("t", &text, Variables::From(&five))
        .unwrap()
        .topology
        .deployment
        .topics;
    for topic in topics.iter() {
        let want = if topic.role == Role::Queries { 2 } else { 5 };
        assert_eq!(topic.replication_factor, want, "{topic:?}");
    }
    let usual = load("wedsync.yaml", WEDSYNC).deployment.topics;
    assert!(usual.iter().all(|topic| topic.replication_factor == 3));
}

#[test]
fn the_demo_topology_is_valid_without_any_environment() {
    let topology = load("demo.yaml", DEMO);
    assert!(topology.deployment.layers.redis.is_none());
    assert_eq!(
        &*topology.policy.generation["vendor_matching"].provider,
        "simulator"
    );
}

#[test]
fn the_schema_file_is_up_to_date() {
    let file = include_str!("../../../../schemas/topology.schema.json");
    assert_eq!(
        schema::json(),
        file,
        "run `wedcache schema > schemas/topology.schema.json`"
    );
}

#[test]
fn time_spans_have_units() {
    let read = |text: &str| {
        serde_json::from_value::<Lasting>(text.into())
            .map(|of| of.0)
            .ok()
    };
    for (text, want) in [
        ("90s", Some(Duration::from_secs(90))),
        ("24h", Some(Duration::from_hours(24))),
        ("1h 30m", Some(Duration::from_mins(90))),
        ("250ms", Some(Duration::from_millis(250))),
        ("7d", Some(Duration::from_hours(168))),
        ("0s", Some(Duration::ZERO)),
        ("24", None),
        ("24x", None),
        ("-1s", None),
        ("", None),
        ("h", None),
    ] {
        assert_eq!(read(text), want, "{text}");
    }
}

#[test]
fn sizes_have_units_and_mean_what_they_say() {
    for (text, want) in [
        ("512MiB", Some(512 << 20)),
        ("64KiB", Some(64 << 10)),
        ("2GB", Some(2_000_000_000)),
        ("1.5 GiB", Some(3 << 29)),
        ("100B", Some(100)),
        ("10 mb", Some(10_000_000)),
        ("1_000KB", Some(1_000_000)),
        ("512", None),
        ("MiB", None),
        ("1.MiB", None),
        ("1..5MiB", None),
        ("-1MiB", None),
        ("99999999999TiB", None),
        ("12 potatoes", None),
    ] {
        assert_eq!(ByteSize::parse(text).map(|size| size.0), want, "{text}");
    }
    for text in ["512MiB", "64KiB", "3GiB", "1000B", "0B"] {
        assert_eq!(ByteSize::parse(text).unwrap().to_string(), text);
    }
}

#[test]
fn times_are_written_short() {
    for (secs, want) in [(0, "0s"), (90, "1m 30s"), (86_400, "24h"), (604_800, "7d")] {
        assert_eq!(graph::short_time(Duration::from_secs(secs)), want);
    }
}

#[test]
fn variables_take_the_environment_then_the_default() {
    let field = |text: &str| {
        units::Connection(At {
            value: text.to_owned(),
            span: problem::Span::default(),
        })
    };
    let environment = |name: &str| match name {
        "A" => Some("a".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    for (text, want, problems) in [
        ("${A}:1,${A}:2", "a:1,a:2", 0),
        ("${B:-b}", "b", 0),
        ("${EMPTY:-b}", "b", 0),
        ("${EMPTY}", "", 0),
        ("${A:-b}", "a", 0),
        ("$A {A}", "$A {A}", 0),
        ("${B}", "${B}", 1),
        ("${B B}", "${B B}", 1),
        ("x${A", "x", 1),
    ] {
        let mut found = Vec::new();
        let resolved = env::resolve(
            &field(text),
            Variables::From(&environment),
            env::Form::Line,
            &mut found,
        );
        assert_eq!(
            (resolved.text.as_str(), found.len()),
            (want, problems),
            "{text}"
        );
        assert_eq!(resolved.complete, problems == 0, "{text}");
    }
}

#[test]
fn without_an_environment_variables_stay_as_they_are_written() {
    let text = demo_with(&[("${WEDCACHE_KAFKA:-127.0.0.1:9092}", "${WEDCACHE_KAFKA}")]);
    let missing = read("t", &text, Variables::From(&empty)).unwrap_err();
    assert_eq!(missing.errors(), 1, "{missing}");
    let loaded = read("t", &text, Variables::Unresolved).unwrap();
    assert_eq!(
        loaded.topology.deployment.kafka.bootstrap_servers,
        "${WEDCACHE_KAFKA}"
    );
    let names: Vec<_> = loaded.variables.iter().map(ToString::to_string).collect();
    assert!(
        names.contains(&"${WEDCACHE_KAFKA} must be set".to_owned()),
        "{names:?}"
    );
}

#[test]
fn drawings_are_at_most_100_columns_wide() {
    let topology = load("demo.yaml", DEMO);
    let look = |unicode| Look {
        unicode,
        colour: false,
    };
    let drawn = graph::draw(&topology, graph::Format::Terminal, look(true));
    let widest = drawn.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "{widest:?}");
    insta::assert_snapshot!("terminal", drawn);
    let text = graph::draw(&topology, graph::Format::Text, look(true));
    assert!(text.is_ascii(), "{text}");
    assert_eq!(text.lines().count(), drawn.lines().count());
    let mermaid = graph::draw(&topology, graph::Format::Mermaid, look(true));
    insta::assert_snapshot!("mermaid", mermaid);
    let dot = graph::draw(&topology, graph::Format::Dot, look(true));
    insta::assert_snapshot!("dot", dot);
}

mod mistakes;
