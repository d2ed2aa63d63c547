use proptest::prelude::*;

use super::*;

const OPTIONS: BreakerOptions = BreakerOptions {
    window: Duration::from_secs(10),
    min_failures: 4,
    failure_ratio: 0.5,
    open_for: Duration::from_secs(5),
    probes: 2,
};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn call(breaker: &mut Breaker, health: ProviderHealth, now: Instant) {
    let admission = breaker.admit(now).unwrap();
    breaker.finish(&admission, health, now);
}

fn opened(now: Instant) -> Breaker {
    let mut breaker = Breaker::new(OPTIONS, now);
    for _ in 0..4 {
        call(&mut breaker, ProviderHealth::Bad, now);
    }
    assert_eq!(breaker.state(now), CircuitState::Open);
    breaker
}

#[test]
fn the_circuit_opens_at_the_ratio_and_not_below_the_least_number_of_failures() {
    use CircuitState::{Closed, Open};
    use ProviderHealth::{Bad, Good, Unknown};
    let cases: &[(&[ProviderHealth], CircuitState)] = &[
        (&[Bad, Bad, Bad], Closed),
        (&[Bad, Bad, Bad, Bad], Open),
        (&[Good, Good, Bad, Bad], Closed),
        (&[Good, Bad, Good, Bad, Good, Bad, Good, Bad], Open),
        (&[Good, Bad, Good, Bad, Good, Bad, Good, Good, Bad], Closed),
        (&[Good, Good, Good, Bad], Closed),
        (&[Bad, Bad, Bad, Unknown], Closed),
        (&[Good, Good, Good, Good], Closed),
    ];
    for (calls, want) in cases {
        let now = Instant::now();
        let mut breaker = Breaker::new(OPTIONS, now);
        for health in *calls {
            call(&mut breaker, *health, now);
        }
        assert_eq!(breaker.state(now), *want, "{calls:?}");
    }
}

#[test]
fn failures_older_than_the_window_are_forgotten() {
    let start = Instant::now();
    let mut breaker = Breaker::new(OPTIONS, start);
    for _ in 0..3 {
        call(&mut breaker, ProviderHealth::Bad, start);
    }
    call(&mut breaker, ProviderHealth::Bad, start + secs(10));
    assert_eq!(breaker.state(start + secs(10)), CircuitState::Closed);
}

#[test]
fn an_open_circuit_says_how_long_and_then_admits_a_bounded_number_of_probes() {
    let start = Instant::now();
    let mut breaker = opened(start);
    assert_eq!(breaker.admit(start + secs(2)), Err(secs(3)));
    assert_eq!(breaker.refuses(start + secs(2)), Some(secs(3)));
    let later = start + secs(5);
    assert_eq!(breaker.state(later), CircuitState::HalfOpen);
    let first = breaker.admit(later).unwrap();
    let second = breaker.admit(later).unwrap();
    assert_eq!(breaker.admit(later), Err(Duration::ZERO));
    breaker.finish(&first, ProviderHealth::Good, later);
    assert_eq!(breaker.state(later), CircuitState::HalfOpen);
    breaker.finish(&second, ProviderHealth::Good, later);
    assert_eq!(breaker.state(later), CircuitState::Closed);
}

#[test]
fn one_failed_probe_opens_the_circuit_again_for_the_whole_time() {
    let start = Instant::now();
    let mut breaker = opened(start);
    let later = start + secs(6);
    let first = breaker.admit(later).unwrap();
    let second = breaker.admit(later).unwrap();
    breaker.finish(&first, ProviderHealth::Bad, later);
    assert_eq!(breaker.admit(later), Err(secs(5)));
    breaker.finish(&second, ProviderHealth::Good, later);
    assert_eq!(breaker.state(later), CircuitState::Open);
}

#[test]
fn a_probe_that_was_given_up_makes_room_for_the_next() {
    let start = Instant::now();
    let mut breaker = opened(start);
    let later = start + secs(5);
    for _ in 0..10 {
        call(&mut breaker, ProviderHealth::Unknown, later);
    }
    assert_eq!(breaker.state(later), CircuitState::HalfOpen);
}

#[test]
fn what_a_call_from_before_the_opening_says_does_not_close_the_circuit() {
    let start = Instant::now();
    let mut breaker = Breaker::new(OPTIONS, start);
    let slow: Vec<Admission> = (0..4).map(|_| breaker.admit(start).unwrap()).collect();
    for _ in 0..4 {
        call(&mut breaker, ProviderHealth::Bad, start);
    }
    let later = start + secs(5);
    let probe = breaker.admit(later).unwrap();
    for admission in &slow {
        breaker.finish(admission, ProviderHealth::Good, later);
    }
    assert_eq!(breaker.state(later), CircuitState::HalfOpen);
    breaker.finish(&probe, ProviderHealth::Good, later);
    assert_eq!(breaker.state(later), CircuitState::HalfOpen);
}

/// A model of the same rules that keeps every event.
struct Naive {
    made: Instant,
    history: Vec<(u128, bool)>,
    open_until: Option<Instant>,
    good_probes: Option<u32>,
}

impl Naive {
    fn slice(&self, now: Instant) -> u128 {
        (now - self.made).as_millis() / 1000
    }

    /// Makes a call that finishes at once; returns true if it is admitted.
    fn call(&mut self, health: ProviderHealth, now: Instant) -> bool {
        if let Some(until) = self.open_until {
            if now < until {
                return false;
            }
            self.open_until = None;
            self.good_probes = Some(0);
        }
        if let Some(good) = self.good_probes {
            match health {
                ProviderHealth::Bad => self.open(now),
                ProviderHealth::Good if good + 1 == OPTIONS.probes => self.good_probes = None,
                ProviderHealth::Good => self.good_probes = Some(good + 1),
                ProviderHealth::Unknown => {}
            }
            return true;
        }
        if health != ProviderHealth::Unknown {
            let slice = self.slice(now);
            self.history.push((slice, health == ProviderHealth::Bad));
            let recent: Vec<bool> = self
                .history
                .iter()
                .filter(|(at, _)| at + 10 > slice)
                .map(|(_, bad)| *bad)
                .collect();
            let bad = recent.iter().filter(|bad| **bad).count();
            if bad >= 4 && bad * 2 >= recent.len() {
                self.open(now);
            }
        }
        true
    }

    fn open(&mut self, now: Instant) {
        self.history.clear();
        self.good_probes = None;
        self.open_until = Some(now + OPTIONS.open_for);
    }
}

proptest! {
    #[test]
    fn it_admits_exactly_what_the_naive_model_admits(
        steps in prop::collection::vec((0_u64..4_000, 0_u8..5), 0..300),
    ) {
        let start = Instant::now();
        let mut now = start;
        let mut breaker = Breaker::new(OPTIONS, start);
        let mut naive =
            Naive { made: start, history: Vec::new(), open_until: None, good_probes: None };
        for (pause_ms, kind) in steps {
            now += Duration::from_millis(pause_ms);
            let health = match kind {
                0 => ProviderHealth::Unknown,
                1 | 2 => ProviderHealth::Bad,
                _ => ProviderHealth::Good,
            };
            let admitted = breaker.admit(now).map(|a| breaker.finish(&a, health, now)).is_ok();
            prop_assert_eq!(admitted, naive.call(health, now));
        }
    }
}
