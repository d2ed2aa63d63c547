//! The two halves of freshness meet: what a change invalidates is what the entries and askers
//! that it concerns are judged by, and no more.

use super::super::rule::{RuleSpec, Selection};
use super::*;
use crate::model::catalog::sample;
use crate::model::{AiQuery, Prepared};

fn query(cache_type: &str, question: &str, wedding: &str, city: &str) -> AiQuery {
    serde_json::from_str(&format!(
        r#"{{"queryId": "q", "query": {{"type": "{cache_type}", "content": "x" {question}}},
            "weddingContext": {{"location": {{"city": "{city}", "state": "TX"}} {wedding}}}}}"#
    ))
    .unwrap()
}

/// Whether a rule of `scope` on `change` hits the answer `answer` to `query`, by the tags of its
/// entry and of its asker.
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
    judged_by.extend(prepared.known_tags(query));
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
