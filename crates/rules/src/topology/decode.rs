//! serde over a [`Node`] tree that reports every mistake instead of the first.
//!
//! A mistake is recorded with its place, its node is left out, and decoding starts again; files are
//! small, so the repetition costs little. Unknown and missing fields of a struct are reported
//! together, and required fields that are missing or wrong get a stand-in, so that the fields
//! beside them are still checked.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::de::{self, DeserializeOwned, Deserializer, Expected, Unexpected, Visitor};

mod access;

use self::access::{Choice, Entries, Items, Placed};
use super::problem::{Code, Problem, Span};
use super::tree::{Entry, Node, STAND_IN, Value};
use crate::nearest::nearest;

/// The newtype name by which [`super::units::At`] requests its place.
pub(super) const AT: &str = "wedcache::At";
/// The newtype name of the fields that may contain `${VAR}`.
pub(super) const CONNECTION: &str = "wedcache::Connection";
/// The newtype names of time spans and sizes, which determine the form of their stand-ins.
pub(super) const LASTING: &str = "wedcache::Lasting";
pub(super) const SIZE: &str = "wedcache::ByteSize";

/// The required fields of every struct, by the struct's name.
pub(super) type Required = HashMap<String, Vec<String>>;

/// Decodes as much of the tree as possible; `None` if nothing can be decoded.
pub(super) fn decode<T: DeserializeOwned>(
    root: &Node,
    required: &Required,
) -> (Option<T>, Vec<Problem>) {
    let context = Context {
        required,
        dead: RefCell::default(),
        told: RefCell::default(),
        found: RefCell::default(),
    };
    let decoded = loop {
        let reader = Reader {
            node: root,
            context: &context,
            connection: false,
        };
        match T::deserialize(reader) {
            Ok(value) => break Some(value),
            Err(error) => {
                let at = error.at.unwrap_or(root.id);
                if let Some(problem) = error.problem {
                    context.found.borrow_mut().push(*problem);
                }
                // A node that fails twice would cause an endless loop.
                if at == root.id || !context.dead.borrow_mut().insert(at) {
                    break None;
                }
            }
        }
    };
    (decoded, context.found.into_inner())
}

struct Context<'a> {
    required: &'a Required,
    /// Nodes that could not be decoded.
    dead: RefCell<HashSet<usize>>,
    /// Nodes whose own mistakes are already in `found`.
    told: RefCell<HashSet<usize>>,
    found: RefCell<Vec<Problem>>,
}

impl Context<'_> {
    fn is_dead(&self, node: &Node) -> bool {
        self.dead.borrow().contains(&node.id)
    }

    /// Records a mistake of a node that does not stop decoding; each node's mistake is recorded
    /// once.
    fn tell(&self, node: &Node, problem: impl FnOnce() -> Problem) {
        if self.told.borrow_mut().insert(node.id) {
            self.found.borrow_mut().push(problem());
        }
    }
}

/// A mistake that is passed up as an error; `at` is the node to leave out.
#[derive(Debug)]
pub(super) struct Fault {
    at: Option<usize>,
    /// The problem; `None` if it has been recorded already. Boxed, because every `Result` has room
    /// for it.
    problem: Option<Box<Problem>>,
}

impl Fault {
    fn told(node: &Node) -> Self {
        Self {
            at: Some(node.id),
            problem: None,
        }
    }

    fn at(node: &Node, problem: Problem) -> Self {
        Self {
            at: Some(node.id),
            problem: Some(Box::new(problem)),
        }
    }

    fn unplaced(problem: Problem) -> Self {
        Self {
            at: None,
            problem: Some(Box::new(problem)),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.problem.as_ref().map_or("", |problem| &problem.message))
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::unplaced(Problem::new(Span::default(), message.to_string()))
    }

    fn invalid_type(given: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_value(given, expected)
    }

