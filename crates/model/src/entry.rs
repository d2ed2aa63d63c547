//! A cached answer and its binary form.
//!
//! The form starts with a fixed header and the tag hashes, so that an entry can be judged (stamp,
//! times, tags) without touching its payload; the payload is LZ4-compressed where that helps.
//! All numbers are little-endian.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 2 | magic `WE` |
//! | 2 | 1 | version, 2 |
//! | 3 | 1 | flags: 1 simulated, 2 compressed payload, 4 cost known |
//! | 4 | 2 | number of tags |
//! | 6 | 2 | length of the model's name |
//! | 8 | 16 | log id |
//! | 24 | 8 × 5 | stamp; call began, cached, expires, kept until (ms since 1970) |
//! | 64 | 8 × 3 | prompt tokens, completion tokens, cost in USD (double) |
//! | 88 | 4 × 4 | lengths of key, tags' text, stored payload, raw payload |
//! | 104 | 4 | length of the extensions |
//! | 108 | 4 | zero |
//! | 112 | 8 | checksum: the first 8 bytes of BLAKE3 over all but these eight |
//! | 120 | 8 each | tag hashes |
//! | … | | extensions, key, tags joined by line feeds, model's name, payload |
//!
//! The form of an [extension](Extensions) is its kind (1 byte), the length of its value (4 bytes) and
//! the value. Kinds that a program does not know it keeps as they are, so that a later version can add
//! one without another form of entries. Version 1 had no extensions; a layer drops its entries when
//! they are read.

use std::sync::Arc;

use super::body::{Body, Form};
use super::invalidation::{LogId, Position};
use super::key::CacheKey;
use super::tag::{TagHash, Tags};
use super::time::Timestamp;

const MAGIC: [u8; 2] = *b"WE";
const VERSION: u8 = 2;
const SIMULATED: u8 = 1;
const COMPRESSED: u8 = 2;
const COST_KNOWN: u8 = 4;
/// Bytes before the tag hashes.
const FIXED: usize = 120;
const CHECKSUM: std::ops::Range<usize> = 112..120;
/// The largest payload that is accepted when its length is read back, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 16 << 20;
/// A bound on the expansion by LZ4, which is less than this: a payload that claims more is not
/// decompressed, so that a few bytes cannot cause an allocation of megabytes.
const MAX_EXPANSION: usize = 256;

/// A cached answer. Cloning copies no text.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: CacheKey,
    pub header: Header,
    pub tags: Tags,
    pub model: Arc<str>,
    /// The model's answer.
    pub data: Body,
}

/// The part of an entry by which it is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// The id of the log in which `stamp` counts.
    pub log_id: LogId,
    /// The position up to which the filling instance had applied the log when the fill started.
    pub stamp: Position,
    /// The start of the provider's call, from which `maxAgeSecs` counts.
    pub called_at: Timestamp,
    pub cached_at: Timestamp,
    /// The time before which the entry is fresh.
    pub expires_at: Timestamp,
    /// The time after which the entry may not be served, labelled or not: layers may drop it.
    pub keep_until: Timestamp,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub cost_usd: Option<f64>,
    pub simulated: bool,
    /// The hashes in the order of the tags.
    pub tag_hashes: Arc<[TagHash]>,
    pub extensions: Extensions,
}

/// What later versions add to entries: values by their kind, in the order of the kinds. Cloning copies
/// nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extensions(Option<Arc<[u8]>>);

/// The kind of an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExtensionKind(pub u8);

impl ExtensionKind {
    /// The life of an entry while the feed of its facts is alive, in milliseconds.
    pub const FED_LIFE: Self = Self(1);
    /// The job that filled the entry before it was asked for.
    pub const JOB: Self = Self(2);
    /// The number of hits when the entry was stored.
    pub const HITS: Self = Self(3);
    /// The id of the key with which the payload is encrypted.
    pub const ENCRYPTION_KEY: Self = Self(4);
    /// The answer's record but for what varies from query to query.
    pub const ANSWER_RECORD: Self = Self(5);
}

/// Bytes before the value of an extension.
const EXTENSION_HEAD: usize = 5;

impl Extensions {
    /// Returns the value of a kind.
    pub fn get(&self, kind: ExtensionKind) -> Option<&[u8]> {
        let mut all = self.iter();
        all.find_map(|(of, value)| (of == kind).then_some(value))
    }

    /// Returns these extensions with another value of one kind.
    #[must_use]
    pub fn with(&self, kind: ExtensionKind, value: &[u8]) -> Self {
        let mut all: Vec<_> = self.iter().filter(|(of, _)| *of != kind).collect();
        let at = all.partition_point(|(of, _)| *of < kind);
        all.insert(at, (kind, value));
        let mut bytes = Vec::new();
        for (kind, value) in all {
            bytes.push(kind.0);
            bytes.extend(length::<u32>(value.len()).to_le_bytes());
            bytes.extend_from_slice(value);
        }
        Self(Some(bytes.into()))
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }

