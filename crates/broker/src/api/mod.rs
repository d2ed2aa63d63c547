//! The requests that the broker supports: their versions, decoding, dispatch and encoding.

mod cluster;
mod commits;
mod configs;
mod fetch;
mod group_admin;
mod guarded;
mod membership;
mod offsets;
mod produce;
mod topics;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use super::Shared;

/// The broker's id in its cluster of one.
const NODE_ID: i32 = 1;
/// The epoch of every leader; leaders never change here.
const LEADER_EPOCH: i32 = 0;
/// The least length of a header: key, version and correlation id.
const MIN_REQUEST_BYTES: usize = 8;

/// A request with its lowest and highest supported version.
struct Api {
    key: ApiKey,
    min: i16,
    max: i16,
}

const fn api(key: ApiKey, min: i16, max: i16) -> Api {
    Api { key, min, max }
}

const APIS: &[Api] = &[
    api(ApiKey::Produce, 3, 10),
    api(ApiKey::Fetch, 4, 16),
    api(ApiKey::ListOffsets, 1, 7),
    api(ApiKey::Metadata, 0, 12),
    api(ApiKey::OffsetCommit, 2, 9),
    api(ApiKey::OffsetFetch, 1, 9),
    api(ApiKey::FindCoordinator, 0, 4),
    api(ApiKey::JoinGroup, 0, 9),
    api(ApiKey::Heartbeat, 0, 4),
    api(ApiKey::LeaveGroup, 0, 5),
    api(ApiKey::SyncGroup, 0, 5),
    api(ApiKey::DescribeGroups, 0, 5),
    api(ApiKey::ListGroups, 0, 4),
    api(ApiKey::ApiVersions, 0, 3),
    api(ApiKey::CreateTopics, 2, 7),
    api(ApiKey::DeleteTopics, 1, 6),
    api(ApiKey::DeleteRecords, 0, 2),
    api(ApiKey::InitProducerId, 0, 4),
    api(ApiKey::OffsetForLeaderEpoch, 2, 4),
    api(ApiKey::DescribeConfigs, 1, 4),
    api(ApiKey::AlterConfigs, 0, 2),
    api(ApiKey::CreatePartitions, 0, 3),
    api(ApiKey::DeleteGroups, 0, 2),
    api(ApiKey::IncrementalAlterConfigs, 0, 1),
    api(ApiKey::DescribeCluster, 0, 1),
];

/// A request whose header has been read.
struct Call<'a> {
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    client_id: String,
    client_host: &'a str,
    body: Bytes,
}

/// Handles one request; `None` if the client wants no response. An error closes the connection.
pub async fn handle(
    shared: &Shared,
    frame: Bytes,
    host: &str,
) -> Result<Option<Bytes>, RequestError> {
    let call = Call::read(frame, host)?;
    if !call.is_supported() {
        if call.key == ApiKey::ApiVersions {
            return call.answer_as(0, &cluster::api_versions_refused());
        }
        return Err(RequestError::Version {
            key: call.key,
            version: call.version,
        });
    }
    match call.key {
        ApiKey::Fetch => call.answer(&fetch::fetch(shared, &call.decode()?, call.version).await),
        ApiKey::JoinGroup => call.answer(&membership::join(shared, call.decode()?, &call).await),
        ApiKey::SyncGroup => call.answer(&membership::sync(shared, call.decode()?).await),
        ApiKey::Produce => match produce::produce(shared, &call.decode()?) {
            Some(answer) => call.answer(&answer),
            None => Ok(None),
        },
        _ => handle_at_once(shared, &call),
    }
}

/// Handles the requests that never wait.
fn handle_at_once(shared: &Shared, call: &Call<'_>) -> Result<Option<Bytes>, RequestError> {
    let version = call.version;
    match call.key {
        ApiKey::ApiVersions => call.answer(&cluster::api_versions()),
        ApiKey::Metadata => call.answer(&cluster::metadata(shared, &call.decode()?, version)),
        ApiKey::DescribeCluster => call.answer(&cluster::describe(shared)),
        ApiKey::FindCoordinator => {
            call.answer(&cluster::find_coordinator(shared, &call.decode()?, version))
        }
        ApiKey::InitProducerId => call.answer(&produce::init_producer_id(shared, &call.decode()?)),
        ApiKey::ListOffsets => call.answer(&offsets::list(shared, &call.decode()?, version)),
        ApiKey::DeleteRecords => call.answer(&offsets::delete_records(shared, call.decode()?)),
        ApiKey::OffsetForLeaderEpoch => {
            call.answer(&offsets::for_leader_epoch(shared, call.decode()?))
        }
        ApiKey::CreateTopics => call.answer(&topics::create(shared, call.decode()?)),
        ApiKey::DeleteTopics => call.answer(&topics::delete(shared, call.decode()?)),
        ApiKey::CreatePartitions => call.answer(&topics::grow(shared, call.decode()?)),
        ApiKey::DescribeConfigs => call.answer(&configs::describe(shared, call.decode()?)),
        ApiKey::AlterConfigs => call.answer(&configs::alter(shared, call.decode()?)),
        ApiKey::IncrementalAlterConfigs => {
            call.answer(&configs::alter_incrementally(shared, call.decode()?))
        }
        ApiKey::Heartbeat => call.answer(&membership::heartbeat(shared, &call.decode()?)),
        ApiKey::LeaveGroup => call.answer(&membership::leave(shared, call.decode()?, version)),
        ApiKey::OffsetCommit => call.answer(&commits::commit(shared, call.decode()?)),
        ApiKey::OffsetFetch => call.answer(&commits::fetch(shared, call.decode()?, version)),
        ApiKey::ListGroups => call.answer(&group_admin::list(shared, &call.decode()?, version)),
        ApiKey::DescribeGroups => call.answer(&group_admin::describe(shared, call.decode()?)),
        ApiKey::DeleteGroups => call.answer(&group_admin::delete(shared, call.decode()?)),
        key => Err(RequestError::Version { key, version }),
    }
}

