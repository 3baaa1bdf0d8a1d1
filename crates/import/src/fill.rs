//! What an Image owes to its manifest: layers, metadata, size and members are filled in when a client stores an image,
//! and what a client may change of one. Pure.

use imagestream_api::digest::Digest;
use imagestream_api::types::{DockerImage, Image, ImageLayer, MetadataError, Time};
use imagestream_registry::distribution::{
    self, DOCKER_LIST, DOCKER_MANIFEST, DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED, Manifest, OCI_INDEX,
    OCI_MANIFEST,
};
use serde::{Deserialize, Deserializer};

use crate::build::{self, LAYER_ORDER, SCHEMA1_LAYER};

#[cfg(test)]
mod tests;

/// The manifest is kept by a registry, not in the object.
const BLOB_STORED: &str = "image.openshift.io/manifestBlobStored";
/// A signature that is managed by something that does not exist any more.
const MANAGED_SIGNATURE: &str = "image.openshift.io/managed-signature";

/// Why an Image can't be filled in.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// The manifest can't be read.
    #[error("{0}")]
    Manifest(#[source] serde_json::Error),
    /// The manifest is of the first format and says nothing of the image.
    #[error("the image {name} ({reference}) has a schema 1 manifest, but it doesn't have history")]
    NoHistory {
        /// The image.
        name: String,
        /// Where it can be pulled from.
        reference: String,
    },
    /// The manifest is of the first format and does not say one thing of each layer.
    #[error(
        "the image {name} ({reference}) has mismatched history and fslayer cardinality ({history} != {layers})"
    )]
    Cardinality {
        /// The image.
        name: String,
        /// Where it can be pulled from.
        reference: String,
        /// How many things it says.
        history: usize,
        /// How many layers there are.
        layers: usize,
    },
    /// The manifest is of no format that is known.
    #[error("unrecognized container image manifest schema {version} for \"{name}\" ({reference})")]
    Schema {
        /// The format that it says it has.
        version: i64,
        /// The image.
        name: String,
        /// Where it can be pulled from.
        reference: String,
    },
    /// There is no configuration.
    #[error("dockerImageConfig must not be empty for manifest type \"{0}\"")]
    NoConfig(String),
    /// The configuration can't be read.
    #[error("failed to parse dockerImageConfig: {0}")]
    Config(#[source] MetadataError),
}

/// Prepares an image that is created. What can't be filled in is left as it is.
pub fn prepare_create(image: &mut Image, now: &Time) {
    let _ = fill(image, now);
    let manifest = image.docker_image_manifest.as_bytes();
    if let Ok(Manifest::Index(list)) = distribution::parse(&image.docker_image_manifest_media_type, manifest)
    {
        image.docker_image_manifests = build::members(&list);
    }
    drop_what_is_elsewhere(image);
}

/// Prepares an image that replaces `stored`: what belongs to the content stays, and manifest and configuration only
/// change to what the image's name stands for. What is refused stays silently as it was.
pub fn prepare_update(image: &mut Image, stored: &Image, now: &Time) {
    image.docker_image_metadata = stored.docker_image_metadata.clone();
    image
        .docker_image_metadata_version
        .clone_from(&stored.docker_image_metadata_version);
    image.docker_image_layers.clone_from(&stored.docker_image_layers);
    if !stored.docker_image_signatures.is_empty() {
        image
            .docker_image_signatures
            .clone_from(&stored.docker_image_signatures);
    }
    let manifest = &image.docker_image_manifest;
    let is_new = *manifest != stored.docker_image_manifest && !manifest.is_empty();
    if is_new && !is_manifest_of(stored, manifest.as_bytes()) {
        image
            .docker_image_manifest
            .clone_from(&stored.docker_image_manifest);
    }
    let config = &image.docker_image_config;
    let is_new = *config != stored.docker_image_config && !config.is_empty();
    if is_new && !is_config_of(image, config.as_bytes()) {
        image.docker_image_config.clone_from(&stored.docker_image_config);
    }
    // The layers are the stored ones, so their order is too.
    let (key, _) = LAYER_ORDER;
    let order = stored.metadata.annotations.as_ref().and_then(|all| all.get(key));
    if let Some(order) = order.filter(|_| !image.docker_image_manifest.is_empty()) {
        let annotations = image.metadata.annotations.get_or_insert_default();
        annotations.insert(key.to_owned(), order.clone());
    }
    let _ = fill(image, now);
    drop_what_is_elsewhere(image);
}

