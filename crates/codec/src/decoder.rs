//! Decodes values into events. Synchronous: for a schema that is not known yet it returns
//! [`Decoded::Unresolved`], and the caller asks the registry and decodes again.

use std::sync::Arc;

use wedcache_model::{AiAnswer, AiQuery, Text, VendorChange, WeddingUpdate};

use super::avro::{self, Layout};
use super::event::Incoming;
use super::fault::{Fault, FaultKind};
use super::reject::{Decoded, Reason, Reject};
use super::schemas::{RecordKind, Registered, Schemas};
use super::{CONFLUENT_MAGIC, SINGLE_OBJECT_MAGIC, json};

/// The byte order mark of UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// A reader of the input topics' values, in any of the formats.
#[derive(Debug, Clone)]
pub struct Decoder {
    schemas: Arc<Schemas>,
    max_bytes: MaxBytes,
}

/// The length in bytes up to which the values of each input are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxBytes {
    pub queries: usize,
    pub vendor_changes: usize,
    pub wedding_updates: usize,
}

impl From<usize> for MaxBytes {
    fn from(of_all: usize) -> Self {
        Self {
            queries: of_all,
            vendor_changes: of_all,
            wedding_updates: of_all,
        }
    }
}

impl MaxBytes {
    fn of(self, kind: RecordKind) -> usize {
        match kind {
            RecordKind::AiQuery => self.queries,
            RecordKind::VendorChange => self.vendor_changes,
            RecordKind::WeddingUpdate => self.wedding_updates,
            // What we have written ourselves is read whatever its length.
            RecordKind::AiAnswer
            | RecordKind::CacheMetric
            | RecordKind::CacheAlert
            | RecordKind::AuditRecord
            | RecordKind::TagInvalidation => usize::MAX,
        }
    }
}

impl Decoder {
    /// Creates a decoder that rejects values of more than `max_bytes` bytes as too large.
    pub fn new(schemas: Arc<Schemas>, max_bytes: impl Into<MaxBytes>) -> Self {
        Self {
            schemas,
            max_bytes: max_bytes.into(),
        }
    }

    pub fn decode_query(&self, value: Option<&[u8]>) -> Decoded<AiQuery> {
        self.decode(value)
    }

    /// Decodes a query that borrows its text from the value.
    pub fn read_query<'de>(&self, value: Option<&'de [u8]>) -> Decoded<AiQuery<Text<'de>>> {
        self.decode(value)
    }

    pub fn decode_vendor_change(&self, value: Option<&[u8]>) -> Decoded<VendorChange> {
        self.decode(value)
    }

    pub fn decode_wedding_update(&self, value: Option<&[u8]>) -> Decoded<WeddingUpdate> {
        self.decode(value)
    }

    /// Decodes an answer of the output topic, for code that checks answers.
    pub fn decode_answer(&self, value: Option<&[u8]>) -> Decoded<AiAnswer<'static>> {
        self.decode(value)
    }

    fn decode<'de, T: Incoming<'de>>(&self, value: Option<&'de [u8]>) -> Decoded<T> {
        let Some(value) = value else {
            return Decoded::Tombstone;
        };
        match self.read(value) {
            Ok(Read::Event(event)) => Decoded::Event(event),
            Ok(Read::Unresolved { schema_id }) => Decoded::Unresolved { schema_id },
            Err(reject) => Decoded::Rejected(reject),
        }
    }

    fn read<'de, T: Incoming<'de>>(&self, value: &'de [u8]) -> Result<Read<T>, Reject> {
        let (len, max) = (value.len(), self.max_bytes.of(T::KIND));
        if len > max {
            return Err(Reject::new(
                Reason::TooLarge,
                format!("{len} bytes, more than the {max} allowed"),
            ));
        }
        match value {
            [CONFLUENT_MAGIC, frame @ ..] => self.read_confluent(frame),
            [first, second, frame @ ..] if [*first, *second] == SINGLE_OBJECT_MAGIC => {
                self.read_single_object(frame).map(Read::Event)
            }
            text => read_json(text).map(Read::Event),
        }
    }

    fn read_confluent<'de, T: Incoming<'de>>(&self, frame: &'de [u8]) -> Result<Read<T>, Reject> {
        let Some((id, payload)) = frame.split_first_chunk() else {
            return Err(unreadable("a registry frame of less than 5 bytes"));
        };
        let schema_id = u32::from_be_bytes(*id);
        let Some(registered) = self.schemas.with_id(schema_id) else {
            return Ok(Read::Unresolved { schema_id });
        };
        match &*registered {
            Registered::Avro(layout) => read_avro(layout, payload),
            Registered::Json => read_json(payload),
            Registered::Unusable(reject) => Err(reject.clone()),
        }
        .map(Read::Event)
    }

    fn read_single_object<'de, T: Incoming<'de>>(&self, frame: &'de [u8]) -> Result<T, Reject> {
        let Some((fingerprint, payload)) = frame.split_first_chunk() else {
            return Err(unreadable("an Avro single object of less than 10 bytes"));
        };
        let known = self
            .schemas
            .with_fingerprint(u64::from_le_bytes(*fingerprint));
        // Shown in the byte order of the header.
        let fingerprint = u64::from_be_bytes(*fingerprint);
        match known {
            Some(layout) => read_avro(layout, payload),
            None => Err(Reject::new(
                Reason::UnknownSchema,
                format!("no schema here has the fingerprint {fingerprint:016x}"),
            )),
        }
    }
}

enum Read<T> {
    Event(T),
    Unresolved { schema_id: u32 },
}

fn read_json<'de, T: Incoming<'de>>(bytes: &'de [u8]) -> Result<T, Reject> {
    let text = bytes.strip_prefix(BOM).unwrap_or(bytes).trim_ascii_start();
    let mut event: T = match text.first() {
        Some(b'{') => json::read::<T, T::Owned>(text)?,
        None => return Err(Reject::new(Reason::EmptyValue, "no bytes but white space")),
        Some(b'[') => {
            let detail = "a JSON array; one object is expected";
            return Err(Reject::new(Reason::UnsupportedFormat, detail));
        }
        Some(byte) => {
            let detail = format!("starts with the byte {byte:#04x}: neither JSON nor Avro");
            return Err(Reject::new(Reason::UnsupportedFormat, detail));
        }
    };
    event.settle()?;
    Ok(event)
}

fn read_avro<'de, T: Incoming<'de>>(layout: &Layout, bytes: &'de [u8]) -> Result<T, Reject> {
    let name = T::KIND.as_str();
    if layout.record() != Some(name) {
        let found = layout.record().unwrap_or("not a record");
        return Err(unreadable(&format!(
            "written with the schema of {found}; {name} is expected"
        )));
    }
    let mut event: T = avro::read(layout, bytes).map_err(|fault| avro_reject(&fault))?;
    event.settle()?;
    Ok(event)
}

/// Converts a fault to a reject. A field that the writer's schema lacks or has with another type
/// makes the schemas incompatible; a meaningless value makes the field invalid.
fn avro_reject(fault: &Fault) -> Reject {
    let reason = match fault.kind() {
        FaultKind::Missing | FaultKind::WrongType | FaultKind::Corrupt => Reason::UnreadableAvro,
        FaultKind::Null | FaultKind::Invalid => Reason::InvalidField,
    };
    Reject::new(reason, fault.to_string())
}

fn unreadable(detail: &str) -> Reject {
    Reject::new(Reason::UnreadableAvro, detail)
}
