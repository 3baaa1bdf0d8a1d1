//! `v1` namespaces: what everything else is in, and how they end.

use std::sync::Arc;

use imagestream_apiserver::form::Form;
use imagestream_apiserver::kind::{Kind, Resource};
use serde_json::{Value, json};

use crate::pending_schema::ANY;

static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Namespace",
    schema: &ANY,
    package: "v1",
    description: "A scope for names: objects in it can be told apart from objects of the same name in another.",
};

/// Namespaces.
pub static NAMESPACES: Resource = Resource {
    kind: &KIND,
    plural: "namespaces",
    subresource: "",
    singular: "namespace",
    list_kind: "NamespaceList",
    short_names: &["ns"],
    categories: &[],
    namespaced: false,
};

/// The status of namespaces.
pub static NAMESPACES_STATUS: Resource = Resource {
    kind: &KIND,
    plural: "namespaces",
    subresource: "status",
    singular: "",
    list_kind: "",
    short_names: &[],
    categories: &[],
    namespaced: false,
};

/// Who must agree to the end of a namespace.
pub static NAMESPACES_FINALIZE: Resource = Resource {
    kind: &KIND,
    plural: "namespaces",
    subresource: "finalize",
    singular: "",
    list_kind: "",
    short_names: &[],
    categories: &[],
    namespaced: false,
};

/// How they are stored.
#[must_use]
pub fn form() -> Arc<dyn Form> {
    Arc::new(NamespaceForm)
}

struct NamespaceForm;

impl Form for NamespaceForm {
    fn resource(&self) -> &'static Resource {
        &NAMESPACES
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["metadata.name", "status.phase"]
    }

    fn empty(&self) -> Value {
        json!({"metadata": {}, "spec": {}, "status": {}})
    }
}
