//! The records of the metric topic that stand for events. Their ids are derived from the event, so
//! that a repeated record is recognisable.

use std::borrow::Cow;

use wedcache_model::record::RecordId;
use wedcache_model::{CacheMetric, Operation, Tag, Timestamp};

use super::event::{Answered, Asked, Called, Filled, Invalidated};

impl Answered<'_> {
    /// Returns the id of [`Answered::metric`].
    pub fn metric_id(&self) -> RecordId {
        self.asked.derive("outcome")
    }

    /// Returns the event's metric record, which borrows the id.
    pub fn metric<'a>(&'a self, id: &'a RecordId) -> CacheMetric<'a> {
        CacheMetric {
            coalesced: self.answer.coalesced,
            layer: self.answer.layer,
            response_time_ms: Some(self.took.as_secs_f64() * 1000.0),
            size_bytes: Some(self.data.map_or(0, |data| data.len() as u64)),
            cost_usd: self.answer.cost_usd,
            saved_usd: self.answer.saved_usd,
            ..self
                .asked
                .metric(id, self.operation, self.answer.answered_at)
        }
    }
}

impl Called<'_> {
    /// Returns the id of [`Called::metric`]. The flight's begin is part of it: a call that is made
    /// again after a crash was paid again.
    pub fn metric_id(&self) -> RecordId {
        let (called_at, number) = self.flight;
        self.asked.derive(&format!("call:{called_at}:{number}"))
    }

    /// Returns the event's metric record, which borrows the id.
    pub fn metric<'a>(&'a self, id: &'a RecordId) -> CacheMetric<'a> {
        CacheMetric {
            response_time_ms: Some(self.took.as_secs_f64() * 1000.0),
            cost_usd: self.cost_usd,
            ..self.asked.metric(id, Operation::Call, self.at)
        }
    }
}

impl Filled<'_> {
    /// Returns the id of [`Filled::metric`].
    pub fn metric_id(&self) -> RecordId {
        let called_at = self.entry.header.called_at;
        self.asked.derive(&format!("fill:{called_at}"))
    }

    /// Returns the event's metric record, which borrows the id.
    pub fn metric<'a>(&'a self, id: &'a RecordId) -> CacheMetric<'a> {
        CacheMetric {
            size_bytes: u64::try_from(self.entry.data.len()).ok(),
            ..self.asked.metric(id, Operation::Fill, self.at)
        }
    }
}

impl Invalidated<'_> {
    /// Returns the id of [`Invalidated::metric`].
    pub fn metric_id(&self) -> RecordId {
        let (record, cause) = (self.record, &self.record.cause);
        let place = format!("{}[{}]@{}", cause.topic, cause.partition, cause.offset);
        let what = format!("{}/{}:{}", record.part, record.parts, record.record_key());
        RecordId::derive(&place, &what)
    }

    /// Returns the event's metric record, which borrows the id.
    pub fn metric<'a>(&'a self, id: &'a RecordId) -> CacheMetric<'a> {
        let cache_type = Tag::from_text(&self.record.tag).cache_type().to_owned();
        CacheMetric {
            metric_id: Cow::Borrowed(id.as_str()),
            answer_id: None,
            operation: Operation::Invalidation,
            coalesced: false,
            cache_type: Cow::Owned(cache_type),
            layer: None,
            location: None,
            season: None,
            budget: None,
            response_time_ms: None,
            size_bytes: None,
            cost_usd: None,
            saved_usd: None,
            at: self.record.at,
        }
    }
}

impl Asked<'_> {
    fn derive(&self, what: &str) -> RecordId {
        RecordId::derive(self.answer_id.as_str(), what)
    }

    fn metric<'a>(
        &'a self,
        id: &'a RecordId,
        operation: Operation,
        at: Timestamp,
    ) -> CacheMetric<'a> {
        CacheMetric {
            metric_id: Cow::Borrowed(id.as_str()),
            answer_id: Some(Cow::Borrowed(self.answer_id.as_str())),
            operation,
            coalesced: false,
            cache_type: Cow::Borrowed(self.cache_type),
            layer: None,
            location: Some(Cow::Borrowed(self.location)),
            season: Some(Cow::Borrowed(self.season)),
            budget: Some(Cow::Borrowed(self.budget)),
            response_time_ms: None,
            size_bytes: None,
            cost_usd: None,
            saved_usd: None,
            at,
        }
    }
}
