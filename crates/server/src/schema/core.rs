//! The kinds of the [core group][1] that a server of image streams needs around it.
//!
//! [1]: https://kubernetes.io/docs/reference/kubernetes-api/

use imagestream_apiserver::schema::{API_VERSION, INT32, KIND, List, METADATA, Object, Schema, TEXT, field};

/// Where the types of the group are defined.
pub const HOME: &str = "io.k8s.api.core.v1";

const AMOUNTS: Schema = Schema::Map(&Schema::Quantity);

/// Which object is meant, anywhere.
pub static OBJECT_REFERENCE: Object = Object::new(
    HOME,
    "ObjectReference",
    "Which object, or which part of it, is meant.",
    &[
        field("kind", 1, TEXT, "The kind of the object."),
        field("namespace", 2, TEXT, "The namespace of the object."),
        field("name", 3, TEXT, "The name of the object."),
        field(
            "uid",
            4,
            Schema::Text("types.UID"),
            "The unique identifier of the object.",
        ),
        field("apiVersion", 5, TEXT, "The group and version of the object."),
        field(
            "resourceVersion",
            6,
            TEXT,
            "The state of the object that is meant.",
        ),
        field(
            "fieldPath",
            7,
            TEXT,
            "The part of the object that is meant, such as `spec.containers{name}`.",
        ),
    ],
)
.atomic();

/// Which object of the same namespace is meant.
pub static LOCAL_OBJECT_REFERENCE: Object = Object::new(
    HOME,
    "LocalObjectReference",
    "Which object of the same namespace is meant.",
    &[field("name", 1, TEXT, "The name of the object.")],
)
.atomic();

static FINALIZERS: List = List::of(Schema::Text("v1.FinalizerName"));

/// What a namespace is to be.
pub static NAMESPACE_SPEC: Object = Object::new(
    HOME,
    "NamespaceSpec",
    "What a namespace is to be.",
    &[field(
        "finalizers",
        1,
        Schema::List(&FINALIZERS),
        "Who must remove what it keeps in the namespace before the namespace can be removed.",
    )],
);

static NAMESPACE_CONDITION: Object = Object::new(
    HOME,
    "NamespaceCondition",
    "How the deletion of a namespace goes.",
    &[
        field(
            "type",
            1,
            Schema::Text("v1.NamespaceConditionType"),
            "What the condition is about.",
        )
        .required(),
        field(
            "status",
            2,
            Schema::Text("v1.ConditionStatus"),
            "Whether it is so: `True`, `False` or `Unknown`.",
        )
        .required(),
        field(
            "lastTransitionTime",
            4,
            Schema::Time,
            "When the status of the condition changed last.",
        ),
        field(
            "reason",
            5,
            TEXT,
            "A word for programs that says why the status is as it is.",
        ),
        field(
            "message",
            6,
            TEXT,
            "A sentence for people that says why the status is as it is.",
        ),
    ],
);

static NAMESPACE_CONDITIONS: List = List::by_key(Schema::Object(&NAMESPACE_CONDITION), "type");

/// What a namespace is.
pub static NAMESPACE_STATUS: Object = Object::new(
    HOME,
    "NamespaceStatus",
    "What a namespace is.",
    &[
        field(
            "phase",
            1,
            Schema::Text("v1.NamespacePhase"),
            "`Active`, or `Terminating` once it is being deleted.",
        ),
        field(
            "conditions",
            2,
            Schema::List(&NAMESPACE_CONDITIONS),
            "How its deletion goes.",
        ),
    ],
);

/// A namespace.
pub static NAMESPACE: Object = Object::new(
    HOME,
    "Namespace",
    "A scope for names: objects in different namespaces may have the same name.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        field(
            "spec",
            2,
            Schema::Object(&NAMESPACE_SPEC),
            "What the namespace is to be.",
        ),
        field(
            "status",
            3,
            Schema::Object(&NAMESPACE_STATUS),
            "What the namespace is.",
        ),
    ],
);

/// A secret.
pub static SECRET: Object = Object::new(
    HOME,
    "Secret",
    "Values that not everybody may see, such as the passwords of registries.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        field(
            "data",
            2,
            Schema::Map(&Schema::Bytes),
            "The values by their keys, in base64.",
        ),
        field(
            "stringData",
            4,
            Schema::Map(&TEXT),
            "Values that are not in base64; they are written into data and never shown.",
        ),
        field(
            "type",
            3,
            Schema::Text("v1.SecretType"),
            "What the values are for, such as `kubernetes.io/dockerconfigjson`.",
        ),
        field(
            "immutable",
            5,
            Schema::Boolean,
            "Whether the values cannot be changed any more.",
        ),
    ],
);

/// Secrets in a list.
pub static SECRETS: List = List::of(Schema::Object(&SECRET));

static LIMIT_RANGE_ITEM: Object = Object::new(
    HOME,
    "LimitRangeItem",
    "Limits for things of one type.",
    &[
        field(
            "type",
            1,
            Schema::Text("v1.LimitType"),
            "What is limited, such as `openshift.io/Image` or `openshift.io/ImageStream`.",
        )
        .required(),
        field("max", 2, AMOUNTS, "The most that there may be of each resource."),
        field(
            "min",
            3,
            AMOUNTS,
            "The least that there must be of each resource.",
        ),
        field("default", 4, AMOUNTS, "The limit where none is named."),
        field("defaultRequest", 5, AMOUNTS, "The request where none is named."),
        field(
            "maxLimitRequestRatio",
            6,
            AMOUNTS,
            "How many times the request a limit may be at most.",
        ),
    ],
);

