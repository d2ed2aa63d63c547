use proptest::prelude::*;
use unicode_normalization::char::{decompose_canonical, decompose_compatible};

use super::super::dress::{fold_width, is_dash, is_joined_letters};
use super::*;

#[track_caller]
fn same(texts: &[&str]) {
    for text in texts {
        assert_eq!(normalise(text), normalise(texts[0]), "{text:?}");
    }
}

#[track_caller]
fn apart(texts: &[&str]) {
    for (at, text) in texts.iter().enumerate() {
        for other in &texts[..at] {
            assert_ne!(normalise(text), normalise(other), "{text:?}, {other:?}");
        }
    }
}

#[test]
fn what_differs_in_dress_is_the_same() {
    assert_eq!(
        normalise("  Which  FLORIST\tfits?\n"),
        "which florist fits?"
    );
    assert_eq!(normalise("Ｂａｒｎ　ｗｅｄｄｉｎｇ"), "barn wedding");
    assert_eq!(normalise("\u{a0}\u{200b}\u{2028}"), "");
    // Composition.
    same(&["café", "cafe\u{301}", "CAFE\u{200b}\u{301}"]);
    same(&["5 \u{212b}", "5 \u{c5}", "5 å", "5 A\u{30a}"]);
    // Blanks.
    for blank in '\0'..=char::MAX {
        if is_blank(blank) {
            same(&["a b", &format!(" a{blank}{blank}b{blank}")]);
        }
    }
    // Width, with marks of voicing that compose.
    same(&["バー 1", "ﾊﾞｰ １", "ハ\u{3099}ー\u{3000}1"]);
    same(&["ｗｉｆｉ？", "wifi?", "wifi﹖", "wifi︖"]);
    same(&["￥５", "¥5"]);
    same(&["ㄱㅏ", "ﾡￂ"]);
    // Quotation marks.
    same(&[
        "don't", "don’t", "don‘t", "donʼt", "don´t", "don′t", "DON＇T",
    ]);
    same(&[
        "\"barn\"",
        "“barn”",
        "„barn“",
        "«barn»",
        "「barn」",
        "＂barn＂",
        "『BARN』",
    ]);
    same(&["6'2\"", "6′2″", "6’2”"]);
    // Dashes.
    same(&["2-3", "2–3", "2—3", "2‑3", "2−3", "2‐3", "２－３", "2﹣3"]);
    same(&["wait...", "wait…", "WAIT︙"]);
    same(&["10~20", "10〜20", "10～20"]);
    // Invisible characters.
    same(&[
        "wedding",
        "wed\u{ad}ding",
        "\u{feff}wedding",
        "wed\u{2060}ding",
        "wed\u{200d}ding",
    ]);
    same(&[
        "wedding",
        "\u{200e}wedding\u{200f}",
        "\u{2067}wedding\u{2069}",
        "wedding\u{34f}",
    ]);
    same(&["❤ of it", "❤\u{fe0f} of it"]);
    // Letters in their joined shape.
    same(&["florist", "ﬂorist", "FLORIST"]);
    same(&["ijsselmeer", "ĳsselmeer", "Ĳsselmeer"]);
    same(&["كتاب", "\u{fedb}\u{62a}\u{fe8e}\u{628}"]);
    same(&["น้ำ", "น\u{e49}\u{e4d}\u{e32}"]);
}

