use std::sync::mpsc::channel;

use super::super::testing::{Cluster, PATIENCE, eventually};
use super::super::{ClientOptions, Handler, InRecord, Intake, IntakeOptions};
use super::*;

/// Answers every record and lets the delivery finish it.
struct Echo {
    output: Output,
    topic: &'static str,
}

impl Handler for Echo {
    fn record(&mut self, record: &InRecord<'_>, ticket: Ticket) {
        let answer = OutRecord {
            trace: record.trace_parent(),
            ..OutRecord::to(self.topic, record.key(), record.value())
        };
        let sent = self
            .output
            .send_or_wait(&answer, Delivery::Finish(ticket), PATIENCE);
        if let Err(refused) = sent {
            assert_eq!(refused.reason, Refusal::TooLarge);
        }
    }
}

fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivered_answer_finishes_its_query() {
    let cluster = Cluster::new(&[("in", 1), ("out", 3)]).await;
    cluster.fill("in", 0, 500).await;
    let echo = Echo {
        output: cluster.output(),
        topic: "out",
    };
    let options = IntakeOptions::new(cluster.client("a"), "g", vec!["in".to_owned()]);
    let handle = Intake::spawn(&options, echo).unwrap();
    eventually("all is committed", || {
        cluster.committed("g", "in") == Some(500)
    });
    let ends: i64 = (0..3)
        .map(|p| cluster.0.watermarks("out", p).unwrap().1)
        .sum();
    assert_eq!(ends, 500, "nothing is committed before its answer is there");
    assert_eq!(handle.stats().counters.abandoned, 0);
    assert!(handle.shutdown(deadline()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_could_not_be_delivered_comes_back_with_its_ticket() {
    let cluster = Cluster::new(&[("in", 1)]).await;
    cluster.fill("in", 0, 3).await;
    let mut options = OutputOptions::new(cluster.client("out"));
    options.delivery_timeout = Some(Duration::from_millis(300));
    let output = Output::new(&options).unwrap();
    let echo = Echo {
        output: output.clone(),
        topic: "missing",
    };
    let options = IntakeOptions::new(cluster.client("a"), "g", vec!["in".to_owned()]);
    let handle = Intake::spawn(&options, echo).unwrap();
    let failed = || output.counters().failed.load(Ordering::Relaxed);
    eventually("failed deliveries", || failed() == 3);
    let mut returned = Vec::new();
    while returned.len() < 3 {
        returned.extend(output.returned().take(2).await);
    }
    let stats = handle.stats();
    assert_eq!(
        (stats.in_flight_records, stats.partitions[0].next_offset),
        (3, 0)
    );
    assert!(stats.oldest_unfinished.is_none(), "they are held back");
    for one in returned {
        assert_eq!(one.record.topic, "missing");
        assert_eq!(
            one.record.value,
            Some(one.ticket.offset().to_string().into_bytes())
        );
        one.ticket.finish();
    }
    eventually("all is committed", || {
        cluster.committed("g", "in") == Some(3)
    });
    assert!(handle.shutdown(deadline()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_stand_in_order_at_the_offsets_that_are_told() {
    let cluster = Cluster::new(&[("log", 1)]).await;
    let output = cluster.output();
    let first = output
        .append(&OutRecord::to("log", Some(b"k"), None), deadline())
        .await
        .unwrap();
    assert_eq!(
        first,
        Appended {
            partition: 0,
            offset: 0
        }
    );
    let values: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    let records: Vec<_> = values
        .iter()
        .map(|v| OutRecord::to("log", Some(b"k"), Some(v.as_bytes())))
        .collect();
    let appended = output.append_all(&records, deadline()).await.unwrap();
    let offsets: Vec<_> = appended.iter().map(|a| a.offset).collect();
    assert_eq!(offsets, (1..=100).collect::<Vec<_>>());
    assert!(output.flush(PATIENCE).await && output.in_flight() == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_hands_the_ticket_back_or_drops_what_may_be_lost() {
    let client = ClientOptions::new("127.0.0.1:1", "out");
    let options = OutputOptions {
        queue_records: 2,
        ..OutputOptions::new(client)
    };
    let output = Output::new(&options).unwrap();
    let record = OutRecord::to("t", None, Some(b"x"));
    assert!(output.offer(&record) && output.offer(&record));
    assert!(!output.offer(&record));
    let (sender, _report) = oneshot::channel();
    let refused = output.send(&record, Delivery::Report(sender)).unwrap_err();
    assert_eq!(refused.reason, Refusal::QueueFull);
    assert!(matches!(refused.delivery, Delivery::Report(_)));
    let wait = Duration::from_millis(30);
    let refused = output
        .send_or_wait(&record, refused.delivery, wait)
        .unwrap_err();
    assert_eq!(refused.reason, Refusal::QueueFull);
    let error = output
        .append(&record, Instant::now() + wait)
        .await
        .unwrap_err();
    assert!(error.retry(), "{error}");
    assert_eq!(output.counters().dropped.load(Ordering::Relaxed), 1);
    assert!(!output.flush(wait).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_too_large_is_refused_at_once() {
    let cluster = Cluster::new(&[("t", 1)]).await;
    let value = vec![b'x'; 1_000_001];
    let error = cluster
        .output()
        .append(&OutRecord::to("t", None, Some(&value)), deadline())
        .await;
    let error = error.unwrap_err();
    assert!(
        !error.retry() && error.to_string().contains("larger"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_and_trace_arrive_as_they_were_sent() {
    struct Read(std::sync::mpsc::Sender<Seen>);
    type Seen = (
        Vec<(String, Option<Vec<u8>>)>,
        Option<TraceParent>,
        Timestamp,
    );
    impl Handler for Read {
        fn record(&mut self, record: &InRecord<'_>, ticket: Ticket) {
            let headers = record
                .headers()
                .map(|(n, v)| (n.to_owned(), v.map(<[u8]>::to_vec)));
            assert_eq!(
                record.header("a"),
                Some(&b"2"[..]),
                "the last of its name counts"
            );
            self.0
                .send((headers.collect(), record.trace_parent(), record.timestamp()))
                .unwrap();
            ticket.finish();
        }
    }
    let cluster = Cluster::new(&[("in", 1)]).await;
    let trace = TraceParent::fresh();
    let record = OutRecord {
        trace: Some(trace),
        headers: &[("a", Some(b"1")), ("none", None), ("a", Some(b"2"))],
        timestamp: Some(Timestamp(1_700_000_000_000)),
        ..OutRecord::to("in", None, Some(b"v"))
    };
    cluster.output().append(&record, deadline()).await.unwrap();
    let (sender, seen) = channel();
    let options = IntakeOptions::new(cluster.client("a"), "g", vec!["in".to_owned()]);
    let handle = Intake::spawn(&options, Read(sender)).unwrap();
    let (headers, got_trace, at) = seen.recv_timeout(PATIENCE).unwrap();
    assert_eq!((got_trace, at), (Some(trace), Timestamp(1_700_000_000_000)));
    let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["traceparent", "a", "none", "a"]);
    assert_eq!(headers[2].1, None);
    assert!(handle.shutdown(deadline()).await);
}
