//! A first reading of a request that finds counts its bytes cannot hold.
//!
//! The protocol crate reserves memory for an array by the count that the request states. Rubbish
//! states two thousand million, and a failed reservation ends the process. So every request is
//! first read through this buffer, which shows no count larger than what is left.

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::protocol::buf::ByteBuf;

/// The protocol crate reads no further either.
const MAX_VARINT_BYTES: usize = 5;

/// Whether the protocol crate may read the body itself: everything it will find fits.
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
    /// So many bytes may still belong to a varint that was looked at before.
    varint_left: usize,
}

impl Guarded {
    /// The varint that begins here, if this is one (a boolean looks like a short one).
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

    /// A count or a plain number: what is larger than the rest is cut down. A count fails then for
    /// want of bytes; a plain number does not matter in this reading.
    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        self.varint_left = 0;
        let value = self.body.try_get_i32()?;
        let most = self.body.len().saturating_add(1);
        Ok(value.min(i32::try_from(most).unwrap_or(i32::MAX)))
    }

    /// Varints come byte by byte, and all of them are lengths or counts, plus one at most.
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
