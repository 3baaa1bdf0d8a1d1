//! From spec to status: what a tag that refers to another tag, to an image of a history, or only points somewhere
//! stands for at once. Tags that follow a registry wait for an import.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{From, Source, Sources, StreamKey, changed, name_path};
use crate::digest::Digest;
use crate::field::FieldError;
use crate::history::add_event;
use crate::names::LATEST;
use crate::reference::ImageReference;
use crate::status;
use crate::types::{ImageStream, ObjectReference, TagEvent, TagReference, Time};
use crate::validation::tag::{DOCKER_IMAGE, IMAGE_STREAM_TAG};

/// The other streams that have to be read to resolve the tags of a stream that replaces `stored`.
#[must_use]
pub fn sources(stream: &ImageStream, stored: Option<&ImageStream>) -> BTreeSet<StreamKey> {
    let home = StreamKey::of(stream);
    changed(stream, stored)
        .filter(|(_, _, from)| !is_external(from))
        .filter_map(|(_, _, from)| From::parse(&home, from))
        .map(|from| from.stream)
        .filter(|source| *source != home)
        .collect()
}

/// Adds the events of all tags that are new or point elsewhere than in `stored`. Generations have been set before.
///
/// `integrated` is the host of the integrated registry: an image there that belongs to the source stream is referred
/// to through this stream from now on. Returns what could not be resolved, by tag.
pub fn resolve(
    stream: &mut ImageStream,
    stored: Option<&ImageStream>,
    sources: &Sources,
    integrated: Option<&str>,
    now: &Time,
) -> Vec<FieldError> {
    let home = StreamKey::of(stream);
    let tags: Vec<(String, TagReference, ObjectReference)> = changed(stream, stored)
        .map(|(name, tag, from)| (name.to_owned(), tag.clone(), from.clone()))
        .collect();
    // What other tags of this stream may refer to comes first.
    let is_own = |from: &ObjectReference| {
        !is_external(from) && From::parse(&home, from).is_some_and(|from| from.stream == home)
    };
    let (own, others): (Vec<_>, Vec<_>) = tags.into_iter().partition(|(_, _, from)| is_own(from));
    let resolver = Resolver {
        home,
        sources,
        integrated,
        now,
    };
    let mut errors = BTreeMap::new();
    for (name, tag, from) in others.into_iter().chain(own) {
        if let Err(error) = resolver.resolve(stream, &name, &tag, &from) {
            errors.insert(name, error);
        }
    }
    errors.into_values().collect()
}

/// Whether a reference is to an image in a registry.
fn is_external(from: &ObjectReference) -> bool {
    from.kind.as_deref() == Some(DOCKER_IMAGE) && from.name.as_ref().is_some_and(|name| !name.is_empty())
}

/// What is needed to resolve the tags of one stream.
struct Resolver<'a> {
    home: StreamKey,
    sources: &'a Sources,
    integrated: Option<&'a str>,
    now: &'a Time,
}

impl Resolver<'_> {
    fn resolve(
        &self,
        stream: &mut ImageStream,
        name: &str,
        tag: &TagReference,
        from: &ObjectReference,
    ) -> Result<(), FieldError> {
        let generation = stream.metadata.generation.unwrap_or(0);
        if is_external(from) {
            if tag.reference {
                let event = TagEvent {
                    created: Some(self.now.clone()),
                    docker_image_reference: from.name.clone().unwrap_or_default(),
                    image: String::new(),
                    generation,
                };
                add(stream, name, event);
            }
            return Ok(());
        }
        let target = From::parse(&self.home, from).ok_or_else(|| From::malformed(name, from))?;
        let full_name = from.name.as_deref().unwrap_or_default();
        let invalid = |detail: String| FieldError::invalid(&name_path(name), full_name, detail);
        let is_own = target.stream == self.home;
        let source = if is_own {
            &*stream
        } else {
            match self.sources.get(&target.stream) {
                Some(Source::Found(source)) => source,
                Some(Source::Unreadable(error)) => {
                    return Err(invalid(format!("unable to retrieve image stream: {error}")));
                }
                // That it is refused is error enough.
                Some(Source::Hidden) => return Ok(()),
                Some(Source::Missing) | None => {
                    return Err(FieldError::not_found(&name_path(name), full_name));
                }
            }
        };
        let is_tag = from.kind.as_deref() == Some(IMAGE_STREAM_TAG);
        let found = if is_tag {
            newest(source, target.item)
        } else {
            let event = image(source, target.item)
                .map_err(|error| invalid(format!("error generating tag event: {error}")))?;
            Some(TagEvent {
                created: Some(self.now.clone()),
                ..event.clone()
            })
        };
        let Some(event) = found else {
            return Ok(());
        };
        let mut event = TagEvent { generation, ..event };
        if is_own && is_tag {
            // As clients know it: the event that is referred to takes the new generation too.
            let source = stream.status.tags.get_mut(tag_name(target.item));
            if let Some(newest) = source.and_then(|history| history.items.first_mut()) {
                newest.generation = generation;
            }
        }
        if !tag.reference
            && let Some(rewritten) = self.through_home(&target.stream, &event.docker_image_reference)
        {
            event.docker_image_reference = rewritten;
        }
        add(stream, name, event);
        Ok(())
    }

    /// An image of the stream `source` in the integrated registry, by the name that it has through this stream.
    fn through_home(&self, source: &StreamKey, reference: &str) -> Option<String> {
        let mut reference = ImageReference::parse(reference).ok()?;
        let is_local = Some(reference.registry.as_str()) == self.integrated
            && reference.namespace == source.namespace
            && reference.name == source.name;
        if !is_local {
            return None;
        }
        reference.namespace.clone_from(&self.home.namespace);
        reference.name.clone_from(&self.home.name);
        Some(reference.exact())
    }
}

fn tag_name(item: &str) -> &str {
    if item.is_empty() { LATEST } else { item }
}

fn newest(source: &ImageStream, tag: &str) -> Option<TagEvent> {
    source.status.tags.get(tag_name(tag))?.items.first().cloned()
}

/// The one image of a stream's whole history that an id stands for.
///
/// # Errors
/// The text, if there is none or several.
fn image<'a>(source: &'a ImageStream, id: &str) -> Result<&'a TagEvent, String> {
    let history = source.status.tags.values().flat_map(|history| &history.items);
    let mut found: BTreeMap<&str, &TagEvent> = BTreeMap::new();
    for event in history.filter(|event| id_matches(&event.image, id)) {
        found.entry(&event.image).or_insert(event);
    }
    let message = |status: crate::types::Status| status.message.unwrap_or_default();
    match Vec::from_iter(found).as_slice() {
        [] => Err(message(status::not_found("imagestreamimage", id))),
        [(_, event)] => Ok(event),
        several => {
            let names: Vec<&str> = several.iter().map(|(name, _)| *name).collect();
            let why = format!(
                "multiple images match the prefix {}: {}",
                crate::field::quoted(id),
                names.join(", ")
            );
            Err(message(status::conflict("imagestreamimage", id, &why)))
        }
    }
}

/// Whether an image's name, or the hex digits of the digest that it is, starts with `id`.
#[must_use]
pub fn id_matches(image: &str, id: &str) -> bool {
    image.starts_with(id) || Digest::parse(image).is_ok_and(|digest| digest.hex().starts_with(id))
}

/// Adds an event to a tag's history.
pub(super) fn add(stream: &mut ImageStream, tag: &str, event: TagEvent) -> bool {
    let history = stream.status.tags.entry(tag.to_owned()).or_default();
    tag.clone_into(&mut history.tag);
    add_event(history, event)
}

#[cfg(test)]
mod tests;
