//! What can be done at which path, as [OpenAPI operations][1].
//!
//! [1]: https://spec.openapis.org/oas/v3.0.3#operation-object

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::definitions::{Definitions, Dialect};
use crate::api::Api;
use crate::endpoint::Endpoint;
use crate::kind::{Resource, Verb};
use crate::negotiation::MEDIA_TYPES;
use crate::schema::{discovery, meta};

mod parameters;

pub(super) use parameters::shared;
use parameters::{NAME, NAMESPACE, PRETTY};

/// Formats of patches.
const PATCH_TYPES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// A group in one of its versions.
pub(super) struct Version {
    group: &'static str,
    version: &'static str,
}

/// The groups and versions by their paths: `api/v1`, `apis/example.com/v1`.
pub(super) fn versions(api: &Api) -> BTreeMap<String, Version> {
    api.groups()
        .into_iter()
        .flat_map(|(group, versions)| {
            versions
                .into_keys()
                .map(move |version| Version { group, version })
        })
        .map(|version| (version.path(), version))
        .collect()
}

impl Version {
    fn path(&self) -> String {
        if self.group.is_empty() {
            format!("api/{}", self.version)
        } else {
            format!("apis/{}/{}", self.group, self.version)
        }
    }

    /// `ImageOpenshiftIo`, `RbacAuthorization`, `Core`.
    fn group_in_ids(&self) -> String {
        if self.group.is_empty() {
            return "Core".into();
        }
        let group = self.group.strip_suffix(".k8s.io").unwrap_or(self.group);
        group.split(['.', '-']).map(capitalized).collect()
    }

    fn tag(&self) -> String {
        let group = self.group_in_ids();
        let mut letters = group.chars();
        let first = letters.next().map(|letter| letter.to_ascii_lowercase());
        let group: String = first.into_iter().chain(letters).collect();
        format!("{group}_{}", self.version)
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// The paths of a version with their operations.
pub(super) fn paths(api: &Api, version: &Version, definitions: &mut Definitions) -> Map<String, Value> {
    let base = format!("/{}", version.path());
    let mut paths = Map::new();
    let endpoints: Vec<_> = api
        .endpoints()
        .filter(|endpoint| {
            let kind = endpoint.resource().kind;
            kind.group == version.group && kind.version == version.version
        })
        .collect();
    for endpoint in &endpoints {
        let resource = endpoint.resource();
        let owner = endpoints
            .iter()
            .map(|other| other.resource())
            .find(|other| other.plural == resource.plural && other.subresource.is_empty());
        let writer = Writer {
            version,
            resource,
            owner: owner.unwrap_or(resource).kind.kind,
            can_watch: endpoint.verbs().contains(&Verb::Watch),
        };
        for (path, acts) in places(&***endpoint) {
            if !acts.is_empty() {
                paths.insert(format!("{base}{path}"), writer.item(&path, &acts, definitions));
            }
        }
    }
    paths.insert(format!("{base}/"), resource_list(version, definitions));
    paths
}

/// The paths of a resource behind its group and version, and what can be done at each.
fn places(endpoint: &dyn Endpoint) -> Vec<(String, Vec<Act>)> {
    let resource = endpoint.resource();
    let of = |acts: &[Act]| -> Vec<Act> {
        let can = |act: &Act| endpoint.verbs().contains(&act.verb());
        acts.iter().copied().filter(can).collect()
    };
    let scope = if resource.namespaced {
        "/namespaces/{namespace}"
    } else {
        ""
    };
    let collection = format!("{scope}/{}", resource.plural);
    if !resource.subresource.is_empty() {
        let part = format!("{collection}/{{name}}/{}", resource.subresource);
        return vec![(part, of(&[Act::Read, Act::Replace, Act::Patch, Act::Create]))];
    }
    let mut places = vec![
        (
            format!("{collection}/{{name}}"),
            of(&[Act::Read, Act::Replace, Act::Patch, Act::Delete]),
        ),
        (collection, of(&[Act::List, Act::Create, Act::DeleteCollection])),
    ];
    if resource.namespaced {
        places.push((format!("/{}", resource.plural), of(&[Act::ListEverywhere])));
    }
    places
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Create,
    Delete,
    DeleteCollection,
    List,
    ListEverywhere,
    Patch,
    Read,
    Replace,
}

impl Act {
    fn verb(self) -> Verb {
        match self {
            Self::Create => Verb::Create,
            Self::Delete => Verb::Delete,
            Self::DeleteCollection => Verb::DeleteCollection,
            Self::List | Self::ListEverywhere => Verb::List,
            Self::Patch => Verb::Patch,
            Self::Read => Verb::Get,
            Self::Replace => Verb::Update,
        }
    }

    fn method(self) -> &'static str {
        match self {
            Self::Create => "post",
            Self::Delete | Self::DeleteCollection => "delete",
            Self::List | Self::ListEverywhere | Self::Read => "get",
            Self::Patch => "patch",
            Self::Replace => "put",
        }
    }

    /// As `x-kubernetes-action` names it.
    fn action(self) -> &'static str {
        match self {
            Self::DeleteCollection => "deletecollection",
            Self::List | Self::ListEverywhere => "list",
            other => other.method(),
        }
    }

