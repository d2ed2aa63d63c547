//! Tells of providers that do not answer: in the log and, as alerts, on the alerts' topic.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Providers, Shared};
use crate::ai::{AlertChange, Level, Notice};
use crate::alerts::Alert;
use crate::model::invalidation::Severity;
use crate::pipeline::alerting::Alerting;

/// Between two looks; the first line of a trouble is no later than that.
const EVERY: Duration = Duration::from_millis(500);

pub struct TroubleWatch {
    providers: Providers,
    alerting: Arc<Alerting>,
}

impl TroubleWatch {
    pub(super) fn new(providers: &Providers, shared: &Shared) -> Self {
        Self {
            providers: providers.clone(),
            alerting: Arc::clone(&shared.alerting),
        }
    }

    /// Looks again and again until `stop`, and once more then: the last failures must not be lost.
    pub async fn run(self, stop: CancellationToken) {
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

    fn look(&self) {
        for (name, ai) in &self.providers {
            for notice in ai.notices() {
                self.tell(name, &notice);
            }
        }
    }

    fn tell(&self, provider: &Arc<str>, notice: &Notice) {
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

    /// Raises or clears the alert of a notice. The log has its line already.
    fn publish(&self, provider: &str, change: &AlertChange, summary: &str) {
        #[expect(clippy::cast_precision_loss, reason = "no one counts to 2^53 failures")]
        let failures = change.failures as f64;
        let severity = match change.alert {
            "provider_refuses" => Severity::Page,
            _ => Severity::Ticket,
        };
        let alert = Alert {
            value: Some(failures),
            ..Alert::new(change.alert, severity, summary.to_owned()).of("provider", provider)
        };
        if change.firing {
            self.alerting.raise(alert);
        } else {
            self.alerting.clear(&alert.key(), summary);
        }
    }
}