    fn iter(&self) -> impl Iterator<Item = (ExtensionKind, &[u8])> {
        let mut rest = self.bytes();
        std::iter::from_fn(move || {
            let (kind, value, after) = split_extension(rest)?;
            rest = after;
            Some((kind, value))
        })
    }

    /// Reads the extensions of an entry; an error unless the bytes are whole extensions.
    fn read(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (_, _, after) = split_extension(rest).ok_or(EntryError::Lengths)?;
            rest = after;
        }
        Ok(Self(Some(bytes.into())))
    }
}

fn split_extension(bytes: &[u8]) -> Option<(ExtensionKind, &[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<EXTENSION_HEAD>()?;
    let [kind, len @ ..] = *head;
    let len = usize::try_from(u32::from_le_bytes(len)).ok()?;
    let (value, after) = rest.split_at_checked(len)?;
    Some((ExtensionKind(kind), value, after))
}

/// The reason why bytes are not an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("not an entry: {len} bytes, or other bytes at its start")]
    NotAnEntry { len: usize },
    #[error("an entry of version {version}; this program reads version {VERSION}")]
    Version { version: u8 },
    #[error("an entry cut short or with wrong lengths")]
    Lengths,
    #[error("an entry whose checksum does not match")]
    Checksum,
    #[error("an entry whose payload does not decompress")]
    Payload,
    #[error("an entry whose text is not UTF-8")]
    Text,
}

impl Entry {
    /// Returns the memory that the entry takes in bytes, exact enough for a bound.
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + self.key.as_str().len()
            + self.data.weight()
            + self.model.len()
            + self.tags.as_str().len()
            + size_of_val(&*self.header.tag_hashes)
            + self.header.extensions.bytes().len()
            + 96
    }

    /// Returns the entry with its answer's text in the given form.
    pub fn in_form(self: &Arc<Self>, form: Form) -> Arc<Self> {
        match self.data.in_form(form) {
            None => Arc::clone(self),
            Some(data) => Arc::new(Self {
                data,
                ..Self::clone(self)
            }),
        }
    }

    /// Encodes the binary form.
    pub fn encode(&self) -> Vec<u8> {
        let plain = self.data.plain();
        let raw = plain.as_bytes();
        let packed = lz4_flex::block::compress(raw);
        let (payload, compressed) = if packed.len() < raw.len() {
            (&packed[..], COMPRESSED)
        } else {
            (raw, 0)
        };
        let tags_text = self.tags.as_str();
        let (key, header) = (self.key.as_str(), &self.header);
        let mut out = Vec::with_capacity(
            FIXED + 8 * self.tags.len() + key.len() + tags_text.len() + payload.len() + 32,
        );
        let extensions = header.extensions.bytes();
        out.extend(MAGIC);
        out.push(VERSION);
        let simulated = if header.simulated { SIMULATED } else { 0 };
        let cost_known = if header.cost_usd.is_some() {
            COST_KNOWN
        } else {
            0
        };
        out.push(simulated | compressed | cost_known);
        out.extend(length::<u16>(self.tags.len()).to_le_bytes());
        out.extend(length::<u16>(self.model.len()).to_le_bytes());
        out.extend(header.log_id.0);
        let times = [
            header.called_at,
            header.cached_at,
            header.expires_at,
            header.keep_until,
        ];
        out.extend(header.stamp.0.to_le_bytes());
        for at in times {
            out.extend(at.0.to_le_bytes());
        }
        out.extend(header.prompt_tokens.to_le_bytes());
        out.extend(header.completion_tokens.to_le_bytes());
        out.extend(header.cost_usd.unwrap_or(0.0).to_le_bytes());
        for len in [key.len(), tags_text.len(), payload.len(), raw.len()] {
            out.extend(length::<u32>(len).to_le_bytes());
        }
        out.extend(length::<u32>(extensions.len()).to_le_bytes());
        out.extend([0; 4 + 8]);
        header
            .tag_hashes
            .iter()
            .for_each(|hash| out.extend(hash.0.to_le_bytes()));
        for part in [
            extensions,
            key.as_bytes(),
            tags_text.as_bytes(),
            self.model.as_bytes(),
            payload,
        ] {
            out.extend_from_slice(part);
        }
        let checksum = checksum(&out);
        out[CHECKSUM].copy_from_slice(&checksum);
        out
    }

    /// Decodes a whole binary form.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let raw = RawEntry::new(bytes)?;
        if checksum(bytes) != bytes[CHECKSUM] {
            return Err(EntryError::Checksum);
        }
        let parts = raw.parts()?;
        let text = |part| std::str::from_utf8(part).map_err(|_| EntryError::Text);
        let tags = Tags::from_text(text(parts.tags)?);
        let header = raw.header()?;
        if tags.len() != header.tag_hashes.len() {
            return Err(EntryError::Lengths);
        }
        let unpacked;
        let data = if raw.flags() & COMPRESSED == 0 {
            parts.payload
        } else {
            unpacked = lz4_flex::block::decompress(parts.payload, parts.raw_len)
                .map_err(|_| EntryError::Payload)?;
            &unpacked
        };
        Ok(Self {
            key: CacheKey::from_text(text(parts.key)?),
            header,
            tags,
            model: text(parts.model)?.into(),
            data: text(data)?.into(),
        })
    }
}

