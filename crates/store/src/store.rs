//! The one interface to every backend.

use futures::future::BoxFuture;

use crate::model::{KeyValue, Limits, Page, Precondition, StoreError, Write};
use crate::watch::Watch;

/// What a store's operation will answer.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// A revisioned key-value store with watch. The [crate documentation](crate) states what every one promises.
///
/// Reads fail with [`StoreError::Unavailable`], [`StoreError::Refused`] or [`StoreError::Corrupt`] besides the errors
/// that are named with them.
pub trait Store: Send + Sync + 'static {
    /// The key's value now, or at a revision.
    ///
    /// # Errors
    /// [`StoreError::Compacted`], [`StoreError::FutureRevision`].
    fn get<'a>(&'a self, key: &'a str, revision: Option<u64>) -> Answer<'a, Option<KeyValue>>;

    /// Up to `limit` keys under `prefix` that come after the key `after`, at `revision` or now; limit 0: all.
    ///
    /// To read a long list, pass on the revision of the first page and the last key of each page.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when the revision is gone, [`StoreError::FutureRevision`].
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
        revision: Option<u64>,
    ) -> Answer<'a, Page>;

    /// Commits all writes if every precondition holds and returns the revision of the commit.
    ///
    /// A transaction that only deletes keys that do not exist changes nothing and returns the current revision.
    /// A commit whose future is dropped may still happen.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] with the first precondition that failed; [`StoreError::TooLarge`] beyond
    /// [`Store::limits`]; [`StoreError::Invalid`] if one key is written twice or nothing is written;
    /// [`StoreError::OutcomeUnknown`] when nobody knows whether it happened; [`StoreError::Full`],
    /// [`StoreError::Unavailable`], [`StoreError::Refused`].
    fn commit<'a>(&'a self, preconditions: &'a [Precondition], writes: &'a [Write]) -> Answer<'a, u64>;

    /// Watches all keys under `prefix` for commits after the revision `after`. Must be called in a Tokio runtime.
    ///
    /// The watch ends with [`StoreError::Compacted`] if `after` is older than the last compaction. A revision that
    /// has not happened yet is waited for.
    fn watch(&self, prefix: &str, after: u64) -> Watch;

    /// Has every watch of exactly `prefix` soon reach the current revision, which is returned.
    ///
    /// The item that says so is a commit or a progress mark at that revision or a later one.
    ///
    /// # Errors
    /// Those of [`Store::commit`], without a conflict.
    fn request_progress<'a>(&'a self, prefix: &'a str) -> Answer<'a, u64>;

    /// Drops all history before `revision`: older reads and watches then answer [`StoreError::Compacted`].
    ///
    /// # Errors
    /// [`StoreError::Compacted`] if that was done before, [`StoreError::FutureRevision`].
    fn compact(&self, revision: u64) -> Answer<'_, ()>;

    /// The revision of the latest commit; no commit acknowledged before the call is missing in it.
    ///
    /// # Errors
    /// Only those of every read.
    fn current_revision(&self) -> Answer<'_, u64>;

    /// Whether the store reads and writes.
    ///
    /// # Errors
    /// Why it does not.
    fn health(&self) -> Answer<'_, ()>;

    /// Size of the store on its disk, in bytes.
    ///
    /// # Errors
    /// Only those of every read.
    fn size(&self) -> Answer<'_, u64>;

    /// How much one transaction may hold.
    fn limits(&self) -> Limits;
}
