//! Reads what there is, asks the [plan](super::plan) what goes, and removes it: history first, then images under the
//! protection of [marks](super::guard).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use imagestream_api::limits::image_violation;
use imagestream_api::types::{Image, ImageStream, Status};
use imagestream_apiserver::metadata;
use imagestream_apiserver::options::ListOptions;
use imagestream_apiserver::selectors::field::FieldSelector;
use imagestream_apiserver::selectors::label::LabelSelector;
use imagestream_apiserver::storage::failed;
use imagestream_store::{Precondition, StoreError, Write};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::LimitRange;
use serde::Serialize;
use serde_json::Value;

use super::guard::{self, Mark, STATE};
use super::plan::{self, ImageFacts, Images, InUse, Item, Options, Why};
use crate::context::Context;
use crate::image::limits::of_namespace;
use crate::image::stream_write::typed;

/// Images that are read at once.
const PAGE: usize = 200;
/// Marks that are written at once.
const BATCH: usize = 50;
/// How often a stream is planned afresh because others write it.
const ATTEMPTS: usize = 20;
/// How long the mark of a deleted image stays: longer than any request that saw the image may take.
const REMEMBERED: Duration = Duration::from_secs(2 * 60 * 60);
/// Time between two looks for marks that may go.
const TIDYING: Duration = Duration::from_secs(10 * 60);

/// What was pruned, or would be.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) dry_run: bool,
    /// Streams whose history becomes shorter.
    pub(super) streams: Vec<StreamReport>,
    /// Images that go.
    pub(super) images: Vec<ImageReport>,
    /// Images that stay.
    pub(super) kept_images: usize,
    /// What could not be pruned, and why.
    pub(super) failures: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StreamReport {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) items: Vec<Item>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImageReport {
    pub(super) name: String,
    pub(super) created: Option<Timestamp>,
    pub(super) why: Why,
}

/// Prunes, or says what would be pruned.
///
/// # Errors
/// Those of the store while reading. What can't be removed is a failure in the report, and keeps nothing else from
/// being removed.
pub(super) async fn prune(
    context: &Context,
    options: &Options,
    now: Timestamp,
) -> Result<Report, Box<Status>> {
    let images = read_images(context).await?;
    prune_known(context, images, options, now).await
}

/// Prunes, or says what would be pruned, if these images were there a moment ago.
///
/// # Errors
/// As those of [`prune`].
pub(super) async fn prune_known(
    context: &Context,
    mut images: Images,
    options: &Options,
    now: Timestamp,
) -> Result<Report, Box<Status>> {
    let mut report = Report {
        dry_run: !options.confirm,
        ..Report::default()
    };
    let streams = read_streams(context).await?;
    // Whatever these streams point at is known now, if it is there.
    context.images.ready().await?;
    let mut in_use = InUse::default();
    streams.iter().for_each(|(stream, _)| in_use.add(stream));
    let mut referenced = HashSet::new();
    let mut limits: HashMap<String, Vec<LimitRange>> = HashMap::new();
    for (stream, revision) in &streams {
        let namespace = stream.metadata.namespace.clone().unwrap_or_default();
        let is_meant = options.namespace.is_empty() || options.namespace == namespace;
        let mut items = Vec::new();
        if is_meant {
            if !limits.contains_key(&namespace) {
                let found = of_namespace(context, &namespace).await?;
                limits.insert(namespace.clone(), found);
            }
            let of_namespace = limits.get(&namespace).map_or(&[][..], Vec::as_slice);
            let planning = Planning {
                context,
                images: &images,
                in_use: &in_use,
                limits: of_namespace,
                options,
                now,
            };
            items = planning.items(stream);
            if !items.is_empty() && options.confirm {
                items = match Box::pin(planning.shorten(stream, *revision, items)).await {
                    Ok(items) => items,
                    Err(status) => {
                        let why = status.message.unwrap_or_default();
                        report
                            .failures
                            .push(format!("image stream {}: {why}", plan::path(stream)));
                        Vec::new()
                    }
                };
            }
        }
        plan::add_references(stream, &items, &mut referenced);
        if !items.is_empty() {
            report.streams.push(StreamReport {
                namespace,
                name: stream.metadata.name.clone().unwrap_or_default(),
                items,
            });
        }
    }
    let candidates = plan::images(&images, &referenced, options, now);
    let mut gone = Vec::new();
    if !options.confirm {
        gone = candidates;
    } else if !candidates.is_empty() {
        let mut deletion = Deletion {
            context,
            images: &images,
            options,
            now,
            deleted: &mut gone,
            failures: &mut report.failures,
        };
        if let Err(status) = Box::pin(deletion.run(candidates)).await {
            let why = status.message.unwrap_or_default();
            report.failures.push(format!("images: {why}"));
        }
    }
    for name in gone {
        let created = images.remove(&name).and_then(|image| image.created);
        report.images.push(ImageReport {
            name,
            created,
            why: Why::Unreferenced,
        });
    }
    report.kept_images = images.len();
    Ok(report)
}

