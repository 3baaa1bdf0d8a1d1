//! What is pruned, and why: the rules of `oc adm prune images` that concern history and Image objects (reference/cli.md,
//! section 8), without any I/O.
//!
//! Two of its accidents are not repeated, because they lose what somebody may need: items that name no image (those of
//! tags that are references only) follow the rules of age and number like others, and a tag that has a failure to
//! tell and no history is left alone.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use imagestream_api::types::{ImageStream, TagEvent};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What may be pruned.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Options {
    /// Do it; otherwise only say what would be done.
    pub(super) confirm: bool,
    /// The newest items of each tag that are always kept.
    pub(super) keep_tag_revisions: usize,
    /// The age below which streams, items and images are kept, in seconds.
    pub(super) keep_younger_than_seconds: u64,
    /// Choose items by the limits of their namespace instead of age and number.
    pub(super) prune_over_size_limit: bool,
    /// Images that were imported, too, and not only those that were pushed.
    pub(super) all: bool,
    /// Only history, of the streams of this namespace; everything if empty.
    pub(super) namespace: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            confirm: false,
            keep_tag_revisions: 3,
            keep_younger_than_seconds: 60 * 60,
            prune_over_size_limit: false,
            all: true,
            namespace: String::new(),
        }
    }
}

impl Options {
    /// Whether something is too young to be pruned. What does not say when it was made is not.
    fn keeps(&self, created: Option<Timestamp>, now: Timestamp) -> bool {
        if self.prune_over_size_limit {
            return false;
        }
        let limit = Duration::from_secs(self.keep_younger_than_seconds);
        created.is_some_and(|created| {
            // What was made later than now is young.
            Duration::try_from(now.duration_since(created)).map_or(true, |age| age < limit)
        })
    }
}

/// What is known of an Image.
#[derive(Debug, Clone, Default)]
pub(super) struct ImageFacts {
    pub(super) created: Option<Timestamp>,
    /// It was pushed, not imported.
    pub(super) is_managed: bool,
    /// In bytes.
    pub(super) size: i64,
    /// The images of a manifest list.
    pub(super) members: Vec<String>,
    /// The revision of its last change.
    pub(super) revision: u64,
    /// It has finalizers: after it was deleted it stays until they are gone.
    pub(super) is_held: bool,
    /// It was deleted, and is still held.
    pub(super) is_going: bool,
}

/// Images by name.
pub(super) type Images = HashMap<String, ImageFacts>;

/// What other streams follow in a stream: it is kept, however old.
#[derive(Debug, Default)]
pub(super) struct InUse {
    /// Tags that are followed, as `namespace/stream:tag`.
    tags: HashSet<String>,
    /// Images that are named, as `namespace/stream@digest`.
    images: HashSet<String>,
}

impl InUse {
    /// Takes in what a stream follows.
    pub(super) fn add(&mut self, stream: &ImageStream) {
        let own = text(stream.metadata.namespace.as_ref());
        let name = text(stream.metadata.name.as_ref());
        for tag in stream.spec.tags.values() {
            let Some(from) = &tag.from else {
                continue;
            };
            let namespace = text(from.namespace.as_ref());
            let namespace = if namespace.is_empty() { own } else { namespace };
            let source = text(from.name.as_ref());
            // A name without a stream is a tag of the same one.
            let target = if source.contains(['@', ':']) {
                format!("{namespace}/{source}")
            } else {
                format!("{namespace}/{name}:{source}")
            };
            match text(from.kind.as_ref()) {
                "ImageStreamTag" => self.tags.insert(target),
                "ImageStreamImage" => self.images.insert(target),
                _ => false,
            };
        }
    }

    fn has_tag(&self, stream: &ImageStream, tag: &str) -> bool {
        self.tags.contains(&format!("{}:{tag}", path(stream)))
    }

    fn has_image(&self, stream: &ImageStream, image: &str) -> bool {
        self.images.contains(&format!("{}@{image}", path(stream)))
    }
}

/// Why something is pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Why {
    /// There is no such Image.
    ImageMissing,
    /// Newer items of the tag are kept.
    Superseded,
    /// It exceeds the limits of its namespace.
    OverSizeLimit,
    /// No stream points at it.
    Unreferenced,
}

/// An item of a tag's history that is pruned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item {
    pub(super) tag: String,
    /// Its position; the newest is 0.
    pub(super) revision: usize,
    pub(super) image: String,
    pub(super) docker_image_reference: String,
    pub(super) created: Option<Timestamp>,
    pub(super) why: Why,
}

