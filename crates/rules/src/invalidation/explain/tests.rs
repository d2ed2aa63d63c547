use wedcache_model::catalog::sample;
use wedcache_model::{AiQuery, Mode, Timestamp};

use super::super::rule::{Change, RuleSpec, Rules, Scope, Selection};
use super::*;

fn spec(name: &str, on: &str, scope: Scope, condition: Option<&str>) -> RuleSpec {
    RuleSpec {
        name: name.into(),
        on: on.into(),
        cache_types: Selection::Named(vec!["vendor_matching".into()]),
        scope,
        mode: Mode::Refresh,
        condition: condition.map(Into::into),
        active: true,
    }
}

fn rules() -> Rules {
    let price = "vendor.price_changed";
    let mut specs = [
        spec("prices", price, Scope::Vendor, None),
        spec(
            "big-moves",
            price,
            Scope::VendorType,
            Some("event.attributes.priceChangePct > 20"),
        ),
        spec(
            "florists",
            price,
            Scope::VendorType,
            Some("event.vendorType == 'florist'"),
        ),
        spec(
            "margins",
            "vendor.*",
            Scope::Vendor,
            Some("event.attributes.margin > 0.5"),
        ),
        spec("closures", "vendor.closed", Scope::Location, None),
        spec("retired", price, Scope::Global, None),
        spec(
            "everywhere",
            price,
            Scope::Location,
            Some("has(event.source)"),
        ),
        spec("dates", "wedding.date_changed", Scope::Wedding, None),
    ];
    specs[3].mode = Mode::Purge;
    specs[5].active = false;
    Rules::compile(&specs, &sample::catalog()).unwrap()
}

fn report(json: &str) -> EventReport {
    let change = Change::Vendor(serde_json::from_str(json).unwrap());
    event(&rules(), &sample::catalog(), &change, Some("v-17"))
}

#[test]
fn an_event_is_explained_rule_by_rule() {
    let full = report(
        r#"{"eventId": "e-1", "vendorId": "v-17", "vendorType": "florist",
            "change": "price_changed", "location": {"city": "Austin", "state": "TX"},
            "attributes": {"priceChangePct": 12.5}}"#,
    );
    insta::assert_snapshot!("event_text", full);
    insta::assert_snapshot!("event_json", serde_json::to_string_pretty(&full).unwrap());
}

#[test]
fn an_event_that_lacks_something_is_explained() {
    let lacking = report(
        r#"{"eventId": "e-2", "vendorId": "v-16", "change": "price_changed",
            "source": "bloomdesk", "attributes": {"priceChangePct": 30, "margin": 0.1}}"#,
    );
    insta::assert_snapshot!("lacking_text", lacking);
    let other = report(
        r#"{"eventId": "e-3", "vendorId": "v", "change": "x",
            "attributes": {"margin": 0.1}}"#,
    );
    assert!(other.to_string().contains("invalidates nothing"));
}

fn explain(json: &str) -> QueryReport {
    let asked: AiQuery = serde_json::from_str(json).unwrap();
    let now = Timestamp::parse("2026-11-22T10:00:00Z").unwrap();
    query(&sample::catalog(), &asked, now).unwrap()
}

#[test]
fn a_query_is_explained_with_its_key_tags_and_ttl() {
    let full = explain(
        r#"{"queryId": "q-81", "query": {"type": "vendor_matching", "content": "Which florist?",
              "vendorTypes": ["florist", "harpist"], "vendorIds": ["v-17"], "userId": "u-5"},
            "weddingContext": {"weddingId": "w-9", "location": {"city": "Austin", "state": "TX"},
              "weddingDate": "2026-12-12", "budgetRange": "moderate", "weddingStyle": "rustic"}}"#,
    );
    insta::assert_snapshot!("query_text", full);
    insta::assert_snapshot!("query_json", serde_json::to_string_pretty(&full).unwrap());
}

#[test]
fn a_query_whose_answer_is_not_stored_is_told_why() {
    let place = r#""weddingContext": {"location": {"city": "Waco", "state": "TX"}}"#;
    let private = explain(&format!(
        r#"{{"queryId": "q", "query": {{"type": "guest_management", "content": "x"}}, {place}}}"#
    ));
    insta::assert_snapshot!("private_text", private);
    let no_store = explain(&format!(
        r#"{{"queryId": "q", "query": {{"type": "vendor_matching", "content": "x"}}, {place},
            "options": {{"noStore": true}}}}"#
    ));
    assert!(no_store.not_stored.unwrap().contains("noStore"));
}
