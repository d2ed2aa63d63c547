//! Reports providers that do not answer: in the log and as alerts on the alerts' topic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::ai::Providers;
use crate::ai::{AlertChange, Level, Notice};
use crate::alerts::Alert;
use crate::health::{Component, Health};
use crate::model::invalidation::Severity;
use crate::stages::alerting::Alerting;

/// The interval of looks, and so the longest delay of a trouble's first line.
const EVERY: Duration = Duration::from_millis(500);

pub struct TroubleWatch {
    providers: Providers,
    alerting: Arc<Alerting>,
    health: Arc<Health>,
    /// The texts of the alerts that fire, by provider and alert.
    open: BTreeMap<(Arc<str>, &'static str), String>,
}

impl TroubleWatch {
    pub(super) fn new(providers: &Providers, shared: &Shared, health: &Arc<Health>) -> Self {
        health.ok(Component::Provider);
        Self {
            providers: providers.clone(),
            alerting: Arc::clone(&shared.alerting),
            health: Arc::clone(health),
            open: BTreeMap::new(),
        }
    }

    /// Looks every 500 ms until `stop`, and once more then, so that the last failures are not lost.
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
                self.keep(&name, &notice);
            }
        }
    }

    /// Updates the provider's state in `/readyz`: at worst degraded, since hits are answered all
    /// the same.
    fn keep(&mut self, provider: &Arc<str>, notice: &Notice) {
        let Some(change) = &notice.alert else { return };
        let of = (Arc::clone(provider), change.alert);
        if change.firing {
            self.open.insert(of, notice.text.clone());
        } else {
            self.open.remove(&of);
        }
        if self.open.is_empty() {
            return self.health.ok(Component::Provider);
        }
        let texts: Vec<&str> = self.open.values().map(String::as_str).collect();
        let why = texts.join("; ");
        self.health.degraded(Component::Provider, None, &why);
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

    /// Raises or clears the alert of a notice, whose log line is written already.
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
