//! One watcher of a cache: a position in the ring of recent commits.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

use super::state::CachedCommit;
use super::{Cache, CacheError};

/// Commits taken from the ring in one visit, so that the lock is held briefly.
const BATCH: usize = 64;

/// Reads a cache's commits in order, each once, at its own pace.
pub struct Watcher<M> {
    cache: Cache<M>,
    seen: watch::Receiver<Option<u64>>,
    prefix: Box<str>,
    position: u64,
    batch: VecDeque<Arc<CachedCommit<M>>>,
}

impl<M> Watcher<M> {
    pub(super) fn new(cache: Cache<M>, prefix: &str, position: u64) -> Self {
        let seen = cache.seen.clone();
        Self {
            cache,
            seen,
            prefix: prefix.into(),
            position,
            batch: VecDeque::new(),
        }
    }

    /// The next commit with a change under the watcher's prefix. It may also hold changes to other keys of
    /// the cache: it is shared with all watchers.
    ///
    /// Cancel safe: a commit is either returned or still to come.
    ///
    /// # Errors
    /// [`CacheError::TooOld`] if the watcher was too slow, [`CacheError::Stopped`] if the follower is gone.
    pub async fn next(&mut self) -> Result<Arc<CachedCommit<M>>, CacheError> {
        loop {
            while let Some(commit) = self.batch.pop_front() {
                if commit
                    .changes
                    .iter()
                    .any(|change| change.key().starts_with(&*self.prefix))
                {
                    return Ok(commit);
                }
            }
            // Marked before reading, so that a commit in between wakes us again.
            let stopped = self.seen.has_changed().is_err();
            self.seen.mark_unchanged();
            let (commits, reached) = self.cache.read().commits_after(self.position, BATCH)?;
            self.position = reached;
            if commits.is_empty() {
                if stopped {
                    return Err(CacheError::Stopped);
                }
                // An error means that the follower is gone; the next turn reads what it left and says so.
                let _ = self.seen.changed().await;
            } else {
                self.batch.extend(commits);
            }
        }
    }

    /// Everything up to and including this revision was returned by [`Watcher::next`] or does not concern the prefix.
    ///
    /// This is the revision to resume from, and the one for a bookmark.
    pub fn position(&self) -> u64 {
        match self.batch.front() {
            Some(next) => next.revision.saturating_sub(1),
            None => self.position,
        }
    }
}
