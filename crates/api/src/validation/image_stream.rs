//! What makes an ImageStream invalid: when it is created, replaced, and when its status is.

use std::collections::{BTreeMap, BTreeSet};

use super::accepted::{Accepted, is_insecure, transport};
use super::metadata::{self, NameRule, Scope};
use super::tag::tag_reference;
use crate::allowed_registries::{AllowedRegistries, Transport};
use crate::field::{FieldError, Path};
use crate::reference::ImageReference;
use crate::types::{ImageStream, TagEvent};

/// The longest `namespace/name`, in bytes: it is the name of a repository.
const REPOSITORY_NAME_MAX: usize = 255;

/// What is wrong with a stream that is created.
#[must_use]
pub fn image_stream(stream: &ImageStream, registries: &AllowedRegistries) -> Vec<FieldError> {
    let accepted = Accepted::new(registries);
    whole(stream, &accepted, |_| false)
}

/// What is wrong with a stream that replaces `stored`: by the rules for every object first, then by those for streams.
///
/// Repositories that `stored` refers to stay accepted. `is_resolved` tells events that the server itself just took
/// from other streams: their registries are not asked.
#[must_use]
pub fn image_stream_update(
    stream: &ImageStream,
    stored: &ImageStream,
    registries: &AllowedRegistries,
    is_resolved: impl Fn(&TagEvent) -> bool,
) -> [Vec<FieldError>; 2] {
    let accepted = Accepted::new(registries).with_stored(stored);
    let path = Path::root("metadata");
    let mut errors = metadata::update(&stream.metadata, &stored.metadata, &path);
    errors.extend(whole(stream, &accepted, is_resolved));
    [
        metadata::before_update(&stream.metadata, &stored.metadata, Scope::Namespaced),
        errors,
    ]
}

/// What is wrong with a stream whose status replaces that of `stored`. The spec is not looked at, nor are references
/// that were there before. `limit` says which limit the stream would exceed.
#[must_use]
pub fn image_stream_status_update(
    stream: &ImageStream,
    stored: &ImageStream,
    registries: &AllowedRegistries,
    limit: Option<&str>,
) -> Vec<FieldError> {
    let mut errors = metadata::before_update(&stream.metadata, &stored.metadata, Scope::Namespaced);
    errors.extend(limit.map(|limit| FieldError::forbidden(&Path::root("imageStream"), limit)));
    errors.extend(metadata::update(
        &stream.metadata,
        &stored.metadata,
        &Path::root("metadata"),
    ));

    let known: BTreeSet<&str> = events(stored)
        .map(|(_, _, event)| event.docker_image_reference.as_str())
        .collect();
    // A reference is as secure as its least secure position.
    let mut transports: BTreeMap<&str, Transport> = BTreeMap::new();
    let new: Vec<_> = events(stream)
        .filter(|(_, _, event)| !known.contains(event.docker_image_reference.as_str()))
        .collect();
    for (tag, _, event) in &new {
        let used = transports
            .entry(event.docker_image_reference.as_str())
            .or_insert(Transport::Secure);
        if event_transport(stream, tag) == Transport::Any {
            *used = Transport::Any;
        }
    }
    let accepted = Accepted::new(registries);
    for (tag, index, event) in new {
        let path = event_path(tag, index);
        let text = event.docker_image_reference.as_str();
        match ImageReference::parse(text) {
            Err(error) => errors.push(FieldError::invalid(&path, text, error.to_string())),
            Ok(reference) => {
                let transport = transports.get(text).copied().unwrap_or(Transport::Secure);
                if let Err(refusal) = accepted.check(&reference, transport) {
                    errors.push(FieldError::forbidden(&path, refusal.to_string()));
                }
            }
        }
    }
    errors
}

fn whole(
    stream: &ImageStream,
    accepted: &Accepted<'_>,
    is_resolved: impl Fn(&TagEvent) -> bool,
) -> Vec<FieldError> {
    let metadata_path = Path::root("metadata");
    let mut errors = metadata::create(
        &stream.metadata,
        Scope::Namespaced,
        NameRule::Stream,
        &metadata_path,
    );
    let name = stream.metadata.name.as_deref().unwrap_or_default();
    let namespace = stream.metadata.namespace.as_deref().unwrap_or_default();
    if namespace.len() + "/".len() + name.len() > REPOSITORY_NAME_MAX {
        let detail = format!("'namespace/name' cannot be longer than {REPOSITORY_NAME_MAX} characters");
        errors.push(FieldError::invalid(&metadata_path.child("name"), name, detail));
    }
    errors.extend(repository(stream, accepted));
    let tags = Path::root("spec").child("tags");
    let insecure = is_insecure(&stream.metadata);
    for (name, tag) in &stream.spec.tags {
        errors.extend(tag_reference(tag, insecure, accepted, &tags.key(name)));
    }
    for (tag, index, event) in events(stream) {
        let path = event_path(tag, index);
        let text = event.docker_image_reference.as_str();
        if text.is_empty() {
            errors.push(FieldError::required(&path, ""));
            continue;
        }
        match ImageReference::parse(text) {
            Err(error) => errors.push(FieldError::invalid(&path, text, error.to_string())),
            Ok(_) if is_resolved(event) => {}
            Ok(reference) => {
                if let Err(refusal) = accepted.check(&reference, event_transport(stream, tag)) {
                    errors.push(FieldError::forbidden(&path, refusal.to_string()));
                }
            }
        }
    }
    errors
}

fn repository(stream: &ImageStream, accepted: &Accepted<'_>) -> Vec<FieldError> {
    let text = stream.spec.docker_image_repository.as_str();
    if text.is_empty() {
        return Vec::new();
    }
    let path = Path::root("spec").child("dockerImageRepository");
    let reference = match ImageReference::parse(text) {
        Ok(reference) => reference,
        Err(error) => return vec![FieldError::invalid(&path, text, error.to_string())],
    };
    let mut errors = Vec::new();
    if !reference.tag.is_empty() {
        let detail = "the repository name may not contain a tag";
        errors.push(FieldError::invalid(&path, text, detail));
    }
    if !reference.id.is_empty() {
        let detail = "the repository name may not contain an ID";
        errors.push(FieldError::invalid(&path, text, detail));
    }
    if errors.is_empty()
        && let Err(refusal) = accepted.check(&reference, transport(is_insecure(&stream.metadata)))
    {
        errors.push(FieldError::forbidden(&path, refusal.to_string()));
    }
    errors
}

fn events(stream: &ImageStream) -> impl Iterator<Item = (&str, usize, &TagEvent)> {
    stream.status.tags.iter().flat_map(|(tag, history)| {
        let items = history.items.iter().enumerate();
        items.map(move |(index, event)| (tag.as_str(), index, event))
    })
}

fn event_path(tag: &str, index: usize) -> Path {
    let history = Path::root("status").child("tags").key(tag);
    history.child("items").index(index).child("dockerImageReference")
}

fn event_transport(stream: &ImageStream, tag: &str) -> Transport {
    let insecure_tag = stream
        .spec
        .tags
        .get(tag)
        .is_some_and(|tag| tag.import_policy.insecure);
    transport(insecure_tag || is_insecure(&stream.metadata))
}

#[cfg(test)]
mod tests;
