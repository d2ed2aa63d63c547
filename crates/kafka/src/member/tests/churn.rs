//! Members join and leave while records come in: nothing is lost, and with drains that end in time
//! nothing is repeated.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use super::super::super::producer::{OutRecord, Output, OutputOptions};
use super::super::super::testing::{Cluster, PATIENCE, eventually};
use super::super::super::{ClientOptions, InRecord, Ticket};
use super::super::{Assignor, Handler, Intake, IntakeHandle, IntakeOptions};

const TOPIC: &str = "churn";
const PARTITIONS: i32 = 4;

struct ToWorker(Sender<Ticket>);

impl Handler for ToWorker {
    fn record(&mut self, _record: &InRecord<'_>, ticket: Ticket) {
        self.0.send(ticket).ok();
    }
}

fn join(client: &ClientOptions, assignor: Assignor, worker: &Sender<Ticket>) -> IntakeHandle {
    let mut options = IntakeOptions::new(client.clone(), "churn", vec![TOPIC.to_owned()]);
    options.assignor = assignor;
    options.limits.commit_interval = Duration::from_millis(20);
    options.limits.in_flight_records = 100;
    Intake::spawn(&options, ToWorker(worker.clone())).unwrap()
}

/// Finishes tickets out of order, a handful at a time, and counts how often each record came.
fn work(tickets: &std::sync::mpsc::Receiver<Ticket>) -> BTreeMap<(i32, i64), u32> {
    let mut seen = BTreeMap::new();
    let mut held = Vec::new();
    loop {
        match tickets.recv_timeout(Duration::from_millis(5)) {
            Ok(ticket) => {
                *seen
                    .entry((ticket.partition(), ticket.offset()))
                    .or_insert(0) += 1;
                held.push(ticket);
                if held.len() >= 20 {
                    held.swap_remove(fastrand::usize(..held.len())).finish();
                }
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                held.drain(..).for_each(Ticket::finish);
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return seen,
        }
    }
}

/// Produces until `stop` is set, so that every guest meets records; returns the number of records
/// of each partition.
async fn produce(client: &ClientOptions, stop: &AtomicBool) -> i64 {
    let output = Output::new(&OutputOptions::new(client.named("out"))).unwrap();
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        for partition in 0..PARTITIONS {
            let record = OutRecord {
                partition: Some(partition),
                ..OutRecord::to(TOPIC, None, Some(b"v"))
            };
            assert!(output.offer(&record));
        }
        rounds += 1;
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    assert!(output.flush(PATIENCE).await);
    rounds
}

async fn churn(client: &ClientOptions, assignor: Assignor) {
    let (sender, tickets) = channel();
    let worker = std::thread::spawn(move || work(&tickets));
    let stop = Arc::new(AtomicBool::new(false));
    let producing = tokio::spawn({
        let client = client.clone();
        let stop = Arc::clone(&stop);
        async move { produce(&client, &stop).await }
    });
    let stays = join(client, assignor, &sender);
    for _ in 0..3 {
        let guest = join(client, assignor, &sender);
        eventually("the guest has work", || guest.stats().counters.records > 20);
        let counters = guest.stats().counters;
        guest.stop_intake();
        assert!(guest.drained(Instant::now() + PATIENCE).await);
        assert!(guest.shutdown(Instant::now() + PATIENCE).await);
        assert_eq!((counters.abandoned, counters.finished_late), (0, 0));
    }
    stop.store(true, Ordering::Relaxed);
    let each = producing.await.unwrap();
    eventually("one member has finished all", || {
        let partitions = stays.stats().partitions;
        partitions.len() == 4 && partitions.iter().all(|p| p.next_offset == each)
    });
    let counters = stays.stats().counters;
    assert_eq!(
        (
            counters.drain_timeouts,
            counters.lost,
            counters.finished_late
        ),
        (0, 0, 0),
        "{counters:?}"
    );
    assert!(stays.shutdown(Instant::now() + PATIENCE).await);
    drop(sender);
    let seen = worker.join().unwrap();
    let repeated: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
    let records = usize::try_from(each * i64::from(PARTITIONS)).unwrap();
    assert_eq!((seen.len(), repeated), (records, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incremental_rebalances_lose_and_repeat_nothing() {
    let cluster = Cluster::new(&[(TOPIC, PARTITIONS)]).await;
    churn(&cluster.client("c"), Assignor::CooperativeSticky).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eager_rebalances_lose_and_repeat_nothing() {
    let cluster = Cluster::new(&[(TOPIC, PARTITIONS)]).await;
    churn(&cluster.client("c"), Assignor::Range).await;
}
