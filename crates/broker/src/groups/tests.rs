//! The rules of a group that a well-behaved client never exercises.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::*;

const SESSION: Duration = Duration::from_secs(6);
const REBALANCE: Duration = Duration::from_mins(1);

fn request(member_id: &str, instance: Option<&str>) -> JoinRequest {
    JoinRequest {
        member_id: member_id.to_owned(),
        instance: instance.map(str::to_owned),
        client_id: "c".to_owned(),
        client_host: "127.0.0.1".to_owned(),
        session_timeout: SESSION,
        rebalance_timeout: REBALANCE,
        protocol_type: "consumer".to_owned(),
        protocols: vec![Protocol {
            name: "range".to_owned(),
            metadata: Bytes::from_static(b"s"),
        }],
        features: JoinFeatures {
            member_id_required: false,
            skip_assignment: false,
        },
    }
}

fn who(id: &str) -> MemberRef<'_> {
    MemberRef { id, instance: None }
}

#[track_caller]
fn now<T: std::fmt::Debug>(reply: Reply<T>) -> T {
    match reply {
        Reply::Now(answer) => answer,
        Reply::Later(mut answer) => answer.try_recv().expect("the answer is there"),
    }
}

#[track_caller]
fn later<T: std::fmt::Debug>(reply: Reply<T>) -> oneshot::Receiver<T> {
    match reply {
        Reply::Now(answer) => panic!("{answer:?} came at once"),
        Reply::Later(mut answer) => {
            assert!(answer.try_recv().is_err(), "the answer is there already");
            answer
        }
    }
}

