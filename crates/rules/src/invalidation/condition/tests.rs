use proptest::prelude::*;

use wedcache_model::catalog::sample;

use super::*;
use crate::invalidation::rule::Change;

fn vendor_facts() -> Facts {
    let change = serde_json::from_str(
        r#"{"eventId": "e-1", "vendorId": "v-17", "vendorType": " Florist ",
            "change": "price_changed", "occurredAt": "2026-11-22T10:00:00Z",
            "location": {"city": "austin", "state": "Texas"},
            "attributes": {"priceChangePct": 12.5, "grade": 3, "note": "new menu", "vip": true}}"#,
    )
    .unwrap();
    Facts::of(&Change::Vendor(change), &sample::catalog()).unwrap()
}

fn wedding_facts() -> Facts {
    let update = serde_json::from_str(
        r#"{"eventId": "e-2", "weddingId": "w-9", "change": "date_changed",
            "occurredAt": "2026-11-22T10:00:00Z",
            "weddingContext": {"location": {"city": "Austin", "state": "TX"},
                "weddingDate": "2026-12-01", "budgetRange": "premium", "guestCount": 120,
                "vendorPreferences": ["florist", "caterer"]},
            "previous": {"guestCount": 80}}"#,
    )
    .unwrap();
    Facts::of(&Change::Wedding(update), &sample::catalog()).unwrap()
}

fn facts(source: ChangeSource) -> Facts {
    match source {
        ChangeSource::Vendor => vendor_facts(),
        ChangeSource::Wedding => wedding_facts(),
    }
}

#[track_caller]
fn check(source: ChangeSource, text: &str, want: bool) {
    let condition = Condition::compile(text, Some(source), &sample::catalog().ids).expect(text);
    let truth = condition.evaluate(&facts(source));
    let want = if want {
        Truth::Holds
    } else {
        Truth::DoesNotHold
    };
    assert_eq!(truth, want, "{text}");
}

#[test]
fn conditions_read_the_event_by_its_names_on_the_wire() {
    for (text, want) in [
        ("event.vendorId == 'v-17'", true),
        ("event.vendorType == 'florist'", true),
        ("event.vendorType in ['caterer', 'florist']", true),
        ("event.location.city == 'austin'", true),
        ("event.location.place == 'Austin_TX'", true),
        ("event.location.country == 'AU'", false),
        ("event.attributes.priceChangePct > 10", true),
        ("event.attributes['priceChangePct'] >= 12.5", true),
        ("event['attributes']['priceChangePct'] < 5", false),
        ("event.attributes.grade == 3", true),
        ("event.attributes.vip", true),
        ("!event.attributes.vip", false),
        ("event.attributes.note.contains('menu')", true),
        ("event.attributes.note.matches('^new .+')", true),
        ("event.change.startsWith('price')", true),
        ("has(event.attributes.missing)", false),
        (
            "has(event.attributes.missing) && event.attributes.missing > 3",
            false,
        ),
        ("!has(event.source)", true),
        ("event.occurredAt < timestamp('2026-12-01T00:00:00Z')", true),
        ("event.occurredAt.getMonth() == 10", true),
        ("event.attributes.exists(name, name == 'vip')", true),
        ("size(event.attributes) == 4", true),
        ("'vip' in event.attributes", true),
        ("[1, 2].exists(n, n > 1) && [3].all(n, n > 2)", true),
        ("type(event.attributes.grade) == double", true),
    ] {
        check(ChangeSource::Vendor, text, want);
    }
    for (text, want) in [
        (
            "event.weddingContext.guestCount - event.previous.guestCount > 20",
            true,
        ),
        ("event.weddingContext.guestCount >= 120.5", false),
        ("event.weddingContext.budgetRange == 'premium'", true),
        (
            "event.weddingContext.weddingDate - event.occurredAt < duration('720h')",
            true,
        ),
        ("'florist' in event.weddingContext.vendorPreferences", true),
        (
            "event.weddingContext.vendorPreferences.exists(p, p.startsWith('cat'))",
            true,
        ),
        ("event.weddingContext.location.place == 'Austin_TX'", true),
        ("has(event.userId)", false),
    ] {
        check(ChangeSource::Wedding, text, want);
    }
}

