//! Encodes our records into values, each topic in its format. A caller keeps one buffer and reuses
//! it for every record.

use serde::Serialize;

use wedcache_model::invalidation::CacheAlert;
use wedcache_model::{AiAnswer, AuditRecord, Body, CacheMetric};

use super::avro::{self, WriteAvro};
use super::schemas::RecordKind;
use super::{CONFLUENT_MAGIC, SINGLE_OBJECT_MAGIC, json_write};

/// The framing of a topic's values: its format, with the data that the format needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    #[default]
    Json,
    SingleObject,
    /// Confluent frames with the id that the registry gave the record's schema.
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

/// The bytes before the record.
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

    /// Encodes an answer into `out`, replacing its content, as all of these functions do. If there
    /// is a body, it is written in place of the answer's own data.
    pub fn encode_answer(&self, answer: &AiAnswer<'_>, body: Option<&Body>, out: &mut Vec<u8>) {
        self.answers.begin(out);
        match self.answers {
            Header::Json => {
                let data = body.map(Body::escaped);
                json_write::answer(answer, data.as_deref(), out);
            }
            Header::SingleObject(_) | Header::Confluent(_) => {
                let data = body.map(Body::plain);
                avro::write_answer(answer, data.as_deref().or(answer.data.as_deref()), out);
            }
        }
    }

    pub fn encode_metric(&self, metric: &CacheMetric<'_>, out: &mut Vec<u8>) {
        self.metrics.begin(out);
        match self.metrics {
            Header::Json => json_write::metric(metric, out),
            Header::SingleObject(_) | Header::Confluent(_) => metric.write_avro(out),
        }
    }

    pub fn encode_alert(&self, alert: &CacheAlert, out: &mut Vec<u8>) {
        encode(self.alerts, alert, out);
    }

    pub fn encode_audit(&self, record: &AuditRecord, out: &mut Vec<u8>) {
        encode(self.audit, record, out);
    }
}

impl Header {
    /// Clears `out` and writes the bytes before the record.
    fn begin(&self, out: &mut Vec<u8>) {
        out.clear();
        match self {
            Self::Json => {}
            Self::SingleObject(header) => out.extend_from_slice(header),
            Self::Confluent(header) => out.extend_from_slice(header),
        }
    }

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
    header.begin(out);
    match header {
        Header::Json => super::log::write_json(record, out),
        Header::SingleObject(_) | Header::Confluent(_) => record.write_avro(out),
    }
}
