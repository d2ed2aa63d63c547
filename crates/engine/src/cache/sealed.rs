//! The one place where entries become bytes that leave this process's memory, and bytes become
//! entries.
//!
//! Every layer that stores bytes calls only these functions, so any treatment of entries at rest
//! belongs here.

use wedcache_model::entry::{EntryError, Header};
use wedcache_model::{CacheKey, Entry};

/// The reason why stored bytes are not the entry that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Unreadable(#[from] EntryError),
    /// The bytes are the entry of another key.
    #[error("the entry of another key")]
    OtherKey,
}

/// Encodes an entry as it is stored.
pub(super) fn seal(entry: &Entry) -> Vec<u8> {
    entry.encode()
}

/// Decodes the entry in stored bytes, whatever its key.
pub(super) fn open_stored(bytes: &[u8]) -> Result<Entry, EntryError> {
    Entry::decode(bytes)
}

/// Decodes the entry in stored bytes if it belongs to `key`.
pub(super) fn open(bytes: &[u8], key: &CacheKey) -> Result<Entry, OpenError> {
    let entry = open_stored(bytes)?;
    if entry.key == *key {
        Ok(entry)
    } else {
        Err(OpenError::OtherKey)
    }
}

/// Decodes the header in stored bytes without reading the rest.
pub(super) fn open_header(bytes: &[u8]) -> Result<Header, EntryError> {
    Header::decode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wedcache_model::entry::sample;

    #[test]
    fn only_the_entry_of_the_asked_key_is_opened() {
        let entry = sample::entry("m:TX:any:any:00", 4, &[]);
        let bytes = seal(&entry);
        assert_eq!(open(&bytes, &entry.key), Ok(entry.clone()));
        assert_eq!(open_header(&bytes), Ok(entry.header));
        let other = CacheKey::from_text("m:TX:any:any:01");
        assert_eq!(open(&bytes, &other), Err(OpenError::OtherKey));
    }
}