#[test]
fn ids_are_compared_in_canonical_form() {
    for given in ["v-17", "V\u{2011}17", "\u{ff36}-17"] {
        let value = serde_json::json!({"eventId": "c-1", "vendorId": given, "change": "closed"});
        let change: wedcache_model::VendorChange = serde_json::from_value(value).unwrap();
        let facts = Facts::of(&Change::Vendor(change), &sample::catalog()).unwrap();
        let condition = Condition::compile(
            "event.vendorId == 'v-17'",
            Some(ChangeSource::Vendor),
            &sample::catalog().ids,
        );
        assert_eq!(condition.unwrap().evaluate(&facts), Truth::Holds, "{given}");
    }
    let refused = refused(
        ChangeSource::Vendor,
        "event.vendorId in ['v-17', 'V\u{2011}18']",
    );
    assert!(refused.contains("v-18"), "{refused}");
}

#[test]
fn a_condition_that_cannot_be_evaluated_says_so() {
    for text in [
        "event.attributes.missing > 3",
        "event.attributes.note > 3",
        "event.source == 'bloomdesk'",
        "event.attributes.note * 2.0 > 3.0",
        "event.attributes.note",
        "1 / (size(event.attributes) - 4) == 1",
        "size(event.attributes) * 9223372036854775807 > 0",
        "[1][size(event.attributes)] == 1",
    ] {
        let condition =
            Condition::compile(text, Some(ChangeSource::Vendor), &sample::catalog().ids)
                .expect(text);
        let truth = condition.evaluate(&vendor_facts());
        assert!(matches!(truth, Truth::Failed(_)), "{text}: {truth:?}");
    }
}

#[track_caller]
fn refused(source: ChangeSource, text: &str) -> String {
    let problems = Condition::compile(text, Some(source), &sample::catalog().ids).expect_err(text);
    let mut lines = vec![text.chars().take(80).collect::<String>()];
    for problem in problems {
        let at = problem
            .at
            .map_or_else(|| "?".to_owned(), |at| format!("{}:{}", at.line, at.column));
        let nearest = problem
            .nearest
            .map(|name| format!(" (nearest: {name})"))
            .unwrap_or_default();
        lines.push(format!(
            "  {at} {} | {}{nearest}",
            problem.message, problem.expected
        ));
    }
    lines.join("\n")
}

#[test]
fn what_can_never_be_true_or_bounded_is_refused_with_its_place() {
    let long = format!("event.change == '{}'", "x".repeat(MAX_CHARS));
    let deep = format!("{}true{}", "(".repeat(60), ")".repeat(60));
    let chain = format!("{} == 50", vec!["1"; 50].join(" + "));
    let vendor = [
        "event.vendorTyp == 'florist'",
        "event.weddingId == 'w-9'",
        "event.location.town == 'x'",
        "event.change.length() > 3",
        "vendorType == 'florist'",
        "true &&\n  even.change == 'x'",
        "event.vendorType == 'Florist'",
        "event.vendorType == 3",
        "event.occurredAt > '2026-01-01'",
        "event.vendorType != null",
        "event.vendorType in ['florist', 'Caterer']",
        "event.location == 'Austin_TX'",
        "event.location.place == 'Texas'",
        "event.location.place in ['TX', 'AU-New South Wales', 'Austin_Texas']",
        "event.location.place == 3",
        "event.attributes.price + 1",
        "size(event.attributes)",
        "[1].map(x, x).exists(x, x == 1)",
        "[1].exists(x, [x].exists(y, y == x))",
        "[1].exists(event, event == 1)",
        "event.change.matches(event.attributes.pattern)",
        "event.change.matches('(unclosed')",
        "event.attributes.exists(name, name.matches('^a'))",
        "event.change.matches('(a{200}){200}')",
        "event.change == ",
        "event.change == 'x",
        "'💐' == 'é' && nobody",
        "'💐' == 'é' &&\n'é' == 'é' == )",
        "event.change == '💐é' && 'open",
        "event..change",
        "",
        "Money{amount: 1} == 2",
        long.as_str(),
        deep.as_str(),
        chain.as_str(),
    ];
    let wedding = [
        "event.weddingContext.budgetRange == 'premiun'",
        "event.weddingContext.guestCount > '100'",
        "event.vendorId == 'v'",
        "3 in event.weddingContext.vendorPreferences",
        "'x' in event.change",
        "event.weddingContext.vendorPreferences == 'florist'",
        "event.weddingContext.weddingDate == '2027-06-12'",
    ];
    let report: Vec<_> = vendor
        .map(|text| refused(ChangeSource::Vendor, text))
        .into_iter()
        .chain(wedding.map(|text| refused(ChangeSource::Wedding, text)))
        .collect();
    insta::assert_snapshot!(report.join("\n"));
}

