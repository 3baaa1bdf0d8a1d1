//! What a resource is called, what its objects look like and how they are shown in tables: everything about a
//! resource that never changes.

use imagestream_api::field::{FieldError, quoted};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use crate::decode::GroupVersionKind;
use crate::errors::{self, GroupResource};
use crate::schema::Object;

/// A type of object: what `kind` and `apiVersion` say, and the fields that it has.
#[derive(Debug)]
pub struct Kind {
    /// The group; empty for the core group.
    pub group: &'static str,
    /// The version.
    pub version: &'static str,
    /// The kind of one object.
    pub kind: &'static str,
    /// The fields of one object.
    pub schema: &'static Object,
    /// The package that error texts name as the home of the kind: `image`, `rbac`, `core`.
    pub package: &'static str,
    /// One sentence for people, shown by `kubectl explain`.
    pub description: &'static str,
}

impl Kind {
    /// `image.openshift.io/v1`, `v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The three parts, owned.
    #[must_use]
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind {
            group: self.group.into(),
            version: self.version.into(),
            kind: self.kind.into(),
        }
    }

    /// 422 for an object of this kind.
    #[must_use]
    pub fn invalid(&self, name: &str, errors: &[FieldError]) -> Status {
        errors::invalid(GroupResource::new(self.group, self.kind), name, errors)
    }
}

/// A collection of objects at a path: a resource, or a subresource of each of its objects.
#[derive(Debug)]
pub struct Resource {
    /// What is in it. Of a subresource: what the subresource takes and gives.
    pub kind: &'static Kind,
    /// The plural name in paths.
    pub plural: &'static str,
    /// Empty for the resource itself.
    pub subresource: &'static str,
    /// The singular name; empty for a subresource.
    pub singular: &'static str,
    /// What lists are: `ImageStreamList`. Empty if there is no list.
    pub list_kind: &'static str,
    /// Abbreviations for `kubectl`.
    pub short_names: &'static [&'static str],
    /// Groups of resources that `kubectl get` knows by one name.
    pub categories: &'static [&'static str],
    /// Whether each object is in a namespace.
    pub namespaced: bool,
}

impl Resource {
    /// The resource in error texts.
    #[must_use]
    pub fn group_resource(&self) -> GroupResource<'static> {
        GroupResource {
            group: self.kind.group,
            resource: self.plural,
        }
    }

    /// `imagestreams/status`, `imagestreams`.
    #[must_use]
    pub fn path(&self) -> String {
        if self.subresource.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}/{}", self.plural, self.subresource)
        }
    }

    /// 404 for an object of this resource.
    #[must_use]
    pub fn not_found(&self, name: &str) -> Status {
        errors::not_found(self.group_resource(), name)
    }

    /// 404 in the words of an object that is missing inside an error text.
    #[must_use]
    pub fn missing(&self, name: &str) -> String {
        format!("{} {} not found", self.group_resource(), quoted(name))
    }
}

/// What can be done with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// POST to the collection.
    Create,
    /// DELETE of an object.
    Delete,
    /// DELETE of the collection.
    DeleteCollection,
    /// GET of an object.
    Get,
    /// GET of the collection.
    List,
    /// PATCH of an object.
    Patch,
    /// PUT of an object.
    Update,
    /// GET of the collection with `watch`.
    Watch,
}

impl Verb {
    /// As discovery and authorization name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Get => "get",
            Self::List => "list",
            Self::Patch => "patch",
            Self::Update => "update",
            Self::Watch => "watch",
        }
    }

    /// The verbs of a resource with every operation.
    pub const ALL: &'static [Self] = &[
        Self::Create,
        Self::Delete,
        Self::DeleteCollection,
        Self::Get,
        Self::List,
        Self::Patch,
        Self::Update,
        Self::Watch,
    ];
}

/// One column of a [table](https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables).
#[derive(Debug, Clone, serde::Serialize)]
pub struct Column {
    /// The heading.
    pub name: &'static str,
    /// `string`, `number`, `date`.
    #[serde(rename = "type")]
    pub column_type: &'static str,
    /// `name` for the column that names the object.
    pub format: &'static str,
    /// What it shows.
    pub description: &'static str,
    /// 0 for columns that are always shown, 1 for those of wide tables.
    pub priority: i32,
}
