//! Leases on the Redis server: a claim is a separate value beside its key's entry.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use redis::Script;

use wedcache_model::CacheKey;
use wedcache_model::trouble::report::Purpose;

use super::connect::Connection;
use super::failure::Failure;
use super::reason::Reason;
use super::{Redis, server_key};
use crate::cache::LayerError;
use crate::cache::lease::{Claim, Claimed, Leases};
use crate::circuit::CircuitState;

/// ARGV: the claim, its term in milliseconds, the claim that it may replace. Replies with the claim
/// that is in place, if that is a different one.
const CLAIM: &str = r"
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] and held ~= ARGV[3] then return held end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
";

const RELEASE: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0
";

#[derive(Debug)]
pub(super) struct LeaseScripts {
    claim: Script,
    release: Script,
}

impl LeaseScripts {
    pub(super) fn new() -> Self {
        Self {
            claim: Script::new(CLAIM),
            release: Script::new(RELEASE),
        }
    }
}

impl Redis {
    /// Returns the Redis key of a claim; entries are named by the key's hash alone.
    pub(super) fn lease_key(&self, key: &CacheKey) -> String {
        server_key(&format!("{}lease:", self.options.key_prefix), key)
    }

    async fn let_stand(
        &self,
        key: &CacheKey,
        claim: &Claim,
        instead_of: Option<&Claim>,
    ) -> Result<Claimed, LayerError> {
        let name = self.lease_key(key);
        let (ours, other) = (claim.encode(), instead_of.map(Claim::encode));
        let millis = u64::try_from(self.options.lease_term.as_millis()).unwrap_or(u64::MAX);
        let claim = async |mut connection: Connection| {
            let mut claim = self.leases.claim.key(&name);
            claim
                .arg(&ours[..])
                .arg(millis.max(1))
                .arg(other.as_ref().map_or(&[][..], |other| &other[..]))
                .invoke_async(&mut connection)
                .await
        };
        let standing: Option<Vec<u8>> = self.call(Purpose::Write, claim).await?;
        match standing.as_deref().map(Claim::decode) {
            None => Ok(Claimed::Ours),
            Some(Some(other)) => Ok(Claimed::HeldBy(other)),
            Some(None) => {
                let failure = Failure::new(Reason::Unreadable, "a claim of another version stands");
                self.reporter.failed(&failure, Purpose::Write);
                Err(LayerError::Corrupt {
                    detail: failure.text,
                })
            }
        }
    }

    async fn take_away(&self, key: &CacheKey, claim: &Claim) -> Result<(), LayerError> {
        let name = self.lease_key(key);
        let release = async |mut connection: Connection| {
            let mut release = self.leases.release.key(&name);
            release
                .arg(&claim.encode()[..])
                .invoke_async(&mut connection)
                .await
        };
        self.call(Purpose::Write, release).await
    }
}

impl Leases for Redis {
    fn claim<'a>(
        &'a self,
        key: &'a CacheKey,
        claim: &'a Claim,
        instead_of: Option<&'a Claim>,
    ) -> BoxFuture<'a, Result<Claimed, LayerError>> {
        self.let_stand(key, claim, instead_of).boxed()
    }

    fn release<'a>(
        &'a self,
        key: &'a CacheKey,
        claim: &'a Claim,
    ) -> BoxFuture<'a, Result<(), LayerError>> {
        self.take_away(key, claim).boxed()
    }

    fn term(&self) -> Duration {
        self.options.lease_term
    }

    fn available(&self) -> bool {
        self.is_connected() && self.breakers.state() == CircuitState::Closed
    }
}
