//! `config.openshift.io/v1` images: how the whole cluster deals with images of other registries.

use std::sync::Arc;

use imagestream_apiserver::endpoint::Endpoint;
use imagestream_apiserver::form::{Form, Plain};
use imagestream_apiserver::kind::{Kind, Resource};

use super::custom;
use crate::context::Context;
use crate::schema;

static KIND: Kind = Kind {
    group: "config.openshift.io",
    version: "v1",
    kind: "Image",
    schema: &schema::config::IMAGE_CONFIG,
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

/// The endpoints of the configuration and of its status.
pub(super) fn endpoints(context: &Context) -> [Arc<dyn Endpoint>; 2] {
    custom(
        &context.image_configs,
        &IMAGE_CONFIGS,
        &IMAGE_CONFIGS_STATUS,
        |_| Vec::new(),
    )
}
