//! ImageStreamTag: one tag of a stream with the image that it points at.

use super::{pull_reference, without_documents};
use crate::names::join_tag;
use crate::status;
use crate::types::{Image, ImageStream, ImageStreamTag, ObjectMeta, Status, TagEvent};

/// The newest event of a tag, if it names an image.
///
/// # Errors
/// 404 for the tag.
pub fn usable_event<'a>(stream: &'a ImageStream, tag: &str) -> Result<&'a TagEvent, Box<Status>> {
    newest(stream, tag).ok_or_else(|| {
        let name = stream.metadata.name.as_deref().unwrap_or_default();
        Box::new(status::not_found("imagestreamtags", &format!("{name}:{tag}")))
    })
}

/// One tag of a stream. Without `image` only the name of the image is shown.
#[must_use]
pub fn image_stream_tag(stream: &ImageStream, tag: &str, image: Option<&Image>) -> ImageStreamTag {
    let event = newest(stream, tag);
    let spec = stream.spec.tags.get(tag);
    let annotations = spec
        .and_then(|spec| spec.annotations.clone())
        .filter(|annotations| !annotations.is_empty());
    let metadata = &stream.metadata;
    let mut shown = match (image, event) {
        (Some(image), Some(_)) => without_documents(image),
        _ => Image::default(),
    };
    if let Some(event) = event {
        if image.is_none() {
            shown.metadata.name = Some(event.image.clone());
        }
        shown.docker_image_reference = pull_reference(stream, tag, event);
        if image.is_some()
            && let Some(annotations) = &annotations
        {
            let merged = shown.metadata.annotations.get_or_insert_default();
            merged.extend(annotations.clone());
        }
    }
    let mut spec = spec.cloned();
    if let Some(spec) = &mut spec {
        tag.clone_into(&mut spec.name);
    }
    ImageStreamTag {
        metadata: ObjectMeta {
            name: Some(join_tag(metadata.name.as_deref().unwrap_or_default(), tag)),
            namespace: metadata.namespace.clone(),
            creation_timestamp: match event {
                // An image that nobody knows the age of is not as old as the stream.
                Some(event) => event.created.clone(),
                None => metadata.creation_timestamp.clone(),
            },
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
            labels: metadata.labels.clone(),
            annotations,
            ..ObjectMeta::default()
        },
        tag: spec,
        generation: event.map_or(0, |event| event.generation),
        lookup_policy: stream.spec.lookup_policy,
        conditions: stream
            .status
            .tags
            .get(tag)
            .map(|history| history.conditions.clone())
            .unwrap_or_default(),
        image: shown,
    }
}

/// All tags of a stream that point at an image, by name, with the names of their images.
pub fn image_stream_tags(stream: &ImageStream) -> impl Iterator<Item = ImageStreamTag> {
    let tags = stream.status.tags.keys();
    tags.filter(|tag| newest(stream, tag).is_some())
        .map(|tag| image_stream_tag(stream, tag, None))
}

