//! The cache key: `type:location:season:budget:hash(content)` and the type's further dimensions as
//! `:name=value`. This is the only key format.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::catalog::{CacheType, Catalog, Dimension};
use super::event::AiQuery;
use super::text::{is_key_value, key_value, normalise, push_normal};

/// The value of a dimension that the query does not give.
pub const ANY: &str = "any";

/// The address of an entry in every layer: BLAKE3 of the whole key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyHash(pub [u8; 32]);

/// Hashes eight bytes only: for tables in memory they are as good as all 32.
impl Hash for KeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let head = self.0.first_chunk().expect("it has 32 bytes");
        state.write_u64(u64::from_le_bytes(*head));
    }
}

impl KeyHash {
    pub fn of(text: &str) -> Self {
        Self(*blake3::hash(text.as_bytes()).as_bytes())
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A key's text with its hash; cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct CacheKey {
    text: Arc<str>,
    hash: KeyHash,
}

impl CacheKey {
    /// Creates a key from text that is already in the key format.
    pub fn from_text(text: &str) -> Self {
        Self {
            hash: KeyHash::of(text),
            text: text.into(),
        }
    }

    /// Returns the key of a query of `cache_type`; `place` is the result of
    /// [`super::place::Places::place`].
    pub fn of<S: AsRef<str>>(
        catalog: &Catalog,
        cache_type: &CacheType,
        query: &AiQuery<S>,
        place: &str,
    ) -> Self {
        Self::of_in(
            &mut String::with_capacity(160),
            (catalog, cache_type),
            query,
            place,
        )
    }

    /// Returns the result of [`CacheKey::of`]; writes the text in a buffer, whose content is
    /// replaced.
    pub(super) fn of_in<S: AsRef<str>>(
        text: &mut String,
        (catalog, cache_type): (&Catalog, &CacheType),
        query: &AiQuery<S>,
        place: &str,
    ) -> Self {
        text.clear();
        text.push_str(&cache_type.name);
        for part in [place, season(catalog, query), budget(query)] {
            text.push(':');
            text.push_str(&key_value(part));
        }
        text.push(':');
        push_content_hash(text, query.query.content.as_ref());
        for &dimension in &cache_type.dimensions {
            text.push(':');
            text.push_str(dimension.as_str());
            text.push('=');
            push_dimension(text, dimension, catalog, cache_type, query);
        }
        Self::from_text(text)
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn hash(&self) -> KeyHash {
        self.hash
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Returns the season of the wedding, [`ANY`] without a date.
pub fn season<'a, S>(catalog: &'a Catalog, query: &AiQuery<S>) -> &'a str {
    query
        .wedding_context
        .wedding_date
        .map_or(ANY, |date| &catalog.season(date).name)
}

/// Returns the budget range, [`ANY`] without one.
pub fn budget<S>(query: &AiQuery<S>) -> &'static str {
    query
        .wedding_context
        .budget_range
        .map_or(ANY, super::event::BudgetRange::as_str)
}

/// Appends 128 bits of BLAKE3 of the normalised content, as hexadecimal digits.
fn push_content_hash(text: &mut String, content: &str) {
    let at = text.len();
    push_normal(text, content);
    let hash = blake3::hash(&text.as_bytes()[at..]);
    text.truncate(at);
    text.push_str(&hash.to_hex()[..32]);
}

fn push_dimension<S: AsRef<str>>(
    text: &mut String,
    dimension: Dimension,
    catalog: &Catalog,
    cache_type: &CacheType,
    query: &AiQuery<S>,
) {
    let context = &query.wedding_context;
    match dimension {
        Dimension::Vendors => {
            let ids = query.query.vendor_ids.iter();
            let ids = ids.filter_map(|id| catalog.ids.canonical(id.as_ref()));
            push_set(text, ids.collect());
        }
        Dimension::VendorTypes => {
            let names = query.query.vendor_types.iter();
            let names = names.map(|name| Cow::Owned(normalise(name.as_ref())));
            push_set(text, names.collect());
        }
        Dimension::Style => push_style(text, given(context.wedding_style.as_ref())),
        Dimension::Guests => match context.guest_count {
            Some(guests) => text.push_str(&catalog.guest_band(guests)),
            None => text.push_str(ANY),
        },
        // The id as given, not its canonical form: even if the topology ignores case in ids, two
        // weddings whose ids differ only in case must not get each other's answers.
        Dimension::Wedding => match given(context.wedding_id.as_ref()) {
            Some(wedding_id) => push_value(text, wedding_id),
            None => text.push_str(ANY),
        },
        Dimension::Prompt => text.push_str(&cache_type.prompt),
    }
}

/// Appends a style in its normal form; [`ANY`] if there is none.
fn push_style(text: &mut String, style: Option<&str>) {
    let at = text.len();
    push_normal(text, style.unwrap_or_default());
    match &text[at..] {
        "" => text.push_str(ANY),
        plain if *plain != *ANY && is_key_value(plain) => {}
        _ => {
            let style = text.split_off(at);
            push_value(text, &style);
        }
    }
}

fn given<S: AsRef<str>>(text: Option<&S>) -> Option<&str> {
    text.map(AsRef::as_ref)
}

/// Appends the values sorted, without repetitions, joined by commas; [`ANY`] if there are none.
fn push_set(text: &mut String, mut values: Vec<Cow<'_, str>>) {
    values.retain(|value| !value.is_empty());
    values.sort_unstable();
    values.dedup();
    if values.is_empty() {
        text.push_str(ANY);
    }
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        push_value(text, value);
    }
}

