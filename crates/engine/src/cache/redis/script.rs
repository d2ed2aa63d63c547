//! The steps that are atomic on the Redis server: comparing a fill with the stored one and writing
//! it.

use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{RedisResult, Script, Value};

use wedcache_model::entry::Header;

const VERSION: u8 = 1;
/// The size of a stamp: version, log id, stamp and start of the call.
pub(super) const STAMP_BYTES: usize = 33;

/// A Lua function that compares the stored fill with `stamp`: −1 if it is older, 0 if it is the
/// same, 1 if it is newer, nil if there is none of this version and log. Bytes are compared one by
/// one: numbers in Lua are doubles, and its string order depends on the server's locale. So a value
/// of another version or another log never blocks a fill.
const COMPARE: &str = r"
local function order(stamp)
  local old = redis.call('GETRANGE', KEYS[1], 0, 32)
  if #old < 33 or old:sub(1, 17) ~= stamp:sub(1, 17) then return nil end
  for at = 18, 33 do
    local held, given = old:byte(at), stamp:byte(at)
    if held ~= given then return held < given and -1 or 1 end
  end
  return 0
end
";

const PUT: &str = r"
local order = order(ARGV[1]:sub(1, 33))
if order and order >= 0 then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
";

const REMOVE: &str = r"
local order = order(ARGV[1])
if order and order <= 0 then redis.call('DEL', KEYS[1]) end
return 0
";

#[derive(Debug)]
pub(super) struct Scripts {
    put: Script,
    remove: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            put: Script::new(&[COMPARE, PUT].concat()),
            remove: Script::new(&[COMPARE, REMOVE].concat()),
        }
    }

    /// Stores the value. Replies with 1 if it was stored, 0 if the same or a newer fill is present.
    pub(super) async fn put(
        &self,
        connection: &mut impl ConnectionLike,
        name: &str,
        value: &[u8],
        ttl: Duration,
    ) -> RedisResult<Value> {
        // Redis rejects a TTL of zero as an error.
        let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        self.put
            .key(name)
            .arg(value)
            .arg(millis)
            .invoke_async(connection)
            .await
    }

    /// Removes the value unless it is newer. Replies with 0.
    pub(super) async fn remove(
        &self,
        connection: &mut impl ConnectionLike,
        name: &str,
        not_newer_than: &[u8],
    ) -> RedisResult<Value> {
        self.remove
            .key(name)
            .arg(not_newer_than)
            .invoke_async(connection)
            .await
    }
}

/// Returns the bytes that a value starts with.
pub(super) fn stamp(header: &Header) -> [u8; STAMP_BYTES] {
    let mut bytes = [VERSION; STAMP_BYTES];
    bytes[1..17].copy_from_slice(&header.log_id.0);
    bytes[17..25].copy_from_slice(&ordered(header.stamp.0));
    bytes[25..].copy_from_slice(&ordered(header.called_at.0));
    bytes
}

pub(super) fn value(header: &Header, sealed: &[u8]) -> Vec<u8> {
    [&stamp(header)[..], sealed].concat()
}

/// Returns the sealed entry in a value of this version.
pub(super) fn sealed_part(value: &[u8]) -> Option<&[u8]> {
    let (stamp, sealed) = value.split_at_checked(STAMP_BYTES)?;
    (stamp[0] == VERSION).then_some(sealed)
}

/// Encodes a number as bytes that compare as the numbers do.
fn ordered(number: i64) -> [u8; 8] {
    (number.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stamp_bytes_compare_as_the_numbers_do() {
        let numbers = [i64::MIN, -256, -1, 0, 1, 255, 256, 1 << 53, i64::MAX];
        assert!(numbers.is_sorted_by_key(|number| ordered(*number)));
    }
}
