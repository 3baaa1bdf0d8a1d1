//! The kinds of [authorization.k8s.io/v1][1]: questions about who may do what.
//!
//! [1]: https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access

use imagestream_apiserver::schema::meta::{FIELD_SELECTOR_REQUIREMENTS, LABEL_SELECTOR_REQUIREMENTS, TEXTS};
use imagestream_apiserver::schema::{API_VERSION, Field, KIND, List, METADATA, Object, Schema, TEXT, field};

/// Where the types of the group are defined.
pub const HOME: &str = "io.k8s.api.authorization.v1";

static FIELD_SELECTOR_ATTRIBUTES: Object = Object::new(
    HOME,
    "FieldSelectorAttributes",
    "By which fields the objects are selected.",
    &[
        field("rawSelector", 1, TEXT, "The selector as it stands in a query."),
        field(
            "requirements",
            2,
            Schema::List(&FIELD_SELECTOR_REQUIREMENTS),
            "What must be true of the fields, if rawSelector is empty.",
        ),
    ],
);

static LABEL_SELECTOR_ATTRIBUTES: Object = Object::new(
    HOME,
    "LabelSelectorAttributes",
    "By which labels the objects are selected.",
    &[
        field("rawSelector", 1, TEXT, "The selector as it stands in a query."),
        field(
            "requirements",
            2,
            Schema::List(&LABEL_SELECTOR_REQUIREMENTS),
            "What must be true of the labels, if rawSelector is empty.",
        ),
    ],
);

static RESOURCE_ATTRIBUTES: Object = Object::new(
    HOME,
    "ResourceAttributes",
    "A request to a resource.",
    &[
        field(
            "namespace",
            1,
            TEXT,
            "The namespace; empty for all namespaces or for none.",
        ),
        field("verb", 2, TEXT, "What is to be done; `*` for everything."),
        field("group", 3, TEXT, "The group of the resource; `*` for all."),
        field("version", 4, TEXT, "The version of the resource; `*` for all."),
        field("resource", 5, TEXT, "The resource; `*` for all."),
        field(
            "subresource",
            6,
            TEXT,
            "The subresource; empty for the resource itself.",
        ),
        field("name", 7, TEXT, "The name of the object; empty for all."),
        field(
            "fieldSelector",
            8,
            Schema::Object(&FIELD_SELECTOR_ATTRIBUTES),
            "By which fields the objects are selected; only narrows what is asked.",
        ),
        field(
            "labelSelector",
            9,
            Schema::Object(&LABEL_SELECTOR_ATTRIBUTES),
            "By which labels the objects are selected; only narrows what is asked.",
        ),
    ],
);

static NON_RESOURCE_ATTRIBUTES: Object = Object::new(
    HOME,
    "NonResourceAttributes",
    "A request to a path that is no resource.",
    &[
        field("path", 1, TEXT, "The path."),
        field("verb", 2, TEXT, "What is to be done."),
    ],
);

const RESOURCE: Field = field(
    "resourceAttributes",
    1,
    Schema::Object(&RESOURCE_ATTRIBUTES),
    "The request, if it is to a resource.",
);

const NON_RESOURCE: Field = field(
    "nonResourceAttributes",
    2,
    Schema::Object(&NON_RESOURCE_ATTRIBUTES),
    "The request, if it is to a path that is no resource.",
);

static EXTRA_VALUES: List = List::of(TEXT).message();
static EXTRA_VALUE: Schema = Schema::List(&EXTRA_VALUES);

static SUBJECT_ACCESS_REVIEW_SPEC: Object = Object::new(
    HOME,
    "SubjectAccessReviewSpec",
    "Who wants to do what.",
    &[
        RESOURCE,
        NON_RESOURCE,
        field("user", 3, TEXT, "The user; may be empty if groups are named."),
        field("groups", 4, Schema::List(&TEXTS), "The groups of the user."),
        field(
            "extra",
            5,
            Schema::Map(&EXTRA_VALUE),
            "Further facts about the user.",
        ),
        field("uid", 6, TEXT, "The unique identifier of the user."),
    ],
);

static SUBJECT_ACCESS_REVIEW_STATUS: Object = Object::new(
    HOME,
    "SubjectAccessReviewStatus",
    "Whether it may be done.",
    &[
        field("allowed", 1, Schema::Boolean, "Whether it may be done.").required(),
        field("reason", 2, TEXT, "Why it may or may not be done."),
        field(
            "evaluationError",
            3,
            TEXT,
            "What could not be found out on the way to the answer.",
        ),
        field(
            "denied",
            4,
            Schema::Boolean,
            "Whether it is forbidden, and not only nowhere allowed.",
        ),
    ],
);

