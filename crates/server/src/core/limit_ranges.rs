//! `v1` limitranges: how large images, and how full streams, may get in a namespace.

use std::sync::Arc;

use imagestream_apiserver::form::{Form, Plain};
use imagestream_apiserver::kind::{Kind, Resource};

use crate::pending_schema::ANY;

static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "LimitRange",
    schema: &ANY,
    package: "v1",
    description: "Limits for each object of a kind in a namespace.",
};

/// Limit ranges.
pub static LIMIT_RANGES: Resource = Resource {
    kind: &KIND,
    plural: "limitranges",
    subresource: "",
    singular: "limitrange",
    list_kind: "LimitRangeList",
    short_names: &["limits"],
    categories: &[],
    namespaced: true,
};

/// How they are stored.
#[must_use]
pub fn form() -> Arc<dyn Form> {
    Arc::new(Plain(&LIMIT_RANGES))
}
