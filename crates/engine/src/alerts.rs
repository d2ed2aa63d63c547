//! Alerts of this instance: which fire, since when, and when their records are due. Pure.
//!
//! A component raises an alert for as long as its trouble lasts and clears it afterwards. Where
//! nothing marks the end of a trouble, it raises the alert with every event: such an alert resolves
//! when no event has come for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use wedcache_model::Timestamp;
use wedcache_model::invalidation::{AlertState, CacheAlert, Severity};

/// An alert as it is raised.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// The name, one of the contract's.
    pub name: &'static str,
    /// The label that distinguishes alerts of one name, such as a provider or a partition.
    pub label: Option<String>,
    pub severity: Severity,
    /// The trouble and the remedy, for people.
    pub summary: String,
    pub value: Option<f64>,
    pub labels: BTreeMap<String, String>,
}

impl Alert {
    pub fn new(name: &'static str, severity: Severity, summary: String) -> Self {
        Self {
            name,
            label: None,
            severity,
            summary,
            value: None,
            labels: BTreeMap::new(),
        }
    }

    /// Sets the label that distinguishes the alert from others of its name.
    pub fn of(mut self, kind: &str, label: &str) -> Self {
        self.label = Some(label.to_owned());
        self.labels.insert(kind.to_owned(), label.to_owned());
        self
    }

    /// Returns the key by which this instance distinguishes its alerts: the name and the label.
    pub fn key(&self) -> String {
        match &self.label {
            Some(label) => format!("{}/{label}", self.name),
            None => self.name.to_owned(),
        }
    }
}

/// The alerts that fire.
#[derive(Debug, Default)]
pub struct AlertBoard {
    instance: Option<String>,
    /// The alerts by key; their number is bounded by the names and labels, which are closed sets.
    firing: BTreeMap<String, Firing>,
}

#[derive(Debug)]
struct Firing {
    alert: Alert,
    since: Timestamp,
    /// The time at which the alert resolves by itself; `None` where it has to be cleared.
    until: Option<Timestamp>,
}

impl AlertBoard {
    pub fn new(instance: Option<String>) -> Self {
        Self {
            instance,
            firing: BTreeMap::new(),
        }
    }

    /// Raises an alert until it is cleared. Returns its record if it did not fire already.
    pub fn raise(&mut self, alert: Alert, now: Timestamp) -> Option<CacheAlert> {
        self.fire(alert, now, None)
    }

    /// Raises an alert because of an event; the alert resolves when no other event comes for
    /// `quiet`.
    pub fn event(&mut self, alert: Alert, now: Timestamp, quiet: Duration) -> Option<CacheAlert> {
        self.fire(alert, now, Some(now.plus(quiet)))
    }

    /// Clears an alert. Returns its record if it fired.
    pub fn clear(&mut self, key: &str, summary: &str, now: Timestamp) -> Option<CacheAlert> {
        let firing = self.firing.remove(key)?;
        Some(self.record(&firing.alert, AlertState::Resolved, summary, now))
    }

    /// Clears all alerts of the name whose keys are not in `holding`.
    pub fn clear_others(
        &mut self,
        name: &str,
        holding: &[String],
        now: Timestamp,
    ) -> Vec<CacheAlert> {
        let of_name = |(key, firing): (&String, &Firing)| {
            (firing.alert.name == name && !holding.contains(key)).then(|| key.clone())
        };
        let gone: Vec<_> = self.firing.iter().filter_map(of_name).collect();
        gone.iter()
            .filter_map(|key| self.clear(key, "over", now))
            .collect()
    }

    /// Resolves the alerts of events that have stopped coming.
    pub fn settle(&mut self, now: Timestamp) -> Vec<CacheAlert> {
        let quiet = |(key, firing): (&String, &Firing)| {
            firing
                .until
                .is_some_and(|until| until <= now)
                .then(|| key.clone())
        };
        let over: Vec<_> = self.firing.iter().filter_map(quiet).collect();
        over.iter()
            .filter_map(|key| self.clear(key, "has not come again", now))
            .collect()
    }

