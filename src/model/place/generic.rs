//! Words that say what a place is and not which: `State of`, `Provincia de`, `Prefecture`.

use std::sync::LazyLock;

/// What a generic word says of a place, as far as it tells places of one name apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// A state, province, region, county: not a city of that name.
    Area,
    District,
    /// A city or municipality.
    Town,
}

impl Sort {
    /// Returns whether a subdivision of this type, as ISO 3166-2 has it, may be meant.
    pub(super) fn fits(self, subdivision_type: &str) -> bool {
        let kind = subdivision_type.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| kind.contains(word));
        // `Metropolitan cities` are provinces that were given another name.
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

/// The words, by where they are used.
#[derive(Debug, Default)]
struct Words {
    us: Vec<(&'static str, Sort)>,
    abroad: Vec<(&'static str, Sort)>,
    /// What joins a generic word to a name: `of`, `de la`.
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

/// Returns the lines of a table of this module: what stands before the tab, and what behind it.
pub(super) fn table(text: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    text.lines().filter_map(|line| line.split_once('\t'))
}

/// Takes one generic word, or a few that belong together, off the words of a name: from its
/// beginning, with what joins it to the name, or from its end.
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
    // `Texas, State of`: the joint stands at the end.
    let joint = words
        .rsplit_once(' ')
        .filter(|(_, last)| all.joints.contains(last));
    let words = joint.map_or(words, |(body, _)| body);
    let at_end = |word: &str| words.strip_suffix(word)?.strip_suffix(' ');
    longest(&at_end).or_else(|| without_han(words))
}

/// Takes the character for a prefecture, province or city off a Chinese or Japanese name.
fn without_han(words: &str) -> Option<(&str, Sort)> {
    let last = words.chars().next_back()?;
    let sort = match last {
        '県' | '縣' | '府' | '都' | '道' | '省' | '州' => Sort::Area,
        '市' => Sort::Town,
        _ => return None,
    };
    let rest = words.strip_suffix(last)?;
    // A name of one character is not left alone: 京都 is no `京`.
    (rest.chars().count() > 1).then_some((rest, sort))
}

/// Takes `of`, `de la` and their like off the beginning, never the whole name.
fn without_joints(mut words: &str) -> &str {
    while let Some((first, rest)) = words.split_once(' ') {
        if !WORDS.joints.contains(&first) {
            break;
        }
        words = rest;
    }
    words
}