impl<'a> Call<'a> {
    fn read(mut frame: Bytes, client_host: &'a str) -> Result<Self, RequestError> {
        // The protocol crate's header reader does not check that these bytes are there.
        if frame.len() < MIN_REQUEST_BYTES {
            return Err(RequestError::Truncated { bytes: frame.len() });
        }
        let number = i16::from_be_bytes([frame[0], frame[1]]);
        let version = i16::from_be_bytes([frame[2], frame[3]]);
        let key = ApiKey::try_from(number).map_err(|()| RequestError::Key { number })?;
        let malformed = |source| RequestError::Malformed {
            key,
            version,
            source,
        };
        let header = RequestHeader::decode(&mut frame, key.request_header_version(version))
            .map_err(malformed)?;
        Ok(Self {
            key,
            version,
            correlation_id: header.correlation_id,
            client_id: header
                .client_id
                .map(|id| id.to_string())
                .unwrap_or_default(),
            client_host,
            body: frame,
        })
    }

    fn is_supported(&self) -> bool {
        APIS.iter()
            .any(|api| api.key == self.key && (api.min..=api.max).contains(&self.version))
    }

    fn decode<R: Decodable>(&self) -> Result<R, RequestError> {
        guarded::check::<R>(self.body.clone(), self.version)
            .and_then(|()| R::decode(&mut self.body.clone(), self.version))
            .map_err(|source| RequestError::Malformed {
                key: self.key,
                version: self.version,
                source,
            })
    }

    fn answer<A: Encodable + HeaderVersion>(
        &self,
        answer: &A,
    ) -> Result<Option<Bytes>, RequestError> {
        self.answer_as(self.version, answer)
    }

    fn answer_as<A: Encodable + HeaderVersion>(
        &self,
        version: i16,
        answer: &A,
    ) -> Result<Option<Bytes>, RequestError> {
        let unanswerable = |source| RequestError::Unanswerable {
            key: self.key,
            version: self.version,
            source,
        };
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        ResponseHeader::default()
            .with_correlation_id(self.correlation_id)
            .encode(&mut frame, A::header_version(version))
            .map_err(unanswerable)?;
        answer.encode(&mut frame, version).map_err(unanswerable)?;
        let length = i32::try_from(frame.len() - size_of::<i32>())
            .map_err(|error| unanswerable(error.into()))?;
        frame[..size_of::<i32>()].copy_from_slice(&length.to_be_bytes());
        Ok(Some(frame.freeze()))
    }
}

/// The reason why a connection is closed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("a request of {bytes} bytes is shorter than its header")]
    Truncated { bytes: usize },
    #[error("no request has the key {number}")]
    Key { number: i16 },
    #[error("{key:?} in version {version} is not supported")]
    Version { key: ApiKey, version: i16 },
    #[error("malformed {key:?} in version {version}")]
    Malformed {
        key: ApiKey,
        version: i16,
        source: anyhow::Error,
    },
    #[error("no answer to {key:?} in version {version}")]
    Unanswerable {
        key: ApiKey,
        version: i16,
        source: anyhow::Error,
    },
}

/// Returns a result's error code on the wire; 0 for success.
fn code<T>(result: Result<T, ResponseError>) -> i16 {
    result.err().map_or(0, |error| error.code())
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Broker, BrokerOptions};

    proptest! {
        /// Sends every request in every version, with a good header and random bytes after it.
        #[test]
        fn no_body_ends_the_process(
            body in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(0xff), Just(0x7f)], 0..80),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let broker = Broker::start(BrokerOptions::default()).await.unwrap();
                for api in APIS {
                    for version in api.min..=api.max {
                        let mut frame = BytesMut::new();
                        frame.put_i16(api.key as i16);
                        frame.put_i16(version);
                        frame.put_i32(7);
                        frame.put_i16(-1);
                        if api.key.request_header_version(version) >= 2 {
                            frame.put_u8(0);
                        }
                        frame.put_slice(&body);
                        // A fetch of nothing may wait; only that the body was read matters.
                        let handled = handle(&broker.shared, frame.freeze(), "127.0.0.1");
                        if let Ok(Err(RequestError::Unanswerable { source, .. })) =
                            tokio::time::timeout(std::time::Duration::from_millis(1), handled).await
                        {
                            panic!("{:?} {version}: {source}", api.key);
                        }
                    }
                }
            });
        }
    }
}