/// Appends a given value; a given `any` is encoded differently from a missing value.
fn push_value(text: &mut String, value: &str) {
    if value == ANY {
        text.push_str("%61ny");
    } else {
        text.push_str(&key_value(value));
    }
}

/// Returns the dimensions of a key with their values, in key order, decoded for reading and
/// prompting: `location`, `season`, `budget`, then the further ones.
pub fn dimensions(key: &CacheKey) -> Vec<(&str, String)> {
    let mut parts = key.as_str().split(':').skip(1);
    let mut named: Vec<(&str, String)> = ["location", "season", "budget"]
        .into_iter()
        .zip(&mut parts)
        .map(|(name, value)| (name, decode(value)))
        .collect();
    named.extend(
        parts
            .skip(1)
            .filter_map(|part| part.split_once('='))
            .map(|(name, v)| (name, decode(v))),
    );
    named
}

fn decode(value: &str) -> String {
    percent_encoding::percent_decode_str(value)
        .decode_utf8_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::catalog::sample;
    use super::*;

    fn query(json: &str) -> AiQuery {
        serde_json::from_str(json).unwrap()
    }

    fn key(json: &str) -> CacheKey {
        let (catalog, query) = (sample::catalog(), query(json));
        let cache_type = catalog.get(&query.query.cache_type).unwrap();
        let place = catalog.places.place(&query.wedding_context.location);
        CacheKey::of(&catalog, cache_type, &query, &place)
    }

    const FULL: &str = r#"{"queryId": "q-81",
        "query": {"type": "vendor_matching", "content": "Which florist fits?",
                  "vendorTypes": ["Florist", "caterer"], "vendorIds": ["v-9", "v-17", "v-9"],
                  "userId": "u-5"},
        "weddingContext": {"weddingId": "w-9", "location": {"city": "Austin", "state": "TX"},
                  "weddingDate": "2027-06-12", "budgetRange": "moderate",
                  "weddingStyle": "Rustic: barn", "guestCount": 120}}"#;

    #[test]
    fn a_key_reads_as_the_brief_says_with_further_dimensions() {
        let key = key(FULL);
        let (head, tail) = key.as_str().split_once(":vendors=").unwrap();
        assert!(
            head.starts_with("vendor_matching:Austin_TX:summer:moderate:"),
            "{head}"
        );
        assert_eq!(head.rsplit(':').next().unwrap().len(), 32);
        assert_eq!(
            tail,
            "v-17,v-9:vendor_types=caterer,florist:style=rustic%3A barn:prompt=1.4e8cd980"
        );
    }

    #[test]
    fn what_is_missing_becomes_any() {
        let key = key(
            r#"{"queryId": "q", "query": {"type": "vendor_matching", "content": "x"},
            "weddingContext": {"location": {"city": "Waco", "state": "TX"}}}"#,
        );
        assert!(key.as_str().starts_with("vendor_matching:TX:any:any:"));
        assert!(
            key.as_str()
                .ends_with(":vendors=any:vendor_types=any:style=any:prompt=1.4e8cd980")
        );
    }

    #[test]
    fn a_vendor_called_any_is_not_no_vendor() {
        let any = FULL.replace(r#"["v-9", "v-17", "v-9"]"#, r#"["any"]"#);
        let none = FULL.replace(r#"["v-9", "v-17", "v-9"]"#, "[]");
        assert_ne!(key(&any), key(&none));
    }

    #[test]
    fn a_shared_key_names_no_couple_and_a_private_one_its_wedding() {
        assert!(!key(FULL).as_str().contains("w-9"));
        assert!(!key(FULL).as_str().contains("u-5"));
        let private = FULL.replace("vendor_matching", "guest_management");
        assert!(key(&private).as_str().contains(":wedding=w-9:"));
    }

    #[test]
    fn wordings_that_are_the_same_share_a_key() {
        let other = FULL.replace("Which florist fits?", "  which FLORIST\\tfits? ");
        assert_eq!(key(FULL), key(&other));
        assert_ne!(key(FULL), key(&FULL.replace("fits?", "fits us?")));
    }

    #[test]
    fn the_dimensions_read_back_from_the_key() {
        let key = key(FULL);
        let named = dimensions(&key);
        assert_eq!(named[0], ("location", "Austin_TX".to_owned()));
        assert!(named.contains(&("style", "rustic: barn".to_owned())));
        assert_eq!(named.len(), 7);
    }
}

#[cfg(test)]
mod model_tests;
