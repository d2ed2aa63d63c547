mod churn;
mod standstill;
mod stuck;

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use wedcache_model::Unfinished as _;

use rdkafka::consumer::CommitMode;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use wedcache_model::TopicId;

use super::super::testing::{Cluster, PATIENCE, eventually};
use super::super::{Admin, ClientOptions};
use super::offsets::metadata::{CommitMetadata, MAX_LEN, encode};
use super::*;

const TOPIC: &str = "in";

/// A handler that passes every ticket to the test, and keeps the assignments and revocations.
struct Tickets {
    tickets: Sender<Ticket>,
    told: Arc<Mutex<Vec<String>>>,
}

impl Handler for Tickets {
    fn record(&mut self, record: &InRecord<'_>, ticket: Ticket) {
        assert_eq!(ticket.offset(), record.offset());
        assert_eq!(
            record.value().unwrap(),
            record.offset().to_string().as_bytes()
        );
        // The test may be over already.
        self.tickets.send(ticket).ok();
    }

    fn assigned(&mut self, partitions: &[Assigned]) {
        let mut told = self.told.lock();
        told.extend(
            partitions
                .iter()
                .map(|p| format!("+{}@{:?}", p.partition, p.next_offset)),
        );
    }

    fn revoked(&mut self, partitions: &[Revoked]) {
        let mut told = self.told.lock();
        told.extend(partitions.iter().map(|p| format!("-{}", p.partition)));
    }
}

struct Member {
    handle: IntakeHandle,
    tickets: Receiver<Ticket>,
    told: Arc<Mutex<Vec<String>>>,
}

impl Member {
    fn start(cluster: &Cluster, id: &str, change: impl FnOnce(&mut IntakeOptions)) -> Self {
        let mut options = IntakeOptions::new(cluster.client(id), "g", vec![TOPIC.to_owned()]);
        options.limits.commit_interval = Duration::from_millis(20);
        change(&mut options);
        let (sender, tickets) = channel();
        let told = Arc::<Mutex<Vec<String>>>::default();
        let handler = Tickets {
            tickets: sender,
            told: Arc::clone(&told),
        };
        let handle = Intake::spawn(&options, handler).unwrap();
        Self {
            handle,
            tickets,
            told,
        }
    }

    #[track_caller]
    fn take(&self, count: usize) -> Vec<Ticket> {
        (0..count)
            .map(|n| {
                let ticket = self.tickets.recv_timeout(PATIENCE);
                ticket.unwrap_or_else(|_| {
                    panic!(
                        "record {n} of {count} did not come: {:?}",
                        self.handle.stats()
                    )
                })
            })
            .collect()
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().clone()
    }

    async fn end(self) -> Receiver<Ticket> {
        assert!(self.handle.shutdown(Instant::now() + PATIENCE).await);
        self.tickets
    }
}

