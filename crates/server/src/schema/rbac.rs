//! The kinds of [rbac.authorization.k8s.io/v1][1].
//!
//! [1]: https://kubernetes.io/docs/reference/access-authn-authz/rbac/

use imagestream_apiserver::schema::meta::{LABEL_SELECTOR, TEXTS};
use imagestream_apiserver::schema::{API_VERSION, Field, KIND, List, METADATA, Object, Schema, TEXT, field};

/// Where the types of the group are defined.
pub const HOME: &str = "io.k8s.api.rbac.v1";

static POLICY_RULE: Object = Object::new(
    HOME,
    "PolicyRule",
    "Something that may be done.",
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
            "The groups of the resources; an empty name for the core group, `*` for all.",
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
            "The names of the objects; empty for all objects.",
        ),
        field(
            "nonResourceURLs",
            5,
            Schema::List(&TEXTS),
            "Paths that are no resources; a `*` at the end stands for any rest.",
        ),
    ],
);

static POLICY_RULES: List = List::of(Schema::Object(&POLICY_RULE));

const RULES: Field = field("rules", 2, Schema::List(&POLICY_RULES), "What may be done.");

/// A role in a namespace.
pub static ROLE: Object = Object::new(
    HOME,
    "Role",
    "What may be done in the namespace of the role by whom a role binding names.",
    &[KIND, API_VERSION, METADATA, RULES],
);

static LABEL_SELECTORS: List = List::of(Schema::Object(&LABEL_SELECTOR));

static AGGREGATION_RULE: Object = Object::new(
    HOME,
    "AggregationRule",
    "From which cluster roles the rules of another one are taken.",
    &[field(
        "clusterRoleSelectors",
        1,
        Schema::List(&LABEL_SELECTORS),
        "Which cluster roles, by their labels; each that one of these selects.",
    )],
);

/// A role without a namespace.
pub static CLUSTER_ROLE: Object = Object::new(
    HOME,
    "ClusterRole",
    "What may be done everywhere, or in a namespace, by whom a binding names.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        RULES,
        field(
            "aggregationRule",
            3,
            Schema::Object(&AGGREGATION_RULE),
            "From which other cluster roles the rules are taken; the server then fills in the rules.",
        ),
    ],
);

static SUBJECT: Object = Object::new(
    HOME,
    "Subject",
    "Somebody to whom a role is given.",
    &[
        field("kind", 1, TEXT, "`User`, `Group` or `ServiceAccount`.").required(),
        field(
            "apiGroup",
            2,
            TEXT,
            "The group of the kind: empty for service accounts, `rbac.authorization.k8s.io` for users and groups.",
        ),
        field("name", 3, TEXT, "The name of the user, group or service account.").required(),
        field("namespace", 4, TEXT, "The namespace of the service account."),
    ],
)
.atomic();

static SUBJECTS: List = List::of(Schema::Object(&SUBJECT));

static ROLE_REF: Object = Object::new(
    HOME,
    "RoleRef",
    "Which role is given.",
    &[
        field(
            "apiGroup",
            1,
            TEXT,
            "The group of the role: `rbac.authorization.k8s.io`.",
        )
        .required(),
        field("kind", 2, TEXT, "`Role` or `ClusterRole`.").required(),
        field("name", 3, TEXT, "The name of the role.").required(),
    ],
)
.atomic();

const WHO: Field = field(
    "subjects",
    2,
    Schema::List(&SUBJECTS),
    "To whom the role is given.",
);

/// Who has a role in a namespace.
pub static ROLE_BINDING: Object = Object::new(
    HOME,
    "RoleBinding",
    "Who may do in the namespace of the binding what a role or cluster role says.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        WHO,
        field(
            "roleRef",
            3,
            Schema::Object(&ROLE_REF),
            "The role that is given; it cannot be changed.",
        )
        .required(),
    ],
);

/// Who has a role everywhere.
pub static CLUSTER_ROLE_BINDING: Object = Object::new(
    HOME,
    "ClusterRoleBinding",
    "Who may do everywhere what a cluster role says.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        WHO,
        field(
            "roleRef",
            3,
            Schema::Object(&ROLE_REF),
            "The cluster role that is given; it cannot be changed.",
        )
        .required(),
    ],
);
