//! A day's traffic in order of time: visits with their questions, repeats and reloads, wedding
//! updates, vendor changes.

use chrono::{Datelike as _, NaiveDate};
use fastrand::Rng;

use super::assumptions::{self as assume, Assumptions};
use super::couples::{Census, Couple, PlanningPhase, population, sample_share};
use super::places::PLACES;
use super::questions::{Question, Questions, TYPES};
use super::vendors::{Change, Directory};
use super::zipf::{chance, exponential, geometric, poisson, weighted};
use wedcache::model::Timestamp;
use wedcache::model::event::{AiQuery, QueryOptions};
use wedcache::topology::Topology;

/// An event of the simulated world.
#[derive(Debug, Clone, PartialEq)]
pub struct Happening {
    pub at: Timestamp,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    Ask {
        couple: usize,
        question: Question,
        /// The partner who asks: 0 or 1.
        partner: u8,
        options: Options,
    },
    Update {
        couple: usize,
        change: &'static str,
    },
    Vendor(Change),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Options {
    None,
    Bypass,
    NoStore,
    MaxAge,
    Deadline,
}

/// The simulated world that the traffic comes from.
pub struct Traffic {
    rng: Rng,
    assumptions: Assumptions,
    factors: [f64; 12],
    couples: Vec<Couple>,
    questions: Questions,
    directory: Directory,
    /// Queries of a day in a month whose factor is 1.
    base_load: f64,
    /// Events that the days before have moved to later ones.
    carried: Vec<Happening>,
    asked: u64,
}

/// The simulated days, first and last included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    pub first_day: NaiveDate,
    pub last_day: NaiveDate,
}

impl Period {
    /// Returns the number of queries of the simulated couples in this period, by the topology's
    /// load factors.
    pub fn queries(&self, topology: &Topology, assumptions: &Assumptions) -> u64 {
        let factors = &topology.policy.capacity_factors;
        let load: f64 = self.days().map(|day| factors[day.month0() as usize]).sum();
        let of_a_year = 365.0 * factors.iter().sum::<f64>() / 12.0;
        let share = sample_share(&topology.policy.catalog, factors, assumptions.sample);
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let all = assume::PLATFORM_QUERIES_A_YEAR as f64 * share;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of the platform's queries"
        )]
        let queries = (all * load / of_a_year).ceil() as u64;
        queries.max(1)
    }

    pub fn days(&self) -> impl Iterator<Item = NaiveDate> {
        let last = self.last_day;
        self.first_day
            .iter_days()
            .take_while(move |day| *day <= last)
    }
}

/// Returns the mean number of questions, retries included, on a day on which a couple uses the
/// assistant.
fn queries_a_day() -> f64 {
    let mean = |more: f64| 1.0 / (1.0 - more);
    mean(assume::MORE_VISITS) * mean(assume::MORE_QUESTIONS) * (1.0 + assume::RETRIED)
}

/// Returns the mean number of days of use in a year of engagement.
fn active_days() -> f64 {
    let [early, late, last] = assume::ACTIVE_DAYS_A_WEEK.map(|a_week| a_week / 7.0);
    (365.0 - 91.0) * early + 77.0 * late + 14.0 * last
}

impl Traffic {
    /// Creates the traffic of about `queries` queries in the period, distributed over its months by
    /// the topology's load factors.
    pub fn new(
        seed: u64,
        topology: &Topology,
        assumptions: Assumptions,
        period: Period,
        queries: u64,
    ) -> Self {
        let mut rng = Rng::with_seed(seed);
        let factors = topology.policy.capacity_factors;
        let load: f64 = period
            .days()
            .map(|day| factors[day.month0() as usize])
            .sum();
        let mean = factors.iter().sum::<f64>() / 12.0;
        #[expect(clippy::cast_precision_loss, reason = "queries of a simulation")]
        let base_load = queries as f64 / load;
        let share = sample_share(&topology.policy.catalog, &factors, assumptions.sample);
        let simulated = base_load * mean * 365.0 / (active_days() * queries_a_day());
        let census = Census {
            catalog: &topology.policy.catalog,
            factors: &factors,
            assumptions: &assumptions,
            first_day: period.first_day,
            last_day: period.last_day,
            weddings_a_year: simulated / share,
        };
        let couples = population(&mut rng, &census);
        let directory = Directory::new(&mut rng);
        Self {
            questions: Questions::new(&assumptions),
            rng,
            assumptions,
            factors,
            couples,
            directory,
            base_load,
            carried: Vec::new(),
            asked: 0,
        }
    }

    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    pub fn couples(&self) -> usize {
        self.couples.len()
    }