    fn description(self, of: &str) -> String {
        match self {
            Self::Create => format!("Creates {of}."),
            Self::Delete => format!("Deletes {of}."),
            Self::DeleteCollection => format!("Deletes all {of} that are selected."),
            Self::List => format!("Lists or watches {of}."),
            Self::ListEverywhere => format!("Lists or watches {of} in all namespaces."),
            Self::Patch => format!("Changes parts of {of}."),
            Self::Read => format!("Reads {of}."),
            Self::Replace => format!("Replaces {of}."),
        }
    }

    /// The codes of success.
    fn codes(self) -> &'static [(&'static str, &'static str)] {
        const OK: (&str, &str) = ("200", "OK");
        const CREATED: (&str, &str) = ("201", "Created");
        const ACCEPTED: (&str, &str) = ("202", "Accepted");
        match self {
            Self::Create => &[OK, CREATED, ACCEPTED],
            Self::Delete => &[OK, ACCEPTED],
            Self::DeleteCollection | Self::List | Self::ListEverywhere | Self::Read => &[OK],
            Self::Patch | Self::Replace => &[OK, CREATED],
        }
    }
}

/// Writes the operations of a resource.
struct Writer<'a> {
    version: &'a Version,
    resource: &'static Resource,
    /// The kind of the objects; of a subresource, of the objects that have it.
    owner: &'static str,
    can_watch: bool,
}

/// A body that an operation takes.
struct Body {
    schema: Value,
    required: bool,
    media_types: &'static [&'static str],
}

impl Writer<'_> {
    /// The item for a path.
    fn item(&self, path: &str, acts: &[Act], definitions: &mut Definitions) -> Value {
        let mut item = Map::new();
        for act in acts {
            item.insert(act.method().into(), self.operation(*act, definitions));
        }
        let in_path = [("{name}", &NAME), ("{namespace}", &NAMESPACE)];
        let parameters: Vec<Value> = in_path
            .into_iter()
            .filter(|(part, _)| path.contains(part))
            .map(|(_, parameter)| parameter)
            .chain([&PRETTY])
            .map(|parameter| parameter.write(definitions.dialect))
            .collect();
        item.insert("parameters".into(), parameters.into());
        item.into()
    }

    fn operation(&self, act: Act, definitions: &mut Definitions) -> Value {
        let kind = self.resource.kind;
        let answer = match act {
            Act::List | Act::ListEverywhere => definitions.list(self.resource),
            Act::Delete | Act::DeleteCollection => definitions.object(&meta::STATUS),
            _ => definitions.object(kind.schema),
        };
        if matches!(act, Act::List) && self.can_watch {
            // Nothing refers to it: it is what the list's answer becomes with `watch`.
            definitions.watch_event();
        }
        let body = match act {
            Act::Create | Act::Replace => Some(Body {
                schema: definitions.object(kind.schema),
                required: true,
                media_types: &["*/*"],
            }),
            Act::Patch => Some(Body {
                schema: definitions.patch(),
                required: true,
                media_types: &PATCH_TYPES,
            }),
            Act::Delete | Act::DeleteCollection => Some(Body {
                schema: definitions.object(&meta::DELETE_OPTIONS),
                required: false,
                media_types: &["*/*"],
            }),
            _ => None,
        };
        let mut parameters: Vec<Value> = parameters::of(act, self.can_watch)
            .map(|parameter| parameter.write(definitions.dialect))
            .collect();
        let is_stream = self.can_watch && matches!(act, Act::List | Act::ListEverywhere);
        let mut operation = json!({
            "tags": [self.version.tag()],
            "operationId": self.id(act),
            "description": act.description(&self.described()),
            "responses": responses(act.codes(), &answer, is_stream, definitions.dialect),
            "x-kubernetes-action": act.action(),
            "x-kubernetes-group-version-kind":
                {"group": kind.group, "version": kind.version, "kind": kind.kind},
        });
        match definitions.dialect {
            Dialect::V2 => {
                let consumed = body.as_ref().map_or(&["*/*"][..], |body| body.media_types);
                if let Some(body) = body {
                    parameters.insert(
                        0,
                        json!({"name": "body", "in": "body", "required": body.required, "schema": body.schema}),
                    );
                }
                set_media_types(&mut operation, consumed, is_stream);
            }
            Dialect::V3 => {
                if let Some(body) = body {
                    let content: Map<String, Value> = body
                        .media_types
                        .iter()
                        .map(|media_type| ((*media_type).into(), json!({"schema": body.schema})))
                        .collect();
                    let body = json!({"content": content, "required": body.required});
                    set(&mut operation, "requestBody", body);
                }
            }
        }
        if !parameters.is_empty() {
            set(&mut operation, "parameters", parameters.into());
        }
        operation
    }

    /// `ImageStream`, `the status of an ImageStream`: what an operation is about, in a sentence.
    fn described(&self) -> String {
        if self.resource.subresource.is_empty() {
            format!("objects of kind {}", self.owner)
        } else {
            format!("{} of objects of kind {}", self.resource.subresource, self.owner)
        }
    }

    /// As Kubernetes names operations; generators of clients make names of functions of it.
    fn id(&self, act: Act) -> String {
        let (verb, collection, everywhere) = match act {
            Act::Create => ("create", "", ""),
            Act::Delete => ("delete", "", ""),
            Act::DeleteCollection => ("delete", "Collection", ""),
            Act::List => ("list", "", ""),
            Act::ListEverywhere => ("list", "", "ForAllNamespaces"),
            Act::Patch => ("patch", "", ""),
            Act::Read => ("read", "", ""),
            Act::Replace => ("replace", "", ""),
        };
        let namespaced = if self.resource.namespaced && act != Act::ListEverywhere {
            "Namespaced"
        } else {
            ""
        };
        format!(
            "{verb}{}{}{collection}{namespaced}{}{}{everywhere}",
            self.version.group_in_ids(),
            capitalized(self.version.version),
            self.owner,
            capitalized(self.resource.subresource),
        )
    }
}

