//! The error of the deserializers here: what is wrong and in which field, so that a reject can
//! tell a missing field from a wrong one. The path is put together while the error travels up.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

/// How much of a wrong text is repeated, in characters.
const QUOTED_CHARS: usize = 40;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    kind: FaultKind,
    /// Innermost first.
    path: Vec<String>,
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// A required field is not there.
    Missing,
    /// Null where a value is required.
    Null,
    /// A value of another type.
    WrongType,
    /// A value of the right type that means nothing here.
    Invalid,
    /// The bytes break off or break the format's rules.
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

    /// The same fault, seen from the record or list that holds the faulty field.
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

/// The type without the value: wrong types can be whole texts of users.
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
