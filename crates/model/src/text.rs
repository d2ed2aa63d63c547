//! The text of records, and its form in keys and tags: normalised so that equal texts compare equal
//! ([`normal`]), percent-encoded so that it is unambiguous.

pub mod dress;
pub mod normal;

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};

pub use normal::{normalise, push_normal};

/// A record's text: borrowed from its bytes, owned only if an escape had to be resolved.
#[derive(Clone, PartialEq, Eq)]
pub struct Text<'a>(Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'a, 'b: 'a> From<&'b str> for Text<'a> {
    fn from(text: &'b str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // The wording of the standard library.
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
            fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text))
            }
        }
        deserializer.deserialize_str(TextVisitor).map(Self)
    }
}

/// The characters that are percent-encoded in key values: `%`, `:`, `,`, `=` and control
/// characters.
const KEY: &AsciiSet = &CONTROLS.add(b'%').add(b':').add(b',').add(b'=');
/// The characters that are percent-encoded in tag values: `%`, `|`, `=` and control characters.
const TAG: &AsciiSet = &CONTROLS.add(b'%').add(b'|').add(b'=');

/// Encodes a value for a cache key.
#[must_use]
pub fn key_value(value: &str) -> Cow<'_, str> {
    utf8_percent_encode(value, KEY).into()
}

/// Returns true if [`key_value`] returns the text as it is.
#[must_use]
pub fn is_key_value(value: &str) -> bool {
    matches!(key_value(value), Cow::Borrowed(_))
}

/// Encodes a value for a tag.
#[must_use]
pub fn tag_value(value: &str) -> Cow<'_, str> {
    utf8_percent_encode(value, TAG).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_borrows_unless_an_escape_had_to_be_resolved() {
        let plain: Text = serde_json::from_str(r#""plain""#).unwrap();
        assert!(matches!(plain.0, Cow::Borrowed("plain")));
        let escaped: Text = serde_json::from_str(r#""a\nb""#).unwrap();
        assert_eq!(&*escaped, "a\nb");
    }

    #[test]
    fn separators_in_values_are_encoded() {
        assert_eq!(key_value("a:b,c=d%"), "a%3Ab%2Cc%3Dd%25");
        assert_eq!(tag_value("a|b=c%:,"), "a%7Cb%3Dc%25:,");
        assert!(matches!(key_value("TX"), Cow::Borrowed(_)));
    }
}
