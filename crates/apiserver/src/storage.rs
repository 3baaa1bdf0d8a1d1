//! Objects in a [`Store`]: how they are written, where, and how they are read back without being decoded.
//!
//! An object is stored as JSON without what the key and the revision say already: `kind`, `apiVersion` and
//! `metadata.resourceVersion`. `metadata` comes first, so that an answer is a new beginning followed by a copy of the
//! stored bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use imagestream_store::cache::{Cache, CacheError, CacheOptions, Entry};
use imagestream_store::{KeyValue, Precondition, Store, StoreError, Write};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::Value;
use tokio::time::Instant;

use crate::endpoint::Object;
use crate::errors;
use crate::form::Form;
use crate::kind::Resource;
use crate::selectors::field::FieldSelector;
use crate::selectors::label::LabelSelector;

mod changes;
mod encoded;
mod list;
mod memory;
mod page;
mod read;
mod watch;

pub use changes::Earlier;
pub use encoded::{Encoded, encode};
pub use page::ContinueToken;
pub use read::check_name;
pub(crate) use read::segment_mistakes;

/// Commits that a cache remembers for watchers, in changes.
const RING: usize = 10_000;
/// Longest wait for a cache to show what was committed before.
const CATCH_UP: Duration = Duration::from_secs(10);

/// Turns stored bytes into other bytes and back: encryption at rest.
pub trait Seal: Send + Sync + 'static {
    /// What is stored for `plain` under `key`.
    ///
    /// # Errors
    /// Why nothing can be stored.
    fn seal(&self, key: &str, plain: &[u8]) -> Result<Bytes, String>;

    /// What was stored.
    ///
    /// # Errors
    /// Why it can't be read: another key, damage.
    fn open(&self, key: &str, sealed: &Bytes) -> Result<Bytes, String>;
}

/// What the cache knows of an object beside its bytes.
#[derive(Debug, Default)]
pub struct Selected {
    /// Its labels, sorted.
    labels: Box<[(Box<str>, Box<str>)]>,
    /// Its fields that can be selected, in the order of [`Form::selectable`].
    fields: Box<[Box<str>]>,
    /// The object as it is shown, if that is not as it is stored.
    shown: Option<Bytes>,
    /// The uids of its owners.
    owners: Box<[Box<str>]>,
}

/// An object that was read.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The object with `kind`, `apiVersion` and resource version.
    pub object: Value,
    /// The revision of its last change: its resource version.
    pub revision: u64,
}

/// The objects of one resource in a store.
pub struct Objects {
    resource: &'static Resource,
    store: Arc<dyn Store>,
    cache: Cache<Selected>,
    prefix: String,
    form: Arc<dyn Form>,
    holds_values: bool,
    follower: tokio::task::AbortHandle,
}

impl Drop for Objects {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

/// How the objects of a resource are kept.
#[derive(Debug, Clone, Copy)]
pub struct Keeping {
    /// Whether memory holds only what selection needs, and objects are read from the disk.
    pub on_disk: bool,
}

impl Objects {
    /// The objects of `form`'s resource under `prefix`, which ends with `/`. Must be called in a Tokio runtime.
    pub fn open(store: Arc<dyn Store>, prefix: &str, form: Arc<dyn Form>, keeping: Keeping) -> Self {
        Self::remembering(store, prefix, form, keeping, RING)
    }

    /// As [`Objects::open`]; watches can begin as many changes ago as are remembered.
    pub fn remembering(
        store: Arc<dyn Store>,
        prefix: &str,
        form: Arc<dyn Form>,
        keeping: Keeping,
        remembered: usize,
    ) -> Self {
        let options = CacheOptions {
            prefix: prefix.to_owned(),
            ring_capacity: remembered,
            metadata_only: keeping.on_disk,
        };
        let selecting = Arc::clone(&form);
        let (cache, follower) = Cache::follow(Arc::clone(&store), options, move |key, value| {
            select(&*selecting, key, value)
        });
        Self {
            resource: form.resource(),
            store,
            cache,
            prefix: prefix.to_owned(),
            form,
            holds_values: !keeping.on_disk,
            follower: tokio::spawn(follower.run()).abort_handle(),
        }
    }

    /// What the objects are.
    pub fn resource(&self) -> &'static Resource {
        self.resource
    }

