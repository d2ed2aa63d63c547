//! serde access to the contents of mappings, lists, choices and values with places.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::{Fault, Reader, placed};
use crate::topology::problem::Problem;
use crate::topology::tree::{Entry, Node, STAND_IN, Value};

/// The entries of a mapping without the dead ones. For a struct, unknown fields are left out too,
/// and stand-ins are added at the end.
pub(super) struct Entries<'a> {
    pub(super) reader: Reader<'a>,
    pub(super) rest: std::slice::Iter<'a, Entry>,
    pub(super) fields: Option<&'static [&'static str]>,
    pub(super) stand_ins: Vec<&'static str>,
    pub(super) value: Option<&'a Node>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let context = self.reader.context;
        let fields = self.fields;
        let next = self.rest.find(|entry| {
            fields.is_none_or(|fields| fields.contains(&entry.name()))
                && !context.is_dead(&entry.key)
                && !context.is_dead(&entry.value)
        });
        if let Some(entry) = next {
            self.value = Some(&entry.value);
            let key = self.reader.of(&entry.key);
            return placed(&entry.key, seed.deserialize(key)).map(Some);
        }
        let Some(field) = self.stand_ins.pop() else {
            return Ok(None);
        };
        self.value = Some(&STAND_IN);
        seed.deserialize(StrDeserializer::<Fault>::new(field))
            .map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let node = self.value.take().expect("serde asks for a key first");
        let value = placed(node, seed.deserialize(self.reader.of(node)));
        // If a field's type has no possible stand-in, its struct is left out too; the missing field
        // has been recorded.
        match value {
            Err(fault) if fault.at == Some(STAND_IN.id) => Err(Fault::told(self.reader.node)),
            value => value,
        }
    }
}

/// The items of a list without the dead ones.
pub(super) struct Items<'a> {
    pub(super) reader: Reader<'a>,
    pub(super) rest: std::slice::Iter<'a, Node>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        let context = self.reader.context;
        let Some(node) = self.rest.find(|node| !context.is_dead(node)) else {
            return Ok(None);
        };
        placed(node, seed.deserialize(self.reader.of(node))).map(Some)
    }
}

/// An externally tagged choice: a bare name, or a mapping of one name to its settings.
pub(super) struct Choice<'a> {
    pub(super) reader: Reader<'a>,
    pub(super) name: &'a str,
    pub(super) payload: Option<&'a Node>,
}

impl<'de> EnumAccess<'de> for Choice<'_> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Fault> {
        let name = seed.deserialize(StrDeserializer::<Fault>::new(self.name))?;
        Ok((name, self))
    }
}

impl Choice<'_> {
    fn settings(&self) -> Result<Reader<'_>, Fault> {
        let node = self.payload.ok_or_else(|| {
            Fault::at(
                self.reader.node,
                Problem::new(
                    self.reader.node.span,
                    format!("`{}` needs its settings", self.name),
                )
                .expected(format!("expected `{}:` and a value", self.name)),
            )
        })?;
        Ok(self.reader.of(node))
    }
}

impl<'de> VariantAccess<'de> for Choice<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.payload {
            None
            | Some(Node {
                value: Value::Null | Value::StandIn,
                ..
            }) => Ok(()),
            Some(node) => Err(Fault::at(
                node,
                Problem::new(node.span, format!("`{}` has no settings", self.name)),
            )),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        let reader = self.settings()?;
        placed(reader.node, seed.deserialize(reader))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.settings()?.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.settings()?.deserialize_struct("", fields, visitor)
    }
}

/// The three values that [`super::units::At`] reads: start, length, value.
pub(super) struct Placed<'a>(pub(super) Reader<'a>);

impl<'de> Deserializer<'de> for Placed<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(PlacedSeq {
            reader: self.0,
            next: 0,
        })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct map struct enum
        identifier ignored_any
    }
}

struct PlacedSeq<'a> {
    reader: Reader<'a>,
    next: u8,
}

impl<'de> SeqAccess<'de> for PlacedSeq<'_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        use serde::de::IntoDeserializer;
        let span = self.reader.node.span;
        self.next += 1;
        match self.next {
            1 => seed.deserialize(span.start.into_deserializer()).map(Some),
            2 => seed.deserialize(span.len.into_deserializer()).map(Some),
            3 => placed(self.reader.node, seed.deserialize(self.reader)).map(Some),
            _ => Ok(None),
        }
    }
}
