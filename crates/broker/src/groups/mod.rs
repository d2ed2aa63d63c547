//! The group coordinator: all groups, their deadlines and their limits.

mod group;
mod member;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::ResponseError;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub use group::{Group, GroupState};
pub use member::{
    Assigned, JoinFeatures, JoinRefused, JoinRequest, JoinResult, Joined, Member, MemberRef,
    Protocol, SyncRequest,
};

/// A limit, because all groups are in memory.
const MAX_GROUPS: usize = 1_000;

/// A response that is available now, or one that comes when the rebalance continues. A dropped
/// sender means that the member has joined again on another connection.
#[derive(Debug)]
pub enum Reply<T> {
    Now(T),
    Later(oneshot::Receiver<T>),
}

/// All groups by id.
#[derive(Debug, Default)]
pub struct Groups {
    by_id: BTreeMap<String, Group>,
}

impl Groups {
    pub fn get(&self, id: &str) -> Option<&Group> {
        self.by_id.get(id)
    }

    pub fn get_mut(&mut self, id: &str) -> Option<&mut Group> {
        self.by_id.get_mut(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Group)> {
        self.by_id.iter().map(|(id, group)| (id.as_str(), group))
    }

    /// Returns the group; creates it if it does not exist.
    pub fn get_or_create(&mut self, id: &str) -> Result<&mut Group, ResponseError> {
        if id.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        if !self.by_id.contains_key(id) && self.by_id.len() >= MAX_GROUPS {
            return Err(ResponseError::GroupMaxSizeReached);
        }
        Ok(self.by_id.entry(id.to_owned()).or_default())
    }

    /// Deletes a group that has no members.
    pub fn delete(&mut self, id: &str) -> Result<(), ResponseError> {
        match self.by_id.get(id) {
            None => Err(ResponseError::GroupIdNotFound),
            Some(group) if group.state() != GroupState::Empty => Err(ResponseError::NonEmptyGroup),
            Some(_) => {
                self.by_id.remove(id);
                Ok(())
            }
        }
    }

    pub fn forget_topic(&mut self, topic: &str) {
        for group in self.by_id.values_mut() {
            group.offsets.forget_topic(topic);
        }
    }

    /// Removes members whose session has ended and ends rebalances that took too long.
    pub fn expire(&mut self, now: Instant) {
        for group in self.by_id.values_mut() {
            group.expire(now);
        }
    }

    /// Returns the next time at which `expire` has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.by_id.values().filter_map(Group::next_deadline).min()
    }
}

/// Converts a duration on the wire; a negative one becomes zero.
pub fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