    /// The store that they are in, for transactions over several objects.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Whether whole objects are in memory, and not only what selection needs.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.holds_values
    }

    /// The key of an object.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if self.resource.namespaced {
            format!("{}{namespace}/{name}", self.prefix)
        } else {
            format!("{}{name}", self.prefix)
        }
    }

    /// The key that an object's metadata gives it.
    pub fn key_of(&self, object: &Value) -> String {
        let text = |name: &str| object.pointer(name).and_then(Value::as_str).unwrap_or_default();
        self.key(text("/metadata/namespace"), text("/metadata/name"))
    }

    /// Waits until everything that was in the store when this was called can be read from memory.
    ///
    /// # Errors
    /// 504 when that takes too long, 503 when the store is closed.
    pub async fn ready(&self) -> Result<(), Box<Status>> {
        self.cache
            .wait_until_current(Instant::now() + CATCH_UP)
            .await
            .map(drop)
            .map_err(not_current)
    }

    /// An object, as it is stored.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn get(&self, namespace: &str, name: &str) -> Result<Option<Stored>, Box<Status>> {
        self.encoded(namespace, name, false)
            .await?
            .map(|encoded| encoded.stored())
            .transpose()
    }

    /// An object as it is shown, still encoded.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn shown(&self, namespace: &str, name: &str) -> Result<Option<Encoded>, Box<Status>> {
        self.encoded(namespace, name, true).await
    }

    async fn encoded(
        &self,
        namespace: &str,
        name: &str,
        as_shown: bool,
    ) -> Result<Option<Encoded>, Box<Status>> {
        let key = self.key(namespace, name);
        if self.holds_values {
            self.ready().await?;
            let entry = self.cache.get(&key);
            return entry.map(|entry| self.of_entry(&entry, as_shown)).transpose();
        }
        let item = self.store.get(&key, None).await.map_err(failed)?;
        item.map(|item| self.of_item(&item, as_shown)).transpose()
    }

    fn of_entry(&self, entry: &Entry<Selected>, as_shown: bool) -> Result<Encoded, Box<Status>> {
        let bytes = match (&entry.metadata.shown, &entry.value) {
            (Some(shown), _) if as_shown => shown.clone(),
            (_, Some(value)) => self.open_value(&entry.key, value)?,
            (_, None) => return Err(errors::internal_error("an object without a value").into()),
        };
        Ok(Encoded::new(self.resource.kind, bytes, entry.mod_revision))
    }

    /// A key and value of the store as an object.
    ///
    /// # Errors
    /// 500 if it can't be read.
    pub fn of_item(&self, item: &KeyValue, as_shown: bool) -> Result<Encoded, Box<Status>> {
        let bytes = self.open_value(&item.key, &item.value)?;
        let encoded = Encoded::new(self.resource.kind, bytes, item.mod_revision);
        if !as_shown {
            return Ok(encoded);
        }
        let stored = encoded.to_value()?;
        match self.form.shown(&stored) {
            Some(shown) => {
                encode(&shown).map(|bytes| Encoded::new(self.resource.kind, bytes, item.mod_revision))
            }
            None => Ok(encoded),
        }
    }

    fn open_value(&self, key: &str, value: &Bytes) -> Result<Bytes, Box<Status>> {
        match self.form.seal() {
            Some(seal) => seal
                .open(key, value)
                .map_err(|error| errors::internal_error(error).into()),
            None => Ok(value.clone()),
        }
    }

    /// An object, as it was stored when memory last heard of the store; see [`Objects::ready`]. Not for objects that are
    /// kept on disk.
    ///
    /// # Errors
    /// 500 if it can't be read.
    pub fn in_memory(&self, namespace: &str, name: &str) -> Result<Option<Stored>, Box<Status>> {
        let entry = self.cache.get(&self.key(namespace, name));
        entry
            .map(|entry| self.of_entry(&entry, false)?.stored())
            .transpose()
    }

    /// Whether there was an object of this name when memory last heard of the store; see [`Objects::ready`].
    pub fn contains(&self, namespace: &str, name: &str) -> bool {
        self.cache.get(&self.key(namespace, name)).is_some()
    }

    /// How many objects there are in a namespace (all: empty).
    ///
    /// # Errors
    /// Those of the store.
    pub async fn count(&self, namespace: &str) -> Result<usize, Box<Status>> {
        self.ready().await?;
        Ok(self.cache.list(&self.scope(namespace)).entries.len())
    }

    /// The write that stores an object under its key.
    ///
    /// # Errors
    /// 500 if it can't be encoded.
    pub fn put(&self, object: &Value) -> Result<Write, Box<Status>> {
        let key = self.key_of(object);
        let mut bytes = encode(object)?;
        if let Some(seal) = self.form.seal() {
            bytes = seal.seal(&key, &bytes).map_err(errors::internal_error)?;
        }
        Ok(Write::Put(key, bytes))
    }

    /// Stores a new object and returns it complete.
    ///
    /// # Errors
    /// 409 if there is one of its name, or if what it points at went meanwhile; those of the store.
    pub async fn create(&self, object: Value) -> Result<Stored, Box<Status>> {
        let write = self.put(&object)?;
        let revision = self.commit_new(&object, &write).await?;
        Ok(self.stored(object, revision))
    }

    /// Stores a new object and returns what to answer: the object as it is shown, or as it is stored. Where that is the
    /// same, the bytes that were stored are the answer.
    ///
    /// # Errors
    /// Those of [`Objects::create`].
    pub(crate) async fn create_and_show(
        &self,
        object: Value,
        as_stored: bool,
    ) -> Result<Object, Box<Status>> {
        let write = self.put(&object)?;
        let revision = self.commit_new(&object, &write).await?;
        let shown = if as_stored { None } else { self.form.shown(&object) };
        let is_readable = self.form.seal().is_none();
        Ok(match (shown, write) {
            (None, Write::Put(_, bytes)) if is_readable => {
                Encoded::new(self.resource.kind, bytes, revision).into()
            }
            (shown, _) => self.stored(shown.unwrap_or(object), revision).object.into(),
        })
    }

    async fn commit_new(&self, object: &Value, write: &Write) -> Result<u64, Box<Status>> {
        let absent = Precondition::Absent(write.key().to_owned());
        match self.store.commit(&[absent], std::slice::from_ref(write)).await {
            Ok(revision) => Ok(revision),
            Err(StoreError::Conflict { key, .. }) if key == write.key() => {
                let name = object.pointer("/metadata/name").and_then(Value::as_str);
                Err(errors::already_exists(self.resource.group_resource(), name.unwrap_or_default()).into())
            }
            Err(StoreError::Conflict { key, .. }) => Err(self.lacks(object, &key)),
            Err(error) => Err(failed(error)),
        }
    }

    /// Replaces the object that was last changed at `revision`. Nothing is returned if it changed since.
    ///
    /// # Errors
    /// 409 if what it points at went meanwhile; those of the store.
    pub async fn replace(&self, object: Value, revision: u64) -> Result<Option<Stored>, Box<Status>> {
        let write = self.put(&object)?;
        let unchanged = Precondition::ModRevision(write.key().to_owned(), revision);
        match self
            .store
            .commit(&[unchanged], std::slice::from_ref(&write))
            .await
        {
            Ok(revision) => Ok(Some(self.stored(object, revision))),
            Err(StoreError::Conflict { key, .. }) if key == write.key() => Ok(None),
            Err(StoreError::Conflict { key, .. }) => Err(self.lacks(&object, &key)),
            Err(error) => Err(failed(error)),
        }
    }

    /// 409: what an object points at went meanwhile. To try again by itself would not bring it back.
    fn lacks(&self, object: &Value, key: &str) -> Box<Status> {
        let name = object.pointer("/metadata/name").and_then(Value::as_str);
        let what = key.rsplit('/').next().unwrap_or(key);
        let why = format!("{what}, which it points at, was deleted");
        errors::conflict(self.resource.group_resource(), name.unwrap_or_default(), why).into()
    }

    /// Removes the object that was last changed at `revision`; returns the revision of its end, or nothing if it
    /// changed since.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn remove(
        &self,
        namespace: &str,
        name: &str,
        revision: u64,
    ) -> Result<Option<u64>, Box<Status>> {
        let key = self.key(namespace, name);
        let unchanged = Precondition::ModRevision(key.clone(), revision);
        match self.store.commit(&[unchanged], &[Write::Delete(key)]).await {
            Ok(revision) => Ok(Some(revision)),
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// An object that was just written at a revision, complete.
    pub fn stored(&self, mut object: Value, revision: u64) -> Stored {
        complete(&mut object, self.resource, Some(revision));
        Stored { object, revision }
    }

    /// The object as it is shown.
    pub fn show(&self, object: Value) -> Value {
        self.form.shown(&object).unwrap_or(object)
    }

    /// What an object looks like in which nobody set anything.
    pub fn unset(&self) -> Value {
        self.form.unset()
    }

    /// All objects of a namespace (all: empty) that the selectors choose, as they are stored, in key order.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn all(
        &self,
        namespace: &str,
        labels: &LabelSelector,
        fields: &FieldSelector,
    ) -> Result<(Vec<Encoded>, u64), Box<Status>> {
        self.ready().await?;
        let snapshot = self.cache.list(&self.scope(namespace));
        let chosen = snapshot
            .entries
            .iter()
            .filter(|entry| self.is_selected(&entry.metadata, labels, fields));
        let mut items = Vec::new();
        for entry in chosen {
            if self.holds_values {
                items.push(self.of_entry(entry, false)?);
            } else if let Some(item) = self.store.get(&entry.key, None).await.map_err(failed)? {
                items.push(self.of_item(&item, false)?);
            }
        }
        Ok((items, snapshot.revision))
    }

    /// As [`Objects::all`] of objects that are held in memory, but without those that can't be opened: one of them must
    /// not keep anybody from the others. They are logged.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn all_that_open(&self, namespace: &str) -> Result<(Vec<Encoded>, u64), Box<Status>> {
        self.ready().await?;
        let snapshot = self.cache.list(&self.scope(namespace));
        let mut items = Vec::new();
        for entry in &snapshot.entries {
            match self.of_entry(entry, false) {
                Ok(item) => items.push(item),
                Err(status) => {
                    let why = status.message.unwrap_or_default();
                    tracing::error!(
                        key = entry.key,
                        why,
                        "a stored object can't be opened and is left out"
                    );
                }
            }
        }
        Ok((items, snapshot.revision))
    }

    /// The objects that name an object with this uid as an owner.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn owned_by(&self, uid: &str) -> Result<Vec<Stored>, Box<Status>> {
        self.with_owners(|owners| owners.iter().any(|owner| **owner == *uid))
            .await
    }

    /// The objects that have owners.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn owned(&self) -> Result<Vec<Stored>, Box<Status>> {
        self.with_owners(|owners| !owners.is_empty()).await
    }

    async fn with_owners(&self, fits: impl Fn(&[Box<str>]) -> bool) -> Result<Vec<Stored>, Box<Status>> {
        let snapshot = self.cache.list(&self.prefix);
        let mut owned = Vec::new();
        for entry in snapshot
            .entries
            .iter()
            .filter(|entry| fits(&entry.metadata.owners))
        {
            let found = self.store.get(&entry.key, None).await.map_err(failed)?;
            if let Some(item) = found {
                owned.push(self.of_item(&item, false)?.stored()?);
            }
        }
        Ok(owned)
    }

    /// The prefix of all keys of a namespace; of all objects if that is empty.
    pub fn scope(&self, namespace: &str) -> String {
        if namespace.is_empty() {
            self.prefix.clone()
        } else {
            format!("{}{namespace}/", self.prefix)
        }
    }

    fn is_selected(&self, object: &Selected, labels: &LabelSelector, fields: &FieldSelector) -> bool {
        labels.matches(|key| {
            let found = object
                .labels
                .binary_search_by(|(name, _)| (**name).cmp(key))
                .ok()?;
            Some(&*object.labels[found].1)
        }) && fields.matches(|field| {
            let position = self.form.selectable().iter().position(|known| *known == field);
            position.map_or("", |position| &*object.fields[position])
        })
    }
}