fn newest<'a>(stream: &'a ImageStream, tag: &str) -> Option<&'a TagEvent> {
    let event = stream.status.tags.get(tag)?.items.first()?;
    (!event.image.is_empty()).then_some(event)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stream() -> ImageStream {
        let event = |image: &str| json!({"created": "2024-01-02T03:04:05Z", "image": image, "dockerImageReference": "a/b:c", "generation": 4});
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 5,
                         "labels": {"l": "m"}, "annotations": {"of": "stream"},
                         "creationTimestamp": "2024-01-01T00:00:00Z"},
            "spec": {"lookupPolicy": {"local": true}, "tags": [
                {"name": "t", "annotations": {"a": "tag"}}, {"name": "local", "referencePolicy": {"type": "Local"}},
                {"name": "waiting"}
            ]},
            "status": {"dockerImageRepository": "r:5000/n/s", "tags": [
                {"tag": "t", "items": [event("sha256:x")], "conditions": [{"type": "ImportSuccess"}]},
                {"tag": "local", "items": [event("sha256:x")]},
                {"tag": "pushed", "items": [event("sha256:x")]},
                {"tag": "reference", "items": [event("")]},
                {"tag": "failed", "conditions": [{"type": "ImportSuccess"}]}
            ]}
        }))
        .unwrap()
    }

    fn image() -> Image {
        serde_json::from_value(json!({
            "metadata": {"name": "sha256:x", "uid": "i", "annotations": {"a": "image", "b": "image"}},
            "dockerImageReference": "stored", "dockerImageManifest": "{}", "dockerImageConfig": "{}",
            "dockerImageManifestMediaType": "m"
        }))
        .unwrap()
    }

    fn metadata_of(object: &ImageStreamTag) -> Value {
        serde_json::to_value(&object.metadata).unwrap()
    }

    #[test]
    fn a_tag_is_shown_with_its_stream_its_event_and_its_image() {
        let object = image_stream_tag(&stream(), "t", Some(&image()));
        assert_eq!(
            metadata_of(&object),
            json!({"name": "s:t", "namespace": "n", "uid": "u", "resourceVersion": "7", "labels": {"l": "m"},
                   "annotations": {"a": "tag"}, "creationTimestamp": "2024-01-02T03:04:05Z"})
        );
        assert_eq!(
            (
                object.generation,
                object.lookup_policy.local,
                object.conditions.len()
            ),
            (4, true, 1)
        );
        assert_eq!(object.tag.unwrap().name, "t");
        assert_eq!(
            serde_json::to_value(&object.image.metadata).unwrap(),
            json!({"name": "sha256:x", "uid": "i", "annotations": {"a": "tag", "b": "image"}})
        );
        assert_eq!(object.image.docker_image_reference, "a/b:c");
        assert_eq!(object.image.docker_image_manifest_media_type, "m");
        assert_eq!(
            (
                object.image.docker_image_manifest,
                object.image.docker_image_config
            ),
            Default::default()
        );
    }

    #[test]
    fn a_local_tag_is_pulled_through_the_streams_repository() {
        let mut stream = stream();
        let reference = |stream: &ImageStream| {
            image_stream_tag(stream, "local", None)
                .image
                .docker_image_reference
        };
        assert_eq!(
            reference(&stream),
            "r:5000/n/s:sha256:x",
            "an id that is no digest is a tag"
        );
        let digest = format!("sha256:{}", "1".repeat(64));
        stream.status.tags.get_mut("local").unwrap().items[0]
            .image
            .clone_from(&digest);
        assert_eq!(reference(&stream), format!("r:5000/n/s@{digest}"));
        for repository in ["", "A//b"] {
            repository.clone_into(&mut stream.status.docker_image_repository);
            assert_eq!(reference(&stream), "a/b:c");
        }
    }

    #[test]
    fn a_tag_with_an_image_of_unknown_age_has_no_age() {
        let mut stream = stream();
        assert!(
            image_stream_tag(&stream, "local", None)
                .metadata
                .creation_timestamp
                .is_some()
        );
        stream.status.tags.get_mut("local").unwrap().items[0].created = None;
        assert_eq!(
            image_stream_tag(&stream, "local", None)
                .metadata
                .creation_timestamp,
            None
        );
    }

    #[test]
    fn a_tag_without_image_is_as_old_as_its_stream() {
        for tag in ["waiting", "reference", "failed", "missing"] {
            let object = image_stream_tag(&stream(), tag, None);
            let created = object.metadata.creation_timestamp.as_ref().unwrap();
            assert_eq!(created.0.to_string(), "2024-01-01T00:00:00Z", "{tag}");
            assert_eq!((object.generation, object.image), (0, Image::default()), "{tag}");
            let missing = usable_event(&stream(), tag).unwrap_err();
            assert_eq!(
                missing.message.unwrap(),
                format!("imagestreamtags.image.openshift.io \"s:{tag}\" not found")
            );
        }
        assert_eq!(usable_event(&stream(), "t").unwrap().image, "sha256:x");
    }

    #[test]
    fn a_list_has_the_tags_with_images_and_names_these() {
        let stream = stream();
        let list: Vec<_> = image_stream_tags(&stream).collect();
        let names: Vec<_> = list
            .iter()
            .map(|object| object.metadata.name.as_deref().unwrap())
            .collect();
        assert_eq!(names, ["s:local", "s:pushed", "s:t"]);
        assert_eq!(
            serde_json::to_value(&list[2].image.metadata).unwrap(),
            json!({"name": "sha256:x"}),
            "annotations of the tag are not merged into an image that was not read"
        );
        assert_eq!(list[1].tag, None);
    }
}
