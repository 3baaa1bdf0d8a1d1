//! ImageStreamImage: one image of a stream, found by its name or the start of it.

use super::without_documents;
use crate::names::join_image;
use crate::status;
use crate::stream::resolve::id_matches;
use crate::types::{Image, ImageStream, ImageStreamImage, ImageStreamLayers, ObjectMeta, Status};

/// The name of the image that `id` stands for, among all images in a stream's `layers`.
///
/// Of several the one that is called exactly so, or else the first by name.
///
/// # Errors
/// 404 if there is none.
pub fn find_image<'a>(layers: &'a ImageStreamLayers, id: &str) -> Result<&'a str, Box<Status>> {
    let exact = layers.images.get_key_value(id).map(|(name, _)| name);
    let found = exact.or_else(|| layers.images.keys().find(|name| id_matches(name, id)));
    found.map(String::as_str).ok_or_else(|| {
        let stream = layers.metadata.name.as_deref().unwrap_or_default();
        Box::new(status::not_found("imagestreamimage", &join_image(stream, id)))
    })
}

/// An image of a stream, under the `id` that was asked for.
#[must_use]
pub fn image_stream_image(stream: &ImageStream, id: &str, image: &Image) -> ImageStreamImage {
    let metadata = &stream.metadata;
    ImageStreamImage {
        metadata: ObjectMeta {
            name: Some(join_image(metadata.name.as_deref().unwrap_or_default(), id)),
            namespace: metadata.namespace.clone(),
            creation_timestamp: image.metadata.creation_timestamp.clone(),
            annotations: metadata.annotations.clone(),
            ..ObjectMeta::default()
        },
        image: without_documents(image),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn layers(images: &[&str]) -> ImageStreamLayers {
        let mut layers = ImageStreamLayers::default();
        layers.metadata.name = Some("repo".into());
        for name in images {
            layers
                .images
                .insert((*name).into(), crate::types::ImageBlobReferences::default());
        }
        layers
    }

    #[test]
    fn an_image_is_found_by_its_name_or_the_start_of_it() {
        let digest = format!("sha256:ff46b782{}", "0".repeat(56));
        for (images, id, expected) in [
            (vec!["anotherid", "anotherid2", "id"], "id", "id"),
            (vec!["anotherid", "anotherid2", "id"], "anotherid2", "anotherid2"),
            (vec!["id", "id1", "id0"], "id", "id"),
            (vec!["id1", "id0"], "id", "id0"),
            (vec!["other", digest.as_str()], "sha256:ff46b782", &digest),
            (vec!["other", digest.as_str()], "ff46b782", &digest),
        ] {
            assert_eq!(find_image(&layers(&images), id).unwrap(), expected, "{id}");
        }
        assert_eq!(
            find_image(&layers(&["a"]), "b").unwrap_err().message.unwrap(),
            "imagestreamimage.image.openshift.io \"repo@b\" not found"
        );
    }

    #[test]
    fn an_image_is_shown_with_the_annotations_of_its_stream() {
        let stream: ImageStream = serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "n", "uid": "u", "labels": {"l": "m"}, "annotations": {"of": "stream"},
                         "creationTimestamp": "2024-01-01T00:00:00Z"}
        }))
        .unwrap();
        let image: Image = serde_json::from_value(json!({
            "metadata": {"name": "sha256:x", "creationTimestamp": "2024-01-02T03:04:05Z"},
            "dockerImageReference": "a/b:c", "dockerImageManifest": "{}"
        }))
        .unwrap();
        let object = image_stream_image(&stream, "sha", &image);
        assert_eq!(
            serde_json::to_value(&object.metadata).unwrap(),
            json!({"name": "s@sha", "namespace": "n", "annotations": {"of": "stream"},
                   "creationTimestamp": "2024-01-02T03:04:05Z"})
        );
        assert_eq!(object.image.docker_image_reference, "a/b:c");
        assert_eq!(object.image.docker_image_manifest, "");
    }
}
