use super::*;
use crate::topology::{Variables, read};

const WEDSYNC: &str = include_str!("../../../../../topologies/wedsync.yaml");

fn loaded(edit: impl FnOnce(String) -> String) -> Loaded {
    let set = |name: &str| (name == "WEDCACHE_KAFKA").then(|| "localhost:9092".to_owned());
    read("t.yaml", &edit(WEDSYNC.to_owned()), Variables::From(&set)).unwrap()
}

#[track_caller]
fn replaced(old: &str, new: &str) -> Loaded {
    loaded(|text| {
        assert!(text.contains(old), "{old}");
        text.replacen(old, new, 1)
    })
}

#[track_caller]
fn check(new: &Loaded, policy: &[&str], deployment: &[&str]) {
    let changes = loaded(|text| text).settings().changes(&new.settings());
    assert_eq!(
        (changes.policy, changes.deployment),
        (owned(policy), owned(deployment))
    );
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn what_changed_is_named_as_policy_or_deployment() {
    check(&replaced("poll_threads: 2", "poll_threads: 2"), &[], &[]);
    check(
        &replaced("poll_threads: 2", "poll_threads: 3 # more"),
        &[],
        &["kafka.poll_threads"],
    );
    check(
        &replaced("ttl_jitter: 0.1", "ttl_jitter: 0.2"),
        &["ttl_jitter"],
        &[],
    );
    check(
        &replaced("ttl_jitter: 0.1\n", ""),
        &["ttl_jitter (removed)"],
        &[],
    );
    check(
        &replaced("guest_bands: [50, 100, 150", "guest_bands: [50, 120, 150"),
        &["guest_bands"],
        &[],
    );
    check(
        &replaced("- name: price-nudged\n", "- name: price-nudge\n"),
        &["rules.price-nudge (new)", "rules.price-nudged (removed)"],
        &[],
    );
    check(
        &replaced(
            "    scope: vendor\n",
            "    active: false\n    scope: vendor\n",
        ),
        &["rules.price-moved.active (new)"],
        &[],
    );
}

#[test]
fn comments_and_order_change_nothing() {
    let new = loaded(|text| {
        let (head, rest) = text.split_once("ttl_jitter: 0.1\n").unwrap();
        format!("{head}{rest}\nttl_jitter:    0.1\n")
    });
    check(&new, &[], &[]);
}

/// Returns the problems of applying a new reading to a running deployment.
#[track_caller]
fn refusal(running: &Deployment, new: Loaded) -> String {
    policy_for(running, new)
        .map(|_| ())
        .unwrap_err()
        .to_string()
}

#[test]
fn a_policy_is_refused_that_the_running_deployment_cannot_honour() {
    let running = || loaded(|text| text).topology.deployment;
    assert!(policy_for(&running(), loaded(|text| text)).is_ok());
    let moved = loaded(|text| {
        let renamed = text.replace("provider: ${WEDCACHE_PROVIDER:-main}", "provider: other");
        renamed.replacen("  main:", "  other:", 1)
    });
    let text = refusal(&running(), moved);
    assert!(
        text.contains("t.yaml:") && text.contains("`other` is not running"),
        "{text}"
    );
    let text = refusal(&running(), replaced("model: gpt-4o-mini", "model: gpt-4o"));
    assert!(
        text.contains("`main` runs as openai with the model gpt-4o-mini")
            && text.matches("needs a restart").count() == 1,
        "{text}"
    );
    let mut short = running();
    short.topics.invalidations.retention = std::time::Duration::from_secs(1);
    let text = refusal(&short, loaded(|text| text));
    assert!(text.contains("runs with a retention of 1s"), "{text}");
}
