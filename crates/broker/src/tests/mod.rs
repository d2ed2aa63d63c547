//! The real client, librdkafka, against the embedded broker over TCP.

mod admin;
mod groups;
mod produce_fetch;
mod wire;

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message, OwnedMessage};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use super::{Broker, BrokerOptions};

/// Long enough for a machine under load; no test waits this long when it passes.
const DEADLINE: Duration = Duration::from_secs(30);

async fn broker() -> Broker {
    let options = BrokerOptions {
        min_session_timeout: Duration::from_millis(500),
        ..BrokerOptions::default()
    };
    Broker::start(options).await.unwrap()
}

fn client(broker: &Broker, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.bootstrap());
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config
}

type TestProducer = ThreadedProducer<DefaultProducerContext>;

fn producer(broker: &Broker, settings: &[(&str, &str)]) -> TestProducer {
    client(broker, settings).create().unwrap()
}

fn consumer(broker: &Broker, settings: &[(&str, &str)]) -> BaseConsumer {
    let mut config = client(broker, settings);
    config
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false");
    if config.get("group.id").is_none() {
        config.set("group.id", "test");
    }
    config.create().unwrap()
}

/// Produces `count` records with keys `k<n>` and values `v<n>`, and waits for their delivery.
fn produce(producer: &TestProducer, topic: &str, count: usize) {
    for number in 0..count {
        let (key, value) = (format!("k{number}"), format!("v{number}"));
        producer
            .send(BaseRecord::to(topic).key(&key).payload(&value))
            .unwrap();
    }
    producer.flush(DEADLINE).unwrap();
}

/// Polls until `count` records have been read.
fn consume(consumer: &BaseConsumer, count: usize) -> Vec<OwnedMessage> {
    let mut records = Vec::new();
    poll_until(&[consumer], |_, message| {
        records.extend(message.map(|message| message.detach()));
        records.len() >= count
    });
    records
}

/// Polls all consumers in turn until `done` returns true; it is called for every record and every
/// idle poll.
fn poll_until(
    consumers: &[&BaseConsumer],
    mut done: impl FnMut(usize, Option<BorrowedMessage<'_>>) -> bool,
) {
    let began = Instant::now();
    loop {
        for (index, consumer) in consumers.iter().enumerate() {
            let message = match consumer.poll(Duration::from_millis(5)) {
                Some(Err(KafkaError::PartitionEOF(_))) | None => None,
                Some(Ok(message)) => Some(message),
                Some(Err(error)) => panic!("{error}"),
            };
            if done(index, message) {
                return;
            }
        }
        assert!(began.elapsed() < DEADLINE, "not done in time");
    }
}

fn header(message: &OwnedMessage, name: &str) -> Option<Vec<u8>> {
    let headers = message.headers()?;
    headers
        .iter()
        .find(|header| header.key == name)?
        .value
        .map(<[u8]>::to_vec)
}

fn assigned(consumer: &BaseConsumer) -> usize {
    consumer.assignment().unwrap().count()
}
