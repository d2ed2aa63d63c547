//! Realistic mistakes and their diagnostics.

use super::*;

#[test]
fn misspelt_fields_and_choices_name_the_nearest() {
    insta::assert_snapshot!(told(&demo_with(&[
        ("poll_threads:", "pol_threads:"),
        ("sharing: shared", "sharing: shred"),
        ("scope: vendor_type", "scope: vendors_type"),
        ("mode: purge", "mode: prune"),
        ("freshness:", "freshnes:"),
    ])));
}

#[test]
fn names_that_lead_nowhere() {
    insta::assert_snapshot!(told(&demo_with(&[
        ("provider: simulator", "provider: simulater"),
        ("vendor_types: [caterer]", "vendor_types: [caterers]"),
        (
            "types: [venue_recommendations, vendor_matching]",
            "types: [venue_recomendations, vendor_matching]"
        ),
        ("type: guest_management", "type: guest_managment"),
        ("{queryId: q-3, source", "{queryId: q-4, source"),
    ])));
}

#[test]
fn wrong_units_and_numbers() {
    insta::assert_snapshot!(told(&demo_with(&[
        ("ttl: 10m", "ttl: 10"),
        ("size: 64MiB", "size: 64"),
        ("drain_deadline: 3s", "drain_deadline: 3 sec onds"),
        ("rate_limited: 0.01", "rate_limited: 1"),
        ("ttl_jitter: 0.1", "ttl_jitter: 10"),
        ("partitions: 4", "partitions: four"),
        ("concurrency: 96", "concurrency: 0"),
        ("max_tokens: 900", "max_tokens: -1"),
    ])));
}

#[test]
fn dimensions_that_would_leak_or_never_share() {
    insta::assert_snapshot!(told(&demo_with(&[
        (
            "dimensions: [vendors, vendor_types, style, guests, prompt]",
            "dimensions: [vendors, wedding, style, style, prompt]"
        ),
        (
            "dimensions: [vendors, wedding, prompt]",
            "dimensions: [vendors, prompt]"
        ),
        (
            "dimensions: [vendors, style, prompt]",
            "dimensions: [style]"
        ),
    ])));
}

#[test]
fn a_trigger_has_two_names_and_is_given_once() {
    let text = demo_with(&[("trigger: vendor.opened", "on: vendor.opened")]);
    assert!(problems(&text).is_empty(), "{}", problems(&text));
    insta::assert_snapshot!(told(&demo_with(&[
        (
            "trigger: vendor.opened",
            "on: vendor.opened\n    trigger: vendor.opened"
        ),
        ("trigger: vendor.menu_changed", "true: vendor.menu_changed"),
        ("    trigger: wedding.style_changed\n", ""),
        ("trigger: wedding.deleted", "on: weding.deleted"),
    ])));
}

#[test]
fn conditions_that_are_not_cel_and_fields_that_events_lack() {
    insta::assert_snapshot!(told(&demo_with(&[
        ("|| event.attributes.priceChangePct < -5.0", "||"),
        (
            "      && event.attributes.priceChangePct <= 5.0",
            "      && event.atributes.priceChangePct <= 5.0"
        ),
        ("trigger: vendor.opened", "trigger: vendor.opend"),
        ("trigger: vendor.closed", "trigger: vendors.closed"),
        ("scope: wedding", "scope: vendor"),
        ("name: price-nudged", "name: price-moved"),
    ])));
}

#[test]
fn conditions_that_can_never_be_evaluated_or_may_fail() {
    insta::assert_snapshot!(told(&demo_with(&[
        (
            "when: event.attributes.priceChangePct > 5.0 || event.attributes.priceChangePct < -5.0",
            "when: event.attributes.priceChangePct * 2 > 10"
        ),
        (
            "event.weddingContext.guestCount * 10 > event.previous.guestCount * 11",
            "event.weddingContext.guestCount * 1.1\n        > event.previous.guestCount"
        ),
        (
            "when: has(event.attributes.available) && event.attributes.available == true",
            "when: \"(event.change == 'x' ? 1 : 'y') + 1 == 2\""
        ),
    ])));
}

