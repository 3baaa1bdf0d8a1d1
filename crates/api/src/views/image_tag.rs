//! ImageTag: one tag of a stream, its spec and its history, with the image that it points at.

use super::{pull_reference, without_documents};
use crate::names::join_tag;
use crate::types::{Image, ImageStream, ImageTag};

/// One tag of a stream, if the stream has it in its spec or in its status.
#[must_use]
pub fn image_tag(stream: &ImageStream, tag: &str, image: Option<&Image>) -> Option<ImageTag> {
    let mut spec = stream.spec.tags.get(tag).cloned();
    if let Some(spec) = &mut spec {
        tag.clone_into(&mut spec.name);
    }
    let mut status = stream.status.tags.get(tag).cloned();
    if let Some(status) = &mut status {
        tag.clone_into(&mut status.tag);
    }
    if spec.is_none() && status.is_none() {
        return None;
    }
    let event = status.as_ref().and_then(|status| status.items.first());
    let image = image.zip(event).map(|(image, event)| Image {
        docker_image_reference: pull_reference(stream, tag, event),
        ..without_documents(image)
    });
    let mut metadata = stream.metadata.clone();
    metadata.name = Some(join_tag(metadata.name.as_deref().unwrap_or_default(), tag));
    Some(ImageTag {
        metadata,
        spec,
        status,
        image,
    })
}

/// All tags of a stream by name, without images.
pub fn image_tags(stream: &ImageStream) -> impl Iterator<Item = ImageTag> {
    let names: std::collections::BTreeSet<&String> =
        stream.spec.tags.keys().chain(stream.status.tags.keys()).collect();
    names.into_iter().filter_map(|tag| image_tag(stream, tag, None))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stream() -> ImageStream {
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 5,
                         "labels": {"l": "m"}, "annotations": {"of": "stream"}},
            "spec": {"tags": [{"name": "t", "annotations": {"a": "tag"}}, {"name": "waiting"}]},
            "status": {"tags": [
                {"tag": "pushed", "items": [{"image": "sha256:x", "dockerImageReference": "a/b:c"}]},
                {"tag": "t", "items": [{"image": "sha256:x", "dockerImageReference": "a/b:c"}]}
            ]}
        }))
        .unwrap()
    }

    #[test]
    fn a_tag_has_the_metadata_of_its_stream_and_the_image_without_the_tags_annotations() {
        let image: Image = serde_json::from_value(json!({
            "metadata": {"name": "sha256:x", "annotations": {"b": "image"}}, "dockerImageReference": "stored",
            "dockerImageManifest": "{}", "dockerImageConfig": "{}"
        }))
        .unwrap();
        let stream = stream();
        let object = image_tag(&stream, "t", Some(&image)).unwrap();
        let mut metadata = stream.metadata.clone();
        metadata.name = Some("s:t".into());
        assert_eq!(object.metadata, metadata);
        assert_eq!(object.spec.as_ref(), stream.spec.tags.get("t"));
        assert_eq!(object.status.as_ref(), stream.status.tags.get("t"));
        let shown = object.image.unwrap();
        assert_eq!(shown.metadata, image.metadata);
        assert_eq!(shown.docker_image_reference, "a/b:c");
        assert_eq!(
            (shown.docker_image_manifest, shown.docker_image_config),
            Default::default()
        );
    }

    #[test]
    fn a_tag_exists_in_spec_or_status() {
        let stream = stream();
        assert!(image_tag(&stream, "missing", None).is_none());
        let waiting = image_tag(&stream, "waiting", None).unwrap();
        assert!(waiting.spec.is_some() && waiting.status.is_none() && waiting.image.is_none());
        let pushed = image_tag(&stream, "pushed", None).unwrap();
        assert!(pushed.spec.is_none() && pushed.status.is_some());
        let names: Vec<_> = image_tags(&stream)
            .map(|object| object.metadata.name.unwrap())
            .collect();
        assert_eq!(names, ["s:pushed", "s:t", "s:waiting"]);
    }
}
