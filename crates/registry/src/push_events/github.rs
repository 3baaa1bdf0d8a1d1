//! GitHub's [`package`][1] and `registry_package` events: one version of one package, which is a container image or
//! something else.
//!
//! [1]: https://docs.github.com/en/webhooks/webhook-events-and-payloads#package

use imagestream_api::reference::ImageReference;
use serde::Deserialize;

use super::Pushes;
use crate::json::null_is_default;

/// The registry of GitHub's packages, unless the event names another one.
const REGISTRY: &str = "ghcr.io";

/// What is posted.
#[derive(Deserialize)]
pub(super) struct Payload {
    #[serde(default, deserialize_with = "null_is_default")]
    action: String,
    /// Of the other event: `registry_package`.
    #[serde(default, alias = "registry_package", deserialize_with = "null_is_default")]
    package: Package,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Package {
    #[serde(deserialize_with = "null_is_default")]
    name: String,
    /// Who owns it.
    #[serde(deserialize_with = "null_is_default")]
    namespace: String,
    #[serde(deserialize_with = "null_is_default")]
    package_type: String,
    #[serde(deserialize_with = "null_is_default")]
    package_version: Version,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Version {
    /// `host/owner/name:tag`
    #[serde(deserialize_with = "null_is_default")]
    package_url: String,
    #[serde(deserialize_with = "null_is_default")]
    container_metadata: ContainerMetadata,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ContainerMetadata {
    #[serde(deserialize_with = "null_is_default")]
    tag: Tag,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tag {
    #[serde(deserialize_with = "null_is_default")]
    name: String,
}

pub(super) fn read(payload: &Payload, pushes: &mut Pushes) {
    let package = &payload.package;
    if !matches!(payload.action.as_str(), "published" | "updated")
        || !package.package_type.eq_ignore_ascii_case("container")
    {
        return;
    }
    let version = &package.package_version;
    let tag = &version.container_metadata.tag.name;
    // The URL is what clients pull by; it ends with ":" for what has no tag.
    match ImageReference::parse(version.package_url.trim_end_matches(':')) {
        Ok(url) if !url.registry.is_empty() && !url.name.is_empty() => {
            let tag = if tag.is_empty() { &url.tag } else { tag };
            pushes.add(Some(&url.registry), &url.repository_name(), tag);
        }
        // Owners are shown in the case that they chose; in the registry they are in lower case.
        _ => {
            let repository = format!("{}/{}", package.namespace, package.name).to_lowercase();
            pushes.add(Some(REGISTRY), &repository, tag);
        }
    }
}