#[test]
fn what_is_as_deep_as_allowed_is_evaluated_on_an_ordinary_stack() {
    for text in [
        format!("{} == 38", vec!["1"; 38].join(" + ")),
        format!("{}true{}", "!(".repeat(38), ")".repeat(38)),
        format!("{0}1{1} == {0}1{1}", "[".repeat(38), "]".repeat(38)),
        format!(
            "[1].all(x, {0}true{1})",
            "(true ? ".repeat(30),
            " : true)".repeat(30)
        ),
        vec!["event.attributes.vip"; 38].join(" && "),
    ] {
        check(ChangeSource::Vendor, &text, true);
    }
}

#[test]
fn an_event_beyond_the_bounds_is_not_evaluated() {
    let change = |attributes: String| {
        let json = format!(
            r#"{{"eventId": "e", "vendorId": "v", "change": "x", "attributes": {attributes}}}"#
        );
        let change = Change::Vendor(serde_json::from_str(&json).unwrap());
        Facts::of(&change, &sample::catalog()).map(|_| ())
    };
    let many: Vec<_> = (0..=super::super::facts::MAX_ITEMS)
        .map(|at| format!(r#""a{at}": 1"#))
        .collect();
    assert!(change(format!("{{{}}}", many.join(","))).is_err());
    assert!(change(format!(r#"{{"a": "{}"}}"#, "x".repeat(9000))).is_err());
    assert!(change(r#"{"a": "x"}"#.to_owned()).is_ok());
}

#[test]
fn the_fields_that_a_condition_reads_are_shown_with_their_values() {
    let text = "has(event.attributes.pct) || event.vendorType == 'x' || event.location.city == 'y'";
    let condition =
        Condition::compile(text, Some(ChangeSource::Vendor), &sample::catalog().ids).unwrap();
    let read = condition.read_fields(&vendor_facts());
    let want = [
        ("event.attributes.pct", None),
        ("event.location.city", Some("\"austin\"")),
        ("event.vendorType", Some("\"florist\"")),
    ];
    assert_eq!(
        read,
        want.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)))
    );
}

/// Generates texts from CEL's own tokens, which reach deeper into the parser than random characters
/// do.
fn cel_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "event",
        ".",
        "attributes",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        "'",
        "\"",
        "'a'",
        "1",
        "1.5",
        "-",
        "!",
        "&&",
        "||",
        "==",
        "<",
        "in",
        "?",
        ":",
        ",",
        "has(",
        "exists(",
        "x",
        "map(x, ",
        "matches(",
        "size(",
        " ",
        "\n",
        "\\",
        "\\u00",
        "0x",
        "9223372036854775808",
        "b'",
        "r'",
        "true",
        "null",
        "é",
        "💐",
        "`",
        "@",
        "'''",
        "\"\"\"",
        "1e999",
        "u",
        "//",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Tests that neither compiling nor evaluating panics, and that positions are within the text.
    #[test]
    fn any_text_is_a_condition_or_refused(text in prop_oneof![cel_like(), ".{0,80}"]) {
        match Condition::compile(&text, Some(ChangeSource::Vendor), &sample::catalog().ids) {
            Ok(condition) => {
                condition.evaluate(&vendor_facts());
            }
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                for at in problems.iter().filter_map(|problem| problem.at) {
                    prop_assert!(at.line <= text.matches('\n').count() + 1, "{at:?}");
                    prop_assert!(at.column <= text.chars().count() + 1, "{at:?}");
                }
            }
        }
    }
}
