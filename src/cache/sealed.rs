//! The one place where entries become the bytes that leave this process's memory, and back.
//!
//! Every layer that stores bytes calls these functions, nothing else: what is done to
//! entries at rest is done here.

use crate::model::entry::{EntryError, Header};
use crate::model::{CacheKey, Entry};

/// Why stored bytes are not the entry that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Unreadable(#[from] EntryError),
    /// The bytes are another key's entry.
    #[error("the entry of another key")]
    OtherKey,
}

/// The bytes of an entry as they are stored.
pub(super) fn seal(entry: &Entry) -> Vec<u8> {
    entry.encode()
}

/// The entry in stored bytes, whichever it is.
pub(super) fn open_stored(bytes: &[u8]) -> Result<Entry, EntryError> {
    Entry::decode(bytes)
}

/// The entry in stored bytes, if it is the one of `key`.
pub(super) fn open(bytes: &[u8], key: &CacheKey) -> Result<Entry, OpenError> {
    let entry = open_stored(bytes)?;
    if entry.key == *key {
        Ok(entry)
    } else {
        Err(OpenError::OtherKey)
    }
}

/// The header in stored bytes; the rest is not looked at.
pub(super) fn open_header(bytes: &[u8]) -> Result<Header, EntryError> {
    Header::decode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::entry::sample;

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
