//! Tags that were pushed and not yet looked at, as keys of the store: whichever server is told, the one that runs the
//! controllers learns of it.
//!
//! A tag has one key, however often it is pushed, and only tags that streams follow have any: so many there are at most.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use imagestream_api::reference::ImageReference;
use imagestream_store::{KeyValue, Precondition, Store, StoreError, WatchItem, Write};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

/// What all keys begin with.
const PREFIX: &str = "/imagestream/notifications/";
/// Most keys that are written or deleted in one transaction; every store allows as many.
const BATCH: usize = 100;
/// Keys that are read at once.
const PAGE: usize = 500;
/// Time after which what could not be handed over is handed over again.
const RETRY: Duration = Duration::from_millis(500);

/// The key of a tag, of the same length for all.
fn key(image: &str) -> String {
    use std::fmt::Write as _;
    let mut key = PREFIX.to_owned();
    for byte in Sha256::digest(image.as_bytes()) {
        // Strings take whatever is written to them.
        let _ = write!(key, "{byte:02x}");
    }
    key
}

/// Notes that these tags, with everything that defaults add, were pushed.
///
/// A key that is there is written again: whoever is about to delete it sees that something was pushed meanwhile.
///
/// # Errors
/// Those of the store.
pub(super) async fn add(store: &Arc<dyn Store>, tags: &[ImageReference]) -> Result<(), StoreError> {
    let put = |image: String| Write::Put(key(&image), Bytes::from(image));
    let images: BTreeSet<String> = tags.iter().map(ImageReference::exact).collect();
    let writes: Vec<Write> = images.into_iter().map(put).collect();
    for batch in writes.chunks(BATCH) {
        store.commit(&[], batch).await?;
    }
    Ok(())
}

/// Hands every tag that was pushed to `poke`, with everything that defaults add, for as long as it is polled.
///
/// `poke` says whether the tag was taken. Only then its key is deleted; until then it is handed over again every
/// [`RETRY`]. A tag may be handed over more often than it was pushed.
///
/// # Errors
/// Those of the store.
pub(crate) async fn follow(
    store: &Arc<dyn Store>,
    poke: impl Fn(&ImageReference) -> bool + Send + Sync,
) -> Result<(), StoreError> {
    loop {
        let (revision, mut is_done) = take_all(store, &poke).await?;
        let mut watch = store.watch(PREFIX, revision);
        let again = sleep(RETRY);
        tokio::pin!(again);
        loop {
            tokio::select! {
                // What is left does not have to wait until nothing is pushed any more.
                biased;
                () = &mut again, if !is_done => break,
                item = watch.next() => match item {
                    Some(Ok(WatchItem::Commit { changes, .. })) => {
                        let new = changes.into_iter().filter_map(|change| change.current);
                        let new = Vec::from_iter(new);
                        if !take(store, &new, &poke).await? && is_done {
                            is_done = false;
                            again.as_mut().reset(Instant::now() + RETRY);
                        }
                    }
                    Some(Ok(WatchItem::Progress(_))) => {}
                    // What happened in between is in the store.
                    None | Some(Err(StoreError::Compacted)) => break,
                    Some(Err(error)) => return Err(error),
                }
            }
        }
    }
}

/// Takes what is there; the revision that was seen, and whether all was taken. Stops at the first page of which something
/// was not: the others would have no more luck.
async fn take_all(
    store: &Arc<dyn Store>,
    poke: &(impl Fn(&ImageReference) -> bool + Send + Sync),
) -> Result<(u64, bool), StoreError> {
    loop {
        let page = store.list(PREFIX, None, PAGE, None).await?;
        if page.items.is_empty() {
            return Ok((page.revision, true));
        }
        if !take(store, &page.items, poke).await? {
            return Ok((page.revision, false));
        }
    }
}

/// Hands over these tags and deletes the keys of those that were taken. Whether all were.
async fn take(
    store: &Arc<dyn Store>,
    keys: &[KeyValue],
    poke: &(impl Fn(&ImageReference) -> bool + Send + Sync),
) -> Result<bool, StoreError> {
    let is_taken = |found: &&KeyValue| {
        let image = std::str::from_utf8(&found.value).ok();
        match image.and_then(|image| ImageReference::parse(image).ok()) {
            Some(tag) => poke(&tag),
            None => {
                tracing::warn!(key = found.key, "what was noted of a push can't be read");
                true
            }
        }
    };
    let taken: Vec<&KeyValue> = keys.iter().filter(is_taken).collect();
    for batch in taken.chunks(BATCH) {
        delete(store, batch).await?;
    }
    Ok(taken.len() == keys.len())
}

