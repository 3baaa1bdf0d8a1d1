//! Schemas of the documents by which clients find out [what a server has][1].
//!
//! [1]: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api

use super::meta::{HOME, TEXTS};
use super::{API_VERSION, KIND, LIST_METADATA, List, METADATA, Object, Schema, TEXT, field};

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

/// The home of what tells everything at once.
const AGGREGATED_HOME: &str = "io.k8s.api.apidiscovery.v2";

static GROUP_VERSION_KIND: Object = Object::new(
    HOME,
    "GroupVersionKind",
    "A kind with its group and version.",
    &[
        field("group", 1, TEXT, "The group.").required(),
        field("version", 2, TEXT, "The version.").required(),
        field("kind", 3, TEXT, "The kind.").required(),
    ],
);

static GROUP_VERSION_KINDS: List = List::of(Schema::Object(&GROUP_VERSION_KIND));

static API_SUBRESOURCE_DISCOVERY: Object = Object::new(
    AGGREGATED_HOME,
    "APISubresourceDiscovery",
    "A part of a resource.",
    &[
        field("subresource", 1, TEXT, "Its name.").required(),
        field(
            "responseKind",
            2,
            Schema::Object(&GROUP_VERSION_KIND),
            "What it answers with.",
        ),
        field(
            "acceptedTypes",
            3,
            Schema::List(&GROUP_VERSION_KINDS),
            "What it takes.",
        ),
        field("verbs", 4, Schema::List(&TEXTS), "What can be done with it.").required(),
    ],
);

static API_SUBRESOURCES: List = List::of(Schema::Object(&API_SUBRESOURCE_DISCOVERY));

static API_RESOURCE_DISCOVERY: Object = Object::new(
    AGGREGATED_HOME,
    "APIResourceDiscovery",
    "A resource with its parts.",
    &[
        field("resource", 1, TEXT, "The plural name.").required(),
        field(
            "responseKind",
            2,
            Schema::Object(&GROUP_VERSION_KIND),
            "The kind of the objects.",
        ),
        field("scope", 3, TEXT, "`Namespaced` or `Cluster`.").required(),
        field("singularResource", 4, TEXT, "The singular name.").required(),
        field("verbs", 5, Schema::List(&TEXTS), "What can be done with it.").required(),
        field(
            "shortNames",
            6,
            Schema::List(&TEXTS),
            "Abbreviations of the name.",
        ),
        field(
            "categories",
            7,
            Schema::List(&TEXTS),
            "Names under which several resources can be listed at once, such as `all`.",
        ),
        field(
            "subresources",
            8,
            Schema::List(&API_SUBRESOURCES),
            "The parts of the resource.",
        ),
    ],
);

static API_RESOURCES_DISCOVERY: List = List::of(Schema::Object(&API_RESOURCE_DISCOVERY));

static API_VERSION_DISCOVERY: Object = Object::new(
    AGGREGATED_HOME,
    "APIVersionDiscovery",
    "A version of a group with its resources.",
    &[
        field("version", 1, TEXT, "The name of the version.").required(),
        field(
            "resources",
            2,
            Schema::List(&API_RESOURCES_DISCOVERY),
            "The resources.",
        ),
        field("freshness", 3, TEXT, "`Current` or `Stale`."),
    ],
);

static API_VERSIONS_DISCOVERY: List = List::of(Schema::Object(&API_VERSION_DISCOVERY));

static API_GROUP_DISCOVERY: Object = Object::new(
    AGGREGATED_HOME,
    "APIGroupDiscovery",
    "A group with its versions.",
    &[
        METADATA,
        field(
            "versions",
            2,
            Schema::List(&API_VERSIONS_DISCOVERY),
            "The versions, the preferred one first.",
        ),
    ],
);

static API_GROUPS_DISCOVERY: List = List::of(Schema::Object(&API_GROUP_DISCOVERY));

/// All groups with all that is in them.
pub static API_GROUP_DISCOVERY_LIST: Object = Object::new(
    AGGREGATED_HOME,
    "APIGroupDiscoveryList",
    "All groups with all that is in them.",
    &[
        KIND,
        API_VERSION,
        LIST_METADATA,
        field("items", 2, Schema::List(&API_GROUPS_DISCOVERY), "The groups.").required(),
    ],
);

/// The schema of a document of this kind.
#[must_use]
pub fn document(kind: &str) -> Option<&'static Object> {
    [
        &API_VERSIONS,
        &API_GROUP,
        &API_GROUP_LIST,
        &API_RESOURCE_LIST,
        &API_GROUP_DISCOVERY_LIST,
    ]
    .into_iter()
    .find(|object| object.name == kind)
}