    /// Returns the day's events in order; events after midnight are returned on the next day.
    pub fn day(&mut self, today: NaiveDate) -> Vec<Happening> {
        let midnight = midnight(today);
        let tomorrow = Timestamp(midnight.0 + DAY_MS);
        let mut all = std::mem::take(&mut self.carried);
        self.visits(today, midnight, &mut all);
        self.updates(today, midnight, &mut all);
        let changes = self
            .directory
            .changes(&mut self.rng, midnight, &self.assumptions);
        all.extend(changes.into_iter().map(|change| Happening {
            at: change.at,
            what: What::Vendor(change),
        }));
        // The sort must be stable: events at the same moment keep the order in which they were
        // drawn.
        all.sort_by_key(|happening| happening.at);
        let begin_of_rest = all.partition_point(|happening| happening.at < tomorrow);
        self.carried = all.split_off(begin_of_rest);
        all
    }

    fn visits(&mut self, today: NaiveDate, midnight: Timestamp, all: &mut Vec<Happening>) {
        let natural: f64 = self
            .couples
            .iter()
            .filter_map(|of| of.phase(today))
            .map(daily)
            .sum();
        if natural <= 0.0 {
            return;
        }
        let load = self.base_load * self.factors[today.month0() as usize];
        let scale = load / (natural * queries_a_day());
        for couple in 0..self.couples.len() {
            let Some(phase) = self.couples[couple].phase(today) else {
                continue;
            };
            if !chance(&mut self.rng, (daily(phase) * scale).min(1.0)) {
                continue;
            }
            for _ in 0..geometric(&mut self.rng, assume::MORE_VISITS) {
                self.visit(couple, phase, midnight, all);
            }
        }
    }

    fn visit(
        &mut self,
        at: usize,
        phase: PlanningPhase,
        midnight: Timestamp,
        all: &mut Vec<Happening>,
    ) {
        let rng = &mut self.rng;
        let offset = PLACES[self.couples[at].place].utc_offset_hours;
        let hour = i64::try_from(weighted(rng, HOURS)).unwrap_or(0) - offset;
        let mut when = midnight.0 + hour * HOUR_MS + rng.i64(0..HOUR_MS);
        let partner = rng.u8(0..2);
        for _ in 0..geometric(rng, assume::MORE_QUESTIONS) {
            let couple = &mut self.couples[at];
            let remembered = couple.remembered.len();
            let question = if remembered > 0 && chance(rng, self.assumptions.asked_again) {
                let back = geometric(rng, 0.8) as usize - 1;
                couple.remembered[back.min(remembered - 1)]
            } else {
                self.questions.draw(rng, phase != PlanningPhase::Early)
            };
            couple.remember(question);
            let ask = |at: i64, options| Happening {
                at: Timestamp(at),
                what: What::Ask {
                    couple: couple.number,
                    question,
                    partner,
                    options,
                },
            };
            let options = options(rng);
            all.push(ask(when, options));
            if chance(rng, assume::RETRIED) {
                let after = 2.0 + rng.f64() * (assume::RETRY_WITHIN_SECS - 2.0);
                all.push(ask(when + millis(after), options));
            }
            when += millis(exponential(rng, assume::READING_SECS));
        }
    }

    fn updates(&mut self, today: NaiveDate, midnight: Timestamp, all: &mut Vec<Happening>) {
        for couple in &self.couples {
            let Some(phase) = couple.phase(today) else {
                continue;
            };
            for (change, a_year) in assume::WEDDING_CHANGES {
                let rate = a_year[usize::from(phase != PlanningPhase::Early)] / 365.0;
                for _ in 0..poisson(&mut self.rng, rate * self.assumptions.change_rate) {
                    let at = Timestamp(midnight.0 + self.rng.i64(DAY_MS / 2..DAY_MS));
                    all.push(Happening {
                        at,
                        what: What::Update {
                            couple: couple.number,
                            change,
                        },
                    });
                }
            }
        }
    }

