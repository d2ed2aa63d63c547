//! Batches that cannot be read: their partition stands still, is named, and loses nothing.

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wedcache_broker::Damage;
use wedcache_model::invalidation::SkippedRange;
use wedcache_model::{Timestamp, TopicId};

use super::super::super::InRecord;
use super::super::super::standstill::{BadBatch, BatchFault, Standstill};
use super::super::super::testing::{Cluster, Filling, PATIENCE, eventually};
use super::super::{Assigned, Handler, Intake, IntakeHandle, IntakeOptions, Skips, Ticket};

const TOPIC: &str = "in";

/// A handler that finishes all records and keeps their places.
#[derive(Clone, Default)]
struct Sees {
    seen: Arc<Mutex<BTreeSet<(i32, i64)>>>,
    /// Offsets that came more than once.
    again: Arc<Mutex<Vec<i64>>>,
    skipped_to: Arc<Mutex<Vec<Option<i64>>>>,
    /// The offset below which records are held until the test finishes them.
    holds_below: i64,
    held: Arc<Mutex<Vec<Ticket>>>,
}

impl Handler for Sees {
    fn record(&mut self, record: &InRecord<'_>, ticket: Ticket) {
        let place = record.coordinates();
        let mut seen = self.seen.lock();
        if !seen.insert((place.partition, place.offset)) {
            self.again.lock().push(place.offset);
        }
        if place.offset < self.holds_below {
            self.held.lock().push(ticket);
        } else {
            ticket.finish();
        }
    }

    fn skipped(&mut self, partition: &Assigned) {
        self.skipped_to.lock().push(partition.next_offset);
    }
}

impl Sees {
    fn of(&self, partition: i32) -> Vec<i64> {
        let seen = self.seen.lock();
        let of_partition = seen.iter().filter(|(of, _)| *of == partition);
        of_partition.map(|(_, offset)| *offset).collect()
    }
}

fn join(cluster: &Cluster, sees: &Sees) -> IntakeHandle {
    join_skipping(cluster, sees, &Arc::default())
}

fn join_skipping(cluster: &Cluster, sees: &Sees, skips: &Arc<Skips>) -> IntakeHandle {
    let options = IntakeOptions::new(cluster.client("m"), "g", vec![TOPIC.to_owned()]);
    Intake::spawn(&options.skipping(skips), sees.clone()).unwrap()
}

fn standstill(handle: &IntakeHandle, partition: i32) -> Option<Standstill> {
    let partitions = handle.stats().partitions;
    let of = partitions.iter().find(|of| of.partition == partition)?;
    of.standstill.map(|(_, why)| why)
}

