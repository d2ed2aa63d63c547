mod codecs;

use std::sync::mpsc::{Receiver, channel};

use wedcache_broker::Damage;
use wedcache_rules::invalidation::log::ReaderEvent;

use super::super::producer::OutRecord;
use super::super::standstill::{BadBatch, BatchFault};
use super::super::testing::{Cluster, Filling, PATIENCE, eventually};
use super::thread::RETRY_WAIT;
use super::*;

const LOG: &str = "log";

/// A receiver of events one by one, without those that come at intervals.
struct Events {
    batches: Receiver<Vec<ReaderEvent>>,
    rest: std::collections::VecDeque<ReaderEvent>,
}

impl Events {
    #[track_caller]
    fn next(&mut self) -> ReaderEvent {
        loop {
            if let Some(event) = self.rest.pop_front() {
                if !matches!(event, ReaderEvent::Ends { .. } | ReaderEvent::Position(_)) {
                    return event;
                }
            } else {
                self.rest
                    .extend(self.batches.recv_timeout(PATIENCE).expect("an event"));
            }
        }
    }

    /// Returns the offsets of the records up to the next end of the log, and the position there.
    #[track_caller]
    fn until_caught_up(&mut self) -> (Vec<i64>, i64) {
        let mut offsets = Vec::new();
        loop {
            match self.next() {
                ReaderEvent::Record(record) => offsets.push(record.offset),
                ReaderEvent::Started { .. } => offsets.clear(),
                ReaderEvent::CaughtUp { position } => return (offsets, position),
                other => panic!("{other:?} after {offsets:?}"),
            }
        }
    }
}

fn read(cluster: &Cluster) -> (PartitionReader, Events) {
    let (sender, batches) = channel();
    let mut options = ReaderOptions::new(cluster.client("r"), LOG);
    options.ends_interval = Duration::from_millis(50);
    let follow = move |events| {
        sender.send(events).ok();
    };
    let reader = PartitionReader::spawn(options, follow).unwrap();
    let rest = std::collections::VecDeque::new();
    (reader, Events { batches, rest })
}

