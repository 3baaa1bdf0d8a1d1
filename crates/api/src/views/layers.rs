//! ImageStreamLayers: which blobs the images of a stream's whole history are made of.

use crate::types::{Image, ImageBlobReferences, ImageLayer, ImageLayerData, ImageStream, ImageStreamLayers};

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// What an image is made of: little enough to keep for every image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageBlobs {
    /// Media type of the manifest.
    pub media_type: String,
    /// The layers, base first.
    pub layers: Vec<ImageLayer>,
    /// Digest of the configuration, for manifests that have one.
    pub config: Option<String>,
    /// Names of the members of a list.
    pub manifests: Vec<String>,
}

impl From<&Image> for ImageBlobs {
    fn from(image: &Image) -> Self {
        let media_type = image.docker_image_manifest_media_type.clone();
        let config = config_type(&media_type).map(|_| image.docker_image_metadata.id.clone());
        let members = image.docker_image_manifests.iter();
        Self {
            config,
            media_type,
            layers: image.docker_image_layers.clone(),
            manifests: members.map(|member| member.digest.clone()).collect(),
        }
    }
}

/// The blobs of a stream's images and of the members of lists among them. `find` knows the images.
#[must_use]
pub fn image_stream_layers<'a>(
    stream: &ImageStream,
    find: impl Fn(&str) -> Option<&'a ImageBlobs>,
) -> ImageStreamLayers {
    let events = stream.status.tags.values().flat_map(|history| &history.items);
    // Names that still have to be looked at; the images found so far are not looked at again, so that a list that
    // names itself does no harm.
    let mut pending: Vec<&str> = events
        .map(|event| event.image.as_str())
        .filter(|image| !image.is_empty())
        .collect();
    pending.reverse();
    let mut view = ImageStreamLayers {
        metadata: stream.metadata.clone(),
        ..ImageStreamLayers::default()
    };
    while let Some(name) = pending.pop() {
        if view.images.contains_key(name) {
            continue;
        }
        let Some(image) = find(name) else {
            let missing = ImageBlobReferences {
                image_missing: true,
                ..ImageBlobReferences::default()
            };
            view.images.insert(name.to_owned(), missing);
            continue;
        };
        add(&mut view, name, image);
        pending.extend(image.manifests.iter().map(String::as_str));
    }
    view
}

fn add(view: &mut ImageStreamLayers, name: &str, image: &ImageBlobs) {
    let layers: Vec<String> = image.layers.iter().map(|layer| layer.name.clone()).collect();
    let references = ImageBlobReferences {
        image_missing: false,
        layers: Some(layers).filter(|layers| !layers.is_empty()),
        config: image.config.clone(),
        manifests: image.manifests.clone(),
    };
    view.images.insert(name.to_owned(), references);
    for layer in &image.layers {
        let blob = || ImageLayerData {
            size: Some(layer.size),
            media_type: layer.media_type.clone(),
        };
        view.blobs.entry(layer.name.clone()).or_insert_with(blob);
    }
    let unsized_blob = |media_type: &str| ImageLayerData {
        size: None,
        media_type: media_type.to_owned(),
    };
    if let Some((config, media_type)) = image.config.as_ref().zip(config_type(&image.media_type)) {
        let blob = || unsized_blob(media_type);
        view.blobs.entry(config.clone()).or_insert_with(blob);
    }
    let media_type = match image.media_type.as_str() {
        "" => DOCKER_MANIFEST,
        media_type => media_type,
    };
    view.blobs.insert(name.to_owned(), unsized_blob(media_type));
}

/// The media type of the configuration that belongs to a manifest of a media type.
fn config_type(manifest_type: &str) -> Option<&'static str> {
    match manifest_type {
        DOCKER_MANIFEST => Some(DOCKER_CONFIG),
        OCI_MANIFEST => Some(OCI_CONFIG),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn view(history: &[&str], images: &[Value]) -> Value {
        let images: BTreeMap<String, ImageBlobs> = images
            .iter()
            .map(|image| {
                let image: Image = serde_json::from_value(image.clone()).unwrap();
                (image.metadata.name.clone().unwrap(), ImageBlobs::from(&image))
            })
            .collect();
        let items: Vec<Value> = history.iter().map(|image| json!({"image": image})).collect();
        let stream = serde_json::from_value(json!({
            "metadata": {"name": "s"}, "status": {"tags": [{"tag": "t", "items": items}]}
        }))
        .unwrap();
        serde_json::to_value(image_stream_layers(&stream, |name| images.get(name))).unwrap()
    }

    fn manifest(name: &str, media_type: &str, layers: &[&str]) -> Value {
        let layers: Vec<Value> = layers
            .iter()
            .map(|layer| json!({"name": layer, "size": 10, "mediaType": "layer"}))
            .collect();
        json!({"metadata": {"name": name}, "dockerImageManifestMediaType": media_type, "dockerImageLayers": layers,
               "dockerImageMetadata": {"Id": format!("config-of-{name}")}})
    }

    #[test]
    fn an_image_is_made_of_layers_a_configuration_and_a_manifest() {
        assert_eq!(
            view(&["M", "", "X"], &[manifest("M", DOCKER_MANIFEST, &["L", "L2"])]),
            json!({
                "metadata": {"name": "s"},
                "blobs": {"L": {"size": 10, "mediaType": "layer"}, "L2": {"size": 10, "mediaType": "layer"},
                          "config-of-M": {"size": null, "mediaType": DOCKER_CONFIG},
                          "M": {"size": null, "mediaType": DOCKER_MANIFEST}},
                "images": {"M": {"imageMissing": false, "layers": ["L", "L2"], "config": "config-of-M"},
                           "X": {"imageMissing": true, "layers": null, "config": null}}
            })
        );
        assert_eq!(
            view(&["O"], &[manifest("O", OCI_MANIFEST, &[])])["blobs"]["config-of-O"]["mediaType"],
            OCI_CONFIG
        );
        let old = view(
            &["1"],
            &[manifest(
                "1",
                "application/vnd.docker.distribution.manifest.v1+json",
                &["L"],
            )],
        );
        assert_eq!(old["images"]["1"]["config"], Value::Null);
        assert_eq!(
            view(&["N"], &[manifest("N", "", &[])])["blobs"]["N"]["mediaType"],
            DOCKER_MANIFEST
        );
    }

    #[test]
    fn a_list_brings_its_members_and_none_twice() {
        let list = json!({"metadata": {"name": "I"}, "dockerImageManifestMediaType": "index",
                          "dockerImageManifests": [{"digest": "M"}, {"digest": "I"}, {"digest": "gone"}]});
        let view = view(&["I", "I"], &[list, manifest("M", OCI_MANIFEST, &["L"])]);
        assert_eq!(
            view["images"],
            json!({
                "I": {"imageMissing": false, "layers": null, "config": null, "manifests": ["M", "I", "gone"]},
                "M": {"imageMissing": false, "layers": ["L"], "config": "config-of-M"},
                "gone": {"imageMissing": true, "layers": null, "config": null}
            })
        );
        assert_eq!(view["blobs"]["I"], json!({"size": null, "mediaType": "index"}));
    }
}
