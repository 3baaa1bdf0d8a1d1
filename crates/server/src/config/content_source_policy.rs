//! `operator.openshift.io/v1alpha1` imagecontentsourcepolicies: the older form of mirrors for digests.

use std::sync::Arc;

use imagestream_apiserver::endpoint::Endpoint;
use imagestream_apiserver::form::{Form, Plain};
use imagestream_apiserver::kind::{Kind, Resource};

use super::{custom, mirrors};
use crate::context::Context;
use crate::schema;

static KIND: Kind = Kind {
    group: "operator.openshift.io",
    version: "v1alpha1",
    kind: "ImageContentSourcePolicy",
    schema: &schema::config::IMAGE_CONTENT_SOURCE_POLICY,
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

/// The endpoints of the policies and of their status.
pub(super) fn endpoints(context: &Context) -> [Arc<dyn Endpoint>; 2] {
    custom(
        &context.content_source_policies,
        &CONTENT_SOURCE_POLICIES,
        &CONTENT_SOURCE_POLICIES_STATUS,
        |object| mirrors::required_sources(object, "repositoryDigestMirrors"),
    )
}
