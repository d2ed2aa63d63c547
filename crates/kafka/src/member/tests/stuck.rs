//! Records that stay unfinished while thousands behind them are done, and commit metadata of
//! others: after a crash what was unfinished is repeated, and nothing is skipped.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::super::super::InRecord;
use super::super::super::testing::{Cluster, PATIENCE, eventually};
use super::super::offsets::Tracker;
use super::super::ticket::Ticket;
use super::super::{Handler, Intake, IntakeHandle, IntakeOptions};

const TOPIC: &str = "in";

/// A handler that finishes records at once, but for those that it is to hold.
struct Holds {
    which: fn(i64) -> bool,
    held: Sender<Ticket>,
    finished: Sender<i64>,
}

impl Handler for Holds {
    fn record(&mut self, record: &InRecord<'_>, ticket: Ticket) {
        if (self.which)(record.offset()) {
            // The test may be over already.
            self.held.send(ticket).ok();
        } else {
            self.finished.send(record.offset()).ok();
            ticket.finish();
        }
    }
}

struct HoldingMember {
    handle: IntakeHandle,
    held: Receiver<Ticket>,
    finished: Receiver<i64>,
}

impl HoldingMember {
    fn join(cluster: &Cluster, group: &str, holds: fn(i64) -> bool) -> Self {
        let mut options = IntakeOptions::new(cluster.client("m"), group, vec![TOPIC.to_owned()]);
        options.limits.commit_interval = Duration::from_millis(20);
        options.limits.in_flight_records = 100_000;
        let ((held, is_held), (finished, is_finished)) = (channel(), channel());
        let handler = Holds {
            which: holds,
            held,
            finished,
        };
        Self {
            handle: Intake::spawn(&options, handler).unwrap(),
            held: is_held,
            finished: is_finished,
        }
    }

    fn next_intake(&self) -> i64 {
        let partitions = self.handle.stats().partitions;
        partitions.first().map_or(0, |one| one.next_intake)
    }

    async fn end(self) {
        assert!(self.handle.shutdown(Instant::now() + PATIENCE).await);
    }
}

