//! Decides when a trouble that lasts is worth a log line: once when it begins, once a minute while
//! it lasts, once when it is over.
//!
//! A component that cannot work fails at every call, and a line for each would bury the log.
//! [`Troubles`] counts failures by reason and returns a [`Notice`] whenever a line is due. It is
//! pure: times are passed in and nothing is logged. Most components use `Reporter`, which counts,
//! logs the lines, and returns the current trouble.

#[cfg(any(test, feature = "testing"))]
pub mod captured;
pub mod report;
mod throttle;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub use report::Trouble;
pub use throttle::Throttle;

/// The pace of the log lines about a trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The least time between two lines of one trouble; its end may follow its beginning sooner.
    pub every: Duration,
    /// The time without a failure after which a trouble counts as over.
    pub quiet: Duration,
}

impl Default for Pace {
    /// Returns one line a minute, and an end after 5 s without a failure.
    fn default() -> Self {
        Self {
            every: Duration::from_mins(1),
            quiet: Duration::from_secs(5),
        }
    }
}

/// A log line that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The first failure.
    Begins,
    /// The trouble has lasted for `lasted` so far, with `failures` since the last line.
    Lasts { failures: u64, lasted: Duration },
    /// The trouble is over: it lasted for `lasted`, with `failures` in all.
    Over { failures: u64, lasted: Duration },
}

/// The troubles of one component by reason. `R` is a small closed set, which bounds their number.
#[derive(Debug)]
pub struct Troubles<R> {
    pace: Pace,
    of: BTreeMap<R, Course>,
}

/// The course of the trouble of one reason.
#[derive(Debug)]
struct Course {
    /// The time at which the last line was due.
    told: Instant,
    /// The open trouble; `None` while the reason causes none.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    failed: Instant,
    /// The time of the first success after the last failure.
    worked: Option<Instant>,
    failures: u64,
    /// The number of those failures since the last line.
    untold: u64,
    /// False for a trouble that came back within `every` of its last line: it begins without a
    /// line.
    announced: bool,
}

impl<R: Clone + Ord> Troubles<R> {
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            of: BTreeMap::new(),
        }
    }

    /// Counts a failure; returns a line if one is due.
    pub fn failed(&mut self, reason: R, now: Instant) -> Option<Notice> {
        let Some(course) = self.of.get_mut(&reason) else {
            let open = Some(Open::new(now, true));
            self.of.insert(reason, Course { told: now, open });
            return Some(Notice::Begins);
        };
        let due = now.saturating_duration_since(course.told) >= self.pace.every;
        let Some(open) = &mut course.open else {
            course.open = Some(Open::new(now, due));
            course.told = if due { now } else { course.told };
            return due.then_some(Notice::Begins);
        };
        open.failed = now;
        open.worked = None;
        open.failures += 1;
        open.untold += 1;
        course.lasts(self.pace, now)
    }

    /// Notes a success, for the reasons that `ended` chooses: those that had prevented such a
    /// success.
    pub fn worked(&mut self, now: Instant, ended: impl Fn(R) -> bool) {
        for (reason, course) in &mut self.of {
            if let Some(open) = &mut course.open
                && ended(reason.clone())
            {
                open.worked.get_or_insert(now);
            }
        }
    }

    /// Ends the troubles that are over and returns all lines that are due. To be called about every
    /// second.
    pub fn settle(&mut self, now: Instant) -> Vec<(R, Notice)> {
        let pace = self.pace;
        let due = |(reason, course): (&R, &mut Course)| {
            let notice = course.ends(pace, now).or_else(|| course.lasts(pace, now))?;
            Some((reason.clone(), notice))
        };
        self.of.iter_mut().filter_map(due).collect()
    }

    /// Returns the reasons that cause trouble now, and the times since which they do.
    pub fn open(&self) -> impl Iterator<Item = (R, Instant)> {
        let open = |(reason, course): (&R, &Course)| {
            let since = course.open.as_ref()?.since;
            Some((reason.clone(), since))
        };
        self.of.iter().filter_map(open)
    }

    /// Returns the reasons whose last failure no success has followed yet.
    pub fn unanswered(&self) -> impl Iterator<Item = R> {
        let unanswered = |(reason, course): (&R, &Course)| {
            let open = course.open.as_ref()?;
            open.worked.is_none().then(|| reason.clone())
        };
        self.of.iter().filter_map(unanswered)
    }
}

impl Course {
    fn lasts(&mut self, pace: Pace, now: Instant) -> Option<Notice> {
        let open = self.open.as_mut()?;
        let due = now.saturating_duration_since(self.told) >= pace.every;
        if !due || open.untold == 0 {
            return None;
        }
        self.told = now;
        let failures = std::mem::take(&mut open.untold);
        let lasted = now.saturating_duration_since(open.since);
        let begins = !std::mem::replace(&mut open.announced, true);
        Some(if begins {
            Notice::Begins
        } else {
            Notice::Lasts { failures, lasted }
        })
    }

    fn ends(&mut self, pace: Pace, now: Instant) -> Option<Notice> {
        let over = |open: &mut Open| {
            let quiet = now.saturating_duration_since(open.failed) >= pace.quiet;
            quiet && open.worked.is_some()
        };
        let open = self.open.take_if(over)?;
        if !open.announced {
            return None;
        }
        self.told = now;
        let worked = open.worked.unwrap_or(now);
        Some(Notice::Over {
            failures: open.failures,
            lasted: worked.saturating_duration_since(open.since),
        })
    }
}

