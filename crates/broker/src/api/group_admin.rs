//! ListGroups, DescribeGroups and DeleteGroups.

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    GroupId, ListGroupsRequest, ListGroupsResponse,
};

use super::{code, text};
use crate::Shared;
use crate::groups::{Group, Member};

/// The first version in which a listed group has its state.
const STATES_SINCE: i16 = 4;

pub fn list(shared: &Shared, request: &ListGroupsRequest, version: i16) -> ListGroupsResponse {
    let wanted = |state: &str| {
        request.states_filter.is_empty()
            || request
                .states_filter
                .iter()
                .any(|wanted| wanted.eq_ignore_ascii_case(state))
    };
    let groups = shared.groups();
    let listed = groups
        .iter()
        .filter(|(_, group)| wanted(group.state().name()))
        .map(|(id, group)| {
            let state = if version >= STATES_SINCE {
                group.state().name()
            } else {
                ""
            };
            ListedGroup::default()
                .with_group_id(GroupId(text(id)))
                .with_protocol_type(text(group.protocol_type()))
                .with_group_state(text(state))
        });
    ListGroupsResponse::default().with_groups(listed.collect())
}

pub fn describe(shared: &Shared, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let groups = shared.groups();
    let described = request.groups.into_iter().map(|id| {
        let answer = match groups.get(&id) {
            Some(group) => describe_group(group),
            // Apache Kafka's response up to version 5.
            None => DescribedGroup::default().with_group_state(text("Dead")),
        };
        answer.with_group_id(id)
    });
    DescribeGroupsResponse::default().with_groups(described.collect())
}

fn describe_group(group: &Group) -> DescribedGroup {
    let member = |member: &Member| {
        DescribedGroupMember::default()
            .with_member_id(text(&member.id))
            .with_group_instance_id(member.instance.as_deref().map(text))
            .with_client_id(text(&member.client_id))
            .with_client_host(text(&format!("/{}", member.client_host)))
            .with_member_metadata(
                member
                    .metadata(group.protocol())
                    .cloned()
                    .unwrap_or_default(),
            )
            .with_member_assignment(member.assignment.clone())
    };
    DescribedGroup::default()
        .with_group_state(text(group.state().name()))
        .with_protocol_type(text(group.protocol_type()))
        .with_protocol_data(text(group.protocol()))
        .with_members(group.members().iter().map(member).collect())
}

pub fn delete(shared: &Shared, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut groups = shared.groups();
    let results = request.groups_names.into_iter().map(|id| {
        let code = code(groups.delete(&id));
        DeletableGroupResult::default()
            .with_group_id(id)
            .with_error_code(code)
    });
    DeleteGroupsResponse::default().with_results(results.collect())
}
