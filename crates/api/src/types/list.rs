//! The list kinds.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};

use super::image::Image;
use super::stream::ImageStream;
use super::virtual_tags::{ImageStreamTag, ImageTag};
use super::wire::{is_empty, nullable};
use super::{ListMeta, ObjectMeta, Secret};

/// A list; `items` is `[]` in JSON when empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, bound(deserialize = "T: Deserialize<'de>"))]
pub struct List<T> {
    /// Revision of the list and the token to continue it.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ListMeta,
    /// The objects, without `kind` and `apiVersion`.
    #[serde(deserialize_with = "nullable")]
    pub items: Vec<T>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self {
            metadata: ListMeta::default(),
            items: Vec::new(),
        }
    }
}

/// A list of images.
pub type ImageList = List<Image>;
/// A list of streams.
pub type ImageStreamList = List<ImageStream>;
/// A list of stream tags.
pub type ImageStreamTagList = List<ImageStreamTag>;
/// A list of image tags.
pub type ImageTagList = List<ImageTag>;
/// A list of pull secrets, in this group's version.
pub type SecretList = List<EmbeddedSecret>;

/// A [`Secret`] inside a list, without `kind` and `apiVersion`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EmbeddedSecret {
    /// Standard object metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// May not be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub immutable: Option<bool>,
    /// The values, as base64 in JSON.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub data: BTreeMap<String, ByteString>,
    /// What the values mean.
    #[serde(
        rename = "type",
        deserialize_with = "nullable",
        skip_serializing_if = "is_empty"
    )]
    pub secret_type: String,
}

impl From<Secret> for EmbeddedSecret {
    fn from(secret: Secret) -> Self {
        Self {
            metadata: secret.metadata,
            immutable: secret.immutable,
            data: secret.data.unwrap_or_default(),
            secret_type: secret.type_.unwrap_or_default(),
        }
    }
}
