//! A member of a group, and its requests and responses in the classic protocol.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// An assignor's name with the subscription that the client wrote for it; opaque here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub name: String,
    pub metadata: Bytes,
}

/// A member's identity: the id that the coordinator gave out and, for static members, the
/// configured one.
#[derive(Clone, Copy, Debug)]
pub struct MemberRef<'a> {
    pub id: &'a str,
    pub instance: Option<&'a str>,
}

/// The fields of `JoinGroup` that the coordinator reads.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// The member's id; empty at the first join.
    pub member_id: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    pub protocol_type: String,
    pub protocols: Vec<Protocol>,
    pub features: JoinFeatures,
}

/// The features of a client's version of `JoinGroup`.
#[derive(Clone, Copy, Debug)]
pub struct JoinFeatures {
    /// From version 4: a new dynamic member is first refused and given its id.
    pub member_id_required: bool,
    /// From version 9: a returning static leader may be told to keep the assignment as it is.
    pub skip_assignment: bool,
}

/// A member's place in the new generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub generation: i32,
    pub protocol_type: String,
    pub protocol_name: String,
    pub leader: String,
    pub member_id: String,
    pub skip_assignment: bool,
    /// All members; for the leader only.
    pub members: Vec<JoinedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    pub id: String,
    pub instance: Option<String>,
    pub metadata: Bytes,
}

/// A refused join; with `MemberIdRequired`, `member_id` is the id to join with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    pub code: ResponseError,
    pub member_id: String,
}

pub type JoinResult = Result<Joined, JoinRefused>;

/// The fields of `SyncGroup` that the coordinator reads.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    /// The assignments by member id; sent by the leader only.
    pub assignments: Vec<(String, Bytes)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    pub protocol_type: String,
    pub protocol_name: String,
    pub assignment: Bytes,
}

pub type SyncResult = Result<Assigned, ResponseError>;

#[derive(Debug)]
pub struct Member {
    pub id: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    pub protocols: Vec<Protocol>,
    pub assignment: Bytes,
    pub(super) last_seen: Instant,
    pub(super) joining: Option<oneshot::Sender<JoinResult>>,
    pub(super) syncing: Option<oneshot::Sender<SyncResult>>,
}

impl Member {
    pub(super) fn new(id: String, request: JoinRequest, now: Instant) -> Self {
        Self {
            id,
            instance: request.instance,
            client_id: request.client_id,
            client_host: request.client_host,
            session_timeout: request.session_timeout,
            rebalance_timeout: request.rebalance_timeout,
            protocols: request.protocols,
            assignment: Bytes::new(),
            last_seen: now,
            joining: None,
            syncing: None,
        }
    }

    /// Returns the subscription that the member sent for this assignor.
    pub fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        self.protocols
            .iter()
            .find(|held| held.name == protocol)
            .map(|held| &held.metadata)
    }

    /// Returns when the member's session ends; `None` while it waits for a response and is
    /// therefore known to be alive.
    pub(super) fn session_ends(&self) -> Option<Instant> {
        let waits = self.joining.is_some() || self.syncing.is_some();
        (!waits).then(|| self.last_seen + self.session_timeout)
    }

    /// Answers a waiting join, if any; a client that has gone is detected by the end of its
    /// session.
    pub(super) fn answer_join(&mut self, answer: JoinResult) {
        let Some(joining) = self.joining.take() else {
            return;
        };
        if joining.send(answer).is_err() {
            tracing::debug!(member = %self.id, "joined a group and is gone");
        }
    }

    pub(super) fn answer_sync(&mut self, answer: SyncResult) {
        let Some(syncing) = self.syncing.take() else {
            return;
        };
        if syncing.send(answer).is_err() {
            tracing::debug!(member = %self.id, "synced with a group and is gone");
        }
    }
}
