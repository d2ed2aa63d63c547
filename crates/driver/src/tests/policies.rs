//! Policies that replace each other while queries and changes are under way. The random
//! interleavings of [`super::random`] swap them too.

use std::sync::LazyLock;

use wedcache_model::{Mode, PriceTable};
use wedcache_rules::topology::Policy;

use super::*;

/// Edits of the production topology, each with a mark that its prompts carry. Two with one mark
/// have the same keys.
const EDITS: &[(&str, &[(&str, &str)])] = &[
    ("a", &[]),
    // Ids that were one are several: other tags.
    (
        "b",
        &[("id_case: insensitive", "id_case: sensitive"), PATTERN],
    ),
    // The same questions and keys as `a`, other lives and rules.
    (
        "a",
        &[
            ("ttl: 24h", "ttl: 5m"),
            ("stale_window: 1h", "stale_window: 1m"),
            ("stale_if_error: 12h", "stale_if_error: 2m"),
            ("mode: refresh", "mode: purge"),
        ],
    ),
    // Other vendor types, places and dimensions.
    (
        "c",
        &[
            ("  florist: {ttl: 4h", "  florist: {ttl: 1h"),
            ("  - {city: Austin, state: TX, aliases: [ATX]}\n", ""),
            (
                "dimensions: [vendors, vendor_types, style, prompt]",
                "dimensions: [vendors, vendor_types, style, guests, prompt]",
            ),
        ],
    ),
    ("d", &[("ttl_jitter: 0.1", "ttl_jitter: 0.0"), PATTERN]),
];
const PATTERN: (&str, &str) = (r"'\bv-[A-Za-z0-9_]+'", r"'\b[vV]-[0-9]+'");

/// The policies, by their numbers.
pub(super) static POLICIES: LazyLock<Vec<Policy>> = LazyLock::new(|| {
    let numbered = (1_u32..).zip(EDITS);
    numbered
        .map(|(number, (mark, edits))| policy(number, mark, edits))
        .collect()
});

fn policy(number: u32, mark: &str, edits: &[(&str, &str)]) -> Policy {
    let mut text = include_str!("../../../../topologies/wedsync.yaml").to_owned();
    for (old, new) in edits {
        assert!(text.contains(old), "{old}");
        text = text.replace(old, new);
    }
    let text = text.replace(
        "instructions: >-\n",
        &format!("instructions: >-\n        Policy {mark}.\n"),
    );
    let loaded = topology::read("t.yaml", &text, Variables::Unresolved).unwrap();
    let mut policy = loaded.topology.policy;
    Arc::make_mut(&mut policy.catalog).ttl_jitter = 0.0;
    // A token costs as many dollars a million as the policy's number is.
    let price = wedcache_model::Price {
        pattern: "*".to_owned(),
        input_usd_per_million: number.into(),
        output_usd_per_million: number.into(),
    };
    policy.prices = Arc::new(PriceTable::new(None, vec![price]).unwrap());
    policy
}

/// Returns the mark of the policy by which a call is made.
pub(super) fn asked(call: &Call) -> String {
    let words = call.prompt.system.split_once("Policy ");
    words.map_or_else(String::new, |(_, rest)| rest[..1].to_owned())
}

/// An answer's key, prompt and price are those of one policy.
#[track_caller]
pub(super) fn check(answer: &AiAnswer<'_>, mark: &str) {
    if mark.is_empty() {
        return;
    }
    let tokens = answer.prompt_tokens.unwrap() + answer.completion_tokens.unwrap();
    // A waiter is not charged for the call that it shares.
    #[expect(clippy::cast_precision_loss, reason = "a few hundred tokens")]
    let price = (tokens > 0)
        .then(|| answer.cost_usd.or(answer.saved_usd))
        .flatten()
        .map(|usd| usd * 1e6 / tokens as f64);
    let mut numbered = (1_u32..).zip(EDITS.iter().zip(&*POLICIES));
    let fits = numbered.any(|(number, ((of, _), policy))| {
        let prompt = &policy.catalog.get(&answer.cache_type).unwrap().prompt;
        let priced = price.is_none_or(|price| (price - f64::from(number)).abs() < 1e-6);
        *of == mark && answer.cache_key.contains(&**prompt) && priced
    });
    assert!(fits, "{mark} at {price:?}: {answer:#?}");
}

#[test]
fn an_answer_of_a_policy_that_comes_back_is_none_from_before_a_change() {
    play(async |stage| {
        let mut number = 0;
        let mut ask = async |stage: &mut Stage| {
            number += 1;
            stage
                .ask(&about(&format!("q-{number}"), "V-1"))
                .await
                .0
                .data
                .unwrap()
                .into_owned()
        };
        stage.driver.respond(numbered("told", Duration::ZERO));
        for (policy, other) in [(0, 1), (1, 0), (0, 3), (0, 4)] {
            stage.driver.replace_policy(POLICIES[policy].clone());
            let before = ask(stage).await;
            assert_eq!(ask(stage).await, before);
            // Judged by a policy that writes the vendor's tag otherwise.
            stage.driver.replace_policy(POLICIES[other].clone());
            stage
                .vendor_change(&change("V-1", "availability_changed"))
                .await;
            stage.driver.replace_policy(POLICIES[policy].clone());
            assert_ne!(ask(stage).await, before, "{policy} {other}");
        }
    });
}

#[test]
fn answers_outlive_a_policy_that_asks_and_tags_alike() {
    play(async |stage| {
        stage.driver.respond(numbered("told", Duration::ZERO));
        stage.driver.replace_policy(POLICIES[0].clone());
        let first = stage.ask(&about("q-1", "V-1")).await;
        stage.driver.replace_policy(POLICIES[2].clone());
        let again = stage.ask(&about("q-2", "V-1")).await;
        assert_eq!(
            (again.0.data, again.0.source),
            (first.0.data, Source::Cache)
        );
        // What the new policy's rules purge was refreshed by the old one's.
        stage.vendor_change(&change("V-1", "details_changed")).await;
        assert_eq!(stage.ask(&about("q-3", "V-1")).await.0.source, Source::Ai);
        assert!(stage.invalidations.iter().all(|of| of.mode == Mode::Purge));
        // Its lives are those of what is filled from now on.
        stage.advance(secs(5 * 60 + 1)).await;
        assert_eq!(stage.ask(&about("q-4", "V-1")).await.0.source, Source::Ai);
    });
}

#[test]
fn a_flight_keeps_the_policy_that_it_began_by() {
    play(async |stage| {
        stage.driver.respond(numbered("told", secs(5)));
        stage.driver.replace_policy(POLICIES[0].clone());
        stage.begin(&about("q-1", "V-1")).await;
        stage.driver.replace_policy(POLICIES[1].clone());
        stage.begin(&about("q-2", "V-1")).await;
        stage.advance(secs(6)).await;
        let [first, second] = ["q-1", "q-2"].map(|id| &stage.answers[id].answer);
        check(first, "a");
        check(second, "b");
        assert_ne!(first.cache_key, second.cache_key);
        assert_eq!(stage.calls.len(), 2);
    });
}
