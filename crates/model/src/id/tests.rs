use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

fn ids() -> &'static Ids {
    static IDS: LazyLock<Ids> =
        LazyLock::new(|| Ids::new(IdCase::Insensitive, r"\bv-[A-Za-z0-9_]+").unwrap());
    &IDS
}

#[track_caller]
fn check(text: &str, want: &[&str]) {
    let found = ids().vendors_in(text, 100);
    assert_eq!(found.ids, want, "{text:?}");
    assert!(found.complete);
}

#[test]
fn an_id_is_found_in_every_dress() {
    for text in [
        "Ask v-17 first.",
        "V-17 is the best.",
        "Ask v\u{2011}17 first.",
        "Ask v\u{2010}17, v\u{2012}17, v\u{2013}17, v\u{2014}17, v\u{2015}17 or v\u{2212}17.",
        "Ask v\u{fe58}17 and v\u{ff0d}17.",
        "Ask v\\-17 first.",
        "Ask **v-17**, `v-17` or ~~v-17~~.",
        "_v-17_ is the best; so is __V\u{2011}17__.",
        "***_v-**17**_***",
        "v-**17**",
        "<b>v</b>-<i>17</i>",
        "<a href=\"/vendors/v-17\">the barn</a>",
        "/vendors/v%2D17 and /vendors/v%E2%80%9117",
        "v&#8209;17, v&#x2011;17, v&ndash;17",
        "{\"text\": \"Ask\\nv\\u201117\"}",
        "Ask v-\u{200b}17, v\u{2060}-17 or \u{feff}v-1\u{200d}7.",
        "Ask v\u{ad}17, or v-\u{ad}17.",
        "Ask ｖ－１７.",
        "Ask 𝐯-𝟏𝟕.",
        "推荐v-17。",
        "推荐v\u{2011}17号，",
        "推荐_v-17_。",
        "v-17을 추천합니다",
        "แนะนำv-17ครับ",
        "おすすめはv-17です",
        "уv-17",
        "1\u{fe0f}\u{20e3} v-1\u{20e3}7\u{20e3}",
    ] {
        check(text, &["v-17"]);
    }
}

#[test]
fn what_only_looks_like_an_id_is_none() {
    check("rev-17, 5 < v and v > -17, v - 17, v17", &[]);
    check("v-17² and v-17™", &["v-17"]);
    check(
        "100 % v-1, 50%v-2 &c; \\ v-3 <- v-4",
        &["v-1", "v-2", "v-3", "v-4"],
    );
    check("", &[]);
    check("v-a_b", &["v-a_b"]);
    // Read both as an escape and as itself.
    check("v-a\\_c", &["v-a", "v-a_c"]);
}