static LIMIT_RANGE_ITEMS: List = List::of(Schema::Object(&LIMIT_RANGE_ITEM));

static LIMIT_RANGE_SPEC: Object = Object::new(
    HOME,
    "LimitRangeSpec",
    "The limits.",
    &[field(
        "limits",
        1,
        Schema::List(&LIMIT_RANGE_ITEMS),
        "The limits for each type of thing.",
    )
    .required()],
);

/// Limits for single objects of a namespace.
pub static LIMIT_RANGE: Object = Object::new(
    HOME,
    "LimitRange",
    "How large each thing in the namespace may be.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        field("spec", 2, Schema::Object(&LIMIT_RANGE_SPEC), "The limits."),
    ],
);

static QUOTA_SCOPES: List = List::of(Schema::Text("v1.ResourceQuotaScope"));

static SCOPED_RESOURCE_SELECTOR_REQUIREMENT: Object = Object::new(
    HOME,
    "ScopedResourceSelectorRequirement",
    "What must be true of the things that are counted.",
    &[
        field(
            "scopeName",
            1,
            Schema::Text("v1.ResourceQuotaScope"),
            "The scope that is looked at.",
        )
        .required(),
        field(
            "operator",
            2,
            Schema::Text("v1.ScopeSelectorOperator"),
            "How the scope is compared: `In`, `NotIn`, `Exists` or `DoesNotExist`.",
        )
        .required(),
        field(
            "values",
            3,
            Schema::List(&imagestream_apiserver::schema::meta::TEXTS),
            "The values for `In` and `NotIn`.",
        ),
    ],
);

static SCOPED_RESOURCE_SELECTOR_REQUIREMENTS: List =
    List::of(Schema::Object(&SCOPED_RESOURCE_SELECTOR_REQUIREMENT));

static SCOPE_SELECTOR: Object = Object::new(
    HOME,
    "ScopeSelector",
    "Which things are counted; all requirements must be met.",
    &[field(
        "matchExpressions",
        1,
        Schema::List(&SCOPED_RESOURCE_SELECTOR_REQUIREMENTS),
        "The requirements.",
    )],
)
.atomic();

static RESOURCE_QUOTA_SPEC: Object = Object::new(
    HOME,
    "ResourceQuotaSpec",
    "The limits of a quota.",
    &[
        field(
            "hard",
            1,
            AMOUNTS,
            "How much there may be of each resource, such as `openshift.io/imagestreams`.",
        ),
        field(
            "scopes",
            2,
            Schema::List(&QUOTA_SCOPES),
            "Scopes in which all counted things must be.",
        ),
        field(
            "scopeSelector",
            3,
            Schema::Object(&SCOPE_SELECTOR),
            "Which things are counted.",
        ),
    ],
);

static RESOURCE_QUOTA_STATUS: Object = Object::new(
    HOME,
    "ResourceQuotaStatus",
    "How much of a quota is used.",
    &[
        field("hard", 1, AMOUNTS, "The limits that are enforced."),
        field("used", 2, AMOUNTS, "How much there is of each resource."),
    ],
);

/// Limits for all objects of a namespace together.
pub static RESOURCE_QUOTA: Object = Object::new(
    HOME,
    "ResourceQuota",
    "How much of each resource there may be in the namespace.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        field("spec", 2, Schema::Object(&RESOURCE_QUOTA_SPEC), "The limits."),
        field(
            "status",
            3,
            Schema::Object(&RESOURCE_QUOTA_STATUS),
            "How much is used.",
        ),
    ],
);

static EVENT_SOURCE: Object = Object::new(
    HOME,
    "EventSource",
    "Who reports an event.",
    &[
        field("component", 1, TEXT, "The component that reports it."),
        field("host", 2, TEXT, "The machine on which it happened."),
    ],
);

static EVENT_SERIES: Object = Object::new(
    HOME,
    "EventSeries",
    "How often an event happened again.",
    &[
        field("count", 1, INT32, "How often it happened."),
        field("lastObservedTime", 2, Schema::MicroTime, "When it happened last."),
    ],
);

/// An event.
pub static EVENT: Object = Object::new(
    HOME,
    "Event",
    "Something that happened to an object, told to people; it is forgotten after a while.",
    &[
        KIND,
        API_VERSION,
        METADATA.required(),
        field(
            "involvedObject",
            2,
            Schema::Object(&OBJECT_REFERENCE),
            "The object to which it happened.",
        )
        .required(),
        field("reason", 3, TEXT, "A word for programs that says what happened."),
        field(
            "message",
            4,
            TEXT,
            "A sentence for people that says what happened.",
        ),
        field("source", 5, Schema::Object(&EVENT_SOURCE), "Who reports it."),
        field("firstTimestamp", 6, Schema::Time, "When it happened first."),
        field("lastTimestamp", 7, Schema::Time, "When it happened last."),
        field("count", 8, INT32, "How often it happened."),
        field("type", 9, TEXT, "`Normal` or `Warning`."),
        field("eventTime", 10, Schema::MicroTime, "When it happened."),
        field(
            "series",
            11,
            Schema::Object(&EVENT_SERIES),
            "How often it happened again.",
        ),
        field("action", 12, TEXT, "What was done because of it."),
        field(
            "related",
            13,
            Schema::Object(&OBJECT_REFERENCE),
            "Another object that has to do with it.",
        ),
        field("reportingComponent", 14, TEXT, "The controller that reports it."),
        field("reportingInstance", 15, TEXT, "The instance of the controller."),
    ],
);
