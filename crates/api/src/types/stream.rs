//! ImageStream: named tags that point at images, with their history.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::wire::{Named, by_name, is_empty, nullable};
use super::{ObjectMeta, ObjectReference, Time};

/// Tags of one name, what they should point at (spec) and what they have pointed at (status). Namespaced.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageStream {
    /// Standard object metadata.
    #[serde(deserialize_with = "nullable")]
    pub metadata: ObjectMeta,
    /// What the tags should point at.
    #[serde(deserialize_with = "nullable")]
    pub spec: ImageStreamSpec,
    /// What the tags point at, and pointed at before.
    #[serde(deserialize_with = "nullable")]
    pub status: ImageStreamStatus,
}

/// What the tags of a stream should point at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageStreamSpec {
    /// Whether workloads in the namespace may name the stream's tags directly.
    #[serde(deserialize_with = "nullable")]
    pub lookup_policy: ImageLookupPolicy,
    /// A repository whose tags are imported. Deprecated by the API.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub docker_image_repository: String,
    /// The tags by name; a list in JSON.
    #[serde(with = "by_name", skip_serializing_if = "is_empty")]
    pub tags: BTreeMap<String, TagReference>,
}

/// Whether workloads may name a stream's tags directly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageLookupPolicy {
    /// They may, in the stream's namespace.
    #[serde(deserialize_with = "nullable")]
    pub local: bool,
}

/// What one tag should point at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TagReference {
    /// The tag.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Annotations of the tag; `null` in JSON when there are none.
    pub annotations: Option<BTreeMap<String, String>>,
    /// What it points at: a DockerImage, ImageStreamTag or ImageStreamImage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<ObjectReference>,
    /// Never imported, only pointed at.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub reference: bool,
    /// Generation of the stream in which the tag last changed; 0 asks for a new import.
    pub generation: Option<i64>,
    /// How it is imported.
    #[serde(deserialize_with = "nullable")]
    pub import_policy: TagImportPolicy,
    /// How it is shown to those who pull it.
    #[serde(deserialize_with = "nullable")]
    pub reference_policy: TagReferencePolicy,
}

impl Named for TagReference {
    fn name(&self) -> &str {
        &self.name
    }
    fn set_name(&mut self, name: &str) {
        name.clone_into(&mut self.name);
    }
}

/// How a tag is imported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TagImportPolicy {
    /// Certificates are not verified and plain HTTP is allowed.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub insecure: bool,
    /// Imported again on a schedule.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub scheduled: bool,
    /// `Legacy` (one platform of a list) or `PreserveOriginal` (the list and all its members).
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub import_mode: String,
}

/// How a tag is shown to those who pull it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TagReferencePolicy {
    /// `Source` (where it came from) or `Local` (the integrated registry).
    #[serde(deserialize_with = "nullable", rename = "type")]
    pub policy_type: String,
}

/// What the tags of a stream point at, and pointed at before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageStreamStatus {
    /// Where the stream can be pulled from.
    #[serde(deserialize_with = "nullable")]
    pub docker_image_repository: String,
    /// Where it can be pulled from outside of the cluster.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub public_docker_image_repository: String,
    /// The history of each tag by name; a list in JSON.
    #[serde(with = "by_name", skip_serializing_if = "is_empty")]
    pub tags: BTreeMap<String, NamedTagEventList>,
}

/// The history of one tag.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamedTagEventList {
    /// The tag.
    #[serde(deserialize_with = "nullable")]
    pub tag: String,
    /// Newest first; `null` in JSON when empty.
    #[serde(deserialize_with = "nullable", serialize_with = "null_when_empty")]
    pub items: Vec<TagEvent>,
    /// Why the last import failed.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub conditions: Vec<TagEventCondition>,
}

impl Named for NamedTagEventList {
    fn name(&self) -> &str {
        &self.tag
    }
    fn set_name(&mut self, name: &str) {
        name.clone_into(&mut self.tag);
    }
}

fn null_when_empty<S: serde::Serializer>(items: &[TagEvent], serializer: S) -> Result<S::Ok, S::Error> {
    if items.is_empty() {
        serializer.serialize_none()
    } else {
        items.serialize(serializer)
    }
}

/// What a tag pointed at since one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TagEvent {
    /// Since when.
    pub created: Option<Time>,
    /// Where the image can be pulled from.
    #[serde(deserialize_with = "nullable")]
    pub docker_image_reference: String,
    /// Name of the Image.
    #[serde(deserialize_with = "nullable")]
    pub image: String,
    /// Generation of the spec tag that led to this.
    #[serde(deserialize_with = "nullable")]
    pub generation: i64,
}

/// A finding about a tag.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TagEventCondition {
    /// `ImportSuccess`.
    #[serde(deserialize_with = "nullable", rename = "type")]
    pub condition_type: String,
    /// `True`, `False` or `Unknown`.
    #[serde(deserialize_with = "nullable")]
    pub status: String,
    /// When the status last changed.
    pub last_transition_time: Option<Time>,
    /// One word why.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub reason: String,
    /// A sentence why.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub message: String,
    /// Generation of the spec tag that this is about.
    #[serde(deserialize_with = "nullable")]
    pub generation: i64,
}
