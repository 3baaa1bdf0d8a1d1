//! Keeps images that are being pruned and streams that begin to point at them apart, on all servers of one store.
//!
//! Every write of a stream goes through [`GuardedStore`]. It demands that the [state of marks](super::marks) is the one
//! that this server knows, which costs no more than one precondition. It looks more closely only if the stream begins to
//! point at an image that is marked or was not long ago, or if the state turns out to be another.
//!
//! # What a prune does
//!
//! 1. It marks images. Each transaction that makes marks changes the state.
//! 2. It reads all streams that were written before, and all images that are new since its plan was made. Then it deletes
//!    those of the marked images that no stream points at, in transactions that demand that the mark is still the same;
//!    the mark now says that the image was deleted. Lists go before their members.
//! 3. It ends the marks in transactions that change the state, too, and note there which state it was that they ended in.
//!
//! # What a write of a stream does
//!
//! - It removes the mark of each marked image that the stream begins to point at: the image stays. If the image was
//!   deleted it meets a conflict, unless it makes the image anew.
//! - It is committed only if the state is the one whose marks it knew. If not, the server reads state and marks, and
//!   all is looked at again.
//! - Who points at a manifest list points at its members, too, and so does a list that is written: one that is new
//!   while its members are marked saves them.
//!
//! # Why that is enough
//!
//! Say a stream that begins to point at image X is committed while the state is `g`.
//!
//! - X is marked at that moment. The mark was made at `g` or before, so it is known, and removed before the commit. X can
//!   only be deleted by way of a new mark, which means a new state, and either the commit fails or the streams that are
//!   read after that mark was made show this one.
//! - X is not marked, and exists: as above.
//! - X was deleted after the writer saw it, and its mark has ended. The state says in which state `e` marks ended last. X was
//!   marked from then on when its mark was made until it ended, in `e` or before. If this server knew `e` or a newer state
//!   before it learned of the end, it had seen the mark, and remembers for longer than requests last that X was marked.
//!   If not, it bewares of all images for as long. In both cases it looks whether X is there.
//!   A server that has just begun has no requests that saw anything before.
//! - X is a member of a list L that exists. Who prunes deletes L before X, knows L if it was there before X was marked, and
//!   does not delete X if L stays. If L was written later that saved X, or X was gone already: then L is suspect, as marked
//!   images are.
//!
//! A prune that was cut short leaves marks, which [expire](super::marks::expire). To end a mark too early is safe: its
//! image can't be deleted without it.
//!
//! What a stream pointed at before is left alone: it was not deleted by a prune, and if somebody else did that, the stream
//! can still be written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use imagestream_store::{
    Answer, KeyValue, Limits, Page, Precondition, Store, StoreError, Watch, WatchItem, Write,
};
use memchr::memmem;
use serde::Deserialize;

use super::marks::{self, Mark, STATE};
use known::Known;

mod known;

/// How often a write looks for marks anew because others wrote some.
const ATTEMPTS: usize = 100;
/// Time until marks are watched again after that failed.
const AGAIN: Duration = Duration::from_secs(5);
/// How every image of a stream's history is named in its JSON.
const IMAGE: &[u8] = b"\"image\":\"";
/// What only the JSON of manifest lists has.
const MEMBERS: &[u8] = b"\"dockerImageManifests\":[";

/// A store in which no stream begins to point at an image that is being pruned.
pub(crate) struct GuardedStore {
    inner: Arc<dyn Store>,
    /// What the keys of streams begin with.
    streams: &'static str,
    /// What the keys of images begin with.
    images: &'static str,
    known: Mutex<Known>,
    /// One look at the marks at a time: others have the same result.
    turn: tokio::sync::Mutex<()>,
}

/// What a write has to be careful with.
#[derive(Debug, Default)]
struct Suspects {
    /// Streams, and the images that they point at.
    streams: Vec<(String, Vec<String>)>,
    /// Lists, and the members that they have.
    lists: Vec<(String, Vec<String>)>,
}

