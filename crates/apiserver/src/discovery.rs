//! What the server has, for clients that do not know it: [discovery][1], one group at a time or [all at once][2].
//!
//! [1]: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
//! [2]: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#aggregated-discovery

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::Api;
use crate::endpoint::Endpoint;
use crate::kind::{Resource, Verb};
use crate::negotiation::{Accepted, DiscoveryVersion, Shape};

/// The document at a path in the shape that the client accepts; `None` if the path is none of discovery's.
///
/// `/api` and `/apis` are served as [`Shape::Object`] and [`Shape::Discovery`], the other paths as an object only.
/// Groups come in the order in which the API has them: when two groups have a resource of the same name, clients
/// take it from the earlier one.
#[must_use]
pub fn answer(api: &Api, path: &str, accepted: &Accepted) -> Option<Result<Value, Box<Status>>> {
    let path = path.strip_prefix('/')?;
    let segments: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
    let groups = groups(api);
    let named = |wanted: &str| groups.iter().find(|group| group.name == wanted);
    let is_core = |group: &&Group<'_>| group.name.is_empty();
    let found = match (segments.as_slice(), accepted.shape) {
        (["api"], Shape::Discovery(version)) => aggregated(groups.iter().filter(is_core), version),
        (["apis"], Shape::Discovery(version)) => {
            aggregated(groups.iter().filter(|group| !is_core(group)), version)
        }
        (["api"], _) => api_versions(named("")),
        (["apis"], _) => api_group_list(groups.iter().filter(|group| !is_core(group))),
        (["api", version], _) => named("")?.version(version)?.resource_list(""),
        (["apis", group], _) => named(group).filter(|group| !is_core(group))?.document(),
        (["apis", group, version], _) if !group.is_empty() => {
            named(group)?.version(version)?.resource_list(group)
        }
        _ => return None,
    };
    Some(Ok(found))
}

/// A group; the core group has an empty name.
struct Group<'a> {
    name: &'static str,
    versions: Vec<Version<'a>>,
}

struct Version<'a> {
    name: &'static str,
    /// Sorted by path.
    endpoints: Vec<&'a Arc<dyn Endpoint>>,
}

fn groups(api: &Api) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for endpoint in api.endpoints() {
        let kind = endpoint.resource().kind;
        let of_group = groups.iter().position(|group| group.name == kind.group);
        let group = match of_group.and_then(|at| groups.get_mut(at)) {
            Some(group) => group,
            None => groups.push_mut(Group {
                name: kind.group,
                versions: Vec::new(),
            }),
        };
        let of_version = group
            .versions
            .iter()
            .position(|version| version.name == kind.version);
        let version = match of_version.and_then(|at| group.versions.get_mut(at)) {
            Some(version) => version,
            None => group.versions.push_mut(Version {
                name: kind.version,
                endpoints: Vec::new(),
            }),
        };
        version.endpoints.push(endpoint);
    }
    for version in groups.iter_mut().flat_map(|group| &mut group.versions) {
        version
            .endpoints
            .sort_by_key(|endpoint| endpoint.resource().path());
    }
    groups
}

impl<'a> Group<'a> {
    fn version(&self, name: &str) -> Option<&Version<'a>> {
        self.versions.iter().find(|version| version.name == name)
    }

    /// Without kind, as it stands in a list.
    fn item(&self) -> Value {
        let versions: Vec<Value> = self
            .versions
            .iter()
            .map(|version| {
                json!({
                    "groupVersion": group_version(self.name, version.name),
                    "version": version.name,
                })
            })
            .collect();
        let preferred = versions.first().cloned();
        json!({"name": self.name, "versions": versions, "preferredVersion": preferred})
    }

    fn document(&self) -> Value {
        let mut document = self.item();
        set(&mut document, "kind", "APIGroup");
        set(&mut document, "apiVersion", "v1");
        document
    }
}