    fn invalid_value(given: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let given = match given {
            Unexpected::Str(text) if text.chars().count() > 40 => "this text".to_owned(),
            Unexpected::Str(text) => format!("`{text}`"),
            Unexpected::Unsigned(number) => format!("the number {number}"),
            Unexpected::Signed(number) => format!("the number {number}"),
            Unexpected::Float(number) => format!("the number {number}"),
            Unexpected::Bool(flag) => format!("`{flag}`"),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Map => "a mapping".to_owned(),
            Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
            other => other.to_string(),
        };
        let expected = expected.to_string();
        let expected = match expected.as_str() {
            "a string" => "text",
            "a boolean" => "`true` or `false`",
            "a sequence" => "a list",
            "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not below 0",
            "i8" | "i16" | "i32" | "i64" => "a whole number",
            "f64" => "a number",
            "a map" => "a mapping",
            name if name.starts_with("struct ") => "a mapping of fields",
            other => other,
        };
        Self::unplaced(
            Problem::new(Span::default(), format!("{given} cannot stand here"))
                .expected(format!("expected {expected}")),
        )
    }
}

/// Sets the place of a mistake without one to this node.
fn placed<T>(node: &Node, result: Result<T, Fault>) -> Result<T, Fault> {
    result.map_err(|mut fault| {
        if fault.at.is_none() {
            fault.at = Some(node.id);
            if let Some(problem) = &mut fault.problem {
                problem.span = node.span;
            }
        }
        fault
    })
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    context: &'a Context<'a>,
    /// True if this field may contain `${VAR}`.
    connection: bool,
}

impl<'a> Reader<'a> {
    fn of(self, node: &'a Node) -> Self {
        Self { node, ..self }
    }

    fn is_stand_in(self) -> bool {
        matches!(self.node.value, Value::StandIn)
    }

    /// Reports `${VAR}` in any field that is not a connection field.
    fn refuse_variables(self) -> Result<(), Fault> {
        if self.connection || !matches!(&self.node.value, Value::Text(text) if text.contains("${"))
        {
            return Ok(());
        }
        Err(Fault::at(
            self.node,
            Problem::new(self.node.span, "a variable cannot stand here").code(Code::Variable).help(
                "`${VAR}` is for connection fields only (addresses, paths, secrets, instance ids); what the cache does is written out, so that a file says what it does",
            ),
        ))
    }

    fn visit_scalar<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.refuse_variables()?;
        let result = match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Whole(number) => match (u64::try_from(*number), i64::try_from(*number)) {
                (Ok(number), _) => visitor.visit_u64(number),
                (_, Ok(number)) => visitor.visit_i64(number),
                _ => visitor.visit_i128(*number),
            },
            Value::Real(number) => visitor.visit_f64(*number),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(_) => Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
            Value::Map(_) => Err(de::Error::invalid_type(Unexpected::Map, &visitor)),
            Value::StandIn => visitor.visit_str("stand-in"),
        };
        placed(self.node, result)
    }

    fn visit_entries<'de, V: Visitor<'de>>(
        self,
        visitor: V,
        fields: Option<&'static [&'static str]>,
        stand_ins: Vec<&'static str>,
    ) -> Result<V::Value, Fault> {
        let entries = match &self.node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null | Value::StandIn => &[],
            _ => return self.visit_scalar(visitor),
        };
        let access = Entries {
            reader: self,
            rest: entries.iter(),
            fields,
            stand_ins,
            value: None,
        };
        placed(self.node, visitor.visit_map(access))
    }

    /// Records all unknown and all missing fields of a struct at once; returns the required fields
    /// that need a stand-in.
    fn check_fields(self, name: &str, fields: &'static [&'static str]) -> Vec<&'static str> {
        for entry in self.node.entries() {
            if !fields.contains(&entry.name()) {
                self.context
                    .tell(&entry.key, || unknown_problem(self.node, entry, fields));
            }
        }
        let required = self.context.required.get(name);
        let required = required.map_or(&[][..], Vec::as_slice);
        let missing: Vec<&str> = required
            .iter()
            .filter(|field| self.node.get(field).is_none())
            .map(String::as_str)
            .collect();
        if !missing.is_empty() && !matches!(self.node.value, Value::StandIn) {
            self.context
                .tell(self.node, || missing_problem(self.node, &missing));
        }
        let is_lacking = |field: &str| match self.node.get(field) {
            Some(value) => self.context.is_dead(value),
            None => true,
        };
        fields
            .iter()
            .copied()
            .filter(|field| required.iter().any(|name| name == field) && is_lacking(field))
            .collect()
    }
}