const STATUS: Field = field(
    "status",
    3,
    Schema::Object(&SUBJECT_ACCESS_REVIEW_STATUS),
    "Whether it may be done; filled in by the server.",
);

const SPEC: Field = field(
    "spec",
    2,
    Schema::Object(&SUBJECT_ACCESS_REVIEW_SPEC),
    "Who wants to do what.",
)
.required();

/// Whether somebody may do something.
pub static SUBJECT_ACCESS_REVIEW: Object = Object::new(
    HOME,
    "SubjectAccessReview",
    "Asks whether somebody may do something.",
    &[KIND, API_VERSION, METADATA, SPEC, STATUS],
);

/// Whether somebody may do something in a namespace.
pub static LOCAL_SUBJECT_ACCESS_REVIEW: Object = Object::new(
    HOME,
    "LocalSubjectAccessReview",
    "Asks whether somebody may do something in the namespace of the question.",
    &[KIND, API_VERSION, METADATA, SPEC, STATUS],
);

static SELF_SUBJECT_ACCESS_REVIEW_SPEC: Object = Object::new(
    HOME,
    "SelfSubjectAccessReviewSpec",
    "What the asking user wants to do.",
    &[RESOURCE, NON_RESOURCE],
);

/// Whether the asking user may do something.
pub static SELF_SUBJECT_ACCESS_REVIEW: Object = Object::new(
    HOME,
    "SelfSubjectAccessReview",
    "Asks whether the asking user may do something.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        field(
            "spec",
            2,
            Schema::Object(&SELF_SUBJECT_ACCESS_REVIEW_SPEC),
            "What the asking user wants to do.",
        )
        .required(),
        STATUS,
    ],
);

static SELF_SUBJECT_RULES_REVIEW_SPEC: Object = Object::new(
    HOME,
    "SelfSubjectRulesReviewSpec",
    "Where the asking user wants to do something.",
    &[field("namespace", 1, TEXT, "The namespace; must be named.")],
);

static RESOURCE_RULE: Object = Object::new(
    HOME,
    "ResourceRule",
    "Something that may be done with resources.",
    &[
        field(
            "verbs",
            1,
            Schema::List(&TEXTS),
            "What may be done; `*` for everything.",
        )
        .required(),
        field(
            "apiGroups",
            2,
            Schema::List(&TEXTS),
            "The groups of the resources; `*` for all.",
        ),
        field(
            "resources",
            3,
            Schema::List(&TEXTS),
            "The resources, subresources as `resource/subresource`; `*` for all.",
        ),
        field(
            "resourceNames",
            4,
            Schema::List(&TEXTS),
            "The names of the objects; empty for all.",
        ),
    ],
);

static RESOURCE_RULES: List = List::of(Schema::Object(&RESOURCE_RULE));

static NON_RESOURCE_RULE: Object = Object::new(
    HOME,
    "NonResourceRule",
    "Something that may be done with paths that are no resources.",
    &[
        field(
            "verbs",
            1,
            Schema::List(&TEXTS),
            "What may be done; `*` for everything.",
        )
        .required(),
        field(
            "nonResourceURLs",
            2,
            Schema::List(&TEXTS),
            "The paths; a `*` at the end stands for any rest.",
        ),
    ],
);

static NON_RESOURCE_RULES: List = List::of(Schema::Object(&NON_RESOURCE_RULE));

static SUBJECT_RULES_REVIEW_STATUS: Object = Object::new(
    HOME,
    "SubjectRulesReviewStatus",
    "Everything that may be done.",
    &[
        field(
            "resourceRules",
            1,
            Schema::List(&RESOURCE_RULES),
            "What may be done with resources.",
        )
        .required(),
        field(
            "nonResourceRules",
            2,
            Schema::List(&NON_RESOURCE_RULES),
            "What may be done with paths that are no resources.",
        )
        .required(),
        field(
            "incomplete",
            3,
            Schema::Boolean,
            "Whether more may be allowed than is listed.",
        )
        .required(),
        field("evaluationError", 4, TEXT, "What could not be found out."),
    ],
);

/// Everything that the asking user may do in a namespace.
pub static SELF_SUBJECT_RULES_REVIEW: Object = Object::new(
    HOME,
    "SelfSubjectRulesReview",
    "Asks for everything that the asking user may do in a namespace.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        field(
            "spec",
            2,
            Schema::Object(&SELF_SUBJECT_RULES_REVIEW_SPEC),
            "Where the asking user wants to do something.",
        )
        .required(),
        field(
            "status",
            3,
            Schema::Object(&SUBJECT_RULES_REVIEW_STATUS),
            "Everything that the asking user may do; filled in by the server.",
        ),
    ],
);