fn drop_what_is_elsewhere(image: &mut Image) {
    let annotations = image.metadata.annotations.as_ref();
    if annotations
        .and_then(|all| all.get(BLOB_STORED))
        .is_some_and(|stored| stored == "true")
    {
        image.docker_image_manifest.clear();
        image.docker_image_config.clear();
    }
    for signature in &mut image.signatures {
        if let Some(annotations) = &mut signature.metadata.annotations {
            annotations.remove(MANAGED_SIGNATURE);
        }
    }
}

/// Fills in layers, their order, metadata and size from the manifest and the configuration, if there is a manifest.
///
/// # Errors
/// [`FillError`]; what was filled in before the error stays.
pub fn fill(image: &mut Image, now: &Time) -> Result<(), FillError> {
    if image.docker_image_manifest.is_empty() {
        return Ok(());
    }
    order_layers(image);
    let is_filled = !image.docker_image_layers.is_empty()
        && image.docker_image_metadata.size > 0
        && !image.docker_image_manifest_media_type.is_empty();
    if is_filled {
        return Ok(());
    }
    let manifest: Document =
        serde_json::from_str(&image.docker_image_manifest).map_err(FillError::Manifest)?;
    if matches!(manifest.media_type.as_str(), DOCKER_LIST | OCI_INDEX) {
        let metadata = &mut image.docker_image_metadata;
        let name = image.metadata.name.clone().unwrap_or_default();
        // When it was first seen does not change each time that somebody looks.
        if metadata.id != name || metadata.created.is_none() {
            metadata.id = name;
            metadata.created = Some(now.clone());
        }
        return Ok(());
    }
    if image.docker_image_layers.is_empty() {
        image.docker_image_layers = layers(image, &manifest)?;
        set_order(image);
    }
    match manifest.schema_version {
        1 => fill_schema1(image, &manifest),
        2 => fill_image(image, &manifest),
        version => Err(schema(image, version)),
    }
}

fn fill_schema1(image: &mut Image, manifest: &Document) -> Result<(), FillError> {
    DOCKER_SCHEMA1.clone_into(&mut image.docker_image_manifest_media_type);
    let Some(newest) = manifest.history.first() else {
        let (name, reference) = called(image);
        return Err(FillError::NoHistory { name, reference });
    };
    let written_as = image.docker_image_metadata.version;
    image.docker_image_metadata =
        DockerImage::from_config(newest.v1_compatibility.as_bytes()).map_err(FillError::Config)?;
    image.docker_image_metadata.version = written_as;
    image.docker_image_metadata.size = build::layer_bytes(image, None);
    Ok(())
}

fn fill_image(image: &mut Image, manifest: &Document) -> Result<(), FillError> {
    let media_type = &mut image.docker_image_manifest_media_type;
    if !manifest.media_type.is_empty() {
        media_type.clone_from(&manifest.media_type);
    } else if media_type.is_empty() {
        DOCKER_MANIFEST.clone_into(media_type);
    }
    if image.docker_image_config.is_empty() {
        return Err(FillError::NoConfig(media_type.clone()));
    }
    let written_as = image.docker_image_metadata.version;
    let config = image.docker_image_config.as_bytes();
    let mut metadata = DockerImage::from_config(config).map_err(FillError::Config)?;
    metadata.version = written_as;
    metadata.id.clone_from(&manifest.config.digest);
    let config = i64::try_from(config.len()).unwrap_or(i64::MAX);
    image.docker_image_metadata = metadata;
    let layers = build::layer_bytes(image, Some(&manifest.config.digest));
    image.docker_image_metadata.size = layers.saturating_add(config);
    Ok(())
}

