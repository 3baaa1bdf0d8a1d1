//! A watch cache: the objects under one prefix in memory, served to thousands of readers and watchers.
//!
//! One follower ([`Cache::follow`]) reads the backend; everyone else reads the cache. Values and recent commits
//! are shared, never copied for each reader. A list shows exactly one revision. A watcher reads recent commits
//! from one bounded ring at its own pace; one that falls out of the ring is told so
//! ([`CacheError::TooOld`]) and lists again.

mod follow;
mod state;
mod watcher;

pub use follow::{CacheOptions, Follower};
pub use state::{CachedChange, CachedCommit, Earlier, Entry, Snapshot};
pub use watcher::Watcher;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::model::StoreError;
use crate::store::Store;
use state::State;

/// Why the cache can't answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// Commits after the watcher's position are no longer held: list again and watch from there.
    #[error("the watch position is too old")]
    TooOld,
    /// The cache has not seen the revision asked for by the deadline.
    #[error("the cache has not caught up in time")]
    Behind,
    /// The follower is gone, so the cache will never move again.
    #[error("the cache no longer follows its backend")]
    Stopped,
}

/// The objects under one prefix, with selection metadata `M`. Cheap to clone; clones share everything.
pub struct Cache<M> {
    shared: Arc<Shared<M>>,
    seen: watch::Receiver<Option<u64>>,
}

struct Shared<M> {
    state: RwLock<State<M>>,
    store: Arc<dyn Store>,
    prefix: String,
}

impl<M> Clone for Cache<M> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            seen: self.seen.clone(),
        }
    }
}

impl<M> Cache<M> {
    /// Waits until the cache has seen `revision`, and returns what it has seen by then.
    ///
    /// Revision 0 waits for the first load only.
    ///
    /// # Errors
    /// [`CacheError::Behind`] at the deadline, [`CacheError::Stopped`] if the follower is gone.
    pub async fn wait_for(&self, revision: u64, deadline: Instant) -> Result<u64, CacheError> {
        let mut seen = self.seen.clone();
        let reached = seen.wait_for(|seen| seen.is_some_and(|seen| seen >= revision));
        match timeout_at(deadline, reached).await {
            Err(_) => Err(CacheError::Behind),
            Ok(Err(_)) => Err(CacheError::Stopped),
            Ok(Ok(seen)) => Ok((*seen).unwrap_or(revision)),
        }
    }

    /// Waits until the cache shows everything that was committed before this call, and returns its revision.
    ///
    /// If the cache is behind the backend's revision (which other keys move too), the backend is asked to mark the
    /// progress of the watch that feeds the cache.
    ///
    /// # Errors
    /// [`CacheError::Behind`] if that takes longer than the deadline or the backend does not answer,
    /// [`CacheError::Stopped`] if the follower is gone.
    pub async fn wait_until_current(&self, deadline: Instant) -> Result<u64, CacheError> {
        let Shared { store, prefix, .. } = &*self.shared;
        let asked = async {
            let current = store.current_revision().await?;
            if (*self.seen.borrow()).is_some_and(|seen| seen >= current) {
                return Ok(current);
            }
            store.request_progress(prefix).await
        };
        let current = timeout_at(deadline, asked).await;
        match current {
            Ok(Ok(current)) => self.wait_for(current, deadline).await,
            Ok(Err(error)) => {
                let error: StoreError = error;
                tracing::warn!(prefix, %error, "the backend can't say what is current");
                Err(CacheError::Behind)
            }
            Err(_) => Err(CacheError::Behind),
        }
    }

    /// The key's entry in the newest state of the cache.
    pub fn get(&self, key: &str) -> Option<Arc<Entry<M>>> {
        self.read().get(key)
    }

    /// All entries whose key starts with `prefix`, as of one revision (the newest that the cache has seen).
    pub fn list(&self, prefix: &str) -> Snapshot<M> {
        self.read().list(prefix)
    }

    /// The keys that were changed after `after`, with the entries that they had then.
    ///
    /// # Errors
    /// [`CacheError::TooOld`] if not all changes since are held, or the cache has not seen the revision.
    pub fn changed_after(&self, after: u64) -> Result<Earlier<M>, CacheError> {
        self.read().changed_after(after)
    }

    /// Watches keys that start with `prefix` for commits after `after`, waiting until the cache has seen `after`.
    ///
    /// # Errors
    /// [`CacheError::TooOld`], [`CacheError::Behind`], [`CacheError::Stopped`].
    pub async fn watch(&self, prefix: &str, after: u64, deadline: Instant) -> Result<Watcher<M>, CacheError> {
        self.wait_for(after, deadline).await?;
        self.read().check_position(after)?;
        Ok(Watcher::new(self.clone(), prefix, after))
    }

    fn read(&self) -> RwLockReadGuard<'_, State<M>> {
        // No code panics between two related changes of the state, so a poisoned state is still whole.
        self.shared.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State<M>> {
        self.shared.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}
