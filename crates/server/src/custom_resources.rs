//! `apiextensions.k8s.io/v1` customresourcedefinitions: there are none, and anybody may know.
//!
//! `kubectl` looks for the definition of a kind that it can't find a PATCH for, such as ImageStreamImport, and does not
//! create an object of it if it can't look.

use std::sync::Arc;

use imagestream_apiserver::endpoint::{Endpoint, ObjectList, Outcome, Reply, Request};
use imagestream_apiserver::kind::{Kind, Resource, Verb};
use imagestream_apiserver::options::ListOptions;

use crate::schema;

static KIND: Kind = Kind {
    group: "apiextensions.k8s.io",
    version: "v1",
    kind: "CustomResourceDefinition",
    schema: &schema::CUSTOM_RESOURCE_DEFINITION,
    package: "v1",
    description: "A kind that is added to a server. This one has none.",
};

static DEFINITIONS: Resource = Resource {
    kind: &KIND,
    plural: "customresourcedefinitions",
    subresource: "",
    singular: "customresourcedefinition",
    list_kind: "CustomResourceDefinitionList",
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    namespaced: false,
};

/// The endpoint.
pub(crate) fn endpoint() -> Arc<dyn Endpoint> {
    Arc::new(Definitions)
}

struct Definitions;

impl Endpoint for Definitions {
    fn resource(&self) -> &'static Resource {
        &DEFINITIONS
    }

    fn verbs(&self) -> &'static [Verb] {
        &[Verb::List]
    }

    fn list<'a>(&'a self, _request: &'a Request, _options: ListOptions) -> Reply<'a> {
        Box::pin(std::future::ready(Ok(Outcome::List(ObjectList::default()))))
    }
}