#[test]
fn what_differs_in_meaning_is_apart() {
    apart(&["2²", "22", "2₂", "2"]);
    apart(&["2½ hours", "21⁄2 hours", "21/2 hours", "2 1/2 hours"]);
    apart(&["m²", "m2", "㎡", "m₂"]);
    apart(&["x²", "x2", "𝐱2", "𝐱²"]);
    apart(&["①", "1", "⑴", "⒈", "¹", "１."]);
    apart(&["Rose™", "Rosetm", "Rose"]);
    apart(&["Ⅳ", "IV"]);
    apart(&["№ 5", "no 5"]);
    apart(&["20 ℃", "20 °c", "20 c"]);
    apart(&["1ª", "1a", "1º", "1o"]);
    apart(&["‼", "!!", "!"]);
    apart(&["10⁻²", "10-2", "10₋2"]);
    apart(&["3\u{2064}½", "3½"]);
    apart(&["6'", "6\""]);
    apart(&["ab", "a b", "a-b", "a~b", "a'b"]);
    apart(&["ハ", "バ", "パ", "は"]);
    apart(&["ㄱㅏ", "가"]);
    // Joiners that have a meaning.
    apart(&[
        "\u{646}\u{627}\u{645}\u{647}\u{200c}\u{627}\u{6cc}",
        "\u{646}\u{627}\u{645}\u{647}\u{627}\u{6cc}",
    ]);
    apart(&["👩\u{200d}❤\u{fe0f}\u{200d}👨", "👩❤👨"]);
    apart(&["1\u{fe0f}\u{20e3}", "1"]);
    apart(&[
        "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
        "🏴",
    ]);
    // Letters without a counterpart in the other case.
    apart(&["Maße", "Masse"]);
    apart(&["ışık", "işik"]);
    apart(&["ångström", "angstrom"]);
}

#[test]
fn a_text_in_another_case_is_the_same() {
    same(&["straße", "STRAẞE"]);
    apart(&["straße", "STRASSE"]);
    same(&["οδος", "ΟΔΟΣ", "οδοσ"]);
    same(&[
        "İzmir",
        "i\u{307}zmir",
        "İZMİR",
        "I\u{307}zmir",
        "izmir",
        "IZMIR",
    ]);
    same(&["ſo", "so", "SO"]);
    same(&["5 µm", "5 μm", "5 ΜM"]);
    // If a capital is several letters, the letter is not joined with them.
    let mut several = String::new();
    for c in '\0'..=char::MAX {
        let (lower, upper) = (c.to_lowercase().to_string(), c.to_uppercase().to_string());
        let as_it_is = c.to_string();
        if lower == as_it_is && upper == as_it_is {
            continue;
        }
        let of = normalise(&as_it_is);
        if normalise(&lower) != of || normalise(&upper) != of {
            several.push(c);
        }
    }
    let greek = |c: &char| matches!(c, '\u{1f80}'..='\u{1fff}');
    assert_eq!(
        several.chars().filter(|c| !greek(c)).collect::<String>(),
        "ßı\u{345}"
    );
    // Greek letters with the iota below, which capitals write beside the letter.
    assert!(several.chars().filter(greek).all(|c| {
        let mut has_iota = false;
        decompose_canonical(c, |part| has_iota |= part == '\u{345}');
        has_iota
    }));
}

#[test]
fn ascii_is_normalised_as_any_other_text() {
    let ascii: String = (0..128_u8).map(char::from).collect();
    // A non-ASCII character, removed afterwards, forces the general case.
    let of = |text: &str| {
        let general = normalise(&format!("{text}\u{e9}"));
        general.trim_end_matches('\u{e9}').to_owned()
    };
    for text in [&*ascii, " A\x0bB\x0c c ", "", "\r\n", "x  Y"] {
        assert_eq!(normalise(text), of(text).trim_end(), "{text:?}");
    }
}

/// The characters of `compatibility.tsv` with their types.
fn compatibility() -> impl Iterator<Item = (char, &'static str)> {
    include_str!("compatibility.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| {
            let (range, tag) = line.split_once('\t').unwrap();
            let (from, to) = range.split_once("..").unwrap_or((range, range));
            let code = |hex| u32::from_str_radix(hex, 16).unwrap();
            (code(from)..=code(to)).map(move |c| (char::from_u32(c).unwrap(), tag))
        })
}

