//! `config.openshift.io/v1` imagedigestmirrorsets and imagetagmirrorsets: where images are read from instead.

use std::sync::Arc;

use imagestream_apiserver::endpoint::Endpoint;
use imagestream_apiserver::form::{Form, Plain};
use imagestream_apiserver::kind::{Kind, Resource};

use super::{custom, mirrors};
use crate::context::Context;
use crate::schema;

static DIGEST_KIND: Kind = Kind {
    group: "config.openshift.io",
    version: "v1",
    kind: "ImageDigestMirrorSet",
    schema: &schema::config::IMAGE_DIGEST_MIRROR_SET,
    package: "v1",
    description: "Mirrors that are asked for images by digest.",
};

static TAG_KIND: Kind = Kind {
    group: "config.openshift.io",
    version: "v1",
    kind: "ImageTagMirrorSet",
    schema: &schema::config::IMAGE_TAG_MIRROR_SET,
    package: "v1",
    description: "Mirrors that are asked for images by tag.",
};

/// Mirrors for digests.
pub static DIGEST_MIRROR_SETS: Resource = Resource {
    kind: &DIGEST_KIND,
    plural: "imagedigestmirrorsets",
    subresource: "",
    singular: "imagedigestmirrorset",
    list_kind: "ImageDigestMirrorSetList",
    short_names: &["idms"],
    categories: &[],
    namespaced: false,
};

/// Their status.
pub static DIGEST_MIRROR_SETS_STATUS: Resource = Resource {
    kind: &DIGEST_KIND,
    plural: "imagedigestmirrorsets",
    subresource: "status",
    singular: "",
    list_kind: "",
    short_names: &[],
    categories: &[],
    namespaced: false,
};

/// Mirrors for tags.
pub static TAG_MIRROR_SETS: Resource = Resource {
    kind: &TAG_KIND,
    plural: "imagetagmirrorsets",
    subresource: "",
    singular: "imagetagmirrorset",
    list_kind: "ImageTagMirrorSetList",
    short_names: &["itms"],
    categories: &[],
    namespaced: false,
};

/// Their status.
pub static TAG_MIRROR_SETS_STATUS: Resource = Resource {
    kind: &TAG_KIND,
    plural: "imagetagmirrorsets",
    subresource: "status",
    singular: "",
    list_kind: "",
    short_names: &[],
    categories: &[],
    namespaced: false,
};

/// How mirrors for digests are stored.
#[must_use]
pub fn digest_form() -> Arc<dyn Form> {
    Arc::new(Plain(&DIGEST_MIRROR_SETS))
}

/// How mirrors for tags are stored.
#[must_use]
pub fn tag_form() -> Arc<dyn Form> {
    Arc::new(Plain(&TAG_MIRROR_SETS))
}

/// The endpoints of both kinds and of their status.
pub(super) fn endpoints(context: &Context) -> Vec<Arc<dyn Endpoint>> {
    let digests = custom(
        &context.digest_mirror_sets,
        &DIGEST_MIRROR_SETS,
        &DIGEST_MIRROR_SETS_STATUS,
        |object| mirrors::errors(object, "imageDigestMirrors"),
    );
    let tags = custom(
        &context.tag_mirror_sets,
        &TAG_MIRROR_SETS,
        &TAG_MIRROR_SETS_STATUS,
        |object| mirrors::errors(object, "imageTagMirrors"),
    );
    digests.into_iter().chain(tags).collect()
}