/// The layers of a manifest, base first.
fn layers(image: &Image, manifest: &Document) -> Result<Vec<ImageLayer>, FillError> {
    match manifest.schema_version {
        // It starts with the newest layer.
        1 if manifest.history.len() == manifest.fs_layers.len() => {
            let layers = manifest.fs_layers.iter().zip(&manifest.history).rev();
            let layer = |(layer, history): (&FsLayer, &History)| ImageLayer {
                name: layer.blob_sum.clone(),
                size: build::layer_size_in(&history.v1_compatibility),
                media_type: SCHEMA1_LAYER.to_owned(),
            };
            Ok(layers.map(layer).collect())
        }
        1 => {
            let (name, reference) = called(image);
            Err(FillError::Cardinality {
                name,
                reference,
                history: manifest.history.len(),
                layers: manifest.fs_layers.len(),
            })
        }
        2 => {
            let layers = manifest.layers.iter();
            let layer = |layer: &Descriptor| ImageLayer {
                name: layer.digest.clone(),
                size: layer.size,
                media_type: layer.media_type.clone(),
            };
            Ok(layers.map(layer).collect())
        }
        version => Err(schema(image, version)),
    }
}

fn schema(image: &Image, version: i64) -> FillError {
    let (name, reference) = called(image);
    FillError::Schema {
        version,
        name,
        reference,
    }
}

fn called(image: &Image) -> (String, String) {
    let name = image.metadata.name.clone().unwrap_or_default();
    (name, image.docker_image_reference.clone())
}

/// Puts the base layer first. Who writes no order is supposed to have written it as registries of that time did.
fn order_layers(image: &mut Image) {
    if image.docker_image_layers.is_empty() {
        return;
    }
    let (key, _) = LAYER_ORDER;
    let annotations = image.metadata.annotations.as_ref();
    let given = annotations.and_then(|all| all.get(key)).map(String::as_str);
    let is_descending = match (given, image.docker_image_manifest_media_type.as_str()) {
        (Some(order), _) => order == "descending",
        (None, DOCKER_SCHEMA1 | DOCKER_SCHEMA1_SIGNED) => false,
        (None, DOCKER_MANIFEST | OCI_MANIFEST) => true,
        (None, _) => return,
    };
    if is_descending {
        image.docker_image_layers.reverse();
    }
    set_order(image);
}

fn set_order(image: &mut Image) {
    let (key, ascending) = LAYER_ORDER;
    let annotations = image.metadata.annotations.get_or_insert_default();
    annotations.insert(key.to_owned(), ascending.to_owned());
}

/// Whether a manifest is the one that the image's name is the digest of.
fn is_manifest_of(image: &Image, manifest: &[u8]) -> bool {
    let Ok(digest) = Digest::parse(image.metadata.name.as_deref().unwrap_or_default()) else {
        return false;
    };
    let media_type = image.docker_image_manifest_media_type.as_str();
    match (media_type, distribution::parse(media_type, manifest)) {
        (DOCKER_MANIFEST | OCI_MANIFEST, Ok(_)) => digest.verifies(manifest),
        (DOCKER_SCHEMA1 | "", Ok(Manifest::Schema1(schema1))) => schema1.payload_digest == digest,
        _ => false,
    }
}

/// Whether a configuration is the one that the image's manifest names.
fn is_config_of(image: &Image, config: &[u8]) -> bool {
    let media_type = image.docker_image_manifest_media_type.as_str();
    match distribution::parse(media_type, image.docker_image_manifest.as_bytes()) {
        Ok(Manifest::Image(manifest)) => manifest.config.digest.verifies(config),
        _ => false,
    }
}

/// A manifest of any format, read as leniently as clients are used to.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Document {
    #[serde(deserialize_with = "nullable")]
    schema_version: i64,
    #[serde(deserialize_with = "nullable")]
    media_type: String,
    #[serde(deserialize_with = "nullable")]
    config: Descriptor,
    #[serde(deserialize_with = "nullable")]
    layers: Vec<Descriptor>,
    #[serde(deserialize_with = "nullable")]
    fs_layers: Vec<FsLayer>,
    #[serde(deserialize_with = "nullable")]
    history: Vec<History>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Descriptor {
    #[serde(deserialize_with = "nullable")]
    media_type: String,
    #[serde(deserialize_with = "nullable")]
    digest: String,
    #[serde(deserialize_with = "nullable")]
    size: i64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FsLayer {
    #[serde(deserialize_with = "nullable")]
    blob_sum: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct History {
    #[serde(rename = "v1Compatibility", deserialize_with = "nullable")]
    v1_compatibility: String,
}

fn nullable<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