/// What decides about the history of one stream.
struct Planning<'a> {
    context: &'a Context,
    images: &'a Images,
    in_use: &'a InUse,
    limits: &'a [LimitRange],
    options: &'a Options,
    now: Timestamp,
}

impl Planning<'_> {
    /// The items of a stream that go. An image that came after the images were read is not missing, and too new for
    /// anything to be said of it: so images must be [ready](imagestream_apiserver::storage::Objects::ready) since the
    /// stream was read.
    fn items(&self, stream: &ImageStream) -> Vec<Item> {
        let exceeds = |size| image_violation(size, self.limits).is_some();
        let mut items = plan::items(stream, self.images, self.in_use, exceeds, self.options, self.now);
        items.retain(|item| item.why != Why::ImageMissing || !self.context.images.contains("", &item.image));
        items
    }

    /// Removes items from the history of a stream; from the one that there is, if others wrote it meanwhile. Returns
    /// what was removed.
    async fn shorten(
        &self,
        stream: &ImageStream,
        revision: u64,
        mut items: Vec<Item>,
    ) -> Result<Vec<Item>, Box<Status>> {
        let [namespace, name] = [&stream.metadata.namespace, &stream.metadata.name]
            .map(|text| text.as_deref().unwrap_or_default());
        let mut revision = revision;
        for _ in 0..ATTEMPTS {
            let Some(stored) = self.context.streams.get(namespace, name).await? else {
                return Ok(Vec::new());
            };
            if stored.revision != revision {
                revision = stored.revision;
                self.context.images.ready().await?;
                items = self.items(&typed(stored.object.clone())?);
                if items.is_empty() {
                    return Ok(items);
                }
            }
            let object = without(stored.object, &items);
            if self.context.streams.replace(object, revision).await?.is_some() {
                return Ok(items);
            }
        }
        Err(imagestream_apiserver::errors::internal_error(
            "others keep changing it; it is pruned the next time",
        )
        .into())
    }
}

/// A stored stream without some items of its history, and without the tags that have none left.
fn without(mut stream: Value, items: &[Item]) -> Value {
    let Some(tags) = stream.pointer_mut("/status/tags").and_then(Value::as_array_mut) else {
        return stream;
    };
    tags.retain_mut(|history| {
        let tag = history
            .get("tag")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let pruned: HashSet<usize> = items
            .iter()
            .filter(|item| item.tag == tag)
            .map(|item| item.revision)
            .collect();
        if pruned.is_empty() {
            return true;
        }
        let Some(items) = history.get_mut("items").and_then(Value::as_array_mut) else {
            return true;
        };
        let mut position = 0;
        items.retain(|_| {
            position += 1;
            !pruned.contains(&(position - 1))
        });
        !items.is_empty()
    });
    if tags.is_empty()
        && let Some(status) = stream.get_mut("status").and_then(Value::as_object_mut)
    {
        status.remove("tags");
    }
    stream
}

/// The deletion of images.
struct Deletion<'a> {
    context: &'a Context,
    images: &'a Images,
    options: &'a Options,
    now: Timestamp,
    /// Which were deleted.
    deleted: &'a mut Vec<String>,
    failures: &'a mut Vec<String>,
}

impl Deletion<'_> {
    /// Deletes those of the candidates that no stream points at once they are marked.
    async fn run(&mut self, candidates: Vec<String>) -> Result<(), Box<Status>> {
        let context = self.context;
        let marked = mark(context, &candidates, self.now).await.map_err(failed)?;
        // Every stream that was written before is seen now, and whoever writes one from now on removes marks.
        context.streams.ready().await?;
        let mut referenced = HashSet::new();
        for (stream, _) in read_streams(context).await? {
            plan::add_references(&stream, &[], &mut referenced);
        }
        let still: HashSet<String> = plan::images(self.images, &referenced, self.options, self.now)
            .into_iter()
            .collect();
        for (name, mark) in candidates.into_iter().zip(marked) {
            if still.contains(&name) && self.delete(&name, mark).await? {
                self.deleted.push(name);
                continue;
            }
            // It stays, without its mark.
            let key = guard::key(&name);
            let same_mark = Precondition::ModRevision(key.clone(), mark);
            match context.store.commit(&[same_mark], &[Write::Delete(key)]).await {
                Ok(_) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        tidy(context, Timestamp::now()).await.map_err(failed)
    }

    /// Deletes an image unless somebody began to point at it or changed it since; whether it did. One that has
    /// finalizers is told that it is to go.
    async fn delete(&mut self, name: &str, mark: u64) -> Result<bool, Box<Status>> {
        let of_image = self.context.images.key("", name);
        let (revision, is_held) = self
            .images
            .get(name)
            .map_or((0, false), |image| (image.revision, image.is_held));
        let conditions = [
            Precondition::ModRevision(guard::key(name), mark),
            Precondition::ModRevision(of_image.clone(), revision),
        ];
        let writes = if is_held {
            let Some(mut stored) = self.context.images.get("", name).await? else {
                return Ok(false);
            };
            metadata::mark_deleted(&mut stored.object, self.now);
            // It is there, and its mark has done its work.
            vec![
                self.context.images.put(&stored.object)?,
                Write::Delete(guard::key(name)),
            ]
        } else {
            let remembered = Mark::Deleted(Timestamp::now()).write(name).map_err(failed)?;
            vec![Write::Delete(of_image), remembered]
        };
        match self.context.store.commit(&conditions, &writes).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => {
                self.failures.push(format!("image {name}: {error}"));
                Ok(false)
            }
        }
    }
}