#[test]
fn months_without_a_season_and_with_two() {
    insta::assert_snapshot!(told(&demo_with(&[
        ("months: [4, 5]", "months: [4, 5, 6, 13]"),
        ("months: [12, 1, 2]", "months: [12, 1]"),
        ("guest_bands: [50, 100, 150,", "guest_bands: [50, 150, 100,"),
        ("within_days: 60", "within_days: 7"),
    ])));
}

#[test]
fn topics_that_cannot_work() {
    insta::assert_snapshot!(told(&demo_with(&[
        ("name: wedsync.vendor.changes", "name: wedsync.ai.queries"),
        (
            "name: wedsync.ai.responses",
            "name: \"wedsync ai responses\""
        ),
        (
            "name: wedsync.cache.invalidations, retention: 1d",
            "name: wedsync.cache.invalidations, retention: 10m"
        ),
        (
            "retention: 1d, format: json}\n  metrics",
            "retention: 1d, format: confluent}\n  metrics"
        ),
        ("dead_letters: {", "dead_letters: {max_bytes: 1KiB, "),
        (
            "replication_factor: 1",
            "replication_factor: ${COPIES:-many}"
        ),
        (
            "partitions: 2, retention",
            "partitions: 2, replication_factor: 0, retention"
        ),
    ])));
}

#[test]
fn variables_where_none_may_stand_or_none_is_set() {
    insta::assert_snapshot!(told(&demo_with(&[
        ("client_id: wedcache-demo", "client_id: ${HOSTNAME}"),
        ("ttl: 24m", "ttl: \"${VENUE_TTL}\""),
        ("capacity_factor: 1.8}", "capacity_factor: ${FACTOR}}"),
        ("poll_threads: 1", "poll_threads: ${THREADS}"),
        ("${WEDCACHE_KAFKA:-127.0.0.1:9092}", "${WEDCACHE_KAFKA}"),
        ("${WEDCACHE_DATA:-wedcache-demo}", "${WEDCACHE-DATA}"),
    ])));
}

#[test]
fn addresses_that_are_none() {
    insta::assert_snapshot!(told(&demo_with(&[
        (
            "${WEDCACHE_KAFKA:-127.0.0.1:9092}",
            "broker-1:9092,broker-2,broker-3:99999"
        ),
        ("${WEDCACHE_LISTEN:-127.0.0.1:9464}", "localhost"),
        (
            "layers:\n",
            "registry: {urls: [\"registry:8081\"]}\nlayers:\n  redis: {server: {single: \"http://user:hunter2@cache\"}}\n"
        ),
        (
            "commit_interval: 500ms",
            "properties: {group.id: mine, acks: 1}"
        ),
    ])));
}

#[test]
fn sections_and_fields_that_are_missing() {
    insta::assert_snapshot!(told(
        "name: x\nkafka: {}\ntopics:\n  queries: {}\ncache_types:\n  a: {sharing: shared}\nrules:\n  - on: vendor.closed\n"
    ));
}

#[test]
fn a_syntax_error_does_not_hide_the_other_sections() {
    insta::assert_snapshot!(told(&demo_with(&[
        ("size: 64MiB", "size: \"64MiB"),
        ("poll_threads:", "pol_threads:"),
        ("guest_bands: [50, 100", "guest_bands: [50, 100}"),
        ("trigger: vendor.opened", "trigger: vendor.*opened"),
    ])));
}

