//! The observer that publishes: it sends the records of metrics and alerts to their topics.

use std::cell::RefCell;

use super::outputs::Outputs;
use crate::alerts;
use crate::kafka::OutRecord;
use crate::model::{CacheMetric, TraceParent};
use crate::observe::{Alerted, Answered, Called, Filled, Invalidated, Observer};

/// Sends the records of events. It drops a record if the producer's queue is full: the thread on
/// which an event happens waits for nothing.
pub struct Publisher {
    outputs: Outputs,
}

thread_local! {
    /// The value of a metric record; reused, so that a record allocates nothing.
    static VALUE: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(512));
}

impl Publisher {
    pub fn new(outputs: Outputs) -> Self {
        Self { outputs }
    }

    fn metric(&self, metric: &CacheMetric<'_>, trace: TraceParent) {
        let Outputs {
            topics,
            encoder,
            metrics,
            ..
        } = &self.outputs;
        VALUE.with_borrow_mut(|value| {
            encoder.encode_metric(metric, value);
            let key = Some(metric.cache_type.as_bytes());
            metrics.offer(&OutRecord {
                trace: Some(trace.child()),
                ..OutRecord::to(&topics.metrics, key, Some(value))
            });
        });
    }
}

impl Observer for Publisher {
    fn answered(&self, event: &Answered<'_>) {
        let id = event.metric_id();
        self.metric(&event.metric(&id), event.asked.trace);
    }

    fn called(&self, event: &Called<'_>) {
        let id = event.metric_id();
        self.metric(&event.metric(&id), event.asked.trace);
    }

    fn filled(&self, event: &Filled<'_>) {
        let id = event.metric_id();
        self.metric(&event.metric(&id), event.asked.trace);
    }

    fn invalidated(&self, event: &Invalidated<'_>) {
        let id = event.metric_id();
        self.metric(&event.metric(&id), event.trace);
    }

    fn alerted(&self, event: &Alerted<'_>) {
        let key = alerts::record_key(event.alert);
        let mut value = Vec::new();
        self.outputs.encoder.encode_alert(event.alert, &mut value);
        self.outputs.single.offer(&OutRecord {
            trace: Some(event.trace),
            ..OutRecord::to(
                &self.outputs.topics.alerts,
                Some(key.as_bytes()),
                Some(&value),
            )
        });
    }
}
