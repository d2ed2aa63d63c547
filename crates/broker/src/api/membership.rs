//! JoinGroup, SyncGroup, Heartbeat and LeaveGroup.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use std::time::Duration;
use tokio::time::Instant;

use super::{Call, code, text};
use crate::Shared;
use crate::groups::{
    Assigned, JoinFeatures, JoinRefused, JoinRequest, JoinResult, Joined, MemberRef, Protocol,
    Reply, SyncRequest, millis,
};

/// Apache Kafka's `group.max.session.timeout.ms`.
const MAX_SESSION_TIMEOUT: Duration = Duration::from_mins(30);
/// The longest rebalance timeout; a client's `max.poll.interval.ms` below it is used.
const MAX_REBALANCE_TIMEOUT: Duration = Duration::from_hours(24);

pub async fn join(
    shared: &Shared,
    request: JoinGroupRequest,
    call: &Call<'_>,
) -> JoinGroupResponse {
    let member_id = request.member_id.to_string();
    let result = match begin_join(shared, request, call) {
        Err(code) => Err(JoinRefused { code, member_id }),
        Ok(Reply::Now(result)) => result,
        // A dropped sender: the same member has joined again on another connection.
        Ok(Reply::Later(answer)) => answer.await.unwrap_or(Err(JoinRefused {
            code: ResponseError::RebalanceInProgress,
            member_id,
        })),
    };
    match result {
        Ok(joined) => joined_response(joined, call.version),
        Err(refused) => JoinGroupResponse::default()
            .with_error_code(refused.code.code())
            .with_member_id(text(&refused.member_id))
            // Before version 7 the field cannot be null.
            .with_protocol_name(Some(StrBytes::default())),
    }
}

fn begin_join(
    shared: &Shared,
    request: JoinGroupRequest,
    call: &Call<'_>,
) -> Result<Reply<JoinResult>, ResponseError> {
    let session_timeout = millis(request.session_timeout_ms);
    if session_timeout < shared.options.min_session_timeout || session_timeout > MAX_SESSION_TIMEOUT
    {
        return Err(ResponseError::InvalidSessionTimeout);
    }
    let rebalance_timeout = match request.rebalance_timeout_ms {
        // Version 0 does not have the field.
        ms if ms < 0 => session_timeout,
        ms => millis(ms).min(MAX_REBALANCE_TIMEOUT),
    };
    let protocols = request.protocols.iter().map(|protocol| Protocol {
        name: protocol.name.to_string(),
        // A copy, because a slice would keep the whole request alive.
        metadata: bytes::Bytes::copy_from_slice(&protocol.metadata),
    });
    let join = JoinRequest {
        member_id: request.member_id.to_string(),
        instance: request
            .group_instance_id
            .map(|instance| instance.to_string()),
        client_id: call.client_id.clone(),
        client_host: call.client_host.to_owned(),
        session_timeout,
        rebalance_timeout,
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols.collect(),
        features: JoinFeatures {
            member_id_required: call.version >= 4,
            skip_assignment: call.version >= 9,
        },
    };
    let mut groups = shared.groups();
    let group = if join.member_id.is_empty() {
        groups.get_or_create(&request.group_id)?
    } else {
        groups
            .get_mut(&request.group_id)
            .ok_or(ResponseError::UnknownMemberId)?
    };
    let reply = group.join(join, Instant::now());
    shared.groups_changed.notify_one();
    Ok(reply)
}

fn joined_response(joined: Joined, version: i16) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|member| {
        JoinGroupResponseMember::default()
            .with_member_id(StrBytes::from_string(member.id))
            .with_group_instance_id(member.instance.map(StrBytes::from_string))
            .with_metadata(member.metadata)
    });
    JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_type((version >= 7).then(|| StrBytes::from_string(joined.protocol_type)))
        .with_protocol_name(Some(StrBytes::from_string(joined.protocol_name)))
        .with_leader(StrBytes::from_string(joined.leader))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(StrBytes::from_string(joined.member_id))
        .with_members(members.collect())
}

pub async fn sync(shared: &Shared, request: SyncGroupRequest) -> SyncGroupResponse {
    let result = match begin_sync(shared, request) {
        Reply::Now(result) => result,
        Reply::Later(answer) => answer
            .await
            .unwrap_or(Err(ResponseError::RebalanceInProgress)),
    };
    match result {
        Ok(assigned) => SyncGroupResponse::default()
            .with_protocol_type(Some(StrBytes::from_string(assigned.protocol_type)))
            .with_protocol_name(Some(StrBytes::from_string(assigned.protocol_name)))
            .with_assignment(assigned.assignment),
        Err(code) => SyncGroupResponse::default().with_error_code(code.code()),
    }
}

fn begin_sync(
    shared: &Shared,
    request: SyncGroupRequest,
) -> Reply<Result<Assigned, ResponseError>> {
    let mut groups = shared.groups();
    let Some(group) = groups.get_mut(&request.group_id) else {
        return Reply::Now(Err(ResponseError::UnknownMemberId));
    };
    let who = MemberRef {
        id: &request.member_id,
        instance: request.group_instance_id.as_deref(),
    };
    let assignments = request.assignments.into_iter();
    let sync = SyncRequest {
        generation: request.generation_id,
        protocol_type: request.protocol_type.map(|kind| kind.to_string()),
        protocol_name: request.protocol_name.map(|name| name.to_string()),
        assignments: assignments
            .map(|one| (one.member_id.to_string(), one.assignment))
            .collect(),
    };
    let reply = group.sync(who, sync, Instant::now());
    shared.groups_changed.notify_one();
    reply
}

pub fn heartbeat(shared: &Shared, request: &HeartbeatRequest) -> HeartbeatResponse {
    let who = MemberRef {
        id: &request.member_id,
        instance: request.group_instance_id.as_deref(),
    };
    let result = match shared.groups().get_mut(&request.group_id) {
        Some(group) => group.heartbeat(who, request.generation_id, Instant::now()),
        None => Err(ResponseError::UnknownMemberId),
    };
    HeartbeatResponse::default().with_error_code(code(result))
}

pub fn leave(shared: &Shared, request: LeaveGroupRequest, version: i16) -> LeaveGroupResponse {
    let mut groups = shared.groups();
    let Some(group) = groups.get_mut(&request.group_id) else {
        return LeaveGroupResponse::default()
            .with_error_code(ResponseError::UnknownMemberId.code());
    };
    let mut leave = |member: &MemberIdentity| {
        let who = MemberRef {
            id: &member.member_id,
            instance: member.group_instance_id.as_deref(),
        };
        code(group.leave(who, Instant::now()))
    };
    // Up to version 2 one member leaves, from 3 on any number.
    let response = if version < 3 {
        let member = MemberIdentity::default().with_member_id(request.member_id);
        LeaveGroupResponse::default().with_error_code(leave(&member))
    } else {
        let left = request.members.into_iter().map(|member| {
            let code = leave(&member);
            MemberResponse::default()
                .with_member_id(member.member_id)
                .with_group_instance_id(member.group_instance_id)
                .with_error_code(code)
        });
        LeaveGroupResponse::default().with_members(left.collect())
    };
    shared.groups_changed.notify_one();
    response
}
