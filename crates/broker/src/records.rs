//! The records of an uncompressed batch, as far as compaction and time look-ups need them.

use bytes::Bytes;

use super::batch::{BatchHeader, HEADER_BYTES};
use super::log::Found;

/// A record's position in its batch, and its key.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The record with its length prefix.
    pub raw: &'a [u8],
    pub offset_delta: i64,
    pub timestamp_delta: i64,
    pub key: Option<&'a [u8]>,
}

/// Returns the records of a batch in order; `None` if the batch is compressed or malformed.
pub fn records(batch: &[u8]) -> Option<Vec<Record<'_>>> {
    let header = BatchHeader::read(batch);
    if header.compressed() {
        return None;
    }
    let mut rest = batch.get(HEADER_BYTES..)?;
    let mut found = Vec::new();
    for _ in 0..header.count {
        let start = rest;
        let length = usize::try_from(varint(&mut rest)?).ok()?;
        let body = rest.get(..length)?;
        rest = &rest[length..];
        let raw = &start[..start.len() - rest.len()];
        found.push(record(raw, body)?);
    }
    Some(found)
}

fn record<'a>(raw: &'a [u8], body: &'a [u8]) -> Option<Record<'a>> {
    // One byte of attributes, unused by format v2.
    let mut rest = body.get(1..)?;
    let timestamp_delta = varint(&mut rest)?;
    let offset_delta = varint(&mut rest)?;
    let key = match usize::try_from(varint(&mut rest)?) {
        Ok(length) => Some(rest.get(..length)?),
        Err(_) => None,
    };
    Some(Record {
        raw,
        offset_delta,
        timestamp_delta,
        key,
    })
}

/// Returns the first record that is not older than `timestamp`; `None` if the records cannot be
/// read or all are older.
pub fn first_since(batch: &Bytes, timestamp: i64) -> Option<Found> {
    let header = BatchHeader::read(batch);
    if header.log_append_time() {
        let base_offset = i64::from_be_bytes(batch.first_chunk::<8>().copied()?);
        return Some(Found {
            offset: base_offset,
            timestamp: header.max_timestamp,
        });
    }
    let base_offset = i64::from_be_bytes(batch.first_chunk::<8>().copied()?);
    records(batch)?.iter().find_map(|record| {
        let at = header.base_timestamp + record.timestamp_delta;
        (at >= timestamp).then_some(Found {
            offset: base_offset + record.offset_delta,
            timestamp: at,
        })
    })
}

/// Reads a zigzag varint of up to 64 bits.
fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
        }
    }
    None
}