/// Marks images; the revisions of the marks.
async fn mark(context: &Context, images: &[String], now: Timestamp) -> Result<Vec<u64>, StoreError> {
    let mut revisions = Vec::with_capacity(images.len());
    let size = BATCH
        .min(context.store.limits().operations.saturating_sub(1))
        .max(1);
    for batch in images.chunks(size) {
        let mut writes = vec![Write::Put(STATE.into(), now.to_string().into())];
        for image in batch {
            writes.push(Mark::Marked(now).write(image)?);
        }
        let revision = context.store.commit(&[], &writes).await?;
        revisions.extend(batch.iter().map(|_| revision));
    }
    Ok(revisions)
}

/// Removes what a prune leaves behind, once nobody can rely on it any more: at times, for as long as the server lives.
pub(crate) async fn forget(context: Arc<Context>) {
    loop {
        tokio::time::sleep(TIDYING).await;
        if let Err(error) = tidy(&context, Timestamp::now()).await {
            tracing::warn!(%error, "what pruning left behind could not be removed");
        }
    }
}

/// Removes marks that are too old to matter, those of a prune that was cut short among them; the state with the last.
async fn tidy(context: &Context, now: Timestamp) -> Result<(), StoreError> {
    let Some(state) = context.store.get(STATE, None).await? else {
        return Ok(());
    };
    let mut after: Option<String> = None;
    let mut are_left = false;
    loop {
        let page = context
            .store
            .list(guard::marks(), after.as_deref(), PAGE, None)
            .await?;
        for item in &page.items {
            let (Mark::Marked(since) | Mark::Deleted(since)) = Mark::read(item)?;
            let is_old = Duration::try_from(now.duration_since(since)).is_ok_and(|age| age > REMEMBERED);
            if is_old {
                let same = Precondition::ModRevision(item.key.clone(), item.mod_revision);
                let removed = context
                    .store
                    .commit(&[same], &[Write::Delete(item.key.clone())])
                    .await;
                if let Err(error) = removed
                    && !matches!(error, StoreError::Conflict { .. })
                {
                    return Err(error);
                }
            } else {
                are_left = true;
            }
        }
        after = page.items.last().map(|item| item.key.clone());
        if !page.more {
            break;
        }
    }
    if !are_left {
        // Whoever marks writes the state, too: then it stays.
        let same = Precondition::ModRevision(STATE.into(), state.mod_revision);
        match context
            .store
            .commit(&[same], &[Write::Delete(STATE.into())])
            .await
        {
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What is to be known of every image; their bodies are read a page at a time.
pub(super) async fn read_images(context: &Context) -> Result<Images, Box<Status>> {
    let mut images = Images::new();
    let mut options = ListOptions {
        limit: Some(PAGE as u64),
        ..ListOptions::default()
    };
    loop {
        let page = context.images.list("", &options).await?;
        for item in page.items {
            let image: Image = typed(item.into_value()?)?;
            let revision = image.metadata.resource_version.as_deref().unwrap_or_default();
            let managed = image
                .metadata
                .annotations
                .as_ref()
                .and_then(|annotations| annotations.get("openshift.io/image.managed"));
            let facts = ImageFacts {
                created: image.metadata.creation_timestamp.as_ref().map(|time| time.0),
                is_managed: managed.is_some_and(|managed| managed == "true"),
                size: image.docker_image_metadata.size,
                members: image
                    .docker_image_manifests
                    .into_iter()
                    .map(|manifest| manifest.digest)
                    .collect(),
                revision: revision.parse().unwrap_or(0),
                is_held: image
                    .metadata
                    .finalizers
                    .as_ref()
                    .is_some_and(|finalizers| !finalizers.is_empty()),
                is_going: image.metadata.deletion_timestamp.is_some(),
            };
            images.insert(image.metadata.name.unwrap_or_default(), facts);
        }
        if page.continue_token.is_empty() {
            return Ok(images);
        }
        options.continue_token = page.continue_token;
    }
}

/// Every stream, and the revision of its last change.
async fn read_streams(context: &Context) -> Result<Vec<(ImageStream, u64)>, Box<Status>> {
    let (labels, fields) = (LabelSelector::default(), FieldSelector::default());
    let (streams, _) = context.streams.all("", &labels, &fields).await?;
    streams
        .iter()
        .map(|encoded| Ok((typed(encoded.to_value()?)?, encoded.revision())))
        .collect()
}
