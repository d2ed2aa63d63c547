//! Fetch: a read that waits at the logs' ends and is woken by the append itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::Shared;
use crate::groups::millis;
use crate::topics::{Partition, Topics};

/// The longest wait, even if the client asks for more: its connection is not read meanwhile.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// The first version in which topics are named by their ids.
const TOPIC_IDS_SINCE: i16 = 13;

/// Reads; waits up to the client's `max_wait` for its `min_bytes`. Every fetch is a full one: fetch
/// sessions are declined with the id 0.
pub async fn fetch(shared: &Shared, request: &FetchRequest, version: i16) -> FetchResponse {
    if request.session_id != 0 {
        return FetchResponse::default()
            .with_error_code(ResponseError::FetchSessionIdNotFound.code());
    }
    let deadline = Instant::now() + millis(request.max_wait_ms).min(MAX_WAIT);
    let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0);
    let woken = Arc::new(Notify::new());
    let mut reading = Reading {
        request,
        version,
        woken: &woken,
    };
    let read = loop {
        let read = reading.read(&mut shared.topics(), min_bytes);
        if read.bytes >= min_bytes || read.failed || Instant::now() >= deadline {
            break read;
        }
        if timeout_at(deadline, woken.notified()).await.is_err() {
            break reading.read(&mut shared.topics(), 0);
        }
    };
    reading.leave(&mut shared.topics());
    read.into_response()
}

struct Reading<'a> {
    request: &'a FetchRequest,
    version: i16,
    woken: &'a Arc<Notify>,
}

/// The result of one pass over the partitions.
struct Read {
    topics: Vec<(FetchableTopicResponse, Vec<Vec<Bytes>>)>,
    bytes: usize,
    failed: bool,
}

impl Reading<'_> {
    /// Reads all partitions once. If there are fewer than `min_bytes`, registers for a wake-up
    /// under the same lock, so that no append is missed.
    fn read(&mut self, topics: &mut Topics, min_bytes: usize) -> Read {
        let mut room = usize::try_from(self.request.max_bytes).unwrap_or(usize::MAX);
        let mut read = Read {
            topics: Vec::new(),
            bytes: 0,
            failed: false,
        };
        for asked in &self.request.topics {
            let name = self.name(topics, asked);
            let mut partitions = Vec::with_capacity(asked.partitions.len());
            let mut batches = Vec::with_capacity(asked.partitions.len());
            for wanted in &asked.partitions {
                let partition = name
                    .as_ref()
                    .and_then(|name| topics.partition(name, wanted.partition));
                let (data, found) = match partition {
                    Some(partition) => read_partition(partition, wanted, room, read.bytes == 0),
                    None => (self.unknown(wanted), Vec::new()),
                };
                let bytes: usize = found.iter().map(Bytes::len).sum();
                room = room.saturating_sub(bytes);
                read.bytes += bytes;
                read.failed |= data.error_code != 0;
                partitions.push(data);
                batches.push(found);
            }
            let topic = FetchableTopicResponse::default()
                .with_topic(asked.topic.clone())
                .with_topic_id(asked.topic_id)
                .with_partitions(partitions);
            read.topics.push((topic, batches));
        }
        if read.bytes < min_bytes && !read.failed {
            self.each_partition(topics, Partition::wait);
        }
        read
    }

    fn leave(&self, topics: &mut Topics) {
        self.each_partition(topics, Partition::stop_waiting);
    }

    fn each_partition(&self, topics: &mut Topics, act: fn(&mut Partition, &Arc<Notify>)) {
        for asked in &self.request.topics {
            let Some(name) = self.name(topics, asked) else {
                continue;
            };
            for wanted in &asked.partitions {
                if let Some(partition) = topics.partition_mut(&name, wanted.partition) {
                    act(partition, self.woken);
                }
            }
        }
    }

    fn name(&self, topics: &Topics, asked: &FetchTopic) -> Option<String> {
        if self.version >= TOPIC_IDS_SINCE {
            topics.name_of(asked.topic_id).map(str::to_owned)
        } else {
            Some(asked.topic.to_string())
        }
    }

    fn unknown(&self, wanted: &FetchPartition) -> PartitionData {
        let code = if self.version >= TOPIC_IDS_SINCE {
            ResponseError::UnknownTopicId
        } else {
            ResponseError::UnknownTopicOrPartition
        };
        PartitionData::default()
            .with_partition_index(wanted.partition)
            .with_error_code(code.code())
            .with_high_watermark(-1)
    }
}

fn read_partition(
    partition: &Partition,
    wanted: &FetchPartition,
    room: usize,
    first: bool,
) -> (PartitionData, Vec<Bytes>) {
    let log = &partition.log;
    let data = PartitionData::default()
        .with_partition_index(wanted.partition)
        .with_high_watermark(log.end())
        .with_last_stable_offset(log.end())
        .with_log_start_offset(log.start());
    let max_bytes = room.min(usize::try_from(wanted.partition_max_bytes).unwrap_or(0));
    match log.read(wanted.fetch_offset, max_bytes, first) {
        Ok(batches) => (data, batches),
        Err(_out_of_range) => (
            data.with_error_code(ResponseError::OffsetOutOfRange.code()),
            Vec::new(),
        ),
    }
}

impl Read {
    /// Joins the batches; called without the lock, because it copies them.
    fn into_response(self) -> FetchResponse {
        let topics = self.topics.into_iter().map(|(mut topic, batches)| {
            for (data, batches) in topic.partitions.iter_mut().zip(batches) {
                data.records = Some(join(batches));
            }
            topic
        });
        FetchResponse::default().with_responses(topics.collect())
    }
}

fn join(mut batches: Vec<Bytes>) -> Bytes {
    if batches.len() <= 1 {
        return batches.pop().unwrap_or_default();
    }
    let mut joined = BytesMut::with_capacity(batches.iter().map(Bytes::len).sum());
    for batch in &batches {
        joined.extend_from_slice(batch);
    }
    joined.freeze()
}
