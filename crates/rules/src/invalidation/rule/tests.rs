use wedcache_model::catalog::sample;

use super::*;

fn spec(name: &str, on: &str, scope: Scope) -> RuleSpec {
    RuleSpec {
        name: name.into(),
        on: on.into(),
        cache_types: Selection::All,
        scope,
        mode: Mode::Purge,
        condition: None,
        active: true,
    }
}

#[test]
fn a_heartbeat_triggers_no_rule_and_none_can_name_it() {
    let told = problems(&[spec("a", "vendor.heartbeat", Scope::Vendor)]);
    let want = "0 trigger: a heartbeat only says that its integration lives: no rule can name it \
                | another change";
    assert_eq!(told, [want]);
    // For weddings `heartbeat` is a name like any other.
    assert!(problems(&[spec("a", "wedding.heartbeat", Scope::Wedding)]).is_empty());
    let json = r#"{"eventId": "e", "change": "heartbeat", "source": "bloomdesk"}"#;
    let heartbeat = Change::Vendor(serde_json::from_str(json).unwrap());
    let all = [spec("all", "vendor.*", Scope::Vendor)];
    let rules = Rules::compile(&all, &sample::catalog()).unwrap();
    assert!(rules.iter().all(|rule| !rule.is_triggered_by(&heartbeat)));
}

fn problems(specs: &[RuleSpec]) -> Vec<String> {
    let Err(errors) = Rules::compile(specs, &sample::catalog()) else {
        return Vec::new();
    };
    errors
        .iter()
        .map(|error| {
            let item = error.item.map(|at| format!("[{at}]")).unwrap_or_default();
            let at = error
                .at
                .map(|at| format!(" at {}:{}", at.line, at.column))
                .unwrap_or_default();
            let nearest = error
                .nearest
                .as_ref()
                .map(|name| format!(" (nearest: {name})"))
                .unwrap_or_default();
            format!(
                "{} {}{item}{at}: {} | {}{nearest}",
                error.index,
                error.field,
                error.message,
                error.expected.as_deref().unwrap_or("-")
            )
        })
        .collect()
}

#[test]
fn every_scope_is_taken_for_the_sources_that_can_say_it_and_no_other() {
    for source in ChangeSource::ALL {
        for scope in Scope::ALL {
            let on = format!("{}.*", source.as_str());
            let accepted = problems(&[spec("r", &on, scope)]).is_empty();
            let want = match scope {
                Scope::Global | Scope::Location => true,
                Scope::Wedding | Scope::User => source == ChangeSource::Wedding,
                Scope::Vendor | Scope::VendorType => source == ChangeSource::Vendor,
            };
            assert_eq!(accepted, want, "{on} {scope:?}");
        }
    }
}

#[test]
fn all_that_is_wrong_is_reported_at_once() {
    let mut specs = vec![
        spec("", "vendor.*", Scope::Vendor),
        spec("a", "vendor.*", Scope::Wedding),
        spec("a", "wedding.date_changed", Scope::VendorType),
        spec("unreadable", "wedding.*", Scope::User),
        spec("b", "vendr.opened", Scope::Vendor),
        spec("c", "opened", Scope::Vendor),
        spec("d", "vendor.", Scope::Vendor),
        spec("e", "vendor.menu_*", Scope::Vendor),
        spec("f", "wedding.cancelled", Scope::Vendor),
        spec("g", "vendor.*", Scope::Vendor),
        spec("h", "nothing.*", Scope::Vendor),
    ];
    specs[8].cache_types = Selection::Named(vec![
        "vendor_matching".into(),
        "vendor_maching".into(),
        "tarot".into(),
    ]);
    specs[8].condition = Some("event.weddingContext.guestCont > 3 && foo(1)".into());
    specs[9].cache_types = Selection::Named(vec![]);
    specs[9].condition = Some("event.change ==\n  ".into());
    specs[10].condition = Some("event.whatever == 1 && nobody".into());
    insta::assert_snapshot!(problems(&specs).join("\n"));
}

#[test]
fn named_types_come_in_the_catalogues_order_each_once() {
    let mut rule = spec("r", "vendor.price_changed", Scope::Vendor);
    rule.cache_types = Selection::Named(
        [
            "guest_management",
            "venue_recommendations",
            "guest_management",
        ]
        .map(str::to_owned)
        .into(),
    );
    let rules = Rules::compile(&[rule], &sample::catalog()).unwrap();
    let rule = rules.iter().next().unwrap();
    let types: Vec<&str> = rule.cache_types.iter().map(AsRef::as_ref).collect();
    assert_eq!(types, ["venue_recommendations", "guest_management"]);
    assert_eq!(rule.on(), "vendor.price_changed");
}

#[track_caller]
fn check_trigger(on: &str, change: &str, want: bool) {
    let rules = Rules::compile(&[spec("r", on, Scope::Global)], &sample::catalog()).unwrap();
    let json = format!(r#"{{"eventId": "e", "vendorId": "v", "change": "{change}"}}"#);
    let change = Change::Vendor(serde_json::from_str(&json).unwrap());
    let rule = rules.iter().next().unwrap();
    assert_eq!(rule.is_triggered_by(&change), want, "{on} {change:?}");
}

#[test]
fn a_trigger_is_exact_or_takes_every_change_of_its_source() {
    check_trigger("vendor.opened", "opened", true);
    check_trigger("vendor.opened", "opened_again", false);
    check_trigger("vendor.*", "opened", true);
    check_trigger("vendor.*", "an open set", true);
    check_trigger("wedding.*", "opened", false);
    check_trigger("wedding.opened", "opened", false);
}
