//! ImageStreamImport: a request to read images from registries, and the answer.

use serde::{Deserialize, Serialize};

use super::image::Image;
use super::stream::{ImageStream, TagImportPolicy, TagReferencePolicy};
use super::wire::{embedded_status, is_empty, nullable};
use super::{LocalObjectReference, ObjectMeta, ObjectReference, Status};

/// What to read, and what was found. Never stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageStreamImport {
    /// Standard object metadata; the name is that of the stream.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// What to read.
    #[serde(deserialize_with = "nullable")]
    pub spec: ImageStreamImportSpec,
    /// What was found.
    #[serde(deserialize_with = "nullable")]
    pub status: ImageStreamImportStatus,
}

/// What to read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageStreamImportSpec {
    /// Record the result in the stream of the same name.
    #[serde(deserialize_with = "nullable")]
    pub import: bool,
    /// A repository, all of whose tags are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryImportSpec>,
    /// Single images.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub images: Vec<ImageImportSpec>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageStreamImportStatus {
    /// The stream with the result recorded, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import: Option<ImageStream>,
    /// The repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryImportStatus>,
    /// The single images, in the order of the spec.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub images: Vec<ImageImportStatus>,
}

/// One image to read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageImportSpec {
    /// The image; only kind DockerImage can be imported.
    #[serde(deserialize_with = "nullable")]
    pub from: ObjectReference,
    /// The stream's tag that the image is recorded as; without one it is not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<LocalObjectReference>,
    /// How it is imported.
    #[serde(deserialize_with = "nullable")]
    pub import_policy: TagImportPolicy,
    /// How the recorded tag is shown to those who pull it.
    #[serde(deserialize_with = "nullable")]
    pub reference_policy: TagReferencePolicy,
    /// Return the manifest and configuration as the registry sent them.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub include_manifest: bool,
}

/// A repository to read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RepositoryImportSpec {
    /// The repository; only kind DockerImage can be imported.
    #[serde(deserialize_with = "nullable")]
    pub from: ObjectReference,
    /// How its tags are imported.
    #[serde(deserialize_with = "nullable")]
    pub import_policy: TagImportPolicy,
    /// Return the manifests and configurations as the registry sent them.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub include_manifest: bool,
    /// How the recorded tags are shown to those who pull them.
    #[serde(deserialize_with = "nullable")]
    pub reference_policy: TagReferencePolicy,
}

/// What was found for one image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageImportStatus {
    /// Whether it could be read, and why not.
    #[serde(with = "embedded_status")]
    pub status: Status,
    /// The image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// The tag in the registry; empty if the image was named by digest.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub tag: String,
    /// The members of a preserved manifest list.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub manifests: Vec<Image>,
}

/// What was found in a repository.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RepositoryImportStatus {
    /// Whether its tags could be listed and all of them be read.
    #[serde(with = "embedded_status")]
    pub status: Status,
    /// The tags that were read.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub images: Vec<ImageImportStatus>,
    /// The tags beyond the limit.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub additional_tags: Vec<String>,
}
