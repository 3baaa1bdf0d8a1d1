//! Schemas of what all kinds share: [object metadata][1], [statuses][2] and the parts of both.
//!
//! [1]: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/
//! [2]: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/

use super::{API_VERSION, Field, INT32, INT64, KIND, LIST_METADATA, List, Object, Schema, TEXT, field};

/// Where the types of this file are defined.
pub const HOME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

const UID: Schema = Schema::Text("types.UID");

/// A list of strings that a patch replaces.
pub static TEXTS: List = List::of(TEXT);

/// Names of who must agree to a deletion. A patch adds to them.
static FINALIZERS: List = List::set(TEXT);

static OWNER_REFERENCE: Object = Object::new(
    HOME,
    "OwnerReference",
    "An object in the same namespace, or without one, that owns the object.",
    &[
        field("kind", 1, TEXT, "The kind of the owner.").required(),
        field("name", 3, TEXT, "The name of the owner.").required(),
        field("uid", 4, UID, "The unique identifier of the owner.").required(),
        field("apiVersion", 5, TEXT, "The group and version of the owner.").required(),
        field(
            "controller",
            6,
            Schema::Boolean,
            "Whether the owner manages the object.",
        ),
        field(
            "blockOwnerDeletion",
            7,
            Schema::Boolean,
            "Whether the owner stays until the object is gone when its deletion is a foreground one.",
        ),
    ],
)
.atomic();

static OWNER_REFERENCES: List = List::by_key(Schema::Object(&OWNER_REFERENCE), "uid");

static MANAGED_FIELDS_ENTRY: Object = Object::new(
    HOME,
    "ManagedFieldsEntry",
    "The fields of the object that one manager set in one way.",
    &[
        field("manager", 1, TEXT, "Who set the fields."),
        field(
            "operation",
            2,
            Schema::Text("v1.ManagedFieldsOperationType"),
            "How the fields were set: `Apply` or `Update`.",
        ),
        field(
            "apiVersion",
            3,
            TEXT,
            "The version of the object in which the fields are named.",
        ),
        field(
            "time",
            4,
            Schema::Time,
            "When the set of fields, or a value in it, changed last.",
        ),
        field(
            "fieldsType",
            6,
            TEXT,
            "The format of the set of fields: `FieldsV1`.",
        ),
        field("fieldsV1", 7, Schema::FieldsV1, "The set of fields."),
        field(
            "subresource",
            8,
            TEXT,
            "The subresource through which the fields were set; empty for the object itself.",
        ),
    ],
);

static MANAGED_FIELDS: List = List::of(Schema::Object(&MANAGED_FIELDS_ENTRY));

/// The metadata of every object.
pub static OBJECT_META: Object = Object::new(
    HOME,
    "ObjectMeta",
    "What every object has, whatever its kind.",
    &[
        field(
            "name",
            1,
            TEXT,
            "The name, unique among the objects of a resource in a namespace.",
        ),
        field(
            "generateName",
            2,
            TEXT,
            "A beginning for the name, which the server completes if no name is given.",
        ),
        field("namespace", 3, TEXT, "The namespace in which the name is unique."),
        field(
            "selfLink",
            4,
            TEXT,
            "A former path of the object; servers leave it empty.",
        ),
        field(
            "uid",
            5,
            UID,
            "An identifier that no other object ever has; set by the server.",
        ),
        field(
            "resourceVersion",
            6,
            TEXT,
            "The state of the object: opaque to clients, which send it back to detect that others were faster.",
        ),
        field(
            "generation",
            7,
            INT64,
            "A number that grows with each change of the desired state; set by the server.",
        ),
        field(
            "creationTimestamp",
            8,
            Schema::Time,
            "When the object was created; set by the server.",
        ),
        field(
            "deletionTimestamp",
            9,
            Schema::Time,
            "When the object will be gone, if it is being deleted; set by the server.",
        ),
        field(
            "deletionGracePeriodSeconds",
            10,
            INT64,
            "How many seconds the object may take to end before it is removed; set by the server.",
        ),
        field(
            "labels",
            11,
            Schema::Map(&TEXT),
            "Short values by which objects are organised and selected.",
        ),
        field(
            "annotations",
            12,
            Schema::Map(&TEXT),
            "Values that tools keep with the object; nobody can select by them.",
        ),
        field(
            "ownerReferences",
            13,
            Schema::List(&OWNER_REFERENCES),
            "Objects without which this one is not needed.",
        ),
        field(
            "finalizers",
            14,
            Schema::List(&FINALIZERS),
            "Who must remove its own entry before the object can be removed.",
        ),
        field(
            "managedFields",
            17,
            Schema::List(&MANAGED_FIELDS),
            "Who set which fields of the object; kept by the server.",
        ),
    ],
);

/// The metadata of every list.
pub static LIST_META: Object = Object::new(
    HOME,
    "ListMeta",
    "What every list has, whatever its kind.",
    &[
        field(
            "selfLink",
            1,
            TEXT,
            "A former path of the list; servers leave it empty.",
        ),
        field(
            "resourceVersion",
            2,
            TEXT,
            "The state that the list shows, from which a watch can go on.",
        ),
        field(
            "continue",
            3,
            TEXT,
            "A token with which the next page can be asked for; empty on the last page.",
        ),
        field(
            "remainingItemCount",
            4,
            INT64,
            "How many objects follow on further pages, if that is known.",
        ),
    ],
);

