//! Writes our own records as Avro, field by field in the order of `schemas/*.avsc`.
//!
//! The order and the unions here must equal those of the schema files: the tests read everything
//! back with these files.

use std::collections::BTreeMap;

use wedcache_model::answer::AnswerError;
use wedcache_model::audit::AuditRecord;
use wedcache_model::invalidation::CacheAlert;
use wedcache_model::{AiAnswer, CacheMetric, Freshness, LayerName, StaleReason};

/// A record that can be written as Avro.
pub(crate) trait WriteAvro {
    fn write_avro(&self, out: &mut Vec<u8>);
}

/// Writes an answer; `data` replaces the answer's own data, which may be kept elsewhere.
pub(crate) fn write_answer(answer: &AiAnswer<'_>, data: Option<&str>, out: &mut Vec<u8>) {
    out.reserve(data.map_or(0, str::len) + 1024);
    text(out, &answer.answer_id);
    text(out, &answer.query_id);
    text(out, answer.status.as_str());
    optional(out, data, text);
    text(out, answer.source.as_str());
    optional(out, answer.layer.map(LayerName::as_str), text);
    optional(out, answer.freshness.map(Freshness::as_str), text);
    optional(out, answer.stale_reason.map(StaleReason::as_str), text);
    boolean(out, answer.coalesced);
    optional(out, answer.cached_at.map(|at| at.0), long);
    optional(out, answer.age_secs, double);
    text(out, &answer.cache_type);
    text(out, &answer.cache_key);
    optional(out, answer.stamp.map(|stamp| stamp.0), long);
    optional(out, answer.view.map(|view| view.0), long);
    texts(out, &answer.tags);
    optional(out, answer.model.as_deref(), text);
    optional(out, answer.prompt_tokens, count);
    optional(out, answer.completion_tokens, count);
    optional(out, answer.cost_usd, double);
    optional(out, answer.saved_usd, double);
    boolean(out, answer.simulated);
    optional(out, answer.error.as_ref(), answer_error);
    long(out, answer.answered_at.0);
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
        optional(out, self.instance.as_deref(), text);
        map(out, &self.labels);
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

/// Writes a map as one block and the empty block that ends it.
fn map(out: &mut Vec<u8>, of: &BTreeMap<String, String>) {
    if !of.is_empty() {
        count(out, of.len() as u64);
        for (name, value) in of {
            text(out, name);
            text(out, value);
        }
    }
    long(out, 0);
}

/// Writes a zigzag variable-length integer.
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

/// Writes an unsigned count as a long; a count that does not fit becomes the largest long.
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

/// Writes a union with null first.
fn optional<T>(out: &mut Vec<u8>, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(2);
            write(out, value);
        }
    }
}
