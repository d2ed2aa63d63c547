//! A member of a group, and what it asks and hears in the classic protocol.

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

/// Who speaks: the id the coordinator gave out and, for static members, the configured one.
#[derive(Clone, Copy, Debug)]
pub struct MemberRef<'a> {
    pub id: &'a str,
    pub instance: Option<&'a str>,
}

/// `JoinGroup`, as far as the coordinator reads it.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// Empty at the first contact.
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

/// What a client's version of `JoinGroup` understands.
#[derive(Clone, Copy, Debug)]
pub struct JoinFeatures {
    /// From version 4: a new dynamic member is sent away with its id first.
    pub member_id_required: bool,
    /// From version 9: a returning static leader may be told to leave the assignment as it is.
    pub skip_assignment: bool,
}

/// A seat in the new generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub generation: i32,
    pub protocol_type: String,
    pub protocol_name: String,
    pub leader: String,
    pub member_id: String,
    pub skip_assignment: bool,
    /// For the leader only.
    pub members: Vec<JoinedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    pub id: String,
    pub instance: Option<String>,
    pub metadata: Bytes,
}

/// No seat; `MemberIdRequired` carries the id to come back with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    pub code: ResponseError,
    pub member_id: String,
}

pub type JoinResult = Result<Joined, JoinRefused>;

/// `SyncGroup`, as far as the coordinator reads it.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    /// By member id; the leader's only.
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

    /// What it brought for this assignor.
    pub fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        self.protocols
            .iter()
            .find(|held| held.name == protocol)
            .map(|held| &held.metadata)
    }

    /// When its session ends; one that waits for an answer is known to be alive.
    pub(super) fn session_ends(&self) -> Option<Instant> {
        let waits = self.joining.is_some() || self.syncing.is_some();
        (!waits).then(|| self.last_seen + self.session_timeout)
    }

    /// Answers a waiting join, if any; a client that has gone is found by its session's end.
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
