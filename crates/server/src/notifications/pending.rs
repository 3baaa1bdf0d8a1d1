//! Tags that were pushed and not yet looked at, as keys of the store: whichever server is told, the one that runs the
//! controllers learns of it.
//!
//! A tag has one key, however often it is pushed, and only tags that streams follow have any: so many there are at most.

use std::sync::Arc;

use bytes::Bytes;
use imagestream_api::reference::ImageReference;
use imagestream_store::{KeyValue, Store, StoreError, WatchItem, Write};
use sha2::{Digest, Sha256};

/// What all keys begin with.
const PREFIX: &str = "/imagestream/notifications/";
/// Most keys that are written or deleted in one transaction; every store allows as many.
const BATCH: usize = 100;
/// Keys that are read at once.
const PAGE: usize = 500;

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

/// Notes that these tags, with everything that defaults add, were pushed. Nothing is written for those that are noted.
///
/// # Errors
/// Those of the store.
pub(super) async fn add(store: &Arc<dyn Store>, tags: &[ImageReference]) -> Result<(), StoreError> {
    let mut writes = Vec::new();
    for tag in tags {
        let image = tag.exact();
        let key = key(&image);
        if store.get(&key, None).await?.is_none() {
            writes.push(Write::Put(key, Bytes::from(image)));
        }
    }
    for batch in writes.chunks(BATCH) {
        // If somebody else notes the same, both may write it.
        store.commit(&[], batch).await?;
    }
    Ok(())
}

/// Hands every tag that was pushed to `poke`, with everything that defaults add, for as long as it is polled.
///
/// A key is deleted before: what is pushed after that has a new one.
///
/// # Errors
/// Those of the store.
pub(crate) async fn follow(
    store: &Arc<dyn Store>,
    poke: impl Fn(&ImageReference) + Send + Sync,
) -> Result<(), StoreError> {
    loop {
        let revision = take_all(store, &poke).await?;
        let mut watch = store.watch(PREFIX, revision);
        loop {
            match watch.next().await {
                Some(Ok(WatchItem::Commit { changes, .. })) => {
                    let new = changes.into_iter().filter_map(|change| change.current);
                    take(store, &new.collect::<Vec<_>>(), &poke).await?;
                }
                Some(Ok(WatchItem::Progress(_))) => {}
                // What happened in between is in the store.
                None | Some(Err(StoreError::Compacted)) => break,
                Some(Err(error)) => return Err(error),
            }
        }
    }
}

/// Takes everything that is there; the revision that was seen.
async fn take_all(
    store: &Arc<dyn Store>,
    poke: &(impl Fn(&ImageReference) + Send + Sync),
) -> Result<u64, StoreError> {
    loop {
        let page = store.list(PREFIX, None, PAGE, None).await?;
        if page.items.is_empty() {
            return Ok(page.revision);
        }
        take(store, &page.items, poke).await?;
    }
}

async fn take(
    store: &Arc<dyn Store>,
    keys: &[KeyValue],
    poke: &(impl Fn(&ImageReference) + Send + Sync),
) -> Result<(), StoreError> {
    for batch in keys.chunks(BATCH) {
        let deletions: Vec<Write> = batch
            .iter()
            .map(|found| Write::Delete(found.key.clone()))
            .collect();
        store.commit(&[], &deletions).await?;
        for found in batch {
            let image = std::str::from_utf8(&found.value).ok();
            match image.and_then(|image| ImageReference::parse(image).ok()) {
                Some(tag) => poke(&tag),
                None => tracing::warn!(key = found.key, "what was noted of a push can't be read"),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

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
        let revision = store.current_revision().await.unwrap();
        for _ in 0..3 {
            add(&store, &[tag("docker.io/library/nginx:latest")])
                .await
                .unwrap();
        }
        assert_eq!(
            noted(&store).await,
            ["docker.io/library/nginx:latest", "q.test/a:1"]
        );
        assert_eq!(
            store.current_revision().await.unwrap(),
            revision,
            "nothing is written"
        );
        let keys = store.list(PREFIX, None, 0, None).await.unwrap().items;
        assert!(keys.iter().all(|found| found.key.len() == PREFIX.len() + 64));
    }

    #[tokio::test]
    async fn what_was_noted_before_and_after_is_told_once_and_taken_away() {
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
            follow(&followed, |tag| told.send(tag.exact()).unwrap())
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
        assert!(noted(&store).await.is_empty());
        task.abort();
    }
}
