//! Two queries share a key exactly if all parts of their type's key are the same: compares keys
//! with a plain comparison of their parts.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::super::catalog::sample;
use super::super::event::{BudgetRange, Location, QueryOptions, Question, WeddingContext};
use super::super::time::Date;
use super::*;

static CATALOG: LazyLock<Catalog> = LazyLock::new(sample::catalog);

/// Generates a few values that are easily confused: separators, escapes, case, `any`, equality
/// under NFKC.
fn word() -> impl Strategy<Value = String> {
    const WORDS: [&str; 15] = [
        "a", "A", "b", "a b", "a  B ", "a,b", "a%2Cb", "a:b", "a=b", "any", "%61ny", "ａ", "", "é",
        "e\u{301}",
    ];
    prop::sample::select(&WORDS[..]).prop_map(str::to_owned)
}

fn words() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(word(), 0..3)
}

fn query() -> impl Strategy<Value = AiQuery> {
    const TYPES: [&str; 3] = [
        "vendor_matching",
        "venue_recommendations",
        "guest_management",
    ];
    const PLACES: [(&str, &str, &str); 4] = [
        ("Austin", "TX", "US"),
        ("ATX", "Texas", "usa"),
        ("Waco", "TX", "US"),
        ("Austin", "TX", "AU"),
    ];
    let question = (prop::sample::select(&TYPES[..]), word(), words(), words()).prop_map(
        |(cache_type, content, vendor_types, vendor_ids)| Question {
            cache_type: cache_type.to_owned(),
            content,
            vendor_types,
            vendor_ids,
            user_id: None,
        },
    );
    let days = prop::option::of(prop::sample::select(&[20_000_i32, 20_001, 20_200][..]));
    let budget = prop::option::of(prop::sample::select(&BudgetRange::ALL[..2]));
    let guests = prop::option::of(prop::sample::select(&[49_u32, 50, 51, 500][..]));
    let place = prop::sample::select(&PLACES[..]);
    let context = (
        prop::option::of(word()),
        place,
        days,
        budget,
        prop::option::of(word()),
        guests,
    )
        .prop_map(
            |(
                wedding_id,
                (city, state, country),
                days,
                budget_range,
                wedding_style,
                guest_count,
            )| {
                WeddingContext {
                    wedding_id,
                    location: Location {
                        city: city.to_owned(),
                        state: state.to_owned(),
                        country: country.to_owned(),
                    },
                    wedding_date: days.and_then(Date::from_epoch_days),
                    budget_range,
                    wedding_style,
                    guest_count,
                    vendor_preferences: Vec::new(),
                }
            },
        );
    (question, context).prop_map(|(query, wedding_context)| AiQuery {
        query_id: "q".to_owned(),
        query,
        wedding_context,
        options: QueryOptions::default(),
        asked_at: None,
    })
}

/// Returns the parts of a query's key, as plain values.
fn parts(query: &AiQuery) -> Vec<Vec<String>> {
    let catalog = &*CATALOG;
    let (question, context) = (&query.query, &query.wedding_context);
    let cache_type = catalog.get(&question.cache_type).unwrap();
    let set = |words: Vec<String>| {
        let words: BTreeSet<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
        words.into_iter().collect::<Vec<_>>()
    };
    let one = |value: Option<String>| value.into_iter().filter(|of| !of.is_empty()).collect();
    let mut parts = vec![
        vec![question.cache_type.clone()],
        vec![catalog.places.place(&context.location)],
        one(context
            .wedding_date
            .map(|date| catalog.season(date).name.to_string())),
        one(context.budget_range.map(|range| range.as_str().to_owned())),
        vec![normalise(&question.content)],
    ];
    for dimension in &cache_type.dimensions {
        parts.push(match dimension {
            Dimension::Vendors => set(question
                .vendor_ids
                .iter()
                .filter_map(|id| catalog.ids.canonical(id))
                .map(std::borrow::Cow::into_owned)
                .collect()),
            Dimension::VendorTypes => set(question
                .vendor_types
                .iter()
                .map(|name| normalise(name))
                .collect()),
            Dimension::Style => one(context.wedding_style.as_deref().map(normalise)),
            Dimension::Guests => one(context.guest_count.map(|n| catalog.guest_band(n))),
            // Blank ids are dropped by decoding, and keys of private types without an id are never
            // stored.
            Dimension::Wedding => context.wedding_id.clone().into_iter().collect(),
            Dimension::Prompt => vec![cache_type.prompt.to_string()],
        });
    }
    parts
}

fn key(query: &AiQuery) -> CacheKey {
    let catalog = &*CATALOG;
    let cache_type = catalog.get(&query.query.cache_type).unwrap();
    let place = catalog.places.place(&query.wedding_context.location);
    CacheKey::of(catalog, cache_type, query, &place)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn queries_share_a_key_exactly_when_what_it_is_made_of_is_the_same(
        a in query(),
        b in query(),
        // Copies parts between the queries; otherwise two random queries would hardly ever be
        // equal.
        like in prop::collection::vec(any::<bool>(), 7),
    ) {
        let mut b = b;
        if like[0] { b.query.cache_type.clone_from(&a.query.cache_type); }
        if like[1] { b.query.content.clone_from(&a.query.content); }
        if like[2] { b.query.vendor_ids = a.query.vendor_ids.iter().rev().cloned().collect(); }
        if like[3] { b.query.vendor_types.clone_from(&a.query.vendor_types); }
        if like[4] { b.wedding_context.clone_from(&a.wedding_context); }
        if like[5] { b.wedding_context.wedding_style.clone_from(&a.wedding_context.wedding_style); }
        if like[6] { b.wedding_context.guest_count = a.wedding_context.guest_count; }
        prop_assert_eq!(key(&a) == key(&b), parts(&a) == parts(&b), "{} and {}", key(&a), key(&b));
        prop_assert_eq!(key(&a).as_str() == key(&b).as_str(), key(&a).hash() == key(&b).hash());
    }
}
