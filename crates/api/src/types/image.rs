//! Image: the immutable metadata of one manifest or manifest list.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ObjectMeta;
use super::docker_image::{DockerImage, MetadataError, MetadataVersion};
use super::signature::ImageSignature;
use super::wire::{base64_list, is_empty, nullable};

/// An image, named by the digest of its manifest. Cluster scoped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "ImageOnTheWire")]
pub struct Image {
    /// Standard object metadata; the name is normally the manifest digest.
    pub metadata: ObjectMeta,
    /// Where the image can be pulled from.
    #[serde(skip_serializing_if = "is_empty")]
    pub docker_image_reference: String,
    /// What the image's configuration says. Carries the version that its keys follow.
    pub docker_image_metadata: DockerImage,
    /// Version of `docker_image_metadata`, normally `1.0`.
    #[serde(skip_serializing_if = "is_empty")]
    pub docker_image_metadata_version: String,
    /// The manifest as the registry sent it.
    #[serde(skip_serializing_if = "is_empty")]
    pub docker_image_manifest: String,
    /// The layers, base first.
    #[serde(skip_serializing_if = "is_empty")]
    pub docker_image_layers: Vec<ImageLayer>,
    /// Signatures.
    #[serde(skip_serializing_if = "is_empty")]
    pub signatures: Vec<ImageSignature>,
    /// Signature blobs of schema 1 manifests, opaque.
    #[serde(skip_serializing_if = "is_empty", with = "base64_list")]
    pub docker_image_signatures: Vec<Vec<u8>>,
    /// Media type of the manifest.
    #[serde(skip_serializing_if = "is_empty")]
    pub docker_image_manifest_media_type: String,
    /// The configuration blob as the registry sent it.
    #[serde(skip_serializing_if = "is_empty")]
    pub docker_image_config: String,
    /// The members, if the image is a manifest list or an image index.
    #[serde(skip_serializing_if = "is_empty")]
    pub docker_image_manifests: Vec<ImageManifest>,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            metadata: ObjectMeta::default(),
            docker_image_reference: String::new(),
            docker_image_metadata: DockerImage::default(),
            docker_image_metadata_version: MetadataVersion::V1_0.as_str().to_owned(),
            docker_image_manifest: String::new(),
            docker_image_layers: Vec::new(),
            signatures: Vec::new(),
            docker_image_signatures: Vec::new(),
            docker_image_manifest_media_type: String::new(),
            docker_image_config: String::new(),
            docker_image_manifests: Vec::new(),
        }
    }
}

/// The input form: the keys of the metadata depend on the version beside it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ImageOnTheWire {
    #[serde(deserialize_with = "nullable")]
    metadata: ObjectMeta,
    #[serde(deserialize_with = "nullable")]
    docker_image_reference: String,
    docker_image_metadata: Value,
    #[serde(deserialize_with = "nullable")]
    docker_image_metadata_version: String,
    #[serde(deserialize_with = "nullable")]
    docker_image_manifest: String,
    #[serde(deserialize_with = "nullable")]
    docker_image_layers: Vec<ImageLayer>,
    #[serde(deserialize_with = "nullable")]
    signatures: Vec<ImageSignature>,
    #[serde(with = "base64_list")]
    docker_image_signatures: Vec<Vec<u8>>,
    #[serde(deserialize_with = "nullable")]
    docker_image_manifest_media_type: String,
    #[serde(deserialize_with = "nullable")]
    docker_image_config: String,
    #[serde(deserialize_with = "nullable")]
    docker_image_manifests: Vec<ImageManifest>,
}

impl TryFrom<ImageOnTheWire> for Image {
    type Error = MetadataError;

    fn try_from(wire: ImageOnTheWire) -> Result<Self, MetadataError> {
        let version = if wire.docker_image_metadata_version.is_empty() {
            MetadataVersion::V1_0.as_str().to_owned()
        } else {
            wire.docker_image_metadata_version
        };
        Ok(Self {
            metadata: wire.metadata,
            docker_image_reference: wire.docker_image_reference,
            docker_image_metadata: DockerImage::from_value(wire.docker_image_metadata, &version)?,
            docker_image_metadata_version: version,
            docker_image_manifest: wire.docker_image_manifest,
            docker_image_layers: wire.docker_image_layers,
            signatures: wire.signatures,
            docker_image_signatures: wire.docker_image_signatures,
            docker_image_manifest_media_type: wire.docker_image_manifest_media_type,
            docker_image_config: wire.docker_image_config,
            docker_image_manifests: wire.docker_image_manifests,
        })
    }
}

/// A member of a manifest list or image index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageManifest {
    /// Digest of the member's manifest.
    #[serde(deserialize_with = "nullable")]
    pub digest: String,
    /// Media type of the member's manifest.
    #[serde(deserialize_with = "nullable")]
    pub media_type: String,
    /// Size of the member's manifest, in bytes.
    #[serde(deserialize_with = "nullable")]
    pub manifest_size: i64,
    /// Architecture, in Go's naming.
    #[serde(deserialize_with = "nullable")]
    pub architecture: String,
    /// Operating system, in Go's naming.
    #[serde(deserialize_with = "nullable")]
    pub os: String,
    /// Variant of the architecture.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub variant: String,
}

/// A layer of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageLayer {
    /// Digest of the layer.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Size as stored in the registry (compressed), in bytes.
    #[serde(deserialize_with = "nullable")]
    pub size: i64,
    /// Media type.
    #[serde(deserialize_with = "nullable")]
    pub media_type: String,
}