/// Each slip is the only one in a valid file, and is reported once, at its place.
#[test]
fn slips_of_syntax_are_told_in_the_words_of_who_made_them() {
    let slips = [
        (
            "  client_id: wedcache-demo\n",
            "\tclient_id: wedcache-demo\n",
        ),
        (
            "  client_id: wedcache-demo\n",
            "  \tclient_id: wedcache-demo\n",
        ),
        (
            "    prompt:\n      version: 1",
            "    prompt:\n\t\tversion: 1",
        ),
        ("topics:\n", "---\ntopics:\n"),
        ("topics:\n", "--- # two\ntopics:\n"),
        ("kafka:\n", "\u{feff}kafka:\n"),
        ("kafka:\n", "kafka\n"),
        ("name: wedsync-demo", "name: wedsync: demo"),
        ("name: wedsync-demo", "name: \"wedsync-demo"),
        ("name: wedsync-demo", "name: 'couple's'"),
        ("name: wedsync-demo", "name: *wedsync"),
        ("name: wedsync-demo", "name: wed\u{7}sync"),
        ("guest_bands: [50, 100", "guest_bands: [50, 100, ["),
        ("guest_bands: [50, 100", "guest_bands: [50, 100}, "),
        ("client_id: wedcache-demo", "client_id: [${A}]"),
        ("  poll_threads: 1", "   poll_threads: 1"),
        ("freshness:\n", "freshness:\n  - max_rules_lag: 3\n"),
    ];
    let told = slips.map(|slip| format!("{:?}\n{}", slip.1, told(&demo_with(&[slip]))));
    insta::assert_snapshot!(told.join("\n\n"));
}

#[test]
fn keys_that_stand_twice() {
    insta::assert_snapshot!(told(&demo_with(&[
        ("  florist: {ttl: 4m,", "  venue: {ttl: 4m,"),
        ("name: wedsync-demo\n", "name: wedsync-demo\nname: other\n"),
        (
            "city: Dallas, state: TX, aliases: [DFW]",
            "city: Dallas, state: Texas, aliases: [dallas]"
        ),
    ])));
}

#[test]
fn markets_that_are_one_place() {
    insta::assert_snapshot!(told(&demo_with(&[
        (
            "city: Chicago, state: IL",
            "city: St. Louis, state: MO, aliases: [Saint Louis]"
        ),
        ("city: Miami, state: FL", "city: \"Austin, TX\", state: TX"),
        ("city: Atlanta, state: GA", "city: New-York City, state: NY"),
        ("city: Seattle, state: WA", "city: Seattle, state: W.A."),
        ("city: Denver, state: CO", "city: \"…\", state: XX"),
    ])));
}

#[test]
fn test_cases_that_cannot_be_right() {
    insta::assert_snapshot!(told(&demo_with(&[
        ("now: 2026-11-22T10:00:00Z", "now: yesterday"),
        (
            "location: {city: Miami, state: FL}",
            "location: {city: Miami}"
        ),
        (
            "      - query: {<<: *question, queryId: q-2}",
            "      - querry: {}\n      - advance: soon\n      - record: {topic: answers, value: {hex: 0x}}"
        ),
        (
            "attributes: {priceChangePct: 20}",
            "atributes: {priceChangePct: 20}"
        ),
    ])));
}

#[test]
fn what_is_legal_but_hardly_meant_is_a_warning() {
    let text = demo_with(&[
        (
            "  simulator:\n    simulator:",
            "  unused:\n    openai: {base_url: \"http://ai:1\", model: m}\n  simulator:\n    simulator:",
        ),
        ("  disk:\n", "  # disk:\n"),
        ("    path:", "    # path:"),
        ("    cache_size:", "    # cache_size:"),
        ("    max_size:", "    # max_size:"),
    ]);
    let found = problems(&text);
    assert_eq!(found.errors(), 0, "{found}");
    insta::assert_snapshot!(found.to_string());
}

#[test]
fn files_that_are_no_topology_at_all() {
    insta::assert_snapshot!(
        [
            "",
            "just text",
            "- a\n- b\n",
            "a: [",
            "\u{0}",
            "name: &a [*a]\n"
        ]
        .map(|text| format!("{text:?}\n{}", told(text)))
        .join("\n\n")
    );
}

#[test]
fn problems_are_drawn_with_their_place() {
    let found = problems(&demo_with(&[
        ("poll_threads: 1", "poll_threads: 0\n  pol_threads: 2"),
        ("sharing: shared", "sharing: shred"),
        ("months: [4, 5]", "months: [4, 5, 6]"),
    ]));
    let plain = Look {
        unicode: true,
        colour: false,
    };
    insta::assert_snapshot!(found.render(plain, 100));
    let ascii = Look {
        unicode: false,
        colour: false,
    };
    assert!(found.render(ascii, 100).is_ascii());
}
