//! Everything that can happen to a table, in any order, compared with a scan of the whole log.

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// Applies a batch of records with the number of offsets skipped before each (by compaction or
    /// other records), and moves the position this far beyond the last record.
    Apply(Vec<(i64, u64, bool)>, i64),
    Open,
    /// Closes one of the open flights.
    Close(prop::sample::Index),
    /// Cuts the log at its start, this many offsets before the position.
    Cut(i64),
    /// Forgets tags untouched for the time of this many records.
    Sweep(i64),
    /// Deletes the log, recreates it and reads it to its end.
    Recreate,
    Judge {
        stamp_back: i64,
        tags: Vec<u64>,
        asker: Option<u64>,
    },
    /// Delivers an open flight's answer to a waiter that arrived this many offsets ago.
    Land {
        flight: prop::sample::Index,
        arrival_back: i64,
        tags: Vec<u64>,
    },
}

const TAGS: u64 = 10;

fn step() -> impl Strategy<Value = Step> {
    let tags = || prop::collection::vec(0..TAGS, 0..4);
    let records = prop::collection::vec((0_i64..3, 0..TAGS, any::<bool>()), 0..6);
    prop_oneof![
        8 => (records, 0_i64..3).prop_map(|(records, beyond)| Step::Apply(records, beyond)),
        3 => Just(Step::Open),
        2 => any::<prop::sample::Index>().prop_map(Step::Close),
        1 => (0_i64..20).prop_map(Step::Cut),
        1 => (0_i64..30).prop_map(Step::Sweep),
        1 => Just(Step::Recreate),
        8 => (0_i64..50, tags(), prop::option::of(0..TAGS)).prop_map(
            |(stamp_back, tags, asker)| Step::Judge { stamp_back, tags, asker }
        ),
        8 => (any::<prop::sample::Index>(), 0_i64..30, tags()).prop_map(
            |(flight, arrival_back, tags)| Step::Land { flight, arrival_back, tags }
        ),
    ]
}

/// The log as it was written, with the other inputs of the table.
#[derive(Default)]
struct Naive {
    log: Vec<Applied>,
    position: i64,
    /// The highest offset below which stamps may be void: the log's start, or the last forgotten
    /// offset.
    forgotten: i64,
    logs: u8,
}

impl Naive {
    fn id(&self) -> LogId {
        LogId([self.logs + 1; 16])
    }

    fn hits(&self, tags: &[u64], from: i64, to: i64, mode: Option<Mode>) -> bool {
        self.log.iter().any(|record| {
            (from..to).contains(&record.offset)
                && tags.contains(&record.tag.0)
                && mode.is_none_or(|mode| mode == record.mode)
        })
    }

    fn verdict(&self, tags: &[u64], stamp: i64) -> &'static str {
        if self.hits(tags, stamp, i64::MAX, Some(Mode::Purge)) {
            "purged"
        } else if self.hits(tags, stamp, i64::MAX, None) {
            "refreshed"
        } else {
            "valid"
        }
    }
}

/// A table beside the naive log; `roomy` is true if the table never has to drop anything.
struct Pair {
    table: Arc<TagTable>,
    naive: Naive,
    flights: Vec<(u8, OpenStamp)>,
    roomy: bool,
}