impl Header {
    /// Decodes the header of a binary form without reading the rest.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        RawEntry::new(bytes)?.header()
    }
}

/// Orders an older and a newer fill of one key: by the stamp, then by the start of the call. The
/// newer one is kept.
impl Header {
    pub fn is_newer_than(&self, other: &Self) -> bool {
        self.log_id != other.log_id || (self.stamp, self.called_at) > (other.stamp, other.called_at)
    }
}

/// Bytes whose header is known to be complete.
struct RawEntry<'a> {
    bytes: &'a [u8],
}

struct Parts<'a> {
    key: &'a [u8],
    tags: &'a [u8],
    model: &'a [u8],
    payload: &'a [u8],
    raw_len: usize,
}

impl<'a> RawEntry<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, EntryError> {
        if bytes.len() < FIXED || bytes[..2] != MAGIC {
            return Err(EntryError::NotAnEntry { len: bytes.len() });
        }
        if bytes[2] != VERSION {
            return Err(EntryError::Version { version: bytes[2] });
        }
        let raw = Self { bytes };
        if bytes.len() < raw.end_of_header() {
            return Err(EntryError::Lengths);
        }
        Ok(raw)
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        *self.bytes[at..]
            .first_chunk()
            .expect("within the header, whose length was checked")
    }

    fn flags(&self) -> u8 {
        self.bytes[3]
    }

    fn tag_count(&self) -> usize {
        usize::from(u16::from_le_bytes(self.array(4)))
    }

    fn extensions_len(&self) -> usize {
        u32::from_le_bytes(self.array(104)) as usize
    }

    /// The end of the extensions, which are the last that a header needs.
    fn end_of_header(&self) -> usize {
        (FIXED + 8 * self.tag_count()).saturating_add(self.extensions_len())
    }

    fn header(&self) -> Result<Header, EntryError> {
        let number = |at| i64::from_le_bytes(self.array(at));
        let tag_hashes = (0..self.tag_count())
            .map(|tag| TagHash(u64::from_le_bytes(self.array(FIXED + 8 * tag))))
            .collect();
        let extensions = &self.bytes[FIXED + 8 * self.tag_count()..self.end_of_header()];
        Ok(Header {
            log_id: LogId(self.array(8)),
            stamp: Position(number(24)),
            called_at: Timestamp(number(32)),
            cached_at: Timestamp(number(40)),
            expires_at: Timestamp(number(48)),
            keep_until: Timestamp(number(56)),
            prompt_tokens: u64::from_le_bytes(self.array(64)),
            completion_tokens: u64::from_le_bytes(self.array(72)),
            cost_usd: (self.flags() & COST_KNOWN != 0).then(|| f64::from_le_bytes(self.array(80))),
            simulated: self.flags() & SIMULATED != 0,
            tag_hashes,
            extensions: Extensions::read(extensions)?,
        })
    }

    fn parts(&self) -> Result<Parts<'a>, EntryError> {
        let len = |at| u32::from_le_bytes(self.array(at)) as usize;
        let model_len = usize::from(u16::from_le_bytes(self.array(6)));
        let raw_len = len(100);
        let mut rest = &self.bytes[self.end_of_header()..];
        let mut take = |len: usize| {
            let (part, after) = rest.split_at_checked(len).ok_or(EntryError::Lengths)?;
            rest = after;
            Ok(part)
        };
        let (key, tags, model, payload) = (
            take(len(88))?,
            take(len(92))?,
            take(model_len)?,
            take(len(96))?,
        );
        let plausible = raw_len <= MAX_PAYLOAD_BYTES.min(payload.len() * MAX_EXPANSION);
        if !rest.is_empty() || !plausible {
            return Err(EntryError::Lengths);
        }
        Ok(Parts {
            key,
            tags,
            model,
            payload,
            raw_len,
        })
    }
}

fn length<T: TryFrom<usize>>(len: usize) -> T {
    T::try_from(len).unwrap_or_else(|_| panic!("a length of {len} within an entry's bounds"))
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..CHECKSUM.start]);
    hasher.update(&bytes[CHECKSUM.end..]);
    *hasher
        .finalize()
        .as_bytes()
        .first_chunk()
        .expect("a hash has 32 bytes")
}

