//! A writer's schema, laid out for reading: nodes that refer to each other by index, so that
//! recursive schemas need no special handling.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, Name, RecordSchema, UuidSchema};

use super::canonical::fingerprints;

/// Index into [`Layout::nodes`].
pub(super) type NodeId = usize;

#[derive(Debug)]
pub(super) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    /// A long with this many units per millisecond.
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

/// The reason why a schema text is unusable.
#[derive(Debug, thiserror::Error)]
pub enum SchemaFault {
    #[error("not an Avro schema: {0}")]
    Parse(#[from] Box<apache_avro::Error>),
    #[error("the type {0} is not defined in it")]
    Undefined(String),
}

/// A writer's schema.
#[derive(Debug)]
pub(crate) struct Layout {
    nodes: Vec<Node>,
    root: NodeId,
    /// The root record's name without its namespace.
    record: Option<String>,
    fingerprints: [u64; 2],
}

impl Layout {
    pub(crate) fn parse(text: &str) -> Result<Self, SchemaFault> {
        let schema = Schema::parse_str(text).map_err(Box::new)?;
        let mut nodes = Builder::default();
        let root = nodes.add(&schema)?;
        let record = match &schema {
            Schema::Record(record) => Some(record.name.name().to_owned()),
            _ => None,
        };
        Ok(Self {
            nodes: nodes.nodes,
            root,
            record,
            fingerprints: fingerprints(&schema),
        })
    }

    /// Returns the CRC-64-AVRO fingerprint of the parsing canonical form.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprints[0]
    }

    /// Returns that fingerprint, and the one that Rust's Avro library computes for the schema.
    pub(crate) fn fingerprints(&self) -> [u64; 2] {
        self.fingerprints
    }

    pub(crate) fn record(&self) -> Option<&str> {
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

    /// Adds a record. It is named before its fields are laid out, because these may refer to it.
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
