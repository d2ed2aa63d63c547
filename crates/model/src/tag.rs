//! Tags: the things that an answer depends on, each bound to its cache type.
//!
//! `<cache type>|<name>=<value>`, further pairs joined by `|`; values percent-encoded.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use arrayvec::ArrayString;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::catalog::Catalog;
use super::text::{normalise, tag_value};

/// 64 bits of the BLAKE3 hash of a tag's text. Two tags with one hash are invalidated together,
/// which costs a refill but never serves an answer that must not be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TagHash(pub u64);

impl TagHash {
    pub fn of(tag: &str) -> Self {
        let hash = blake3::hash(tag.as_bytes());
        let head = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
        Self(u64::from_le_bytes(*head))
    }
}

/// A tag's text; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tag(Arc<str>);

impl Tag {
    /// Creates a tag from text that is already in the tag format.
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    pub fn global(cache_type: &str) -> Self {
        Self(format!("{cache_type}|global").into())
    }

    /// Returns a place's tag; `place` is the result of [`super::place::Places::place`].
    pub fn location(cache_type: &str, place: &str) -> Self {
        Self::pair(cache_type, "location", place)
    }

    /// Returns a vendor's tag; `vendor_id` is in canonical form, as [`super::id::Ids::canonical`]
    /// returns it, and so are the other ids.
    pub fn vendor(cache_type: &str, vendor_id: &str) -> Self {
        Self::pair(cache_type, "vendor", vendor_id)
    }

    pub fn vendor_type(cache_type: &str, vendor_type: &str, place: &str) -> Self {
        let (vendor_type, place) = (tag_value(vendor_type), tag_value(place));
        Self(format!("{cache_type}|vendor_type={vendor_type}|location={place}").into())
    }

    pub fn wedding(cache_type: &str, wedding_id: &str) -> Self {
        Self::pair(cache_type, "wedding", wedding_id)
    }

    pub fn user(cache_type: &str, user_id: &str) -> Self {
        Self::pair(cache_type, "user", user_id)
    }

    /// Builds a tag from one pair. Every query of a known couple makes two tags, so this allocates
    /// nothing but the tag itself, if the text fits the buffer.
    fn pair(cache_type: &str, name: &str, value: &str) -> Self {
        let value = tag_value(value);
        let parts = [cache_type, "|", name, "=", &value];
        let mut text = ArrayString::<128>::new();
        if parts.iter().all(|part| text.try_push_str(part).is_ok()) {
            return Self::from_text(&text);
        }
        Self(parts.concat().into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn hash(&self) -> TagHash {
        TagHash::of(&self.0)
    }

    /// Returns the text of a tag with its values in today's canonical form: an instance of another
    /// version, or a person, may have written them differently.
    pub fn canonical<'a>(text: &'a str, catalog: &Catalog) -> Cow<'a, str> {
        let mut parts = text.split('|');
        let mut canonical = String::with_capacity(text.len());
        canonical.push_str(parts.next().unwrap_or_default());
        for part in parts {
            canonical.push('|');
            match part.split_once('=') {
                Some((name, value)) => {
                    canonical.push_str(name);
                    canonical.push('=');
                    let value = percent_decode_str(value).decode_utf8_lossy();
                    canonical.push_str(&tag_value(&canonical_value(name, &value, catalog)));
                }
                None => canonical.push_str(part),
            }
        }
        if canonical == text {
            Cow::Borrowed(text)
        } else {
            Cow::Owned(canonical)
        }
    }

    /// Returns the cache type that the tag is bound to.
    pub fn cache_type(&self) -> &str {
        self.0
            .split_once('|')
            .map_or(&self.0, |(cache_type, _)| cache_type)
    }
}

/// The tags of an entry, in one piece of memory. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Tags {
    /// The texts, separated by line feeds, which no tag contains.
    text: Arc<str>,
    len: usize,
}

impl Tags {
    const SEPARATOR: char = '\n';

    /// Returns the tags of a text that [`Tags::as_str`] has returned.
    pub fn from_text(text: &str) -> Self {
        let separators = text.matches(Self::SEPARATOR).count();
        Self {
            len: if text.is_empty() { 0 } else { separators + 1 },
            text: text.into(),
        }
    }

    /// Returns the texts of all tags, separated by line feeds.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the text of each tag, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        // A text without a separator is one tag, also an empty text.
        self.text.split(Self::SEPARATOR).take(self.len)
    }

    pub fn contains(&self, tag: &Tag) -> bool {
        self.iter().any(|of| *of == *tag.0)
    }
}

impl FromIterator<Tag> for Tags {
    fn from_iter<T: IntoIterator<Item = Tag>>(tags: T) -> Self {
        let (mut text, mut len) = (String::new(), 0);
        for tag in tags {
            if len > 0 {
                text.push(Self::SEPARATOR);
            }
            text.push_str(&tag.0);
            len += 1;
        }
        Self {
            text: text.into(),
            len,
        }
    }
}

impl fmt::Debug for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

fn canonical_value<'a>(name: &str, value: &'a str, catalog: &Catalog) -> Cow<'a, str> {
    match name {
        // An id that becomes empty is kept as it is: a tag that matches nothing is the safer
        // result.
        "vendor" | "wedding" | "user" => catalog.ids.canonical(value).unwrap_or(value.into()),
        "vendor_type" => normalise(value).into(),
        "location" => catalog.places.canonical(value),
        _ => value.into(),
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalog::sample;
    use super::*;

    #[test]
    fn tags_read_as_the_contract_says() {
        let tags = [
            (
                Tag::global("venue_recommendations"),
                "venue_recommendations|global",
            ),
            (Tag::location("m", "Austin_TX"), "m|location=Austin_TX"),
            (Tag::vendor("m", "v|1"), "m|vendor=v%7C1"),
            (
                Tag::vendor_type("m", "florist", "TX"),
                "m|vendor_type=florist|location=TX",
            ),
            (Tag::wedding("m", "w-9"), "m|wedding=w-9"),
            (Tag::user("m", "u=5"), "m|user=u%3D5"),
        ];
        let long = "v".repeat(200);
        assert_eq!(Tag::vendor("m", &long).as_str(), format!("m|vendor={long}"));
        for (tag, want) in tags {
            assert_eq!(tag.as_str(), want);
        }
        assert_eq!(Tag::vendor("m", "v").cache_type(), "m");
    }

    #[test]
    fn a_tag_in_another_form_is_read_as_todays() {
        let catalog = sample::catalog();
        for (text, want) in [
            ("m|global", "m|global"),
            ("m|vendor=V-17", "m|vendor=v-17"),
            ("m|vendor=v\u{2011}17 ", "m|vendor=v-17"),
            ("m|vendor=V%7C1", "m|vendor=v%7C1"),
            ("m|wedding=W-9", "m|wedding=w-9"),
            ("m|user= ", "m|user= "),
            (
                "m|vendor_type=Florist|location=TX",
                "m|vendor_type=florist|location=TX",
            ),
            ("m|entry=00ff", "m|entry=00ff"),
            ("m|later=X", "m|later=X"),
            ("", ""),
        ] {
            let canonical = Tag::canonical(text, &catalog);
            assert_eq!(canonical, want);
            assert_eq!(
                matches!(canonical, Cow::Borrowed(_)),
                text == want,
                "{text}"
            );
            assert_eq!(Tag::canonical(&canonical, &catalog), want, "once is enough");
        }
    }
}
