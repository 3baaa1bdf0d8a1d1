//! Somebody else who writes streams, always a moment earlier.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use imagestream_store::{Answer, KeyValue, Limits, Page, Precondition, Store, StoreError, Watch, Write};

/// How often a writer of streams is forestalled, and by what.
#[derive(Default)]
pub(crate) struct Rival {
    left: AtomicUsize,
    tried: AtomicUsize,
    intrusion: Mutex<Vec<Write>>,
}

impl Rival {
    /// Forestalls the next commits of streams, so many of them.
    pub(crate) fn forestall(&self, commits: usize) {
        self.left.store(commits, Ordering::SeqCst);
        self.tried.store(0, Ordering::SeqCst);
    }

    /// Writes something just before the next commit of a stream.
    pub(crate) fn intrude(&self, writes: Vec<Write>) {
        *self.intrusion.lock().unwrap_or_else(PoisonError::into_inner) = writes;
    }

    fn intrusion(&self) -> Vec<Write> {
        std::mem::take(&mut *self.intrusion.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many commits of streams were tried since then.
    pub(crate) fn tried(&self) -> usize {
        self.tried.load(Ordering::SeqCst)
    }

    fn wins(&self) -> bool {
        self.tried.fetch_add(1, Ordering::SeqCst);
        let less = |left: usize| left.checked_sub(1);
        self.left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
    }
}

/// A store with a rival.
pub(super) struct Contended {
    store: Arc<dyn Store>,
    rival: Arc<Rival>,
}

impl Contended {
    pub(super) fn new(store: Arc<dyn Store>, rival: Arc<Rival>) -> Self {
        Self { store, rival }
    }
}

impl Store for Contended {
    fn get<'a>(&'a self, key: &'a str, revision: Option<u64>) -> Answer<'a, Option<KeyValue>> {
        self.store.get(key, revision)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
        revision: Option<u64>,
    ) -> Answer<'a, Page> {
        self.store.list(prefix, after, limit, revision)
    }

    fn commit<'a>(&'a self, preconditions: &'a [Precondition], writes: &'a [Write]) -> Answer<'a, u64> {
        let of_stream = preconditions
            .iter()
            .position(|precondition| precondition.key().contains("/imagestreams/"));
        let Some(index) = of_stream else {
            return self.store.commit(preconditions, writes);
        };
        if self.rival.wins() {
            let key = preconditions[index].key().to_owned();
            let conflict = StoreError::Conflict {
                key,
                index,
                current: None,
            };
            return Box::pin(std::future::ready(Err(conflict)));
        }
        let intrusion = self.rival.intrusion();
        Box::pin(async move {
            if !intrusion.is_empty() {
                self.store.commit(&[], &intrusion).await?;
            }
            self.store.commit(preconditions, writes).await
        })
    }

    fn watch(&self, prefix: &str, after: u64) -> Watch {
        self.store.watch(prefix, after)
    }

    fn request_progress<'a>(&'a self, prefix: &'a str) -> Answer<'a, u64> {
        self.store.request_progress(prefix)
    }

    fn compact(&self, revision: u64) -> Answer<'_, ()> {
        self.store.compact(revision)
    }

    fn current_revision(&self) -> Answer<'_, u64> {
        self.store.current_revision()
    }

    fn health(&self) -> Answer<'_, ()> {
        self.store.health()
    }

    fn size(&self) -> Answer<'_, u64> {
        self.store.size()
    }

    fn limits(&self) -> Limits {
        self.store.limits()
    }
}