    /// Returns the query as its service would publish it now; `None` if the couple has called the
    /// wedding off.
    pub fn query(&mut self, happening: &Happening) -> Option<AiQuery> {
        let What::Ask {
            couple,
            question,
            partner,
            options,
        } = &happening.what
        else {
            return None;
        };
        let couple = &self.couples[*couple];
        couple.phase(happening.at.date().0)?;
        self.asked += 1;
        let vendor = question
            .vendor
            .map(|(kind, number)| self.directory.id(couple.place, kind, number));
        Some(AiQuery {
            query_id: format!("q-{}", self.asked),
            query: wedcache::model::event::Question {
                cache_type: TYPES[question.kind].to_owned(),
                content: question.content(),
                vendor_types: question.vendor_types(),
                vendor_ids: vendor.into_iter().collect(),
                user_id: Some(format!("u-{}-{partner}", couple.number)),
            },
            wedding_context: couple.context(),
            options: options.on_wire(happening.at),
            asked_at: Some(happening.at),
        })
    }

    /// Changes the couple's facts and returns the record; `None` if the couple has called the
    /// wedding off.
    pub fn update(&mut self, couple: usize, change: &str, at: Timestamp) -> Option<Change> {
        let couple = &mut self.couples[couple];
        couple.phase(at.date().0)?;
        let value = couple.update(&mut self.rng, change, at);
        Some(Change {
            at,
            key: Some(couple.wedding_id()),
            value: value.to_string().into_bytes(),
        })
    }
}

impl Options {
    fn on_wire(self, at: Timestamp) -> QueryOptions {
        let mut options = QueryOptions::default();
        match self {
            Self::None => {}
            Self::Bypass => options.bypass_cache = true,
            Self::NoStore => options.no_store = true,
            Self::MaxAge => options.max_age = Some(assume::MAX_AGE),
            Self::Deadline => {
                let after = std::time::Duration::from_secs(assume::DEADLINE_SECS);
                options.deadline = Some(at.plus(after));
            }
        }
        options
    }
}

fn options(rng: &mut Rng) -> Options {
    let shares = [
        (Options::Bypass, assume::BYPASSES),
        (Options::NoStore, assume::NO_STORES),
        (Options::MaxAge, assume::MAX_AGES),
        (Options::Deadline, assume::DEADLINES),
    ];
    let mut rest = rng.f64();
    for (options, share) in shares {
        if rest < share {
            return options;
        }
        rest -= share;
    }
    Options::None
}

/// Returns the probability that a couple uses the assistant on a day.
fn daily(phase: PlanningPhase) -> f64 {
    let [early, late, last] = assume::ACTIVE_DAYS_A_WEEK;
    let a_week = match phase {
        PlanningPhase::Early => early,
        PlanningPhase::LastThreeMonths => late,
        PlanningPhase::LastTwoWeeks => last,
    };
    a_week / 7.0
}

pub(super) const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// Weights of the local hours in which visits begin: lunch and, most of all, the evening.
/// Assumption.
const HOURS: [f64; 24] = [
    1.0, 0.5, 0.2, 0.1, 0.1, 0.2, 0.6, 1.5, 2.5, 3.0, 3.0, 3.5, 5.0, 4.5, 3.5, 3.0, 3.5, 4.0, 5.0,
    7.0, 9.0, 9.0, 6.5, 3.0,
];

#[expect(clippy::cast_possible_truncation, reason = "minutes in milliseconds")]
fn millis(secs: f64) -> i64 {
    (secs * 1000.0) as i64
}

/// Returns the midnight, in UTC, at which the day begins.
pub(super) fn midnight(day: NaiveDate) -> Timestamp {
    Timestamp(i64::from(wedcache::model::Date(day).epoch_days()) * DAY_MS)
}
