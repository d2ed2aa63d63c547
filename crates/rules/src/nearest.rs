//! The name that a misspelt one was probably meant to be.

/// The least likeness, by Jaro and Winkler's measure, at which a name is suggested.
const LIKENESS: f64 = 0.75;

/// Returns the most probable meaning of a misspelt name, if one is near enough. Upper case
/// counts for nothing, and neither do hyphens where the names have underscores.
pub(crate) fn nearest<'a>(
    given: &str,
    among: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let given = given.to_lowercase().replace('-', "_");
    among
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&given, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness > LIKENESS)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}