#[test]
fn the_first_group_of_the_pattern_is_the_id() {
    let ids = Ids::new(IdCase::Insensitive, r#""vendor":\s*"([^"]+)"|\bv-\d+"#).unwrap();
    let found = ids.vendors_in(r#"{"Vendor": "Rose & Co"} or **V\-3**"#, 10);
    assert_eq!(found.ids, ["rose & co", "v-3"]);
}

#[test]
fn more_than_were_asked_for_are_known_to_be_missing() {
    let found = ids().vendors_in("v-1 v-2 V-1 v\u{2011}2", 2);
    assert!(found.complete && found.ids.len() == 2);
    let found = ids().vendors_in("v-1 v-2 v-3", 2);
    assert!(!found.complete && found.ids.len() == 2);
}

#[test]
fn a_field_holds_an_id_in_any_dress() {
    let ids = ids();
    for dressed in [
        "v-17",
        " V-17\t",
        "v\u{2011}17",
        "\"v-17\"",
        "ｖ-１７",
        "v\\-17",
        "**v-17**",
        "v\u{200b}-17\r\n",
    ] {
        assert_eq!(
            ids.canonical(dressed).as_deref(),
            Some("v-17"),
            "{dressed:?}"
        );
    }
    for nothing in ["", " ", "\u{200b}\u{a0}", "\"\""] {
        assert_eq!(ids.canonical(nothing), None, "{nothing:?}");
    }
    assert!(matches!(
        ids.canonical("0b9f:a_b/c@d.e+f#1"),
        Some(Cow::Borrowed(_))
    ));
    assert_eq!(ids.canonical("Cafe\u{301}").as_deref(), Some("caf\u{e9}"));
    assert_eq!(ids.canonical("ΣΑΣ"), ids.canonical("σας"));
}

#[test]
fn case_sensitive_ids_stay_apart() {
    let ids = Ids::new(IdCase::Sensitive, r"\bv-[A-Za-z0-9]+").unwrap();
    assert!(matches!(ids.canonical("v-aB"), Some(Cow::Borrowed("v-aB"))));
    assert_eq!(ids.canonical("v\u{2011}aB ").as_deref(), Some("v-aB"));
    let found = ids.vendors_in("v-aB, v\u{2011}ab and V-aB", 10);
    assert_eq!(found.ids, ["v-aB", "v-ab"]);
}

#[test]
fn a_pattern_that_could_match_nothing_shows_undressed() {
    assert_eq!(undressed_pattern(r"\bv-[a-z\d]+"), r"\bv-[a-z\d]+");
    assert_eq!(undressed_pattern("v\u{2011}\\d+"), "v-\\d+");
}

/// Returns the forms that a character may have both in a field and in a text.
fn letter_forms(c: char) -> Vec<String> {
    let mut forms = vec![c.to_string(), c.to_uppercase().to_string()];
    match c {
        '-' => forms.extend(
            "\u{2010}\u{2011}\u{2012}\u{2013}\u{2014}\u{2015}\u{2212}\u{fe58}\u{fe63}\u{ff0d}"
                .chars()
                .map(String::from)
                .chain(["\\-".to_owned()]),
        ),
        '_' => forms.extend(["\\_", "\u{ff3f}"].map(str::to_owned)),
        _ => forms.extend(char::from_u32(u32::from(c) + 0xfee0).map(String::from)),
    }
    forms
}

/// Returns those forms and the ones that occur in texts alone: markup and references.
fn text_forms(c: char) -> Vec<String> {
    let mut forms = letter_forms(c);
    match c {
        '-' => forms.extend(["&#8209;", "&#45;", "&hyphen;", "%2D", "\\u2011"].map(str::to_owned)),
        '_' => {}
        _ => forms.extend([format!("**{c}**"), format!("<b>{c}</b>")]),
    }
    forms
}

/// Generates an id, and the id in some dress.
fn id_and_dress(forms: fn(char) -> Vec<String>) -> impl Strategy<Value = (String, String)> {
    "[a-z0-9]([a-z0-9_]{0,6}[a-z0-9])?".prop_flat_map(move |tail| {
        let id = format!("v-{tail}");
        let noise = [
            "", "", "", "\u{200b}", "\u{200d}", "\u{2060}", "\u{feff}", "\u{ad}", "\u{fe0f}",
        ];
        let letters: Vec<_> = id
            .chars()
            .map(|c| {
                (
                    prop::sample::select(forms(c)),
                    prop::sample::select(noise.to_vec()),
                )
            })
            .collect();
        let dressed = letters.prop_map(|letters| {
            letters
                .into_iter()
                .map(|(form, noise)| form + noise)
                .collect::<String>()
        });
        (Just(id), dressed)
    })
}

proptest! {
    /// Checks that a text names an id, for any id, any dress of it and any neighbours.
    #[test]
    fn whatever_the_dress_the_id_is_found(
        (id, dressed) in id_and_dress(text_forms),
        around in prop::sample::select(vec![
            ("", ""), (" ", " "), ("_", "_"), ("**", "**"), ("`", "`"), ("(", ")."), ("\"", "\""),
            ("推荐", "。"), ("推荐", "号"), ("是_", "_吗"), ("พบ", "ครับ"), ("\\n", "\\n"), ("__", "__,"),
            ("<em>", "</em>"), ("\u{a0}", "\u{3000}"), ("[", "](https://x.y/z)"), ("‘", "’"), ("и", "и"),
        ]),
    ) {
        let text = format!("{}{dressed}{}", around.0, around.1);
        let found = ids().vendors_in(&text, 100);
        prop_assert!(found.ids.contains(&id), "{text:?}: {:?}", found.ids);
    }

    #[test]
    fn a_canonical_id_is_its_own_canonical_form(id in "\\PC{0,12}") {
        let ids = ids();
        if let Some(once) = ids.canonical(&id) {
            let twice = ids.canonical(&once);
            prop_assert_eq!(twice.as_deref(), Some(&*once));
        }
    }

    /// The id in an answer and the id in a change of the same vendor become one canonical id.
    #[test]
    fn fields_and_texts_agree((id, dressed) in id_and_dress(letter_forms)) {
        let ids = ids();
        let canonical = ids.canonical(&dressed);
        prop_assert_eq!(canonical.as_deref(), Some(&*id));
    }

    #[test]
    fn any_text_is_read(text in "([a-z0-9_*`~&;#%<>/\\\\u -]|\\PC){0,40}") {
        let found = ids().vendors_in(&text, 3);
        prop_assert!(found.ids.len() <= 3 && found.ids.is_sorted());
    }
}
