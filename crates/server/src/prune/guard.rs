//! Keeps images that are being pruned and streams that begin to point at them apart, on all servers of one store.
//!
//! Every write of a stream goes through [`GuardedStore`]. As long as nobody prunes that costs one more precondition: that
//! [`STATE`] is absent. While it is there, images have *marks*:
//!
//! - Before an image is deleted it is marked, and [`STATE`] is written with the marks. Then all streams are read, and the
//!   image is deleted only if none points at it, in a transaction that demands that the mark is still the same.
//! - A write of a stream that begins to point at a marked image removes the mark first. It is committed only if
//!   [`STATE`] is as it was when it looked for marks. So either the reader of streams sees the write, or the image stays.
//! - The mark of a deleted image says so for a while. A write that begins to point at the image, because whoever writes
//!   saw it before, meets a conflict unless somebody has made the image anew.
//! - Who points at a manifest list points at its members, too.
//!
//! What a stream pointed at before is left alone: it was not deleted by a prune, and if somebody else did that, the stream
//! can still be written.

use std::sync::Arc;

use bytes::Bytes;
use imagestream_store::{Answer, KeyValue, Limits, Page, Precondition, Store, StoreError, Watch, Write};
use jiff::Timestamp;
use memchr::memmem;
use serde::{Deserialize, Serialize};

/// There while images have marks.
pub(super) const STATE: &str = "/imagestream/prune/state";
/// Before the name of an image: its mark.
const MARKS: &str = "/imagestream/prune/marks/";
/// How often a write looks for marks anew because others wrote some.
const ATTEMPTS: usize = 100;
/// How every image of a stream's history is named in its JSON.
const IMAGE: &[u8] = b"\"image\":\"";

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Mark {
    /// The image may be about to be deleted; since when.
    Marked(Timestamp),
    /// The image was deleted; when.
    Deleted(Timestamp),
}

impl Mark {
    pub(super) fn read(item: &KeyValue) -> Result<Self, StoreError> {
        serde_json::from_slice(&item.value)
            .map_err(|error| StoreError::Corrupt(format!("{}: {error}", item.key)))
    }

    pub(super) fn write(self, image: &str) -> Result<Write, StoreError> {
        let value = serde_json::to_vec(&self).map_err(|error| StoreError::Invalid(error.to_string()))?;
        Ok(Write::Put(key(image), Bytes::from(value)))
    }
}

/// The key of an image's mark.
pub(super) fn key(image: &str) -> String {
    format!("{MARKS}{image}")
}

/// The prefix of all marks.
pub(super) const fn marks() -> &'static str {
    MARKS
}

/// A store in which no stream begins to point at an image that is being pruned.
pub(crate) struct GuardedStore {
    inner: Arc<dyn Store>,
    /// What the keys of streams begin with.
    streams: &'static str,
    /// What the keys of images begin with.
    images: &'static str,
}

impl GuardedStore {
    /// Guards the streams and images under these prefixes.
    pub(crate) fn new(inner: Arc<dyn Store>, streams: &'static str, images: &'static str) -> Self {
        Self {
            inner,
            streams,
            images,
        }
    }

    async fn guarded(&self, preconditions: &[Precondition], writes: &[Write]) -> Result<u64, StoreError> {
        let mut state = None;
        for _ in 0..ATTEMPTS {
            let mut all = preconditions.to_vec();
            all.push(match state {
                None => Precondition::Absent(STATE.into()),
                Some(revision) => Precondition::ModRevision(STATE.into(), revision),
            });
            match self.inner.commit(&all, writes).await {
                Err(StoreError::Conflict { key, .. }) if key == STATE => {}
                other => return other,
            }
            state = self.inner.get(STATE, None).await?.map(|item| item.mod_revision);
            if state.is_some() {
                self.claim(preconditions, writes).await?;
            }
        }
        Err(StoreError::Unavailable(
            "images are being marked for pruning without end".into(),
        ))
    }

    /// Removes the marks of all images that the streams of a transaction begin to point at.
    async fn claim(&self, preconditions: &[Precondition], writes: &[Write]) -> Result<(), StoreError> {
        for write in writes {
            let Write::Put(key, stream) = write else {
                continue;
            };
            if !key.starts_with(self.streams) {
                continue;
            }
            let before = self.replaced(key, preconditions).await?;
            for image in images(stream) {
                if before.binary_search(&image).is_err() {
                    self.claim_image(&image, preconditions.len(), writes).await?;
                }
            }
        }
        Ok(())
    }