fn unknown_problem(node: &Node, entry: &Entry, fields: &'static [&'static str]) -> Problem {
    let message = format!("there is no field `{}` here", entry.name());
    let free = fields
        .iter()
        .copied()
        .filter(|field| node.get(field).is_none());
    let problem = Problem::new(entry.key.span, message)
        .code(Code::UnknownField)
        .choices("", free);
    if entry.name() == "true" && fields.contains(&"on") {
        return problem.help("YAML 1.1 reads the name `on` as true: write `trigger`");
    }
    match nearest(entry.name(), fields.iter().copied()) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem,
    }
}

fn missing_problem(node: &Node, missing: &[&str]) -> Problem {
    let names: Vec<_> = missing.iter().map(|name| format!("`{name}`")).collect();
    let what = if missing.len() == 1 {
        "field"
    } else {
        "fields"
    };
    Problem::new(
        node.span,
        format!("the {what} {} must be given", names.join(", ")),
    )
    .code(Code::MissingField)
}

macro_rules! scalars {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.visit_scalar(visitor)
        }
    )*};
}

macro_rules! numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            if self.is_stand_in() {
                return visitor.visit_u64(1);
            }
            self.visit_scalar(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    scalars! {
        deserialize_bytes deserialize_byte_buf deserialize_unit
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.is_stand_in() {
            return visitor.visit_bool(false);
        }
        self.visit_scalar(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
            _ => self.visit_scalar(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Bool(_) | Value::Whole(_) | Value::Real(_) => {
                placed(self.node, visitor.visit_str(&self.node.raw))
            }
            _ => self.visit_scalar(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        placed(self.node, visitor.visit_str(&self.node.raw))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Null | Value::StandIn => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match name {
            AT => placed(self.node, visitor.visit_newtype_struct(Placed(self))),
            CONNECTION => visitor.visit_newtype_struct(Self {
                connection: true,
                ..self
            }),
            LASTING if self.is_stand_in() => visitor.visit_str("1h"),
            SIZE if self.is_stand_in() => visitor.visit_str("1MiB"),
            _ => placed(self.node, visitor.visit_newtype_struct(self)),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let items = match &self.node.value {
            Value::List(items) => items.as_slice(),
            Value::Null | Value::StandIn => &[],
            _ => return self.visit_scalar(visitor),
        };
        let access = Items {
            reader: self,
            rest: items.iter(),
        };
        placed(self.node, visitor.visit_seq(access))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.visit_scalar(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit_entries(visitor, None, Vec::new())
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let stand_ins = match self.node.value {
            Value::Map(_) | Value::Null | Value::StandIn => self.check_fields(name, fields),
            _ => Vec::new(),
        };
        self.visit_entries(visitor, Some(fields), stand_ins)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.refuse_variables()?;
        let (name, payload) = match &self.node.value {
            Value::StandIn => {
                return visitor.visit_enum(Choice {
                    reader: self,
                    name: variants.first().copied().unwrap_or_default(),
                    payload: Some(&STAND_IN),
                });
            }
            Value::Text(_) => (self.node, None),
            Value::Map(entries) if entries.len() == 1 => (&entries[0].key, Some(&entries[0].value)),
            Value::Map(_) => {
                let problem = Problem::new(self.node.span, "exactly one choice is needed here");
                return Err(Fault::at(
                    self.node,
                    problem.choices("", variants.iter().copied()),
                ));
            }
            _ => {
                let message = format!("{} cannot stand here", self.node.describe());
                let problem = Problem::new(self.node.span, message);
                return Err(Fault::at(
                    self.node,
                    problem.choices("", variants.iter().copied()),
                ));
            }
        };
        if !variants.contains(&name.raw.as_str()) {
            let problem = Problem::new(name.span, format!("`{}` is not a choice here", name.raw))
                .choices(&name.raw, variants.iter().copied());
            return Err(Fault::at(self.node, problem));
        }
        if payload.is_some_and(|payload| self.context.is_dead(payload)) {
            return Err(Fault::told(self.node));
        }
        let choice = Choice {
            reader: self,
            name: &name.raw,
            payload,
        };
        placed(self.node, visitor.visit_enum(choice))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }
}