/// Adds to an object what its place says of it: `kind`, `apiVersion` and, if it is stored, its resource version.
pub fn complete(object: &mut Value, resource: &Resource, revision: Option<u64>) {
    let Value::Object(fields) = object else {
        return;
    };
    fields.insert("kind".into(), resource.kind.kind.into());
    fields.insert("apiVersion".into(), resource.kind.api_version().into());
    if let (Some(revision), Some(Value::Object(metadata))) = (revision, fields.get_mut("metadata")) {
        metadata.insert("resourceVersion".into(), revision.to_string().into());
    }
}

fn select(form: &dyn Form, key: &str, value: &[u8]) -> Selected {
    let opened;
    let plain = match form.seal() {
        None => value,
        Some(seal) => match seal.open(key, &Bytes::copy_from_slice(value)) {
            Ok(bytes) => {
                opened = bytes;
                &opened[..]
            }
            // Reading the object will say so; it has no labels that anybody could ask for.
            Err(_) => &b"{}"[..],
        },
    };
    let Ok(object) = serde_json::from_slice::<Value>(plain) else {
        return Selected::default();
    };
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    let mut labels: Vec<(Box<str>, Box<str>)> = labels
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str().into(), value.as_str().unwrap_or_default().into()))
        .collect();
    labels.sort();
    let fields = form.selectable();
    let fields = fields
        .iter()
        .map(|field| form.field(&object, field).into())
        .collect();
    // A sealed object is never held open in memory.
    let shown = form.shown(&object).filter(|_| form.seal().is_none());
    let owners = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let owners = owners
        .into_iter()
        .flatten()
        .filter_map(|owner| owner.get("uid")?.as_str());
    Selected {
        labels: labels.into(),
        fields,
        shown: shown.and_then(|shown| encode(&shown).ok()),
        owners: owners.map(Into::into).collect(),
    }
}

fn not_current(error: CacheError) -> Box<Status> {
    match error {
        CacheError::Stopped => errors::service_unavailable("the server is shutting down").into(),
        CacheError::Behind | CacheError::TooOld => {
            errors::timeout("the store did not answer in time", 1).into()
        }
    }
}

/// What a failure of the store is to a client.
pub fn failed(error: StoreError) -> Box<Status> {
    match error {
        StoreError::Compacted => errors::expired("The provided resource version is too old.").into(),
        StoreError::Unavailable(_) => errors::service_unavailable(error.to_string()).into(),
        StoreError::TooLarge(why) => errors::request_entity_too_large(why).into(),
        StoreError::OutcomeUnknown(_) => errors::timeout(error, 1).into(),
        other => errors::internal_error(other).into(),
    }
}
