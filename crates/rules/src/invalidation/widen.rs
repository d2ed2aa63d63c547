//! The replacement for a change that cannot be read, or that lacks a value that a rule needs:
//! purges by its record key, and refreshes of whole types for rules that reach beyond the key.
//!
//! The refreshes are limited to one per interval for each type, so that one broken integration
//! cannot empty the cache. A held-back refresh is owed, not dropped: otherwise answers that were
//! fetched between the last refresh and the next unreadable event would outlive that event.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use wedcache_model::invalidation::UNREADABLE_RULE;
use wedcache_model::{Catalog, Cause, Mode, Tag, Timestamp};

use super::plan::{Planned, PlannedSet};
use super::rule::{ChangeSource, Rule, Rules};

/// The invalidations for an unreadable event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Widened {
    /// Purges by the record key, for every cache type; empty without a usable key.
    pub by_key: Vec<Planned>,
    /// Whole types to be refreshed, through [`WidenLimiter`].
    pub refresh_types: Vec<Planned>,
}

/// Returns the invalidations for an unreadable event of `source`. `record_key` is `None` if the
/// record has no key or one that is not UTF-8; a key of white space only counts as none.
pub fn widen(
    rules: &Rules,
    catalog: &Catalog,
    source: ChangeSource,
    record_key: Option<&str>,
) -> Widened {
    let (mut by_key, mut refresh_types) = (PlannedSet::default(), PlannedSet::default());
    let rule_name: Arc<str> = UNREADABLE_RULE.into();
    let key = record_key.and_then(|key| catalog.ids.canonical(key));
    if let Some(key) = &key {
        for of in catalog.types() {
            by_key.add(by_id(source, &of.name, key), Mode::Purge, &rule_name);
        }
    }
    let of_source = |rule: &&Rule| rule.active && rule.source == source;
    for rule in rules.iter().filter(of_source) {
        if key.is_none() || !rule.scope.is_by_key() {
            refresh(rule, &rule_name, &mut refresh_types);
        }
    }
    Widened {
        by_key: by_key.into_vec(),
        refresh_types: refresh_types.into_vec(),
    }
}

/// Adds the replacement for one rule that fired on an event that lacks a value that its scope
/// needs; `ids` are the vendors or weddings that the event is known to be about, in canonical form.
pub(super) fn rule(
    rule: &Rule,
    ids: &[Cow<'_, str>],
    by_key: &mut PlannedSet,
    refresh_types: &mut PlannedSet,
) {
    let rule_name: Arc<str> = UNREADABLE_RULE.into();
    for of in &rule.cache_types {
        for id in ids {
            by_key.add(by_id(rule.source, of, id), Mode::Purge, &rule_name);
        }
    }
    if ids.is_empty() || !rule.scope.is_by_key() {
        refresh(rule, &rule_name, refresh_types);
    }
}

fn by_id(source: ChangeSource, cache_type: &str, id: &str) -> Tag {
    match source {
        ChangeSource::Vendor => Tag::vendor(cache_type, id),
        ChangeSource::Wedding => Tag::wedding(cache_type, id),
    }
}

fn refresh(rule: &Rule, rule_name: &Arc<str>, refresh_types: &mut PlannedSet) {
    for of in &rule.cache_types {
        refresh_types.add(Tag::global(of), Mode::Refresh, rule_name);
    }
}

/// Limits the refreshes of whole types to one per interval for each type.
///
/// Owed refreshes are in memory only: the caller must leave the offset of an event unfinished while
/// [`WidenLimiter::owes`] one of its refreshes, so that after a crash the event is read again and
/// its types are refreshed at once.
#[derive(Debug)]
pub struct WidenLimiter {
    interval: Duration,
    /// The state by tag; there are at most as many tags as cache types.
    types: BTreeMap<Tag, Limited>,
}

#[derive(Debug)]
struct Limited {
    last: Timestamp,
    owed: Option<HeldBack>,
}

/// A refresh that is held back, and the change that caused it, the last one if there are several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBack {
    pub planned: Planned,
    pub cause: Cause,
}