    /// The images, sorted, that the stream points at which a transaction replaces; none if it does not say what it
    /// replaces, or will meet a conflict about that.
    async fn replaced(&self, key: &str, preconditions: &[Precondition]) -> Result<Vec<String>, StoreError> {
        let supposed = preconditions.iter().find_map(|precondition| match precondition {
            Precondition::ModRevision(of, revision) if of == key => Some(*revision),
            _ => None,
        });
        let Some(supposed) = supposed else {
            return Ok(Vec::new());
        };
        let stored = self.inner.get(key, None).await?;
        let stored = stored.filter(|stored| stored.mod_revision == supposed);
        Ok(stored.map_or_else(Vec::new, |stored| images(&stored.value)))
    }

    /// Removes the marks of an image and, if it is a list, of its members.
    async fn claim_image(&self, image: &str, index: usize, writes: &[Write]) -> Result<(), StoreError> {
        let value = self.kept(image, index, writes).await?;
        for member in value.as_ref().map_or_else(Vec::new, members) {
            self.kept(&member, index, writes).await?;
        }
        Ok(())
    }

    /// An image, if it exists or a transaction makes it, without a mark.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if a prune deleted it.
    async fn kept(&self, image: &str, index: usize, writes: &[Write]) -> Result<Option<Bytes>, StoreError> {
        let key = format!("{}{image}", self.images);
        let made = writes.iter().find_map(|write| match write {
            Write::Put(of, value) if *of == key => Some(value.clone()),
            _ => None,
        });
        let was_there = self.unmark(image).await?;
        if made.is_some() {
            return Ok(made);
        }
        let stored = self.inner.get(&key, None).await?;
        if stored.is_none() && !was_there {
            return Err(StoreError::Conflict {
                key,
                index,
                current: None,
            });
        }
        Ok(stored.map(|stored| stored.value))
    }

    /// Removes the mark of an image, if it has one. Whether no prune had deleted the image then.
    async fn unmark(&self, image: &str) -> Result<bool, StoreError> {
        let key = key(image);
        loop {
            let Some(item) = self.inner.get(&key, None).await? else {
                return Ok(true);
            };
            if let Mark::Deleted(_) = Mark::read(&item)? {
                return Ok(false);
            }
            let same = Precondition::ModRevision(key.clone(), item.mod_revision);
            match self.inner.commit(&[same], &[Write::Delete(key.clone())]).await {
                Ok(_) => return Ok(true),
                // It was removed, or the image deleted: look again.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The images that a stored stream points at, each once, sorted.
fn images(stream: &Bytes) -> Vec<String> {
    let mut found: Vec<String> = memmem::find_iter(stream, IMAGE)
        .filter_map(|place| {
            let rest = &stream[place + IMAGE.len()..];
            let end = rest.iter().position(|byte| *byte == b'"')?;
            Some(String::from_utf8_lossy(&rest[..end]).into_owned())
        })
        .filter(|image| !image.is_empty())
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The members of a stored image, which are none unless it is a manifest list.
fn members(image: &Bytes) -> Vec<String> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct List {
        docker_image_manifests: Option<Vec<Member>>,
    }
    #[derive(Deserialize)]
    struct Member {
        digest: String,
    }
    // Of what is no image nobody could say that it has members.
    let list: List = serde_json::from_slice(image).unwrap_or_default();
    let members = list.docker_image_manifests.unwrap_or_default();
    members.into_iter().map(|member| member.digest).collect()
}

impl Store for GuardedStore {
    fn get<'a>(&'a self, key: &'a str, revision: Option<u64>) -> Answer<'a, Option<KeyValue>> {
        self.inner.get(key, revision)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
        revision: Option<u64>,
    ) -> Answer<'a, Page> {
        self.inner.list(prefix, after, limit, revision)
    }

    fn commit<'a>(&'a self, preconditions: &'a [Precondition], writes: &'a [Write]) -> Answer<'a, u64> {
        let stores_stream =
            |write: &Write| matches!(write, Write::Put(key, _) if key.starts_with(self.streams));
        if writes.iter().any(stores_stream) {
            Box::pin(self.guarded(preconditions, writes))
        } else {
            self.inner.commit(preconditions, writes)
        }
    }

    fn watch(&self, prefix: &str, after: u64) -> Watch {
        self.inner.watch(prefix, after)
    }

    fn request_progress<'a>(&'a self, prefix: &'a str) -> Answer<'a, u64> {
        self.inner.request_progress(prefix)
    }

    fn compact(&self, revision: u64) -> Answer<'_, ()> {
        self.inner.compact(revision)
    }

    fn current_revision(&self) -> Answer<'_, u64> {
        self.inner.current_revision()
    }

    fn health(&self) -> Answer<'_, ()> {
        self.inner.health()
    }

    fn size(&self) -> Answer<'_, u64> {
        self.inner.size()
    }

    /// One operation less than the store's: the precondition that is added.
    fn limits(&self) -> Limits {
        let limits = self.inner.limits();
        Limits {
            operations: limits.operations.saturating_sub(1),
            ..limits
        }
    }
}

#[cfg(test)]
mod tests;
