//! A writer's schema, laid out for reading: nodes that refer to each other by index, so that
//! recursive schemas are no special case.

use std::collections::HashMap;
use std::fmt::Write as _;

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use apache_avro::schema::{InnerDecimalSchema, Name, RecordSchema, UuidSchema};

/// Index into [`Layout::nodes`].
pub(super) type NodeId = usize;

#[derive(Debug)]
pub(super) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    /// A long that counts so many to the millisecond.
    Instant {
        per_milli: i64,
    },
    Float,
    Double,
    Bytes,
    Fixed(usize),
    String,
    Enum(Vec<String>),
    Array(NodeId),
    Map(NodeId),
    Union(Vec<NodeId>),
    Record(Vec<(String, NodeId)>),
}

/// Why a schema text is of no use.
#[derive(Debug, thiserror::Error)]
pub enum SchemaFault {
    #[error("not an Avro schema: {0}")]
    Parse(#[from] Box<apache_avro::Error>),
    #[error("the type {0} is not defined in it")]
    Undefined(String),
}

/// A writer's schema.
#[derive(Debug)]
pub(in crate::codec) struct Layout {
    nodes: Vec<Node>,
    root: NodeId,
    /// The root record's name without its namespace.
    record: Option<String>,
    fingerprints: [u64; 2],
}

impl Layout {
    pub(in crate::codec) fn parse(text: &str) -> Result<Self, SchemaFault> {
        let schema = Schema::parse_str(text).map_err(Box::new)?;
        let mut nodes = Builder::default();
        let root = nodes.add(&schema)?;
        let record = match &schema {
            Schema::Record(record) => Some(record.name.name().to_owned()),
            _ => None,
        };
        let mut canonical = String::new();
        write_canonical(&schema, &mut canonical);
        // The Avro library of Rust leaves `{"type":"long"}` where the canonical form says
        // `"long"`; what its users write is to be read too.
        let variant = schema.fingerprint::<Rabin>().bytes;
        Ok(Self {
            nodes: nodes.nodes,
            root,
            record,
            fingerprints: [
                rabin(canonical.as_bytes()),
                variant
                    .first_chunk()
                    .map_or(0, |bytes| u64::from_le_bytes(*bytes)),
            ],
        })
    }

    /// The CRC-64-AVRO fingerprint of the parsing canonical form.
    pub(in crate::codec) fn fingerprint(&self) -> u64 {
        self.fingerprints[0]
    }

    /// That fingerprint, and the one that the Avro library of Rust makes of the same schema.
    pub(in crate::codec) fn fingerprints(&self) -> [u64; 2] {
        self.fingerprints
    }

    pub(in crate::codec) fn record(&self) -> Option<&str> {
        self.record.as_deref()
    }

    pub(super) fn root(&self) -> NodeId {
        self.root
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }
}

#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    named: HashMap<Name, NodeId>,
}

impl Builder {
    fn add(&mut self, schema: &Schema) -> Result<NodeId, SchemaFault> {
        let node = match schema {
            Schema::Null => Node::Null,
            Schema::Boolean => Node::Boolean,
            Schema::Int | Schema::Date | Schema::TimeMillis => Node::Int,
            Schema::Long | Schema::TimeMicros => Node::Long,
            Schema::TimestampMillis | Schema::LocalTimestampMillis => {
                Node::Instant { per_milli: 1 }
            }
            Schema::TimestampMicros | Schema::LocalTimestampMicros => {
                Node::Instant { per_milli: 1_000 }
            }
            Schema::TimestampNanos | Schema::LocalTimestampNanos => Node::Instant {
                per_milli: 1_000_000,
            },
            Schema::Float => Node::Float,
            Schema::Double => Node::Double,
            Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => Node::Bytes,
            Schema::String | Schema::Uuid(UuidSchema::String) => Node::String,
            Schema::Fixed(fixed)
            | Schema::Duration(fixed)
            | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                return Ok(self.add_named(&fixed.name, Node::Fixed(fixed.size)));
            }
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes => Node::Bytes,
                InnerDecimalSchema::Fixed(fixed) => {
                    return Ok(self.add_named(&fixed.name, Node::Fixed(fixed.size)));
                }
            },
            Schema::Enum(of) => {
                return Ok(self.add_named(&of.name, Node::Enum(of.symbols.clone())));
            }
            Schema::Array(array) => Node::Array(self.add(&array.items)?),
            Schema::Map(map) => Node::Map(self.add(&map.types)?),
            Schema::Union(union) => {
                let variants = union.variants().iter().map(|variant| self.add(variant));
                Node::Union(variants.collect::<Result<_, _>>()?)
            }
            Schema::Record(record) => return self.add_record(record),
            Schema::Ref { name } => {
                let known = self.named.get(name).copied();
                return known.ok_or_else(|| SchemaFault::Undefined(name.to_string()));
            }
        };
        Ok(self.push(node))
    }

    fn add_named(&mut self, name: &Name, node: Node) -> NodeId {
        let id = self.push(node);
        self.named.insert(name.clone(), id);
        id
    }

    /// The record is named before its fields are laid out, since these may refer to it.
    fn add_record(&mut self, record: &RecordSchema) -> Result<NodeId, SchemaFault> {
        let id = self.add_named(&record.name, Node::Null);
        let fields = record
            .fields
            .iter()
            .map(|field| Ok((field.name.clone(), self.add(&field.schema)?)))
            .collect::<Result<_, SchemaFault>>()?;
        self.nodes[id] = Node::Record(fields);
        Ok(id)
    }

    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }
}

