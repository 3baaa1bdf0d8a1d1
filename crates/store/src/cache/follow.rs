//! Keeps a cache up to date: loads it from the backend, follows the backend's watch, reloads when that fails.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::state::{Entry, State};
use super::{Cache, Shared};
use crate::model::{KeyValue, StoreError, WatchItem};
use crate::store::Store;

/// Keys fetched with one request while loading.
const PAGE: usize = 1000;
/// Pause between two attempts to load.
const RELOAD_PAUSE: Duration = Duration::from_millis(200);

/// What a cache holds and how much.
#[derive(Debug, Clone)]
pub struct CacheOptions {
    /// The keys to hold: all that start with this.
    pub prefix: String,
    /// Changes that the ring of recent commits holds.
    pub ring_capacity: usize,
    /// Keep no values, only keys, revisions and metadata.
    pub metadata_only: bool,
}

/// The task's side of a cache: feeds it for as long as [`Follower::run`] is polled.
pub struct Follower<M, F> {
    cache: Cache<M>,
    seen: watch::Sender<Option<u64>>,
    options: CacheOptions,
    extract: F,
}

impl<M> Cache<M> {
    /// A cache over `store`, and the follower that must be run (spawned) to fill it.
    ///
    /// `extract` takes from a key and its value what selection needs.
    pub fn follow<F: Fn(&str, &[u8]) -> M>(
        store: Arc<dyn Store>,
        options: CacheOptions,
        extract: F,
    ) -> (Self, Follower<M, F>) {
        let (sender, seen) = watch::channel(None);
        let state = RwLock::new(State::new(options.ring_capacity));
        let cache = Self {
            shared: Arc::new(Shared {
                state,
                store,
                prefix: options.prefix.clone(),
            }),
            seen,
        };
        let follower = Follower {
            cache: cache.clone(),
            seen: sender,
            options,
            extract,
        };
        (cache, follower)
    }
}

impl<M, F: Fn(&str, &[u8]) -> M> Follower<M, F> {
    /// Loads the cache and follows the backend for as long as this future is polled: abort its task to stop.
    pub async fn run(self) {
        loop {
            match self.load().await {
                Ok(revision) => {
                    if let Some(error) = self.follow(revision).await {
                        tracing::warn!(prefix = self.options.prefix, %error, "cache lost its watch, reloading");
                    }
                }
                Err(error) => {
                    tracing::warn!(prefix = self.options.prefix, %error, "cache can't load, trying again");
                }
            }
            sleep(RELOAD_PAUSE).await;
        }
    }

    async fn load(&self) -> Result<u64, StoreError> {
        let mut entries = Vec::new();
        let mut after: Option<String> = None;
        let mut revision = None;
        loop {
            let page = self
                .cache
                .shared
                .store
                .list(&self.options.prefix, after.as_deref(), PAGE, revision)
                .await?;
            revision = Some(page.revision);
            after = page.items.last().map(|item| item.key.clone());
            entries.extend(page.items.into_iter().map(|item| self.entry(item)));
            if !page.more || after.is_none() {
                break;
            }
        }
        let revision = revision.unwrap_or(0);
        self.cache.write().reset(revision, entries);
        self.announce();
        Ok(revision)
    }

    /// Applies the backend's commits after `revision` until the watch fails.
    async fn follow(&self, revision: u64) -> Option<StoreError> {
        let mut watch = self.cache.shared.store.watch(&self.options.prefix, revision);
        loop {
            match watch.next().await {
                None => return None,
                Some(Err(error)) => return Some(error),
                Some(Ok(WatchItem::Progress(revision))) => self.cache.write().advance(revision),
                Some(Ok(WatchItem::Commit { revision, changes })) => {
                    let writes = changes
                        .into_iter()
                        .map(|change| (change.key.into(), change.current.map(|item| self.entry(item))))
                        .collect();
                    self.cache.write().apply(revision, writes);
                }
            }
            self.announce();
        }
    }

    fn announce(&self) {
        let revision = self.cache.read().revision();
        self.seen.send_replace(Some(revision));
    }

    fn entry(&self, item: KeyValue) -> Entry<M> {
        Entry {
            metadata: (self.extract)(&item.key, &item.value),
            key: item.key.into(),
            value: (!self.options.metadata_only).then_some(item.value),
            create_revision: item.create_revision,
            mod_revision: item.mod_revision,
        }
    }
}