/// Commits an offset as another client, or a process that was killed, left it in the group.
fn commit(cluster: &Cluster, group: &str, offset: i64, metadata: &str) {
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", cluster.0.bootstrap());
    let consumer: BaseConsumer = config.set("group.id", group).create().unwrap();
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition(TOPIC, 0);
    element.set_metadata(metadata);
    element.set_offset(Offset::Offset(offset)).unwrap();
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

/// Waits until what is committed claims all of `finished`, then hands it to another group: its
/// first member finds what a successor finds after a kill at this moment.
fn crash(cluster: &Cluster, from: &str, to: &str, finished: &BTreeSet<i64>) -> i64 {
    let mut last = None;
    eventually("all that is finished is committed", || {
        let Some(committed) = cluster.0.committed(from, TOPIC, 0) else {
            return false;
        };
        let (tracker, unreadable) = Tracker::restore(committed.offset, &committed.metadata);
        assert_eq!(unreadable, None);
        let whole = finished
            .iter()
            .all(|offset| *offset < committed.offset || tracker.already_finished(*offset));
        last = Some(committed);
        whole
    });
    let committed = last.unwrap();
    commit(cluster, to, committed.offset, &committed.metadata);
    committed.offset
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_thousand_records_a_crash_repeats_the_one_that_was_stuck() {
    const RECORDS: usize = 50_001;
    const END: i64 = 50_001;
    let cluster = Cluster::new(&[(TOPIC, 1)]).await;
    cluster.fill(TOPIC, 0, RECORDS).await;
    let first = HoldingMember::join(&cluster, "g", |offset| offset == 7);
    eventually("all are taken in", || first.next_intake() == END);
    let finished: BTreeSet<_> = first.finished.try_iter().collect();
    assert_eq!(finished.len(), 50_000);
    let stats = first.handle.stats();
    assert_eq!((stats.in_flight_records, stats.counters.pauses), (1, 0));
    assert_eq!(crash(&cluster, "g", "after", &finished), 7);

    let second = HoldingMember::join(&cluster, "after", |_| false);
    eventually("the end is committed", || {
        cluster.committed("after", TOPIC) == Some(END)
    });
    let repeated: Vec<_> = second.finished.try_iter().collect();
    assert_eq!(repeated, [7]);
    assert_eq!(second.handle.stats().counters.skipped, 50_000 - 7);
    drop(first.held);
    first.handle.shutdown(Instant::now() + PATIENCE).await;
    second.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intake_stops_before_the_metadata_overflows_and_a_crash_repeats_what_was_open() {
    const RECORDS: usize = 24_000;
    const END: i64 = 24_000;
    let cluster = Cluster::new(&[(TOPIC, 1)]).await;
    cluster.fill(TOPIC, 0, RECORDS).await;
    let first = HoldingMember::join(&cluster, "g", |offset| offset % 2 == 0);
    eventually("the partition pauses", || {
        let partitions = first.handle.stats().partitions;
        partitions.first().is_some_and(|one| one.paused)
    });
    let stopped_at = first.next_intake();
    // Three quarters of 4096 characters, six offsets each, and what one poll may bring beyond.
    assert!((18_300..18_800).contains(&stopped_at), "{stopped_at}");
    let finished: BTreeSet<_> = first.finished.try_iter().collect();
    assert_eq!(crash(&cluster, "g", "after", &finished), 0);
    assert_eq!(first.next_intake(), stopped_at, "it stays so");
    assert_eq!(first.handle.stats().counters.commits_truncated, 0);

    let second = HoldingMember::join(&cluster, "after", |_| false);
    eventually("the end is committed", || {
        cluster.committed("after", TOPIC) == Some(END)
    });
    let again: BTreeSet<_> = second.finished.try_iter().collect();
    let want: BTreeSet<_> = (0..END)
        .filter(|offset| !finished.contains(offset))
        .collect();
    assert_eq!(
        again, want,
        "each that was not finished, once, and no other"
    );
    second.end().await;

    // The first one goes on as well once the gaps close.
    first.held.try_iter().for_each(Ticket::finish);
    eventually("intake goes on", || first.next_intake() > stopped_at);
    drop(first.held);
    first.handle.shutdown(Instant::now() + PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_of_others_is_ignored_and_nothing_is_skipped_for_it() {
    let cluster = Cluster::new(&[(TOPIC, 1)]).await;
    cluster.fill(TOPIC, 0, 20).await;
    let ours = {
        let mut tracker = Tracker::new(5);
        for offset in 5..9 {
            tracker.begin(offset, 1, Instant::now());
        }
        tracker.finish(7);
        tracker.next_commit().unwrap().metadata
    };
    let moved = ours.clone();
    let strange = [
        ("flink", "flink:7".to_owned()),
        ("json", r#"{"at": "2026-11-22"}"#.to_owned()),
        ("damaged", ours.replace("wc1", "wc1r")),
        ("cut", ours[..ours.len() - 1].to_owned()),
        ("later", ours.replace("wc1", "wc2")),
        ("not-ascii", "größer".to_owned()),
        ("long", "x".repeat(4096)),
    ];
    for (group, metadata) in strange {
        commit(&cluster, group, 5, &metadata);
        let member = HoldingMember::join(&cluster, group, |_| false);
        eventually(group, || cluster.committed(group, TOPIC) == Some(20));
        let came: Vec<_> = member.finished.try_iter().collect();
        assert_eq!(came, (5..20).collect::<Vec<_>>(), "{group}");
        assert_eq!(
            member.handle.stats().counters.metadata_unreadable,
            1,
            "{group}"
        );
        member.end().await;
    }
    // A tool that moves the offset and keeps the metadata.
    commit(&cluster, "moved", 4, &moved);
    let member = HoldingMember::join(&cluster, "moved", |_| false);
    eventually("moved", || cluster.committed("moved", TOPIC) == Some(20));
    assert_eq!(member.finished.try_iter().count(), 16);
    member.end().await;
}