static STATUS_CAUSE: Object = Object::new(
    HOME,
    "StatusCause",
    "One of the things that are wrong.",
    &[
        field(
            "reason",
            1,
            Schema::Text("v1.CauseType"),
            "A word for programs that says what is wrong.",
        ),
        field(
            "message",
            2,
            TEXT,
            "A sentence for people that says what is wrong.",
        ),
        field("field", 3, TEXT, "The path of the field that is wrong."),
    ],
);

static STATUS_CAUSES: List = List::of(Schema::Object(&STATUS_CAUSE));

static STATUS_DETAILS: Object = Object::new(
    HOME,
    "StatusDetails",
    "What a status is about.",
    &[
        field("name", 1, TEXT, "The name of the object."),
        field("group", 2, TEXT, "The group of the object."),
        field("kind", 3, TEXT, "The kind or resource of the object."),
        field(
            "causes",
            4,
            Schema::List(&STATUS_CAUSES),
            "Everything that is wrong.",
        ),
        field(
            "retryAfterSeconds",
            5,
            INT32,
            "After how many seconds the request can be repeated.",
        ),
        field("uid", 6, UID, "The unique identifier of the object."),
    ],
);

static STATUS_FIELDS: &[Field] = &[
    KIND,
    API_VERSION,
    LIST_METADATA,
    field("status", 2, TEXT, "`Success` or `Failure`."),
    field(
        "message",
        3,
        TEXT,
        "A sentence for people that says what happened.",
    ),
    field(
        "reason",
        4,
        Schema::Text("v1.StatusReason"),
        "A word for programs that says why it failed.",
    ),
    field(
        "details",
        5,
        Schema::Object(&STATUS_DETAILS),
        "What the status is about.",
    ),
    field("code", 6, INT32, "The HTTP status code."),
];

/// The outcome of a request that returns no object.
pub static STATUS: Object = Object::new(
    HOME,
    "Status",
    "The outcome of a request that returns no object.",
    STATUS_FIELDS,
);

static PRECONDITIONS: Object = Object::new(
    HOME,
    "Preconditions",
    "What must be true of an object for it to be deleted.",
    &[
        field("uid", 1, UID, "The unique identifier that the object must have."),
        field(
            "resourceVersion",
            2,
            TEXT,
            "The state in which the object must be.",
        ),
    ],
);

/// The body of a deletion.
pub static DELETE_OPTIONS: Object = Object::new(
    HOME,
    "DeleteOptions",
    "How an object is to be deleted.",
    &[
        KIND,
        API_VERSION,
        field(
            "gracePeriodSeconds",
            1,
            INT64,
            "How many seconds the object may take to end before it is removed.",
        ),
        field(
            "preconditions",
            2,
            Schema::Object(&PRECONDITIONS),
            "What must be true of the object for it to be deleted.",
        ),
        field(
            "orphanDependents",
            3,
            Schema::Boolean,
            "Whether objects that the object owns stay; use propagationPolicy instead.",
        ),
        field(
            "propagationPolicy",
            4,
            Schema::Text("v1.DeletionPropagation"),
            "What becomes of objects that the object owns: `Orphan`, `Background` or `Foreground`.",
        ),
        field(
            "dryRun",
            5,
            Schema::List(&TEXTS),
            "`All` for a deletion that is only tried out.",
        ),
        field(
            "ignoreStoreReadErrorWithClusterBreakingPotential",
            6,
            Schema::Boolean,
            "Whether an object is removed although what is stored of it cannot be read.",
        ),
    ],
);

static LABEL_SELECTOR_REQUIREMENT: Object = Object::new(
    HOME,
    "LabelSelectorRequirement",
    "What must be true of one label.",
    &[
        field("key", 1, TEXT, "The name of the label.").required(),
        field(
            "operator",
            2,
            Schema::Text("v1.LabelSelectorOperator"),
            "How the label is compared: `In`, `NotIn`, `Exists` or `DoesNotExist`.",
        )
        .required(),
        field(
            "values",
            3,
            Schema::List(&TEXTS),
            "The values for `In` and `NotIn`.",
        ),
    ],
);

/// Requirements on labels.
pub static LABEL_SELECTOR_REQUIREMENTS: List = List::of(Schema::Object(&LABEL_SELECTOR_REQUIREMENT));

/// Which objects are meant, by their labels.
pub static LABEL_SELECTOR: Object = Object::new(
    HOME,
    "LabelSelector",
    "Which objects are meant, by their labels; all requirements must be met.",
    &[
        field(
            "matchLabels",
            1,
            Schema::Map(&TEXT),
            "Labels with the values that they must have.",
        ),
        field(
            "matchExpressions",
            2,
            Schema::List(&LABEL_SELECTOR_REQUIREMENTS),
            "Further requirements.",
        ),
    ],
)
.atomic();

static FIELD_SELECTOR_REQUIREMENT: Object = Object::new(
    HOME,
    "FieldSelectorRequirement",
    "What must be true of one field.",
    &[
        field("key", 1, TEXT, "The path of the field.").required(),
        field(
            "operator",
            2,
            Schema::Text("v1.FieldSelectorOperator"),
            "How the field is compared: `In`, `NotIn`, `Exists` or `DoesNotExist`.",
        )
        .required(),
        field(
            "values",
            3,
            Schema::List(&TEXTS),
            "The values for `In` and `NotIn`.",
        ),
    ],
);

/// Requirements on fields.
pub static FIELD_SELECTOR_REQUIREMENTS: List = List::of(Schema::Object(&FIELD_SELECTOR_REQUIREMENT));
