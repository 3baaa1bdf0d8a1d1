//! ImageStreamLayers: which blobs the images of a stream are made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ObjectMeta;
use super::wire::{is_empty, nullable};

/// The blobs of a stream's images, for a registry that decides who may pull which.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageStreamLayers {
    /// Metadata of the stream.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// What is known of each blob, by digest.
    #[serde(deserialize_with = "nullable")]
    pub blobs: BTreeMap<String, ImageLayerData>,
    /// The blobs of each image, by image name.
    #[serde(deserialize_with = "nullable")]
    pub images: BTreeMap<String, ImageBlobReferences>,
}

/// What is known of a blob.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageLayerData {
    /// Size in bytes; `null` in JSON if unknown.
    pub size: Option<i64>,
    /// Media type.
    #[serde(deserialize_with = "nullable")]
    pub media_type: String,
}

/// The blobs of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageBlobReferences {
    /// The stream names an image that does not exist.
    #[serde(deserialize_with = "nullable")]
    pub image_missing: bool,
    /// Digests of the layers, base first; `null` in JSON if there are none.
    pub layers: Option<Vec<String>>,
    /// Digest of the configuration; `null` in JSON if there is none.
    pub config: Option<String>,
    /// Digests of the members of a manifest list.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub manifests: Vec<String>,
}
