use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// A step in the life of one partition, over many restarts.
#[derive(Debug, Clone)]
enum Step {
    /// The next record is taken in, this many offsets after the last one.
    Take(i64),
    /// An unfinished record is finished.
    Finish(prop::sample::Index),
    Commit,
    /// Reading starts again from the last acknowledged commit.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop_oneof![4 => Just(1_i64), 1 => 2_i64..9].prop_map(Step::Take),
        5 => any::<prop::sample::Index>().prop_map(Step::Finish),
        2 => Just(Step::Commit),
        1 => Just(Step::Restart),
    ]
}

/// A naive model of the tracker: every offset that exists, and the finished ones.
struct Naive {
    log: Vec<i64>,
    read: usize,
    open: BTreeSet<i64>,
    finished: BTreeSet<i64>,
    committed: (i64, BTreeSet<i64>, String),
}

impl Naive {
    fn new() -> Self {
        Self {
            log: Vec::new(),
            read: 0,
            open: BTreeSet::new(),
            finished: BTreeSet::new(),
            committed: (0, BTreeSet::new(), String::new()),
        }
    }

    fn take(&mut self, tracker: &mut Tracker, gap: i64) {
        if self.read == self.log.len() {
            self.log
                .push(self.log.last().map_or(gap - 1, |last| last + gap));
        }
        let offset = self.log[self.read];
        self.read += 1;
        let expect = if self.finished.contains(&offset) {
            Begin::AlreadyFinished
        } else {
            self.open.insert(offset);
            Begin::New
        };
        assert_eq!(
            tracker.already_finished(offset),
            expect == Begin::AlreadyFinished
        );
        assert_eq!(tracker.begin(offset, 10, Instant::now()), expect);
    }

    fn commit(&mut self, tracker: &mut Tracker) {
        let Some(commit) = tracker.next_commit() else {
            return;
        };
        if let Some(open) = self.open.first() {
            assert_eq!(
                commit.next_offset, *open,
                "the prefix ends at the first unfinished one"
            );
        }
        for offset in self.log[..self.read]
            .iter()
            .filter(|o| **o < commit.next_offset)
        {
            assert!(
                self.finished.contains(offset),
                "{offset} was committed past"
            );
        }
        assert!(!commit.truncated);
        self.committed = (commit.next_offset, self.finished.clone(), commit.metadata);
    }

    fn restart(&mut self) -> Tracker {
        let (next, finished, metadata) = self.committed.clone();
        self.read = self.log.partition_point(|offset| *offset < next);
        self.open.clear();
        self.finished = finished;
        let (tracker, unreadable) = Tracker::restore(next, &metadata);
        assert_eq!(unreadable, None);
        tracker
    }
}

proptest! {
    #[test]
    fn nothing_unfinished_is_committed_past_and_nothing_finished_is_repeated(
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let mut naive = Naive::new();
        let mut tracker = Tracker::new(0);
        for step in steps {
            match step {
                Step::Take(gap) => naive.take(&mut tracker, gap),
                Step::Finish(index) => {
                    if naive.open.is_empty() {
                        continue;
                    }
                    let open: Vec<_> = naive.open.iter().copied().collect();
                    let offset = *index.get(&open);
                    naive.open.remove(&offset);
                    naive.finished.insert(offset);
                    assert!(tracker.finish(offset));
                    assert!(!tracker.finish(offset), "a second finish is a no-op");
                }
                Step::Commit => naive.commit(&mut tracker),
                Step::Restart => tracker = naive.restart(),
            }
            prop_assert_eq!(tracker.unfinished(), naive.open.len());
            prop_assert_eq!(tracker.unfinished_bytes(), 10 * naive.open.len() as u64);
            prop_assert_eq!(
                tracker.oldest(Instant::now()).map(|(offset, _)| offset),
                naive.open.first().copied()
            );
        }
    }
}

#[test]
fn offsets_that_never_came_count_with_their_neighbours() {
    let mut tracker = Tracker::new(0);
    let now = Instant::now();
    for offset in [3, 7, 20] {
        assert_eq!(tracker.begin(offset, 1, now), Begin::New);
    }
    assert!(tracker.finish(3));
    assert_eq!(tracker.next_commit().unwrap().next_offset, 7);
    assert!(tracker.finish(20));
    assert!(tracker.finish(7));
    let commit = tracker.next_commit().unwrap();
    assert_eq!((commit.next_offset, commit.metadata.as_str()), (21, ""));
    assert_eq!(tracker.next_commit(), None);
    tracker.commit_failed();
    assert_eq!(tracker.next_commit(), Some(commit));
}

#[test]
fn a_log_that_was_cut_is_noticed_and_changes_nothing() {
    let (mut tracker, _) = Tracker::restore(100, "");
    assert_eq!(tracker.begin(100, 1, Instant::now()), Begin::New);
    assert_eq!(tracker.begin(0, 1, Instant::now()), Begin::Rewound);
    assert_eq!((tracker.next_offset(), tracker.unfinished()), (100, 1));
}

