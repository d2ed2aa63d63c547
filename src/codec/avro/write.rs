//! Writes our own records as Avro, field by field in the order of `schemas/*.avsc`.
//!
//! The order and the unions here must be those of the schema files: the tests read everything
//! back by the files.

use crate::model::answer::AnswerError;
use crate::model::audit::AuditRecord;
use crate::model::invalidation::CacheAlert;
use crate::model::{AiAnswer, CacheMetric, Freshness, LayerName, StaleReason};

/// A record that has an Avro form of its own.
pub(in crate::codec) trait WriteAvro {
    fn write_avro(&self, out: &mut Vec<u8>);
}

impl WriteAvro for AiAnswer<'_> {
    fn write_avro(&self, out: &mut Vec<u8>) {
        text(out, &self.answer_id);
        text(out, &self.query_id);
        text(out, self.status.as_str());
        optional(out, self.data.as_deref(), text);
        text(out, self.source.as_str());
        optional(out, self.layer.map(LayerName::as_str), text);
        optional(out, self.freshness.map(Freshness::as_str), text);
        optional(out, self.stale_reason.map(StaleReason::as_str), text);
        boolean(out, self.coalesced);
        optional(out, self.cached_at.map(|at| at.0), long);
        optional(out, self.age_secs, double);
        text(out, &self.cache_type);
        text(out, &self.cache_key);
        optional(out, self.stamp.map(|stamp| stamp.0), long);
        optional(out, self.view.map(|view| view.0), long);
        texts(out, &self.tags);
        optional(out, self.model.as_deref(), text);
        optional(out, self.prompt_tokens, count);
        optional(out, self.completion_tokens, count);
        optional(out, self.cost_usd, double);
        optional(out, self.saved_usd, double);
        boolean(out, self.simulated);
        optional(out, self.error.as_ref(), answer_error);
        long(out, self.answered_at.0);
    }
}

fn answer_error(out: &mut Vec<u8>, error: &AnswerError) {
    text(out, &error.code);
    text(out, &error.message);
    boolean(out, error.retryable);
}

impl WriteAvro for CacheMetric<'_> {
    fn write_avro(&self, out: &mut Vec<u8>) {
        text(out, &self.metric_id);
        optional(out, self.answer_id.as_deref(), text);
        text(out, self.operation.as_str());
        boolean(out, self.coalesced);
        text(out, &self.cache_type);
        optional(out, self.layer.map(LayerName::as_str), text);
        optional(out, self.location.as_deref(), text);
        optional(out, self.season.as_deref(), text);
        optional(out, self.budget.as_deref(), text);
        optional(out, self.response_time_ms, double);
        optional(out, self.size_bytes, count);
        optional(out, self.cost_usd, double);
        optional(out, self.saved_usd, double);
        long(out, self.at.0);
    }
}

impl WriteAvro for CacheAlert {
    fn write_avro(&self, out: &mut Vec<u8>) {
        text(out, &self.alert);
        text(out, self.state.as_str());
        text(out, self.severity.as_str());
        text(out, &self.summary);
        optional(out, self.value, double);
        optional(out, self.threshold, double);
        long(out, self.since.0);
    }
}

impl WriteAvro for AuditRecord {
    fn write_avro(&self, out: &mut Vec<u8>) {
        text(out, &self.actor);
        text(out, &self.action);
        text(out, &self.subject);
        text(out, self.outcome.as_str());
        optional(out, self.before.as_deref(), text);
        optional(out, self.after.as_deref(), text);
        optional(out, self.request_id.as_deref(), text);
        long(out, self.at.0);
    }
}

/// A zigzag variable-length integer.
fn long(out: &mut Vec<u8>, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
    loop {
        let bits = left.to_le_bytes()[0] & 0x7f;
        left >>= 7;
        if left == 0 {
            return out.push(bits);
        }
        out.push(bits | 0x80);
    }
}

/// An unsigned count as a long; what does not fit becomes the greatest that does.
fn count(out: &mut Vec<u8>, value: u64) {
    long(out, i64::try_from(value).unwrap_or(i64::MAX));
}

fn double(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn boolean(out: &mut Vec<u8>, value: bool) {
    out.push(u8::from(value));
}

fn text(out: &mut Vec<u8>, value: &str) {
    count(out, value.len() as u64);
    out.extend_from_slice(value.as_bytes());
}

fn texts(out: &mut Vec<u8>, items: &[impl AsRef<str>]) {
    if !items.is_empty() {
        count(out, items.len() as u64);
        for item in items {
            text(out, item.as_ref());
        }
    }
    count(out, 0);
}

/// A union with null first.
fn optional<T>(out: &mut Vec<u8>, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(2);
            write(out, value);
        }
    }
}