impl Pair {
    fn new(roomy: bool) -> Self {
        let table = if roomy {
            table(1000, 1000)
        } else {
            table(5, 4)
        };
        let naive = Naive::default();
        table.set_log_id(naive.id());
        Self {
            table,
            naive,
            flights: Vec::new(),
            roomy,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Apply(records, beyond) => self.apply(&records, beyond),
            Step::Open => {
                let flight = self.table.open_flight();
                assert_eq!(flight.position().0, self.naive.position);
                self.flights.push((self.naive.logs, flight));
            }
            Step::Close(index) if !self.flights.is_empty() => {
                self.flights.swap_remove(index.index(self.flights.len()));
            }
            Step::Close(_) => {}
            Step::Cut(back) => {
                let start = (self.naive.position - back).max(0);
                self.table.raise_floor(Position(start));
                self.naive.forgotten = self.naive.forgotten.max(start);
            }
            Step::Sweep(back) => {
                let now = Timestamp((self.naive.position - back) * 1000);
                self.table.sweep(now.plus(Duration::from_hours(1)));
                self.naive.forgotten = self.naive.position;
            }
            Step::Recreate => {
                self.table.reset();
                let stamped = header(0, &[]);
                assert_eq!(self.table.judge(&stamped, &[]), Validity::Void);
                self.naive = Naive {
                    logs: self.naive.logs + 1,
                    ..Naive::default()
                };
                self.table.set_log_id(self.naive.id());
            }
            Step::Judge {
                stamp_back,
                tags,
                asker,
            } => self.judge(stamp_back, tags, asker),
            Step::Land {
                flight,
                arrival_back,
                tags,
            } => self.land(flight, arrival_back, &tags),
        }
        assert_eq!(self.table.position().0, self.naive.position);
    }

    fn apply(&mut self, records: &[(i64, u64, bool)], beyond: i64) {
        let mut offset = self.naive.position;
        let mut applied = Vec::new();
        for (gap, tag, purge) in records {
            offset += gap;
            let mode = if *purge { Mode::Purge } else { Mode::Refresh };
            applied.push(record(offset, *tag, mode));
            offset += 1;
        }
        self.naive.position = offset + beyond;
        self.table.apply(&applied, Position(self.naive.position));
        self.naive.log.extend(applied);
    }

    /// Checks that the table is never laxer than the log, and stricter only if something had to be
    /// forgotten.
    fn judge(&self, stamp_back: i64, tags: Vec<u64>, asker: Option<u64>) {
        let stamp = (self.naive.position - stamp_back).max(0);
        let mut header = header(stamp, &tags);
        header.log_id = self.naive.id();
        let asker: Vec<_> = asker.into_iter().map(TagHash).collect();
        let all = tags.into_iter().chain(asker.iter().map(|tag| tag.0));
        let want = self.naive.verdict(&all.collect::<Vec<_>>(), stamp);
        let got = match self.table.judge(&header, &asker) {
            Validity::Void => "void",
            Validity::Purged => "purged",
            Validity::Refreshed { .. } => "refreshed",
            Validity::Valid => "valid",
        };
        let may_be_void = !self.roomy || stamp < self.naive.forgotten;
        assert!(
            got == want || (got == "void" && may_be_void),
            "stamp {stamp}: {got}, by the log {want}"
        );
        header.log_id = LogId([99; 16]);
        assert_eq!(self.table.judge(&header, &asker), Validity::Void);
    }

    fn land(&self, flight: prop::sample::Index, arrival_back: i64, tags: &[u64]) {
        let of_this_log: Vec<_> = self
            .flights
            .iter()
            .filter(|(log, _)| *log == self.naive.logs)
            .map(|(_, flight)| flight.position())
            .collect();
        if of_this_log.is_empty() {
            return;
        }
        let stamp = *flight.get(&of_this_log);
        let arrival = (self.naive.position - arrival_back).max(0);
        let want = self.naive.hits(tags, stamp.0, arrival, None);
        let hashes: Vec<_> = tags.iter().copied().map(TagHash).collect();
        let got = self
            .table
            .hit_between(self.naive.id(), &hashes, stamp, Position(arrival));
        assert!(
            got || !want,
            "stamp {stamp:?}, arrival {arrival}: let through"
        );
        let exact = self.roomy && stamp.0 >= self.naive.forgotten;
        assert!(
            got == want || !exact,
            "stamp {stamp:?}, arrival {arrival}: sent away for nothing"
        );
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_table_is_never_laxer_than_the_log(
        steps in prop::collection::vec(step(), 1..120),
        roomy in any::<bool>(),
    ) {
        let mut pair = Pair::new(roomy);
        for step in steps {
            pair.take(step);
        }
    }
}
