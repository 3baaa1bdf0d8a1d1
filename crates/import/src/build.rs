//! An Image from a manifest and what belongs to it. Pure.

use std::collections::HashSet;

use bytes::Bytes;
use imagestream_api::types::{
    DockerImage, Image, ImageLayer, ImageManifest as Member, MetadataError, ObjectMeta, Time,
};
use imagestream_registry::FetchedManifest;
use imagestream_registry::distribution::{self, ImageManifest, Index, Schema1};
use serde::Deserialize;

/// Says that `dockerImageLayers` starts with the base layer.
pub(crate) const LAYER_ORDER: (&str, &str) = ("image.openshift.io/dockerLayersOrder", "ascending");
/// Media type of every layer of a schema 1 manifest.
pub(crate) const SCHEMA1_LAYER: &str = "application/vnd.docker.container.image.rootfs.diff+x-gtar";

/// Why no Image can be made of a manifest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("image has no v1Compatibility history and cannot be used")]
    NoHistory,
    #[error(
        "the image {name} ({reference}) has mismatched history and fslayer cardinality ({history} != {layers})"
    )]
    Cardinality {
        name: String,
        reference: String,
        history: usize,
        layers: usize,
    },
    #[error("unrecognized container image manifest schema {version} for \"{name}\" ({reference})")]
    Schema {
        version: i64,
        name: String,
        reference: String,
    },
    #[error("dockerImageConfig must not be empty for manifest type \"{0}\"")]
    NoConfig(String),
    #[error(transparent)]
    Config(#[from] MetadataError),
}

/// The Image of a Docker schema 2 or OCI manifest.
pub(crate) fn image(
    manifest: &FetchedManifest,
    parsed: &ImageManifest,
    config: &Bytes,
    reference: String,
) -> Result<Image, BuildError> {
    if config.is_empty() {
        return Err(BuildError::NoConfig(parsed.media_type.clone()));
    }
    let mut image = single(manifest, reference);
    image.docker_image_manifest_media_type = parsed.media_type.clone();
    image.docker_image_config = String::from_utf8_lossy(config).into_owned();
    image.docker_image_layers = parsed
        .layers
        .iter()
        .map(|layer| ImageLayer {
            name: layer.digest.to_string(),
            size: layer.size,
            media_type: layer.media_type.clone(),
        })
        .collect();
    let mut metadata = DockerImage::from_config(config)?;
    metadata.id = parsed.config.digest.to_string();
    image.docker_image_metadata = metadata;
    let layers = layer_bytes(&image, Some(parsed.config.digest.as_str()));
    image.docker_image_metadata.size = layers.saturating_add(i64::try_from(config.len()).unwrap_or(i64::MAX));
    Ok(image)
}

/// The Image of a schema 1 manifest. Its size is 0 if no layer says one.
pub(crate) fn schema1(
    manifest: &FetchedManifest,
    parsed: &Schema1,
    reference: String,
) -> Result<Image, BuildError> {
    let (name, layers, history) = (manifest.digest.to_string(), &parsed.fs_layers, &parsed.history);
    if parsed.schema_version != 1 {
        return Err(BuildError::Schema {
            version: parsed.schema_version,
            name,
            reference,
        });
    }
    let newest = history.first().ok_or(BuildError::NoHistory)?;
    if history.len() != layers.len() {
        return Err(BuildError::Cardinality {
            name,
            reference,
            history: history.len(),
            layers: layers.len(),
        });
    }
    let mut image = single(manifest, reference);
    distribution::DOCKER_SCHEMA1.clone_into(&mut image.docker_image_manifest_media_type);
    // Schema 1 starts with the newest layer.
    image.docker_image_layers = layers
        .iter()
        .zip(history)
        .rev()
        .map(|(layer, history)| ImageLayer {
            name: layer.clone(),
            size: layer_size_in(history),
            media_type: SCHEMA1_LAYER.to_owned(),
        })
        .collect();
    image.docker_image_metadata = DockerImage::from_config(newest.as_bytes())?;
    image.docker_image_metadata.size = layer_bytes(&image, None);
    Ok(image)
}

/// The Image of a manifest list or image index as a whole.
pub(crate) fn index(manifest: &FetchedManifest, parsed: &Index, reference: String, now: &Time) -> Image {
    let name = manifest.digest.to_string();
    let mut image = Image {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            ..ObjectMeta::default()
        },
        docker_image_reference: reference,
        docker_image_manifest_media_type: parsed.media_type.clone(),
        ..Image::default()
    };
    image.docker_image_metadata.id = name;
    image.docker_image_metadata.created = Some(now.clone());
    image.docker_image_manifests = members(parsed);
    image
}

/// What an Image says of the members of a list.
pub(crate) fn members(list: &Index) -> Vec<Member> {
    let members = list.manifests.iter();
    members
        .map(|member| {
            let platform = member.platform.clone().unwrap_or_default();
            Member {
                digest: member.digest.to_string(),
                media_type: member.media_type.clone(),
                manifest_size: member.size,
                architecture: platform.architecture,
                os: platform.os,
                variant: platform.variant,
            }
        })
        .collect()
}

fn single(manifest: &FetchedManifest, reference: String) -> Image {
    let (key, value) = LAYER_ORDER;
    Image {
        metadata: ObjectMeta {
            name: Some(manifest.digest.to_string()),
            annotations: Some([(key.to_owned(), value.to_owned())].into()),
            ..ObjectMeta::default()
        },
        docker_image_reference: reference,
        docker_image_manifest: String::from_utf8_lossy(&manifest.body).into_owned(),
        ..Image::default()
    }
}

/// Bytes of the distinct layers that are not also the configuration.
pub(crate) fn layer_bytes(image: &Image, config: Option<&str>) -> i64 {
    let mut seen: HashSet<&str> = config.into_iter().collect();
    image
        .docker_image_layers
        .iter()
        .filter(|layer| seen.insert(&layer.name))
        .fold(0, |sum: i64, layer| sum.saturating_add(layer.size))
}

/// Sets the layers' sizes of a schema 1 image to what the registry says they are, and the total accordingly.
pub(crate) fn set_layer_sizes(image: &mut Image, size_of: impl Fn(&str) -> Option<i64>) {
    for layer in &mut image.docker_image_layers {
        if let Some(size) = size_of(&layer.name) {
            layer.size = size;
        }
    }
    image.docker_image_metadata.size = layer_bytes(image, None);
}

/// `Size` in a `v1Compatibility` document; 0 if there is none that can be read.
pub(crate) fn layer_size_in(v1_compatibility: &str) -> i64 {
    #[derive(Deserialize)]
    struct Sized {
        #[serde(rename = "Size", alias = "size", default)]
        size: i64,
    }
    serde_json::from_str::<Sized>(v1_compatibility).map_or(0, |sized| sized.size)
}
