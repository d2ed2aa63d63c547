//! A first pass over a request that finds counts for which it has too few bytes.
//!
//! The protocol crate reserves memory for an array by the count that the request states. Random
//! bytes may state a count of two billion, and a failed reservation ends the process. So every
//! request is first decoded through this buffer, which returns no count larger than the remaining
//! bytes.

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::protocol::buf::ByteBuf;

/// The most bytes of a varint; the protocol crate reads no further either.
const MAX_VARINT_BYTES: usize = 5;

/// Checks that the protocol crate may decode the body: all stated lengths and counts fit.
pub fn check<R: kafka_protocol::protocol::Decodable>(
    body: Bytes,
    version: i16,
) -> anyhow::Result<()> {
    R::decode(
        &mut Guarded {
            body,
            varint_left: 0,
        },
        version,
    )
    .map(|_| ())
}

struct Guarded {
    body: Bytes,
    /// The bytes that may still belong to a varint that was checked at its first byte.
    varint_left: usize,
}

impl Guarded {
    /// Returns the value of the varint that begins here, if there is one (a boolean looks like a
    /// short one).
    fn varint(&self) -> u64 {
        let mut value = 0;
        for (index, byte) in self.body.iter().take(MAX_VARINT_BYTES).enumerate() {
            value |= u64::from(byte & 0x7f) << (index * 7);
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
}

impl Buf for Guarded {
    fn remaining(&self) -> usize {
        self.body.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.body.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.varint_left = 0;
        self.body.advance(count);
    }

    /// Reads a count or a plain number, limited to the remaining bytes plus one. With a limited
    /// count the decoding fails for lack of bytes; a limited plain number does not matter in this
    /// pass.
    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        self.varint_left = 0;
        let value = self.body.try_get_i32()?;
        let most = self.body.len().saturating_add(1);
        Ok(value.min(i32::try_from(most).unwrap_or(i32::MAX)))
    }

    /// Varints are read byte by byte, and every varint is a length or a count, plus one at most.
    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let available = self.body.len();
        if self.varint_left == 0 {
            self.varint_left = MAX_VARINT_BYTES;
            let stated = usize::try_from(self.varint()).unwrap_or(usize::MAX);
            if stated > available {
                return Err(TryGetError {
                    requested: stated,
                    available,
                });
            }
        }
        let byte = self.body.try_get_u8()?;
        self.varint_left = if byte & 0x80 == 0 {
            0
        } else {
            self.varint_left - 1
        };
        Ok(byte)
    }
}

impl ByteBuf for Guarded {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.body.peek_bytes(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.varint_left = 0;
        self.body.get_bytes(size)
    }
}