impl GuardedStore {
    /// Guards the streams and images under these prefixes.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn open(
        inner: Arc<dyn Store>,
        streams: &'static str,
        images: &'static str,
    ) -> Result<Self, StoreError> {
        let known = Known::first(&marks::snapshot(&*inner).await?, Instant::now());
        Ok(Self {
            inner,
            streams,
            images,
            known: Mutex::new(known),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// Learns of marks as they are made, for as long as the server lives: so that no write has to, and none is missed.
    pub(crate) async fn follow(self: Arc<Self>) {
        loop {
            if let Err(error) = self.follow_once().await {
                tracing::warn!(%error, "what is marked for pruning can't be watched");
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn follow_once(&self) -> Result<(), StoreError> {
        let begin = self.inner.current_revision().await?;
        self.learn(None).await?;
        let mut watch = self.inner.watch(STATE, begin);
        while let Some(item) = watch.next().await {
            if let WatchItem::Commit { revision, .. } = item? {
                self.learn(Some(revision)).await?;
            }
        }
        Ok(())
    }

    /// Reads the state and the marks, unless this state is known by now.
    async fn learn(&self, state: Option<u64>) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        if state.is_some() && self.known().revision() >= state {
            return Ok(());
        }
        let snapshot = marks::snapshot(&*self.inner).await?;
        self.known().learn(&snapshot, Instant::now());
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing that is done to it can panic halfway.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn guarded(&self, preconditions: &[Precondition], writes: &[Write]) -> Result<u64, StoreError> {
        for _ in 0..ATTEMPTS {
            let (state, suspects) = self.suspects(writes);
            self.claim(&suspects, preconditions, writes).await?;
            let mut all = preconditions.to_vec();
            all.push(match state {
                None => Precondition::Absent(STATE.into()),
                Some(revision) => Precondition::ModRevision(STATE.into(), revision),
            });
            match self.inner.commit(&all, writes).await {
                Err(StoreError::Conflict { key, current, .. }) if key == STATE => {
                    self.learn(current.map(|item| item.mod_revision)).await?;
                }
                other => return other,
            }
        }
        Err(StoreError::Unavailable(
            "images are being marked for pruning without end".into(),
        ))
    }

    /// The state that is known, and what some writes have to be careful with in it.
    fn suspects(&self, writes: &[Write]) -> (Option<u64>, Suspects) {
        let now = Instant::now();
        let mut known = self.known();
        let mut suspects = Suspects::default();
        if known.is_calm(now) {
            return (known.revision(), suspects);
        }
        let chosen = |found: Vec<String>| -> Vec<String> {
            found
                .into_iter()
                .filter(|image| known.is_suspect(image, now))
                .collect()
        };
        for write in writes {
            let Write::Put(key, value) = write else {
                continue;
            };
            if key.starts_with(self.streams) {
                suspects.streams.push((key.clone(), chosen(images(value))));
            } else if key.starts_with(self.images) {
                suspects.lists.push((key.clone(), chosen(members(value))));
            }
        }
        suspects.streams.retain(|(_, images)| !images.is_empty());
        suspects.lists.retain(|(_, members)| !members.is_empty());
        (known.revision(), suspects)
    }

    /// Removes the marks of all images that a transaction begins to point at.
    async fn claim(
        &self,
        suspects: &Suspects,
        preconditions: &[Precondition],
        writes: &[Write],
    ) -> Result<(), StoreError> {
        let index = preconditions.len();
        for (key, images) in &suspects.streams {
            let before = self.replaced(key, preconditions).await?;
            for image in images {
                if before.binary_search(image).is_err() {
                    self.claim_image(image, index, writes).await?;
                }
            }
        }
        let has_stream = writes.iter().any(|write| self.stores_stream(write));
        for (key, members) in &suspects.lists {
            for member in members {
                match self.kept(member, index, writes).await {
                    // A list may lack members, but nobody begins to point at it without a look at that.
                    Err(StoreError::Conflict { .. }) if !has_stream => {
                        let list = key.strip_prefix(self.images).unwrap_or(key);
                        self.known().suspect(list, Instant::now());
                    }
                    other => drop(other?),
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
        for member in members(&value) {
            self.kept(&member, index, writes).await?;
        }
        Ok(())
    }

    /// An image that exists or that a transaction makes, without a mark that lets it be deleted.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is none.
    async fn kept(&self, image: &str, index: usize, writes: &[Write]) -> Result<Bytes, StoreError> {
        let key = format!("{}{image}", self.images);
        let made = writes.iter().find_map(|write| match write {
            Write::Put(of, value) if *of == key => Some(value.clone()),
            _ => None,
        });
        self.unmark(image).await?;
        if let Some(made) = made {
            return Ok(made);
        }
        match self.inner.get(&key, None).await? {
            Some(stored) => Ok(stored.value),
            None => Err(StoreError::Conflict {
                key,
                index,
                current: None,
            }),
        }
    }

    /// Removes the mark by which an image can be deleted, if it has one.
    async fn unmark(&self, image: &str) -> Result<(), StoreError> {
        let key = marks::key(image);
        loop {
            let Some(item) = self.inner.get(&key, None).await? else {
                return Ok(());
            };
            if let Mark::Deleted(_) = Mark::read(&item)? {
                return Ok(());
            }
            let same = Precondition::ModRevision(key.clone(), item.mod_revision);
            match self.inner.commit(&[same], &[Write::Delete(key.clone())]).await {
                // If it was removed, or the image deleted: look again.
                Ok(_) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn stores_stream(&self, write: &Write) -> bool {
        matches!(write, Write::Put(key, _) if key.starts_with(self.streams))
    }

    fn stores_list(&self, write: &Write) -> bool {
        matches!(write, Write::Put(key, value)
            if key.starts_with(self.images) && memmem::find(value, MEMBERS).is_some())
    }
}

/// The images that a stored stream points at, each once, sorted.
fn images(stream: &[u8]) -> Vec<String> {
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
fn members(image: &[u8]) -> Vec<String> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct List {
        docker_image_manifests: Option<Vec<Member>>,
    }
    #[derive(Deserialize)]
    struct Member {
        digest: String,
    }
    if memmem::find(image, MEMBERS).is_none() {
        return Vec::new();
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
        let is_guarded = |write: &Write| self.stores_stream(write) || self.stores_list(write);
        if writes.iter().any(is_guarded) {
            Box::pin(self.guarded(preconditions, writes))
        } else if writes.iter().any(|write| write.key() == STATE) {
            // Who prunes here knows of its marks at once.
            Box::pin(async move {
                let revision = self.inner.commit(preconditions, writes).await?;
                self.learn(Some(revision)).await?;
                Ok(revision)
            })
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
