//! Settings of a producer.

use std::time::Duration;

use super::super::KafkaError;
use super::super::client::ClientOptions;

/// Settings of one producer.
#[derive(Debug, Clone)]
pub struct OutputOptions {
    pub client: ClientOptions,
    pub compression: Compression,
    pub linger: Duration,
    /// The most records that wait for delivery; a further one is refused.
    pub queue_records: u32,
    pub queue_kbytes: u32,
    /// The time after which a record that could not be delivered fails; `None` for never.
    pub delivery_timeout: Option<Duration>,
    /// The largest record; its topic must allow it too.
    pub max_record_bytes: u32,
    /// True if only failures are reported: for records that nobody waits for, whose deliveries then
    /// cost nothing and are not counted.
    pub reports_failures_only: bool,
    /// The most records of one batch. A broker refuses a batch that is larger than its topic takes,
    /// whatever the size of the records in it.
    pub batch_records: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    None,
    #[default]
    Lz4,
    Gzip,
    Snappy,
}

impl Compression {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
        }
    }
}

impl OutputOptions {
    /// Returns settings for records that must arrive: they wait for the cluster as long as it
    /// takes.
    pub fn new(client: ClientOptions) -> Self {
        Self {
            client,
            compression: Compression::default(),
            linger: Duration::from_millis(5),
            queue_records: 100_000,
            queue_kbytes: 128 << 10,
            delivery_timeout: None,
            max_record_bytes: 1_000_000,
            reports_failures_only: false,
            batch_records: 10_000,
        }
    }

    /// Returns settings for single records that are sent at once, each in a separate batch.
    pub fn single(client: ClientOptions) -> Self {
        Self {
            linger: Duration::ZERO,
            batch_records: 1,
            ..Self::new(client)
        }
    }

    /// Returns settings for records that may be lost when the cluster is away, such as metrics.
    pub fn lossy(client: ClientOptions) -> Self {
        Self {
            linger: Duration::from_millis(50),
            queue_kbytes: 16 << 10,
            delivery_timeout: Some(Duration::from_secs(30)),
            reports_failures_only: true,
            ..Self::new(client)
        }
    }

    /// Returns librdkafka's settings.
    pub(crate) fn config(&self) -> Result<rdkafka::ClientConfig, KafkaError> {
        let millis = |duration: Duration| duration.as_millis().to_string();
        let linger = millis(self.linger);
        // Zero is librdkafka's "for ever".
        let timeout = millis(self.delivery_timeout.unwrap_or_default());
        let (records, kbytes) = (
            self.queue_records.to_string(),
            self.queue_kbytes.to_string(),
        );
        let max_bytes = self.max_record_bytes.to_string();
        let failures_only = self.reports_failures_only.to_string();
        let batch_records = self.batch_records.to_string();
        self.client.config(&[
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("partitioner", "murmur2_random"),
            ("compression.codec", self.compression.as_str()),
            ("linger.ms", &linger),
            ("queue.buffering.max.messages", &records),
            ("queue.buffering.max.kbytes", &kbytes),
            ("message.timeout.ms", &timeout),
            ("message.max.bytes", &max_bytes),
            ("batch.num.messages", &batch_records),
            ("delivery.report.only.error", &failures_only),
        ])
    }
}
