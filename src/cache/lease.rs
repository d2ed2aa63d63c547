//! Leases: of the instances that share a Redis, one calls the provider for a key, and the others
//! wait for what it stores.
//!
//! A lease is a claim that stands under its key for a term and is renewed while the call runs.
//! Nothing that may be served rests on it: fills are ordered by their stamps, whoever holds what,
//! so a lease that was lost in the midst of a call costs at most a second call.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::LayerError;
use crate::model::{CacheKey, LogId, Position, Timestamp};

/// One flight, as all instances can read it: who flies it, and what its answer will be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub holder: Holder,
    pub log_id: LogId,
    /// The flight's stamp.
    pub stamp: Position,
    pub called_at: Timestamp,
    /// Tells the flights of one holder apart.
    pub number: u64,
}

/// One life of an instance, from its start to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Of the name that it keeps over its lives; 0 where it has none.
    instance: u64,
    life: u128,
}

impl Holder {
    /// A new life. `instance` is a name that no other running process has.
    pub fn new(instance: Option<&str>) -> Self {
        let hash = |name: &str| {
            let hash = blake3::hash(name.as_bytes());
            let first = hash.as_bytes().first_chunk::<8>();
            first.map_or(0, |bytes| u64::from_be_bytes(*bytes))
        };
        Self {
            instance: instance.map_or(0, hash),
            life: fastrand::u128(1..),
        }
    }

    /// Whether `other` was a life of the same instance: it has ended, and its calls with it.
    pub fn succeeds(&self, other: &Self) -> bool {
        self.instance != 0 && self.instance == other.instance && self.life != other.life
    }
}

const VERSION: u8 = 1;
const CLAIM_BYTES: usize = 65;

impl Claim {
    /// Version, holder (name, life), log id, stamp, begin of the call, number; big-endian.
    pub fn encode(&self) -> [u8; CLAIM_BYTES] {
        let mut bytes = [VERSION; CLAIM_BYTES];
        bytes[1..9].copy_from_slice(&self.holder.instance.to_be_bytes());
        bytes[9..25].copy_from_slice(&self.holder.life.to_be_bytes());
        bytes[25..41].copy_from_slice(&self.log_id.0);
        bytes[41..49].copy_from_slice(&self.stamp.0.to_be_bytes());
        bytes[49..57].copy_from_slice(&self.called_at.0.to_be_bytes());
        bytes[57..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    /// `None` for what another version wrote.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; CLAIM_BYTES] = bytes.try_into().ok()?;
        let eight = |at: usize| bytes[at..].first_chunk::<8>().copied();
        let sixteen = |at: usize| bytes[at..].first_chunk::<16>().copied();
        (bytes[0] == VERSION).then_some(())?;
        Some(Self {
            holder: Holder {
                instance: u64::from_be_bytes(eight(1)?),
                life: u128::from_be_bytes(sixteen(9)?),
            },
            log_id: LogId(sixteen(25)?),
            stamp: Position(i64::from_be_bytes(eight(41)?)),
            called_at: Timestamp(i64::from_be_bytes(eight(49)?)),
            number: u64::from_be_bytes(eight(57)?),
        })
    }
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// It stands for a term from now on.
    Ours,
    /// Another one stands.
    HeldBy(Claim),
}

/// Where claims stand, for all instances to see. A future that is dropped may or may not have
/// taken effect.
pub trait Leases: Send + Sync {
    /// Lets the claim stand where none does, or `instead_of` does; one that stands already stands
    /// for another term.
    fn claim<'a>(
        &'a self,
        key: &'a CacheKey,
        claim: &'a Claim,
        instead_of: Option<&'a Claim>,
    ) -> BoxFuture<'a, Result<Claimed, LayerError>>;

    /// Takes the claim away, if it still stands.
    fn release<'a>(
        &'a self,
        key: &'a CacheKey,
        claim: &'a Claim,
    ) -> BoxFuture<'a, Result<(), LayerError>>;

    /// How long a claim stands that is not renewed, as when its holder was killed.
    fn term(&self) -> Duration;

    /// Whether a claim made now would be heard.
    fn available(&self) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        Claim {
            holder: Holder::new(Some("wedcache-0")),
            log_id: LogId([7; 16]),
            stamp: Position(1 << 40),
            called_at: Timestamp(1_795_638_902_945),
            number: u64::MAX - 1,
        }
    }

    #[test]
    fn a_claim_is_read_as_it_was_written_and_nothing_else_is() {
        let claim = claim();
        let mut bytes = claim.encode();
        assert_eq!(Claim::decode(&bytes), Some(claim));
        assert_eq!(Claim::decode(&bytes[1..]), None);
        bytes[0] = VERSION + 1;
        assert_eq!(Claim::decode(&bytes), None);
    }

    #[test]
    fn only_another_life_of_the_same_name_is_known_to_have_ended() {
        let first = Holder::new(Some("a"));
        assert!(Holder::new(Some("a")).succeeds(&first));
        assert!(!first.succeeds(&first));
        assert!(!Holder::new(Some("b")).succeeds(&first));
        let nameless = Holder::new(None);
        assert!(!Holder::new(None).succeeds(&nameless));
    }
}
