use std::time::Duration;

use wedcache_codec::{Decoder, Schemas};
use wedcache_model::Unfinished;

use super::*;
use crate::policy::PolicyInForce;

const INTERVAL: Duration = Duration::from_mins(5);

/// An offset whose partition may be taken away.
#[derive(Debug, Clone)]
struct Offset(i64, Arc<std::sync::atomic::AtomicBool>);

impl Unfinished for Offset {
    fn is_fenced(&self) -> bool {
        self.1.load(std::sync::atomic::Ordering::Relaxed)
    }
}

fn core() -> Changes<Offset> {
    let judge = ChangeJudge::new(
        Arc::new(Decoder::new(Schemas::embedded().into(), usize::MAX)),
        Arc::new(PolicyInForce::widening_types()),
        crate::observe::Observers::default(),
    );
    Changes::new(judge, Arc::default())
}

fn unreadable(offset: i64) -> ChangeInput<Offset> {
    ChangeInput::Change(Box::new(TakenChange {
        source: ChangeSource::Vendor,
        key: None,
        value: Some(b"{broken".to_vec()),
        headers: Vec::new(),
        place: Coordinates {
            topic: "changes".into(),
            partition: 0,
            offset,
            timestamp: Timestamp(0),
        },
        topic_id: None,
        trace: TraceParent::fresh(),
        ticket: Offset(offset, Arc::default()),
    }))
}

/// Carries the settling out, with dead letters that arrive at once. Returns the finished offsets.
fn settle(core: &mut Changes<Offset>, step: Step<Offset>) -> Vec<i64> {
    assert!(step.learn.is_empty(), "no change is framed");
    let mut finished = Vec::new();
    for settle in step.settle {
        let ticket = match settle {
            Settle::Finish(ticket) => Some(ticket),
            Settle::DeadLetter { change, owed, .. } => core.dead_lettered(change.ticket, owed),
        };
        finished.extend(ticket.map(|Offset(offset, _)| offset));
    }
    finished
}

#[test]
fn a_change_is_finished_once_its_refresh_is_appended_for_a_later_change() {
    let mut core = core();
    let at = |after| Timestamp(0).plus(INTERVAL).plus(after);
    let first = core.take([unreadable(0), unreadable(1)], at(Duration::ZERO));
    assert_eq!(settle(&mut core, first), [0], "the second one owes");
    // The interval is over, and the next change comes before the timer.
    let next = core.take([unreadable(2)], at(INTERVAL));
    assert!(next.append.iter().any(|(of, _)| of.cause.offset == 2));
    let mut finished = settle(&mut core, next);
    finished.sort_unstable();
    assert_eq!(finished, [1, 2]);
    assert_eq!(core.next_due(), None);
}

#[test]
fn a_change_whose_partition_is_taken_away_stands_for_no_other_one() {
    let mut core = core();
    let now = Timestamp(0).plus(INTERVAL);
    let first = core.take([unreadable(0), unreadable(1)], now);
    assert_eq!(settle(&mut core, first), [0]);
    let third = core.take([unreadable(2)], now);
    assert_eq!(settle(&mut core, third), [2], "rests on the second one");
    let [(held, _)] = &core.owing[..] else {
        panic!("one change stands for the refresh");
    };
    held.1.store(true, std::sync::atomic::Ordering::Relaxed);
    let fourth = core.take([unreadable(3)], now);
    assert!(settle(&mut core, fourth).is_empty());
    let end = core.end(now);
    assert!(!end.append.is_empty());
    assert_eq!(settle(&mut core, end), [3]);
}

#[test]
fn an_assignments_committed_offset_is_progress_and_is_repeated() {
    let mut core = core();
    let assignment = |partition, next_offset| Assignment {
        partition: ("changes".into(), partition),
        topic_id: None,
        next_offset,
    };
    let assigned = ChangeInput::Assigned(vec![assignment(0, Some(7)), assignment(1, None)]);
    let step = core.take([assigned], Timestamp(0));
    let next = |progress: &[Progress]| -> Vec<_> {
        progress.iter().map(|of| (of.partition, of.next)).collect()
    };
    assert_eq!(next(&step.progress), [(0, 7)]);
    assert_eq!(next(&core.progress(Timestamp(5))), [(0, 7)]);
}
