//! What a store takes and returns.

use bytes::Bytes;

/// A key with its value and the revisions of its creation and last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key, as it was written.
    pub key: String,
    /// The value, opaque to the store.
    pub value: Bytes,
    /// Revision of the commit that created the key.
    pub create_revision: u64,
    /// Revision of the commit that last changed the key.
    pub mod_revision: u64,
}

/// Some or all keys under a prefix as they were at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The keys in byte order.
    pub items: Vec<KeyValue>,
    /// The revision that the page shows; pass it on to read the next page of the same snapshot.
    pub revision: u64,
    /// Whether keys follow after the last one of this page.
    pub more: bool,
}

/// What must hold for a transaction to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// The key does not exist.
    Absent(String),
    /// The key was last changed at this revision; revision 0: it does not exist.
    ModRevision(String, u64),
}

impl Precondition {
    /// The key that the precondition is about.
    pub fn key(&self) -> &str {
        match self {
            Self::Absent(key) | Self::ModRevision(key, _) => key,
        }
    }

    /// Whether it holds when the key was last changed at `current` (none: the key does not exist).
    pub(crate) fn holds(&self, current: Option<u64>) -> bool {
        match self {
            Self::Absent(_) => current.is_none(),
            Self::ModRevision(_, revision) => current.unwrap_or(0) == *revision,
        }
    }
}

/// One change of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Create or replace the key.
    Put(String, Bytes),
    /// Delete the key; nothing happens if it does not exist.
    Delete(String),
}

impl Write {
    /// The key that is written.
    pub fn key(&self) -> &str {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }
}

/// A change to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key, as it was written.
    pub key: String,
    /// Revision of the commit that made the change.
    pub revision: u64,
    /// The new value and its revision of creation; none for a deletion.
    pub current: Option<KeyValue>,
    /// What was there before, unless the key is new or that state was compacted.
    pub previous: Option<KeyValue>,
}

/// What a watch delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchItem {
    /// All changes of one commit under the prefix, in the order of the commit.
    Commit {
        /// The revision of the commit.
        revision: u64,
        /// Never empty.
        changes: Vec<Change>,
    },
    /// Everything up to and including this revision was delivered.
    Progress(u64),
}

/// How much one transaction may hold. A transaction beyond a limit is refused whole, never split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most preconditions, and most writes, of one transaction.
    pub operations: usize,
    /// Most bytes of keys and values of one transaction.
    pub bytes: usize,
}

/// Why a store did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// A precondition did not hold; nothing was written.
    #[error("precondition on {key:?} does not hold")]
    Conflict {
        /// The key of the first precondition that failed.
        key: String,
        /// Position of that precondition in the transaction.
        index: usize,
        /// The key as it was when the transaction was refused.
        current: Option<Box<KeyValue>>,
    },
    /// The revision asked for has been compacted away: list again.
    #[error("the requested revision has been compacted")]
    Compacted,
    /// The revision asked for has not happened yet.
    #[error("the requested revision is in the future")]
    FutureRevision,
    /// The transaction exceeds a limit of the store; nothing was written.
    #[error("transaction refused: {0}")]
    TooLarge(String),
    /// The request can't be carried out as it is written (for example one key written twice).
    #[error("invalid request: {0}")]
    Invalid(String),
    /// The commit may or may not have happened: read the keys to learn which.
    #[error("the outcome of the commit is unknown: {0}")]
    OutcomeUnknown(String),
    /// The store did not answer in time or is closed; nothing was written.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// There is no space left to write to; nothing was written. Reads go on.
    #[error("the store is full: {0}")]
    Full(String),
    /// What was read is not what was written: restore a backup.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// The store refused the request, and will again: credentials, permissions, configuration.
    #[error("the store refused the request: {0}")]
    Refused(String),
}
