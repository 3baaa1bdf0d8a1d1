//! `operator.openshift.io/v1alpha1` imagecontentsourcepolicies: the older form of mirrors for digests.

use std::sync::Arc;

use imagestream_apiserver::form::{Form, Plain};
use imagestream_apiserver::kind::{Kind, Resource};

use crate::pending_schema::ANY;

static KIND: Kind = Kind {
    group: "operator.openshift.io",
    version: "v1alpha1",
    kind: "ImageContentSourcePolicy",
    schema: &ANY,
    package: "v1alpha1",
    description: "Mirrors that are asked for images by digest.",
};

/// Mirrors for digests.
pub static CONTENT_SOURCE_POLICIES: Resource = Resource {
    kind: &KIND,
    plural: "imagecontentsourcepolicies",
    subresource: "",
    singular: "imagecontentsourcepolicy",
    list_kind: "ImageContentSourcePolicyList",
    short_names: &[],
    categories: &[],
    namespaced: false,
};

/// Their status.
pub static CONTENT_SOURCE_POLICIES_STATUS: Resource = Resource {
    kind: &KIND,
    plural: "imagecontentsourcepolicies",
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
    Arc::new(Plain(&CONTENT_SOURCE_POLICIES))
}