#[cfg(any(test, feature = "testing"))]
pub mod sample {
    use super::{CacheKey, Entry, Extensions, Header, LogId, Position, Timestamp};
    use crate::Tag;

    /// Returns an entry of a shared type with the given stamp and tags; everything else is fixed.
    pub fn entry(key: &str, stamp: i64, tags: &[Tag]) -> Entry {
        let at = Timestamp(1_790_000_000_000);
        Entry {
            key: CacheKey::from_text(key),
            header: Header {
                log_id: LogId([7; 16]),
                stamp: Position(stamp),
                called_at: at,
                cached_at: at.plus(std::time::Duration::from_secs(1)),
                expires_at: at.plus(std::time::Duration::from_hours(1)),
                keep_until: at.plus(std::time::Duration::from_hours(2)),
                prompt_tokens: 321,
                completion_tokens: 123,
                cost_usd: Some(0.0021),
                simulated: true,
                tag_hashes: tags.iter().map(Tag::hash).collect(),
                extensions: Extensions::default(),
            },
            tags: tags.iter().cloned().collect(),
            model: "sim-1".into(),
            data: "Peonies fit a barn wedding. ".repeat(40).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tag;

    fn tags() -> Vec<Tag> {
        vec![Tag::global("m"), Tag::vendor("m", "v-1")]
    }

    #[test]
    fn an_entry_survives_its_binary_form() {
        for tags in [tags(), vec![]] {
            let entry = sample::entry("m:TX:any:any:00", 42, &tags);
            let bytes = entry.encode();
            assert_eq!(Entry::decode(&bytes).unwrap(), entry);
            assert_eq!(
                Header::decode(&bytes[..FIXED + 8 * tags.len()]).unwrap(),
                entry.header
            );
        }
        let bytes = sample::entry("k", 1, &tags()).encode();
        assert!(
            bytes.len() < 500,
            "the payload is compressed: {}",
            bytes.len()
        );
    }

    #[test]
    fn extensions_are_kept_also_those_of_later_versions() {
        let mut entry = sample::entry("k", 1, &tags());
        let later = ExtensionKind(200);
        let with = entry.header.extensions.with(later, b"later");
        entry.header.extensions = with
            .with(ExtensionKind::HITS, &7_u64.to_le_bytes())
            .with(ExtensionKind::JOB, b"")
            .with(ExtensionKind::HITS, &8_u64.to_le_bytes());
        let bytes = entry.encode();
        let read = Entry::decode(&bytes).unwrap();
        assert_eq!(read, entry);
        assert_eq!(Header::decode(&bytes).unwrap(), entry.header);
        let value = |kind| read.header.extensions.get(kind);
        assert_eq!(value(ExtensionKind::HITS), Some(&8_u64.to_le_bytes()[..]));
        assert_eq!(value(ExtensionKind::JOB), Some(&[][..]));
        assert_eq!(value(later), Some(&b"later"[..]));
        assert_eq!(value(ExtensionKind::FED_LIFE), None);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x40;
            assert!(Entry::decode(&flipped).is_err(), "byte {at}");
        }
    }

    #[test]
    fn extensions_that_are_cut_short_make_no_header() {
        let mut entry = sample::entry("k", 1, &[]);
        entry.header.extensions = Extensions::default().with(ExtensionKind::JOB, b"1234");
        let mut bytes = entry.encode();
        // The length of the value, one too long.
        bytes[FIXED + 1] += 1;
        assert_eq!(Header::decode(&bytes), Err(EntryError::Lengths));
    }

    #[test]
    fn an_entry_of_version_1_is_none() {
        let mut bytes = sample::entry("k", 1, &[]).encode();
        bytes[2] = 1;
        let error = Entry::decode(&bytes).unwrap_err();
        assert_eq!(error, EntryError::Version { version: 1 });
    }

    #[test]
    fn any_flipped_or_missing_byte_is_noticed() {
        let bytes = sample::entry("m:TX:any:any:00", 42, &tags()).encode();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x40;
            assert!(Entry::decode(&flipped).is_err(), "byte {at}");
            assert!(Entry::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
        assert!(Entry::decode(&[bytes, vec![0]].concat()).is_err());
    }

    #[test]
    fn the_newer_fill_is_the_one_with_the_later_stamp_then_the_later_call() {
        let old = sample::entry("k", 1, &[]).header;
        let mut new = sample::entry("k", 2, &[]).header;
        assert!(new.is_newer_than(&old) && !old.is_newer_than(&new));
        new.stamp = old.stamp;
        assert!(!new.is_newer_than(&old));
        new.called_at = Timestamp(new.called_at.0 + 1);
        assert!(new.is_newer_than(&old));
    }
}
