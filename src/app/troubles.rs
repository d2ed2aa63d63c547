//! Tells of providers that do not answer: in the log and, as alerts, on the alerts' topic.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Providers, Shared};
use crate::ai::{AlertChange, Level, Notice};
use crate::clock::Clock;
use crate::kafka::OutRecord;
use crate::model::invalidation::{AlertState, CacheAlert, Severity};
use crate::model::{Timestamp, TraceParent};
use crate::pipeline::outputs::Outputs;

/// Between two looks; the first line of a trouble is no later than that.
const EVERY: Duration = Duration::from_millis(500);

pub struct TroubleWatch {
    providers: Providers,
    outputs: Outputs,
    clock: Clock,
    /// Since when the alerts that fire do so, by their keys.
    firing: HashMap<String, Timestamp>,
}

impl TroubleWatch {
    pub(super) fn new(providers: &Providers, shared: &Shared) -> Self {
        Self {
            providers: providers.clone(),
            outputs: shared.outputs.clone(),
            clock: shared.clock.clone(),
            firing: HashMap::new(),
        }
    }

    /// Looks again and again until `stop`, and once more then: the last failures must not be lost.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            let stopped = tokio::select! {
                () = stop.cancelled() => true,
                _ = ticks.tick() => false,
            };
            self.look();
            if stopped {
                return;
            }
        }
    }

    fn look(&mut self) {
        for (name, ai) in self.providers.clone() {
            for notice in ai.notices() {
                self.tell(&name, &notice);
            }
        }
    }

    fn tell(&mut self, provider: &Arc<str>, notice: &Notice) {
        let Notice { level, text, alert } = notice;
        match level {
            Level::Error => tracing::error!(%provider, "{text}"),
            Level::Warn => tracing::warn!(%provider, "{text}"),
            Level::Info => tracing::info!(%provider, "{text}"),
        }
        if let Some(alert) = alert {
            self.publish(provider, alert, text);
        }
    }

    /// Sends an alert's beginning or end where the producer takes it. The log has its line already.
    fn publish(&mut self, provider: &str, change: &AlertChange, summary: &str) {
        #[expect(clippy::cast_precision_loss, reason = "no one counts to 2^53 failures")]
        let failures = change.failures as f64;
        let key = format!("{}/{provider}", change.alert);
        let began = self.clock.now().minus(change.since);
        let since = if change.firing {
            self.firing.insert(key.clone(), began);
            began
        } else {
            self.firing.remove(&key).unwrap_or(began)
        };
        let alert = CacheAlert {
            alert: change.alert.to_owned(),
            state: if change.firing {
                AlertState::Firing
            } else {
                AlertState::Resolved
            },
            severity: match change.alert {
                "provider_refuses" => Severity::Critical,
                _ => Severity::Warning,
            },
            summary: summary.to_owned(),
            value: Some(failures),
            threshold: None,
            since,
        };
        let mut value = Vec::new();
        self.outputs.encoder.encode_alert(&alert, &mut value);
        let record = OutRecord {
            trace: Some(TraceParent::fresh()),
            ..OutRecord::to(
                &self.outputs.topics.alerts,
                Some(key.as_bytes()),
                Some(&value),
            )
        };
        self.outputs.answers.offer(&record);
    }
}