#[test]
fn damaged_metadata_repeats_work_and_breaks_nothing() {
    for (metadata, why) in [
        ("flink:7", Unreadable::Foreign),
        ("wc1rAAAAAB", Unreadable::Corrupt),
    ] {
        let (mut tracker, unreadable) = Tracker::restore(5, metadata);
        assert_eq!(unreadable, Some(why), "{metadata}");
        assert_eq!(tracker.begin(5, 1, Instant::now()), Begin::New);
    }
}

#[test]
fn intake_stops_before_the_metadata_is_full_and_goes_on_when_the_gap_closes() {
    let mut tracker = Tracker::new(0);
    let now = Instant::now();
    let mut offset = 0;
    // Every second record stays open: the worst case, a bit an offset.
    while tracker.intake_ok() {
        tracker.begin(offset, 1, now);
        tracker.begin(offset + 1, 1, now);
        tracker.finish(offset + 1);
        offset += 2;
    }
    let commit = tracker.next_commit().unwrap();
    assert!(
        (3000..=MAX_LEN).contains(&commit.metadata.len()),
        "{}",
        commit.metadata.len()
    );
    assert!(!commit.truncated && commit.next_offset == 0 && offset > 15_000);
    let mut open = 0;
    while !tracker.intake_easy() {
        tracker.finish(open);
        open += 2;
    }
    assert!(tracker.intake_ok() && tracker.next_commit().unwrap().metadata.len() <= MAX_LEN / 2);
}

#[test]
fn one_stuck_record_costs_neither_memory_nor_metadata() {
    let mut tracker = Tracker::new(0);
    let start = Instant::now();
    tracker.begin(0, 1, start);
    for offset in 1..50_000 {
        tracker.begin(offset, 1, start);
        tracker.finish(offset);
    }
    assert!(tracker.slots.len() < 200);
    let commit = tracker.next_commit().unwrap();
    assert!(tracker.intake_ok() && commit.next_offset == 0 && commit.metadata.len() < 20);
    let later = start + Duration::from_secs(9);
    assert_eq!(tracker.oldest(later), Some((0, Duration::from_secs(9))));
}

#[test]
fn what_an_earlier_assignment_finished_survives_commits_before_it_is_reached() {
    let mut first = Tracker::new(0);
    for offset in 0..10 {
        first.begin(offset, 1, Instant::now());
    }
    for offset in [4, 5, 6, 9] {
        first.finish(offset);
    }
    let commit = first.next_commit().unwrap();
    let (mut second, _) = Tracker::restore(commit.next_offset, &commit.metadata);
    second.begin(0, 1, Instant::now());
    second.finish(0);
    let commit = second.next_commit().unwrap();
    let (third, _) = Tracker::restore(commit.next_offset, &commit.metadata);
    let finished: BTreeMap<_, _> = (1..11).map(|o| (o, third.already_finished(o))).collect();
    let yes: Vec<_> = finished
        .iter()
        .filter(|(_, f)| **f)
        .map(|(o, _)| *o)
        .collect();
    assert_eq!((commit.next_offset, yes), (1, vec![4, 5, 6, 9]));
}

/// Tests more holes than fit as one bit for each offset or as lengths; only a member with more in
/// flight than the metadata can hold has so many.
#[test]
fn what_does_not_fit_into_the_metadata_is_repeated_and_nothing_else() {
    const RECORDS: i64 = 60_000;
    let mut first = Tracker::new(0);
    let now = Instant::now();
    for offset in 0..RECORDS {
        first.begin(offset, 1, now);
    }
    for offset in (1..RECORDS).step_by(2) {
        first.finish(offset);
    }
    assert!(!first.intake_ok());
    let commit = first.next_commit().unwrap();
    assert!(commit.truncated && commit.next_offset == 0 && commit.metadata.len() <= MAX_LEN);

    let (mut second, unreadable) = Tracker::restore(0, &commit.metadata);
    assert_eq!(unreadable, None);
    let mut known = Vec::new();
    for offset in 0..RECORDS {
        if second.begin(offset, 1, now) == Begin::AlreadyFinished {
            known.push(offset);
        }
    }
    let fitting: Vec<_> = (1..).step_by(2).take(known.len()).collect();
    assert_eq!(
        known, fitting,
        "the lowest ones, and none that is unfinished"
    );
    assert!(known.len() > 2000, "{}", known.len());
    // Known finished offsets are kept from commit to commit.
    for offset in (0..RECORDS)
        .filter(|offset| !known.contains(offset))
        .skip(1)
    {
        second.finish(offset);
    }
    let commit = second.next_commit().unwrap();
    assert_eq!((commit.next_offset, commit.truncated), (0, false));
    let (third, _) = Tracker::restore(0, &commit.metadata);
    assert!((1..RECORDS).all(|offset| third.already_finished(offset)));
}