/// The items of a stream that are pruned; `exceeds` tells of a size whether the limits of the namespace forbid it.
pub(super) fn items(
    stream: &ImageStream,
    images: &Images,
    in_use: &InUse,
    exceeds: impl Fn(i64) -> bool,
    options: &Options,
    now: Timestamp,
) -> Vec<Item> {
    let created = stream.metadata.creation_timestamp.as_ref().map(|time| time.0);
    if options.keeps(created, now) {
        return Vec::new();
    }
    let mut pruned = Vec::new();
    for (tag, history) in &stream.status.tags {
        for (revision, item) in history.items.iter().enumerate() {
            let why = why(
                stream, tag, revision, item, images, in_use, &exceeds, options, now,
            );
            if let Some(why) = why {
                pruned.push(Item {
                    tag: tag.clone(),
                    revision,
                    image: item.image.clone(),
                    docker_image_reference: item.docker_image_reference.clone(),
                    created: item.created.as_ref().map(|time| time.0),
                    why,
                });
            }
        }
    }
    pruned
}

/// Why an item is pruned, if it is. The first rule that fits decides.
#[allow(clippy::too_many_arguments, reason = "the rules look at all of it")]
fn why(
    stream: &ImageStream,
    tag: &str,
    revision: usize,
    item: &TagEvent,
    images: &Images,
    in_use: &InUse,
    exceeds: &impl Fn(i64) -> bool,
    options: &Options,
    now: Timestamp,
) -> Option<Why> {
    let created = item.created.as_ref().map(|time| time.0);
    if options.keeps(created, now) || (revision == 0 && in_use.has_tag(stream, tag)) {
        return None;
    }
    let image = images.get(&item.image);
    if image.is_none() && !item.image.is_empty() {
        return Some(Why::ImageMissing);
    }
    let why = if options.prune_over_size_limit {
        if !image.is_some_and(|image| exceeds(image.size)) {
            return None;
        }
        Why::OverSizeLimit
    } else if revision < options.keep_tag_revisions {
        return None;
    } else {
        Why::Superseded
    };
    (!in_use.has_image(stream, &item.image)).then_some(why)
}

/// The names of the images that are pruned, sorted, if the history of all streams names `referenced`.
pub(super) fn images(
    images: &Images,
    referenced: &HashSet<String>,
    options: &Options,
    now: Timestamp,
) -> Vec<String> {
    if !options.namespace.is_empty() {
        return Vec::new();
    }
    let mut kept: HashSet<&str> = HashSet::new();
    for name in referenced {
        kept.insert(name);
        if let Some(image) = images.get(name) {
            kept.extend(image.members.iter().map(String::as_str));
        }
    }
    // What is kept for another reason keeps its members, too, and so does what stays for a while although it goes.
    for (name, image) in images {
        let stays = options.keeps(image.created, now) || !(options.all || image.is_managed) || image.is_going;
        if stays {
            kept.insert(name);
        }
        if stays || image.is_held {
            kept.extend(image.members.iter().map(String::as_str));
        }
    }
    let mut pruned: Vec<String> = images
        .keys()
        .filter(|name| !kept.contains(name.as_str()))
        .cloned()
        .collect();
    pruned.sort_unstable();
    pruned
}

/// Takes what the history of a stream names, without the items that are pruned.
pub(super) fn add_references(stream: &ImageStream, pruned: &[Item], referenced: &mut HashSet<String>) {
    for (tag, history) in &stream.status.tags {
        for (revision, item) in history.items.iter().enumerate() {
            let is_pruned = pruned
                .iter()
                .any(|pruned| pruned.revision == revision && pruned.tag == *tag);
            if !is_pruned && !item.image.is_empty() {
                referenced.insert(item.image.clone());
            }
        }
    }
    for tag in stream.spec.tags.values() {
        // A tag that is to be an image which is not in the history yet.
        if let Some(from) = &tag.from
            && text(from.kind.as_ref()) == "ImageStreamImage"
            && let Some((_, image)) = text(from.name.as_ref()).split_once('@')
        {
            referenced.insert(image.to_owned());
        }
    }
}

/// `namespace/name`
pub(super) fn path(stream: &ImageStream) -> String {
    let metadata = &stream.metadata;
    format!(
        "{}/{}",
        text(metadata.namespace.as_ref()),
        text(metadata.name.as_ref())
    )
}

fn text(text: Option<&String>) -> &str {
    text.map_or("", String::as_str)
}

#[cfg(test)]
mod tests;
