//! Tags: what an answer depends on, each bound to its cache type.
//!
//! `<cache type>|<name>=<value>`, further pairs joined by `|`; values percent-encoded.

use std::fmt;
use std::sync::Arc;

use arrayvec::ArrayString;
use serde::{Deserialize, Serialize};

use super::text::tag_value;

/// 64 bits of the BLAKE3 hash of a tag's text. Two tags with one hash are invalidated together,
/// which costs a refill and never serves a forbidden answer.
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
    /// Takes text that is already in the tag format.
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    pub fn global(cache_type: &str) -> Self {
        Self(format!("{cache_type}|global").into())
    }

    /// `place` as [`super::key::place`] gives it.
    pub fn location(cache_type: &str, place: &str) -> Self {
        Self::pair(cache_type, "location", place)
    }

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

    /// Every query of a known couple makes two of these: built where nothing is allocated but the
    /// tag itself, if it fits.
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

    /// The cache type it is bound to.
    pub fn cache_type(&self) -> &str {
        self.0
            .split_once('|')
            .map_or(&self.0, |(cache_type, _)| cache_type)
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
}
