//! Our records into values, each topic in its format. A caller keeps one buffer and encodes into
//! it again and again.

use serde::Serialize;

use super::avro::WriteAvro;
use super::schemas::RecordKind;
use super::{CONFLUENT_MAGIC, SINGLE_OBJECT_MAGIC};
use crate::model::invalidation::CacheAlert;
use crate::model::{AiAnswer, AuditRecord, CacheMetric};

/// How a topic's values are framed: its format, with what that format needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    #[default]
    Json,
    SingleObject,
    /// With the id that the registry gave the record's schema.
    Confluent {
        schema_id: u32,
    },
}

/// The framing of each output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Framings {
    pub answers: Framing,
    pub metrics: Framing,
    pub alerts: Framing,
    pub audit: Framing,
}

/// Writes the values of the output topics.
#[derive(Debug, Clone)]
pub struct Encoder {
    answers: Header,
    metrics: Header,
    alerts: Header,
    audit: Header,
}

/// What stands before the record.
#[derive(Debug, Clone, Copy)]
enum Header {
    Json,
    SingleObject([u8; 10]),
    Confluent([u8; 5]),
}

impl Encoder {
    pub fn new(framings: Framings) -> Self {
        Self {
            answers: Header::new(RecordKind::AiAnswer, framings.answers),
            metrics: Header::new(RecordKind::CacheMetric, framings.metrics),
            alerts: Header::new(RecordKind::CacheAlert, framings.alerts),
            audit: Header::new(RecordKind::AuditRecord, framings.audit),
        }
    }

    /// Replaces what is in `out`, as all of these do.
    pub fn encode_answer(&self, answer: &AiAnswer<'_>, out: &mut Vec<u8>) {
        encode(self.answers, answer, out);
    }

    pub fn encode_metric(&self, metric: &CacheMetric<'_>, out: &mut Vec<u8>) {
        encode(self.metrics, metric, out);
    }

    pub fn encode_alert(&self, alert: &CacheAlert, out: &mut Vec<u8>) {
        encode(self.alerts, alert, out);
    }

    pub fn encode_audit(&self, record: &AuditRecord, out: &mut Vec<u8>) {
        encode(self.audit, record, out);
    }
}

impl Header {
    fn new(kind: RecordKind, framing: Framing) -> Self {
        match framing {
            Framing::Json => Self::Json,
            Framing::SingleObject => {
                let mut header = [0; 10];
                header[..2].copy_from_slice(&SINGLE_OBJECT_MAGIC);
                header[2..].copy_from_slice(&kind.fingerprint().to_le_bytes());
                Self::SingleObject(header)
            }
            Framing::Confluent { schema_id } => {
                let mut header = [CONFLUENT_MAGIC; 5];
                header[1..].copy_from_slice(&schema_id.to_be_bytes());
                Self::Confluent(header)
            }
        }
    }
}

fn encode<R: Serialize + WriteAvro>(header: Header, record: &R, out: &mut Vec<u8>) {
    out.clear();
    match header {
        Header::Json => super::log::write_json(record, out),
        Header::SingleObject(header) => {
            out.extend_from_slice(&header);
            record.write_avro(out);
        }
        Header::Confluent(header) => {
            out.extend_from_slice(&header);
            record.write_avro(out);
        }
    }
}
