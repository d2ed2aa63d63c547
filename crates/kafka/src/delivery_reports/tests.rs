use super::super::member::Totals;
use super::super::member::offsets::{Begin, Tracker};
use super::*;

fn partition(first: i64) -> Arc<PartitionState> {
    let tracker = Tracker::new(first);
    Arc::new(PartitionState::new(
        "t".into(),
        0,
        1,
        tracker,
        Arc::<Totals>::default(),
    ))
}

fn take(partition: &Arc<PartitionState>, offset: i64) -> Ticket {
    assert_eq!(partition.begin(offset, 10, Instant::now()), Begin::New);
    Ticket::new(partition, offset)
}

fn write(reports: &DeliveryReports, ticket: Ticket) -> ReportToken {
    reports.write(Delivery::Finish(ticket), &LastPartition::default())
}

fn appended() -> Appended {
    Appended {
        partition: 0,
        offset: 0,
    }
}

#[test]
fn finishes_reach_their_partitions_many_at_a_time_and_none_is_lost() {
    let reports = DeliveryReports::default();
    let partitions = [partition(0), partition(1 << 45), partition(7)];
    let mut written = Vec::new();
    for n in 0..2000 {
        for partition in &partitions {
            let ticket = take(partition, partition.first_offset() + n);
            written.push(write(&reports, ticket));
        }
    }
    let mut random = fastrand::Rng::with_seed(1);
    random.shuffle(&mut written);
    for token in written {
        let opaque = ReportToken::of_opaque(token.to_opaque());
        reports.delivered(opaque, appended);
    }
    reports.pass_on();
    for partition in partitions {
        let view = partition.view(Instant::now());
        assert_eq!(view.next_offset, partition.first_offset() + 2000);
        assert_eq!((view.unfinished, view.abandoned), (0, 0));
    }
}

#[test]
fn a_failed_delivery_leaves_its_record_unfinished_and_a_refused_one_gives_its_ticket_back() {
    let (reports, partition) = (DeliveryReports::default(), partition(5));
    let [lost, refused] = [5, 6].map(|at| write(&reports, take(&partition, at)));
    let why = DeliveryFailed {
        topic: "out".to_owned(),
        code: rdkafka::types::RDKafkaErrorCode::MessageTimedOut,
    };
    reports.failed(lost, why);
    let Delivery::Finish(ticket) = reports.take_back(refused) else {
        panic!("it was a ticket")
    };
    ticket.finish();
    let view = partition.view(Instant::now());
    assert_eq!((view.next_offset, view.abandoned), (5, 1));
}

#[test]
fn a_finish_after_a_rest_is_not_held_back_and_a_dropped_producer_holds_none() {
    let (reports, partition) = (DeliveryReports::default(), partition(0));
    std::thread::sleep(REST);
    let [first, second] = [0, 1].map(|at| write(&reports, take(&partition, at)));
    reports.delivered(first, appended);
    assert_eq!(partition.view(Instant::now()).next_offset, 1);
    reports.delivered(second, appended);
    drop(reports);
    assert_eq!(partition.view(Instant::now()).next_offset, 2);
}

#[test]
fn a_distance_that_no_number_holds_is_kept_as_it_is() {
    let (reports, partition) = (DeliveryReports::default(), partition(0));
    let far = 1 << 41;
    let token = write(&reports, take(&partition, far));
    assert_eq!(token.0 >> KIND_SHIFT, KEPT);
    reports.delivered(token, appended);
    assert_eq!(partition.view(Instant::now()).next_offset, far + 1);
}

#[test]
fn partitions_that_are_over_are_forgotten() {
    let (reports, old) = (DeliveryReports::default(), partition(0));
    reports.delivered(write(&reports, take(&old, 0)), appended);
    reports.pass_on();
    old.fence();
    let token = write(&reports, take(&partition(0), 0));
    assert_eq!(reports.read_partitions().len(), 1);
    reports.delivered(token, appended);
}
