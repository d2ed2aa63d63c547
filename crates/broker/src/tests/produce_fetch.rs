//! Records in and out: bytes, order, times, limits, long polls.

use std::collections::HashSet;

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders, Timestamp};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use wedcache_model as model;
use wedcache_model::clock::Clock;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_comes_back_with_key_value_headers_and_time() {
    let broker = broker().await;
    broker.create_topic("t", 1, &[]).unwrap();
    let producer = producer(&broker, &[("acks", "1")]);
    let headers = OwnedHeaders::new()
        .insert(Header {
            key: "traceparent",
            value: Some("00-ab"),
        })
        .insert(Header {
            key: "none",
            value: None::<&[u8]>,
        });
    let record = BaseRecord::to("t")
        .key(b"k\0")
        .payload(b"v\xff")
        .timestamp(1234)
        .headers(headers);
    producer.send(record).unwrap();
    producer
        .send(BaseRecord::<[u8], [u8]>::to("t").key(b"tombstone"))
        .unwrap();
    producer.flush(DEADLINE).unwrap();

    let consumer = consumer(&broker, &[]);
    consumer.subscribe(&["t"]).unwrap();
    let records = consume(&consumer, 2);
    assert_eq!(records[0].key(), Some(&b"k\0"[..]));
    assert_eq!(records[0].payload(), Some(&b"v\xff"[..]));
    assert_eq!(records[0].timestamp(), Timestamp::CreateTime(1234));
    assert_eq!(header(&records[0], "traceparent").unwrap(), b"00-ab");
    assert_eq!(header(&records[0], "none"), None);
    assert_eq!(records[1].payload(), None);
    assert_eq!(records[1].offset(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_batches_pass_through() {
    let broker = broker().await;
    for codec in ["gzip", "lz4", "snappy"] {
        broker.create_topic(codec, 1, &[]).unwrap();
        let producer = producer(
            &broker,
            &[("compression.codec", codec), ("linger.ms", "50")],
        );
        let value = "a wedding in Austin ".repeat(100);
        for _ in 0..200 {
            producer
                .send(BaseRecord::<[u8], str>::to(codec).payload(&value))
                .unwrap();
        }
        producer.flush(DEADLINE).unwrap();
        assert!(
            broker.stored_bytes() < 200 * value.len(),
            "{codec} did not compress"
        );
        let consumer = consumer(&broker, &[]);
        consumer.subscribe(&[codec]).unwrap();
        let records = consume(&consumer, 200);
        assert!(
            records
                .iter()
                .all(|record| record.payload() == Some(value.as_bytes()))
        );
        broker.delete_topic(codec).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idempotent_producer_keeps_every_record_once_and_in_order() {
    let broker = broker().await;
    broker.create_topic("t", 3, &[]).unwrap();
    let settings = [("enable.idempotence", "true"), ("batch.num.messages", "7")];
    let producer = producer(&broker, &settings);
    for number in 0..5_000 {
        let (key, value) = (format!("k{}", number % 50), number.to_string());
        producer
            .send(BaseRecord::to("t").key(&key).payload(&value))
            .unwrap();
    }
    producer.flush(DEADLINE).unwrap();
    let ends: i64 = (0..3)
        .map(|partition| broker.watermarks("t", partition).unwrap().1)
        .sum();
    assert_eq!(ends, 5_000);

    let consumer = consumer(&broker, &[]);
    consumer.subscribe(&["t"]).unwrap();
    let records = consume(&consumer, 5_000);
    let mut last = [-1; 3];
    let mut seen = HashSet::new();
    for record in &records {
        let number: i64 = std::str::from_utf8(record.payload().unwrap())
            .unwrap()
            .parse()
            .unwrap();
        let partition = usize::try_from(record.partition()).unwrap();
        assert!(number > last[partition]);
        last[partition] = number;
        seen.insert(number);
    }
    assert_eq!(seen.len(), 5_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_acknowledgement_levels_store_the_record() {
    let broker = broker().await;
    broker.create_topic("t", 1, &[]).unwrap();
    for acks in ["0", "1", "all"] {
        produce(&producer(&broker, &[("acks", acks)]), "t", 1);
    }
    let consumer = consumer(&broker, &[]);
    consumer.subscribe(&["t"]).unwrap();
    assert_eq!(consume(&consumer, 3).len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_large_batch_is_refused() {
    let broker = broker().await;
    broker
        .create_topic("t", 1, &[("max.message.bytes", "500")])
        .unwrap();
    let producer: BaseProducer<Outcomes> = client(&broker, &[])
        .create_with_context(Outcomes::default())
        .unwrap();
    let value = "x".repeat(1000);
    producer
        .send(BaseRecord::<[u8], str>::to("t").payload(&value))
        .map_err(|_| ())
        .unwrap();
    producer.flush(DEADLINE).unwrap();
    let outcomes = producer.context().0.lock();
    assert_eq!(*outcomes, [Some(RDKafkaErrorCode::MessageSizeTooLarge)]);
    assert_eq!(broker.watermarks("t", 0), Some((0, 0)));
}

/// Collects the delivery result of each record.
#[derive(Default)]
struct Outcomes(parking_lot::Mutex<Vec<Option<RDKafkaErrorCode>>>);

impl rdkafka::ClientContext for Outcomes {}

impl rdkafka::producer::ProducerContext for Outcomes {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &rdkafka::producer::DeliveryResult<'_>, (): ()) {
        let code = result
            .as_ref()
            .err()
            .and_then(|(error, _)| error.rdkafka_error_code());
        self.0.lock().push(code);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_append_time_replaces_the_producers() {
    let (clock, hand) = Clock::mock(model::Timestamp(5_000));
    let broker = Broker::start(BrokerOptions {
        clock,
        ..BrokerOptions::default()
    })
    .await
    .unwrap();
    broker
        .create_topic("t", 1, &[("message.timestamp.type", "LogAppendTime")])
        .unwrap();
    let producer = producer(&broker, &[("compression.codec", "lz4")]);
    for at in [5_000, 6_000] {
        hand.set(model::Timestamp(at));
        producer
            .send(BaseRecord::<[u8], str>::to("t").payload("v").timestamp(1))
            .unwrap();
        producer.flush(DEADLINE).unwrap();
    }
    let consumer = consumer(&broker, &[("check.crcs", "true")]);
    consumer.subscribe(&["t"]).unwrap();
    let times: Vec<_> = consume(&consumer, 2)
        .iter()
        .map(Message::timestamp)
        .collect();
    assert_eq!(
        times,
        [
            Timestamp::LogAppendTime(5_000),
            Timestamp::LogAppendTime(6_000)
        ]
    );
    assert_eq!(offset_at(&consumer, 5_500), Offset::Offset(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_are_found_by_time_within_a_batch() {
    let broker = broker().await;
    broker.create_topic("t", 1, &[]).unwrap();
    let producer = producer(&broker, &[("linger.ms", "200")]);
    for at in [100, 200, 300, 400] {
        producer
            .send(BaseRecord::<[u8], str>::to("t").payload("v").timestamp(at))
            .unwrap();
    }
    producer.flush(DEADLINE).unwrap();
    let consumer = consumer(&broker, &[]);
    assert_eq!(consumer.fetch_watermarks("t", 0, DEADLINE).unwrap(), (0, 4));
    assert_eq!(offset_at(&consumer, 1), Offset::Offset(0));
    assert_eq!(offset_at(&consumer, 201), Offset::Offset(2));
    assert_eq!(offset_at(&consumer, 400), Offset::Offset(3));
    assert_eq!(offset_at(&consumer, 401), Offset::End);
}

fn offset_at(consumer: &BaseConsumer, time: i64) -> Offset {
    let mut times = TopicPartitionList::new();
    times
        .add_partition_offset("t", 0, Offset::Offset(time))
        .unwrap();
    let found = consumer.offsets_for_times(times, DEADLINE).unwrap();
    found.find_partition("t", 0).unwrap().offset()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn end_of_partition_is_reported_also_for_an_empty_one() {
    let broker = broker().await;
    broker.create_topic("t", 2, &[]).unwrap();
    let producer = producer(&broker, &[]);
    let record = BaseRecord::<[u8], str>::to("t").payload("v").partition(0);
    producer.send(record).unwrap();
    producer.flush(DEADLINE).unwrap();
    let consumer = consumer(&broker, &[("enable.partition.eof", "true")]);
    let mut both = TopicPartitionList::new();
    both.add_partition_offset("t", 0, Offset::Beginning)
        .unwrap();
    both.add_partition_offset("t", 1, Offset::Beginning)
        .unwrap();
    consumer.assign(&both).unwrap();
    let (mut ends, mut records) = (HashSet::new(), 0);
    let began = Instant::now();
    while ends.len() < 2 {
        assert!(began.elapsed() < DEADLINE);
        match consumer.poll(Duration::from_millis(20)) {
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ends.insert(partition)),
            Some(Ok(_)) => records += 1,
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    assert_eq!(records, 1);
    let position = consumer.position().unwrap();
    assert_eq!(
        position.find_partition("t", 0).unwrap().offset(),
        Offset::Offset(1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_consumer_is_woken_by_the_append() {
    let broker = broker().await;
    broker.create_topic("t", 1, &[]).unwrap();
    let consumer = consumer(&broker, &[("fetch.wait.max.ms", "10000")]);
    let mut all = TopicPartitionList::new();
    all.add_partition_offset("t", 0, Offset::Beginning).unwrap();
    consumer.assign(&all).unwrap();
    let producer = producer(&broker, &[("linger.ms", "0")]);
    produce(&producer, "t", 1);
    consume(&consumer, 1);
    let mut took: Vec<Duration> = (0..50)
        .map(|_| {
            let sent = Instant::now();
            producer
                .send(BaseRecord::<[u8], str>::to("t").payload("v"))
                .unwrap();
            consume(&consumer, 1);
            sent.elapsed()
        })
        .collect();
    took.sort_unstable();
    let (median, slowest) = (took[took.len() / 2], took[took.len() - 1]);
    println!("produce to consume: median {median:?}, slowest {slowest:?}");
    // A poll that is not woken would take the whole `fetch.wait.max.ms`.
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_partition_drops_its_oldest_batches_and_readers_are_told() {
    let options = BrokerOptions {
        max_partition_bytes: 10_000,
        ..BrokerOptions::default()
    };
    let broker = Broker::start(options).await.unwrap();
    broker.create_topic("t", 1, &[]).unwrap();
    let producer = producer(&broker, &[("linger.ms", "0")]);
    let value = "x".repeat(1_000);
    for _ in 0..50 {
        producer
            .send(BaseRecord::<[u8], str>::to("t").payload(&value))
            .unwrap();
        producer.flush(DEADLINE).unwrap();
    }
    let (start, end) = broker.watermarks("t", 0).unwrap();
    assert_eq!(end, 50);
    assert!(start > 30, "{start}");
    assert!(broker.stored_bytes() <= 10_000);
    let consumer = consumer(&broker, &[]);
    let mut old = TopicPartitionList::new();
    old.add_partition_offset("t", 0, Offset::Offset(3)).unwrap();
    consumer.assign(&old).unwrap();
    // Out of range: librdkafka continues where `auto.offset.reset` points.
    assert_eq!(consume(&consumer, 1)[0].offset(), start);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_keeps_the_last_record_of_every_key_at_its_offset() {
    let broker = broker().await;
    broker
        .create_topic("t", 1, &[("cleanup.policy", "compact,delete")])
        .unwrap();
    let producer = producer(&broker, &[("linger.ms", "20")]);
    for _ in 0..3 {
        produce(&producer, "t", 4);
    }
    assert_eq!(broker.compact("t").unwrap(), 8);
    let consumer = consumer(&broker, &[("check.crcs", "true")]);
    let mut all = TopicPartitionList::new();
    all.add_partition_offset("t", 0, Offset::Beginning).unwrap();
    consumer.assign(&all).unwrap();
    let records = consume(&consumer, 4);
    assert_eq!(
        records.iter().map(Message::offset).collect::<Vec<_>>(),
        [8, 9, 10, 11]
    );
    assert_eq!(broker.watermarks("t", 0), Some((0, 12)));
}