impl Open {
    fn new(now: Instant, announced: bool) -> Self {
        Self {
            since: now,
            failed: now,
            worked: None,
            failures: 1,
            untold: u64::from(!announced),
            announced,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An event in a test; each comes with its second.
    enum Event {
        Fails,
        Works,
        Passes,
    }
    use Event::{Fails, Passes, Works};

    /// Plays the events and returns the lines with their seconds.
    fn lines(events: impl IntoIterator<Item = (u64, Event)>) -> Vec<(u64, Notice)> {
        let (start, mut troubles) = (Instant::now(), Troubles::new(Pace::default()));
        let mut told = Vec::new();
        for (second, event) in events {
            let now = start + Duration::from_secs(second);
            match event {
                Fails => told.extend(troubles.failed('a', now).map(|notice| (second, notice))),
                Works => troubles.worked(now, |_| true),
                Passes => {}
            }
            let settled = troubles.settle(now).into_iter();
            told.extend(settled.map(|(_, notice)| (second, notice)));
        }
        told
    }

    fn lasts(failures: u64, secs: u64) -> Notice {
        let lasted = Duration::from_secs(secs);
        Notice::Lasts { failures, lasted }
    }

    fn over(failures: u64, secs: u64) -> Notice {
        let lasted = Duration::from_secs(secs);
        Notice::Over { failures, lasted }
    }

    #[track_caller]
    fn check(events: Vec<(u64, Event)>, wanted: &[(u64, Notice)]) {
        assert_eq!(lines(events), wanted);
    }

    #[test]
    fn it_begins_lasts_and_is_over() {
        let mut events: Vec<_> = (0..130).map(|second| (second, Fails)).collect();
        events.extend([(130, Works), (131, Passes), (134, Passes), (200, Passes)]);
        let told = [
            (0, Notice::Begins),
            (60, lasts(60, 60)),
            (120, lasts(60, 120)),
            (134, over(130, 130)),
        ];
        check(events, &told);
    }

    #[test]
    fn without_a_success_nothing_is_over_and_without_failures_nothing_is_told() {
        check(vec![(0, Fails), (600, Passes)], &[(0, Notice::Begins)]);
    }

    #[test]
    fn a_single_failure_is_over_when_it_has_been_quiet() {
        let events = vec![(0, Fails), (1, Works), (4, Passes), (5, Passes)];
        check(events, &[(0, Notice::Begins), (5, over(1, 1))]);
    }

    #[test]
    fn a_success_between_failures_ends_nothing() {
        let events = (0..60).map(|second| (second, if second % 2 == 0 { Fails } else { Works }));
        check(events.collect(), &[(0, Notice::Begins)]);
    }

    #[test]
    fn failures_that_stopped_are_told_when_the_minute_has_passed() {
        let events = vec![(0, Fails), (30, Fails), (60, Passes)];
        check(events, &[(0, Notice::Begins), (60, lasts(1, 60))]);
    }

    #[test]
    fn one_that_comes_back_at_once_begins_silently() {
        let over_at_5 = || vec![(0, Fails), (1, Works), (5, Passes)];
        let told = [(0, Notice::Begins), (5, over(1, 1))];
        let mut events = over_at_5();
        events.extend([(10, Fails), (11, Works), (20, Passes), (300, Passes)]);
        check(events, &told);
        // If the trouble lasts, a line is due one minute after the last one.
        let mut events = over_at_5();
        events.extend((10..70).map(|second| (second, Fails)));
        check(events, &[told[0], told[1], (65, Notice::Begins)]);
        // If the trouble comes back later than that, a line is due at once.
        let mut events = over_at_5();
        events.push((65, Fails));
        check(events, &[told[0], told[1], (65, Notice::Begins)]);
    }

    #[test]
    fn reasons_go_their_own_ways() {
        let (now, mut troubles) = (Instant::now(), Troubles::new(Pace::default()));
        assert_eq!(troubles.failed('a', now), Some(Notice::Begins));
        let later = now + Duration::from_secs(1);
        assert_eq!(troubles.failed('b', later), Some(Notice::Begins));
        assert_eq!(
            troubles.open().collect::<Vec<_>>(),
            [('a', now), ('b', later)]
        );
        troubles.worked(later, |reason| reason == 'a');
        assert_eq!(troubles.unanswered().collect::<Vec<_>>(), ['b']);
        let settled = troubles.settle(later + Duration::from_secs(5));
        assert_eq!(settled, [('a', over(1, 1))]);
        assert_eq!(troubles.open().count(), 1);
    }

    proptest! {
        /// Whatever happens, a beginning comes first, then at most one line a minute besides the
        /// ends, and an end comes only after a beginning.
        #[test]
        fn lines_stay_rare_and_in_order(events in prop::collection::vec((0..20_u64, 0..3_u8), 0..300)) {
            let mut second = 0;
            let events = events.into_iter().map(|(pause, what)| {
                second += pause;
                (second, [Fails, Works, Passes].into_iter().nth(what.into()).unwrap())
            });
            let mut running = false;
            let mut last = None;
            for (second, notice) in lines(events) {
                match notice {
                    Notice::Begins => prop_assert!(!running),
                    Notice::Lasts { .. } | Notice::Over { .. } => prop_assert!(running),
                }
                running = !matches!(notice, Notice::Over { .. });
                if running {
                    prop_assert!(last.is_none_or(|last| second >= last + 60));
                }
                last = Some(second);
            }
        }
    }
}
