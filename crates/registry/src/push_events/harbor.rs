//! [Harbor's webhooks][1], in its own form and as CloudEvents.
//!
//! [1]: https://goharbor.io/docs/latest/working-with-projects/project-configuration/configure-webhooks/

use serde::Deserialize;

use super::{Pushes, host_of};
use crate::json::null_is_default;

/// What is posted.
#[derive(Deserialize)]
pub(super) struct Payload {
    #[serde(default, rename = "type", deserialize_with = "null_is_default")]
    event_type: String,
    /// As a CloudEvent: `data`.
    #[serde(default, alias = "data", deserialize_with = "null_is_default")]
    event_data: EventData,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct EventData {
    #[serde(deserialize_with = "null_is_default")]
    resources: Vec<Resource>,
    #[serde(deserialize_with = "null_is_default")]
    repository: Repository,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resource {
    /// Of what was pushed by digest it is the digest.
    #[serde(deserialize_with = "null_is_default")]
    tag: String,
    /// `host/project/name:tag`
    #[serde(deserialize_with = "null_is_default")]
    resource_url: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Repository {
    /// `project/name`
    #[serde(deserialize_with = "null_is_default")]
    repo_full_name: String,
}

pub(super) fn read(payload: &Payload, pushes: &mut Pushes) {
    if !matches!(
        payload.event_type.as_str(),
        "PUSH_ARTIFACT" | "harbor.artifact.pushed"
    ) {
        return;
    }
    let repository = &payload.event_data.repository.repo_full_name;
    for resource in &payload.event_data.resources {
        pushes.add(host_of(&resource.resource_url), repository, &resource.tag);
    }
}
