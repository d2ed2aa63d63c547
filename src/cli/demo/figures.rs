//! The demo's numbers second by second, and their formats.

use std::collections::VecDeque;
use std::time::Duration;

use crate::demo::{Seen, share};

/// The number of seconds for which the hit rate is kept.
const HISTORY: usize = 240;

/// The numbers of the latest second, beside those of the second before.
#[derive(Debug, Default)]
pub struct Frame {
    pub now: Numbers,
    pub before: Numbers,
    /// The hit rates of the last 240 seconds at most, in per cent.
    pub history: VecDeque<u64>,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Numbers {
    pub answered: u64,
    pub hits: u64,
    pub called: u64,
    pub coalesced: u64,
    pub stale: u64,
    pub failed: u64,
    pub changes: u64,
    pub judged: u64,
    pub wrong: u64,
    pub spent_usd: f64,
    pub saved_usd: f64,
    pub p50: Duration,
    pub p99: Duration,
}

impl Frame {
    /// Takes the numbers of another second.
    pub fn take(&mut self, seen: &Seen) {
        let (tally, changes) = (&seen.tally, &seen.changes);
        self.before = self.now;
        self.now = Numbers {
            answered: tally.answered,
            hits: tally.hits(),
            called: tally.called,
            coalesced: tally.coalesced,
            stale: tally.stale,
            failed: tally.failed,
            changes: changes.changes,
            judged: changes.judged,
            wrong: changes.wrong,
            spent_usd: tally.spent_usd,
            saved_usd: tally.saved_usd,
            p50: tally.percentile(0.5),
            p99: tally.percentile(0.99),
        };
        self.history.push_back(percent(self.rate_now()));
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }

    /// Returns the number of answers in the last second.
    pub fn answers_now(&self) -> u64 {
        self.now.answered - self.before.answered
    }

    /// Returns the hit rate of the last second, from 0 to 1.
    pub fn rate_now(&self) -> f64 {
        share(self.now.hits - self.before.hits, self.answers_now())
    }

    /// Returns the AI calls of the last second as a share of its answers, from 0 to 1.
    pub fn calls_now(&self) -> f64 {
        share(self.now.called - self.before.called, self.answers_now())
    }
}

pub fn usd(amount: f64) -> String {
    if amount < 100.0 {
        format!("${amount:.3}")
    } else {
        format!("${amount:.0}")
    }
}

pub fn time(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1000.0;
    match millis {
        _ if millis < 10.0 => format!("{millis:.1} ms"),
        _ if millis < 1000.0 => format!("{millis:.0} ms"),
        _ => format!("{:.1} s", millis / 1000.0),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share from 0 to 1"
)]
pub fn percent(share: f64) -> u64 {
    (share * 100.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(usd(0.0214), "$0.021");
        assert_eq!(usd(1234.4), "$1234");
        assert_eq!(time(Duration::from_micros(1500)), "1.5 ms");
        assert_eq!(time(Duration::from_millis(2300)), "2.3 s");
        assert_eq!(percent(0.856), 86);
    }
}
