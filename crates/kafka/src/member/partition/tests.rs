use wedcache_model::Unfinished as _;

use super::super::ticket::Ticket;
use super::*;

fn partition() -> Arc<PartitionState> {
    let totals = Arc::new(Totals::default());
    Arc::new(PartitionState::new(
        "t".into(),
        0,
        1,
        Tracker::new(0),
        totals,
    ))
}

fn take(partition: &Arc<PartitionState>, offset: i64) -> Ticket {
    assert_eq!(partition.begin(offset, 10, Instant::now()), Begin::New);
    Ticket::new(partition, offset)
}

#[test]
fn a_late_finish_after_the_fence_is_a_counted_no_op() {
    let partition = partition();
    let (first, second) = (take(&partition, 0), take(&partition, 1));
    first.finish();
    assert_eq!(partition.fence().unwrap().next_offset, 1);
    second.finish();
    assert_eq!(partition.next_commit(), None);
    assert_eq!(partition.view(Instant::now()).next_offset, 1);
    assert_eq!(partition.totals.finished_late.load(Ordering::Relaxed), 1);
    assert_eq!(partition.totals.records.load(Ordering::Relaxed), 0);
}

#[test]
fn what_is_held_back_is_nobodys_delay_and_hides_no_other() {
    let partition = partition();
    let tickets: Vec<_> = (0..3).map(|offset| take(&partition, offset)).collect();
    let now = Instant::now() + Duration::from_mins(1);
    let oldest = || partition.view(now).oldest.map(|(offset, _)| offset);
    assert_eq!(oldest(), Some(0));
    tickets[0].hold();
    assert_eq!(oldest(), Some(1), "the others are looked at all the same");
    tickets[1].hold();
    tickets[2].hold();
    assert_eq!(oldest(), None);
    std::thread::sleep(Duration::from_millis(2));
    tickets[0].release();
    let (offset, age) = partition.view(now).oldest.unwrap();
    assert!(
        offset == 0 && age < Duration::from_mins(1),
        "its age begins again: {age:?}"
    );
    tickets.into_iter().for_each(Ticket::finish);
    assert!(partition.lock().held.is_empty());
}

#[test]
fn what_was_taken_away_comes_again_and_what_was_cut_off_does_not() {
    let (moved, cut) = (partition(), partition());
    let (of_moved, of_cut) = (take(&moved, 0), take(&cut, 0));
    assert!(!of_moved.comes_again() && !of_cut.comes_again());
    moved.fence();
    cut.fence_rewound();
    assert!(of_moved.is_fenced() && of_cut.is_fenced());
    assert!(of_moved.comes_again() && !of_cut.comes_again());
    of_moved.finish();
    of_cut.finish();
}

#[test]
fn a_dropped_ticket_stops_commits_at_its_record_and_is_counted() {
    let partition = partition();
    drop(take(&partition, 0));
    take(&partition, 1).finish();
    let commit = partition.next_commit().unwrap();
    assert!(commit.next_offset == 0 && !commit.metadata.is_empty());
    assert_eq!(partition.view(Instant::now()).abandoned, 1);
    assert_eq!(partition.totals.bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn a_wait_for_room_ends_with_the_finish_that_makes_it_or_with_its_patience() {
    let partition = partition();
    let totals = Arc::clone(&partition.totals);
    let crowded = || totals.records.load(Ordering::Acquire) > 1;
    let tickets: Vec<_> = (0..3).map(|offset| take(&partition, offset)).collect();
    totals.wait_while(crowded, Duration::from_millis(5));
    assert!(crowded(), "nothing was finished meanwhile");
    let worker = std::thread::spawn(move || tickets.into_iter().for_each(Ticket::finish));
    totals.wait_while(crowded, Duration::from_secs(10));
    assert!(!crowded());
    worker.join().unwrap();
}

#[test]
fn a_drain_ends_with_the_last_ticket_or_at_its_deadline() {
    let partition = partition();
    let ticket = take(&partition, 0);
    assert!(!partition.wait_drained(Instant::now() + Duration::from_millis(20)));
    let worker = std::thread::spawn(move || ticket.finish());
    assert!(partition.wait_drained(Instant::now() + Duration::from_secs(10)));
    worker.join().unwrap();
}
