use proptest::prelude::*;

use wedcache_model::catalog::sample;

use super::super::rule::{ChangeSource, RuleSpec, Selection};
use super::super::widen::{Widened, widen};
use super::*;

fn spec(name: &str, on: &str, scope: Scope, types: &[&str]) -> RuleSpec {
    RuleSpec {
        name: name.into(),
        on: on.into(),
        cache_types: Selection::Named(types.iter().map(|&name| name.into()).collect()),
        scope,
        mode: Mode::Purge,
        condition: None,
        active: true,
    }
}

fn compile(specs: &[RuleSpec]) -> Rules {
    Rules::compile(specs, &sample::catalog()).unwrap()
}

fn vendor(json: &str) -> Change {
    Change::Vendor(serde_json::from_str(json).unwrap())
}

fn wedding(json: &str) -> Change {
    Change::Wedding(serde_json::from_str(json).unwrap())
}

fn moved_vendor() -> Change {
    vendor(
        r#"{"eventId": "e-1", "vendorId": "v-17", "vendorType": " Florist", "change": "opened",
            "location": {"city": "ATX", "state": "Texas"}}"#,
    )
}

fn moved_wedding() -> Change {
    wedding(
        r#"{"eventId": "e-2", "weddingId": "w-9", "userId": "u-5", "change": "location_changed",
            "weddingContext": {"location": {"city": "Austin", "state": "TX"}},
            "previous": {"location": {"city": "Waco", "state": "TX"}}}"#,
    )
}

fn texts(planned: &[Planned]) -> Vec<String> {
    planned
        .iter()
        .map(|of| format!("{} {} by {}", of.mode.as_str(), of.tag, of.rule))
        .collect()
}

/// Checks the tags that one rule of `scope` on type `vendor_matching` plans, without their type.
#[track_caller]
fn check(scope: Scope, change: &Change, record_key: Option<&str>, want: &[&str]) {
    let on = format!("{}.*", change.source().as_str());
    let rules = compile(&[spec("r", &on, scope, &["vendor_matching"])]);
    let plan = plan(&rules, &sample::catalog(), change, record_key);
    let tags: Vec<_> = plan
        .invalidations
        .iter()
        .map(|of| of.tag.as_str().strip_prefix("vendor_matching|").unwrap())
        .collect();
    assert_eq!(tags, want, "{scope:?} {record_key:?}");
    assert!(plan.lacking.is_empty() && plan.refresh_types.is_empty());
}

#[test]
fn each_scope_turns_a_vendor_change_into_its_tags() {
    let change = moved_vendor();
    check(Scope::Global, &change, None, &["global"]);
    check(Scope::Location, &change, None, &["location=Austin_TX"]);
    check(Scope::Vendor, &change, None, &["vendor=v-17"]);
    check(Scope::Vendor, &change, Some("v-17"), &["vendor=v-17"]);
    check(Scope::Vendor, &change, Some(" "), &["vendor=v-17"]);
    let both = ["vendor=v-17", "vendor=v-18"];
    check(Scope::Vendor, &change, Some("v-18"), &both);
    let types = [
        "vendor_type=florist|location=Austin_TX",
        "vendor_type=any|location=Austin_TX",
    ];
    check(Scope::VendorType, &change, Some("v-17"), &types);
}

#[test]
fn each_scope_turns_a_wedding_update_into_its_tags() {
    let change = moved_wedding();
    check(Scope::Global, &change, None, &["global"]);
    let both = ["location=Austin_TX", "location=TX"];
    check(Scope::Location, &change, None, &both);
    check(Scope::Wedding, &change, Some("w-9"), &["wedding=w-9"]);
    let weddings = ["wedding=w-9", "wedding=w-8"];
    check(Scope::Wedding, &change, Some("w-8"), &weddings);
    check(Scope::User, &change, Some("w-9"), &["user=u-5"]);
    let only_before = wedding(
        r#"{"eventId": "e", "weddingId": "w-9", "change": "cancelled",
            "previous": {"location": {"city": "Waco", "state": "TX"}}}"#,
    );
    check(Scope::Location, &only_before, None, &["location=TX"]);
}

/// Checks the replacement for one rule of `scope` on an event that lacks a value that the scope
/// needs.
#[track_caller]
fn check_lacking(scope: Scope, change: &Change, record_key: Option<&str>, want: [&[&str]; 2]) {
    let on = format!("{}.*", change.source().as_str());
    let rules = compile(&[spec("r", &on, scope, &["vendor_matching"])]);
    let plan = plan(&rules, &sample::catalog(), change, record_key);
    let lacking = Lacking {
        rule: "r".into(),
        scope,
    };
    assert_eq!(plan.lacking, [lacking]);
    let found = [texts(&plan.invalidations), texts(&plan.refresh_types)];
    assert_eq!(
        found,
        want.map(|of| of.iter().map(|&of| of.into()).collect::<Vec<String>>())
    );
}

