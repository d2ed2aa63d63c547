//! JSON values: read directly into the event; only if that fails, read again to find the faulty
//! field.

use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess,
    SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::Value;

use super::fault::{Fault, FaultKind};
use super::reject::{Reason, Reject};

/// Reads `bytes`, which have neither leading white space nor a byte order mark. `Owned` is the same
/// event with owned text; it is used to find faults.
pub(super) fn read<'de, T, Owned>(bytes: &'de [u8]) -> Result<T, Reject>
where
    T: Deserialize<'de>,
    Owned: DeserializeOwned,
{
    // UTF-8 is checked once for the whole value, so that serde_json need not check each text.
    let read = match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(bytes),
    };
    read.map_err(|error| diagnose::<Owned>(bytes, &error))
}

#[cold]
fn diagnose<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> Reject {
    let unreadable =
        |error: &serde_json::Error| Reject::new(Reason::UnreadableJson, error.to_string());
    // The error's own category is not reliable: a number in place of a name counts as bad syntax,
    // and after a wrong field the syntax can be broken as well, which is the worse fault.
    match serde_json::from_slice::<Value>(bytes) {
        Err(syntax) => unreadable(&syntax),
        Ok(value) => match T::deserialize(Located(&value)) {
            Err(fault) if fault.kind() == FaultKind::Missing => {
                Reject::new(Reason::MissingField, fault.to_string())
            }
            Err(fault) => Reject::new(Reason::InvalidField, fault.to_string()),
            // A duplicate field: the parsed value has kept only one of the two.
            Ok(_) => unreadable(error),
        },
    }
}

/// A JSON value whose errors contain the path to the field.
#[derive(Clone, Copy)]
struct Located<'de>(&'de Value);

impl<'de> Deserializer<'de> for Located<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => visitor.visit_u64(number),
                (None, Some(number)) => visitor.visit_i64(number),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => visitor.visit_seq(Items {
                items: items.iter().enumerate(),
            }),
            Value::Object(fields) => visitor.visit_map(Fields {
                fields: fields.iter(),
                value: None,
            }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'de> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Value>>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        let Some((at, item)) = self.items.next() else {
            return Ok(None);
        };
        seed.deserialize(Located(item))
            .map(Some)
            .map_err(|fault| fault.within(at.to_string()))
    }
}

struct Fields<'de> {
    fields: serde_json::map::Iter<'de>,
    value: Option<(&'de str, &'de Value)>,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some((name, value)) = self.fields.next() else {
            return Ok(None);
        };
        self.value = Some((name, value));
        seed.deserialize(name.as_str().into_deserializer())
            .map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let (name, value) = self
            .value
            .take()
            .expect("serde asks for a value after its key");
        seed.deserialize(Located(value))
            .map_err(|fault| fault.within(name))
    }
}
