//! `DescribeTopics`: the ids of the topics that currently have the given names.

use std::ffi::{CStr, CString, NulError, c_char};
use std::time::{Duration, Instant};

use rdkafka::bindings as ffi;
use rdkafka::client::{Client, ClientContext};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use crate::owned::Owned;

/// The cluster's description of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    pub name: String,
    /// The topic's id, or the reason why the cluster does not describe the topic. `None` if the
    /// brokers have no ids (Apache Kafka before 2.8).
    pub id: Result<Option<u128>, RDKafkaErrorCode>,
}

/// The reason why a cluster describes no topic at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescribeError {
    #[error("a topic's name has a null byte in it")]
    Name(#[from] NulError),
    #[error("{0}")]
    Refused(RDKafkaErrorCode),
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
}

impl DescribeError {
    /// Returns librdkafka's code for the error.
    #[must_use]
    pub fn code(&self) -> RDKafkaErrorCode {
        match self {
            Self::Name(_) => RDKafkaErrorCode::InvalidArgument,
            Self::Refused(code) => *code,
            Self::NoAnswer(_) => RDKafkaErrorCode::OperationTimedOut,
        }
    }
}

/// Requests the ids of topics from the cluster; blocks until it answers, at most for `timeout`.
/// Works with any client, from any thread, also inside a rebalance callback, because the response
/// does not come through the client's own queue.
pub fn describe_topics<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    timeout: Duration,
) -> Result<Vec<TopicDescription>, DescribeError> {
    if topics.is_empty() {
        return Ok(Vec::new());
    }
    let deadline = Instant::now() + timeout;
    let request = Request::new(client, topics, timeout)?;
    let event = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match request.poll(left) {
            Some(event) => break event,
            // An admin request ends a moment after its own timeout, when librdkafka reports it.
            None if Instant::now() >= deadline => return Err(DescribeError::NoAnswer(timeout)),
            None => {}
        }
    };
    event.descriptions()
}

/// A request in flight, and the queue for its response.
struct Request {
    queue: Owned<ffi::rd_kafka_queue_t>,
}

impl Request {
    fn new<C: ClientContext>(
        client: &Client<C>,
        topics: &[&str],
        timeout: Duration,
    ) -> Result<Self, DescribeError> {
        let names = topics
            .iter()
            .map(|topic| CString::new(*topic))
            .collect::<Result<Vec<_>, _>>()?;
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let failed = DescribeError::Refused(RDKafkaErrorCode::Fail);
        let native = client.native_ptr();
        // SAFETY: `native` lives as long as `client` does, which is borrowed; the names live until
        // the end of this function and librdkafka copies them; what the constructors return is
        // owned here. The queue outlives the request: `rd_kafka_DescribeTopics` holds a reference
        // of its own.
        unsafe {
            let queue = Owned::new(ffi::rd_kafka_queue_new(native), ffi::rd_kafka_queue_destroy);
            let collection = Owned::new(
                ffi::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
                ffi::rd_kafka_TopicCollection_destroy,
            );
            let options = Owned::new(
                ffi::rd_kafka_AdminOptions_new(
                    native,
                    ffi::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
                ),
                ffi::rd_kafka_AdminOptions_destroy,
            );
            let (Some(queue), Some(collection), Some(options)) = (queue, collection, options)
            else {
                return Err(failed);
            };
            let millis = i32::try_from(timeout.as_millis())
                .unwrap_or(i32::MAX)
                .max(1);
            let set = ffi::rd_kafka_AdminOptions_set_request_timeout(
                options.as_ptr(),
                millis,
                std::ptr::null_mut(),
                0,
            );
            if set != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(DescribeError::Refused(set.into()));
            }
            ffi::rd_kafka_DescribeTopics(
                native,
                collection.as_ptr(),
                options.as_ptr(),
                queue.as_ptr(),
            );
            Ok(Self { queue })
        }
    }

    /// Returns the response if it comes within `wait`.
    fn poll(&self, wait: Duration) -> Option<Answer> {
        let millis = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is ours; the event, if any, is the caller's to destroy.
        let event = unsafe {
            Owned::new(
                ffi::rd_kafka_queue_poll(self.queue.as_ptr(), millis),
                ffi::rd_kafka_event_destroy,
            )
        };
        event.map(Answer)
    }
}

/// The event that ends a request.
struct Answer(Owned<ffi::rd_kafka_event_t>);

impl Answer {
    fn descriptions(&self) -> Result<Vec<TopicDescription>, DescribeError> {
        // SAFETY: the event is alive while `self` is, and so is all that belongs to it: the result,
        // its descriptions, their names and ids. All of them are copied before `self` is dropped.
        unsafe {
            let error = ffi::rd_kafka_event_error(self.0.as_ptr());
            if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(DescribeError::Refused(error.into()));
            }
            let result = ffi::rd_kafka_event_DescribeTopics_result(self.0.as_ptr());
            if result.is_null() {
                return Err(DescribeError::Refused(RDKafkaErrorCode::Fail));
            }
            let mut count = 0;
            let first = ffi::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
            Ok((0..count).map(|at| description(*first.add(at))).collect())
        }
    }
}

/// # Safety
/// `topic` is a description that is alive.
unsafe fn description(topic: *const ffi::rd_kafka_TopicDescription_t) -> TopicDescription {
    // SAFETY: by this function's contract; a description has a name, and its id may be null.
    unsafe {
        let name = CStr::from_ptr(ffi::rd_kafka_TopicDescription_name(topic));
        let error = ffi::rd_kafka_error_code(ffi::rd_kafka_TopicDescription_error(topic));
        let id = if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            Ok(id(ffi::rd_kafka_TopicDescription_topic_id(topic)))
        } else {
            Err(error.into())
        };
        TopicDescription {
            name: name.to_string_lossy().into_owned(),
            id,
        }
    }
}

/// Returns the id; `None` for Kafka's null id, all zeros.
///
/// # Safety
/// `uuid` is null or alive.
unsafe fn id(uuid: *const ffi::rd_kafka_Uuid_t) -> Option<u128> {
    if uuid.is_null() {
        return None;
    }
    // SAFETY: by this function's contract.
    let (high, low) = unsafe {
        (
            ffi::rd_kafka_Uuid_most_significant_bits(uuid),
            ffi::rd_kafka_Uuid_least_significant_bits(uuid),
        )
    };
    let id = u128::from(high.cast_unsigned()) << 64 | u128::from(low.cast_unsigned());
    (id != 0).then_some(id)
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer};

    use super::*;

    /// Returns a client without a cluster: nothing listens at the discard port of this machine.
    fn lonely() -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", "127.0.0.1:9")
            .set("group.id", "g")
            .create()
            .expect("these settings are legal")
    }

    #[test]
    fn without_a_cluster_the_answer_is_an_error_in_time() {
        let consumer = lonely();
        let begin = Instant::now();
        let asked = describe_topics(consumer.client(), &["a", "b"], Duration::from_millis(300));
        assert!(asked.is_err(), "{asked:?}");
        assert!(begin.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn no_topics_are_asked_for_without_a_cluster_and_odd_names_are_refused() {
        let consumer = lonely();
        let timeout = Duration::from_mins(1);
        assert_eq!(
            describe_topics(consumer.client(), &[], timeout),
            Ok(Vec::new())
        );
        let odd = describe_topics(consumer.client(), &["a\0b"], timeout);
        assert!(matches!(odd, Err(DescribeError::Name(_))));
    }
}
