//! Rows: a key with its value, revisions and checksum.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::model::{KeyValue, StoreError};

/// The newest revision, and the one before which there is no history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tip {
    pub(super) revision: u64,
    pub(super) compacted: u64,
}

impl Tip {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        connection
            .prepare_cached("SELECT revision, compacted FROM meta")?
            .query_row((), |row| {
                Ok(Self {
                    revision: row.get(0)?,
                    compacted: row.get(1)?,
                })
            })
    }

    /// The revision to read at, if it can be read.
    pub(super) fn at(self, revision: Option<u64>) -> Result<u64, StoreError> {
        match revision {
            None => Ok(self.revision),
            Some(revision) if revision > self.revision => Err(StoreError::FutureRevision),
            Some(revision) if revision < self.compacted => Err(StoreError::Compacted),
            Some(revision) => Ok(revision),
        }
    }
}

/// The checksum that is stored with a row.
pub(super) fn checksum(item: &KeyValue) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(item.key.as_bytes());
    // Never part of UTF-8, so that a byte can't move from the key to the value.
    hasher.update(&[0xff]);
    hasher.update(&item.value);
    hasher.update(&item.create_revision.to_le_bytes());
    hasher.update(&item.mod_revision.to_le_bytes());
    hasher.finalize()
}

/// The checksum that is stored with an event; `previous` is that of the row that it replaced.
pub(super) fn event_checksum(
    revision: u64,
    position: u64,
    key: &str,
    deleted: bool,
    previous: Option<u32>,
) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key.as_bytes());
    hasher.update(&[0xff, u8::from(deleted), u8::from(previous.is_some())]);
    hasher.update(&revision.to_le_bytes());
    hasher.update(&position.to_le_bytes());
    hasher.update(&previous.unwrap_or(0).to_le_bytes());
    hasher.finalize()
}

/// The item of a row whose columns from `first` on are value, both revisions and checksum; none if they are null.
pub(super) fn item(key: String, row: &Row<'_>, first: usize) -> Result<Option<KeyValue>, StoreError> {
    let Some(value) = row
        .get_ref(first)?
        .as_blob_or_null()
        .map_err(rusqlite::Error::from)?
    else {
        return Ok(None);
    };
    let item = KeyValue {
        key,
        value: Bytes::copy_from_slice(value),
        create_revision: row.get(first + 1)?,
        mod_revision: row.get(first + 2)?,
    };
    if checksum(&item) != row.get::<_, u32>(first + 3)? {
        return Err(StoreError::Corrupt(format!(
            "the checksum of {:?} does not match",
            item.key
        )));
    }
    Ok(Some(item))
}

/// The key's present row.
pub(super) fn present(connection: &Connection, key: &str) -> Result<Option<KeyValue>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT value, create_revision, mod_revision, checksum FROM object WHERE key = ?1")?;
    let found = statement
        .query_row([key], |row| Ok(item(key.to_owned(), row, 0)))
        .optional()?;
    found.transpose().map(Option::flatten)
}
