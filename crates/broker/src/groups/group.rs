//! One consumer group in the classic protocol: its members and its rebalances.
//!
//! Empty → PreparingRebalance (all members join again with JoinGroup) → CompletingRebalance (the
//! leader sends the assignments with SyncGroup) → Stable. The broker never reads subscriptions or
//! assignments, so that any assignor works, eager or cooperative.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Reply;
use super::member::{
    Assigned, JoinRefused, JoinRequest, JoinResult, Joined, JoinedMember, Member, MemberRef,
    SyncRequest, SyncResult,
};
use crate::offsets::Offsets;

/// The most members of one group, including those that have only been given an id.
const MAX_MEMBERS: usize = 200;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupState {
    #[default]
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl GroupState {
    /// Returns the name that `DescribeGroups` uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// A group with its members in the order of their joining, and its offsets.
#[derive(Debug, Default)]
pub struct Group {
    pub offsets: Offsets,
    state: GroupState,
    generation: i32,
    protocol_type: String,
    protocol: String,
    leader: String,
    members: Vec<Member>,
    /// Ids given to new members that have not joined with them yet, and the time until which they
    /// may.
    pending: BTreeMap<String, Instant>,
    /// The time at which members that have not joined the rebalance are removed.
    join_ends: Option<Instant>,
}

impl Group {
    pub const fn state(&self) -> GroupState {
        self.state
    }

    pub fn protocol_type(&self) -> &str {
        &self.protocol_type
    }

    /// Returns the chosen assignor.
    pub fn protocol(&self) -> &str {
        &self.protocol
    }

    pub fn members(&self) -> &[Member] {
        &self.members
    }

    pub fn join(&mut self, request: JoinRequest, now: Instant) -> Reply<JoinResult> {
        if let Err(code) = self.check_join(&request) {
            return refuse(code, request.member_id);
        }
        if !request.member_id.is_empty() {
            return self.rejoin(request, now);
        }
        let seat = request
            .instance
            .as_deref()
            .and_then(|instance| self.seat_of(instance));
        match seat {
            Some(seat) => self.take_over(seat, request, now),
            None if request.instance.is_none() && request.features.member_id_required => {
                let id = new_member_id(&request);
                self.pending
                    .insert(id.clone(), now + request.session_timeout);
                refuse(ResponseError::MemberIdRequired, id)
            }
            None => self.add(new_member_id(&request), request, now),
        }
    }

    fn check_join(&self, request: &JoinRequest) -> Result<(), ResponseError> {
        if request.protocol_type.is_empty() || request.protocols.is_empty() {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        let newcomer = request.member_id.is_empty();
        if newcomer && self.members.len() + self.pending.len() >= MAX_MEMBERS {
            return Err(ResponseError::GroupMaxSizeReached);
        }
        let others: Vec<&Member> = self
            .members
            .iter()
            .filter(|member| {
                member.id != request.member_id
                    && (member.instance.is_none() || member.instance != request.instance)
            })
            .collect();
        if others.is_empty() {
            return Ok(());
        }
        let shared = request.protocols.iter().any(|protocol| {
            others
                .iter()
                .all(|member| member.metadata(&protocol.name).is_some())
        });
        if shared && self.protocol_type == request.protocol_type {
            Ok(())
        } else {
            Err(ResponseError::InconsistentGroupProtocol)
        }
    }

    /// Handles a join with an id that the coordinator gave out.
    fn rejoin(&mut self, request: JoinRequest, now: Instant) -> Reply<JoinResult> {
        if self.pending.remove(&request.member_id).is_some() {
            return self.add(request.member_id.clone(), request, now);
        }
        let who = MemberRef {
            id: &request.member_id,
            instance: request.instance.as_deref(),
        };
        let seat = match self.seat(who) {
            Ok(seat) => seat,
            Err(code) => return refuse(code, request.member_id),
        };
        let changed = self.members[seat].protocols != request.protocols;
        let repeats = match self.state {
            // A retry: the response was lost on the way.
            GroupState::CompletingRebalance => !changed,
            // A follower without a change; a leader that joins wants a new assignment.
            GroupState::Stable => !changed && !self.leads(seat),
            GroupState::PreparingRebalance | GroupState::Empty => false,
        };
        let member = &mut self.members[seat];
        member.last_seen = now;
        member.session_timeout = request.session_timeout;
        member.rebalance_timeout = request.rebalance_timeout;
        if repeats {
            return Reply::Now(Ok(self.joined(seat)));
        }
        member.protocols = request.protocols;
        self.wait_for_join(seat, now)
    }

    fn add(&mut self, id: String, request: JoinRequest, now: Instant) -> Reply<JoinResult> {
        if self.members.is_empty() {
            self.protocol_type.clone_from(&request.protocol_type);
        }
        self.members.push(Member::new(id, request, now));
        self.wait_for_join(self.members.len() - 1, now)
    }

    /// Handles a static member that came back with its instance id alone: it keeps its seat under a
    /// new id, and a client that still uses the old id is fenced.
    fn take_over(&mut self, seat: usize, request: JoinRequest, now: Instant) -> Reply<JoinResult> {
        let skip_assignment = request.features.skip_assignment;
        let old_leader = self.leader.clone();
        let led = self.leads(seat);
        let mut member = Member::new(new_member_id(&request), request, now);
        let old = &mut self.members[seat];
        let fenced = JoinRefused {
            code: ResponseError::FencedInstanceId,
            member_id: old.id.clone(),
        };
        old.answer_join(Err(fenced));
        old.answer_sync(Err(ResponseError::FencedInstanceId));
        member.assignment = std::mem::take(&mut old.assignment);
        if led {
            self.leader.clone_from(&member.id);
        }
        self.members[seat] = member;
        if self.state != GroupState::Stable || self.choose_protocol() != self.protocol {
            return self.wait_for_join(seat, now);
        }
        let mut joined = self.joined(seat);
        if skip_assignment {
            joined.skip_assignment = led;
        } else {
            // A client of an older version would compute a new assignment if told that it leads.
            joined.leader = old_leader;
            joined.members.clear();
        }
        Reply::Now(Ok(joined))
    }

    fn wait_for_join(&mut self, seat: usize, now: Instant) -> Reply<JoinResult> {
        let (answer, receiver) = oneshot::channel();
        self.members[seat].joining = Some(answer);
        self.rebalance(now);
        Reply::Later(receiver)
    }

    fn rebalance(&mut self, now: Instant) {
        if self.state == GroupState::CompletingRebalance {
            for member in &mut self.members {
                member.assignment = Bytes::new();
                member.last_seen = now;
                member.answer_sync(Err(ResponseError::RebalanceInProgress));
            }
        }
        if self.state != GroupState::PreparingRebalance {
            self.state = GroupState::PreparingRebalance;
            self.join_ends = Some(now + self.longest_rebalance());
        }
        self.complete_join_if_all_are_here(now);
    }

    fn longest_rebalance(&self) -> Duration {
        self.members
            .iter()
            .map(|member| member.rebalance_timeout)
            .max()
            .unwrap_or_default()
    }

    fn complete_join_if_all_are_here(&mut self, now: Instant) {
        let all = self.members.iter().all(|member| member.joining.is_some());
        if self.state == GroupState::PreparingRebalance && all && self.pending.is_empty() {
            self.complete_join(now);
        }
    }

    /// Starts the next generation. Members that have not joined again are removed, except static
    /// ones: they keep their seats until their sessions end.
    fn complete_join(&mut self, now: Instant) {
        self.members
            .retain(|member| member.joining.is_some() || member.instance.is_some());
        if self.members.is_empty() {
            self.generation += 1;
            self.state = GroupState::Empty;
            self.protocol.clear();
            self.leader.clear();
            self.join_ends = None;
            return;
        }
        let Some(first) = self.members.iter().find(|member| member.joining.is_some()) else {
            self.join_ends = Some(now + self.longest_rebalance());
            return;
        };
        let leader_is_here = self
            .members
            .iter()
            .any(|member| member.id == self.leader && member.joining.is_some());
        if !leader_is_here {
            self.leader.clone_from(&first.id);
        }
        self.generation += 1;
        self.protocol = self.choose_protocol();
        self.state = GroupState::CompletingRebalance;
        self.join_ends = None;
        for seat in 0..self.members.len() {
            let joined = self.joined(seat);
            let member = &mut self.members[seat];
            if member.joining.is_some() {
                member.last_seen = now;
            }
            member.answer_join(Ok(joined));
        }
    }

    /// Returns the assignor that most members prefer among those that all members support.
    fn choose_protocol(&self) -> String {
        let shared = |name: &str| {
            self.members
                .iter()
                .all(|member| member.metadata(name).is_some())
        };
        let mut votes: Vec<(&str, usize)> = Vec::new();
        for member in &self.members {
            let vote = member
                .protocols
                .iter()
                .map(|protocol| protocol.name.as_str())
                .find(|name| shared(name));
            match votes.iter_mut().find(|(name, _)| Some(*name) == vote) {
                Some((_, count)) => *count += 1,
                None => votes.extend(vote.map(|name| (name, 1))),
            }
        }
        // The first of equal ones: `max_by_key` returns the last.
        let best = votes.iter().rev().max_by_key(|(_, count)| *count);
        best.map(|(name, _)| (*name).to_owned()).unwrap_or_default()
    }

    fn joined(&self, seat: usize) -> Joined {
        let members = if self.leads(seat) {
            let metadata =
                |member: &Member| member.metadata(&self.protocol).cloned().unwrap_or_default();
            self.members
                .iter()
                .map(|member| JoinedMember {
                    id: member.id.clone(),
                    instance: member.instance.clone(),
                    metadata: metadata(member),
                })
                .collect()
        } else {
            Vec::new()
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone(),
            member_id: self.members[seat].id.clone(),
            skip_assignment: false,
            members,
        }
    }

    pub fn sync(
        &mut self,
        who: MemberRef<'_>,
        request: SyncRequest,
        now: Instant,
    ) -> Reply<SyncResult> {
        let seat = match self.check_sync(who, &request) {
            Ok(seat) => seat,
            Err(code) => return Reply::Now(Err(code)),
        };
        self.members[seat].last_seen = now;
        if self.state == GroupState::Stable {
            return Reply::Now(Ok(self.assigned(seat)));
        }
        let (answer, receiver) = oneshot::channel();
        self.members[seat].syncing = Some(answer);
        if self.leads(seat) {
            self.assign(request.assignments, now);
        }
        Reply::Later(receiver)
    }

    fn check_sync(
        &self,
        who: MemberRef<'_>,
        request: &SyncRequest,
    ) -> Result<usize, ResponseError> {
        let seat = self.seat_in_generation(who, request.generation)?;
        let differs = |asked: &Option<String>, held: &str| {
            asked.as_deref().is_some_and(|asked| asked != held)
        };
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol)
        {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        match self.state {
            GroupState::Empty => Err(ResponseError::UnknownMemberId),
            GroupState::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(seat),
        }
    }

    fn assign(&mut self, assignments: Vec<(String, Bytes)>, now: Instant) {
        for member in &mut self.members {
            member.assignment = Bytes::new();
        }
        for (id, assignment) in assignments {
            if let Some(member) = self.members.iter_mut().find(|member| member.id == id) {
                // A copy, because a slice would keep the leader's whole request alive.
                member.assignment = Bytes::copy_from_slice(&assignment);
            }
        }
        self.state = GroupState::Stable;
        for seat in 0..self.members.len() {
            let assigned = self.assigned(seat);
            let member = &mut self.members[seat];
            if member.syncing.is_some() {
                member.last_seen = now;
            }
            member.answer_sync(Ok(assigned));
        }
    }

    fn assigned(&self, seat: usize) -> Assigned {
        Assigned {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment: self.members[seat].assignment.clone(),
        }
    }

    pub fn heartbeat(
        &mut self,
        who: MemberRef<'_>,
        generation: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        let seat = self.seat_in_generation(who, generation)?;
        self.members[seat].last_seen = now;
        match self.state {
            GroupState::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// Removes a member. A static one may be named by its instance id alone.
    pub fn leave(&mut self, who: MemberRef<'_>, now: Instant) -> Result<(), ResponseError> {
        if self.pending.remove(who.id).is_some() {
            self.complete_join_if_all_are_here(now);
            return Ok(());
        }
        let seat = match who.instance {
            Some(instance) if who.id.is_empty() => self
                .seat_of(instance)
                .ok_or(ResponseError::UnknownMemberId)?,
            _ => self.seat(who)?,
        };
        self.remove(seat, now);
        Ok(())
    }

    fn remove(&mut self, seat: usize, now: Instant) {
        let mut member = self.members.remove(seat);
        let refused = JoinRefused {
            code: ResponseError::UnknownMemberId,
            member_id: member.id.clone(),
        };
        member.answer_join(Err(refused));
        member.answer_sync(Err(ResponseError::UnknownMemberId));
        self.rebalance(now);
    }

    /// Checks whether offsets may be committed: by a member of this generation, or by a client in
    /// no group while the group has no members.
    pub fn check_commit(
        &mut self,
        who: MemberRef<'_>,
        generation: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        if generation < 0 && self.state == GroupState::Empty {
            return Ok(());
        }
        let seat = self.seat_in_generation(who, generation)?;
        self.members[seat].last_seen = now;
        match self.state {
            GroupState::CompletingRebalance => Err(ResponseError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.pending.retain(|_, until| *until > now);
        while let Some(seat) = self
            .members
            .iter()
            .position(|member| member.session_ends().is_some_and(|ends| ends <= now))
        {
            tracing::debug!(member = %self.members[seat].id, "session ended");
            self.remove(seat, now);
        }
        if self.join_ends.is_some_and(|ends| ends <= now) {
            self.complete_join(now);
        } else {
            self.complete_join_if_all_are_here(now);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let sessions = self.members.iter().filter_map(Member::session_ends);
        sessions
            .chain(self.pending.values().copied())
            .chain(self.join_ends)
            .min()
    }

    fn leads(&self, seat: usize) -> bool {
        self.members[seat].id == self.leader
    }

    fn seat_of(&self, instance: &str) -> Option<usize> {
        self.members
            .iter()
            .position(|member| member.instance.as_deref() == Some(instance))
    }

    fn seat(&self, who: MemberRef<'_>) -> Result<usize, ResponseError> {
        let seat = match who.instance {
            Some(instance) => self.seat_of(instance),
            None => self.members.iter().position(|member| member.id == who.id),
        };
        match seat {
            None => Err(ResponseError::UnknownMemberId),
            Some(seat) if self.members[seat].id != who.id => Err(ResponseError::FencedInstanceId),
            Some(seat) => Ok(seat),
        }
    }

    fn seat_in_generation(
        &self,
        who: MemberRef<'_>,
        generation: i32,
    ) -> Result<usize, ResponseError> {
        let seat = self.seat(who)?;
        if generation == self.generation {
            Ok(seat)
        } else {
            Err(ResponseError::IllegalGeneration)
        }
    }
}

fn refuse(code: ResponseError, member_id: String) -> Reply<JoinResult> {
    Reply::Now(Err(JoinRefused { code, member_id }))
}

/// Returns an id in the form of Apache Kafka's: a recognisable name and a random part.
fn new_member_id(request: &JoinRequest) -> String {
    let name = request.instance.as_deref().unwrap_or(&request.client_id);
    format!("{name}-{:032x}", fastrand::u128(..))
}