fn offsets(tickets: &[Ticket]) -> Vec<i64> {
    tickets.iter().map(Ticket::offset).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_repeats_only_what_was_unfinished() {
    let cluster = Cluster::new(&[(TOPIC, 1)]).await;
    cluster.fill(TOPIC, 0, 20).await;
    let first = Member::start(&cluster, "a", |_| {});
    let mut open = Vec::new();
    for ticket in first.take(20) {
        if [5, 6, 11].contains(&ticket.offset()) {
            open.push(ticket);
        } else {
            ticket.finish();
        }
    }
    eventually("a commit", || first.handle.stats().counters.commits > 0);
    let stats = first.handle.stats();
    assert_eq!(
        (stats.in_flight_records, stats.partitions[0].next_offset),
        (3, 5)
    );
    assert_eq!(first.told(), ["+0@None"]);
    first.end().await;
    assert_eq!(cluster.committed("g", TOPIC), Some(5));
    drop(open);

    let second = Member::start(&cluster, "b", |_| {});
    let again = second.take(3);
    assert_eq!(offsets(&again), [5, 6, 11]);
    again.into_iter().for_each(Ticket::finish);
    eventually("the whole is committed", || {
        cluster.committed("g", TOPIC) == Some(20)
    });
    let stats = second.handle.stats();
    assert_eq!((stats.counters.skipped, stats.counters.abandoned), (12, 0));
    assert_eq!(second.told(), ["+0@Some(5)"]);
    assert!(
        second.end().await.try_recv().is_err(),
        "nothing else was repeated"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_every_ticket_and_takes_in_nothing_new() {
    let cluster = Cluster::new(&[(TOPIC, 1)]).await;
    cluster.fill(TOPIC, 0, 3).await;
    let member = Member::start(&cluster, "a", |_| {});
    let mut tickets = member.take(3);
    member.handle.stop_intake();
    assert!(
        !member
            .handle
            .drained(Instant::now() + Duration::from_millis(200))
            .await
    );
    let last = tickets.pop();
    tickets.into_iter().for_each(Ticket::finish);
    let worker = std::thread::spawn(move || last.into_iter().for_each(Ticket::finish));
    assert!(member.handle.drained(Instant::now() + PATIENCE).await);
    worker.join().unwrap();
    cluster.fill(TOPIC, 0, 1).await;
    assert!(
        member.end().await.try_recv().is_err(),
        "a record after the stop"
    );
    assert_eq!(cluster.committed("g", TOPIC), Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intake_pauses_at_its_limit_and_goes_on_at_half_of_it() {
    let cluster = Cluster::new(&[(TOPIC, 1)]).await;
    cluster.fill(TOPIC, 0, 50).await;
    let member = Member::start(&cluster, "a", |o| o.limits.in_flight_records = 10);
    let mut open = member.take(10);
    eventually("a pause", || member.handle.stats().paused);
    eventually("the partition pauses", || {
        member.handle.stats().partitions[0].paused
    });
    open.drain(..4).for_each(Ticket::finish);
    assert!(
        member
            .tickets
            .recv_timeout(Duration::from_millis(300))
            .is_err(),
        "6 are above half"
    );
    assert!(member.handle.stats().paused);
    open.drain(..1).for_each(Ticket::finish);
    open.extend(member.take(5));
    assert_eq!(
        offsets(&open),
        (5..15).collect::<Vec<_>>(),
        "nothing is lost or repeated by a pause"
    );
    let mut seen = 15;
    while seen < 50 {
        open.drain(..).for_each(Ticket::finish);
        open.extend(member.take(1));
        open.extend(member.tickets.try_iter());
        assert_eq!(open[0].offset(), seen);
        seen += i64::try_from(open.len()).unwrap();
    }
    // Records that are finished at once cause no pause; the number of pauses depends on the
    // machine.
    assert!(member.handle.stats().counters.pauses >= 1);
    open.into_iter().for_each(Ticket::finish);
    eventually("all is committed", || {
        cluster.committed("g", TOPIC) == Some(50)
    });
    member.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_waits_for_work_in_flight_and_commits_it() {
    let cluster = Cluster::new(&[(TOPIC, 2)]).await;
    for partition in [0, 1] {
        cluster.fill(TOPIC, partition, 2).await;
    }
    let first = Member::start(&cluster, "a", |o| o.drain_timeout = PATIENCE);
    let open = first.take(4);
    let second = Member::start(&cluster, "b", |_| {});
    // A partition leaves the statistics when its drain begins.
    eventually("a drain", || first.handle.stats().partitions.len() == 1);
    assert!(second.tickets.try_recv().is_err());
    open.into_iter().for_each(Ticket::finish);
    eventually("the second member owns one", || {
        second.handle.stats().partitions.len() == 1
    });
    let stats = first.handle.stats();
    assert_eq!(
        (stats.counters.drain_timeouts, stats.counters.finished_late),
        (0, 0)
    );
    assert_eq!((stats.counters.finished, stats.counters.revoked), (4, 1));
    let next = second.handle.stats().partitions[0].next_offset;
    assert_eq!(
        next, 2,
        "the new owner starts after what was finished during the drain"
    );
    first.end().await;
    second.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_may_be_handed_over_holds_up_no_partition_and_is_the_new_owners() {
    let cluster = Cluster::new(&[(TOPIC, 2)]).await;
    for partition in [0, 1] {
        cluster.fill(TOPIC, partition, 2).await;
    }
    let may = Arc::new(AtomicBool::new(false));
    let first = Member::start(&cluster, "a", |o| {
        let may = Arc::clone(&may);
        o.drain_timeout = PATIENCE;
        o.hand_over = HandOver::when(move || may.load(Ordering::Relaxed));
    });
    let mut open = first.take(4);
    let second = Member::start(&cluster, "b", |_| {});
    eventually("a drain", || first.handle.stats().partitions.len() == 1);
    // One of the moving partition's two is finished before it goes.
    let kept = first.handle.stats().partitions[0].partition;
    let at = open.iter().position(|of| of.partition() != kept).unwrap();
    open.remove(at).finish();
    may.store(true, Ordering::Relaxed);
    let repeated = second.take(1).remove(0);
    assert_ne!(repeated.partition(), kept);
    let admin = Admin::new(&cluster.client("admin"), PATIENCE).unwrap();
    assert_eq!(admin.members("g").await.unwrap(), 2);
    assert_eq!(admin.members("of nobody").await.unwrap(), 0);
    let counters = first.handle.stats().counters;
    assert_eq!((counters.handed_over, counters.drain_timeouts), (1, 0));
    let late: Vec<_> = open.iter().filter(|of| of.is_fenced()).collect();
    assert_eq!(late.len(), 1);
    open.into_iter().for_each(Ticket::finish);
    repeated.finish();
    first.end().await;
    second.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_finishes_after_the_drains_deadline_is_repeated_by_the_new_owner() {
    let cluster = Cluster::new(&[(TOPIC, 2)]).await;
    for partition in [0, 1] {
        cluster.fill(TOPIC, partition, 1).await;
    }
    let first = Member::start(&cluster, "a", |o| {
        o.drain_timeout = Duration::from_millis(50);
    });
    let open = first.take(2);
    let second = Member::start(&cluster, "b", |_| {});
    let repeated = second.take(1).remove(0);
    let moved = repeated.partition();
    assert_eq!(first.handle.stats().counters.drain_timeouts, 1);
    open.into_iter().for_each(Ticket::finish);
    let counters = first.handle.stats().counters;
    assert_eq!((counters.finished, counters.finished_late), (1, 1));
    assert!(first.told().contains(&format!("-{moved}")));
    let stats = second.handle.stats();
    assert_eq!(
        stats.partitions[0].next_offset, 0,
        "the late finish moved nothing"
    );
    repeated.finish();
    eventually("the new owner commits", || {
        second.handle.stats().partitions[0].next_offset == 1
    });
    first.end().await;
    second.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_away_is_waited_for() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = dead.local_addr().unwrap().to_string();
    drop(dead);
    let options = IntakeOptions::new(
        ClientOptions::new(address, "a"),
        "g",
        vec![TOPIC.to_owned()],
    );
    let (sender, tickets) = channel();
    let handler = Tickets {
        tickets: sender,
        told: Arc::default(),
    };
    let handle = Intake::spawn(&options, handler).unwrap();
    eventually("trouble is told", || {
        handle.stats().counters.all_brokers_down > 0
    });
    assert!(handle.is_running() && handle.stats().last_error.is_some());
    assert!(handle.shutdown(Instant::now() + PATIENCE).await);
    assert!(tickets.try_recv().is_err());
}

#[test]
fn settings_that_librdkafka_refuses_are_an_error_at_the_start() {
    let mut client = ClientOptions::new("localhost:1", "a");
    client
        .properties
        .insert("no.such.property".into(), "1".into());
    let (sender, _tickets) = channel();
    let handler = Tickets {
        tickets: sender,
        told: Arc::default(),
    };
    let error = Intake::spawn(&IntakeOptions::new(client, "g", vec![]), handler).unwrap_err();
    assert!(
        matches!(error, KafkaError::Property { .. }) && !error.retry(),
        "{error}"
    );
}

/// Deletes the topic and makes it again with `count` records, before the member can notice.
async fn make_again(cluster: &Cluster, count: usize) {
    cluster.0.delete_topic(TOPIC).unwrap();
    cluster.0.create_topic(TOPIC, 1, &[]).unwrap();
    cluster.fill(TOPIC, 0, count).await;
}

/// Commits an offset like a member that takes the topic for `topic`.
fn commit_of(cluster: &Cluster, next: i64, topic: Option<TopicId>) {
    let known = CommitMetadata {
        topic,
        finished: Vec::new(),
    };
    let config = [("group.id", "g"), ("enable.auto.commit", "false")];
    let consumer: BaseConsumer = cluster
        .client("late")
        .config(&config)
        .unwrap()
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition(TOPIC, 0);
    element.set_metadata(encode(next, &known, MAX_LEN).0);
    element.set_offset(Offset::Offset(next)).unwrap();
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

/// Finishes records until each of the first `count` offsets has come.
#[track_caller]
fn finish_all_of(member: &Member, count: i64) {
    let mut missing: std::collections::BTreeSet<i64> = (0..count).collect();
    while !missing.is_empty() {
        let ticket = member.take(1).remove(0);
        missing.remove(&ticket.offset());
        ticket.finish();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_made_again_while_the_member_was_away_is_read_from_its_start() {
    for count in [3, 8, 20] {
        let cluster = Cluster::new(&[(TOPIC, 1)]).await;
        cluster.fill(TOPIC, 0, 8).await;
        let first = Member::start(&cluster, "a", |_| {});
        first.take(8).into_iter().for_each(Ticket::finish);
        eventually("all is committed", || {
            cluster.committed("g", TOPIC) == Some(8)
        });
        first.end().await;

        let old = cluster.topic_id(TOPIC);
        make_again(&cluster, count).await;
        // Kafka forgets the offsets of a deleted topic; a member that has not noticed commits
        // again.
        commit_of(&cluster, 8, old);
        let second = Member::start(&cluster, "b", |_| {});
        let again = second.take(count);
        assert_eq!(offsets(&again), (0..).take(count).collect::<Vec<_>>());
        again.into_iter().for_each(Ticket::finish);
        assert_eq!(second.told(), ["+0@None"]);
        assert_eq!(second.handle.stats().counters.topics_recreated, 1);
        let end = i64::try_from(count).unwrap();
        eventually("the new topic is committed", || {
            cluster.committed("g", TOPIC) == Some(end)
        });
        second.end().await;

        let third = Member::start(&cluster, "c", |_| {});
        eventually("it is assigned", || !third.told().is_empty());
        assert_eq!(third.told(), [format!("+0@Some({end})")]);
        third.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_made_again_under_the_member_is_read_from_its_start() {
    for count in [3, 8, 20] {
        let cluster = Cluster::new(&[(TOPIC, 1)]).await;
        cluster.fill(TOPIC, 0, 8).await;
        let member = Member::start(&cluster, "a", |_| {});
        let mut old = member.take(8);
        let unfinished = old.pop().unwrap();
        old.into_iter().for_each(Ticket::finish);
        eventually("a commit", || cluster.committed("g", TOPIC) == Some(7));

        make_again(&cluster, usize::try_from(count).unwrap()).await;
        finish_all_of(&member, count);
        eventually("the new topic is committed", || {
            // The offsets that the old assignment has already passed come again.
            member.tickets.try_iter().for_each(Ticket::finish);
            cluster.committed("g", TOPIC) == Some(count)
        });
        assert!(
            unfinished.is_fenced() && !unfinished.comes_again(),
            "its record is gone with the topic"
        );
        unfinished.finish();
        assert_eq!(cluster.committed("g", TOPIC), Some(count));
        member.end().await;
    }
}
