//! The alerts of this instance: raises and clears them, and tells observers of each change.

use parking_lot::{Mutex, MutexGuard};
use std::time::Duration;

use wedcache_model::TraceParent;
use wedcache_model::clock::Clock;
use wedcache_model::invalidation::CacheAlert;

use crate::alerts::{Alert, AlertBoard};
use crate::observe::{Alerted, Observer as _, Observers};

/// The time without its event after which an alert resolves that nothing clears.
const QUIET: Duration = Duration::from_mins(10);

/// Raises and clears alerts. Whoever raises or clears one writes the log line.
pub struct Alerting {
    board: Mutex<AlertBoard>,
    observer: Observers,
    clock: Clock,
}

impl Alerting {
    /// Creates it; `instance` is the name in the alerts.
    pub fn new(observer: Observers, clock: Clock, instance: Option<String>) -> Self {
        Self {
            board: Mutex::new(AlertBoard::new(instance)),
            observer,
            clock,
        }
    }

    /// Raises an alert until it is cleared.
    pub fn raise(&self, alert: Alert) {
        let record = self.board().raise(alert, self.clock.now());
        self.publish(record, TraceParent::fresh());
    }

    /// Raises an alert because of an event; `trace` is the event's.
    pub fn event(&self, alert: Alert, trace: TraceParent) {
        let record = self.board().event(alert, self.clock.now(), QUIET);
        self.publish(record, trace.child());
    }

    pub fn clear(&self, key: &str, summary: &str) {
        let record = self.board().clear(key, summary, self.clock.now());
        self.publish(record, TraceParent::fresh());
    }

    /// Raises the alerts of one name that hold, and clears its others.
    pub fn set(&self, name: &str, alerts: Vec<Alert>) {
        let holding: Vec<String> = alerts.iter().map(Alert::key).collect();
        for alert in alerts {
            self.raise(alert);
        }
        let cleared = self.board().clear_others(name, &holding, self.clock.now());
        self.publish(cleared, TraceParent::fresh());
    }

    /// Resolves the alerts whose events have stopped coming. To be called about once a second.
    pub fn settle(&self) {
        let over = self.board().settle(self.clock.now());
        self.publish(over, TraceParent::fresh());
    }

    fn publish(&self, records: impl IntoIterator<Item = CacheAlert>, trace: TraceParent) {
        for record in records {
            let alert = &record;
            self.observer.alerted(&Alerted { alert, trace });
        }
    }

    fn board(&self) -> MutexGuard<'_, AlertBoard> {
        self.board.lock()
    }
}