/// Deletes keys, but those that were written again.
async fn delete(store: &Arc<dyn Store>, keys: &[&KeyValue]) -> Result<(), StoreError> {
    let mut keys = keys.to_vec();
    while !keys.is_empty() {
        let unchanged: Vec<Precondition> = keys
            .iter()
            .map(|found| Precondition::ModRevision(found.key.clone(), found.mod_revision))
            .collect();
        let deletions: Vec<Write> = keys
            .iter()
            .map(|found| Write::Delete(found.key.clone()))
            .collect();
        match store.commit(&unchanged, &deletions).await {
            Ok(_) => break,
            // The watch tells of what was pushed meanwhile.
            Err(StoreError::Conflict { key, .. }) => keys.retain(|found| found.key != key),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use imagestream_store::sqlite::{SqliteOptions, SqliteStore};
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;

    fn tag(text: &str) -> ImageReference {
        ImageReference::parse(text).unwrap().defaulted()
    }

    /// What is noted in a store.
    pub(in super::super) async fn noted(store: &Arc<dyn Store>) -> Vec<String> {
        let page = store.list(PREFIX, None, 0, None).await.unwrap();
        let mut noted: Vec<String> = page
            .items
            .iter()
            .map(|found| String::from_utf8(found.value.to_vec()).unwrap())
            .collect();
        noted.sort();
        noted
    }

    async fn store(directory: &tempfile::TempDir) -> Arc<dyn Store> {
        Arc::new(
            SqliteStore::open(directory.path(), SqliteOptions::default())
                .await
                .unwrap(),
        )
    }

    #[tokio::test]
    async fn a_tag_is_noted_once_however_often_it_is_pushed() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        add(&store, &[tag("nginx"), tag("q.test/a:1")]).await.unwrap();
        for _ in 0..3 {
            let twice = tag("docker.io/library/nginx:latest");
            add(&store, &[twice.clone(), twice]).await.unwrap();
        }
        assert_eq!(
            noted(&store).await,
            ["docker.io/library/nginx:latest", "q.test/a:1"]
        );
        let keys = store.list(PREFIX, None, 0, None).await.unwrap().items;
        assert!(keys.iter().all(|found| found.key.len() == PREFIX.len() + 64));
    }

    #[tokio::test]
    async fn what_was_noted_before_and_after_is_told_and_taken_away() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let many: Vec<ImageReference> = (0..250)
            .map(|number| tag(&format!("q.test/a:{number}")))
            .collect();
        add(&store, &many).await.unwrap();
        store
            .commit(
                &[],
                &[Write::Put(format!("{PREFIX}x"), Bytes::from_static(b"\xff"))],
            )
            .await
            .unwrap();
        let (told, mut hears) = mpsc::unbounded_channel();
        let followed = Arc::clone(&store);
        let task = tokio::spawn(async move {
            follow(&followed, |tag| told.send(tag.exact()).is_ok())
                .await
                .unwrap();
        });
        let mut next = async || {
            timeout(Duration::from_secs(60), hears.recv())
                .await
                .unwrap()
                .unwrap()
        };
        let mut before = Vec::new();
        for _ in 0..250 {
            before.push(next().await);
        }
        before.sort();
        before.dedup();
        assert_eq!(before.len(), 250);
        for _ in 0..2 {
            add(&store, &[tag("q.test/b:1")]).await.unwrap();
            assert_eq!(next().await, "q.test/b:1");
        }
        until_none_is_noted(&store).await;
        task.abort();
    }

    async fn until_none_is_noted(store: &Arc<dyn Store>) {
        let patience = Instant::now() + Duration::from_secs(60);
        while !noted(store).await.is_empty() {
            assert!(Instant::now() < patience, "{:?}", noted(store).await);
            sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn what_is_not_taken_stays_noted_and_is_told_until_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        add(&store, &[tag("q.test/a:before")]).await.unwrap();
        let (told, mut hears) = mpsc::unbounded_channel();
        let (followed, is_up) = (Arc::clone(&store), Arc::new(AtomicBool::new(false)));
        let is_taken = Arc::clone(&is_up);
        let task = tokio::spawn(async move {
            let poke = |tag: &ImageReference| {
                told.send(tag.exact()).unwrap();
                is_taken.load(Ordering::SeqCst)
            };
            follow(&followed, poke).await.unwrap();
        });
        let mut hear = async |wanted: &str, times| {
            let mut heard = 0;
            while heard < times {
                let next = timeout(Duration::from_secs(60), hears.recv()).await.unwrap();
                heard += usize::from(next.unwrap() == wanted);
            }
        };
        hear("q.test/a:before", 2).await;
        add(&store, &[tag("q.test/a:after")]).await.unwrap();
        hear("q.test/a:after", 3).await;
        assert_eq!(noted(&store).await, ["q.test/a:after", "q.test/a:before"]);
        is_up.store(true, Ordering::SeqCst);
        until_none_is_noted(&store).await;
        task.abort();
    }

    #[tokio::test]
    async fn what_is_pushed_while_it_is_being_taken_stays_noted() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        add(&store, &[tag("q.test/a:1"), tag("q.test/a:2"), tag("q.test/a:3")])
            .await
            .unwrap();
        let keys = store.list(PREFIX, None, 0, None).await.unwrap().items;
        add(&store, &[tag("q.test/a:2")]).await.unwrap();
        assert!(take(&store, &keys, &|_| true).await.unwrap());
        assert_eq!(noted(&store).await, ["q.test/a:2"]);
    }
}
