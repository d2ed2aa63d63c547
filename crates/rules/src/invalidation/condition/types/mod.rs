//! The types of a condition's parts. A condition that can never be evaluated would count as holding
//! at every event, so it is found when the rules are read.
//!
//! CEL converts nothing implicitly: `event.weddingContext.guestCount * 1.1` multiplies an int by a
//! double, which fails at every event. The types of the event's fields are known
//! ([`super::super::facts`]); an attribute is a string, a double or a bool, as its sender decides.
//! The types that an operator or a function accepts are determined by the evaluator itself
//! ([`attempt`]), with a sample of each type, so that the two cannot disagree. The `cel` crate,
//! which parses and evaluates conditions, has no type checker of its own.
//!
//! A part that fails for every type is an error, even if `&&`, `||` or `? :` may skip it. A part
//! that fails for some values is a warning, unless that depends only on the type that a sender gave
//! an attribute. Missing fields, divisions by a zero that is not a literal, overflows and indexes
//! beyond a list's end are not checked.

mod attempt;
mod infer;
mod outcomes;
#[cfg(test)]
mod tests;
mod words;

pub(super) use self::infer::{Inference, Kind as FindingKind};
use super::super::facts;

/// The type of a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Type {
    Bool,
    Int,
    UInt,
    Double,
    Text,
    Bytes,
    Null,
    Instant,
    Span,
    /// The result of `type(…)`.
    Named,
    List(Box<Types>),
    /// A mapping: the types of its keys and of its values.
    Map(Box<Types>, Box<Types>),
    /// A part of the event with these fields.
    Object(&'static [(&'static str, facts::Kind)]),
    /// An event's attributes.
    Attributes,
}

/// The types that an expression's value can have.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Types {
    /// The possible types. The values decide which alternative it is; the sender of an attribute
    /// decides which type within an alternative. Empty if the expression can have no value.
    alternatives: Vec<Vec<Type>>,
    /// True if the type is unknown; then no use of it is reported.
    is_unknown: bool,
}

/// The most alternatives; beyond it the types count as unknown.
const MOST_ALTERNATIVES: usize = 16;

impl Types {
    /// Returns the types of an expression that can have no value.
    fn none() -> Self {
        Self::default()
    }

    fn unknown() -> Self {
        Self {
            is_unknown: true,
            ..Self::default()
        }
    }

    fn one(of: Type) -> Self {
        Self::either(vec![of])
    }

    /// Returns one of these types, as the sender of an attribute decides.
    fn either(types: Vec<Type>) -> Self {
        Self {
            alternatives: vec![types],
            is_unknown: false,
        }
    }

    fn of_kind(kind: facts::Kind) -> Self {
        use facts::Kind;
        match kind {
            Kind::Text | Kind::Id | Kind::VendorType | Kind::Place | Kind::Budget => {
                Self::one(Type::Text)
            }
            Kind::Number => Self::one(Type::Int),
            Kind::Instant => Self::one(Type::Instant),
            Kind::Texts => Self::one(Type::List(Box::new(Self::one(Type::Text)))),
            Kind::Attribute => Self::either(vec![Type::Text, Type::Double, Type::Bool]),
            Kind::Attributes => Self::one(Type::Attributes),
            Kind::Object(fields) => Self::one(Type::Object(fields)),
        }
    }

    /// Returns true if the expression can have no value.
    fn is_none(&self) -> bool {
        self.alternatives.is_empty() && !self.is_unknown
    }

    /// Returns, for the items of a list or a mapping, true if none was written out or their type is
    /// unknown.
    fn is_open(&self) -> bool {
        self.is_unknown || self.alternatives.is_empty()
    }

    fn all(&self) -> impl Iterator<Item = &Type> {
        self.alternatives.iter().flatten()
    }

    fn can_be(&self, of: &Type) -> bool {
        self.is_unknown || self.all().any(|known| known == of)
    }

    /// Returns true if the value can have this type in every alternative, whatever the sender
    /// decides elsewhere.
    fn can_always_be(&self, of: &Type) -> bool {
        let has = |types: &Vec<Type>| types.contains(of);
        self.is_unknown || self.alternatives.iter().all(has)
    }

    fn add(&mut self, alternative: Vec<Type>) {
        if !self.alternatives.contains(&alternative) {
            self.alternatives.push(alternative);
        }
        if self.alternatives.len() > MOST_ALTERNATIVES {
            *self = Self::unknown();
        }
    }

    fn join(&mut self, more: Self) {
        self.is_unknown |= more.is_unknown;
        for alternative in more.alternatives {
            self.add(alternative);
        }
    }

    /// Returns true if a value of `self` can equal one of `other`: numbers equal numbers of other
    /// types.
    fn can_equal(&self, other: &Self) -> bool {
        fn alike(a: &Type, b: &Type) -> bool {
            let number = |of: &Type| matches!(of, Type::Int | Type::UInt | Type::Double);
            let mapping =
                |of: &Type| matches!(of, Type::Map(..) | Type::Object(_) | Type::Attributes);
            match (a, b) {
                // Empty lists of different types are equal.
                (Type::List(_), Type::List(_)) => true,
                (a, b) => a == b || number(a) && number(b) || mapping(a) && mapping(b),
            }
        }
        self.is_unknown || other.is_unknown || self.all().any(|a| other.all().any(|b| alike(a, b)))
    }
}
