//! Leases: one of the instances that share a Redis calls the provider for a key, and the others
//! wait for the answer that it stores.
//!
//! A lease is a claim that stays under its key for a term and is renewed while the call runs.
//! Correctness does not rest on it: fills are ordered by their stamps, whoever holds a lease, so
//! losing a lease during a call costs at most a second call.

use std::time::Duration;

use futures_util::future::BoxFuture;

use wedcache_model::{CacheKey, LogId, Position, Timestamp};

use super::LayerError;

/// One flight as all instances can read it: its leader, and the stamp that its answer will have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub holder: Holder,
    pub log_id: LogId,
    /// The flight's stamp.
    pub stamp: Position,
    pub called_at: Timestamp,
    /// Distinguishes the flights of one holder.
    pub number: u64,
}

/// One run of an instance, from its start to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Hash of the instance's name, which is the same in all its runs; 0 if it has no name.
    instance: u64,
    life: u128,
}

impl Holder {
    /// Creates the holder for a new run. `instance` is a name that no other running process has.
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

    /// Returns true if `other` was an earlier run of the same instance, which has ended with all
    /// its calls.
    pub fn succeeds(&self, other: &Self) -> bool {
        self.instance != 0 && self.instance == other.instance && self.life != other.life
    }
}

const VERSION: u8 = 1;
const CLAIM_BYTES: usize = 65;

impl Claim {
    /// Encodes version, holder (name, run), log id, stamp, start of the call and number, in this
    /// order, all big-endian.
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

    /// Decodes a claim; `None` if another version wrote it.
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

/// The outcome of an attempt to claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// The claim is in place for a term from now on.
    Ours,
    /// Another claim is in place.
    HeldBy(Claim),
}

/// A store of claims that all instances see. A dropped future may or may not have taken effect.
pub trait Leases: Send + Sync {
    /// Places the claim if there is none or if `instead_of` is in place; a claim that is already in
    /// place is renewed for another term.
    fn claim<'a>(
        &'a self,
        key: &'a CacheKey,
        claim: &'a Claim,
        instead_of: Option<&'a Claim>,
    ) -> BoxFuture<'a, Result<Claimed, LayerError>>;

    /// Removes the claim if it is still in place.
    fn release<'a>(
        &'a self,
        key: &'a CacheKey,
        claim: &'a Claim,
    ) -> BoxFuture<'a, Result<(), LayerError>>;

    /// Returns the time after which a claim that is not renewed ends, for example because its
    /// holder was killed.
    fn term(&self) -> Duration;

    /// Returns true if a claim made now would reach the store.
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
