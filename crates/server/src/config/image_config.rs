//! `config.openshift.io/v1` images: how the whole cluster deals with images of other registries.

use std::sync::Arc;

use imagestream_apiserver::form::{Form, Plain};
use imagestream_apiserver::kind::{Kind, Resource};

use crate::pending_schema::ANY;

static KIND: Kind = Kind {
    group: "config.openshift.io",
    version: "v1",
    kind: "Image",
    schema: &ANY,
    package: "v1",
    description: "How the cluster deals with images; the one that counts is called `cluster`.",
};

/// The image configuration.
pub static IMAGE_CONFIGS: Resource = Resource {
    kind: &KIND,
    plural: "images",
    subresource: "",
    singular: "image",
    list_kind: "ImageList",
    short_names: &[],
    categories: &[],
    namespaced: false,
};

/// Its status.
pub static IMAGE_CONFIGS_STATUS: Resource = Resource {
    kind: &KIND,
    plural: "images",
    subresource: "status",
    singular: "",
    list_kind: "",
    short_names: &[],
    categories: &[],
    namespaced: false,
};

/// How they are stored.
#[must_use]
pub fn form() -> Arc<dyn Form> {
    Arc::new(Plain(&IMAGE_CONFIGS))
}