/// Returns true for a character whose decision is not made by its type.
fn decided_elsewhere(c: char) -> bool {
    let case = [
        'µ', 'ſ', 'ϐ', 'ϑ', 'ϕ', 'ϖ', 'ϰ', 'ϱ', 'ϴ', 'ϵ', // have other letters' capitals
    ];
    let marks = ['´', '\u{2033}', '\u{2036}', '…'];
    case.contains(&c) || marks.contains(&c) || is_dash(c) || c == '\u{3164}'
}

/// Returns the decision on a type, as in the table of the module.
fn is_dress(c: char, tag: &str) -> bool {
    match tag {
        "wide" | "narrow" | "small" | "vertical" | "noBreak" => true,
        "initial" | "medial" | "final" | "isolated" => {
            // The currency sign, and letters whose mapping contains a blank, are excluded.
            let mut plain = c != '\u{fdfc}';
            decompose_compatible(c, |part| plain &= part != ' ');
            plain
        }
        "compat" => is_blank(c) || is_joined_letters(c),
        "font" | "super" | "sub" | "fraction" | "circle" | "square" => false,
        _ => panic!("a type that is not decided: {tag}"),
    }
}

#[test]
fn every_compatibility_mapping_is_decided_by_its_type() {
    let mut seen = 0;
    for (c, tag) in compatibility() {
        seen += 1;
        // The result of a mapping can itself have a mapping, of another type.
        let one_step = match c {
            '￣' => "\u{af}".into(),
            '︰' => "‥".into(),
            '\u{ffa0}' => "\u{3164}".into(),
            '\u{ffa1}'..='\u{ffdc}' => fold_width(c).to_string(),
            _ => {
                let mut all = String::new();
                decompose_compatible(c, |part| all.push(part));
                all
            }
        };
        assert_ne!(one_step, c.to_string(), "{c:?} has no mapping");
        if decided_elsewhere(c) {
            continue;
        }
        // Alone, and adjacent to characters that can change its reading.
        for (before, after) in [("", ""), ("2", "3"), ("x ", " x")] {
            let dressed = normalise(&format!("{before}{c}{after}"));
            let bare = normalise(&format!("{before}{one_step}{after}"));
            assert_eq!(dressed == bare, is_dress(c, tag), "{c:?} {tag} {bare:?}");
        }
    }
    assert_eq!(
        seen,
        compatibility()
            .map(|(c, _)| c)
            .filter(|c| has_mapping(*c))
            .count()
    );
    let all = ('\0'..=char::MAX).filter(|c| has_mapping(*c)).count();
    assert_eq!(
        seen, all,
        "`compatibility.tsv` is not of this Unicode version"
    );
}

/// Returns true if the character's compatibility mapping goes further than its canonical one.
/// Compositions of characters with a mapping have none of their own.
fn has_mapping(c: char) -> bool {
    let (mut canonical, mut compatible) = (Vec::new(), Vec::new());
    decompose_canonical(c, |part| canonical.push(part));
    decompose_compatible(c, |part| compatible.push(part));
    canonical != compatible && canonical == [c]
}

fn texts() -> impl Strategy<Value = String> {
    let told = "aßıİσςΣſ \u{a0}\u{200d}\u{200c}\u{200b}\u{fe0f}\u{301}\u{307}\u{345}\u{3099}\
        ﾊﾞ'’-–…ﬁĳ½²👩❤می";
    let told: Vec<char> = told.chars().collect();
    let chars = prop_oneof![
        3 => prop::sample::select(told),
        1 => any::<char>(),
        1 => prop::char::range('\u{300}', '\u{36f}'),
        1 => prop::char::range('\u{1f80}', '\u{1fff}'),
    ];
    prop::collection::vec(chars, 0..12).prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn what_is_normalised_stays_as_it_is(text in texts()) {
        let once = normalise(&text);
        prop_assert_eq!(normalise(&once), once);
    }

    #[test]
    fn composed_or_not_a_text_is_the_same(text in texts()) {
        prop_assert_eq!(normalise(&text.nfc().to_string()), normalise(&text));
        prop_assert_eq!(normalise(&text.nfd().to_string()), normalise(&text));
    }
}
