//! Bytes ⇄ events: decodes a record's value in any of the three formats, and encodes output in the
//! format that its topic is set to.
//!
//! ```text
//! value ─▶ Decoder ─▶ Decoded::{Event, Tombstone, Rejected, Unresolved}
//!             │ reads                                  │ ask, then decode again
//!          Schemas ◀── by id ── Registry::resolve ◀────┘
//! AiAnswer, CacheMetric, CacheAlert, AuditRecord ─▶ Encoder ─▶ value
//! TagInvalidation, Progress ⇄ log (always JSON)
//! ```
//!
//! Everything here but the registry's client is a function of its arguments: decoding never waits,
//! it only uses the schemas known so far.

mod avro;
mod decoder;
mod encoder;
mod event;
mod fault;
mod json;
mod json_write;
pub mod log;
mod registry;
mod reject;
mod schemas;

pub use avro::SchemaFault;
pub use decoder::{Decoder, MaxBytes};
pub use encoder::{Encoder, Framing, Framings};
pub use log::LogRecord;
pub use registry::{
    Registry, RegistryAuth, RegistryError, RegistryOptions, Resolved, framing, learn_schema,
};
pub use reject::{Decoded, MAX_DETAIL_BYTES, Reason, Reject};
pub use schemas::{RecordKind, SchemaError, Schemas};

/// The format of a value. The first byte of an input value determines its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    #[default]
    Json,
    /// Avro after a header with the schema's fingerprint; needs no registry.
    AvroSingleObject,
    /// Avro after a header with the schema's id in a Confluent-compatible registry.
    Confluent,
}

impl Format {
    pub const ALL: [Self; 3] = [Self::Json, Self::AvroSingleObject, Self::Confluent];

    /// Returns the name in topologies and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::AvroSingleObject => "avro",
            Self::Confluent => "confluent",
        }
    }
}

/// The first byte of a Confluent frame; the schema's id follows, big-endian.
const CONFLUENT_MAGIC: u8 = 0x00;
/// The first bytes of an Avro single object; the fingerprint follows, little-endian.
const SINGLE_OBJECT_MAGIC: [u8; 2] = [0xc3, 0x01];

#[cfg(test)]
mod tests;
