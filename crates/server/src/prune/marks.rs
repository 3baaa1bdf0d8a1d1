//! What a prune writes into the store so that no stream begins to point at an image that it deletes: marks, and a state
//! that changes whenever marks are made or whenever they end. [`super::guard`] says why that is enough.

use bytes::Bytes;
use imagestream_store::{KeyValue, Precondition, Store, StoreError, Write};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// What all of it begins with.
const PREFIX: &str = "/imagestream/pruning/";
/// There since marks were first made.
pub(super) const STATE: &str = "/imagestream/pruning/state";
/// Before the name of an image: its mark.
const MARKS: &str = "/imagestream/pruning/marks/";
/// Marks that are read at once.
const PAGE: usize = 1000;
/// Marks that are written at once, if the store takes so many.
const BATCH: usize = 500;
/// How often the state is written anew because others wrote it, and marks are read anew because they changed.
const ATTEMPTS: usize = 100;
/// Age of marks whose prune must have been cut short: one that lives ends them sooner. If it lives nevertheless, it only
/// deletes less.
const EXPIRY: SignedDuration = SignedDuration::from_mins(15);

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
        read(item)
    }

    pub(super) fn write(self, image: &str) -> Result<Write, StoreError> {
        Ok(Write::Put(key(image), encoded(&self)?))
    }
}

/// What [`STATE`] says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    /// The revision of the state in which marks ended last: who knows only older ones may not have seen all of them.
    pub(super) ended: u64,
}

/// An image that was marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marked {
    pub(super) image: String,
    /// The revision of its mark.
    pub(super) revision: u64,
}

/// The state and all marks, as they were at one moment.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// With its revision; none if marks were never made.
    pub(super) state: Option<(u64, State)>,
    pub(super) marks: Vec<KeyValue>,
}

impl Snapshot {
    /// The marked images.
    pub(super) fn images(&self) -> impl Iterator<Item = &str> {
        self.marks.iter().filter_map(|mark| mark.key.strip_prefix(MARKS))
    }
}

/// The key of an image's mark.
pub(super) fn key(image: &str) -> String {
    format!("{MARKS}{image}")
}

/// Reads the state and all marks.
///
/// # Errors
/// Those of the store.
pub(super) async fn snapshot(store: &dyn Store) -> Result<Snapshot, StoreError> {
    for _ in 0..ATTEMPTS {
        match try_snapshot(store).await {
            // The moment that was begun with is gone.
            Err(StoreError::Compacted) => {}
            other => return other,
        }
    }
    Err(StoreError::Compacted)
}

async fn try_snapshot(store: &dyn Store) -> Result<Snapshot, StoreError> {
    let mut snapshot = Snapshot::default();
    let (mut after, mut revision): (Option<String>, _) = (None, None);
    loop {
        let page = store.list(PREFIX, after.as_deref(), PAGE, revision).await?;
        revision = Some(page.revision);
        after = page.items.last().map(|item| item.key.clone());
        for item in page.items {
            if item.key == STATE {
                snapshot.state = Some((item.mod_revision, read(&item)?));
            } else {
                snapshot.marks.push(item);
            }
        }
        if !page.more {
            return Ok(snapshot);
        }
    }
}

/// Marks images.
///
/// # Errors
/// Those of the store. Then some may be marked; their marks expire.
pub(super) async fn mark(
    store: &dyn Store,
    images: &[String],
    now: Timestamp,
) -> Result<Vec<Marked>, StoreError> {
    let mut marked = Vec::with_capacity(images.len());
    for batch in images.chunks(batch(store)) {
        let writes = batch.iter().map(|image| Mark::Marked(now).write(image));
        let revision = change(store, writes.collect::<Result<_, _>>()?, |_, _| {}).await?;
        marked.extend(batch.iter().map(|image| Marked {
            image: image.clone(),
            revision,
        }));
    }
    Ok(marked)
}

/// Ends the marks of images, as far as they are still there.
///
/// # Errors
/// Those of the store. Then the rest of them expires.
pub(super) async fn end(store: &dyn Store, images: &[String]) -> Result<(), StoreError> {
    let mut own = None;
    for batch in images.chunks(batch(store)) {
        let writes = batch.iter().map(|image| Write::Delete(key(image)));
        let revision = change(store, writes.collect(), |state, revision| {
            // Who knew what was before the first of these knew all.
            if own != Some(revision) {
                state.ended = revision;
            }
        });
        own = Some(revision.await?);
    }
    Ok(())
}

/// Ends the marks of prunes that were cut short.
///
/// # Errors
/// Those of the store.
pub(super) async fn expire(store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
    let mut old = Vec::new();
    for item in snapshot(store).await?.marks {
        let (Mark::Marked(since) | Mark::Deleted(since)) = Mark::read(&item)?;
        if now.duration_since(since) >= EXPIRY
            && let Some(image) = item.key.strip_prefix(MARKS)
        {
            old.push(image.to_owned());
        }
    }
    end(store, &old).await
}

/// Commits writes together with a change of the state, which is made of what it is at a revision.
async fn change(
    store: &dyn Store,
    mut writes: Vec<Write>,
    edit: impl Fn(&mut State, u64),
) -> Result<u64, StoreError> {
    let others = writes.len();
    for _ in 0..ATTEMPTS {
        let mut state = State::default();
        let same = match store.get(STATE, None).await? {
            None => Precondition::Absent(STATE.into()),
            Some(item) => {
                state = read(&item)?;
                edit(&mut state, item.mod_revision);
                Precondition::ModRevision(STATE.into(), item.mod_revision)
            }
        };
        writes.truncate(others);
        writes.push(Write::Put(STATE.into(), encoded(&state)?));
        match store.commit(&[same], &writes).await {
            Err(StoreError::Conflict { .. }) => {}
            other => return other,
        }
    }
    Err(StoreError::Unavailable(
        "others keep marking images for pruning".into(),
    ))
}

/// How many marks fit into a transaction, with the state.
fn batch(store: &dyn Store) -> usize {
    BATCH.min(store.limits().operations.saturating_sub(1)).max(1)
}

fn read<T: for<'a> Deserialize<'a>>(item: &KeyValue) -> Result<T, StoreError> {
    serde_json::from_slice(&item.value).map_err(|error| StoreError::Corrupt(format!("{}: {error}", item.key)))
}

fn encoded<T: Serialize>(value: &T) -> Result<Bytes, StoreError> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|error| StoreError::Invalid(error.to_string()))
}