impl Version<'_> {
    fn resource_list(&self, group: &str) -> Value {
        let resources: Vec<Value> = self
            .endpoints
            .iter()
            .map(|endpoint| api_resource(&***endpoint))
            .collect();
        let mut document = json!({
            "kind": "APIResourceList",
            "groupVersion": group_version(group, self.name),
            "resources": resources,
        });
        // The core group is older than versions of this document.
        if !group.is_empty() {
            set(&mut document, "apiVersion", "v1");
        }
        document
    }

    fn aggregated(&self) -> Value {
        let (whole, parts): (Vec<&Arc<dyn Endpoint>>, Vec<_>) = self
            .endpoints
            .iter()
            .partition(|endpoint| endpoint.resource().subresource.is_empty());
        let resources: Vec<Value> = whole
            .into_iter()
            .map(|endpoint| {
                let resource = endpoint.resource();
                let mut described = json!({
                    "resource": resource.plural,
                    "responseKind": response_kind(resource),
                    "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
                    "singularResource": resource.singular,
                    "verbs": verbs(&**endpoint),
                });
                set_names(&mut described, resource);
                let subresources: Vec<Value> = parts
                    .iter()
                    .filter(|part| part.resource().plural == resource.plural)
                    .map(|part| {
                        json!({
                            "subresource": part.resource().subresource,
                            "responseKind": response_kind(part.resource()),
                            "verbs": verbs(&***part),
                        })
                    })
                    .collect();
                if !subresources.is_empty() {
                    set(&mut described, "subresources", subresources);
                }
                described
            })
            .collect();
        json!({"version": self.name, "resources": resources, "freshness": "Current"})
    }
}

fn api_versions(core: Option<&Group<'_>>) -> Value {
    let versions: Vec<&str> = core
        .into_iter()
        .flat_map(|group| &group.versions)
        .map(|version| version.name)
        .collect();
    // Every client keeps to the address that it has.
    json!({"kind": "APIVersions", "versions": versions, "serverAddressByClientCIDRs": []})
}

fn api_group_list<'g, 'a: 'g>(groups: impl Iterator<Item = &'g Group<'a>>) -> Value {
    json!({
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": groups.map(Group::item).collect::<Vec<_>>(),
    })
}

fn aggregated<'g, 'a: 'g>(groups: impl Iterator<Item = &'g Group<'a>>, of: DiscoveryVersion) -> Value {
    let items: Vec<Value> = groups
        .map(|group| {
            let versions: Vec<Value> = group.versions.iter().map(Version::aggregated).collect();
            let metadata = if group.name.is_empty() {
                json!({})
            } else {
                json!({"name": group.name})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{}", of.version()),
        "metadata": {},
        "items": items,
    })
}

fn api_resource(endpoint: &dyn Endpoint) -> Value {
    let resource = endpoint.resource();
    let mut described = json!({
        "name": resource.path(),
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind.kind,
        "verbs": verbs(endpoint),
    });
    set_names(&mut described, resource);
    // What can be watched is stored; the rest is computed.
    if resource.subresource.is_empty() && endpoint.verbs().contains(&Verb::Watch) {
        set(
            &mut described,
            "storageVersionHash",
            storage_version_hash(resource),
        );
    }
    described
}

/// Opaque to clients; made as [Kubernetes][1] makes it.
///
/// [1]: https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.34/#apiresource-v1-meta
fn storage_version_hash(resource: &Resource) -> String {
    let kind = resource.kind;
    let stored = format!("{}/{}/{}", kind.group, kind.version, kind.kind);
    let digest = Sha256::digest(stored);
    STANDARD.encode(digest.get(..8).unwrap_or_default())
}

fn set_names(described: &mut Value, resource: &Resource) {
    if !resource.short_names.is_empty() {
        set(described, "shortNames", resource.short_names);
    }
    if !resource.categories.is_empty() {
        set(described, "categories", resource.categories);
    }
}

fn set(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Value::Object(fields) = object {
        fields.insert(key.to_owned(), value.into());
    }
}

fn verbs(endpoint: &dyn Endpoint) -> Vec<&'static str> {
    endpoint.verbs().iter().map(|verb| verb.as_str()).collect()
}

/// A group and version that are those of the resource are not said again.
fn response_kind(resource: &Resource) -> Value {
    json!({"group": "", "version": "", "kind": resource.kind.kind})
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

#[cfg(test)]
mod tests;