impl WidenLimiter {
    /// Holds refreshes back for this interval from now on.
    pub fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            types: BTreeMap::new(),
        }
    }

    /// Returns those of `refresh_types` that are to be appended now; the others are owed. `cause`
    /// is the change that caused them.
    pub fn admit(
        &mut self,
        now: Timestamp,
        refresh_types: Vec<Planned>,
        cause: &Cause,
    ) -> Vec<Planned> {
        let interval = self.interval;
        let mut admitted = Vec::new();
        for planned in refresh_types {
            match self.types.get_mut(&planned.tag) {
                Some(limited) if !limited.is_over(now, interval) => {
                    limited.owed = Some(HeldBack {
                        planned,
                        cause: cause.clone(),
                    });
                }
                _ => {
                    let tag = planned.tag.clone();
                    let owed = None;
                    self.types.insert(tag, Limited { last: now, owed });
                    admitted.push(planned);
                }
            }
        }
        admitted
    }

    /// Takes the owed refreshes that may be appended now.
    pub fn due(&mut self, now: Timestamp) -> Vec<HeldBack> {
        let interval = self.interval;
        self.take(now, |limited| limited.is_over(now, interval))
    }

    /// Takes all owed refreshes.
    pub fn owed(&mut self, now: Timestamp) -> Vec<HeldBack> {
        self.take(now, |_| true)
    }

    fn take(&mut self, now: Timestamp, which: impl Fn(&Limited) -> bool) -> Vec<HeldBack> {
        self.types
            .values_mut()
            .filter(|limited| which(limited))
            .filter_map(|limited| {
                let owed = limited.owed.take()?;
                limited.last = now;
                Some(owed)
            })
            .collect()
    }

    /// Returns the next time at which [`WidenLimiter::due`] returns something.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.types
            .values()
            .filter(|limited| limited.owed.is_some())
            .map(|limited| limited.last.plus(self.interval))
            .min()
    }

    /// Returns true if the refresh of this tag is held back.
    pub fn is_owed(&self, tag: &Tag) -> bool {
        let limited = self.types.get(tag);
        limited.is_some_and(|limited| limited.owed.is_some())
    }

    /// Returns true if any of these refreshes is held back.
    pub fn owes(&self, refresh_types: &[Planned]) -> bool {
        refresh_types.iter().any(|planned| {
            self.types
                .get(&planned.tag)
                .is_some_and(|limited| limited.owed.is_some())
        })
    }
}

impl Limited {
    /// Returns true if the interval is over. If the clock was set back it counts as over, so that
    /// nothing is held back.
    fn is_over(&self, now: Timestamp, interval: Duration) -> bool {
        now < self.last || now.since(self.last) >= interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_mins(1);

    fn refreshes(types: &[&str]) -> Vec<Planned> {
        types
            .iter()
            .map(|of| Planned {
                tag: Tag::global(of),
                mode: Mode::Refresh,
                rule: UNREADABLE_RULE.into(),
            })
            .collect()
    }

    fn cause(offset: i64) -> Cause {
        Cause {
            topic: "changes".into(),
            partition: 0,
            offset,
            event_id: None,
        }
    }

    fn held(planned: Vec<Planned>) -> Vec<HeldBack> {
        let held = |planned| HeldBack {
            planned,
            cause: cause(1),
        };
        planned.into_iter().map(held).collect()
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp(1_790_000_000_000 + secs * 1000)
    }

    #[test]
    fn a_type_is_refreshed_once_in_an_interval_and_what_is_held_back_is_owed() {
        let mut limiter = WidenLimiter::new(INTERVAL);
        let (a, ab) = (refreshes(&["a"]), refreshes(&["a", "b"]));
        assert_eq!(limiter.admit(at(0), a.clone(), &cause(1)), a);
        assert!(!limiter.owes(&a) && limiter.next_due().is_none());
        assert_eq!(
            limiter.admit(at(10), ab.clone(), &cause(1)),
            refreshes(&["b"])
        );
        assert_eq!(limiter.admit(at(20), ab.clone(), &cause(1)), []);
        assert!(limiter.owes(&a) && limiter.owes(&ab));
        assert_eq!(limiter.next_due(), Some(at(60)));
        assert_eq!(limiter.due(at(59)), []);
        assert_eq!(limiter.due(at(60)), held(a.clone()));
        assert!(!limiter.owes(&a) && limiter.owes(&ab));
        assert_eq!(limiter.due(at(70)), held(refreshes(&["b"]).clone()));
        assert_eq!(limiter.due(at(500)), []);
        assert_eq!(
            limiter.admit(at(119), a.clone(), &cause(1)),
            [],
            "counts from the owed one"
        );
        assert_eq!(limiter.due(at(120)), held(a.clone()));
    }

    #[test]
    fn a_refresh_that_is_held_back_names_the_last_change_that_asked_for_it() {
        let mut limiter = WidenLimiter::new(INTERVAL);
        let a = refreshes(&["a"]);
        for offset in 1..=3 {
            limiter.admit(at(offset), a.clone(), &cause(offset));
        }
        let owed = limiter.owed(at(4));
        assert_eq!((owed.len(), &owed[0].cause), (1, &cause(3)));
        assert!(limiter.owed(at(5)).is_empty() && limiter.next_due().is_none());
    }

    #[test]
    fn an_admitted_refresh_settles_what_was_owed() {
        let mut limiter = WidenLimiter::new(INTERVAL);
        let a = refreshes(&["a"]);
        limiter.admit(at(0), a.clone(), &cause(1));
        limiter.admit(at(1), a.clone(), &cause(1));
        assert_eq!(limiter.admit(at(61), a.clone(), &cause(1)), a);
        assert!(!limiter.owes(&a));
        assert_eq!(limiter.due(at(200)), []);
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nothing_back() {
        let mut limiter = WidenLimiter::new(INTERVAL);
        let a = refreshes(&["a"]);
        limiter.admit(at(0), a.clone(), &cause(1));
        assert_eq!(limiter.admit(at(-3600), a.clone(), &cause(1)), a);
    }
}