async fn append(cluster: &Cluster, key: &str, count: usize) {
    let record = OutRecord::to(LOG, Some(key.as_bytes()), Some(b"v"));
    let deadline = Instant::now() + PATIENCE;
    // Not compressed, so that the embedded broker can compact it.
    let mut options = super::super::producer::OutputOptions::new(cluster.client("out"));
    options.compression = super::super::producer::Compression::None;
    let output = super::super::producer::Output::new(&options).unwrap();
    output
        .append_all(&vec![record; count], deadline)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_read_to_its_end_and_then_followed() {
    let cluster = Cluster::new(&[(LOG, 1)]).await;
    append(&cluster, "a", 1500).await;
    let (reader, mut events) = read(&cluster);
    assert_eq!(
        events.next(),
        ReaderEvent::Started {
            topic: cluster.topic_id(LOG),
            log_start: 0,
            log_end: 1500
        }
    );
    assert_eq!(events.until_caught_up(), ((0..1500).collect(), 1500));
    append(&cluster, "a", 1).await;
    assert_eq!(events.until_caught_up(), (vec![1500], 1501));
    assert!(reader.is_running());
    assert!(reader.shutdown(Instant::now() + PATIENCE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_log_is_caught_up_with_at_once() {
    let cluster = Cluster::new(&[(LOG, 1)]).await;
    let (_reader, mut events) = read(&cluster);
    assert_eq!(
        events.next(),
        ReaderEvent::Started {
            topic: cluster.topic_id(LOG),
            log_start: 0,
            log_end: 0
        }
    );
    assert_eq!(events.until_caught_up(), (vec![], 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_that_compaction_emptied_are_passed_also_at_the_end() {
    let cluster = Cluster::new(&[]).await;
    cluster
        .0
        .create_topic(LOG, 1, &[("cleanup.policy", "compact")])
        .unwrap();
    append(&cluster, "a", 5).await;
    append(&cluster, "b", 5).await;
    // Two tombstones whose keys have nothing else: the last offsets hold no record.
    let record = OutRecord::to(LOG, Some(b"b"), None);
    let deadline = Instant::now() + PATIENCE;
    cluster.output().append(&record, deadline).await.unwrap();
    assert!(cluster.0.compact(LOG).unwrap() >= 8);
    let (_reader, mut events) = read(&cluster);
    assert_eq!(
        events.next(),
        ReaderEvent::Started {
            topic: cluster.topic_id(LOG),
            log_start: 0,
            log_end: 11
        }
    );
    let (offsets, position) = events.until_caught_up();
    assert!(offsets.contains(&4) && !offsets.contains(&3), "{offsets:?}");
    assert_eq!(position, 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_deleted_and_made_anew_is_told_and_read_again() {
    let cluster = Cluster::new(&[(LOG, 1)]).await;
    append(&cluster, "a", 10).await;
    let (_reader, mut events) = read(&cluster);
    assert_eq!(
        events.next(),
        ReaderEvent::Started {
            topic: cluster.topic_id(LOG),
            log_start: 0,
            log_end: 10
        }
    );
    events.until_caught_up();
    cluster.0.delete_topic(LOG).unwrap();
    assert_eq!(events.next(), ReaderEvent::Gone);
    cluster.0.create_topic(LOG, 1, &[]).unwrap();
    append(&cluster, "b", 2).await;
    let ReaderEvent::Started { log_start: 0, .. } = events.next() else {
        panic!("not started again");
    };
    let mut offsets = Vec::new();
    while offsets.len() < 2 {
        offsets.extend(events.until_caught_up().0);
    }
    assert_eq!(offsets, [0, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_ends_below_the_position_is_told_as_truncated() {
    let cluster = Cluster::new(&[(LOG, 1)]).await;
    append(&cluster, "a", 10).await;
    let (_reader, mut events) = read(&cluster);
    events.next();
    events.until_caught_up();
    cluster.0.delete_topic(LOG).unwrap();
    cluster.0.create_topic(LOG, 1, &[]).unwrap();
    // The reader may see the moment between the two; then the log is gone.
    match events.next() {
        ReaderEvent::Truncated {
            position, log_end, ..
        } => assert_eq!((position, log_end), (10, 0)),
        other => assert_eq!(other, ReaderEvent::Gone),
    }
    // A second notice of the same, from librdkafka itself, makes it begin once more.
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(ReaderEvent::CaughtUp { .. })) {
        seen.push(events.next());
    }
    let started = ReaderEvent::Started {
        topic: cluster.topic_id(LOG),
        log_start: 0,
        log_end: 0,
    };
    assert_eq!(
        seen[seen.len() - 2..],
        [started, ReaderEvent::CaughtUp { position: 0 }]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_made_again_and_is_longer_than_before_is_read_from_its_start() {
    let cluster = Cluster::new(&[(LOG, 1)]).await;
    append(&cluster, "a", 5).await;
    let (_reader, mut events) = read(&cluster);
    events.next();
    events.until_caught_up();
    cluster.0.delete_topic(LOG).unwrap();
    cluster.0.create_topic(LOG, 1, &[]).unwrap();
    append(&cluster, "b", 12).await;
    let mut offsets = Vec::new();
    loop {
        match events.next() {
            // Another start means that everything is read again.
            ReaderEvent::Started { topic, .. } => {
                assert_eq!(topic, cluster.topic_id(LOG));
                offsets.clear();
            }
            ReaderEvent::Record(record) => offsets.push(record.offset),
            _ => {}
        }
        if offsets.iter().copied().eq(0..12) {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_missing_is_told_once_and_waited_for() {
    let cluster = Cluster::new(&[]).await;
    let (_reader, mut events) = read(&cluster);
    assert_eq!(events.next(), ReaderEvent::Gone);
    cluster.0.create_topic(LOG, 1, &[]).unwrap();
    assert_eq!(
        events.next(),
        ReaderEvent::Started {
            topic: cluster.topic_id(LOG),
            log_start: 0,
            log_end: 0
        }
    );
    assert_eq!(events.until_caught_up(), (vec![], 0));
}

async fn stands_still_at(damage: Damage, fault: BatchFault) {
    let cluster = Cluster::new(&[(LOG, 1)]).await;
    for key in ["a", "b", "c"] {
        append(&cluster, key, 2).await;
    }
    assert!(cluster.0.damage(LOG, 0, 2, damage));
    let (reader, mut events) = read(&cluster);
    let bad = Standstill::Undecodable(BadBatch { offset: 2, fault });
    eventually("it is named", || {
        reader.standstill().is_some_and(|(_, why)| why == bad)
    });
    // Nothing behind it is read, and the end is not reached, however often it is tried.
    std::thread::sleep(3 * RETRY_WAIT);
    assert!(cluster.0.damage(LOG, 0, 2, damage));
    let (offsets, position) = events.until_caught_up();
    assert_eq!((offsets, position), (vec![0, 1, 2, 3, 4, 5], 6));
    assert!(reader.standstill().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_decompressed_is_not_passed() {
    stands_still_at(Damage::Codec, BatchFault::Codec(7)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_a_wrong_checksum_is_not_left_out() {
    stands_still_at(Damage::Bytes, BatchFault::Checksum).await;
}

/// Tests that the content of a batch with a wrong checksum is not taken for records or positions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_damaged_batch_holds_moves_no_position() {
    for filling in [
        Filling::Text,
        Filling::Zeros,
        Filling::Heads,
        Filling::Noise,
    ] {
        let cluster = Cluster::new(&[(LOG, 1)]).await;
        append(&cluster, "a", 3).await;
        cluster.append(LOG, 0, &filling.values()).await;
        append(&cluster, "b", 3).await;
        assert!(cluster.0.damage(LOG, 0, 3, Damage::Bytes));
        let (reader, mut events) = read(&cluster);
        eventually("it is named", || reader.standstill().is_some());
        std::thread::sleep(10 * RETRY_WAIT);
        assert!(cluster.0.damage(LOG, 0, 3, Damage::Bytes));
        let (offsets, position) = events.until_caught_up();
        assert_eq!(
            (offsets, position),
            ((0..206).collect(), 206),
            "{filling:?}"
        );
    }
}

/// Tests that reading resumes once retention has removed a batch that cannot be read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_batch_that_retention_removes_is_no_standstill() {
    for damage in [Damage::Codec, Damage::Bytes] {
        let cluster = Cluster::new(&[(LOG, 1)]).await;
        append(&cluster, "a", 2).await;
        cluster.append(LOG, 0, &Filling::Text.values()).await;
        append(&cluster, "b", 2).await;
        assert!(cluster.0.damage(LOG, 0, 2, damage));
        let (reader, mut events) = read(&cluster);
        eventually("it is named", || reader.standstill().is_some());
        assert!(cluster.0.delete_before(LOG, 0, 202));
        let (mut offsets, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        let position = loop {
            match events.next() {
                ReaderEvent::Record(record) => offsets.push(record.offset),
                ReaderEvent::Started { .. } => offsets.clear(),
                ReaderEvent::CaughtUp { position } => break position,
                _ => assert!(Instant::now() < deadline, "it stands still for ever"),
            }
        };
        assert_eq!((offsets, position), (vec![202, 203], 204));
        assert!(reader.standstill().is_none());
    }
}
