//! Schemas of what all kinds share: [object metadata][1] and its parts.
//!
//! [1]: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/

use super::{List, Merge, Object, Schema, TEXT};

/// A list of strings that a patch replaces.
pub static TEXTS: List = List {
    items: TEXT,
    merge: Merge::Replace,
};

/// Names of who must agree to a deletion. A patch adds to them.
static FINALIZERS: List = List {
    items: TEXT,
    merge: Merge::Values,
};

static OWNER_REFERENCE: Object = Object {
    name: "OwnerReference",
    package: "v1",
    fields: &[
        ("apiVersion", TEXT),
        ("kind", TEXT),
        ("name", TEXT),
        ("uid", Schema::Text("types.UID")),
        ("controller", Schema::Boolean),
        ("blockOwnerDeletion", Schema::Boolean),
    ],
};

static OWNER_REFERENCES: List = List {
    items: Schema::Object(&OWNER_REFERENCE),
    merge: Merge::ByKey("uid"),
};

static MANAGED_FIELDS_ENTRY: Object = Object {
    name: "ManagedFieldsEntry",
    package: "v1",
    fields: &[
        ("manager", TEXT),
        ("operation", Schema::Text("v1.ManagedFieldsOperationType")),
        ("apiVersion", TEXT),
        ("time", TEXT),
        ("fieldsType", TEXT),
        ("fieldsV1", Schema::Raw),
        ("subresource", TEXT),
    ],
};

static MANAGED_FIELDS: List = List {
    items: Schema::Object(&MANAGED_FIELDS_ENTRY),
    merge: Merge::Replace,
};

/// The metadata of every object.
pub static OBJECT_META: Object = Object {
    name: "ObjectMeta",
    package: "v1",
    fields: &[
        ("name", TEXT),
        ("generateName", TEXT),
        ("namespace", TEXT),
        ("selfLink", TEXT),
        ("uid", Schema::Text("types.UID")),
        ("resourceVersion", TEXT),
        ("generation", Schema::Integer("int64")),
        ("creationTimestamp", TEXT),
        ("deletionTimestamp", TEXT),
        ("deletionGracePeriodSeconds", Schema::Integer("int64")),
        ("labels", Schema::Map(&TEXT)),
        ("annotations", Schema::Map(&TEXT)),
        ("ownerReferences", Schema::List(&OWNER_REFERENCES)),
        ("finalizers", Schema::List(&FINALIZERS)),
        ("managedFields", Schema::List(&MANAGED_FIELDS)),
    ],
};

static PRECONDITIONS: Object = Object {
    name: "Preconditions",
    package: "v1",
    fields: &[("uid", Schema::Text("types.UID")), ("resourceVersion", TEXT)],
};

/// The body of a deletion.
pub static DELETE_OPTIONS: Object = Object {
    name: "DeleteOptions",
    package: "v1",
    fields: &[
        ("kind", TEXT),
        ("apiVersion", TEXT),
        ("gracePeriodSeconds", Schema::Integer("int64")),
        ("preconditions", Schema::Object(&PRECONDITIONS)),
        ("orphanDependents", Schema::Boolean),
        ("propagationPolicy", Schema::Text("v1.DeletionPropagation")),
        ("dryRun", Schema::List(&TEXTS)),
        (
            "ignoreStoreReadErrorWithClusterBreakingPotential",
            Schema::Boolean,
        ),
    ],
};