#[test]
fn an_event_that_lacks_the_scopes_value_is_widened_for_that_rule() {
    let bare = vendor(r#"{"eventId": "e", "vendorId": "v-1", "change": "opened"}"#);
    let by_key = ["purge vendor_matching|vendor=v-1 by unreadable"];
    let by_both = [
        "purge vendor_matching|vendor=v-1 by unreadable",
        "purge vendor_matching|vendor=v-2 by unreadable",
    ];
    let refresh = ["refresh vendor_matching|global by unreadable"];
    check_lacking(Scope::Location, &bare, None, [&by_key, &refresh]);
    check_lacking(Scope::VendorType, &bare, Some("v-2"), [&by_both, &refresh]);
    let nameless = vendor(r#"{"eventId": "e", "vendorId": " ", "change": "opened"}"#);
    check_lacking(Scope::Vendor, &nameless, None, [&[], &refresh]);
    let stateless = vendor(
        r#"{"eventId": "e", "vendorId": "v-1", "change": "opened", "vendorType": "florist",
            "location": {"city": "Austin", "state": ""}}"#,
    );
    check_lacking(Scope::Location, &stateless, None, [&by_key, &refresh]);
    check_lacking(Scope::VendorType, &stateless, None, [&by_key, &refresh]);
    let bare = wedding(r#"{"eventId": "e", "weddingId": "w-1", "change": "cancelled"}"#);
    let by_key = ["purge vendor_matching|wedding=w-1 by unreadable"];
    check_lacking(Scope::User, &bare, None, [&by_key, &refresh]);
    check_lacking(Scope::Location, &bare, Some("w-1"), [&by_key, &refresh]);
}

#[test]
fn only_the_rules_that_fire_count() {
    let mut specs = vec![
        spec(
            "exact",
            "vendor.opened",
            Scope::Vendor,
            &["vendor_matching"],
        ),
        spec(
            "other",
            "vendor.closed",
            Scope::Global,
            &["vendor_matching"],
        ),
        spec("wedding", "wedding.*", Scope::Global, &["vendor_matching"]),
        spec("off", "vendor.*", Scope::Global, &["vendor_matching"]),
        spec("false", "vendor.*", Scope::Global, &["vendor_matching"]),
        spec("true", "vendor.*", Scope::Location, &["guest_management"]),
    ];
    specs[3].active = false;
    specs[4].condition = Some("event.vendorType == 'caterer'".into());
    specs[5].condition = Some("event.vendorType == 'florist'".into());
    let plan = plan(&compile(&specs), &sample::catalog(), &moved_vendor(), None);
    assert_eq!(
        texts(&plan.invalidations),
        [
            "purge vendor_matching|vendor=v-17 by exact",
            "purge guest_management|location=Austin_TX by true"
        ]
    );
}

#[test]
fn a_condition_that_cannot_be_evaluated_loses_no_invalidation() {
    let mut failing = spec("pct", "vendor.opened", Scope::Vendor, &["vendor_matching"]);
    failing.condition = Some("event.attributes.pct > 3".into());
    let plan = plan(
        &compile(&[failing]),
        &sample::catalog(),
        &moved_vendor(),
        None,
    );
    assert_eq!(plan.invalidations.len(), 1);
    assert_eq!(&*plan.condition_failures[0].rule, "pct");
    assert!(plan.condition_failures[0].message.contains("pct"));
}

#[test]
fn a_purge_absorbs_a_refresh_whichever_comes_first() {
    for refresh_at in 0..2 {
        let mut specs =
            ["a", "b"].map(|name| spec(name, "vendor.*", Scope::Vendor, &["vendor_matching"]));
        specs[refresh_at].mode = Mode::Refresh;
        let purging = specs[1 - refresh_at].name.clone();
        let plan = plan(&compile(&specs), &sample::catalog(), &moved_vendor(), None);
        let want = format!("purge vendor_matching|vendor=v-17 by {purging}");
        assert_eq!(texts(&plan.invalidations), [want]);
    }
}

#[test]
fn the_records_of_a_plan_are_numbered_from_one() {
    let rules = compile(&[spec(
        "r",
        "vendor.*",
        Scope::VendorType,
        &["vendor_matching"],
    )]);
    let plan = plan(&rules, &sample::catalog(), &moved_vendor(), None);
    let cause = Cause {
        topic: "wedsync.vendor.changes".into(),
        partition: 2,
        offset: 40,
        event_id: Some("e-1".into()),
    };
    let records = into_records(&plan.invalidations, &cause, Timestamp(5));
    let parts: Vec<_> = records.iter().map(|of| (of.part, of.parts)).collect();
    assert_eq!(parts, [(1, 2), (2, 2)]);
    assert!(records.iter().all(|of| of.cause == cause && of.rule == "r"));
    assert_eq!(
        records[1].record_key(),
        "purge:vendor_matching|vendor_type=any|location=Austin_TX"
    );
}

#[track_caller]
fn check_widen(specs: &[RuleSpec], source: ChangeSource, key: Option<&str>, want: [&[&str]; 2]) {
    let Widened {
        by_key,
        refresh_types,
    } = widen(&compile(specs), &sample::catalog(), source, key);
    let found = [by_key, refresh_types].map(|planned| {
        assert!(planned.iter().all(|of| &*of.rule == "unreadable"));
        planned
            .iter()
            .map(|of| format!("{} {}", of.mode.as_str(), of.tag))
            .collect::<Vec<_>>()
    });
    assert_eq!(
        found,
        want.map(|of| of.iter().map(|&of| of.into()).collect::<Vec<String>>())
    );
}

#[test]
fn an_unreadable_event_purges_by_its_key_and_refreshes_what_reaches_wider() {
    let mut specs = [
        spec("v", "vendor.*", Scope::Vendor, &["vendor_matching"]),
        spec(
            "t",
            "vendor.opened",
            Scope::VendorType,
            &["venue_recommendations"],
        ),
        spec("w", "wedding.*", Scope::Wedding, &["guest_management"]),
        spec("off", "vendor.*", Scope::Global, &["guest_management"]),
    ];
    specs[3].active = false;
    let by_vendor = [
        "purge venue_recommendations|vendor=v-1",
        "purge vendor_matching|vendor=v-1",
        "purge guest_management|vendor=v-1",
    ];
    let by_wedding = [
        "purge venue_recommendations|wedding=w-1",
        "purge vendor_matching|wedding=w-1",
        "purge guest_management|wedding=w-1",
    ];
    let wide = ["refresh venue_recommendations|global"];
    let all = [
        "refresh vendor_matching|global",
        "refresh venue_recommendations|global",
    ];
    let guests = ["refresh guest_management|global"];
    check_widen(
        &specs,
        ChangeSource::Vendor,
        Some("v-1"),
        [&by_vendor, &wide],
    );
    check_widen(&specs, ChangeSource::Vendor, Some(" "), [&[], &all]);
    check_widen(&specs, ChangeSource::Vendor, None, [&[], &all]);
    check_widen(
        &specs,
        ChangeSource::Wedding,
        Some("w-1"),
        [&by_wedding, &[]],
    );
    check_widen(&specs, ChangeSource::Wedding, None, [&[], &guests]);
    check_widen(&[], ChangeSource::Wedding, None, [&[], &[]]);
}

fn any_spec() -> impl Strategy<Value = RuleSpec> {
    let triggers = [
        "vendor.*",
        "vendor.opened",
        "vendor.closed",
        "wedding.*",
        "wedding.cancelled",
    ];
    let types = [
        "venue_recommendations",
        "vendor_matching",
        "guest_management",
    ];
    let conditions = [
        None,
        Some("true"),
        Some("false"),
        Some("event.attributes.pct > 10.0"),
    ];
    (
        prop::sample::select(triggers.to_vec()),
        prop::sample::subsequence(types.to_vec(), 1..=3),
        0..6_usize,
        any::<bool>(),
        prop::sample::select(conditions.to_vec()),
        prop::bool::weighted(0.8),
    )
        .prop_map(|(on, types, scope, purge, condition, active)| {
            let source = if on.starts_with("vendor") {
                ChangeSource::Vendor
            } else {
                ChangeSource::Wedding
            };
            let suiting: Vec<_> = Scope::ALL
                .into_iter()
                .filter(|of| of.suits(source))
                .collect();
            let mut spec = spec("", on, suiting[scope % suiting.len()], &types);
            spec.mode = if purge { Mode::Purge } else { Mode::Refresh };
            spec.condition = condition.map(Into::into);
            spec.active = active;
            spec
        })
}

fn any_specs() -> impl Strategy<Value = Vec<RuleSpec>> {
    prop::collection::vec(any_spec(), 0..8).prop_map(|mut specs| {
        for (at, spec) in specs.iter_mut().enumerate() {
            spec.name = format!("r{at}");
        }
        specs
    })
}

fn any_change() -> impl Strategy<Value = Change> {
    let location = prop::sample::select(vec![
        "",
        r#""location": {"city": "Austin", "state": "TX"},"#,
        r#""location": {"city": "Perth", "state": "WA", "country": "AU"},"#,
    ]);
    let attributes = prop::sample::select(vec!["{}", r#"{"pct": 5}"#, r#"{"pct": 50}"#]);
    let change = prop::sample::select(vec!["opened", "closed", "cancelled", "other"]);
    let optional = prop::sample::select(vec!["", r#""vendorType": "florist", "userId": "u","#]);
    (any::<bool>(), location, attributes, change, optional).prop_map(
        |(is_vendor, location, attributes, change, optional)| {
            let head = format!(
                r#""eventId": "e", {optional} "change": "{change}", "attributes": {attributes}"#
            );
            if is_vendor {
                vendor(&format!(r#"{{{location} "vendorId": "v-1", {head}}}"#))
            } else {
                let facts = location.trim_end_matches(',');
                wedding(&format!(
                    r#"{{"weddingContext": {{{facts}}}, "weddingId": "w-1", {head}}}"#
                ))
            }
        },
    )
}

/// Returns the effects of one rule, computed without the code under test from the text of its
/// parts.
fn naive(spec: &RuleSpec, change: &Change, key: Option<&str>) -> Vec<(String, Mode)> {
    let (source, trigger) = spec.on.split_once('.').unwrap();
    let (is_vendor, id, place, by_optional) = match change {
        Change::Vendor(of) => (
            "vendor",
            &of.vendor_id,
            of.location.as_ref(),
            of.vendor_type.is_some(),
        ),
        Change::Wedding(of) => {
            let context = of.wedding_context.as_ref().unwrap();
            (
                "wedding",
                &of.wedding_id,
                context.location.as_ref(),
                of.user_id.is_some(),
            )
        }
    };
    let pct = match change {
        Change::Vendor(of) => of.attributes.get("pct"),
        Change::Wedding(of) => of.attributes.get("pct"),
    };
    let holds = match spec.condition.as_deref() {
        Some("false") => false,
        Some("event.attributes.pct > 10.0") => {
            pct != Some(&wedcache_model::event::Attribute::Number(5.0))
        }
        _ => true,
    };
    if !spec.active || !holds || source != is_vendor || !["*", change.change()].contains(&trigger) {
        return Vec::new();
    }
    let mut ids = vec![id.as_str()];
    ids.extend(key.filter(|key| key != id));
    let place = place.map(|of| {
        if of.country == "AU" {
            "AU-WA"
        } else {
            "Austin_TX"
        }
    });
    let by_ids = |ids: &[&str]| ids.iter().map(|id| format!("{source}={id}")).collect();
    let tails: Option<Vec<String>> = match spec.scope {
        Scope::Global => Some(vec!["global".into()]),
        Scope::Location => place.map(|place| vec![format!("location={place}")]),
        Scope::Vendor | Scope::Wedding => Some(by_ids(&ids)),
        Scope::User => by_optional.then(|| vec!["user=u".into()]),
        Scope::VendorType => place.filter(|_| by_optional).map(|place| {
            ["florist", "any"]
                .map(|of| format!("vendor_type={of}|location={place}"))
                .into()
        }),
    };
    let Selection::Named(types) = &spec.cache_types else {
        unreachable!("only named types")
    };
    let mode = if tails.is_some() {
        spec.mode
    } else {
        Mode::Purge
    };
    let tails = tails.unwrap_or_else(|| by_ids(&ids));
    types
        .iter()
        .flat_map(|of| tails.iter().map(move |tail| (format!("{of}|{tail}"), mode)))
        .collect()
}

fn modes(planned: &[Planned]) -> HashMap<String, Mode> {
    planned
        .iter()
        .map(|of| (of.tag.as_str().to_owned(), of.mode))
        .collect()
}

fn any_key() -> impl Strategy<Value = Option<&'static str>> {
    prop::sample::select(vec![None, Some("v-1"), Some("w-1"), Some("other")])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_is_what_its_rules_ask_for_with_purges_absorbing(
        specs in any_specs(), change in any_change(), key in any_key(),
    ) {
        let plan = plan(&compile(&specs), &sample::catalog(), &change, key);
        let mut want = HashMap::new();
        for (tag, mode) in specs.iter().flat_map(|spec| naive(spec, &change, key)) {
            let entry = want.entry(tag).or_insert(mode);
            if mode == Mode::Purge {
                *entry = mode;
            }
        }
        prop_assert_eq!(plan.invalidations.len(), want.len(), "each tag once");
        prop_assert_eq!(modes(&plan.invalidations), want);
    }

    #[test]
    fn another_rule_never_takes_an_invalidation_away(
        specs in any_specs(), change in any_change(), key in any_key(),
    ) {
        let Some((_, fewer)) = specs.split_last() else { return Ok(()) };
        let catalog = sample::catalog();
        let more = plan(&compile(&specs), &catalog, &change, key);
        let fewer = plan(&compile(fewer), &catalog, &change, key);
        let kept = modes(&more.invalidations);
        for (tag, mode) in modes(&fewer.invalidations) {
            prop_assert!(kept[&tag] == mode || kept[&tag] == Mode::Purge, "{}", tag);
        }
        prop_assert!(fewer.refresh_types.iter().all(|of| more.refresh_types.contains(of)));
    }
}