fn sync_request(generation: i32, assignments: &[(&str, &'static str)]) -> SyncRequest {
    SyncRequest {
        generation,
        protocol_type: None,
        protocol_name: None,
        assignments: assignments
            .iter()
            .map(|(id, assignment)| ((*id).to_owned(), Bytes::from_static(assignment.as_bytes())))
            .collect(),
    }
}

/// Makes a stable group of two; returns the leader's id, the follower's id, the generation.
fn stable_pair(group: &mut Group, at: Instant) -> (String, String, i32) {
    let first = now(group.join(request("", None), at)).unwrap().member_id;
    let waits = later(group.join(request("", None), at));
    now(group.join(request(&first, None), at)).unwrap();
    let second = now(Reply::Later(waits)).unwrap();
    assert_eq!(second.leader, first);
    let generation = second.generation;
    let second = second.member_id;
    let follower = later(group.sync(who(&second), sync_request(generation, &[]), at));
    let shares = [(first.as_str(), "a"), (second.as_str(), "b")];
    now(group.sync(who(&first), sync_request(generation, &shares), at)).unwrap();
    assert_eq!(now(Reply::Later(follower)).unwrap().assignment, "b");
    assert_eq!(group.state(), GroupState::Stable);
    (first, second, generation)
}

#[test]
fn new_dynamic_member_is_sent_away_with_its_id() {
    let (mut group, at) = (Group::default(), Instant::now());
    let mut join = request("", None);
    join.features.member_id_required = true;
    let refused = now(group.join(join, at)).unwrap_err();
    assert_eq!(refused.code, ResponseError::MemberIdRequired);
    assert!(group.members().is_empty());
    let joined = now(group.join(request(&refused.member_id, None), at)).unwrap();
    assert_eq!(
        (joined.member_id, joined.generation),
        (refused.member_id, 1)
    );
    let unknown = now(group.join(request("nobody", None), at)).unwrap_err();
    assert_eq!(unknown.code, ResponseError::UnknownMemberId);
}

#[test]
fn silent_member_is_out_when_its_session_ends() {
    let (mut group, at) = (Group::default(), Instant::now());
    let (first, second, generation) = stable_pair(&mut group, at);
    let beat = at + SESSION / 2;
    group.heartbeat(who(&first), generation, beat).unwrap();
    assert_eq!(group.next_deadline(), Some(at + SESSION));
    group.expire(at + SESSION);
    assert_eq!(group.members().len(), 1);
    let told = group.heartbeat(who(&first), generation, at + SESSION);
    assert_eq!(told, Err(ResponseError::RebalanceInProgress));
    let gone = group.heartbeat(who(&second), generation, at + SESSION);
    assert_eq!(gone, Err(ResponseError::UnknownMemberId));
}

#[test]
fn rebalance_leaves_behind_who_does_not_come() {
    let (mut group, at) = (Group::default(), Instant::now());
    let (first, second, generation) = stable_pair(&mut group, at);
    let rejoins = later(group.join(request(&first, None), at));
    // The other one sends heartbeats, but does not join.
    let mut passed = Duration::ZERO;
    while passed < REBALANCE {
        let told = group.heartbeat(who(&second), generation, at + passed);
        assert_eq!(told, Err(ResponseError::RebalanceInProgress));
        group.expire(at + passed);
        passed += SESSION / 2;
    }
    group.expire(at + REBALANCE);
    let joined = now(Reply::Later(rejoins)).unwrap();
    assert_eq!(
        (joined.generation, joined.members.len()),
        (generation + 1, 1)
    );
    let gone = group.heartbeat(who(&second), generation, at + REBALANCE);
    assert_eq!(gone, Err(ResponseError::UnknownMemberId));
}

#[test]
fn commits_are_for_this_generations_members() {
    let (mut group, at) = (Group::default(), Instant::now());
    assert_eq!(group.check_commit(who(""), -1, at), Ok(()));
    let (first, _, generation) = stable_pair(&mut group, at);
    assert_eq!(group.check_commit(who(&first), generation, at), Ok(()));
    let old = group.check_commit(who(&first), generation - 1, at);
    assert_eq!(old, Err(ResponseError::IllegalGeneration));
    let outsider = group.check_commit(who(""), -1, at);
    assert_eq!(outsider, Err(ResponseError::UnknownMemberId));
    // A member may commit the partitions that it gives up.
    let _rejoins = later(group.join(request(&first, None), at));
    assert_eq!(group.check_commit(who(&first), generation, at), Ok(()));
}

#[test]
fn sync_waits_for_the_leader_and_ends_with_the_next_rebalance() {
    let (mut group, at) = (Group::default(), Instant::now());
    let first = now(group.join(request("", None), at)).unwrap().member_id;
    let waits = later(group.join(request("", None), at));
    now(group.join(request(&first, None), at)).unwrap();
    let second = now(Reply::Later(waits)).unwrap();
    let syncs = later(group.sync(
        who(&second.member_id),
        sync_request(second.generation, &[]),
        at,
    ));
    group.leave(who(&first), at).unwrap();
    assert_eq!(
        now(Reply::Later(syncs)),
        Err(ResponseError::RebalanceInProgress)
    );
}

#[test]
fn assignors_that_nobody_shares_are_refused() {
    let (mut group, at) = (Group::default(), Instant::now());
    now(group.join(request("", None), at)).unwrap();
    let mut other = request("", None);
    other.protocols[0].name = "sticky".to_owned();
    let refused = now(group.join(other, at)).unwrap_err();
    assert_eq!(refused.code, ResponseError::InconsistentGroupProtocol);
}

#[test]
fn static_member_takes_its_seat_again_and_fences_the_old_one() {
    let (mut group, at) = (Group::default(), Instant::now());
    let first = now(group.join(request("", Some("one")), at)).unwrap();
    let old = MemberRef {
        id: &first.member_id,
        instance: Some("one"),
    };
    let own = [(first.member_id.as_str(), "a")];
    now(group.sync(old, sync_request(first.generation, &own), at)).unwrap();
    let again = now(group.join(request("", Some("one")), at)).unwrap();
    assert_ne!(again.member_id, first.member_id);
    assert_eq!(again.generation, first.generation);
    // It must not believe that it leads and compute a new assignment.
    assert_ne!(again.leader, again.member_id);
    let new = MemberRef {
        id: &again.member_id,
        instance: Some("one"),
    };
    assert_eq!(
        now(group.sync(new, sync_request(again.generation, &[]), at))
            .unwrap()
            .assignment,
        "a"
    );
    assert_eq!(
        group.heartbeat(old, first.generation, at),
        Err(ResponseError::FencedInstanceId)
    );
    // An administrator can remove it by its instance id alone.
    group
        .leave(
            MemberRef {
                id: "",
                instance: Some("one"),
            },
            at,
        )
        .unwrap();
    assert_eq!(group.state(), GroupState::Empty);
}

#[test]
fn groups_are_bounded_and_deleted_only_when_empty() {
    let mut groups = Groups::default();
    assert_eq!(
        groups.get_or_create("").err(),
        Some(ResponseError::InvalidGroupId)
    );
    for number in 0..MAX_GROUPS {
        groups.get_or_create(&number.to_string()).unwrap();
    }
    assert_eq!(
        groups.get_or_create("more").err(),
        Some(ResponseError::GroupMaxSizeReached)
    );
    groups.get_or_create("0").unwrap();
    assert_eq!(groups.delete("0"), Ok(()));
    assert_eq!(groups.delete("0"), Err(ResponseError::GroupIdNotFound));
    let group = groups.get_or_create("1").unwrap();
    now(group.join(request("", None), Instant::now())).unwrap();
    assert_eq!(groups.delete("1"), Err(ResponseError::NonEmptyGroup));
}
