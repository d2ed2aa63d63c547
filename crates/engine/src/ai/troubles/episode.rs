//! One trouble from its first failure to its end, and the times of its messages.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::Instant;

use super::reason::Reason;

/// Time between two lines about the same reason, and between two summaries.
const EVERY: Duration = Duration::from_mins(1);
/// Time without failures after which a trouble ends during which some calls succeeded.
const CALM: Duration = Duration::from_secs(10);

/// A due message about an episode.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Its first line.
    Began {
        text: String,
        since: Duration,
        failures: u64,
    },
    /// A reason that has not been reported recently.
    Changed { text: String },
    /// Counts by reason since the last summary, and the text of the last failure.
    Lasts { counts: String, last: String },
    Over {
        since: Duration,
        counts: String,
        failures: u64,
    },
}

/// A trouble that may be in progress. If no call succeeded during it, it is over with the first
/// success; otherwise once it is calm, so that one failing call in ten is one trouble, not ten.
#[derive(Debug, Default)]
pub(super) struct Episode {
    now: Option<UnderWay>,
    /// The time of the last report of each reason, in this episode or an earlier one.
    told: BTreeMap<Reason, Instant>,
    /// The end of the last episode.
    over: Option<Instant>,
}

#[derive(Debug)]
struct UnderWay {
    began: Instant,
    failed: Instant,
    /// The text of the last failure.
    last: String,
    /// The unreported failures by reason: their number, and the text of the last one.
    lately: BTreeMap<Reason, (u64, String)>,
    all: BTreeMap<Reason, u64>,
    /// True if a call has succeeded since the last failure.
    succeeded: bool,
    calm: Duration,
    /// The time of the next summary; `None` before the first line.
    summary: Option<Instant>,
}

impl UnderWay {
    fn new(now: Instant, calm: Duration) -> Self {
        Self {
            began: now,
            failed: now,
            last: String::new(),
            lately: BTreeMap::new(),
            all: BTreeMap::new(),
            succeeded: false,
            calm,
            summary: None,
        }
    }

    fn count(&mut self, reason: &Reason, text: &str) {
        *self.all.entry(reason.clone()).or_default() += 1;
        let (count, last) = self.lately.entry(reason.clone()).or_default();
        *count += 1;
        text.clone_into(last);
    }

    fn failures(&self) -> u64 {
        self.all.values().sum()
    }

    fn over(self, now: Instant) -> Told {
        Told::Over {
            since: now - self.began,
            failures: self.failures(),
            counts: counts(self.all),
        }
    }
}

/// Returns counts such as `12 × 401, 3 × out of money`, the most frequent first.
fn counts(of: impl IntoIterator<Item = (Reason, u64)>) -> String {
    let mut of: Vec<_> = of.into_iter().collect();
    of.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut text = String::new();
    for (reason, count) in of {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        write!(text, "{comma}{count} × {reason}").expect("a String takes it");
    }
    text
}

impl Episode {
    pub(super) fn failed(&mut self, reason: &Reason, text: String, now: Instant) {
        // A trouble that returns so soon is intermittent, so it must be calm for longer.
        let recently = self.over.is_some_and(|over| now < over + EVERY);
        let calm = if recently { EVERY } else { Duration::ZERO };
        let on = self.now.get_or_insert_with(|| UnderWay::new(now, calm));
        if on.succeeded {
            on.calm = on.calm.max(CALM);
        }
        on.succeeded = false;
        on.failed = now;
        on.count(reason, &text);
        on.last = text;
    }

    /// Counts a consequence of the trouble in progress, which is not reported as news.
    pub(super) fn also(&mut self, reason: Reason, now: Instant) {
        if let Some(on) = &mut self.now {
            on.count(&reason, "");
            self.told.insert(reason, now);
        }
    }

    pub(super) fn good(&mut self) {
        if let Some(on) = &mut self.now {
            on.succeeded = true;
        }
    }

    /// Returns the messages that are due.
    pub(super) fn told(&mut self, now: Instant) -> Vec<Told> {
        let Some(on) = &mut self.now else {
            return Vec::new();
        };
        if on.succeeded && now >= on.failed + on.calm {
            // A trouble that was never reported needs no end: a retry cured it at once.
            let spoken_of = self.now.take().filter(|on| on.summary.is_some());
            self.over = spoken_of.as_ref().map(|_| now).or(self.over);
            return spoken_of.map(|on| on.over(now)).into_iter().collect();
        }
        if on.summary.is_some_and(|due| now >= due) && !on.lately.is_empty() {
            on.summary = Some(now + EVERY);
            let lately = std::mem::take(&mut on.lately);
            self.told.extend(lately.keys().map(|of| (of.clone(), now)));
            let counts = counts(lately.into_iter().map(|(of, (count, _))| (of, count)));
            let last = on.last.clone();
            return vec![Told::Lasts { counts, last }];
        }
        self.news(now)
    }

    /// Returns the reasons not reported within the last minute, each with its last text.
    fn news(&mut self, now: Instant) -> Vec<Told> {
        let (Some(on), told) = (&mut self.now, &mut self.told) else {
            return Vec::new();
        };
        let is_news = |of: &Reason| told.get(of).is_none_or(|told| now >= *told + EVERY);
        let lately = on.lately.iter();
        let news = lately.filter(|(of, (_, text))| !text.is_empty() && is_news(of));
        let news: Vec<Reason> = news.map(|(of, _)| of.clone()).collect();
        let mut lines = Vec::new();
        for reason in news {
            let Some((_, text)) = on.lately.remove(&reason) else {
                continue;
            };
            told.insert(reason, now);
            lines.push(if on.summary.is_some() {
                Told::Changed { text }
            } else {
                on.summary = Some(now + EVERY);
                Told::Began {
                    text,
                    since: now - on.began,
                    failures: on.failures(),
                }
            });
        }
        lines
    }
}
