//! Generic words, which give the kind of a place but not its name: `State of`, `Provincia de`,
//! `Prefecture`.

use std::sync::LazyLock;

/// The kind of place that a generic word means, as far as it distinguishes places of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// A state, province, region, county: not a city of that name.
    Area,
    District,
    /// A city or municipality.
    Town,
}

impl Sort {
    /// Returns whether the word can mean a subdivision of this ISO 3166-2 type.
    pub(super) fn fits(self, subdivision_type: &str) -> bool {
        let kind = subdivision_type.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| kind.contains(word));
        // `Metropolitan cities` are provinces under another name.
        let town = !kind.starts_with("metropolitan")
            && has(&[
                "city",
                "municipality",
                "town",
                "commune",
                "capital",
                "ward",
                "quarter",
            ]);
        match self {
            Self::Area => !town || has(&["capital territory", "capital district"]),
            Self::District => has(&["district", "rayon"]),
            Self::Town => town,
        }
    }
}

/// The generic words, by the region where they are used.
#[derive(Debug, Default)]
struct Words {
    us: Vec<(&'static str, Sort)>,
    abroad: Vec<(&'static str, Sort)>,
    /// Words that join a generic word to a name: `of`, `de la`.
    joints: Vec<&'static str>,
}

static WORDS: LazyLock<Words> = LazyLock::new(|| {
    let mut all = Words::default();
    for (kind, words) in table(include_str!("data/generic.tsv")) {
        let of = |sort| words.split('|').map(move |word| (word, sort));
        match kind {
            "joint" => all.joints.extend(words.split('|')),
            "us" => all.us.extend(of(Sort::Area)),
            "area" => all.abroad.extend(of(Sort::Area)),
            "district" => all.abroad.extend(of(Sort::District)),
            _ => all.abroad.extend(of(Sort::Town)),
        }
    }
    all
});

/// Returns the lines of one of this module's tables: the text before the tab and the text after it.
pub(super) fn table(text: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    text.lines().filter_map(|line| line.split_once('\t'))
}

/// Removes one generic word, or a group of them, from the words of a name: from the beginning, with
/// the words that join it to the name, or from the end.
pub(super) fn without<'a>(words: &'a str, country: &str) -> Option<(&'a str, Sort)> {
    if !words.contains(' ') {
        return without_han(words);
    }
    let all = &*WORDS;
    let known = if country == "US" {
        &all.us
    } else {
        &all.abroad
    };
    let longest = |rest: &dyn Fn(&str) -> Option<&'a str>| {
        let fitting = known
            .iter()
            .filter_map(|(word, sort)| Some((rest(word)?, *sort)));
        fitting.min_by_key(|(rest, _)| rest.len())
    };
    let at_start = |word: &str| words.strip_prefix(word)?.strip_prefix(' ');
    if let Some((rest, sort)) = longest(&at_start) {
        return Some((without_joints(rest), sort));
    }
    // In `Texas, State of` the joining word is at the end.
    let joint = words
        .rsplit_once(' ')
        .filter(|(_, last)| all.joints.contains(last));
    let words = joint.map_or(words, |(body, _)| body);
    let at_end = |word: &str| words.strip_suffix(word)?.strip_suffix(' ');
    longest(&at_end).or_else(|| without_han(words))
}

/// Removes the character for a prefecture, province or city from a Chinese or Japanese name.
fn without_han(words: &str) -> Option<(&str, Sort)> {
    let last = words.chars().next_back()?;
    let sort = match last {
        '県' | '縣' | '府' | '都' | '道' | '省' | '州' => Sort::Area,
        '市' => Sort::Town,
        _ => return None,
    };
    let rest = words.strip_suffix(last)?;
    // At least two characters must remain: 京都 is not `京`.
    (rest.chars().count() > 1).then_some((rest, sort))
}

/// Removes `of`, `de la` and similar words from the beginning, never the whole name.
fn without_joints(mut words: &str) -> &str {
    while let Some((first, rest)) = words.split_once(' ') {
        if !WORDS.joints.contains(&first) {
            break;
        }
        words = rest;
    }
    words
}