/// CRC-64-AVRO (Avro specification, "schema fingerprints").
fn rabin(bytes: &[u8]) -> u64 {
    const EMPTY: u64 = 0xc15d_213a_a4d7_a795;
    bytes.iter().fold(EMPTY, |mut crc, byte| {
        crc ^= u64::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (EMPTY & (crc & 1).wrapping_neg());
        }
        crc
    })
}

/// The parsing canonical form. The library's own keeps objects around primitive types that had a
/// logical type, so its fingerprints are not those of Java and Python.
fn write_canonical(schema: &Schema, out: &mut String) {
    match schema {
        Schema::Null => out.push_str("\"null\""),
        Schema::Boolean => out.push_str("\"boolean\""),
        Schema::Int | Schema::Date | Schema::TimeMillis => out.push_str("\"int\""),
        Schema::Long
        | Schema::TimeMicros
        | Schema::TimestampMillis
        | Schema::TimestampMicros
        | Schema::TimestampNanos
        | Schema::LocalTimestampMillis
        | Schema::LocalTimestampMicros
        | Schema::LocalTimestampNanos => out.push_str("\"long\""),
        Schema::Float => out.push_str("\"float\""),
        Schema::Double => out.push_str("\"double\""),
        Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => {
            out.push_str("\"bytes\"");
        }
        Schema::String | Schema::Uuid(UuidSchema::String) => out.push_str("\"string\""),
        Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
            write_fixed(&fixed.name, fixed.size, out);
        }
        Schema::Decimal(decimal) => match &decimal.inner {
            InnerDecimalSchema::Bytes => out.push_str("\"bytes\""),
            InnerDecimalSchema::Fixed(fixed) => write_fixed(&fixed.name, fixed.size, out),
        },
        Schema::Enum(of) => {
            let symbols = of.symbols.iter().map(|symbol| format!("\"{symbol}\""));
            let symbols = symbols.collect::<Vec<_>>().join(",");
            put(
                out,
                format_args!(
                    r#"{{"name":"{}","type":"enum","symbols":[{symbols}]}}"#,
                    of.name
                ),
            );
        }
        Schema::Array(array) => {
            out.push_str(r#"{"type":"array","items":"#);
            write_canonical(&array.items, out);
            out.push('}');
        }
        Schema::Map(map) => {
            out.push_str(r#"{"type":"map","values":"#);
            write_canonical(&map.types, out);
            out.push('}');
        }
        Schema::Union(union) => write_list(union.variants(), out, write_canonical),
        Schema::Record(record) => {
            put(
                out,
                format_args!(r#"{{"name":"{}","type":"record","fields":"#, record.name),
            );
            write_list(&record.fields, out, |field, out| {
                put(out, format_args!(r#"{{"name":"{}","type":"#, field.name));
                write_canonical(&field.schema, out);
                out.push('}');
            });
            out.push('}');
        }
        Schema::Ref { name } => put(out, format_args!("\"{name}\"")),
    }
}

fn write_fixed(name: &Name, size: usize, out: &mut String) {
    put(
        out,
        format_args!(r#"{{"name":"{name}","type":"fixed","size":{size}}}"#),
    );
}

fn write_list<T>(items: &[T], out: &mut String, each: impl Fn(&T, &mut String)) {
    out.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        each(item, out);
    }
    out.push(']');
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes all text");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first two are Apache's own (`share/test/data/schema-tests.txt`).
    #[test]
    fn fingerprints_are_those_of_other_languages() {
        for (schema, want) in [
            (r#""null""#, 0x63dd_24e7_cc25_8f8a_u64),
            (r#""int""#, 0x7275_d51a_3f39_5c8f),
            (
                r#"{"type":"int","logicalType":"date"}"#,
                0x7275_d51a_3f39_5c8f,
            ),
        ] {
            let layout = Layout::parse(schema).unwrap();
            assert_eq!(layout.fingerprint(), want, "{schema}");
        }
    }

    #[test]
    fn the_canonical_form_has_full_names_and_nothing_that_does_not_shape_the_bytes() {
        let schema = Schema::parse_str(
            r#"{"type":"record","name":"R","namespace":"a.b","doc":"x","fields":[
                {"name":"f","type":{"type":"fixed","name":"F","size":4},"doc":"y"},
                {"name":"g","type":["null","F"],"default":null},
                {"name":"e","type":{"type":"enum","name":"c.E","symbols":["X","Y"]}},
                {"name":"m","type":{"type":"map","values":{"type":"array","items":"R"}}},
                {"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":4}}]}"#,
        )
        .unwrap();
        let mut text = String::new();
        write_canonical(&schema, &mut text);
        assert_eq!(
            text,
            concat!(
                r#"{"name":"a.b.R","type":"record","fields":["#,
                r#"{"name":"f","type":{"name":"a.b.F","type":"fixed","size":4}},"#,
                r#"{"name":"g","type":["null","a.b.F"]},"#,
                r#"{"name":"e","type":{"name":"c.E","type":"enum","symbols":["X","Y"]}},"#,
                r#"{"name":"m","type":{"type":"map","values":{"type":"array","items":"a.b.R"}}},"#,
                r#"{"name":"d","type":"bytes"}]}"#,
            )
        );
    }
}
