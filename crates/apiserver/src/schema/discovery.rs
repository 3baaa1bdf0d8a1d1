//! Schemas of the documents by which clients find out [what a server has][1].
//!
//! [1]: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api

use super::meta::{HOME, TEXTS};
use super::{API_VERSION, KIND, List, Object, Schema, TEXT, field};

static SERVER_ADDRESS: Object = Object::new(
    HOME,
    "ServerAddressByClientCIDR",
    "Under which address clients of a network reach the server.",
    &[
        field("clientCIDR", 1, TEXT, "The network of the clients.").required(),
        field("serverAddress", 2, TEXT, "The address of the server.").required(),
    ],
);

static SERVER_ADDRESSES: List = List::of(Schema::Object(&SERVER_ADDRESS));

/// The versions of the core group.
pub static API_VERSIONS: Object = Object::new(
    HOME,
    "APIVersions",
    "The versions of the core group.",
    &[
        KIND,
        API_VERSION,
        field("versions", 1, Schema::List(&TEXTS), "The versions.").required(),
        field(
            "serverAddressByClientCIDRs",
            2,
            Schema::List(&SERVER_ADDRESSES),
            "Under which addresses clients reach the server.",
        )
        .required(),
    ],
);

static GROUP_VERSION: Object = Object::new(
    HOME,
    "GroupVersionForDiscovery",
    "A version of a group.",
    &[
        field(
            "groupVersion",
            1,
            TEXT,
            "The group and version, as objects name them.",
        )
        .required(),
        field("version", 2, TEXT, "The version by itself.").required(),
    ],
);

static GROUP_VERSIONS: List = List::of(Schema::Object(&GROUP_VERSION));

/// A group with its versions.
pub static API_GROUP: Object = Object::new(
    HOME,
    "APIGroup",
    "A group of resources with its versions.",
    &[
        KIND,
        API_VERSION,
        field("name", 1, TEXT, "The name of the group.").required(),
        field(
            "versions",
            2,
            Schema::List(&GROUP_VERSIONS),
            "The versions of the group.",
        )
        .required(),
        field(
            "preferredVersion",
            3,
            Schema::Object(&GROUP_VERSION),
            "The version that clients should use.",
        ),
        field(
            "serverAddressByClientCIDRs",
            4,
            Schema::List(&SERVER_ADDRESSES),
            "Under which addresses clients reach the server.",
        ),
    ],
);

static API_GROUPS: List = List::of(Schema::Object(&API_GROUP));

/// All groups but the core group.
pub static API_GROUP_LIST: Object = Object::new(
    HOME,
    "APIGroupList",
    "All groups but the core group.",
    &[
        KIND,
        API_VERSION,
        field(
            "groups",
            1,
            Schema::List(&API_GROUPS),
            "The groups, those that clients should look at first before others.",
        )
        .required(),
    ],
);

static VERBS: List = List::of(TEXT).message();

static API_RESOURCE: Object = Object::new(
    HOME,
    "APIResource",
    "A resource or subresource.",
    &[
        field(
            "name",
            1,
            TEXT,
            "The plural name; of a subresource, `resource/subresource`.",
        )
        .required(),
        field(
            "namespaced",
            2,
            Schema::Boolean,
            "Whether each object is in a namespace.",
        )
        .required(),
        field("kind", 3, TEXT, "The kind of the objects.").required(),
        field(
            "verbs",
            4,
            Schema::List(&VERBS),
            "What can be done with the resource.",
        )
        .required(),
        field(
            "shortNames",
            5,
            Schema::List(&TEXTS),
            "Abbreviations of the name.",
        ),
        field(
            "singularName",
            6,
            TEXT,
            "The singular name; empty for a subresource.",
        )
        .required(),
        field(
            "categories",
            7,
            Schema::List(&TEXTS),
            "Names under which several resources can be listed at once, such as `all`.",
        ),
        field(
            "group",
            8,
            TEXT,
            "The group of the kind, if it is not the group of the resource.",
        ),
        field(
            "version",
            9,
            TEXT,
            "The version of the kind, if it is not the version of the resource.",
        ),
        field(
            "storageVersionHash",
            10,
            TEXT,
            "Changes when objects are stored in another version; means nothing else to clients.",
        ),
    ],
);

static API_RESOURCES: List = List::of(Schema::Object(&API_RESOURCE));

/// The resources of a version of a group.
pub static API_RESOURCE_LIST: Object = Object::new(
    HOME,
    "APIResourceList",
    "The resources of a version of a group.",
    &[
        KIND,
        API_VERSION,
        field("groupVersion", 1, TEXT, "The group and version.").required(),
        field(
            "resources",
            2,
            Schema::List(&API_RESOURCES),
            "The resources and subresources.",
        )
        .required(),
    ],
);

/// The schema of a document of this kind.
#[must_use]
pub fn document(kind: &str) -> Option<&'static Object> {
    [&API_VERSIONS, &API_GROUP, &API_GROUP_LIST, &API_RESOURCE_LIST]
        .into_iter()
        .find(|object| object.name == kind)
}
