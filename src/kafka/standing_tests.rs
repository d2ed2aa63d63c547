//! Batches that cannot be read: their partition stands still, is named, and loses nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::super::record::InRecord;
use super::super::standing::{BadBatch, Fault, Standstill};
use super::super::testing::{Cluster, PATIENCE, eventually};
use super::super::ticket::Ticket;
use super::{Handler, Intake, IntakeHandle, IntakeOptions};
use crate::broker::Damage;

const TOPIC: &str = "in";

/// Finishes all records, and says which it saw.
#[derive(Clone, Default)]
struct Sees(Arc<Mutex<BTreeSet<(i32, i64)>>>);

impl Handler for Sees {
    fn record(&mut self, record: &InRecord<'_>, ticket: Ticket) {
        let place = record.coordinates();
        self.0
            .lock()
            .unwrap()
            .insert((place.partition, place.offset));
        ticket.finish();
    }
}

impl Sees {
    fn of(&self, partition: i32) -> Vec<i64> {
        let seen = self.0.lock().unwrap();
        let of_partition = seen.iter().filter(|(of, _)| *of == partition);
        of_partition.map(|(_, offset)| *offset).collect()
    }
}

fn join(cluster: &Cluster, sees: &Sees) -> IntakeHandle {
    let options = IntakeOptions::new(cluster.client("m"), "g", vec![TOPIC.to_owned()]);
    Intake::spawn(&options, sees.clone()).unwrap()
}

fn standstill(handle: &IntakeHandle, partition: i32) -> Option<Standstill> {
    let partitions = handle.stats().partitions;
    let of = partitions.iter().find(|of| of.partition == partition)?;
    of.standstill.map(|(_, why)| why)
}

async fn stands_still_at(damage: Damage, fault: Fault, batches_behind: i64) {
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

    // Damaged twice is mended.
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
    stands_still_at(Damage::Codec, Fault::Codec(7), 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_with_a_wrong_checksum_is_not_left_out() {
    stands_still_at(Damage::Bytes, Fault::Checksum, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_checksum_at_the_very_end_is_told_too() {
    stands_still_at(Damage::Bytes, Fault::Checksum, 0).await;
}

/// Where no reason is known, a partition is stuck after a while.
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
