//! Views of a stream: ImageStreamTag, ImageTag, ImageStreamImage, and ImageStreamMapping, which adds an event.

use serde::{Deserialize, Serialize};

use super::ObjectMeta;
use super::image::Image;
use super::stream::{ImageLookupPolicy, NamedTagEventList, TagEventCondition, TagReference};
use super::wire::{is_empty, nullable};

/// One tag of a stream with the image that it points at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageStreamTag {
    /// Standard object metadata; the name is `<stream>:<tag>`.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// The tag in the stream's spec; `null` in JSON if there is none.
    pub tag: Option<TagReference>,
    /// Generation of the newest event.
    #[serde(deserialize_with = "nullable")]
    pub generation: i64,
    /// The stream's lookup policy.
    #[serde(deserialize_with = "nullable")]
    pub lookup_policy: ImageLookupPolicy,
    /// Why the last import failed.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub conditions: Vec<TagEventCondition>,
    /// The image; only its name is known for one that was deleted.
    #[serde(deserialize_with = "nullable")]
    pub image: Image,
}

/// One tag of a stream: spec, history and the image that it points at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageTag {
    /// Standard object metadata; the name is `<stream>:<tag>`.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// The tag in the stream's spec; `null` in JSON if there is none.
    pub spec: Option<TagReference>,
    /// The tag in the stream's status; `null` in JSON if there is none.
    pub status: Option<NamedTagEventList>,
    /// The image; `null` in JSON if there is none.
    pub image: Option<Image>,
}

/// One image of a stream's history.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageStreamImage {
    /// Standard object metadata; the name is `<stream>@<digest>`.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// The image.
    #[serde(deserialize_with = "nullable")]
    pub image: Image,
}

/// Adds an image to a stream's tag. Created only, never read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageStreamMapping {
    /// Standard object metadata; the name is that of the stream.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// The image.
    #[serde(deserialize_with = "nullable")]
    pub image: Image,
    /// The tag.
    #[serde(deserialize_with = "nullable")]
    pub tag: String,
}
