//! Asks the [plan](super::plan) what goes of what there is, and removes it: history first, then [images](super::deletion).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use imagestream_api::limits::image_violation;
use imagestream_api::types::{ImageStream, Status};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::LimitRange;
use serde::Serialize;
use serde_json::Value;

use super::deletion::Deletion;
use super::marks;
use super::plan::{self, Images, InUse, Item, Options, Why};
use super::read::{self, KnownImages, Streams};
use crate::context::Context;
use crate::image::limits::of_namespace;
use crate::image::stream_write::typed;

/// How often a stream is planned afresh because others write it.
const ATTEMPTS: usize = 20;
/// Time between two looks for marks of prunes that were cut short.
const TIDYING: Duration = Duration::from_secs(5 * 60);

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
    let images = read::images(context).await?;
    prune_known(context, images, options, now).await
}

/// Prunes, or says what would be pruned, if these images were there a moment ago.
///
/// # Errors
/// As those of [`prune`].
pub(super) async fn prune_known(
    context: &Context,
    mut known: KnownImages,
    options: &Options,
    now: Timestamp,
) -> Result<Report, Box<Status>> {
    let mut report = Report {
        dry_run: !options.confirm,
        ..Report::default()
    };
    let streams = Streams::read(context).await?;
    // Whatever these streams point at is known now, if it is there.
    context.images.ready().await?;
    let mut in_use = InUse::default();
    for stream in streams.followers() {
        in_use.add(&stream?);
    }
    let mut referenced = HashSet::new();
    let mut limits: HashMap<String, Vec<LimitRange>> = HashMap::new();
    for stream in streams.iter() {
        let (stream, revision) = stream?;
        let namespace = stream.metadata.namespace.clone().unwrap_or_default();
        let name = stream.metadata.name.clone().unwrap_or_default();
        if !options.namespace.is_empty() && options.namespace != namespace {
            // Then no images are deleted, and it does not matter what it refers to.
            continue;
        }
        if !limits.contains_key(&namespace) {
            let found = of_namespace(context, &namespace).await?;
            limits.insert(namespace.clone(), found);
        }
        let planning = Planning {
            context,
            images: &known.images,
            in_use: &in_use,
            limits: limits.get(&namespace).map_or(&[][..], Vec::as_slice),
            options,
            now,
        };
        let items = planning.items(&stream);
        let items = if items.is_empty() || !options.confirm {
            plan::add_references(&stream, &items, &mut referenced);
            items
        } else {
            match Box::pin(planning.shorten(stream, revision, items)).await {
                Ok(shortened) => {
                    if let Some(stream) = &shortened.stream {
                        plan::add_references(stream, &shortened.items, &mut referenced);
                    }
                    shortened.items
                }
                Err((stream, status)) => {
                    plan::add_references(&stream, &[], &mut referenced);
                    let why = status.message.unwrap_or_default();
                    report
                        .failures
                        .push(format!("history of image stream {}: {why}", plan::path(&stream)));
                    Vec::new()
                }
            }
        };
        if !items.is_empty() {
            report.streams.push(StreamReport {
                namespace,
                name,
                items,
            });
        }
    }
    let seen = streams.revision;
    drop(streams);
    let mut gone = plan::images(&known.images, &referenced, options, now);
    if options.confirm && !gone.is_empty() {
        let mut deletion = Deletion {
            context,
            known: &mut known,
            referenced,
            streams: seen,
            options,
            now,
            deleted: Vec::new(),
            failures: Vec::new(),
        };
        if let Err(status) = Box::pin(deletion.run(gone)).await {
            let why = status.message.unwrap_or_default();
            deletion.failures.push(format!("images: {why}"));
        }
        report.failures.append(&mut deletion.failures);
        gone = deletion.deleted;
        gone.sort_unstable();
    }
    for name in gone {
        let created = known.images.remove(&name).and_then(|image| image.created);
        report.images.push(ImageReport {
            name,
            created,
            why: Why::Unreferenced,
        });
    }
    report.kept_images = known.images.len();
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

    /// Removes items from the history of a stream; from the one that there is, if others wrote it meanwhile.
    ///
    /// # Errors
    /// Why it stays as it is, with the stream.
    async fn shorten(
        &self,
        mut stream: ImageStream,
        mut revision: u64,
        mut items: Vec<Item>,
    ) -> Result<Shortened, (ImageStream, Box<Status>)> {
        let [namespace, name] =
            [&stream.metadata.namespace, &stream.metadata.name].map(|text| text.clone().unwrap_or_default());
        for _ in 0..ATTEMPTS {
            match self
                .try_shorten(&namespace, &name, &mut stream, &mut revision, &mut items)
                .await
            {
                Ok(Attempt::Done) => {
                    let stream = Some(stream);
                    return Ok(Shortened { stream, items });
                }
                Ok(Attempt::Gone) => return Ok(Shortened::default()),
                Ok(Attempt::Changed) => {}
                Err(status) => return Err((stream, status)),
            }
        }
        let status = imagestream_apiserver::errors::internal_error(
            "others keep changing it; it is pruned the next time",
        );
        Err((stream, status.into()))
    }

    async fn try_shorten(
        &self,
        namespace: &str,
        name: &str,
        stream: &mut ImageStream,
        revision: &mut u64,
        items: &mut Vec<Item>,
    ) -> Result<Attempt, Box<Status>> {
        let Some(stored) = self.context.streams.get(namespace, name).await? else {
            return Ok(Attempt::Gone);
        };
        if stored.revision != *revision {
            // Another one of the same name, perhaps.
            self.context.images.ready().await?;
            *stream = typed(stored.object.clone())?;
            *revision = stored.revision;
            *items = self.items(stream);
            if items.is_empty() {
                return Ok(Attempt::Done);
            }
        }
        let object = without(stored.object, items);
        let written = self.context.streams.replace(object, *revision).await?;
        Ok(if written.is_some() {
            Attempt::Done
        } else {
            Attempt::Changed
        })
    }
}

/// How an attempt to shorten a stream's history went.
enum Attempt {
    Done,
    Gone,
    Changed,
}

/// A stream whose history was shortened.
#[derive(Default)]
struct Shortened {
    /// Before that; none if it is gone.
    stream: Option<ImageStream>,
    /// What was removed.
    items: Vec<Item>,
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

/// Ends the marks of prunes that were cut short, for as long as the server lives.
pub(crate) async fn tidy(context: Arc<Context>) {
    loop {
        if let Err(error) = marks::expire(&*context.store, Timestamp::now()).await {
            tracing::warn!(%error, "what a prune left behind could not be removed");
        }
        tokio::time::sleep(TIDYING).await;
    }
}
