//! The result of decoding a record's bytes: an event, nothing, a reject with its reason, or not yet
//! known.

use std::fmt;

/// The outcome of decoding a record's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded<T> {
    Event(T),
    /// A null value: legal, to be counted and ignored.
    Tombstone,
    /// The value can never be read: a dead letter.
    Rejected(Reject),
    /// The schema of this id is not known here: call [`super::Registry::resolve`], then decode
    /// again. While the registry is away the record is parked, not rejected; without a registry it
    /// is [`Reject::no_registry`].
    Unresolved {
        schema_id: u32,
    },
}

/// The reason why a record cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Reject {
    pub reason: Reason,
    /// The text for people; names the field by its path if there is one, at most
    /// [`MAX_DETAIL_BYTES`] long.
    pub detail: String,
}

/// The length to which a detail is cut, in bytes: it is sent in a record header.
pub const MAX_DETAIL_BYTES: usize = 500;

impl Reject {
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if detail.len() > MAX_DETAIL_BYTES {
            let mut end = MAX_DETAIL_BYTES - '…'.len_utf8();
            while !detail.is_char_boundary(end) {
                end -= 1;
            }
            detail.truncate(end);
            detail.push('…');
        }
        Self { reason, detail }
    }

    /// Rejects a query whose type is not in the topology. Called by the decoder's caller, because
    /// decoding does not have the topology.
    pub fn unknown_cache_type(name: &str) -> Self {
        Self::new(
            Reason::UnknownCacheType,
            format!("query.type: no cache type is called {name:?}"),
        )
    }

    /// Rejects a Confluent frame if no registry is configured.
    pub fn no_registry(schema_id: u32) -> Self {
        Self::new(
            Reason::UnknownSchema,
            format!("schema {schema_id} of a registry, and no registry is set"),
        )
    }

    /// Rejects a Confluent frame whose schema the registry does not have.
    pub fn unknown_schema_id(schema_id: u32) -> Self {
        Self::new(
            Reason::UnknownSchema,
            format!("the registry has no schema with id {schema_id}"),
        )
    }
}

/// The closed set of reasons, as given in dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    EmptyValue,
    UnsupportedFormat,
    UnknownSchema,
    UnreadableAvro,
    UnreadableJson,
    MissingField,
    InvalidField,
    UnknownCacheType,
    TooLarge,
}

impl Reason {
    pub const ALL: [Self; 9] = [
        Self::EmptyValue,
        Self::UnsupportedFormat,
        Self::UnknownSchema,
        Self::UnreadableAvro,
        Self::UnreadableJson,
        Self::MissingField,
        Self::InvalidField,
        Self::UnknownCacheType,
        Self::TooLarge,
    ];

    /// Returns the name on the wire and in metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EmptyValue => "empty_value",
            Self::UnsupportedFormat => "unsupported_format",
            Self::UnknownSchema => "unknown_schema",
            Self::UnreadableAvro => "unreadable_avro",
            Self::UnreadableJson => "unreadable_json",
            Self::MissingField => "missing_field",
            Self::InvalidField => "invalid_field",
            Self::UnknownCacheType => "unknown_cache_type",
            Self::TooLarge => "too_large",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_fits_into_a_header() {
        let reject = Reject::new(Reason::InvalidField, "ü".repeat(MAX_DETAIL_BYTES));
        assert!(reject.detail.len() <= MAX_DETAIL_BYTES);
        assert!(reject.detail.ends_with("ü…"));
        let short = Reject::new(Reason::InvalidField, "short");
        assert_eq!(short.to_string(), "invalid_field: short");
    }
}