    /// Returns the keys of the alerts that fire, and the times since which they do.
    pub fn firing(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.firing
            .iter()
            .map(|(key, firing)| (key.as_str(), firing.since))
    }

    fn fire(
        &mut self,
        alert: Alert,
        now: Timestamp,
        until: Option<Timestamp>,
    ) -> Option<CacheAlert> {
        let key = alert.key();
        if let Some(firing) = self.firing.get_mut(&key) {
            firing.until = until;
            return None;
        }
        let record = self.record(&alert, AlertState::Firing, &alert.summary, now);
        let firing = Firing {
            alert,
            since: now,
            until,
        };
        self.firing.insert(key, firing);
        Some(record)
    }

    fn record(&self, of: &Alert, state: AlertState, summary: &str, now: Timestamp) -> CacheAlert {
        CacheAlert {
            alert: of.name.to_owned(),
            state,
            severity: of.severity,
            summary: summary.to_owned(),
            value: of.value,
            threshold: None,
            since: now,
            instance: self.instance.clone(),
            labels: of.labels.clone(),
        }
    }
}

/// Returns the key of a record of the alerts' topic, which all records of one alert share. The
/// instance is part of the key: what one instance resolves may still fire at another.
pub fn record_key(alert: &CacheAlert) -> String {
    let parts = alert.labels.values().chain(&alert.instance);
    let parts = std::iter::once(&alert.alert).chain(parts);
    parts.cloned().collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp(1_790_000_000_000 + secs * 1000)
    }

    fn away(provider: &str) -> Alert {
        Alert::new("provider_away", Severity::Ticket, "no answer".to_owned())
            .of("provider", provider)
    }

    #[test]
    fn an_alert_fires_once_and_resolves_once() {
        let mut board = AlertBoard::new(Some("wedcache-0".to_owned()));
        let fired = board.raise(away("main"), at(0)).unwrap();
        assert_eq!((fired.state, fired.since), (AlertState::Firing, at(0)));
        assert_eq!(fired.instance.as_deref(), Some("wedcache-0"));
        assert_eq!(record_key(&fired), "provider_away/main/wedcache-0");
        assert_eq!(board.raise(away("main"), at(5)), None);
        assert!(board.raise(away("other"), at(5)).is_some());
        assert_eq!(board.firing().count(), 2);
        let key = away("main").key();
        let resolved = board.clear(&key, "answers again", at(9)).unwrap();
        assert_eq!(
            (resolved.state, resolved.since),
            (AlertState::Resolved, at(9))
        );
        assert_eq!(record_key(&resolved), record_key(&fired));
        assert_eq!(board.clear(&key, "answers again", at(10)), None);
    }

    #[test]
    fn the_alert_of_an_event_resolves_when_none_comes() {
        let mut board = AlertBoard::default();
        let quiet = Duration::from_mins(10);
        let alert = || Alert::new("change_unreadable", Severity::Ticket, "what".to_owned());
        assert!(board.event(alert(), at(0), quiet).is_some());
        assert!(board.event(alert(), at(300), quiet).is_none());
        assert!(board.settle(at(899)).is_empty());
        let over = board.settle(at(900));
        assert_eq!((over.len(), over[0].state), (1, AlertState::Resolved));
        assert!(board.event(alert(), at(901), quiet).is_some());
    }

    #[test]
    fn what_does_not_hold_any_more_is_cleared_by_name() {
        let mut board = AlertBoard::default();
        board.raise(away("a"), at(0));
        board.raise(away("b"), at(0));
        let holding = [away("b").key()];
        let cleared = board.clear_others("provider_away", &holding, at(1));
        assert_eq!(cleared.len(), 1);
        assert_eq!(record_key(&cleared[0]), "provider_away/a");
        assert!(board.clear_others("partition_stuck", &[], at(1)).is_empty());
    }
}
