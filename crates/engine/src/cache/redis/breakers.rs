//! Three breakers for one server: for the path to it, for reads and for writes.
//!
//! A refusal of writes does not affect reads: a replica, or a server that is full, still serves its
//! entries. A server that does not answer at all fails both.

use wedcache_model::trouble::report::Purpose;

use super::reason::Reach;
use crate::cache::breaker::{Breaker, BreakerOptions, Pass};
use crate::circuit::CircuitState;

#[derive(Debug)]
pub(super) struct Breakers {
    path: Breaker,
    reads: Breaker,
    writes: Breaker,
}

/// Permission for one call.
#[must_use]
pub(super) struct Leave<'a> {
    path: Pass<'a>,
    kind: Pass<'a>,
}

impl Breakers {
    pub(super) fn new(options: BreakerOptions) -> Self {
        Self {
            path: Breaker::new(options),
            reads: Breaker::new(options),
            writes: Breaker::new(options),
        }
    }

    pub(super) fn admit(&self, purpose: Purpose) -> Option<Leave<'_>> {
        let kind = match purpose {
            Purpose::Write => &self.writes,
            Purpose::Read | Purpose::Open => &self.reads,
        };
        Some(Leave {
            path: self.path.admit()?,
            kind: kind.admit()?,
        })
    }

    /// Lets open breakers probe with the next call: the server may be another one now.
    pub(super) fn probe_now(&self) {
        for breaker in [&self.path, &self.reads, &self.writes] {
            breaker.probe_now();
        }
    }

    pub(super) fn let_reads(&self) -> bool {
        let closed = |breaker: &Breaker| breaker.state() == CircuitState::Closed;
        closed(&self.path) && closed(&self.reads)
    }

    /// Returns the worst state of the three.
    pub(super) fn state(&self) -> CircuitState {
        let states = [&self.path, &self.reads, &self.writes].map(Breaker::state);
        states.into_iter().max().unwrap_or(CircuitState::Closed)
    }
}

impl Leave<'_> {
    pub(super) fn succeeded(self) {
        self.path.succeeded();
        self.kind.succeeded();
    }

    /// Reports a failure. Returns true if it opened a breaker.
    pub(super) fn failed(self, reach: Reach) -> bool {
        match reach {
            Reach::Path => self.path.failed(),
            Reach::Kind => {
                self.path.succeeded();
                self.kind.failed()
            }
            Reach::Call => {
                self.succeeded();
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn breakers() -> Breakers {
        Breakers::new(BreakerOptions {
            failures: 2,
            open_for: Duration::from_secs(1),
        })
    }

    fn fail(breakers: &Breakers, purpose: Purpose, reach: Reach) {
        for _ in 0..2 {
            breakers.admit(purpose).unwrap().failed(reach);
        }
    }

    #[tokio::test]
    async fn refused_writes_stop_no_reads_nor_the_other_way_round() {
        for (refused, other) in [
            (Purpose::Write, Purpose::Read),
            (Purpose::Read, Purpose::Write),
        ] {
            let breakers = breakers();
            fail(&breakers, refused, Reach::Kind);
            assert!(breakers.admit(refused).is_none());
            breakers.admit(other).unwrap().succeeded();
            assert!(breakers.admit(refused).is_none(), "a read proves no write");
            assert_eq!(breakers.let_reads(), refused == Purpose::Write);
            assert_eq!(breakers.state(), CircuitState::Open);
            breakers.probe_now();
            breakers.admit(refused).unwrap().succeeded();
            assert_eq!(breakers.state(), CircuitState::Closed);
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_left_alone_by_all() {
        let breakers = breakers();
        breakers.admit(Purpose::Read).unwrap().failed(Reach::Path);
        assert!(breakers.admit(Purpose::Write).unwrap().failed(Reach::Path));
        assert!(
            breakers.admit(Purpose::Read).is_none() && breakers.admit(Purpose::Write).is_none()
        );
    }

    #[tokio::test]
    async fn a_matter_of_one_call_opens_nothing() {
        let breakers = breakers();
        fail(&breakers, Purpose::Read, Reach::Call);
        assert_eq!(breakers.state(), CircuitState::Closed);
    }
}