async fn stands_still_at(damage: Damage, fault: BatchFault, batches_behind: i64) {
    let cluster = Cluster::new(&[(TOPIC, 2)]).await;
    for _ in 0..2 + batches_behind {
        cluster.fill(TOPIC, 0, 2).await;
        cluster.fill(TOPIC, 1, 2).await;
    }
    assert!(cluster.0.damage(TOPIC, 0, 2, damage));
    let sees = Sees::default();
    let handle = join(&cluster, &sees);
    let bad = Standstill::Undecodable(BadBatch { offset: 2, fault });
    eventually("the partition is named", || {
        standstill(&handle, 0) == Some(bad)
    });
    let all: Vec<i64> = (0..2 * (2 + batches_behind)).collect();
    assert_eq!((sees.of(0), sees.of(1)), (vec![0, 1], all.clone()));
    assert_eq!(standstill(&handle, 1), None);
    assert_eq!(cluster.committed("g", TOPIC), Some(2));

    // A second damage undoes the first.
    assert!(cluster.0.damage(TOPIC, 0, 2, damage));
    eventually("nothing was lost", || sees.of(0) == all);
    eventually("it moves again", || standstill(&handle, 0).is_none());
    assert!(handle.shutdown(Instant::now() + PATIENCE).await);
    assert_eq!(
        cluster.committed("g", TOPIC),
        Some(2 * (2 + batches_behind))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_cannot_be_decompressed_is_not_passed() {
    stands_still_at(Damage::Codec, BatchFault::Codec(7), 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_with_a_wrong_checksum_is_not_left_out() {
    stands_still_at(Damage::Bytes, BatchFault::Checksum, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_checksum_at_the_very_end_is_told_too() {
    stands_still_at(Damage::Bytes, BatchFault::Checksum, 0).await;
}

/// Tests that a partition which does not move for an unknown reason counts as stuck after a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_whose_broker_gives_nothing_out_is_stuck() {
    let cluster = Cluster::new(&[(TOPIC, 1)]).await;
    cluster.fill(TOPIC, 0, 2).await;
    let sees = Sees::default();
    let mut options = IntakeOptions::new(cluster.client("m"), "g", vec![TOPIC.to_owned()]);
    options.limits.stuck_after = Duration::from_secs(3);
    let handle = Intake::spawn(&options, sees.clone()).unwrap();
    eventually("all is read", || sees.of(0) == [0, 1]);
    // At its end it is not stuck, however long nothing comes.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(standstill(&handle, 0), None);
    cluster.0.withhold(TOPIC, 0, true);
    cluster.fill(TOPIC, 0, 2).await;
    let stuck = Standstill::Unknown { offset: 2 };
    eventually("it is stuck", || standstill(&handle, 0) == Some(stuck));
    cluster.0.withhold(TOPIC, 0, false);
    eventually("the rest is read", || sees.of(0).len() == 4);
    eventually("it moves again", || standstill(&handle, 0).is_none());
    assert!(handle.shutdown(Instant::now() + PATIENCE).await);
}

fn skip(topic_id: Option<TopicId>, from: i64, to: i64) -> SkippedRange {
    SkippedRange {
        topic: TOPIC.to_owned(),
        topic_id,
        partition: 0,
        from,
        to,
        forced: false,
        at: Timestamp(0),
    }
}

/// Skips a bad batch of offsets 2 and 3, while what stands before it is not finished yet.
async fn is_skipped(damage: Damage) {
    let cluster = Cluster::new(&[(TOPIC, 1)]).await;
    for _ in 0..3 {
        cluster.fill(TOPIC, 0, 2).await;
    }
    assert!(cluster.0.damage(TOPIC, 0, 2, damage));
    let sees = Sees {
        holds_below: 2,
        ..Sees::default()
    };
    let skips = Arc::<Skips>::default();
    // Of a topic that had the name before, and of what is passed already.
    skips.add(skip(Some(TopicId(1)), 2, 4));
    skips.add(skip(None, -3, 0));
    let handle = join_skipping(&cluster, &sees, &skips);
    eventually("it stands still", || standstill(&handle, 0).is_some());
    assert_eq!(sees.of(0), [0, 1]);
    skips.add(skip(None, 2, 4));
    eventually("it goes on behind", || sees.of(0) == [0, 1, 4, 5]);
    eventually("nothing stands still", || standstill(&handle, 0).is_none());
    assert_eq!(*sees.skipped_to.lock(), [Some(4)]);
    assert_eq!(cluster.committed("g", TOPIC).unwrap_or(0), 0);
    for ticket in sees.held.lock().drain(..) {
        ticket.finish();
    }
    assert!(handle.shutdown(Instant::now() + PATIENCE).await);
    assert_eq!(cluster.committed("g", TOPIC), Some(6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skipped_batch_that_cannot_be_decompressed_is_passed() {
    is_skipped(Damage::Codec).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skipped_batch_with_a_wrong_checksum_is_passed() {
    is_skipped(Damage::Bytes).await;
}

/// Tests a partition without a committed offset that does not begin at 0, for a range that is known
/// before the member starts, and for one that becomes known later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_at_the_start_is_skipped() {
    for before_the_start in [true, false] {
        let cluster = Cluster::new(&[(TOPIC, 1)]).await;
        for _ in 0..3 {
            cluster.fill(TOPIC, 0, 2).await;
        }
        assert!(cluster.0.delete_before(TOPIC, 0, 2));
        assert!(cluster.0.damage(TOPIC, 0, 2, Damage::Codec));
        let (sees, skips) = (Sees::default(), Arc::<Skips>::default());
        if before_the_start {
            skips.add(skip(None, 2, 4));
        }
        let handle = join_skipping(&cluster, &sees, &skips);
        if !before_the_start {
            eventually("it stands still", || standstill(&handle, 0).is_some());
            skips.add(skip(None, 2, 4));
        }
        eventually("what is behind is read", || sees.of(0) == [4, 5]);
        assert!(handle.shutdown(Instant::now() + PATIENCE).await);
        assert_eq!(cluster.committed("g", TOPIC), Some(6));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_at_the_end_is_skipped_at_the_start() {
    let cluster = Cluster::new(&[(TOPIC, 1)]).await;
    for _ in 0..2 {
        cluster.fill(TOPIC, 0, 2).await;
    }
    assert!(cluster.0.damage(TOPIC, 0, 2, Damage::Codec));
    let (sees, skips) = (Sees::default(), Arc::<Skips>::default());
    skips.add(skip(None, 2, 4));
    let handle = join_skipping(&cluster, &sees, &skips);
    eventually("what is behind counts", || {
        cluster.committed("g", TOPIC) == Some(4)
    });
    cluster.fill(TOPIC, 0, 1).await;
    eventually("new records come", || sees.of(0) == [0, 1, 4]);
    assert!(handle.shutdown(Instant::now() + PATIENCE).await);
}

/// Tests that the alert of a standstill does not end and begin again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standstill_lasts_while_its_batch_is_asked_for_again() {
    let cluster = Cluster::new(&[(TOPIC, 1)]).await;
    for _ in 0..3 {
        cluster.fill(TOPIC, 0, 2).await;
    }
    assert!(cluster.0.damage(TOPIC, 0, 2, Damage::Bytes));
    let sees = Sees::default();
    let handle = join(&cluster, &sees);
    eventually("it stands still", || standstill(&handle, 0).is_some());
    // The batch is fetched again every 10 s.
    let until = Instant::now() + Duration::from_secs(25);
    while Instant::now() < until {
        assert!(standstill(&handle, 0).is_some(), "it is said to move");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(sees.of(0), [0, 1]);
    assert!(handle.shutdown(Instant::now() + PATIENCE).await);
}

/// Checks that the content of a batch with a wrong checksum is not taken for records or positions.
async fn moves_no_position(filling: Filling) {
    let cluster = Cluster::new(&[(TOPIC, 1)]).await;
    cluster.fill(TOPIC, 0, 3).await;
    cluster.append(TOPIC, 0, &filling.values()).await;
    cluster.fill(TOPIC, 0, 3).await;
    assert!(cluster.0.damage(TOPIC, 0, 3, Damage::Bytes));
    let sees = Sees::default();
    let handle = join(&cluster, &sees);
    let bad = Standstill::Undecodable(BadBatch {
        offset: 3,
        fault: BatchFault::Checksum,
    });
    eventually("the batch is named", || standstill(&handle, 0) == Some(bad));
    // The batch is fetched again after 10 s.
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(
        (standstill(&handle, 0), sees.of(0)),
        (Some(bad), vec![0, 1, 2])
    );
    assert!(cluster.0.damage(TOPIC, 0, 3, Damage::Bytes));
    let all: Vec<i64> = (0..206).collect();
    eventually("nothing was lost", || sees.of(0) == all);
    assert_eq!(*sees.again.lock(), Vec::<i64>::new());
    let counters = handle.stats().counters;
    assert_eq!(
        (counters.rewinds, counters.offset_resets),
        (0, 0),
        "{counters:?}"
    );
    assert!(handle.shutdown(Instant::now() + PATIENCE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_text_in_a_damaged_batch_moves_no_position() {
    moves_no_position(Filling::Text).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_zeros_in_a_damaged_batch_move_no_position() {
    moves_no_position(Filling::Zeros).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_looks_like_a_head_in_a_damaged_batch_moves_no_position() {
    moves_no_position(Filling::Heads).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_noise_in_a_damaged_batch_moves_no_position() {
    moves_no_position(Filling::Noise).await;
}

/// Tests a range whose offsets belong to other records by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_read_is_skipped_by_force_alone() {
    for forced in [false, true] {
        let cluster = Cluster::new(&[(TOPIC, 1)]).await;
        cluster.fill(TOPIC, 0, 2).await;
        let (sees, skips) = (Sees::default(), Arc::<Skips>::default());
        let handle = join_skipping(&cluster, &sees, &skips);
        eventually("all is read", || sees.of(0) == [0, 1]);
        cluster.0.withhold(TOPIC, 0, true);
        cluster.fill(TOPIC, 0, 4).await;
        skips.add(SkippedRange {
            forced,
            ..skip(cluster.topic_id(TOPIC), 2, 4)
        });
        if forced {
            eventually("it goes on behind the range", || {
                *sees.skipped_to.lock() == [Some(4)]
            });
        } else {
            // Longer than it takes to look.
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        cluster.0.withhold(TOPIC, 0, false);
        let want: &[i64] = if forced {
            &[0, 1, 4, 5]
        } else {
            &[0, 1, 2, 3, 4, 5]
        };
        eventually("what may be is read", || sees.of(0) == want);
        assert!(handle.shutdown(Instant::now() + PATIENCE).await);
    }
}
