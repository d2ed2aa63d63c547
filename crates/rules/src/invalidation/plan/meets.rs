//! Tests that the two halves of freshness fit together: the tags that a change invalidates are
//! exactly those by which the concerned entries and askers are judged.

use wedcache_model::catalog::sample;
use wedcache_model::{AiQuery, Prepared};

use super::super::rule::{ChangeSource, RuleSpec, Selection};
use super::*;

fn query(cache_type: &str, question: &str, wedding: &str, city: &str) -> AiQuery {
    serde_json::from_str(&format!(
        r#"{{"queryId": "q", "query": {{"type": "{cache_type}", "content": "x" {question}}},
            "weddingContext": {{"location": {{"city": "{city}", "state": "TX"}} {wedding}}}}}"#
    ))
    .unwrap()
}

/// Returns true if a rule of `scope` on `change` hits the answer `answer` to `query`, by the tags
/// of its entry and of its asker.
fn hits(scope: Scope, change: &Change, query: &AiQuery, answer: &str) -> bool {
    let catalog = sample::catalog();
    let rule = RuleSpec {
        name: "r".into(),
        on: format!("{}.*", change.source().as_str()),
        cache_types: Selection::All,
        scope,
        mode: Mode::Purge,
        condition: None,
        active: true,
    };
    let rules = Rules::compile(&[rule], &catalog).unwrap();
    let prepared = Prepared::of(&catalog, query).unwrap();
    let mut judged_by = prepared.entry_tags(&catalog, query, answer).tags;
    judged_by.extend(prepared.known_tags(&catalog, query));
    plan(&rules, &catalog, change, None)
        .invalidations
        .iter()
        .any(|planned| judged_by.contains(&planned.tag))
}

#[track_caller]
fn check(scope: Scope, change: &Change, query: &AiQuery, answer: &str, want: bool) {
    let found = hits(scope, change, query, answer);
    assert_eq!(found, want, "{scope:?} {:?} {answer}", query.query);
}

#[test]
fn a_vendor_change_hits_the_answers_that_it_concerns_and_no_others() {
    let change = Change::Vendor(
        serde_json::from_str(
            r#"{"eventId": "e", "vendorId": "v-17", "vendorType": "Florist", "change": "opened",
                "location": {"city": "ATX", "state": "Texas"}}"#,
        )
        .unwrap(),
    );
    let plain = query("vendor_matching", "", "", "Austin");
    let elsewhere = query("vendor_matching", "", "", "Waco");
    let florists = query(
        "vendor_matching",
        r#", "vendorTypes": ["florist"]"#,
        "",
        "Austin",
    );
    let caterers = query(
        "vendor_matching",
        r#", "vendorTypes": ["caterer"]"#,
        "",
        "Austin",
    );
    let named = query("vendor_matching", r#", "vendorIds": ["v-17"]"#, "", "Waco");
    let private = query("guest_management", "", r#", "weddingId": "w""#, "Austin");
    for any in [&plain, &elsewhere, &caterers, &named, &private] {
        check(Scope::Global, &change, any, "", true);
    }
    check(Scope::Location, &change, &plain, "", true);
    check(Scope::Location, &change, &private, "", true);
    check(Scope::Location, &change, &elsewhere, "", false);
    check(Scope::VendorType, &change, &florists, "", true);
    check(Scope::VendorType, &change, &plain, "", true);
    check(Scope::VendorType, &change, &caterers, "", false);
    check(Scope::VendorType, &change, &elsewhere, "", false);
    check(Scope::Vendor, &change, &named, "", true);
    check(Scope::Vendor, &change, &elsewhere, "ask v-17!", true);
    check(Scope::Vendor, &change, &florists, "ask v-170!", false);
}

#[test]
fn a_wedding_update_hits_its_couple_and_the_places_before_and_after() {
    let change = Change::Wedding(
        serde_json::from_str(
            r#"{"eventId": "e", "weddingId": "w-9", "userId": "u-5", "change": "location_changed",
                "weddingContext": {"location": {"city": "Austin", "state": "TX"}},
                "previous": {"location": {"city": "Waco", "state": "TX"}}}"#,
        )
        .unwrap(),
    );
    let user = r#", "userId": "u-5""#;
    for cache_type in ["vendor_matching", "guest_management"] {
        let theirs = query(cache_type, "", r#", "weddingId": "w-9""#, "New York");
        let users = query(cache_type, user, "", "New York");
        let others = query(cache_type, "", r#", "weddingId": "w-8""#, "Austin");
        let before = query(cache_type, "", r#", "weddingId": "w-8""#, "Waco");
        check(Scope::Wedding, &change, &theirs, "", true);
        check(Scope::Wedding, &change, &users, "", false);
        check(Scope::Wedding, &change, &others, "", false);
        check(Scope::User, &change, &users, "", true);
        check(Scope::User, &change, &theirs, "", false);
        check(Scope::Location, &change, &others, "", true);
        check(Scope::Location, &change, &before, "", true);
    }
}

/// A vendor's id in spellings of integrations, people and models.
const DRESSES: [&str; 8] = [
    "v-17",
    " V-17 ",
    "v\u{2011}17",
    "v\\-17",
    "ｖ－１７",
    "v-\u{200b}17",
    "**v-17**",
    "V\u{2212}17",
];

#[test]
fn an_id_in_any_dress_meets_itself_in_any_other() {
    for (asked, changed) in DRESSES.iter().zip(DRESSES.iter().cycle().skip(3)) {
        let change = Change::Vendor(
            serde_json::from_value(serde_json::json!({
                "eventId": "e", "vendorId": changed, "change": "closed",
            }))
            .unwrap(),
        );
        let plain = query("vendor_matching", "", "", "Waco");
        check(
            Scope::Vendor,
            &change,
            &plain,
            &format!("Ask {asked}."),
            true,
        );
        let mut named = plain.clone();
        named.query.vendor_ids = vec![(*asked).to_owned()];
        check(Scope::Vendor, &change, &named, "", true);
        let mut mentioned = plain.clone();
        mentioned.query.content = format!("Is {asked} free?");
        check(Scope::Vendor, &change, &mentioned, "Yes.", true);
    }
}

#[test]
fn couples_meet_their_updates_whatever_the_case_and_the_blanks() {
    let change = Change::Wedding(
        serde_json::from_str(
            r#"{"eventId": "e", "weddingId": "W-9 ", "userId": "U\u20115", "change": "deleted"}"#,
        )
        .unwrap(),
    );
    let theirs = query("guest_management", "", r#", "weddingId": "w-9""#, "Waco");
    let users = query("guest_management", r#", "userId": "u-5""#, "", "Waco");
    check(Scope::Wedding, &change, &theirs, "", true);
    check(Scope::User, &change, &users, "", true);
}

#[test]
fn a_record_key_in_any_dress_widens_to_the_id() {
    let catalog = sample::catalog();
    let rules = Rules::default();
    let of = |key| widen::widen(&rules, &catalog, ChangeSource::Vendor, Some(key)).by_key;
    for dress in DRESSES {
        assert_eq!(of(dress), of("v-17"), "{dress:?}");
    }
    assert_eq!(of("\"v-17\""), of("v-17"), "a key that was written as JSON");
    assert!(of(" \u{200b}").is_empty());
}
