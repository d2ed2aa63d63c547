//! The id of the topic that a name refers to: a topic that is deleted and recreated has another id.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The id that Kafka gave a topic when it was created. Shown, and written in records, in the form
/// of Kafka's tools: 22 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub u128);

/// The length of an id as text, in characters.
pub const TOPIC_ID_LEN: usize = 22;

impl TopicId {
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0.to_be_bytes()))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for TopicId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TopicId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| D::Error::custom(format!("`{text}` is not the id of a topic")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_as_kafkas_tools_show_it() {
        // The output of `kafka-topics.sh --describe` and `Uuid.toString` for these 128 bits.
        let id = TopicId(0x0123_4567_89ab_cdef_fedc_ba98_7654_3210);
        assert_eq!(id.to_string(), "ASNFZ4mrze_-3LqYdlQyEA");
        assert_eq!(id.to_string().len(), TOPIC_ID_LEN);
        assert_eq!(TopicId::parse("ASNFZ4mrze_-3LqYdlQyEA"), Some(id));
        for other in [
            "",
            "ASNFZ4mrze_-3LqYdlQyE",
            "ASNFZ4mrze/+3LqYdlQyEA",
            "ASNFZ4mrze_-3LqYdlQyEAAA",
        ] {
            assert_eq!(TopicId::parse(other), None, "{other}");
        }
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<TopicId>(&json).unwrap(), id);
    }
}
