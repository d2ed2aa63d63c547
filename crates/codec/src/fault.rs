//! The error of the deserializers here: the fault and its field, so that a reject can distinguish a
//! missing field from a wrong one. The path is assembled while the error is passed up.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

/// The most characters of a wrong text that are repeated.
const QUOTED_CHARS: usize = 40;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    kind: FaultKind,
    /// The path to the field, innermost first.
    path: Vec<String>,
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// A required field is missing.
    Missing,
    /// Null where a value is required.
    Null,
    /// A value of another type.
    WrongType,
    /// A value of the right type that has no meaning here.
    Invalid,
    /// The bytes end too early or violate the format.
    Corrupt,
}

impl Fault {
    pub(super) fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            path: Vec::new(),
            message: message.into(),
        }))
    }

    pub(super) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Corrupt, message)
    }

    pub(super) fn kind(&self) -> FaultKind {
        self.0.kind
    }

    /// Adds the record or list that contains the faulty field to the path.
    pub(super) fn within(mut self, field: impl Into<String>) -> Self {
        self.0.path.push(field.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, field) in self.0.path.iter().rev().enumerate() {
            if at > 0 {
                f.write_str(".")?;
            }
            f.write_str(field)?;
        }
        if !self.0.path.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(FaultKind::Invalid, message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(FaultKind::Missing, "required, but not there").within(field)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let kind = match found {
            Unexpected::Unit | Unexpected::Option => FaultKind::Null,
            _ => FaultKind::WrongType,
        };
        let found = type_of(found);
        Self::new(kind, format!("expected {expected}, found {found}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Str(text) => quoted(text),
            other => other.to_string(),
        };
        Self::new(
            FaultKind::Invalid,
            format!("expected {expected}, found {found}"),
        )
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let (found, expected) = (quoted(variant), expected.join(", "));
        Self::new(
            FaultKind::Invalid,
            format!("expected one of {expected}, found {found}"),
        )
    }
}

/// Returns the type without the value, because the value can be a whole text of a user.
fn type_of(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a fraction",
        Unexpected::Char(_) | Unexpected::Str(_) => "a string",
        Unexpected::Bytes(_) => "bytes",
        Unexpected::Unit | Unexpected::Option => "null",
        Unexpected::Seq => "a list",
        Unexpected::Map | Unexpected::StructVariant => "an object",
        _ => "something else",
    }
}

fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