/// The path that lists the resources of a version.
fn resource_list(version: &Version, definitions: &mut Definitions) -> Value {
    let answer = definitions.object(&discovery::API_RESOURCE_LIST);
    let mut operation = json!({
        "tags": [version.tag()],
        "operationId": format!("get{}{}APIResources", version.group_in_ids(), capitalized(version.version)),
        "description": "Lists the resources of the version.",
        "responses": responses(Act::Read.codes(), &answer, false, definitions.dialect),
    });
    if definitions.dialect == Dialect::V2 {
        set_media_types(&mut operation, &MEDIA_TYPES, false);
    }
    json!({"get": operation})
}

/// The forms in which an answer comes.
fn produced(is_stream: bool) -> impl Iterator<Item = String> {
    let streams = MEDIA_TYPES
        .into_iter()
        .filter(move |media_type| is_stream && !media_type.ends_with("yaml"))
        .map(|media_type| format!("{media_type};stream=watch"));
    MEDIA_TYPES.into_iter().map(str::to_owned).chain(streams)
}

fn responses(codes: &[(&str, &str)], answer: &Value, is_stream: bool, dialect: Dialect) -> Value {
    let mut responses: Map<String, Value> = codes
        .iter()
        .map(|(code, description)| {
            let response = match dialect {
                Dialect::V2 => json!({"description": description, "schema": answer}),
                Dialect::V3 => {
                    let content: Map<String, Value> = produced(is_stream)
                        .map(|media_type| (media_type, json!({"schema": answer})))
                        .collect();
                    json!({"description": description, "content": content})
                }
            };
            ((*code).to_owned(), response)
        })
        .collect();
    responses.insert("401".into(), json!({"description": "Unauthorized"}));
    responses.into()
}

/// In version 2 media types are the operation's, not those of its bodies.
fn set_media_types(operation: &mut Value, consumed: &[&str], is_stream: bool) {
    set(operation, "consumes", json!(consumed));
    set(
        operation,
        "produces",
        produced(is_stream).collect::<Vec<_>>().into(),
    );
    set(operation, "schemes", json!(["https"]));
}

fn set(operation: &mut Value, key: &str, value: Value) {
    if let Value::Object(members) = operation {
        members.insert(key.to_owned(), value);
    }
}
